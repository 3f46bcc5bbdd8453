"""Score guesses that know nothing but the training set: what a score has to be held against."""

from __future__ import annotations

import numpy as np

from svuprobe.probe.song_scores import song_scores
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
    for name in data.kind.scored_names(data.task, data.labels):
        metric = data.metric(name, data.task.scored)
        scores[name] = float(np.mean([metric(target, own, group, everyone)[0] for own in draws]))
    return scores


def _chance_frames(data: FrameSplits) -> dict[str, float]:
    """Score what the kind answers for the test split without hearing anything."""
    answers = []
    for clip, times in zip(data.splits["test"].clips, data.times["test"], strict=True):
        answers.append([data.kind.judged(clip.target, data.kind.chance(data.task, times))])
    return {name: float(one.mean()[0]) for name, one in song_scores(data, answers).items()}
