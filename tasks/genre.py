"""Musical genre on GTZAN: ten classes, fault-filtered split (Ma et al. 2023, MARBLE).

A track is one window of 30 s. MARBLE hands the whole file to the model, at most 0.7 s more. The
list keeps artists apart but does not name them, so the group that intervals resample is the track,
which makes them a little too narrow.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks.datasets import gtzan
from svuprobe.tasks.types import Clip, Task


def clips(root: Path) -> list[Clip]:
    """Return every track with its genre; the group is the track."""
    return [
        Clip(t.id, str(t.path), t.split, target=t.genre, group=t.id) for t in gtzan.tracks(root)
    ]


TASK = Task(
    name="genre",
    dataset=gtzan.DATASET,
    kind="multiclass",
    labels=gtzan.GENRES,
    metrics=("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    clips=clips,
    windowing=gtzan.WINDOWING,
    licence=gtzan.LICENCE,
    reference=gtzan.REFERENCE,
    expected=gtzan.EXPECTED,
    hours=gtzan.HOURS,
)
