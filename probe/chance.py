"""Score guesses that know nothing but the training set: what a score has to be held against."""

from __future__ import annotations

import numpy as np

from svuprobe.probe.training.splits import ClipSplits, FrameSplits


def chance(data: ClipSplits | FrameSplits) -> dict[str, float]:
    """Score guesses on test that know nothing but the training set.

    Each kind says how it guesses; of several draws it is the mean.
    """
    if isinstance(data, FrameSplits):
        return _chance_frames(data)
    target, group = data.units("test")
    draws = data.guesses()
    everyone = np.ones((1, len(data.splits["test"].groups)))
    scores = {}
    for name in data.kind.scored_names(data.task):
        metric = data.metric(name, data.task.scored)
        scores[name] = float(np.mean([metric(target, own, group, everyone)[0] for own in draws]))
    return scores


def _chance_frames(data: FrameSplits) -> dict[str, float]:
    """Score what the kind answers without hearing anything: the mean over the clips of the test
    split.
    """
    values: list[dict[str, float]] = []
    for clip, times in zip(data.splits["test"].clips, data.times["test"], strict=True):
        values.append(data.kind.score(clip.target, data.kind.chance(data.task, times)))
    return {name: float(np.mean([v[name] for v in values])) for name in data.task.metrics}
