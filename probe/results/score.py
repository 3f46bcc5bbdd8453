"""Hold one score of a result: over seeds, with its interval over the groups of the test split.

A score that is undefined (R2 of a constant target, tags without a positive) is None here and null
in the file; there is no NaN in a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from svuprobe._show import shown

PerSeed = tuple[float | None, ...]
Interval = tuple[float | None, float | None] | None


def defined(value: float | None) -> float | None:
    """Return a score, or None where it is undefined, which a computation says by NaN or
    infinity.
    """
    return None if value is None or not math.isfinite(value) else float(value)


def mean_over_seeds(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where the score of a seed is undefined, or there is no seed."""
    if not values or None in values:
        return None
    return sum(float(value) for value in values if value is not None) / len(values)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Hold one metric of the ranked head on the test split.

    Attributes
    ----------
    std
        Over seeds, n - 1; None with one seed, which says nothing of it.
    ci95
        Over the groups of the test split; None with too few of them, see
        `svuprobe.probe.stats.intervals`.
    """

    per_seed: PerSeed
    mean: float | None
    std: float | None
    ci95: Interval

    __repr__ = shown

    @classmethod
    def of_seeds(cls, per_seed: Sequence[float], ci95: Interval) -> Score:
        """Return the score of seeds whose values are known, NaN where undefined."""
        std = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else math.nan
        return cls(
            per_seed=tuple(defined(value) for value in per_seed),
            mean=defined(float(np.mean(per_seed))),
            std=defined(std),
            ci95=ci95,
        )

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the ends of ``ci95`` where both are defined."""
        return both_ends(self.ci95)


def both_ends(interval: Interval) -> tuple[float, float] | None:
    """Return an interval, or None where there is none or one of its ends is undefined."""
    if interval is None or interval[0] is None or interval[1] is None:
        return None
    return interval[0], interval[1]
