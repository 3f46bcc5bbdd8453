"""Score any resampling of groups at once, so that intervals cost no more than scores.

Conventions
-----------
A metric is a function ``(target, output, group, counts) -> (R,)``:

``target``
    (N,) int64 classes, (N, C) 0/1 tags or (N, C) values.
``output``
    (N, C) logits, or predicted values for regression.
``group``
    (N,) int64, the group of each unit: 0 to G - 1.
``counts``
    (R, G) how often each group is drawn in each of R resamplings; one row of ones gives the plain
    score.

Every value equals scikit-learn's on the resampled units (a test compares them). Where a metric
averages over classes or tags, those it is undefined for in a resampling (no positive, or no
negative) are left out of the mean; if all are, the value is NaN.

Metrics
-------
* multiclass: ``accuracy``, ``macro_f1``, ``balanced_accuracy``, ``top2``, ``top3``
* multilabel: ``roc_auc``, ``ap`` (both macro)
* regression: ``r2``, ``mae``, ``rmse``, ``pearson``, ``spearman`` (means over targets), and
  ``r2_<target>`` of each (`svuprobe.tasks.kinds.regression`)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def group_totals(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum (N, M) values per group: (G, M)."""
    totals = np.zeros((n_groups, values.shape[1]))
    np.add.at(totals, group, values)
    return totals


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide a by b; NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Average over the last axis without NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def mean_of(values: np.ndarray, group: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average one value per unit (N,) over each resampling: (R,)."""
    return ratio_of(values, np.ones_like(values), group, counts)


def ratio_of(
    values: np.ndarray, sizes: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Divide the sum of values (N,) by that of sizes (N,) in each resampling: (R,)."""
    # The sums of each group, drawn together: one product serves all resamplings.
    stacked = np.stack([values, sizes], axis=1)
    total = counts @ group_totals(stacked, group, counts.shape[1])
    return _ratio(total[:, 0], total[:, 1])


def mean_over_folds(metric: Metric, fold: np.ndarray) -> Metric:
    """Return a metric that is computed within each fold of a cross-validation, and averaged.

    Folds where it is undefined are left out of the mean; the value is NaN where all are.

    Parameters
    ----------
    fold
        (N,) the fold of each unit, any values.
    """
    parts = [np.flatnonzero(fold == own) for own in np.unique(fold)]

    def averaged(
        target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        values = [metric(target[own], output[own], group[own], counts) for own in parts]
        return _nanmean(np.stack(values, axis=-1))

    return averaged


def top(k: int) -> Metric:
    """Return the share of units whose true class is among the k largest outputs.

    Ties count against the prediction.
    """

    def metric(
        target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        own = output[np.arange(len(target)), target][:, None]
        others = np.arange(output.shape[1]) != target[:, None]
        # How many other classes are as likely as the true one, or likelier.
        rank = (others & (output >= own)).sum(axis=1)
        return mean_of((rank < k).astype(float), group, counts)

    return metric


def accuracy(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the share of units whose largest output is the true class, (R,)."""
    return mean_of((output.argmax(axis=1) == target).astype(float), group, counts)


def confusion(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count true positives, units of the class, units predicted as the class: each (R, C)."""
    n_classes = output.shape[1]
    eye = np.eye(n_classes)
    true, predicted = eye[target], eye[output.argmax(axis=1)]
    totals = group_totals(np.hstack([true * predicted, true, predicted]), group, counts.shape[1])
    hits, actual, guessed = np.split(counts @ totals, 3, axis=1)
    return hits, actual, guessed


def macro_f1(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Average the F1 of the classes that occur among targets or predictions, (R,)."""
    hits, actual, guessed = confusion(target, output, group, counts)
    return _nanmean(_ratio(2 * hits, actual + guessed))


def balanced_accuracy(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Average the recall of the classes that occur among targets, (R,)."""
    hits, actual, _ = confusion(target, output, group, counts)
    return _nanmean(_ratio(hits, actual))


def _over_tags(one: Callable[..., np.ndarray]) -> Metric:
    def metric(
        target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        weights = counts[:, group].astype(float)  # (R, N)
        values = [one(target[:, c] > 0.5, output[:, c], weights) for c in range(output.shape[1])]
        return _nanmean(np.stack(values, axis=-1))

    return metric


def _tied_sums(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weigh positives and negatives at each distinct score, highest score first: each (R, T)."""
    order = np.argsort(-score, kind="stable")
    # Equal scores are one threshold: no order among them is better than another.
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    ordered, is_positive = weights[:, order], positive[order]
    up = np.add.reduceat(ordered * is_positive, starts, axis=1)
    down = np.add.reduceat(ordered * ~is_positive, starts, axis=1)
    return up, down


def _roc_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    up, down = _tied_sums(positive, score, weights)
    # Positives above a negative count whole, those with its score by half (Mann-Whitney).
    above = np.cumsum(up, axis=1) - up / 2
    return _ratio((down * above).sum(1), up.sum(1) * down.sum(1))


def _average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    up, down = _tied_sums(positive, score, weights)
    hits, drawn = np.cumsum(up, axis=1), np.cumsum(up + down, axis=1)
    # Before anything is drawn the precision is undefined, and weighs nothing.
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    value = _ratio((up * precision).sum(1), up.sum(1))
    # Without a negative every order has a precision of 1: nothing is told.
    return np.where(down.sum(1) > 0, value, np.nan)


def _r2_each(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Compute the R2 of each target, (R, C); NaN where a target is constant."""
    c = target.shape[1]
    centred = target - target.mean(axis=0)  # R2 does not change, the sums keep their digits
    parts = np.hstack([np.ones_like(target), centred, centred**2, (target - output) ** 2])
    n, first, second, error = np.split(
        counts @ group_totals(parts, group, counts.shape[1]), 4, axis=1
    )
    # A variance that is rounding only counts as none.
    spread = second - _ratio(first**2, n)
    return 1 - _ratio(
        error, np.where(spread > 1e-12 * np.maximum(second, 1e-300), spread, 0)
    ).reshape(-1, c)


def r2(target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute the coefficient of determination, mean over the targets, (R,)."""
    return _nanmean(_r2_each(target, output, group, counts))


def mae(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Compute the mean absolute error, mean over the targets, (R,).

    Smaller is better, so it is never a ranked metric.
    """
    return mean_of(np.abs(target - output).mean(axis=1), group, counts)


def rmse(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Compute the root of the mean squared error of each target, mean over the targets, (R,).

    Smaller is better, so it is never a ranked metric.
    """
    squares = [mean_of(each, group, counts) for each in ((target - output) ** 2).T]
    return np.asarray(np.sqrt(np.stack(squares, axis=-1)).mean(axis=-1))


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlate (R, N) or (N,) values under weights (R, N): (R,); NaN where one is constant."""
    total = weights.sum(axis=1, keepdims=True)
    parts = []
    for values in (a, b):
        mean = _ratio((weights * values).sum(axis=1, keepdims=True), total)
        parts.append(values - mean)
    covariance = (weights * parts[0] * parts[1]).sum(axis=1)
    spreads = [(weights * part**2).sum(axis=1) for part in parts]
    for values, part in zip((a, b), spreads, strict=True):
        # Of values that are all the same only rounding is left.
        part[part <= 1e-12 * (weights * values**2).sum(axis=1)] = 0
    return _ratio(covariance, np.sqrt(spreads[0] * spreads[1]))


def _pearson(target: np.ndarray, output: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Less their means a correlation is the same, and the sums keep their digits.
    return _correlation(target - target.mean(), output - output.mean(), weights)


def _spearman(target: np.ndarray, output: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _correlation(_ranks(target, weights), _ranks(output, weights), weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank values (N,) in each resampling, (R, N), about the middle: equal ones share their mean
    rank, and a unit that is drawn twice is two equal ones.
    """
    _, place = np.unique(values, return_inverse=True)
    same = np.zeros((len(weights), place.max() + 1))
    np.add.at(same.T, place, weights.T)
    ranks = np.cumsum(same, axis=1) - same / 2 - same.sum(axis=1, keepdims=True) / 2
    return np.asarray(ranks[:, place])


def _over_targets(one: Callable[..., np.ndarray]) -> Metric:
    def metric(
        target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        weights = counts[:, group].astype(float)  # (R, N)
        values = []
        for column in range(target.shape[1]):
            truth = target[:, column].astype(float)
            values.append(one(truth, output[:, column].astype(float), weights))
        return _nanmean(np.stack(values, axis=-1))

    return metric


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "balanced_accuracy": balanced_accuracy,
    "top2": top(2),
    "top3": top(3),
    "roc_auc": _over_tags(_roc_auc),
    "ap": _over_tags(_average_precision),
    "r2": r2,
    "mae": mae,
    "rmse": rmse,
    "pearson": _over_targets(_pearson),
    "spearman": _over_targets(_spearman),
}
# Of so many outputs the largest are asked: among no more classes the true one always is.
_TOP = {"top2": 2, "top3": 3}
# Whose intervals are computed on the scale of Fisher's z (1921), which keeps them within -1 to 1.
CORRELATIONS = ("pearson", "spearman", "system_srcc", "system_lcc", "system_ktau")
# Of which less is better: they never rank.
ERRORS = ("mae", "rmse", "symbol_error_rate", "word_error_rate", "system_mse")
# Metrics that belong to one task, and stand in its file.
OF_ONE_TASK = {
    "key_weighted": "svuprobe.tasks.key:weighted_score",
    "accuracy_semitone": "svuprobe.tasks.pitch:accuracy_semitone",
    "accuracy_pitch_class": "svuprobe.tasks.pitch:accuracy_pitch_class",
    "system_srcc": "svuprobe.tasks.singing_quality:system_srcc",
    "system_lcc": "svuprobe.tasks.singing_quality:system_lcc",
    "system_ktau": "svuprobe.tasks.singing_quality:system_ktau",
    "system_mse": "svuprobe.tasks.singing_quality:system_mse",
}


def varies(name: str, n_classes: float) -> bool:
    """Return whether a metric says anything of a task with so many classes: the true one is always
    among the first two of two.

    >>> varies("top2", 2), varies("top2", 3)
    (False, True)
    """
    return _TOP.get(name, -1) < n_classes


def metric(name: str) -> Metric:
    """Return a metric by its name."""
    if name in METRICS:
        return METRICS[name]
    module, function = OF_ONE_TASK[name].split(":")
    return cast(Metric, getattr(importlib.import_module(module), function))
