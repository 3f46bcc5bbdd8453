"""Singing transcription on MIR-ST500 (Wang & Jang 2021): notes of 500 Chinese pop songs, separated
vocals.

Layout: ``MIR-ST500_corrected.json`` with ``{"1".."500": [[onset_s, offset_s, midi], ...]}`` and the
vocals as ``<train|test>/<id>/Vocal.wav`` (or ``vocals.wav``) or ``<id>.wav``. Songs 1-360 train,
361-400 validation (ours: there is no official one), 401-500 test. Songs whose audio is absent are
left out, as their links rot: extraction says how many songs and notes it found, and results with
different songs never share a table.
"""

from __future__ import annotations

import json
from pathlib import Path

from svuprobe.tasks.kinds.transcription import METRICS
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

ANNOTATION = "MIR-ST500_corrected.json"


def split_of(song: int) -> str:
    """Return the split of a song by its number."""
    return "train" if song <= 360 else "valid" if song <= 400 else "test"


def vocals(root: Path, song: int) -> Path | None:
    """Find the vocal track of a song, None where it is absent."""
    part = "test" if song > 400 else "train"
    names = (
        f"{part}/{song}/Vocal.wav",
        f"{part}/{song}/vocals.wav",
        f"{part}/{song}.wav",
        f"{song}.wav",
    )
    return next((root / name for name in names if (root / name).is_file()), None)


def clips(root: Path) -> list[Clip]:
    """Return the songs whose vocals are there, by number; the group is the song."""
    path = root / ANNOTATION
    try:
        annotation = json.loads(path.read_text(encoding="utf-8"))
        songs = sorted((int(key), value) for key, value in annotation.items())
        notes = {
            song: tuple((float(a), float(b), float(m)) for a, b, m in value)
            for song, value in songs
        }
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with the MIR-ST500 annotations") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TaskError(
            f"{path}: not the MIR-ST500 annotation, {{id: [[onset, offset, midi]]}} ({error})"
        ) from None
    found = [(song, audio) for song in notes if (audio := vocals(root, song)) is not None]
    return [
        Clip(str(s), str(audio), split_of(s), target=notes[s], group=str(s)) for s, audio in found
    ]


TASK = Task(
    name="transcription",
    dataset="mir-st500",
    kind="notes",
    metrics=METRICS,
    clips=clips,
    windowing=Windowing(window_s=5.0),
    expected={"train": 360, "valid": 40, "test": 100},
    licence="annotations without a licence; audio from YouTube, not distributed",
    reference=(
        "Wang & Jang 2021, MIR-ST500, https://github.com/york135/singing_transcription_ICASSP2021"
    ),
)
