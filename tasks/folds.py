"""Deal the clips of a task out to folds, so that every clip is tested once (cross-validation).

For each fold, it is the test split, the next one in their order (after the last, the first) is the
validation split, and heads learn from the rest: the convention of HEAR (Turian et al. 2022). Of two
folds a fifth of the other one's clips, in whole groups, is the validation split. A group (singer,
song, ...) is whole in one fold, since a head that has heard a singer in training is no test of that
singer: a column ``fold`` that parts a group is refused, as a column ``split`` is, unless the task
says that groups may cross (``disjoint_groups = false``).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from svuprobe.tasks import kinds
from svuprobe.tasks.types import Clip, Task, TaskError, natural_key

_VALID_OF_TWO = 5  # one part in so many of what is not tested is for validation


def names(clips: Sequence[Clip]) -> tuple[str, ...]:
    """Return the names of the folds in their order (2 before 10); empty of a single split."""
    return tuple(sorted({clip.fold for clip in clips} - {""}, key=natural_key))


def side_of(clip: Clip) -> str:
    """Return where a clip is, as a reader is told: its fold, or its split."""
    return f"fold {clip.fold}" if clip.fold else clip.split


def dealt(clips: Sequence[Clip], task: Task, n_folds: int, seed: int = 0) -> list[Clip]:
    """Deal clips out to folds 1 to ``n_folds``, groups whole and classes as even as they allow.

    The same clips in the same order, with the same seed, are dealt alike.

    Raises
    ------
    TaskError
        There are fewer groups than folds, or so unequal ones that a fold would have none.
    """
    clips = list(clips)
    n_groups = len({clip.group for clip in clips})
    if n_groups < n_folds:
        raise TaskError(
            f"task {task.name}: {n_groups} groups are too few for {n_folds} folds; a group is "
            f"whole in one fold: give at most folds = {n_groups}"
        )
    fold = parts_of(clips, task, n_folds, seed)
    absent = sorted(set(range(n_folds)) - set(fold.tolist()))
    if absent:
        raise TaskError(
            f"task {task.name}: the groups are too unequal for {n_folds} folds ({len(absent)} "
            f"would have no clip); give folds = {n_folds - len(absent)}"
        )
    numbered = zip(clips, fold.tolist(), strict=True)
    return [replace(clip, split="test", fold=str(number + 1)) for clip, number in numbered]


def of_groups(groups: Sequence[str], n_folds: int) -> dict[str, int]:
    """Return the fold, from 1, of each group that clips have (N,): the largest first, each into the
    fold with the fewest clips.

    Alike in every version of every library, as the folds of a shipped task have to be. Of fewer
    groups than folds, each is a fold.
    """
    sizes = [0] * n_folds
    fold_of = {}
    # Groups of one size by name: their order must not be that of the list.
    by_size = sorted(Counter(groups).items(), key=lambda item: (-item[1], item[0]))
    for group, size in by_size:
        smallest = sizes.index(min(sizes))
        sizes[smallest] += size
        fold_of[group] = smallest + 1
    return fold_of


def parts_of(clips: Sequence[Clip], task: Task, n_parts: int, seed: int) -> np.ndarray:
    """Return the part of each clip, (N,) from 0: groups whole, classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    kind = kinds.of(task)
    classes = [kind.stratum(clip.target) or "" for clip in clips]
    if max(Counter(classes).values()) < n_parts:  # no class can be in every part
        classes = [""] * len(clips)
    splitter = StratifiedGroupKFold(n_splits=n_parts, shuffle=True, random_state=seed)
    part = np.zeros(len(clips), dtype=np.int64)
    with warnings.catch_warnings():  # a class with fewer clips than parts is fine here
        warnings.simplefilter("ignore", UserWarning)
        groups = [clip.group for clip in clips]
        for number, (_, own) in enumerate(splitter.split(clips, classes, groups)):
            part[own] = number
    return part


def check(task: Task, clips: Sequence[Clip]) -> None:
    """Raise TaskError where folds are no partition of clips and groups, or too few."""
    folds = names(clips)
    if not folds:
        return
    without = sum(not clip.fold for clip in clips)
    if without:
        raise TaskError(
            f"task {task.name}: {without} of {len(clips)} clips have no fold; give all of them "
            "one, or none"
        )
    if len(folds) < 2:
        raise TaskError(
            f"task {task.name}: all clips are in fold {folds[0]!r}; cross-validation takes at "
            "least 2 folds"
        )
    if not task.disjoint_groups:
        return
    folds_of: dict[str, set[str]] = {}
    for clip in clips:
        folds_of.setdefault(clip.group, set()).add(clip.fold)
    crossing = [group for group, own in folds_of.items() if len(own) > 1]
    if crossing:
        first = " and ".join(sorted(folds_of[crossing[0]], key=natural_key)[:2])
        more = f" ({len(crossing)} of {len(folds_of)} groups cross)" if len(crossing) > 1 else ""
        raise TaskError(
            f"task {task.name}: group {crossing[0]!r} is in both fold {first}{more}; a group may "
            "not cross folds, unless disjoint_groups = false says that it may"
        )


def as_splits(task: Task, clips: Sequence[Clip], fold: str) -> list[Clip]:
    """Return clips with the splits they have when a fold is tested; the module says which.

    Raises TaskError where only two folds are there and what is not tested is a single group, of
    which no validation split can be taken.
    """
    order = names(clips)
    following = order[(order.index(fold) + 1) % len(order)]
    if len(order) == 2:
        return _valid_of_two(task, clips, fold)
    made = []
    for clip in clips:
        split = "train"
        if clip.fold == fold:
            split = "test"
        elif clip.fold == following:
            split = "valid"
        made.append(replace(clip, split=split, fold=""))
    return made


def _valid_of_two(task: Task, clips: Sequence[Clip], fold: str) -> list[Clip]:
    rest = [clip for clip in clips if clip.fold != fold]
    n_parts = min(_VALID_OF_TWO, len({clip.group for clip in rest}))
    if n_parts < 2:
        raise TaskError(
            f"task {task.name}: beside fold {fold!r} there is one group, {rest[0].group!r}, of "
            "which no validation split can be taken; give 3 folds or more, or smaller groups"
        )
    part = parts_of(rest, task, n_parts, seed=0)
    valid = {clip.id for clip, own in zip(rest, part.tolist(), strict=True) if own == part[0]}
    made = []
    for clip in clips:
        split = "valid" if clip.id in valid else "train"
        made.append(replace(clip, split="test" if clip.fold == fold else split, fold=""))
    return made
