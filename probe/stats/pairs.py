"""Correct p-values of many pairs of models for their number, and give letters to who is alike.

References
----------
Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979; Piepho,
"An algorithm for a letter-based representation of all-pairwise comparisons", J. Comput. Graph.
Statist. 13, 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from string import ascii_letters

import numpy as np

# Columns of a letter display on the way; they may grow as 3^(M / 3), and nobody reads so many.
_MOST_COLUMNS = 200


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number by Holm's step-down: (n,) -> (n,), each at
    most 1.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(corrected, 1)


def holm_of_pairs(p: np.ndarray) -> np.ndarray:
    """Return Holm's correction over the pairs of a symmetric matrix; NaN pairs do not count."""
    upper = np.triu(np.isfinite(p), 1)
    corrected = np.full_like(p, np.nan)
    corrected[upper] = holm(p[upper])
    return np.where(np.isnan(corrected), corrected.T, corrected)


def letters(different: np.ndarray, mean: np.ndarray) -> tuple[str, ...]:
    """Return a compact letter display: two models share a letter if and only if they are not told
    apart.

    Parameters
    ----------
    different
        (M, M) symmetric, True where two models are told apart.
    mean
        (M,) larger is better: the best has an ``a``.

    Returns
    -------
    A string for each model; all are empty where it takes more letters than the alphabet has, small
    and capital.

    Notes
    -----
    Piepho's insert and absorb, without the last sweep for letters that could be spared.
    """
    rank = {int(model): n for n, model in enumerate(np.argsort(-mean, kind="stable"))}
    columns = [frozenset(rank)]
    for i, j in combinations(sorted(rank, key=lambda model: rank[model]), 2):
        if different[i, j]:
            # Insert: a column that holds both of a pair becomes two, each without one of them.
            split = [
                part for c in columns for part in ((c - {i}, c - {j}) if {i, j} <= c else (c,))
            ]
            # Absorb: a column that lies within another says nothing.
            columns = [c for c in dict.fromkeys(split) if not any(c < other for other in split)]
            if len(columns) > _MOST_COLUMNS:
                break
    columns.sort(key=lambda column: sorted(rank[model] for model in column))
    return lettered(columns, len(mean))


def lettered(columns: Sequence[frozenset[int]], n_models: int) -> tuple[str, ...]:
    """Give each column a letter; nothing to anybody where there are more columns than letters."""
    if len(columns) > len(ascii_letters):
        return ("",) * n_models
    found = [""] * n_models
    for letter, column in zip(ascii_letters, columns, strict=False):
        for model in column:
            found[model] += letter
    return tuple(found)
