"""Hold own data as one of its forms found them: rows of text, before they are clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Suffixes of files that are taken for recordings in a folder.
AUDIO = (".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")


@dataclass(frozen=True)
class Row:
    """Hold one clip as it is written: text under the names of `svuprobe.tasks.own.columns.COLUMNS`.

    Attributes
    ----------
    where
        ``FILE:LINE``, or the recording itself where no list names it.
    table, separator
        The list that it is from, if any, and what separates columns there: numbers of one list have
        the same decimal mark.
    """

    where: str
    cells: Mapping[str, str]
    table: str = ""
    separator: str = "\t"


@dataclass(frozen=True)
class Listing:
    """Hold what a form of own data says.

    Attributes
    ----------
    form
        In words, as "a CSV file".
    place
        The file or folder that holds the rows.
    base
        The folder that paths are relative to.
    says
        Keys of a TOML file that the form answers by itself, as its kind; a TOML's own come first.
    called
        Columns that have other names in the list, by ours.
    unused
        Columns of the list that mean nothing here.
    notes
        What else was understood, a sentence each without a full stop.
    """

    form: str
    place: Path
    base: Path
    rows: Sequence[Row]
    says: Mapping[str, Any] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
