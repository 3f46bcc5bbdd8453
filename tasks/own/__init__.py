"""Describe a task on your own data: a folder as it is, or a TOML file that says what.

``folder:PATH`` is a folder of class folders, of Hugging Face or of HEAR, or of recordings with a
file of notes or beats beside each (`svuprobe.tasks.own.folders`). Anything else, and any wish, is a
TOML file:

.. code-block:: toml

    name = "digits"
    kind = "multiclass"            # or another of svuprobe.tasks.kinds
    metadata = "digits.csv"        # columns: path, target, optional id, start, end, split, group
    window_s = 3.0                 # optional

Its keys are in `svuprobe.tasks.own.keys.KEYS`, the columns of a list in
`svuprobe.tasks.own.columns.COLUMNS`. Paths are relative to the TOML file. ``target`` (or ``label``)
is a label; labels joined by ``|`` (multilabel); numbers joined by ``|`` (regression); a file of
notes (CSV of ``onset_s,offset_s,midi``, JAMS, MIDI) or beats (a text file of times, JAMS), in
seconds of the audio file; a text (sequence). ``start`` and ``end``, in seconds, take a part of the
file. How a CSV file may be written, in any locale: `svuprobe.tasks.sheets`. Labels and groups are
compared as composed characters with single blanks.

How clips without a split get one: `svuprobe.tasks.own.splits`. Without a ``group`` column the file
is the group. The key ``folds`` deals clips to so many folds in the same way, and a column ``fold``
says which fold each is in: then every clip is tested once (`svuprobe.tasks.folds`).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.metrics import ERRORS
from svuprobe.tasks.own import folders, tables
from svuprobe.tasks.own.clips import clips_of
from svuprobe.tasks.own.columns import COLUMNS
from svuprobe.tasks.own.keys import KEYS, columns_of, is_name, read_toml
from svuprobe.tasks.own.listing import Listing
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

__all__ = ["COLUMNS", "KEYS", "is_own", "is_there", "listing_of", "load", "path_of"]

_FOLDER = "folder:"


def is_own(name: str) -> bool:
    """Tell whether a task's name is of own data: a TOML file, or ``folder:PATH``."""
    return name.endswith(".toml") or name.startswith(_FOLDER)


def path_of(name: str) -> Path:
    """Return the TOML file or the folder that a name of own data is of."""
    if not name.startswith(_FOLDER):
        return Path(name)
    # A shell leaves ~ as it is after the colon.
    return Path(os.path.expanduser(name.removeprefix(_FOLDER)))


def is_there(name: str) -> bool:
    """Tell whether what a name of own data is of can still be found."""
    path = path_of(name)
    # (Unlike Path's, these are false for a name that no file can have.)
    return os.path.isdir(path) if name.startswith(_FOLDER) else os.path.isfile(path)


def at(name: str, path: str | os.PathLike[str]) -> str:
    """Return the name of the same own data at another path."""
    return f"{_FOLDER if name.startswith(_FOLDER) else ''}{os.fspath(path)}"


def load(name: str) -> Task:
    """Return the task of a TOML file or of a folder.

    Raises
    ------
    TaskError
        Names the file and the key, line or recording that is wrong.
    """
    if name.startswith(_FOLDER):
        return _of_folder(path_of(name))
    path = Path(name)
    spec = read_toml(path)
    if "folder" in spec:
        # What a folder is decides what it asks: it is looked at now.
        spec = dict(_listing(path.parent, spec).says) | spec
    return _task(path, spec, str(path.resolve()))


def _of_folder(folder: Path) -> Task:
    listing = _listing(folder, _spec_of(folder))
    return _task(folder, dict(listing.says) | _spec_of(folder), f"{_FOLDER}{folder.resolve()}")


def _spec_of(folder: Path) -> dict[str, Any]:
    """Return the keys of a TOML file that says no more than the folder."""
    if "\0" in str(folder):
        raise TaskError(f"{ascii(str(folder))}: no folder has a null character in its name")
    # The folder's own name, also of ".": what no name may hold becomes a hyphen.
    own = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", own).strip("-_")[:64]
    if not is_name(name):
        raise TaskError(
            f"{folder}: the folder's name makes none for a task; name it in a TOML file: name = "
            f'"...", folder = "{folder}"'
        )
    return {"name": name, "folder": "."}


