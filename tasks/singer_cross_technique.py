"""Singer identification on VocalSet with techniques that training never heard: 20 singers, harder
than ``singer``.

``singer`` splits recordings at random, so a test recording has siblings of the same technique,
exercise and day in training. Here all recordings of a technique are in one split:

* train, 10: singing with the normal voice, at any loudness and with any vibrato;
* validation, 3: breathy, lip_trill, trill;
* test, 4: inhaled, spoken, trillo, vocal_fry.

Validation and test are extended techniques, each with a noisy one, one that flutters or creaks and
one that is repeated fast, so that models are selected on what they are tested on. The partition is
ours and fixed: there is no paper to compare with. Room and microphone are still the same in every
split.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks import singer
from svuprobe.tasks.datasets import vocalset
from svuprobe.tasks.types import Clip, Task

VALID = ("breathy", "lip_trill", "trill")
TEST = ("inhaled", "spoken", "trillo", "vocal_fry")


def split_of(technique: str) -> str:
    """Return the split of a technique."""
    return "test" if technique in TEST else "valid" if technique in VALID else "train"


def clips(root: Path) -> list[Clip]:
    """Return every recording; the group is what one singer recorded of one technique."""
    return [
        Clip(
            r.id,
            str(r.path),
            split_of(r.technique),
            target=r.singer,
            group=f"{r.singer}/{r.technique}",
        )
        for r in vocalset.recordings(root)
    ]


TASK = Task(
    name="singer-cross-technique",
    dataset=vocalset.DATASET,
    kind="multiclass",
    labels=singer.TASK.labels,
    metrics=("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    scored="window",
    clips=clips,
    windowing=vocalset.WINDOWING,
    hours=vocalset.HOURS,
    licence=vocalset.LICENCE,
    reference=vocalset.REFERENCE,
)
