"""Read the predictions beside a result: what is scored of them, and by which targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result import Result
from svuprobe.probe.result_file import predictions_of


def read_units(result: Result, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is scored of the predictions of a kind at clip level, windows or clips: targets
    (N, ...), outputs (S, N, C) and groups (N,). Raises ProbeError as `predictions`.
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, outputs and groups of the windows at some rows, or of their clips."""
    outputs, target = stored["outputs"][:, rows], stored["target"][rows]
    if result.task.scored == "clip":  # as probe.splits.pool_windows, without importing torch
        starts = np.unique(stored["clip_id"][rows], return_index=True)[1]
        starts.sort()
        sizes = np.diff(np.r_[starts, len(target)])
        outputs = np.add.reduceat(outputs, starts, axis=1) / sizes[:, None]
        target, group = target[starts], group[starts]
    return target, outputs, group


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
