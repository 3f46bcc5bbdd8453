"""Describe a task on your own data: a TOML file that says what, and a CSV file with one clip a
line.

.. code-block:: toml

    name = "digits"
    kind = "multiclass"            # multiclass | multilabel | regression | notes | beats
    metadata = "digits.csv"        # columns: path, target, optional id, start, end, split, group
    window_s = 3.0                 # optional
    folds = 5                      # optional: cross-validation in place of a split

Paths are relative to the TOML file. ``target`` (or ``label``) is a label; labels joined by ``|``
(multilabel); numbers joined by ``|`` (regression); a CSV of ``onset_s,offset_s,midi`` (notes) or a
text file of times (beats), in seconds of the audio file. ``start`` and ``end``, in seconds, take a
part of the file. The key ``targets`` lists the names of the values of a regression, or all labels
where some may not occur. How the CSV file may be written, in any locale: `svuprobe.tasks.sheets`.
Labels and groups are compared as composed characters with single blanks.

Without a ``split`` column clips are split 60/20/20 at random but reproducibly, with every ``group``
whole in one split and, for multiclass, classes spread evenly. Without a ``group`` column the file
is the group. The key ``folds`` deals clips to so many folds in the same way, and a column ``fold``
says which fold each is in: then every clip is tested once (`svuprobe.tasks.folds`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._errors import did_you_mean
from svuprobe._files import parse_toml
from svuprobe.tasks import folds, kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.sheets import LATEST_S, Cell, Numbers, normal, read_text, table
from svuprobe.tasks.types import SPLITS, Clip, Task, TaskError, Windowing

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Key:
    """Say what a key of the TOML file may hold: values of some types that ``allowed`` accepts.

    ``rule`` says in words what those are.
    """

    types: tuple[type, ...]
    allowed: Callable[[Any], bool]
    rule: str


def _range(least: float, most: float) -> Key:
    return Key(
        (int, float),
        lambda value: least <= value <= most,
        f"a number from {least:g} to {most:,.10g}",
    )


def _choice(*choices: str) -> Key:
    return Key((str,), lambda value: value in choices, f"one of {', '.join(choices)}")


def _is_name(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value) is not None


def _are_names(values: list[Any]) -> bool:
    different = set()
    for value in values:
        # | separates the labels of a clip in the CSV file.
        if isinstance(value, str) and value.isprintable() and "|" not in value:
            different.add(normal(value))
    return 0 < len(values) == len(different - {""})


_NAME = Key(
    (str,), _is_name, "a name: at most 64 letters, digits, - and _, the first a letter or digit"
)
_YES = Key((bool,), lambda value: True, "true or false")
_LINE = Key(
    (str,),
    lambda value: value.isprintable() and 0 < len(value) <= 1000,
    "one line of at most 1000 characters",
)
# The first three are needed. TOML knows nan, inf and whole numbers of any length.
KEYS = {
    "name": _NAME,
    "kind": Key((str,), kinds.TABLE.__contains__, f"one of {', '.join(kinds.TABLE)}"),
    "metadata": _LINE,
    "dataset": _NAME,
    "window_s": _range(0.01, _DAY_S),
    "tail_s": _range(0.0, _DAY_S),
    "trim": _YES,
    "scored": _choice("clip", "window"),
    "targets": Key(
        (list,), _are_names, "a list of different names in quotes, none empty or with |"
    ),
    "class_weight_alpha": _range(0.0, 4.0),
    "disjoint_groups": _YES,
    "beat_decoder": _choice("dbn", "peaks"),
    "split_seed": Key(
        (int,), lambda value: 0 <= value < 1 << 32, "a whole number from 0 to 4294967295"
    ),
    "folds": Key((int,), lambda value: 2 <= value <= 1000, "a whole number from 2 to 1000"),
    "licence": _LINE,
    "reference": _LINE,
}
COLUMNS = ("path", "target", "id", "start", "end", "split", "group", "fold")


def load_toml(path: Path) -> Task:
    """Return the task a TOML file describes.

    Raises TaskError naming the file and the key or line that is wrong.
    """
    spec = _read_toml(path)
    kind = kinds.named(spec["kind"])
    window = float(spec.get("window_s", kind.window_s))
    tail = float(spec.get("tail_s", kind.tail_s(window)))
    names = [normal(name) for name in spec.get("targets", ())]
    task = Task(
        name=spec["name"],
        dataset=spec.get("dataset", spec["name"]),
        kind=kind.name,
        metrics=kind.metrics_of(names),
        clips=lambda root: [],
        windowing=Windowing(window, tail, spec.get("trim", False)),
        scored=spec.get("scored", "clip"),
        class_weight_alpha=float(spec.get("class_weight_alpha", 0.0)),
        disjoint_groups=spec.get("disjoint_groups", True),
        beat_decoder=spec.get("beat_decoder", "dbn"),
        labels=kind.declared(names) or None,
        licence=spec.get("licence", "not stated"),
        reference=spec.get("reference", f"own data, {path.name}"),
        source=str(path.resolve()),
    )
    # The CSV file is read when clips are asked for: a list of tasks needs none.
    read = functools.partial(
        _clips,
        path.parent,
        path.parent / spec["metadata"],
        task,
        spec.get("split_seed", 0),
        spec.get("folds", 0),
    )
    return replace(task, clips=lambda root: read())


def _read_toml(path: Path) -> dict[str, Any]:
    text = read_text(path, "a task on your own data is a TOML file that exists", "TOML")
    try:
        spec = parse_toml(text)
    except ValueError as error:
        raise TaskError(f"{path}: not TOML: {error}") from None
    for key, value in spec.items():
        if key not in KEYS:
            raise TaskError(f"{path}: unknown key {key!r}; {did_you_mean(key, KEYS)}")
        rule = KEYS[key]
        # Python takes true for a 1; TOML does not.
        if not isinstance(value, rule.types) or (
            isinstance(value, bool) and bool not in rule.types
        ):
            raise TaskError(
                f"{path}: {key} = {_shown(value)} has the wrong type; it is {rule.rule}"
            )
        if not rule.allowed(value):
            raise TaskError(f"{path}: {key} = {_shown(value)}; it is {rule.rule}")
    for key in ("name", "kind", "metadata"):
        if key not in spec:
            raise TaskError(f"{path}: the key {key!r} is missing")
    _refuse_contradictions(path, spec)
    return spec


def _shown(value: Any) -> str:
    """Return a value as part of one line; a whole number may be too long for Python to write."""
    try:
        text = repr(value)
    except ValueError:
        return "a very long number"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse_contradictions(path: Path, spec: dict[str, Any]) -> None:
    """Raise TaskError where keys that are right alone do not go together."""
    kind = kinds.named(spec["kind"])
    kind.check_keys(path, spec)
    window = spec.get("window_s", kind.window_s)
    if spec.get("tail_s", 0) > window:
        raise TaskError(
            f"{path}: tail_s = {spec['tail_s']}; a rest is never longer than window_s = {window}"
        )
    from svuprobe.tasks import TABLE

    if spec["name"] in TABLE:
        raise TaskError(f"{path}: name = {spec['name']!r} is a built-in task; choose another name")


def _clips(base: Path, metadata: Path, task: Task, seed: int, n_folds: int) -> list[Clip]:
    kind = kinds.of(task)
    separator, lines = _rows(metadata)
    read = _Rows(base, task, _numbers(metadata, separator, lines, kind))
    places = [f"{metadata}:{line}" for line, _ in lines]
    rows = [read.clip(where, row) for where, (_, row) in zip(places, lines, strict=True)]
    if not rows:
        raise TaskError(f"{metadata}: no clips in it, only a header")
    kind.check_targets(metadata, places, [clip.target for clip in rows], task.labels or ())
    if n_folds or any(clip.fold for clip in rows):
        return _in_folds(metadata, rows, task, seed, n_folds)
    # Dealing out the rest alone would put parts of one singer on both sides.
    given = [bool(clip.split) for clip in rows]
    if any(given) and not all(given):
        raise TaskError(
            f"{metadata}: {given.count(False)} clips have no split; give all of them one, or none"
        )
    clips = rows if all(given) else _split(metadata, rows, task, seed)
    there = {clip.split for clip in clips}
    absent = [split for split in SPLITS if split not in there]
    if absent:
        raise TaskError(
            f"{metadata}: no clip in split {' and '.join(absent)}; a probe needs all of {SPLITS}"
        )
    return clips


def _rows(metadata: Path) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """Read what separates columns, and the CSV's lines with their numbers; ``label`` is
    ``target``.
    """
    # Encodings and separators as spreadsheets write them are understood there.
    text = read_text(metadata, "the TOML's key metadata names it")
    separator, lines = table(metadata, text, (("path",), ("target", "label")))
    number, header = next(lines, (1, []))
    names = _columns(f"{metadata}:{number}", header)
    return separator, [(number, dict(zip(names, cells, strict=True))) for number, cells in lines]


def _columns(where: str, header: Sequence[str]) -> list[str]:
    names = ["target" if name == "label" else name for name in header]
    for needed in ("path", "target"):
        if needed not in names:
            raise TaskError(
                f"{where}: no column {needed!r}; there are {', '.join(names) or 'none'}"
            )
    for name in names:
        if name not in COLUMNS:
            raise TaskError(f"{where}: unknown column {name!r}; there are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise TaskError(
                f"{where}: column {name!r} occurs twice (label is another name of target)"
            )
    return names


def _numbers(
    metadata: Path, separator: str, lines: Sequence[tuple[int, dict[str, str]]], kind: Kind
) -> Numbers:
    """Return the reader of the CSV file's numbers: times, and targets that are numbers."""
    cells = []
    for number, row in lines:
        texts = [row.get("start", ""), row.get("end", ""), *kind.numbers_in(row["target"])]
        cells += [Cell(f"{metadata}:{number}", text) for text in texts]
    return Numbers(separator, cells)


