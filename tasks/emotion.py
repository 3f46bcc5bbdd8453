"""Emotion on EmoMusic (Soleymani et al. 2013): arousal and valence of 744 excerpts of 45 s.

Layout: ``clips_45seconds/<id>.mp3`` as distributed, the id without leading zeros (also .wav, and
``wav/<id>.wav``); files are matched by number, others than the 744 of the list are ignored.
``splits/emomusic.tsv`` has the split and the targets, z-scored over train and valid: jukemir's
list, 504/115/125. Test is MediaEval 2013's evaluation set; train and valid share no artist. The
list does not name artists, so the group is the song: intervals are a little too narrow if songs of
an artist are alike, and whether test artists are new is not checked.

Deviations. 5 s windows over all 45 s, predictions averaged: as Ma et al. 2023 write, while MARBLE's
code reads only the first 30 s for MERT and 30 s windows for music2vec and HuBERT, so its numbers
come from two thirds of the audio or longer windows. A tail under 1 s is dropped: an mp3 of 45.03 s
has nine windows, not ten.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

# The first of these that holds a song is taken.
PLACES = (("clips_45seconds", ".mp3"), ("clips_45seconds", ".wav"), ("wav", ".wav"))


def audio_files(root: Path) -> dict[int, Path]:
    """Find files by the number that is their name; TaskError where no folder of the layout is
    there.
    """
    if not any((root / folder).is_dir() for folder, _ in PLACES):
        raise TaskError(
            f"{root}: no folder clips_45seconds in it; EmoMusic's clips unpack to "
            "clips_45seconds/<id>.mp3"
        )
    found: dict[int, Path] = {}
    for folder, suffix in PLACES:
        for path in sorted((root / folder).glob("*")):
            if path.suffix.lower() == suffix and path.stem.isdecimal():
                found.setdefault(int(path.stem), path)
    return found


def clips(root: Path) -> list[Clip]:
    """Return the list's songs whose audio is there; the group is the song."""
    files = audio_files(root)
    return [
        Clip(
            row["song_id"],
            str(files[int(row["song_id"])]),
            row["split"],
            target=(float(row["arousal"]), float(row["valence"])),
            group=row["song_id"],
        )
        for row in split_lists.read("emomusic.tsv")
        if int(row["song_id"]) in files
    ]


TASK = Task(
    name="emotion",
    dataset="emomusic",
    kind="regression",
    labels=("arousal", "valence"),
    metrics=("r2", "r2_arousal", "r2_valence"),
    clips=clips,
    windowing=Windowing(window_s=5.0, tail_s=1.0),
    licence="songs from the Free Music Archive, each under its own Creative Commons licence",
    reference=(
        "Soleymani et al. 2013, 1000 Songs for Emotional Analysis of Music, "
        "https://cvml.unige.ch/databases/emoMusic/"
    ),
    expected={"train": 504, "valid": 115, "test": 125},
    hours=9.3,
)
