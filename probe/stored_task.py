"""What is kept of a task beside weights, so that they can be used without its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from svuprobe.tasks.types import Task, Windowing

# Of a task what is needed to decode and to name what is predicted; beside these its labels and
# windowing.
_TASK_FIELDS = (
    "name",
    "dataset",
    "kind",
    "metrics",
    "licence",
    "reference",
    "version",
    "scored",
    "beat_decoder",
)


def stored_task(task: Task, labels: Sequence[str]) -> dict[str, Any]:
    """Return what is kept of a task beside weights, as JSON values."""
    fields = {name: getattr(task, name) for name in _TASK_FIELDS}
    return fields | {"labels": list(labels), "windowing": asdict(task.windowing)}


def task_from(stored: Mapping[str, Any]) -> Task:
    """Return a task that knows what is needed to decode, and no clips."""
    fields = {name: stored[name] for name in _TASK_FIELDS} | {"metrics": tuple(stored["metrics"])}
    labels = tuple(stored["labels"]) or None
    return Task(
        **fields, clips=lambda root: [], labels=labels, windowing=Windowing(**stored["windowing"])
    )