def _task(path: Path, spec: Mapping[str, Any], source: str) -> Task:
    """Return the task that keys describe; ``path`` is what errors name."""
    _refuse_contradictions(path, spec)
    kind = kinds.named(spec["kind"]).reading(spec)
    window = float(spec.get("window_s", kind.window_s))
    tail = float(spec.get("tail_s", kind.tail_s(window)))
    names = kind.names_of(spec.get("targets", ()), columns_of(spec).get("target", ()))
    task = Task(
        name=spec["name"],
        dataset=spec.get("dataset", spec["name"]),
        kind=kind.name,
        metrics=_ranked(path, kind.metrics_of(names), spec.get("metric")),
        clips=lambda root: [],
        windowing=Windowing(window, tail, spec.get("trim", False)),
        scored=spec.get("scored", "clip"),
        class_weight_alpha=float(spec.get("class_weight_alpha", 0.0)),
        disjoint_groups=spec.get("disjoint_groups", True),
        beat_decoder=spec.get("beat_decoder", "dbn"),
        labels=kind.declared(names) or None,
        licence=spec.get("licence", "not stated"),
        reference=spec.get("reference", f"own data, {path.resolve().name}"),
        source=source,
    )

    base = path if source.startswith(_FOLDER) else path.parent

    def clips(root: Path) -> list[Clip]:
        # A list is read when clips are asked for: a list of tasks needs none.
        return clips_of(_listing(base, spec), task, spec)

    return replace(task, clips=clips)


def _ranked(path: Path, metrics: tuple[str, ...], first: str | None) -> tuple[str, ...]:
    """Return metrics with the one that ranks first."""
    if first is None:
        return metrics
    if first not in metrics:
        raise TaskError(f"{path}: metric = {first[:80]!r}; {did_you_mean(first, metrics)}")
    if first.startswith(ERRORS):
        raise TaskError(
            f"{path}: metric = {first!r} is a measure of errors, of which less is better; what "
            f"ranks is one of {', '.join(name for name in metrics if not name.startswith(ERRORS))}"
        )
    return (first, *(name for name in metrics if name != first))


def _listing(base: Path, spec: Mapping[str, Any]) -> Listing:
    """Return the rows of own data; paths are relative to ``base``."""
    chosen = columns_of(spec)
    if "metadata" in spec:
        return tables.read(base / spec["metadata"], base, chosen)
    kind = kinds.named(spec["kind"]) if "kind" in spec else None
    return folders.read(base / spec["folder"], kind, chosen)


def listing_of(task: Task) -> Listing:
    """Return the rows that a task on own data is made of, as they are now."""
    path = path_of(task.source)
    if task.source.startswith(_FOLDER):
        return _listing(path, _spec_of(path))
    return _listing(path.parent, read_toml(path))


def _refuse_contradictions(path: Path, spec: Mapping[str, Any]) -> None:
    """Raise TaskError where keys that are right alone do not go together."""
    kind = kinds.named(spec["kind"])
    for name in kinds.TABLE:
        for key in kinds.named(name).keys:
            if key in spec and key not in kind.keys:
                raise TaskError(
                    f"{path}: {key} = {ascii(spec[key])[:80]}; the key is for kind = {name!r}, and "
                    f"this is {kind.name!r}"
                )
    kind.check_keys(path, spec)
    window = spec.get("window_s", kind.window_s)
    if spec.get("tail_s", 0) > window:
        raise TaskError(
            f"{path}: tail_s = {spec['tail_s']}; a rest is never longer than window_s = {window}"
        )
    from svuprobe.tasks import TABLE

    if spec["name"] in TABLE:
        hint = "" if path.suffix == ".toml" else " in a TOML file with folder = ..."
        raise TaskError(
            f"{path}: name = {spec['name']!r} is a built-in task; choose another name{hint}"
        )
