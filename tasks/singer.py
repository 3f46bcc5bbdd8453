"""Singer identification on VocalSet: 20 singers, all 17 techniques (Ma et al. 2023).

Recordings are split 60/20/20 within each singer by a hash of their path, so a recording's split
depends on nothing but its name. The same singer, room and exercise occur in every split: this
measures recording conditions too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from svuprobe.tasks.datasets import vocalset
from svuprobe.tasks.types import Clip, Task


def split_of(recording_id: str) -> str:
    """Return 60 % train, 20 % valid, 20 % test, by the SHA-256 of the path below ``FULL``."""
    tenth = int.from_bytes(hashlib.sha256(recording_id.encode()).digest()[:4], "big") % 10
    return "train" if tenth < 6 else "valid" if tenth < 8 else "test"


def clips(root: Path) -> list[Clip]:
    """Return every recording; the group is the recording."""
    return [
        Clip(r.id, str(r.path), split_of(r.id), target=r.singer, group=r.id)
        for r in vocalset.recordings(root)
    ]


TASK = Task(
    name="singer",
    dataset=vocalset.DATASET,
    kind="multiclass",
    labels=tuple(sorted(vocalset.SINGERS)),
    metrics=("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    scored="window",
    clips=clips,
    windowing=vocalset.WINDOWING,
    hours=vocalset.HOURS,
    licence=vocalset.LICENCE,
    reference=vocalset.REFERENCE,
)
