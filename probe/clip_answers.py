"""Say what the heads of a result answered for each test clip, from the predictions beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.result import Result, TaskInfo
from svuprobe.probe.stats.units import predictions
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.answers import ClipAnswer as ClipAnswer, Mark as Mark
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import FrameKind


def _kind_of(task: TaskInfo) -> Kind:
    return kinds.named(task.kind).with_labels(task.labels)


def clip_answers(result: Result, path: Path) -> list[ClipAnswer]:
    """Return what a result's heads answered for each test clip, in the order of the predictions.

    Parameters
    ----------
    path
        The JSON file of the result, beside which its predictions lie.

    Raises
    ------
    ProbeError
        The predictions are not there, not what was written with the result, or of another shape.
    """
    task, kind = result.task, _kind_of(result.task)
    stored = predictions(result, path)
    if isinstance(kind, ClipKind) and stored["outputs"].shape[-1] != len(task.labels):
        raise ProbeError(
            f"{path.with_suffix('.npz')}: its outputs are not of the {len(task.labels)} labels of "
            f"task {task.name}; run svuprobe probe --overwrite again"
        )
    return kind.answers(task.labels, task.ranked, stored)


def wrongness(task: TaskInfo) -> str:
    """Return what ``wrong`` is in the answers of a task, as the heading of a column."""
    return kinds.named(task.kind).wrongness


def has_events(task: TaskInfo) -> bool:
    """Tell whether answers are events in time, which can be drawn."""
    return kinds.named(task.kind).level == "frame"


def marks(task: TaskInfo, events: Sequence[Any] | np.ndarray) -> list[Mark]:
    """Return what a picture of events has: begin and end in seconds, and a height or None."""
    kind = _kind_of(task)
    return kind.marks(events) if isinstance(kind, FrameKind) else []


def height_name(task: TaskInfo, height: int) -> str:
    """Return the name of a height at the axis of such a picture; empty for most."""
    kind = _kind_of(task)
    return kind.height_name(height) if isinstance(kind, FrameKind) else ""
