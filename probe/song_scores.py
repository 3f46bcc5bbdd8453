"""Hold what is scored of whole clips at frame level, clip by clip, and put it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from svuprobe.probe.training.splits import FrameSplits
from svuprobe.tasks.kinds.frames import Answer


@dataclass(frozen=True)
class SongScores:
    """Hold one metric of every head in every clip.

    Attributes
    ----------
    by_clip
        (H, clips) the score of each clip alone.
    parts
        (H, clips, 2) where the metric is no mean over clips but the ratio of the sums of these two;
        else None.
    """

    by_clip: np.ndarray
    parts: np.ndarray | None = None

    @property
    def whole(self) -> np.ndarray:
        """Return what the metric is computed from, ``parts`` or ``by_clip``."""
        return self.by_clip if self.parts is None else self.parts

    def over_seeds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the two parts (clips,) of the mean over heads, which have the same references."""
        if self.parts is None:
            mean = self.by_clip.mean(axis=0)
            return mean, np.ones_like(mean)
        sums, sizes = np.moveaxis(self.parts.mean(axis=0), -1, 0)
        return sums, sizes

    def mean(self) -> np.ndarray:
        """Return the metric over all clips, (H,)."""
        return over_clips(self.whole)


def over_clips(whole: np.ndarray) -> np.ndarray:
    """Return a metric over all clips, (H,), from `SongScores.whole`."""
    if whole.ndim == 2:
        return np.asarray(whole.mean(axis=1))
    sums, sizes = np.moveaxis(whole.sum(axis=1), -1, 0)
    return np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes != 0)


def song_scores(data: FrameSplits, answers: Iterable[Sequence[Answer]]) -> dict[str, SongScores]:
    """Collect every metric of every head in every clip, from ``[clip][head]``."""
    # The answers are seen once: they may come one by one, and hold a whole clip's events.
    scores: dict[str, list[list[float]]] = {name: [] for name in data.task.metrics}
    ratios: dict[str, list[list[tuple[float, float]]]] = {}
    for heads in answers:
        for name, by_clip in scores.items():
            by_clip.append([answer.scores[name] for answer in heads])
        for name in heads[0].ratios:
            ratios.setdefault(name, []).append([answer.ratios[name] for answer in heads])
    found = {}
    for name, by_clip in scores.items():
        parts = np.array(ratios[name]).swapaxes(0, 1) if name in ratios else None
        found[name] = SongScores(np.array(by_clip).T, parts)
    return found
