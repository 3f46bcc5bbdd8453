"""How sure a score is: a bootstrap over the groups of the test split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RESAMPLINGS = 1000
CONFIDENCE = 0.95


def resamplings(n_groups: int, seed: int = 0) -> np.ndarray:
    """How often each group is drawn in each of ``RESAMPLINGS`` draws with replacement: (R, G) int64."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=RESAMPLINGS))


def interval(score: Callable[[np.ndarray], np.ndarray], n_groups: int) -> tuple[float, float] | None:
    """Percentile interval at 95 % of a score that is the mean over seeds.

    ``score`` takes counts (R, G) and returns (R,). Groups (singers, songs, ...) are resampled, not clips:
    clips of one singer are not independent. None with fewer than two groups, where nothing can be said. With
    few groups, as the five test singers of VocalSet, the interval is too narrow rather than too wide.
    """
    if n_groups < 2:
        return None
    values = score(resamplings(n_groups))
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