class _Rows:
    """Make clips of the lines of the CSV file; a file of events is read once, however many name
    it.
    """

    def __init__(self, base: Path, task: Task, numbers: Numbers) -> None:
        self.base, self.task, self.numbers = base, task, numbers
        self.kind = kinds.of(task)
        self.events: dict[Path, Sequence[Any]] = {}

    def clip(self, where: str, row: dict[str, str]) -> Clip:
        """Return the clip of a line. Raises TaskError where a cell is wrong."""
        for needed in ("path", "target"):
            if not row[needed] and not (needed == "target" and self.kind.may_be_empty):
                raise TaskError(f"{where}: {needed} is empty")
        start = self._time(where, "start", row.get("start") or "0")
        end = self._time(where, "end", row["end"]) if row.get("end") else None
        if end is not None and end <= start:
            raise TaskError(f"{where}: start {start:g} s, end {end} s; 0 <= start < end")
        split = row.get("split", "")
        if split and split not in SPLITS:
            raise TaskError(f"{where}: split {split!r}; it is one of {', '.join(SPLITS)}")
        # Parts of one file need ids that differ.
        part = (
            f"#{start:.10g}-{'' if end is None else f'{end:.10g}'}"
            if start or end is not None
            else ""
        )
        clip_id = row.get("id") or row["path"] + part
        target = self._target(where, row["target"], start, end)
        group = normal(row.get("group", "")) or row["path"]
        fold = normal(row.get("fold", ""))
        return Clip(clip_id, str(self.base / row["path"]), split, target, group, start, end, fold)

    def _time(self, where: str, name: str, text: str) -> float:
        return self.numbers.read(Cell(where, text), name, 0.0, LATEST_S, " s")

    def _target(self, where: str, text: str, start: float, end: float | None) -> Any:
        if isinstance(self.kind, ClipKind):
            return self.kind.parse(Cell(where, text), self.numbers, self.task.labels or ())
        assert isinstance(self.kind, FrameKind)
        # Many clips may be parts of one recording: its events are read once.
        path = self.base / text
        if path not in self.events:
            self.events[path] = self.kind.read(path)
        return self.kind.cut(self.events[path], start, np.inf if end is None else end)


