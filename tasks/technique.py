"""Singing technique on VocalSet: 10 classes, unseen singers (Yamamoto 2023; Ma et al. 2023).

Test singers are Wilkins et al.'s; of their 15 training singers three are validation here, so that
models are selected on unseen singers too. ``technique-marble`` selects as MARBLE does, on 40 % of
the recordings of the 15 training singers (by a hash of their path; MARBLE publishes no list), which
is optimistic. MARBLE also cuts 2.993 s chunks, trims only the start and drops tails, which neither
task does.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from svuprobe.tasks.datasets import vocalset
from svuprobe.tasks.types import Clip, Task

LABELS = (
    "belt",
    "breathy",
    "inhaled",
    "lip_trill",
    "spoken",
    "straight",
    "trill",
    "trillo",
    "vibrato",
    "vocal_fry",
)
TEST = {"female2", "female8", "male3", "male5", "male10"}
VALID = {"female9", "male9", "male11"}


def split_of(singer: str) -> str:
    """Return the split of a singer."""
    return "test" if singer in TEST else "valid" if singer in VALID else "train"


def clips(root: Path) -> list[Clip]:
    """Return the recordings of the ten techniques; the group is the singer."""
    return [
        Clip(r.id, str(r.path), split_of(r.singer), target=r.technique, group=r.singer)
        for r in vocalset.recordings(root)
        if r.technique in LABELS
    ]


def marble_clips(root: Path) -> list[Clip]:
    """Return the same recordings; validation is two in five of those of the 15 training singers."""
    found = []
    for clip in clips(root):
        fifth = int.from_bytes(hashlib.sha256(clip.id.encode()).digest()[:4], "big") % 5
        found.append(
            clip if clip.split == "test" else replace(clip, split="train" if fifth < 3 else "valid")
        )
    return found


TASK = Task(
    name="technique",
    dataset=vocalset.DATASET,
    kind="multiclass",
    labels=LABELS,
    metrics=("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    scored="window",
    class_weight_alpha=1.0,
    clips=clips,
    windowing=vocalset.WINDOWING,
    hours=vocalset.HOURS,
    licence=vocalset.LICENCE,
    reference=vocalset.REFERENCE,
)

MARBLE = replace(TASK, name="technique-marble", clips=marble_clips, disjoint_groups=False)
