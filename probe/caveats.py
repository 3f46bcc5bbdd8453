"""Say what the reader of a score has to know of a task's splits, before anything is trained.

A score is computed wherever it is defined, and some that are defined say little: an accuracy whose
classes were not all to be learnt, a mean over five of fourteen tags, 1.000 where the test split
holds one class. Such a task is not refused, because it may be what there is; it is said beside its
scores. What is refused (`require_selection`) is a validation split on which the ranked metric has
no value at all: heads stop by it and the grid is chosen by it, so what is reported would be a head
that nothing chose.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.training.splits import ClipSplits, FrameSplits
from svuprobe.tasks.data.doubts import beyond, doubts, too_long
from svuprobe.tasks.kinds.base import named_some
from svuprobe.tasks.kinds.clips import SPLIT_NAMES
from svuprobe.tasks.types import Clip

Features = ClipSplits | FrameSplits
_FOLDS_SHOWN = 3  # sentences on single folds


def caveats(features: Features) -> list[str]:
    """List what limits a task's scores, one sentence each without a full stop; empty where nothing
    does.

    Parameters
    ----------
    features
        The splits as the heads will see them: training clips that a protocol leaves out are not
        there.
    """
    if len(features.folds) > 1:
        return _over_folds(features)
    unlikely = doubts(features.task, _clips_of(features))
    if isinstance(features, FrameSplits):
        return [*_of_frames(features), *unlikely]
    return [*features.kind.caveats(features.clip_targets, features.labels), *unlikely]


def _over_folds(features: Features) -> list[str]:
    """Say what limits the scores of all folds once, and what limits a few by the folds' names."""
    said: dict[str, list[str]] = {}
    for name, fold in zip(features.fold_names, features.folds, strict=True):
        assert isinstance(fold, ClipSplits | FrameSplits)
        for sentence in caveats(fold):
            said.setdefault(sentence, []).append(name)
    of_all = [sentence for sentence, names in said.items() if len(names) == len(features.folds)]
    of_some = []
    for sentence, names in said.items():
        if len(names) < len(features.folds):
            subject = f"fold{'s' * (len(names) > 1)} {named_some(names)}"
            of_some.append(f"{subject}: {sentence}")
    further = len(of_some) - _FOLDS_SHOWN
    more = [f"{further} more of single folds stand in the result's folds"] if further > 0 else []
    return [*of_all, *of_some[:_FOLDS_SHOWN], *more]


def require_selection(features: Features) -> None:
    """Raise ProbeError where the ranked metric is undefined on the validation split.

    At frame level it is always defined: heads stop by their loss, and a clip without notes or beats
    has a score; there `require_whole` is asked.
    """
    if isinstance(features, FrameSplits):
        require_whole(features)
        return
    name = features.task.metrics[0]
    # Whether a metric is defined follows from the targets: any outputs will tell.
    if not np.isfinite(_any_score(features, "valid")):
        raise ProbeError(
            f"task {features.task.name}: {name} is undefined on the validation split "
            f"({features.kind.undefined} there), so no head can be chosen by it; "
            f"give that split clips that differ, then run svuprobe extract and probe again"
        )


def require_whole(features: FrameSplits) -> None:
    """Raise ProbeError where a kind that learns from whole clips can't, as they were cut or framed:
    from those of the training split, or be chosen by those of validation.
    """
    if not features.kind.by_window:
        return
    task = features.task
    ends: dict[str, float] = {}
    for split in features.splits:
        frames = features.frames_of_windows(split)
        for clip_id, seconds in _ends(features, split).items():
            # Ends are known to a frame; that a clip has one window is known for sure.
            ends[clip_id] = seconds if len(frames[clip_id]) > 1 else 0.0
    reason = too_long(task, _clips_of(features), ends)
    if reason:
        raise ProbeError(f"task {task.name}: {reason}; set it, and start again")
    for split, name in SPLIT_NAMES[:2]:
        reason = features.kind.unfit(features.splits[split].clips, _frames(features, split))
        if reason:
            raise ProbeError(f"task {task.name}: of the {name} split {reason}")


def _any_score(features: ClipSplits, split: str) -> float:
    """Score some outputs: whether the ranked metric is finite does not depend on which."""
    outputs = np.random.default_rng(0).normal(
        size=(1, len(features.splits[split].row), features.n_outputs)
    )
    return float(features.ranked(outputs, split)[0])


def _of_frames(features: FrameSplits) -> Iterator[str]:
    """Say in which splits there are no notes or beats, or few clips with any."""
    events = features.kind.events_name
    for split, name in SPLIT_NAMES:
        clips = features.splits[split].clips
        empty = sum(not len(clip.target) for clip in clips)
        if empty == len(clips):
            yield f"no {events} in the {name} split: silence alone is right there"
        elif empty:
            yield f"{empty} of {len(clips)} {name} clips have no {events}"
        if features.kind.by_window:
            yield from features.kind.limits(name, clips, _frames(features, split))
    ends: dict[str, float] = {}
    for split in features.splits:
        ends |= _ends(features, split)
    late = beyond(features.task, _clips_of(features), ends)
    if late:
        yield late


def _ends(features: FrameSplits, split: str) -> dict[str, float]:
    """Return how long the clips of a split last, by their ids, seconds."""
    ends = {}
    for clip, times in zip(features.splits[split].clips, features.times[split], strict=True):
        # As long as its frames, the last of which lasts as long as those before it.
        ends[clip.id] = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    return ends


def _frames(features: FrameSplits, split: str) -> dict[str, int]:
    """Return how many frames the clips of a split have, by their ids."""
    return {name: sum(frames) for name, frames in features.frames_of_windows(split).items()}


def _clips_of(features: Features) -> list[Clip]:
    """Return the clips of all splits."""
    return list(chain.from_iterable(rows.clips for rows in features.splits.values()))
