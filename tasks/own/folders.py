"""Read a folder as people keep one: of classes, of Hugging Face, or with annotations beside the
recordings.

Above all of these, folders called as splits (``train``, ``val``, ``test``, ...) give them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.own import columns, hear, splits, tables
from svuprobe.tasks.own.listing import AUDIO, Listing, Row
from svuprobe.tasks.sheets import normal
from svuprobe.tasks.types import TaskError

# Lists of clips as Hugging Face calls them, in the order in which one is taken of several.
LISTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_NAMED = 3


def read(folder: Path, kind: Kind | None, chosen: Mapping[str, Sequence[str]]) -> Listing:
    """Read a folder; what is found in it decides which form it is.

    Parameters
    ----------
    kind
        What the TOML says; None where nothing does.
    chosen
        Our columns -> names in the lists of a Hugging Face folder, where the TOML says so.

    Raises
    ------
    TaskError
        There is no such folder, it holds no recordings, or it is none of the forms; names the
        file.
    """
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "no such folder"
        raise TaskError(f"{folder}: {what}; a folder of recordings, or of folders of them")
    if (folder / hear.METADATA).is_file():
        return hear.read(folder)
    files = sorted(_files(folder))
    lists = [path for path in files if path.name.lower() in LISTS]
    recordings = [path for path in files if path.suffix.lower() in AUDIO]
    if lists:
        return _audio_folder(folder, lists, recordings, chosen)
    if not recordings:
        raise TaskError(f"{folder}: no recordings in it ({', '.join(AUDIO)})")
    if chosen:
        raise TaskError(f"{folder}: [columns] is for lists, and there is none ({', '.join(LISTS)})")
    beside = kind if kind is not None and kind.sidecars else _annotated(folder, kind, recordings)
    if beside is not None:
        return _with_annotations(folder, beside, recordings)
    return _classes(folder, recordings)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files of a folder, relative to it, but hidden ones.

    Links to folders are followed, but no folder is read twice: of a folder and links to it, it
    counts under its own name where it lies beside them, else under the first.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Apple's archives hold a second file for each, in a folder of its own or hidden.
        folders[:] = [each for each in folders if each[0] != "." and each != "__MACOSX"]
        # (The system's own order is another on every disk.)
        folders.sort(key=lambda name: (os.path.islink(os.path.join(parent, name)), name))
        for name in names:
            if not name.startswith("."):
                yield Path(parent, name).relative_to(folder)


# -- splits above ---------------------------------------------------------------------------------


def _split_folders(folder: Path, recordings: Sequence[Path]) -> bool:
    """Tell whether the uppermost folders are splits: all called so, or train and test among them.

    Raises TaskError, naming one, where others stand beside such.
    """
    tops = {path.parts[0] for path in recordings if len(path.parts) > 1}
    called = {top for top in tops if top.lower() in splits.NAMES}
    meant = {splits.NAMES[top.lower()] for top in called}
    if tops == called and len(meant) > 1:
        return True
    if {"train", "test"} <= meant:
        other = sorted(tops - called)[0]
        raise TaskError(
            f"{folder / other}: stands beside {' and '.join(sorted(called))}, which are splits; "
            "move it into one, or out"
        )
    return False


# -- classes --------------------------------------------------------------------------------------


def _classes(folder: Path, recordings: Sequence[Path]) -> Listing:
    """Read a folder of class folders: the uppermost one, below a split, names the class."""
    in_splits = _split_folders(folder, recordings)
    depth = 1 if in_splits else 0
    nested = 0
    rows = []
    for path in recordings:
        parts = path.parts[depth:]
        if len(parts) < 2:
            raise TaskError(
                f"{folder / path}: lies in no class folder; a folder of classes has one for each "
                f"label (or a list: {', '.join(LISTS)})"
            )
        nested += len(parts) > 2
        cells = {"path": path.as_posix(), "target": normal(parts[0])}
        if in_splits:
            cells["split"] = path.parts[0]
        rows.append(Row(str(folder / path), cells))
    classes = sorted({row.cells["target"] for row in rows})
    if len(classes) < 2:
        raise TaskError(
            f"{folder}: one class folder, {classes[0]!r}; of a folder of classes there are two or "
            f"more (is it folder:{folder / classes[0]}?)"
        )
    notes = []
    if nested:
        notes.append(
            f"{nested} recordings lie in folders within their class; a TOML's group_pattern "
            "makes groups of such"
        )
    return Listing(
        f"a folder of {len(classes)} classes",
        folder,
        folder,
        rows,
        says={"kind": next(iter(kinds.TABLE))},
        notes=tuple(notes),
    )


# -- annotations beside recordings ----------------------------------------------------------------


def _annotated(folder: Path, kind: Kind | None, recordings: Sequence[Path]) -> Kind | None:
    """Return the one kind of which every recording has an annotation beside it, if any."""
    if kind is not None:
        return None
    fitting = []
    for name in kinds.TABLE:
        other = kinds.named(name)
        if other.sidecars and all(_beside(folder, path, other) for path in recordings):
            fitting.append(other)
    if len(fitting) > 1:
        names = " or ".join(each.name for each in fitting)
        raise TaskError(
            f"{folder}: annotations lie beside the recordings; a TOML with folder and kind says "
            f"whether they are {names}"
        )
    return fitting[0] if fitting else None


def _beside(folder: Path, recording: Path, kind: Kind) -> list[Path]:
    """Return the annotations beside a recording, relative to the folder."""
    found = []
    for end in kind.sidecars:
        path = recording.with_name(recording.stem + end)
        if (folder / path).is_file():
            found.append(path)
    return found


def _with_annotations(folder: Path, kind: Kind, recordings: Sequence[Path]) -> Listing:
    """Read a folder of recordings of which each has a file of events beside it."""
    in_splits = _split_folders(folder, recordings)
    rows = []
    for path in recordings:
        beside = _beside(folder, path, kind)
        if len(beside) != 1:
            names = " and ".join(each.name for each in beside) or "nothing"
            ends = ", ".join(kind.sidecars)
            raise TaskError(
                f"{folder / path}: {names} beside it; {kind.name} are in one file of the same name "
                f"({ends})"
            )
        cells = {"path": path.as_posix(), "target": beside[0].as_posix()}
        if in_splits:
            cells["split"] = path.parts[0]
        rows.append(Row(str(folder / path), cells))
    return Listing(
        f"a folder of recordings with {kind.name} beside them",
        folder,
        folder,
        rows,
        says={"kind": kind.name},
    )


# -- Hugging Face ---------------------------------------------------------------------------------


def _audio_folder(
    folder: Path,
    lists: Sequence[Path],
    recordings: Sequence[Path],
    chosen: Mapping[str, Sequence[str]],
) -> Listing:
    """Read Hugging Face's audio folder: lists with a column ``file_name``, one or one a split."""
    parents = [path.parent for path in lists]
    for path in lists:
        if parents.count(path.parent) > 1:
            names = sorted(each.name for each in lists if each.parent == path.parent)
            raise TaskError(f"{folder / path.parent}: {' and '.join(names)}; keep one of the two")
    rows: list[Row] = []
    read_lists = []
    for path in lists:
        listing = tables.read(folder / path, folder / path.parent, chosen)
        read_lists.append(listing)
        for row in listing.rows:
            rows.append(_placed(folder, path.parent, row))
    first = read_lists[0]
    _give_splits(rows)
    named = {os.path.normpath(row.cells["path"]) for row in rows}
    for row in rows:
        # (Unlike Path's, it is false for a name that no file can have.)
        if row.cells["path"] and not os.path.isfile(folder / row.cells["path"]):
            raise TaskError(
                f"{row.where}: {columns.FILE_NAME} {row.cells['path'][:80]!r} is no file in "
                f"{folder}"
            )
    notes = []
    unnamed = [path.as_posix() for path in recordings if os.path.normpath(path) not in named]
    if unnamed:
        some = ", ".join(unnamed[:_NAMED]) + (", ..." if len(unnamed) > _NAMED else "")
        notes.append(f"{len(unnamed)} recordings are in no list and left out ({some})")
    return Listing(
        f"an audio folder with {', '.join(path.as_posix() for path in lists[:_NAMED])}",
        folder,
        folder,
        rows,
        says={"kind": suiting([row.cells["target"] for row in rows]).name},
        called=first.called,
        unused=first.unused,
        notes=tuple(notes),
    )


