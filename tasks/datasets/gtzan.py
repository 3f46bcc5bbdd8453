"""GTZAN (Tzanetakis & Cook 2002): 1,000 excerpts of 30 s in ten genres, of which 930 are used here.

Layout: ``genres/<genre>/<genre>.NNNNN.{wav,au}``, or ``genres_original`` as the copy on Kaggle
calls the folder (also in its ``Data``). Which tracks are used, and their splits, is the
fault-filtered list of Kereliuk, Sturm & Larsen (2015): without the repeated, mislabelled and
distorted excerpts that Sturm (2013) found, and with no artist in two splits. The usual stratified
random splits of all 1,000 give higher scores, because copies and artists leak.

``jazz.00054`` (train) can't be decoded in Kaggle's copy. It stays in the list where its file
exists, so extraction names it as failed, and training has 442 tracks, as MARBLE's. In the original
archive it is whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.types import TaskError, Windowing

DATASET = "gtzan"
LICENCE = (
    "none stated: recordings under copyright, gathered for research; the lists shipped here MIT"
)
REFERENCE = "Tzanetakis & Cook 2002, GTZAN, http://marsyas.info/downloads/datasets.html"
GENRES = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
EXPECTED = {"train": 443, "valid": 197, "test": 290}
HOURS = 7.75  # of the 930 tracks used
FOLDERS = ("genres", "genres_original", "Data/genres_original")
SUFFIXES = (".wav", ".au")

# Files last 29.9 to 30.7 s, mostly 30.013 s: a tail under
# 1 s makes no second window, so each track is one window.
WINDOWING = Windowing(window_s=30.0, tail_s=1.0)


@dataclass(frozen=True)
class Track:
    """Name one excerpt of the fault-filtered list; ``id`` is as ``blues.00029``, without a
    suffix.
    """

    id: str
    genre: str
    split: str
    path: Path


def tracks(root: Path) -> list[Track]:
    """Return the tracks of the list whose file is there, in its order."""
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise TaskError(
            f"{root}: no folder genres or genres_original in it; GTZAN is "
            "genres/<genre>/<genre>.NNNNN.wav"
        )
    found = []
    for row in split_lists.read("gtzan_fault_filtered.tsv"):
        files = (folder / row["genre"] / f"{row['track']}{suffix}" for suffix in SUFFIXES)
        path = next((file for file in files if file.is_file()), None)
        if path is not None:
            found.append(Track(row["track"], row["genre"], row["split"], path))
    return found
