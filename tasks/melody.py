"""Melody extraction: the f0 of solo singing on vocadito (Bittner et al. 2021), and of the melody in
a mix on MedleyDB (Bittner et al. 2014).

``melody``. Layout: as distributed and as mirdata reads it: ``Audio/vocadito_<n>.wav``,
``Annotations/F0/vocadito_<n>_f0.csv`` (time in s, Hz, 0 where nothing is sung, every 5.8 ms) and
``vocadito_metadata.csv``, whose column ``singer_id`` is the group. There is no official split, as
vocadito was made to evaluate on. Here its 29 singers are in five folds, eight excerpts each (the
largest group first into the fold with the fewest): all 40 excerpts are tested, by heads that learnt
from 24 of other singers, where one split would test 8 and say little of how sure that is.

``melody-medleydb``. Layout: MedleyDB-Melody as distributed, ``audio/<track>_MIX.wav`` and
``melody2/<track>_MELODY2.csv`` (as above): the pitch of whatever instrument leads at the time, the
second of MedleyDB's three definitions and the one by which Bittner et al. 2017 (deep salience)
score. The split is theirs, which keeps artists apart, of 107 of its 108 songs: MusicDelta_Rock
isn't in it. The group is the artist; Music Delta's songs are artists of their own, as there.

What differs from both: frames are decoded one by one, by heads that see one frame of features.
"""

from __future__ import annotations

import csv
from pathlib import Path

from svuprobe.tasks import folds
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.kinds import melody
from svuprobe.tasks.kinds.f0 import METRICS
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

METADATA = "vocadito_metadata.csv"
TRACKS = 40
FOLDS = 5
MEDLEYDB_SPLIT = "medleydb_melody.tsv"


def clips(root: Path) -> list[Clip]:
    """Return the excerpts whose audio is there, in folds; the group is the singer."""
    path = root / METADATA
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        singers = {int(row["track_id"]): row["singer_id"] for row in rows}
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with vocadito") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TaskError(f"{path}: not vocadito's columns track_id, singer_id ({error!r})") from None
    # Before the audio is looked for: an excerpt's fold is that of the whole set.
    fold_of = folds.of_groups(list(singers.values()), FOLDS)
    found = []
    for track, singer in sorted(singers.items()):
        audio = root / "Audio" / f"vocadito_{track}.wav"
        if audio.is_file():
            contour = melody.MELODY.read(root / "Annotations/F0" / f"vocadito_{track}_f0.csv")
            name, fold = f"vocadito_{track}", str(fold_of[singer])
            found.append(Clip(name, str(audio), "test", target=contour, group=singer, fold=fold))
    return found


def medleydb_clips(root: Path) -> list[Clip]:
    """Return the songs of the split whose audio is there; the group is the artist."""
    found = []
    for row in split_lists.read(MEDLEYDB_SPLIT):
        track = row["track_id"]
        audio = root / "audio" / f"{track}_MIX.wav"
        if audio.is_file():
            contour = melody.MELODY.read(root / "melody2" / f"{track}_MELODY2.csv")
            found.append(Clip(track, str(audio), row["split"], target=contour, group=row["artist"]))
    return found


TASK = Task(
    name="melody",
    dataset="vocadito",
    kind="melody",
    metrics=METRICS,
    clips=clips,
    windowing=Windowing(window_s=5.0),
    licence="CC BY 4.0",
    reference="Bittner et al. 2021, vocadito, arXiv:2110.05580, https://zenodo.org/records/5578807",
    version=2,
    expected={"test": TRACKS},
)

MEDLEYDB = Task(
    name="melody-medleydb",
    dataset="medleydb-melody",
    kind="melody",
    metrics=METRICS,
    clips=medleydb_clips,
    windowing=Windowing(window_s=5.0),
    licence="CC BY-NC-SA 4.0, on request",
    reference=(
        "Bittner et al. 2014, MedleyDB, https://zenodo.org/records/2628782; split: Bittner et al. "
        "2017, https://github.com/rabitt/ismir2017-deepsalience"
    ),
    expected={"train": 71, "valid": 9, "test": 27},
)
