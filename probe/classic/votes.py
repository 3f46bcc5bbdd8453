"""Ask the nearest neighbours: what training rows close to a query say of it."""

from __future__ import annotations

import numpy as np

METRICS = ("euclidean", "cosine")
_AT_ONCE = 1 << 24  # values of neighbours' votes held


def ballots(targets: np.ndarray, answers: str, n_outputs: int) -> np.ndarray:
    """Return what each training row says of each output, (N, C) float32: a 1 for its class or tag,
    or its values.
    """
    if answers != "classes":
        return np.asarray(targets, np.float32).reshape(len(targets), -1)
    return np.eye(n_outputs, dtype=np.float32)[targets]


def nearest(rows: np.ndarray, queries: np.ndarray, most: int, metric: str) -> np.ndarray:
    """Return which rows (N, D) are nearest to each query (Q, D), nearest first: (Q, most).

    Cosine distance is 1 less the cosine.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=most, metric=metric, algorithm="brute").fit(rows)
    places: np.ndarray = found.kneighbors(queries, return_distance=False)
    return places


def outputs(said: np.ndarray, places: np.ndarray, answers: str) -> np.ndarray:
    """Return the outputs (Q, C) for neighbours at ``places`` (Q, k) that have ``said`` (N, C).

    Values are the mean of the neighbours'. Of classes and tags it is the logarithm of the share, or
    of its odds, with one vote shared out among all answers: no share is 0, and the order is that of
    scikit-learn's plain shares.
    """
    k = places.shape[1]
    step = max(1, _AT_ONCE // (k * said.shape[1]))
    parts = []
    for start in range(0, len(places), step):
        parts.append(said[places[start : start + step]].sum(axis=1, dtype=np.float64))
    votes = np.concatenate(parts)
    if answers == "values":
        made = votes / k
    elif answers == "classes":
        made = np.log((votes + 1 / votes.shape[1]) / (k + 1))
    else:
        made = np.log((votes + 0.5) / (k - votes + 0.5))
    return np.asarray(made, np.float32)
