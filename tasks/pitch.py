"""Pitch on NSynth: 128 classes, one per MIDI number, instruments unseen in training (Ma et al.
2023).

Official split, whole notes of 4 s. The class is the MIDI number itself, as Ma et al. write;
MARBLE's code has pitch - 1 with cached features and pitch - 9 with audio. That shifts labels and no
score, but class ids of its heads are not MIDI numbers. Labels are written with three digits so that
sorted names are in order of pitch.

Metrics
-------
* ``accuracy``: the exact semitone.
* ``accuracy_semitone``: at most one semitone off.
* ``accuracy_pitch_class``: right but for octaves, a frequent mistake of low notes with a weak
  fundamental.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from svuprobe.tasks.datasets import nsynth
from svuprobe.tasks.kinds.metrics import mean_of
from svuprobe.tasks.types import Clip, Task

LABELS = tuple(f"{midi:03d}" for midi in range(128))


def accuracy_semitone(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the share of units whose largest output is at most one class from the true one,
    (R,).
    """
    return mean_of((abs(output.argmax(axis=1) - target) <= 1).astype(float), group, counts)


def accuracy_pitch_class(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the share of units whose largest output is whole octaves from the true class, (R,)."""
    return mean_of(((output.argmax(axis=1) - target) % 12 == 0).astype(float), group, counts)


def clips(root: Path) -> list[Clip]:
    """Return every note; the target is its MIDI number in three digits."""
    return nsynth.clips(root, lambda note: f"{note.pitch:03d}")


TASK = Task(
    name="pitch",
    dataset=nsynth.DATASET,
    kind="multiclass",
    labels=LABELS,
    metrics=("accuracy", "accuracy_semitone", "accuracy_pitch_class"),
    clips=clips,
    windowing=nsynth.WINDOWING,
    disjoint_groups=False,  # valid and test share instruments; train is kept apart by the loader
    licence=nsynth.LICENCE,
    reference=nsynth.REFERENCE,
    expected=nsynth.EXPECTED,
    hours=nsynth.HOURS,
)
