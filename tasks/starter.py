"""Ask tasks of the recordings that come with svuprobe: digits, instrument families, pitch of notes.

They show on real audio, within minutes and without a download, whether features hold what was
said, what was played and how high. They are too small to rank models that are close. Each recording
is one clip, taken whole; no group is in two splits.

``starter-digits``
    Ten digits, 20 recordings of each by each speaker. Two speakers train, one validates and one
    tests, all of them men. The score is of one voice: no interval over voices can be given, and no
    two models be told apart.
``starter-family``
    NSynth's 11 families. Of each family's three rendered instruments one is in each split, all
    with the same 8 pitches and 2 velocities, so that neither gives a family away. Of the 33 real
    instruments, in nine families, 12 are in test. Twenty-three groups are few: intervals are wide.
    The rendered keyboards of train and validation are two settings of one piano (their notes
    correlate at 0.98), so validation flatters there; those of test are others.
``starter-pitch``
    Eight classes, MIDI numbers in three digits as in `svuprobe.tasks.pitch`, of the rendered
    instruments; six notes of a singer are in test. Pitch is that of the key, as in NSynth: an organ
    of train and one of validation sound one or two octaves lower by pYIN, as their stops are drawn.
    NSynth's own notes are left out: all are of one pitch, and louder, which would give it away.
``starter-pitch-height``
    The same played notes and all 43 sung ones, most of them between the eight pitches; the target
    is the MIDI number itself. Only instruments train, so the voice in test is a leap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from svuprobe.tasks.datasets import starter
from svuprobe.tasks.datasets.starter import Recording
from svuprobe.tasks.instrument import LABELS as FAMILIES
from svuprobe.tasks.types import Clip, Task, Windowing

PITCHES = ("036", "043", "048", "055", "060", "064", "067", "072")
METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3")
FSDD = "Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset"
FLUID = "FluidR3 GM (Frank Wen), rendered"
NSYNTH = "Engel et al. 2017, NSynth, https://magenta.tensorflow.org/datasets/nsynth"
SUNG = "vocobox, https://github.com/vocobox/human-voice-dataset"


def clips(root: Path, task: str, target: Callable[[Recording], Any]) -> list[Clip]:
    """Return the recordings that a task asks of; ``target`` takes what is asked from each."""
    found = []
    for one in starter.recordings(root):
        if task in one.tasks:
            found.append(Clip(one.file, str(one.path), one.split, target(one), one.group))
    return found


def digit(recording: Recording) -> str:
    """Return the digit that is spoken."""
    return recording.digit


def family(recording: Recording) -> str:
    """Return the family of the instrument, one of NSynth's."""
    return recording.family


def pitch(recording: Recording) -> str:
    """Return the MIDI number in three digits, so that sorted labels are in the order of pitch."""
    return recording.midi.zfill(3)


def height(recording: Recording) -> tuple[float]:
    """Return the MIDI number as the one value of a regression."""
    return (float(recording.midi),)


DIGITS = Task(
    name="starter-digits",
    dataset=starter.DATASET,
    kind="multiclass",
    labels=tuple("0123456789"),
    metrics=METRICS,
    clips=partial(clips, task="starter-digits", target=digit),
    windowing=Windowing(),
    licence="CC BY-SA 4.0",
    reference=FSDD,
    expected={"train": 400, "valid": 200, "test": 200},
    hours=starter.HOURS,
)

FAMILY = Task(
    name="starter-family",
    dataset=starter.DATASET,
    kind="multiclass",
    labels=FAMILIES,
    metrics=METRICS,
    clips=partial(clips, task="starter-family", target=family),
    windowing=Windowing(),
    licence="MIT (rendered notes), CC BY 4.0 (real ones)",
    reference=f"{FLUID}; {NSYNTH}",
    expected={"train": 191, "valid": 185, "test": 192},
    hours=starter.HOURS,
)

PITCH = Task(
    name="starter-pitch",
    dataset=starter.DATASET,
    kind="multiclass",
    labels=PITCHES,
    metrics=METRICS,
    clips=partial(clips, task="starter-pitch", target=pitch),
    windowing=Windowing(),
    licence="MIT",
    reference=f"{FLUID}; {SUNG}",
    expected={"train": 176, "valid": 176, "test": 182},
    hours=starter.HOURS,
)

HEIGHT = Task(
    name="starter-pitch-height",
    dataset=starter.DATASET,
    kind="regression",
    labels=("pitch",),
    metrics=("r2", "mae"),
    clips=partial(clips, task="starter-pitch-height", target=height),
    windowing=Windowing(),
    licence="MIT",
    reference=f"{FLUID}; {SUNG}",
    expected={"train": 176, "valid": 176, "test": 219},
    hours=starter.HOURS,
)