def _placed(folder: Path, parent: Path, row: Row) -> Row:
    """Return a row whose path is relative to the folder, not to the list it is from."""
    cells = dict(row.cells)
    if cells["path"]:
        cells["path"] = (parent / cells["path"]).as_posix()
    if parent != Path() and os.path.isfile(folder / parent / cells["target"]):
        # A file of notes or beats, named as the recording is.
        cells["target"] = (parent / cells["target"]).as_posix()
    return replace(row, cells=cells)


def _give_splits(rows: list[Row]) -> None:
    """Give rows without a split the one that a folder of their path is called, if all have one."""
    if any(row.cells.get("split") or row.cells.get("fold") for row in rows):
        return
    given = []
    for row in rows:
        folders = Path(row.cells["path"]).parts[:-1]
        given.append(next((each for each in folders if each.lower() in splits.NAMES), ""))
    # Data that are all called train are not split yet.
    if not all(given) or len({splits.NAMES[each.lower()] for each in given}) < 2:
        return
    for number, row in enumerate(rows):
        rows[number] = replace(row, cells=dict(row.cells) | {"split": given[number]})


def suiting(cells: Sequence[str]) -> Kind:
    """Return the kind that a column ``target`` looks like; the one of labels asks least."""
    filled = [cell for cell in cells if cell]
    for name in reversed(kinds.TABLE):
        kind = kinds.named(name)
        if kind.suits(filled):
            return kind
    raise AssertionError("a kind suits everything")