def _in_folds(metadata: Path, clips: list[Clip], task: Task, seed: int, n_folds: int) -> list[Clip]:
    """Return clips in the folds of their column, or dealt out to ``n_folds``."""
    if any(clip.split for clip in clips):
        raise TaskError(
            f"{metadata}: clips have a split and folds; with folds every clip is tested once, so "
            "leave out one of the two"
        )
    if n_folds and any(clip.fold for clip in clips):
        raise TaskError(
            f"{metadata}: has a column fold, and the TOML says folds = {n_folds}; leave out one of "
            "the two"
        )
    if n_folds:
        return folds.dealt(clips, task, n_folds, seed)
    folds.check(task, clips)
    return [replace(clip, split="test") for clip in clips]


def _split(metadata: Path, clips: list[Clip], task: Task, seed: int) -> list[Clip]:
    """Split 60/20/20 by groups, classes spread evenly: three, one and one of five folds."""
    # A group is whole in one fold, so five are needed for five folds.
    n_groups = len({clip.group for clip in clips})
    if n_groups < 5:
        raise TaskError(
            f"{metadata}: {n_groups} groups are too few to split 60/20/20; give a split column"
        )
    split_of = ("train", "train", "train", "valid", "test")
    part = folds.parts_of(clips, task, 5, seed).tolist()
    return [replace(clip, split=split_of[n]) for clip, n in zip(clips, part, strict=True)]
