"""Files of tensors beside a result: weights, and in the metadata, as JSON, what they are of.

Probed heads (`svuprobe.probe.trained`) and networks with their checkpoints
(`svuprobe.probe.finetune.saved`, `svuprobe.probe.finetune.loop`) are safetensors files with one key
of metadata, ``about``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from svuprobe._files import replacing
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.types import Task, Windowing

# Of a task what is needed to decode and to name what
# is predicted; beside these its labels and windowing.
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


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write a file in one step: whoever reads it meanwhile finds the old one, whole."""
    with replacing(path) as temporary:
        write_tensors(temporary, tensors, about)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> None:
    """Write a safetensors file. Raises OSError where the system refuses, as Python's own writing
    does.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # One key: safetensors writes several in an order that differs from run to run.
    metadata = {"about": json.dumps(about, sort_keys=True)}
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of a file and what they are of.

    Raises ProbeError with the ``remedy`` for a file that can't be read or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["about"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from None


def damaged(path: Path, error: Exception, remedy: str) -> ProbeError:
    """Return the error for a file that holds something else than it should."""
    return ProbeError(f"{path}: damaged ({error}); {remedy}")


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
