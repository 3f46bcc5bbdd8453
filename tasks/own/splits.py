"""Give every clip of own data a split: by the name it has, dealt out, or carved out of another.

Names are those that Hugging Face's folders know. Where nothing is said, clips are split 60/20/20 at
random but reproducibly, with every group whole in one split and, for classes, these spread evenly.
Where there is no validation split, a fifth of the training clips becomes one, in whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from svuprobe.tasks import folds
from svuprobe.tasks.types import SPLITS, Clip, Task, TaskError

# Lower case -> ours. eval is a test split where Hugging Face and Kaldi say it.
NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "development": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_DEALT = ("train", "train", "train", "valid", "test")  # the parts of five
_CARVED = 5  # one part of so many


def named(where: str, text: str) -> str:
    """Return the split that a name means, empty of none. Raises TaskError naming the place."""
    if not text:
        return ""
    split = NAMES.get(text.lower())
    if split is None:
        raise TaskError(
            f"{where}: split {text!r}; it is one of {', '.join(SPLITS)} (or {', '.join(_others())})"
        )
    return split


def _others() -> list[str]:
    return [name for name in NAMES if name not in SPLITS]


def refuse_two_meanings(place: Path, texts: Sequence[str]) -> None:
    """Raise TaskError where eval stands beside test: one of the two is for validation."""
    used = {text.lower() for text in texts}
    tests = sorted(name for name in used if NAMES.get(name) == "test")
    if len(tests) > 1 and any(name.startswith("eval") for name in tests):
        raise TaskError(
            f"{place}: splits {' and '.join(map(repr, tests))}: either may be the test split; call "
            "the one that is for validation valid"
        )


def complete(place: Path, clips: Sequence[Clip], task: Task, seed: int) -> list[Clip]:
    """Return clips with splits: their own, and what of them is missing as the module says.

    Raises
    ------
    TaskError
        Some clips have a split and others none, there is no test or no training split, or there are
        too few groups to split.
    """
    # Dealing out the rest alone would put parts of one singer on both sides.
    without = sum(not clip.split for clip in clips)
    if 0 < without < len(clips):
        raise TaskError(f"{place}: {without} clips have no split; give all of them one, or none")
    if without:
        return _dealt(place, clips, task, seed)
    there = {clip.split for clip in clips}
    if there == {"train", "test"}:
        return _carved(place, clips, task, seed)
    absent = [split for split in SPLITS if split not in there]
    if absent:
        hint = (
            "call the split that is for the test test: validation is carved out of train"
            if there == {"train", "valid"}
            else "without any splits clips are split 60/20/20"
        )
        raise TaskError(
            f"{place}: no clip in split {' and '.join(absent)}; a probe needs train and test "
            f"({hint})"
        )
    return list(clips)


def _dealt(place: Path, clips: Sequence[Clip], task: Task, seed: int) -> list[Clip]:
    """Split 60/20/20 by groups: three, one and one of five parts."""
    n_groups = len({clip.group for clip in clips})
    # A group is whole in one part, so five are needed for five parts.
    if n_groups < len(_DEALT):
        raise TaskError(
            f"{place}: {n_groups} groups are too few to split 60/20/20; give a split column"
            + (f", or a TOML's folds = {n_groups}" if n_groups > 1 else "")
        )
    part = folds.parts_of(clips, task, len(_DEALT), seed).tolist()
    return [replace(clip, split=_DEALT[n]) for clip, n in zip(clips, part, strict=True)]


def _carved(place: Path, clips: Sequence[Clip], task: Task, seed: int) -> list[Clip]:
    """Take a fifth of the training clips for validation, in whole groups."""
    train = [clip for clip in clips if clip.split == "train"]
    n_parts = min(_CARVED, len({clip.group for clip in train}))
    if n_parts < 2:
        raise TaskError(
            f"{place}: no clip in split valid, and all training clips are of one group "
            f"({train[0].group!r}), of which none can be taken; give a validation split"
        )
    part = folds.parts_of(train, task, n_parts, seed).tolist()
    taken = {clip.id for clip, n in zip(train, part, strict=True) if n == n_parts - 1}
    made = []
    for clip in clips:
        made.append(replace(clip, split="valid") if clip.id in taken else clip)
    return made
