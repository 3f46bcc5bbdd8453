"""A task on your own data: a TOML file that says what, and a CSV file with one clip a line.

.. code-block:: toml

    name = "digits"
    kind = "multiclass"            # multiclass | multilabel | regression | notes | beats
    metadata = "digits.csv"        # columns: path, target, optional id, start, end, split, group
    window_s = 3.0                 # optional

Paths are relative to the TOML file. ``target`` (or ``label``) is a label; labels joined by ``|`` (multilabel);
numbers joined by ``|`` (regression); a CSV of ``onset_s,offset_s,midi`` (notes) or a text file of times (beats), in
seconds of the audio file. ``start`` and ``end``, in seconds, take a part of the file. The key ``targets`` lists the
names of the values of a regression, or all labels where some may not occur.

Without a ``split`` column clips are split 60/20/20 at random but reproducibly, with every ``group`` whole in
one split and, for multiclass, classes spread evenly. Without a ``group`` column the file is the group.
"""

from __future__ import annotations

import csv
import difflib
import functools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe.tasks.kinds import CLIP_METRICS, FRAME_METRICS, KINDS
from svuprobe.tasks.types import SPLITS, Clip, Task, TaskError, Windowing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Key -> its type; the first three are needed.
KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "metadata": str,
    "dataset": str,
    "window_s": (int, float),
    "tail_s": (int, float),
    "trim": bool,
    "scored": str,
    "targets": list,
    "class_weight_alpha": (int, float),
    "disjoint_groups": bool,
    "beat_decoder": str,
    "split_seed": int,
    "licence": str,
    "reference": str,
}
COLUMNS = ("path", "target", "id", "start", "end", "split", "group")
# Whole recordings of any length must fit in memory: longer clips are cut, and their logits averaged.
DEFAULT_WINDOW_S = {"notes": 5.0}


def load_toml(path: Path) -> Task:
    """The task a TOML file describes. Raises TaskError naming the file and the key or line that is wrong."""
    spec = _read_toml(path)
    kind = spec["kind"]
    window = float(spec.get("window_s", DEFAULT_WINDOW_S.get(kind, 30.0)))
    frames = kind in FRAME_METRICS
    tail = float(spec.get("tail_s", 0.0 if frames else min(1.0, window)))
    names = spec.get("targets", ())
    each = tuple(f"r2_{name}" for name in names) if len(names) > 1 else ()
    task = Task(
        name=spec["name"],
        dataset=spec.get("dataset", spec["name"]),
        kind=kind,
        metrics=FRAME_METRICS[kind] if frames else CLIP_METRICS[kind] + each,
        clips=lambda root: [],
        windowing=Windowing(window, tail, spec.get("trim", False)),
        scored=spec.get("scored", "clip"),
        class_weight_alpha=float(spec.get("class_weight_alpha", 0.0)),
        disjoint_groups=spec.get("disjoint_groups", True),
        beat_decoder=spec.get("beat_decoder", "dbn"),
        labels=tuple(names if kind == "regression" else sorted(names)) or None,
        licence=spec.get("licence", "not stated"),
        reference=spec.get("reference", f"own data, {path.name}"),
        source=str(path.resolve()),
    )
    read = functools.partial(_clips, path.parent, path.parent / spec["metadata"], task, spec.get("split_seed", 0))
    return replace(task, clips=lambda root: read())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        spec = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; a task on your own data is a TOML file that exists") from None
    except OSError as error:
        raise TaskError(f"{path}: can't be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: not TOML: {error}") from None
    for key, value in spec.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(KEYS)}"
            raise TaskError(f"{path}: unknown key {key!r}; {hint}")
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and KEYS[key] is not bool):
            raise TaskError(f"{path}: {key} = {value!r} has the wrong type")
    for key in ("name", "kind", "metadata"):
        if key not in spec:
            raise TaskError(f"{path}: the key {key!r} is missing")
    _check_values(path, spec)
    return spec


