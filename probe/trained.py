"""The heads of a result, kept beside it as ``<protocol>.safetensors``: enough to answer for new audio.

Tensors
-------
``mean``, ``scale`` (layers, dim)
    Subtracted from and dividing the hidden states; 0 and 1 where the protocol leaves them as they are.
``mix`` (seeds, layers)
    Weights of the layers, after the softmax.
``weight0``, ``bias0`` and, with a hidden layer, ``weight1``, ``bias1``
    (seeds, in, out) and (seeds, 1, out).
``offset``, ``spread``
    What regression outputs are scaled back with.

The metadata's key ``about`` holds JSON: ``task`` (with windowing and labels), ``model`` (name, digest, type) and
``protocol``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from svuprobe.extractors.names import code_of
from svuprobe.probe import result_file
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.types import Task, Windowing

_TASK_FIELDS = ("name", "dataset", "kind", "metrics", "licence", "reference", "version", "scored", "beat_decoder")


@dataclass(frozen=True)
class TrainedHeads:
    """Heads of one result; the module says what each tensor is."""

    task: Task
    model: dict[str, str]
    protocol: str
    tensors: dict[str, torch.Tensor]

    @property
    def seeds(self) -> int:
        """Heads there are."""
        return len(self.tensors["mix"])

    def __call__(self, states: torch.Tensor, seed: int) -> torch.Tensor:
        """Outputs (rows, C) float32 of the head of a seed for hidden states (rows, layers, dim)."""
        t = self.tensors
        scaled = (states.float() - t["mean"]) / t["scale"]
        x = torch.einsum("l,rld->rd", t["mix"][seed], scaled)
        x = x @ t["weight0"][seed] + t["bias0"][seed]
        if "weight1" in t:
            x = x.relu() @ t["weight1"][seed] + t["bias1"][seed]
        return x * t["spread"] + t["offset"]

    def write(self, path: Path) -> None:
        """Write the file; `svuprobe.probe.result_file.save` gives it its place."""
        task = {name: getattr(self.task, name) for name in _TASK_FIELDS}
        task |= {"labels": list(self.task.labels or ()), "windowing": asdict(self.task.windowing)}
        about = {"task": task, "model": self.model, "protocol": self.protocol}
        write_tensors(path, {name: t.detach().cpu() for name, t in self.tensors.items()}, about)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write a safetensors file. Raises OSError where the system refuses, as Python's own writing does."""
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


def beside(result: Path) -> Path:
    """Where the heads of a result are."""
    return result.with_suffix(".safetensors")


def load(result: Path) -> TrainedHeads:
    """The heads of a result. Raises ProbeError where there are none, or others than were written with it."""
    from safetensors import SafetensorError, safe_open

    path = beside(result)
    if not path.is_file():
        raise ProbeError(
            f"{path}: the heads of {result.name} are not there; make them again with svuprobe probe --overwrite"
        )
    result_file.require_unchanged(result_file.load(result), result, path.suffix)
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return TrainedHeads(_task(about["task"]), about["model"], about["protocol"], tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ProbeError(f"{path}: damaged ({error}); make it again with svuprobe probe --overwrite") from None


def refuse_code(result: Path, model: str, run_code: bool) -> None:
    """Raise ProbeError where a result's model is code that nobody allowed to run: its name came with the result."""
    code = code_of(model)
    if code and not run_code:
        raise ProbeError(
            f"{result}: its heads are of model {model}, which runs {code}; nothing was run: if you trust it, add "
            f"--run-code"
        )


def _task(stored: Mapping[str, Any]) -> Task:
    """A task that knows what is needed to decode, and no clips."""
    fields = {name: stored[name] for name in _TASK_FIELDS} | {"metrics": tuple(stored["metrics"])}
    labels = tuple(stored["labels"]) or None
    return Task(**fields, clips=lambda root: [], labels=labels, windowing=Windowing(**stored["windowing"]))
