"""Test whether one model is better than another across tasks, by their ranks on each.

References
----------
Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from svuprobe.probe.stats.intervals import CONFIDENCE
from svuprobe.probe.stats.pairs import lettered

# With fewer, ranks only describe: no test across tasks.
MIN_TASKS = 5


@dataclass(frozen=True)
class Ranks:
    """Rank M models over T tasks.

    Attributes
    ----------
    tasks
        How many tasks count: those on which every model has a score.
    mean_rank
        (M,) 1 is best; ties share their ranks.
    borda
        (M,) models beaten, summed over the tasks; a tie counts half.
    friedman_p
        p-value of "all models rank alike" (Friedman, with ties corrected for); None where there is
        no test.
    critical_difference
        Nemenyi: mean ranks further apart than this differ at 0.05, for all pairs at once; None
        where there is no test.
    letters
        Significance groups by the critical difference, if Friedman's test finds any difference at
        all.
    caveat
        Why there is no test, or an empty string.
    """

    tasks: int
    mean_rank: np.ndarray
    borda: np.ndarray
    friedman_p: float | None
    critical_difference: float | None
    letters: tuple[str, ...]
    caveat: str


def ranks(scores: np.ndarray) -> Ranks:
    """Rank models over tasks, and test the ranks where there are enough of both.

    Tasks on one dataset are not independent, as the test takes them to be: four tags of one
    collection count as four tasks, and a small p-value then claims too much.

    Parameters
    ----------
    scores
        (T, M), larger is better; NaN where a result is missing. A task counts where no model's is
        missing.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    full = scores[np.isfinite(scores).all(axis=1)]
    n_tasks, size = full.shape
    each = rankdata(-full, axis=1)
    mean_rank = each.mean(axis=0) if n_tasks else np.full(size, np.nan)
    borda = (size - each).sum(axis=0)
    if n_tasks < MIN_TASKS or size < 3:
        tasks = f"{n_tasks} task{'s' * (n_tasks != 1)} that all models have"
        few = f"{size} models, under 3" if size < 3 else f"{tasks}, under {MIN_TASKS}"
        caveat = f"{few}: ranks describe, but no test across tasks is possible"
        return Ranks(n_tasks, mean_rank, borda, None, None, ("",) * size, caveat)
    alike = bool((each == each[0, 0]).all())
    p = 1.0 if alike else float(friedmanchisquare(*full.T).pvalue)
    # Demsar 2006, section 3.2.2: the studentised range divided by the root of 2.
    quantile = studentized_range.ppf(CONFIDENCE, size, np.inf) / np.sqrt(2)
    critical = float(quantile * np.sqrt(size * (size + 1) / (6 * n_tasks)))
    groups = lettered(list(_runs(mean_rank, critical if p < 1 - CONFIDENCE else np.inf)), size)
    return Ranks(n_tasks, mean_rank, borda, p, critical, groups, "")


def _runs(mean_rank: np.ndarray, reach: float) -> Iterator[frozenset[int]]:
    """Yield the longest runs of models whose mean ranks are within ``reach``, best first.

    What is alike then depends on one number alone, so no pair has to be looked at.
    """
    order = np.argsort(mean_rank, kind="stable")
    ends = np.searchsorted(mean_rank[order], mean_rank[order] + reach, side="right")
    end_before = 0
    for start, end in enumerate(ends):
        if end > end_before:
            yield frozenset(order[start:end].tolist())
        end_before = max(end, end_before)