def _check_values(path: Path, spec: dict[str, Any]) -> None:
    if spec["kind"] not in KINDS:
        raise TaskError(f"{path}: kind = {spec['kind']!r}; it is one of {', '.join(KINDS)}")
    if spec.get("scored", "clip") not in ("clip", "window"):
        raise TaskError(f"{path}: scored = {spec['scored']!r}; it is clip or window")
    if spec.get("beat_decoder", "dbn") not in ("dbn", "peaks"):
        raise TaskError(f"{path}: beat_decoder = {spec['beat_decoder']!r}; it is dbn or peaks")
    limits = {"window_s": 0.01, "tail_s": 0.0, "class_weight_alpha": 0.0}
    for key, least in limits.items():
        if key in spec and not least <= spec[key] < np.inf:
            raise TaskError(f"{path}: {key} = {spec[key]}; it is a number of at least {least:g}")
    if spec["kind"] in FRAME_METRICS and (spec.get("trim") or spec.get("scored") == "window"):
        raise TaskError(f'{path}: trim and scored = "window" are for clips with one label, not for {spec["kind"]}')
    names = spec.get("targets", ["x"])
    if spec["kind"] in FRAME_METRICS and "targets" in spec:
        raise TaskError(f"{path}: targets names labels or the values of a regression; kind = {spec['kind']!r}")
    if not names or len(set(map(str, names))) < len(names) or not all(isinstance(n, str) for n in names):
        raise TaskError(f"{path}: targets = {names}; it is a list of different names in quotes")
    for key in ("name", "dataset"):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", spec.get(key, "x")):
            raise TaskError(f"{path}: {key} = {spec[key]!r}; a name has only letters, digits, - and _")
    from svuprobe.tasks import TABLE

    if spec["name"] in TABLE:
        raise TaskError(f"{path}: name = {spec['name']!r} is a built-in task; choose another name")


def _clips(base: Path, metadata: Path, task: Task, split_seed: int) -> list[Clip]:
    rows: list[Clip] = []
    for line, row in _rows(metadata):
        rows.append(_clip(f"{metadata}:{line}", base, row, task))
        if task.kind == "regression" and len(rows[-1].target) != len(rows[0].target):
            raise TaskError(
                f"{metadata}:{line}: {len(rows[-1].target)} values, the first clip has {len(rows[0].target)}; "
                f"every clip has the same targets"
            )
    if not rows:
        raise TaskError(f"{metadata}: no clips in it, only a header")
    if task.kind == "multilabel" and not task.labels and not any(clip.target for clip in rows):
        raise TaskError(f"{metadata}: no clip has a label; labels are joined by | in the column target")
    given = [bool(clip.split) for clip in rows]
    if any(given) and not all(given):
        raise TaskError(f"{metadata}: {given.count(False)} clips have no split; give all of them one, or none")
    clips = rows if all(given) else _split(metadata, rows, task, split_seed)
    absent = [s for s in SPLITS if all(c.split != s for c in clips)]
    if absent:
        raise TaskError(f"{metadata}: no clip in split {' and '.join(absent)}; a probe needs all of {SPLITS}")
    return clips


