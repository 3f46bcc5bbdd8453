"""Melody extraction on vocadito (Bittner et al. 2021): the f0 of 40 excerpts of solo singing.

Layout: as distributed and as mirdata reads it: ``Audio/vocadito_<n>.wav``,
``Annotations/F0/vocadito_<n>_f0.csv`` (time in s, Hz, 0 where nothing is sung, every 5.8 ms) and
``vocadito_metadata.csv``, whose column ``singer_id`` is the group.

There is no official split, as vocadito was made to evaluate on. Here its 29 singers are dealt into
training, validation and test by their number (see `split_of`): 23, 8 and 9 excerpts. So few test
singers make wide intervals; they are honest.
"""

from __future__ import annotations

import csv
from pathlib import Path

from svuprobe.tasks.kinds import melody
from svuprobe.tasks.kinds.f0 import METRICS
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

METADATA = "vocadito_metadata.csv"
TRACKS = 40


def split_of(singer: str) -> str:
    """Return the split of a singer ``S1`` to ``S29``: of five, the last two are held out."""
    number = int(singer.removeprefix("S"))
    return ("train", "train", "train", "valid", "test")[number % 5]


def clips(root: Path) -> list[Clip]:
    """Return the excerpts whose audio is there; the group is the singer."""
    path = root / METADATA
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        singers = {int(row["track_id"]): row["singer_id"] for row in rows}
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with vocadito") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TaskError(f"{path}: not vocadito's columns track_id, singer_id ({error!r})") from None
    found = []
    for track, singer in sorted(singers.items()):
        audio = root / "Audio" / f"vocadito_{track}.wav"
        if audio.is_file():
            contour = melody.MELODY.read(root / "Annotations/F0" / f"vocadito_{track}_f0.csv")
            name = f"vocadito_{track}"
            found.append(Clip(name, str(audio), split_of(singer), target=contour, group=singer))
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
    expected={"train": 23, "valid": 8, "test": 9},
)
