"""Instrument family on NSynth: 11 classes, instruments unseen in training (Ma et al. 2023).

Official split, whole notes of 4 s, accuracy, as in MARBLE. Where ``synth_lead`` is absent from test
(see :mod:`svuprobe.tasks.datasets.nsynth`), accuracy and balanced accuracy are of the other ten;
macro-F1 counts it with an F1 of 0 as soon as one note is taken for it.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks.datasets import nsynth
from svuprobe.tasks.types import Clip, Task

LABELS = (
    *("bass", "brass", "flute", "guitar", "keyboard", "mallet"),
    *("organ", "reed", "string", "synth_lead", "vocal"),
)


def clips(root: Path) -> list[Clip]:
    """Return every note; the target is its family."""
    return nsynth.clips(root, lambda note: note.family)


TASK = Task(
    name="instrument",
    dataset=nsynth.DATASET,
    kind="multiclass",
    labels=LABELS,
    metrics=("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    clips=clips,
    windowing=nsynth.WINDOWING,
    disjoint_groups=False,  # valid and test share instruments; train is kept apart by the loader
    licence=nsynth.LICENCE,
    reference=nsynth.REFERENCE,
    expected=nsynth.EXPECTED,
    hours=nsynth.HOURS,
)
