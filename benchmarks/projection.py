"""Bring features of many dimensions into two: PCA, or t-SNE, of scikit-learn.

Features are standardised before, each to mean 0 and deviation 1: a few dimensions of a transformer
are a hundred times as large as all others, and a map of them alone says nothing of the rest.

References
----------
van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008): the perplexity of 30, and
the 50 principal components it starts from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from svuprobe.probe.protocol import ProbeError

METHODS = ("pca", "tsne")
_FEWEST = 5  # points: of fewer there is nothing to see
_PERPLEXITY, _COMPONENTS = 30.0, 50
_LARGE = 500  # of both sides of a matrix, from which on its first vectors are found by iteration


@dataclass(frozen=True)
class Projection:
    """Hold where points lie.

    Attributes
    ----------
    places
        (N, 2).
    shares
        Of the variance that each axis has, of PCA; None of t-SNE, whose axes mean nothing.
    """

    places: np.ndarray
    shares: tuple[float, float] | None


def project(features: np.ndarray, method: str, seed: int) -> Projection:
    """Project features (N, D) into two dimensions.

    The same features, method and seed give the same places.

    Raises
    ------
    ProbeError
        There are fewer than five points, or no feature varies.
    """
    if len(features) < _FEWEST:
        raise ProbeError(f"{len(features)} points; a map takes {_FEWEST} or more")
    spread = features.std(axis=0, dtype=np.float64)
    varying = spread > 0
    if not varying.any():
        raise ProbeError("no feature differs from one point to another: there is nothing to map")
    # Constant features say nothing, and would be divided by zero.
    centred = features[:, varying] - features[:, varying].mean(axis=0, dtype=np.float64)
    standard = centred / spread[varying]
    if method == "pca":
        places, shares = _principal(standard, 2, seed)
        return Projection(places, (float(shares[0]), float(shares[1])))
    from sklearn.manifold import TSNE

    start, _ = _principal(standard, _COMPONENTS, seed)
    perplexity = min(_PERPLEXITY, (len(start) - 1) / 3)
    learn = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, method="barnes_hut")
    return Projection(learn.fit_transform(start.astype(np.float32)), None)


def _principal(features: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components (N, n) with their shares of the variance (n,)."""
    from sklearn.decomposition import PCA

    smaller = min(features.shape)
    solver = "arpack" if smaller > _LARGE else "full"
    pca = PCA(min(n, smaller), svd_solver=solver, random_state=seed)
    places = pca.fit_transform(features)
    shares = pca.explained_variance_ratio_
    # One feature alone has no second axis.
    missing = max(0, 2 - places.shape[1])
    return np.pad(places, ((0, 0), (0, missing))), np.pad(shares, (0, missing))
