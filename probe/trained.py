"""Keep the heads of a result beside it as ``<protocol>.safetensors``: enough to answer for new
audio.

Tensors
-------
``mean``, ``scale`` (layers, dim), or (layers, 2 dim) with ``pooling = mean_std``
    Subtracted from and dividing the hidden states; 0 and 1 where the protocol leaves them as they
    are.
``mix`` (seeds, layers)
    Weights of the layers, after the softmax.
``weight0``, ``bias0`` and, with a hidden layer, ``weight1``, ``bias1``
    (seeds, in, out) and (seeds, 1, out).
``query``, with ``pooling = attention``
    (seeds, dim): frames are weighted by the softmax of their product with it, over sqrt(dim).
``offset``, ``spread``
    What regression outputs are scaled back with.

The metadata's key ``about`` holds JSON: ``task`` (with windowing and labels), ``model`` (name,
digest, type), ``protocol`` and, where it is not the mean, ``pooling``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from svuprobe._tensors import damaged, read_tensors, write_tensors
from svuprobe.extractors.names import code_of
from svuprobe.probe import result_file
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.stored_task import stored_task, task_from
from svuprobe.tasks.types import Task


@dataclass(frozen=True)
class TrainedHeads:
    """Hold the heads of one result; the module says what each tensor is."""

    task: Task
    model: dict[str, str]
    protocol: str
    tensors: dict[str, torch.Tensor]
    pooling: str = "mean"

    @property
    def seeds(self) -> int:
        """Return how many heads there are."""
        return len(self.tensors["mix"])

    def __call__(self, states: torch.Tensor, seed: int) -> torch.Tensor:
        """Return outputs (rows, C) float32 of a seed's head for hidden states (rows, layers, dim);
        (1, C) with ``pooling = attention``, where the rows are the frames of a window.
        """
        t = self.tensors
        # States come as float16, in which differences of loud features would lose digits.
        scaled = (states.float() - t["mean"]) / t["scale"]
        # The same order as in training: scale, mix, head.
        x = torch.einsum("l,rld->rd", t["mix"][seed], scaled)
        if "query" in t:
            query = t["query"][seed]
            x = (x @ query / len(query) ** 0.5).softmax(dim=0)[None] @ x
        x = x @ t["weight0"][seed] + t["bias0"][seed]
        if "weight1" in t:
            x = x.relu() @ t["weight1"][seed] + t["bias1"][seed]
        # 1 and 0 but for regressions.
        return x * t["spread"] + t["offset"]

    def write(self, path: Path) -> None:
        """Write the file; `svuprobe.probe.result_file.save` gives it its place."""
        task = stored_task(self.task, self.task.labels or ())
        about = {"task": task, "model": self.model, "protocol": self.protocol}
        if self.pooling != "mean":
            about["pooling"] = self.pooling
        write_tensors(path, {name: t.detach().cpu() for name, t in self.tensors.items()}, about)


def beside(result: Path) -> Path:
    """Return where the heads of a result are."""
    return result.with_suffix(".safetensors")


def load(result: Path) -> TrainedHeads:
    """Read a result's heads. Raises ProbeError where there are none, or others than were written
    with it.
    """
    path = beside(result)
    if not path.is_file():
        raise ProbeError(
            f"{path}: the heads of {result.name} are not there; make them again with svuprobe "
            "probe --overwrite"
        )
    result_file.require_unchanged(result_file.load(result), result, path.suffix)
    remedy = "make it again with svuprobe probe --overwrite"
    tensors, about = read_tensors(path, remedy)
    try:
        pooling = about.get("pooling", "mean")
        return TrainedHeads(
            task_from(about["task"]), about["model"], about["protocol"], tensors, pooling
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from None


def refuse_code(result: Path, model: str, run_code: bool) -> None:
    """Raise ProbeError where a result's model is code that nobody allowed to run: a result named
    it.
    """
    code = code_of(model)
    if code and not run_code:
        raise ProbeError(
            f"{result}: its heads are of model {model}, which runs {code}; nothing was run: if "
            "you trust it, add --run-code"
        )