def _rows(metadata: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines of the CSV with their numbers; ``label`` stands for ``target``."""
    try:
        with metadata.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                reader.fieldnames = names = _columns(metadata, reader.fieldnames or [])
                for row in reader:
                    if None in row or None in row.values():
                        raise TaskError(f"{metadata}:{reader.line_num}: not {len(names)} fields as in the header")
                    yield reader.line_num, {k: v.strip() for k, v in row.items()}
            except csv.Error as error:
                raise TaskError(f"{metadata}:{reader.line_num + 1}: not a CSV file: {error}") from None
    except FileNotFoundError:
        raise TaskError(f"{metadata}: no such file; the TOML's key metadata names it") from None
    except OSError as error:
        raise TaskError(f"{metadata}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"{metadata}: not a CSV file in UTF-8: {error}") from None


def _columns(metadata: Path, header: Sequence[str]) -> list[str]:
    names = ["target" if n.strip() == "label" else n.strip() for n in header]
    for needed in ("path", "target"):
        if needed not in names:
            raise TaskError(f"{metadata}:1: no column {needed!r}; there are {', '.join(names) or 'none'}")
    for name in names:
        if name not in COLUMNS:
            raise TaskError(f"{metadata}:1: unknown column {name!r}; there are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise TaskError(f"{metadata}:1: column {name!r} occurs twice (label is another name of target)")
    return names


def _clip(where: str, base: Path, row: dict[str, str], task: Task) -> Clip:
    for needed in ("path", "target"):
        if not row[needed] and not (needed == "target" and task.kind == "multilabel"):
            raise TaskError(f"{where}: {needed} is empty")
    start = _number(where, "start", row.get("start") or "0")
    end = _number(where, "end", row["end"]) if row.get("end") else None
    if start < 0 or (end is not None and end <= start):
        raise TaskError(f"{where}: start {start:g} s, end {end} s; 0 <= start < end")
    split = row.get("split", "")
    if split and split not in SPLITS:
        raise TaskError(f"{where}: split {split!r}; it is one of {', '.join(SPLITS)}")
    part = f"#{start:.10g}-{'' if end is None else f'{end:.10g}'}" if start or end is not None else ""
    clip_id = row.get("id") or row["path"] + part
    target = _target(where, base, row["target"], task, start, end)
    return Clip(clip_id, str(base / row["path"]), split, target, row.get("group") or row["path"], start, end)


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise TaskError(f"{where}: {name} {text!r} is not a number")
    return value


def _target(where: str, base: Path, text: str, task: Task, start: float, end: float | None) -> Any:
    if task.kind == "multiclass":
        return text
    if task.kind == "multilabel":
        return tuple(sorted({t.strip() for t in text.split("|") if t.strip()}))
    if task.kind == "regression":
        values = tuple(_number(where, "target", t) for t in text.split("|"))
        if task.labels and len(values) != len(task.labels):
            raise TaskError(f"{where}: {len(values)} values for the {len(task.labels)} targets of the TOML")
        return values
    last = np.inf if end is None else end
    if task.kind == "beats":
        times = read_beats(base / text)
        return tuple(t - start for t in times if start <= t < last)
    inside = (n for n in read_notes(base / text) if start <= n[0] < last)
    return tuple((a - start, min(b, last) - start, m) for a, b, m in inside)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                yield number, re.split(r"[,\s]+", line.strip())
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; a target column names it") from None
    except OSError as error:
        raise TaskError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not text in UTF-8: {error}") from None


def read_notes(path: Path) -> tuple[tuple[float, float, float], ...]:
    """Notes of a CSV file ``onset_s,offset_s,midi``, sorted by onset; a header line is skipped."""
    notes: list[tuple[float, float, float]] = []
    for number, cells in _lines(path):
        if not notes and cells[0] == "onset_s":
            continue
        if len(cells) != 3:
            raise TaskError(f"{path}:{number}: {len(cells)} fields; a note is onset_s,offset_s,midi")
        onset, offset, midi = (_number(f"{path}:{number}", "note", cell) for cell in cells)
        if offset <= onset:
            raise TaskError(f"{path}:{number}: offset {offset:g} s is not after onset {onset:g} s")
        if onset < 0:
            raise TaskError(f"{path}:{number}: onset {onset:g} s is before the file begins")
        notes.append((onset, offset, midi))
    return tuple(sorted(notes))


def read_beats(path: Path) -> tuple[float, ...]:
    """Beat times in s, sorted: the first column of a text file, as in ``.beats`` files."""
    times = []
    for number, cells in _lines(path):
        times.append(_number(f"{path}:{number}", "beat", cells[0]))
        if times[-1] < 0:
            raise TaskError(f"{path}:{number}: beat {times[-1]:g} s is before the file begins")
    return tuple(sorted(times))


def _split(metadata: Path, clips: list[Clip], task: Task, seed: int) -> list[Clip]:
    """60/20/20 by groups, classes spread evenly: three, one and one of five folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [clip.group for clip in clips]
    if len(set(groups)) < 5:
        raise TaskError(f"{metadata}: {len(set(groups))} groups are too few to split 60/20/20; give a split column")
    classes = [clip.target if task.kind == "multiclass" else "" for clip in clips]
    if max(Counter(classes).values()) < 5:  # no class can be in every fold
        classes = [""] * len(clips)
    folds = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class with fewer than five clips is fine here
        warnings.simplefilter("ignore", UserWarning)
        parts = [test for _, test in folds.split(clips, classes, groups)]
    split = np.full(len(clips), "train", dtype=object)
    split[parts[3]], split[parts[4]] = "valid", "test"
    return [replace(clip, split=s) for clip, s in zip(clips, split, strict=True)]
