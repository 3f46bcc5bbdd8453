"""Chord recognition on Chords1217 (Jiang et al. 2019): popular songs with chords in Harte's
notation.

Layout: as MARBLE distributes it (Yuan et al. 2023, version 2):
``Chords1217.<train|val|test>.jsonl`` with a song a line (``audio_path`` and ``label``, a list of
``start_time``, ``end_time`` and ``chord_str``), and ``audio/<id>.flac`` or ``.mp3``. Songs are
found by the name of their file, whatever folder ``audio_path`` says. The splits are those of the
three files; the group is the song, since artists are not named.

What differs from MARBLE: scores are mir_eval's, weighted by duration, mean over songs, where MARBLE
counts right frames of 25 classes over the whole test set; chords with sevenths have classes of
their own; windows of 30 s, each frame of which counts once; and a song whose audio is absent is
left out, as the recordings can't be distributed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from svuprobe.tasks.kinds.chord_labels import METRICS, check
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

LISTS = {"train": "train", "valid": "val", "test": "test"}
SUFFIXES = (".flac", ".mp3", ".wav")


def list_of(split: str) -> str:
    """Return the name of the file that lists a split's songs."""
    return f"Chords1217.{LISTS[split]}.jsonl"


def clips(root: Path) -> list[Clip]:
    """Return the songs of the three lists whose audio is there; the group is the song."""
    there: dict[str, Path] = {}
    for path in sorted((root / "audio").glob("*")):
        if path.suffix.lower() in SUFFIXES:
            there.setdefault(path.stem, path)
    found = []
    for split in LISTS:
        for song, chords in _songs(root / list_of(split)):
            if song in there:
                found.append(Clip(song, str(there[song]), split, target=chords, group=song))
    return found


def _songs(path: Path) -> list[tuple[str, tuple[tuple[float, float, str], ...]]]:
    """Return the name and the chords of each song of a list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise TaskError(
            f"{path}: no such file; Chords1217 has {', '.join(map(list_of, LISTS))} beside audio"
        ) from None
    songs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            song = json.loads(line)
            name = Path(song["audio_path"]).stem
            chords = tuple(sorted(map(_chord, song["label"])))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise TaskError(f"{where}: not a song with audio_path and label ({error!r})") from None
        for _, _, label in chords:
            check(where, label)
        songs.append((name, chords))
    return songs


def _chord(row: dict[str, Any]) -> tuple[float, float, str]:
    return float(row["start_time"]), float(row["end_time"]), str(row["chord_str"])


TASK = Task(
    name="chords",
    dataset="chords1217",
    kind="chords",
    metrics=METRICS,
    clips=clips,
    windowing=Windowing(window_s=30.0),
    licence="annotations of several projects; audio: commercial recordings, not distributed",
    reference=(
        "Jiang et al. 2019, Large-vocabulary chord transcription via chord structure "
        "decomposition; "
        "lists: MARBLE, https://github.com/a43992899/MARBLE"
    ),
)
