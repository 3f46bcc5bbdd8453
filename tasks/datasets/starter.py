"""Starter: 1,412 short recordings under open licences that come with svuprobe.

Layout: folders of audio and ``sources.csv``, a row a recording: its file, the tasks that ask of it,
its labels (digit; instrument family; pitch as a MIDI number), group, split, seconds, source,
author, licence and SHA-256. LICENCES.md beside it holds what the licences ask for. The script
``tests/by_hand/make_starter.py`` made the audio and the table from a manifest of recordings.

========  =====  =================================================================  ============
folder    files  what                                                               licence
========  =====  =================================================================  ============
digits    800    spoken digits of 4 speakers, each 20 times, 8 kHz                  CC BY-SA 4.0
rendered  528    notes of a soundfont: 33 instruments in 11 families, 8 pitches at  MIT
                 2 velocities, the first 2 s, 16 kHz
nsynth    40     notes of NSynth's test set: 33 instruments in 9 families, the      CC BY 4.0
                 first 2 s, 16 kHz
sung      43     single notes of one singer, 22.05 kHz                              MIT
solo      1      9 s of unaccompanied singing, 44.1 kHz; no task asks of it         CC BY 4.0
========  =====  =================================================================  ============

A recording is in one split, whatever the task, and so is its group: speaker, instrument or singer.
What is trained on these recordings may use ``in_splits(["train"])`` alone, and nothing whose
SHA-256 is the ``sha256`` or the ``original_sha256`` of another.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from svuprobe.tasks.types import TaskError

DATASET = "starter"
HOURS = 0.42
FOLDER = Path(__file__).with_name("starter")
TABLE = "sources.csv"
COLUMNS = (
    *("file", "tasks", "digit", "family", "midi", "group", "split"),
    *("seconds", "source", "author", "licence", "sha256", "original_sha256"),
)
_AGAIN = "it comes with svuprobe: install that again"
LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT")


@dataclass(frozen=True)
class Recording:
    """One recording; ``digit``, ``family`` and ``midi`` are empty where they do not apply."""

    file: str  # below the folder of the dataset, with / between folders
    path: Path
    tasks: tuple[str, ...]
    digit: str
    family: str
    midi: str
    group: str
    split: str
    seconds: float
    source: str
    author: str
    licence: str
    sha256: str
    original_sha256: str  # of the file it was cut from; its own where it is that file


def recordings(root: Path = FOLDER) -> list[Recording]:
    """Read every recording from the table of the dataset.

    Raises
    ------
    TaskError
        The table is absent or has other columns.
    """
    path = root / TABLE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = tuple(reader.fieldnames or ())
    except OSError as error:
        raise TaskError(f"{path}: can't be read ({error.strerror}); {_AGAIN}") from None
    if columns != COLUMNS:
        raise TaskError(f"{path}: its columns are not {','.join(COLUMNS)}; {_AGAIN}")
    found = []
    for row in rows:
        found.append(
            Recording(
                file=row["file"],
                path=root / row["file"],
                tasks=tuple(row["tasks"].split("|")) if row["tasks"] else (),
                digit=row["digit"],
                family=row["family"],
                midi=row["midi"],
                group=row["group"],
                split=row["split"],
                seconds=float(row["seconds"]),
                source=row["source"],
                author=row["author"],
                licence=row["licence"],
                sha256=row["sha256"],
                original_sha256=row["original_sha256"],
            )
        )
    return found


def in_splits(splits: Collection[str], root: Path = FOLDER) -> list[Recording]:
    """Return the recordings of some splits, as ``["train"]`` for whatever is trained on them."""
    return [recording for recording in recordings(root) if recording.split in splits]


def checksums(root: Path = FOLDER) -> dict[str, str]:
    """Return the SHA-256 of every recording, by its file below the folder of the dataset."""
    return {recording.file: recording.sha256 for recording in recordings(root)}
