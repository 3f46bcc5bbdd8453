"""Name the columns of a list of clips, and find them under the names that people give them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from svuprobe._errors import did_you_mean
from svuprobe.tasks.types import TaskError

FILE_NAME = "file_name"  # as Hugging Face calls the column of paths
_MISSPELT = 0.75  # of difflib's ratio: from here on an unused column is like one of ours


@dataclass(frozen=True)
class Column:
    """Say what a column means, and the names by which it is known without being told."""

    meaning: str
    names: tuple[str, ...]
    needed: bool = False


COLUMNS = {
    "path": Column(
        "the recording; relative to the TOML file, or to the list itself where the column is "
        "called file_name",
        ("path", FILE_NAME),
        needed=True,
    ),
    "target": Column(
        "the label; labels or numbers joined by | (multilabel, regression); a file of notes or "
        "beats (CSV, JAMS, MIDI); a text, or a file of it (sequence)",
        ("target", "label"),
        needed=True,
    ),
    "id": Column("a name of the clip, once in the list; the path if not given", ("id",)),
    "start": Column("where the clip begins in the file, seconds", ("start",)),
    "end": Column("where it ends, seconds", ("end",)),
    "split": Column("train, valid or test, or another name of these (val, dev, eval)", ("split",)),
    "group": Column(
        "the speaker, singer, song, ... that is whole in one split; the file if not given",
        ("group",),
    ),
    "fold": Column("any text or number: cross-validation in place of splits", ("fold",)),
}


def candidates(chosen: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
    """Return the names that each needed column may have; of a target of several columns, each."""
    needed: list[Sequence[str]] = []
    for name, column in COLUMNS.items():
        if name in chosen:
            needed += [[theirs] for theirs in chosen[name]]
        elif column.needed:
            needed.append(column.names)
    return needed


def find(
    where: str, header: Sequence[str], chosen: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Find our columns in a header: our name -> names in the list, several of a target.

    Parameters
    ----------
    where
        ``FILE:LINE`` of the header.
    chosen
        What the TOML's table ``[columns]`` says.

    Raises
    ------
    TaskError
        A needed column is not there, two may be meant, or one occurs twice.
    """
    found = {}
    for name, column in COLUMNS.items():
        if name in chosen:
            found[name] = list(chosen[name])
            for theirs in chosen[name]:
                if theirs not in header:
                    raise TaskError(
                        f"{where}: no column {theirs!r}, which [columns] {name} names; "
                        f"{did_you_mean(theirs, header)}"
                    )
            continue
        names = [theirs for theirs in header if theirs.lower() in column.names]
        different = list(dict.fromkeys(names))
        if len(different) > 1:
            raise TaskError(
                f"{where}: columns {' and '.join(map(repr, different))} may both be the {name}; "
                f"a TOML's [columns] {name} = {different[0]!r} says which"
            )
        if different:
            found[name] = different
        elif column.needed:
            also = f" (or {', '.join(column.names[1:])})" if column.names[1:] else ""
            raise TaskError(
                f"{where}: no column {name!r}{also}; there are {', '.join(header) or 'none'}: a "
                f"TOML's [columns] {name} = ... names one of them"
            )
    for theirs in (theirs for names in found.values() for theirs in names):
        if header.count(theirs) > 1:
            raise TaskError(f"{where}: column {theirs!r} occurs twice")
    return found


def unused(header: Sequence[str], found: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the columns that mean nothing here; one like a column of ours says so."""
    used = {theirs for names in found.values() for theirs in names}
    absent = [name for name in COLUMNS if name not in found]
    said = []
    for theirs in dict.fromkeys(header):
        if theirs in used:
            continue
        like = difflib.get_close_matches(theirs.lower(), absent, n=1, cutoff=_MISSPELT)
        said.append(f"{theirs} (is it {like[0]}?)" if like else theirs)
    return tuple(said)
