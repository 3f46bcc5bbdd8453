"""Read the predictions beside a result: what is scored of them, and by which targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_file import predictions_of
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.metrics import Metric, mean_over_folds


class Units(NamedTuple):
    """Hold what is scored of the predictions of a kind at clip level, windows or clips.

    Attributes
    ----------
    target, outputs, group
        (N, ...), (S, N, C) and (N,).
    fold
        (N,) in a cross-validation the fold of each, whose heads gave its outputs; else all the
        same.
    """

    target: np.ndarray
    outputs: np.ndarray
    group: np.ndarray
    fold: np.ndarray


def read_units(result: Result, path: Path) -> Units:
    """Return what is scored of the predictions beside the JSON at ``path``. Raises ProbeError as
    `predictions`.
    """
    stored = predictions(result, path)
    _, group = np.unique(stored["group"], return_inverse=True)
    return of_rows(result, stored, np.ones(len(group), bool), group)


def predictions(result: Result, path: Path) -> dict[str, np.ndarray]:
    """Return the predictions beside the JSON at ``path``.

    Raises ProbeError where they are not there, not what was written with the result, or of another
    shape.
    """
    stored = predictions_of(result, path)
    if reason := _wrong_shape(result, stored):
        raise ProbeError(
            f"{path.with_suffix('.npz')}: {reason}; run svuprobe probe --overwrite again"
        )
    return stored


def of_rows(
    result: Result, stored: dict[str, np.ndarray], rows: np.ndarray, group: np.ndarray
) -> Units:
    """Return what is scored of the windows at some rows, which are of these groups."""
    outputs, target = stored["outputs"][:, rows], stored["target"][rows]
    fold = stored["fold"][rows] if "fold" in stored else np.zeros(len(target))
    if result.task.scored == "clip":  # as training.splits.pool_windows, without importing torch
        starts = np.unique(stored["clip_id"][rows], return_index=True)[1]
        starts.sort()
        sizes = np.diff(np.r_[starts, len(target)])
        outputs = np.add.reduceat(outputs, starts, axis=1) / sizes[:, None]
        target, group, fold = target[starts], group[starts], fold[starts]
    return Units(target, outputs, group, fold)


def metric_of(kind: ClipKind, name: str, labels: Sequence[str], fold: np.ndarray) -> Metric:
    """Return a metric of units in some folds: one that ranks outputs is the mean over folds."""
    metric = kind.metric(name, labels)
    return mean_over_folds(metric, fold) if kind.ranks(name) else metric


def _wrong_shape(result: Result, stored: dict[str, np.ndarray]) -> str:
    """Say which array of the predictions is missing or of another length; empty where none is."""
    whole = f"score_{result.task.ranked}"  # notes and beats: a score per clip
    needed = ["clip_id", "group", *([whole] if whole in stored else ["outputs", "target"])]
    for name in needed:
        if name not in stored:
            return f"has no array {name!r}"
        of_seeds = name in (whole, "outputs")
        if stored[name].ndim < 1 + of_seeds or stored[name].shape[of_seeds] != len(
            stored["clip_id"]
        ):
            return f"its array {name!r} is not of as many clips as 'clip_id'"
    return "" if len(stored["clip_id"]) else "holds no test clip"
