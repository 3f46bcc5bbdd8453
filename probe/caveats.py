"""What the reader of a score has to know of a task's splits: `caveats` says it before anything is trained.

A score is computed wherever it is defined, and some that are defined say little: an accuracy whose classes were not
all to be learnt, a mean over five of fourteen tags, 1.000 where the test split holds one class. Such a task is not
refused, because it may be what there is; it is said beside its scores. What is refused (`require_selection`) is a
validation split on which the ranked metric has no value at all: heads stop by it and the grid is chosen by it, so
what is reported would be a head that nothing chose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from svuprobe.probe.features import ClipFeatures
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.data.doubts import beyond, doubts

Features = ClipFeatures | FrameFeatures
_SPLITS = (("train", "training"), ("valid", "validation"), ("test", "test"))
_WHY_UNDEFINED = {
    "multilabel": "no tag has both a clip with it and one without it",
    "regression": "no target has two different values",
}
_NAMED = 5  # labels at most that a sentence names; the rest is counted


def caveats(features: Features) -> list[str]:
    """List what limits a task's scores, one sentence each, without a full stop; empty where nothing does.

    Parameters
    ----------
    features
        The splits as the heads will see them: training clips that a protocol leaves out are not there.
    """
    unlikely = doubts(features.task, [clip for split in features.splits.values() for clip in split.clips])
    if isinstance(features, FrameFeatures):
        return [*_of_frames(features), *unlikely]
    of_kind = {"multiclass": _of_classes, "multilabel": _of_tags, "regression": _of_values}[features.task.kind]
    return [*of_kind(features), *unlikely]


def require_selection(features: Features) -> None:
    """Raise ProbeError where the ranked metric is undefined on the validation split.

    At frame level it is always defined: heads stop by their loss, and a clip without notes or beats has a score.
    """
    if isinstance(features, FrameFeatures):
        return
    name, kind = features.task.metrics[0], features.task.kind
    if not np.isfinite(_any_score(features, "valid")):
        raise ProbeError(
            f"task {features.task.name}: {name} is undefined on the validation split "
            f"({_WHY_UNDEFINED.get(kind, 'no clip has a score')} there), so no head can be chosen by it; "
            f"give that split clips that differ, then run svuprobe extract and probe again"
        )


def _any_score(features: ClipFeatures, split: str) -> float:
    """Score some outputs: whether the ranked metric is finite does not depend on which."""
    outputs = np.random.default_rng(0).normal(size=(1, len(features.splits[split].row), features.n_outputs))
    return float(features.ranked(outputs, split)[0])


def _listed(names: Sequence[str]) -> str:
    """``'a', 'b' and 3 more``."""
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _of_classes(features: ClipFeatures) -> Iterator[str]:
    """Say which classes a split lacks, and where a split holds one class only."""
    counts = {
        split: np.bincount(target, minlength=len(features.labels)) for split, target in features.clip_targets.items()
    }
    for split, name in _SPLITS:
        there = [label for label, count in zip(features.labels, counts[split], strict=True) if count]
        lacking = [label for label, count in zip(features.labels, counts[split], strict=True) if not count]
        if len(there) == 1:
            yield f"one class only in the {name} split: every clip there is {there[0]!r}"
        elif lacking:
            subject = "class" if len(lacking) == 1 else "classes"
            verb = "has" if len(lacking) == 1 else "have"
            unlearnt = counts["test"][counts["train"] == 0].sum()
            more = f": {unlearnt} of {counts['test'].sum()} test clips can't be right" if unlearnt else ""
            yield f"{subject} {_listed(lacking)} {verb} no {name} clip{more if split == 'train' else ''}"


def _of_tags(features: ClipFeatures) -> Iterator[str]:
    """Say which tags are left out of the mean over tags, and which can't be learnt."""
    share = {split: target.mean(axis=0) for split, target in features.clip_targets.items()}
    unlearnt = [label for label, s in zip(features.labels, share["train"], strict=True) if s in (0, 1)]
    if unlearnt:
        subject, verb = ("tag", "has") if len(unlearnt) == 1 else ("tags", "have")
        yield f"{subject} {_listed(unlearnt)} {verb} no positive or no negative in the training split"
    for split, name in (("valid", "validation"), ("test", "test")):
        left_out = [label for label, s in zip(features.labels, share[split], strict=True) if s in (0, 1)]
        if left_out:
            yield (
                f"{len(features.labels) - len(left_out)} of {len(features.labels)} tags scored in the {name} split: "
                f"{_listed(left_out)} {'has' if len(left_out) == 1 else 'have'} no positive or no negative there"
            )


def _of_values(features: ClipFeatures) -> Iterator[str]:
    """Say which targets are constant in a split: nothing to learn, or no R2."""
    for split, name in _SPLITS:
        target = features.clip_targets[split]
        pairs = zip(features.labels, target.min(axis=0), target.max(axis=0), strict=True)
        same = [label for label, low, high in pairs if low == high]
        if same:
            subject = "target" if len(same) == 1 else "targets"
            effect = "nothing to learn" if split == "train" else "R2 is undefined and left out of the mean"
            yield f"{subject} {_listed(same)} constant in the {name} split: {effect}"


def _of_frames(features: FrameFeatures) -> Iterator[str]:
    """Say in which splits there are no notes or beats, or few clips with any."""
    for split, name in _SPLITS:
        clips = features.splits[split].clips
        empty = sum(not len(clip.target) for clip in clips)
        if empty == len(clips):
            yield f"no {features.task.kind} in the {name} split: silence alone is right there"
        elif empty:
            yield f"{empty} of {len(clips)} {name} clips have no {features.task.kind}"
    ends = {
        clip.id: times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
        for split in features.splits
        for clip, times in zip(features.splits[split].clips, features.times[split], strict=True)
    }
    late = beyond(features.task, [clip for split in features.splits.values() for clip in split.clips], ends)
    if late:
        yield late
