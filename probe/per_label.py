"""Score each label alone: classes by recall, precision and F1, tags by ROC-AUC and average
precision, values of a regression by R2, errors and correlations.

Everything is computed from the predictions beside a result, so that no result grows with its
labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import Score
from svuprobe.probe.stats.units import Units, read_units
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.clips import ClipKind


def per_label(result: Result, path: Path) -> dict[str, dict[str, Score]]:
    """Return the score of each label on the test split, by label and metric.

    Units are those that the task scores, windows or clips. ``support`` counts the units of a class
    or the positives of a tag.

    Parameters
    ----------
    path
        The JSON file of the result, beside which its predictions lie.

    Returns
    -------
    dict
        Empty where the kind has no labels, as notes and beats, or does not score them one by one.

    Raises
    ------
    ProbeError
        The predictions are not there, or not what was written with the result.
    """
    kind = kinds.named(result.task.kind)
    if not isinstance(kind, ClipKind):
        return {}
    units = read_units(result, path)
    of_seeds = [kind.by_label(units.target, seed) for seed in units.outputs]
    folds = [np.flatnonzero(units.fold == fold) for fold in np.unique(units.fold)]
    scores: dict[str, dict[str, Score]] = {label: {} for label in result.task.labels}
    for metric in of_seeds[0]:
        if kind.ranks(metric) and len(folds) > 1:
            table = _over_folds(kind, metric, units, folds)
        else:
            table = np.stack([seed[metric] for seed in of_seeds])  # (S, C)
        for label, per_seed in zip(result.task.labels, table.T.tolist(), strict=True):
            scores[label][metric] = Score.of_seeds(per_seed, None)
    return scores if of_seeds[0] else {}


def _over_folds(
    kind: ClipKind, metric: str, units: Units, folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the mean over folds of the scores of each label, (S, C); folds where one is undefined
    are left out.
    """
    each = []
    for own in folds:
        of_seeds = [kind.by_label(units.target[own], seed[own]) for seed in units.outputs]
        each.append([seed[metric] for seed in of_seeds])
    values = np.ma.masked_invalid(np.array(each, dtype=float))  # (folds, S, C)
    return np.asarray(values.mean(axis=0).filled(np.nan))


def confusion_matrix(result: Result, path: Path) -> np.ndarray:
    """Count units of each class (rows) by what was answered (columns), mean over seeds: (C, C).

    Raises ProbeError as `per_label`; of kinds without classes of which one is right it is (0, 0).
    """
    kind = kinds.named(result.task.kind)
    if not isinstance(kind, ClipKind) or not kind.votes:
        return np.zeros((0, 0))
    target, outputs, *_ = read_units(result, path)
    n = outputs.shape[2]
    counts = np.zeros((n, n))
    for seed in outputs:
        np.add.at(counts, (target, seed.argmax(axis=1)), 1 / len(outputs))
    return counts


def rows(result: Result, path: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for each label and metric, as the CSV of ``svuprobe export`` has them."""
    for label, by_metric in per_label(result, path).items():
        for metric, score in by_metric.items():
            yield {"label": label, "metric": metric, "mean": score.mean, "std": score.std}
