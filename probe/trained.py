"""Keep the heads of a result beside it as ``<protocol>.safetensors``: enough to answer for new
audio.

Tensors
-------
``mean``, ``scale`` (layers, dim), or (layers, 2 dim) with ``pooling = mean_std``
    Subtracted from and dividing the hidden states; 0 and 1 where the protocol leaves them as they
    are.
``mix`` (seeds, layers), where layers are not read one after the other
    Weights of the layers, after the softmax; the first is 1 and the others 0 of a head on one.
``weight0``, ``bias0`` and, with a hidden layer, ``weight1``, ``bias1``
    (seeds, in, out) and (seeds, 1, out).
``query``, with ``pooling = attention``
    (seeds, dim): frames are weighted by the softmax of their product with it, over sqrt(dim).
``rows<seed>``, ``said<seed>``, of nearest neighbours in place of weights
    (rows, D) what heads read of the training rows, and (rows, out) the class, tags or values of
    each; with ``pca`` also ``centre<seed>`` (in,) and ``components<seed>`` (D, in).
``offset``, ``spread``
    What regression outputs are scaled back with.

The metadata's key ``about`` holds JSON: ``task`` (with windowing and labels), ``model`` (name,
digest, type), ``protocol`` and, where it is not the mean, ``pooling``; of nearest neighbours
``neighbours`` (``k``, ``metric`` and what they ``answer``). Of a cross-validation each fold has
heads of its own: the tensors of each are called ``<fold>/<name>``, and ``folds`` lists the folds'
names, each with its ``neighbours``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from svuprobe._tensors import damaged, read_tensors, write_tensors
from svuprobe.extractors.found_again import is_folder
from svuprobe.extractors.names import canonical, code_of, typed
from svuprobe.probe.classic import votes
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.stored_task import stored_task, task_from
from svuprobe.probe.training.pooled import pool
from svuprobe.tasks.types import Task


def require_seed(seed: int, n_seeds: int, what: str) -> None:
    """Raise ProbeError for a seed of which a result with so many has no ``what``."""
    if seed not in range(n_seeds):
        have = "seed 0 alone" if n_seeds == 1 else f"seeds 0 to {n_seeds - 1}"
        raise ProbeError(f"seed {seed}: the result has the {what} of {have}")


@dataclass(frozen=True)
class TrainedHeads:
    """Hold the heads of one result; the module says what each tensor is."""

    task: Task
    model: dict[str, str]
    protocol: str
    tensors: dict[str, torch.Tensor]
    pooling: str = "mean"
    neighbours: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """Return how many heads there are."""
        if self.neighbours:
            return sum(name.startswith("rows") for name in self.tensors)
        return len(self.tensors["weight0"])

    def __call__(self, states: torch.Tensor, seed: int) -> torch.Tensor:
        """Return outputs (rows, C) float32 of a seed's head for hidden states (rows, layers, dim);
        (1, C) where the rows are the frames of a window, which the pooling makes one of.
        """
        t = self.tensors
        if self.pooling in ("max", "first"):
            states = pool(states, self.pooling)
        # States come as float16, in which differences of loud features would lose digits.
        scaled = (states.float() - t["mean"]) / t["scale"]
        # The same order as in training: scale, mix, head.
        x = scaled.flatten(1)
        if "mix" in t:
            x = torch.einsum("l,rld->rd", t["mix"][seed], scaled)
        if "query" in t:
            query = t["query"][seed]
            x = (x @ query / len(query) ** 0.5).softmax(dim=0)[None] @ x
        if self.neighbours:
            x = self._asked(x, seed)
        else:
            x = x @ t["weight0"][seed] + t["bias0"][seed]
        if "weight1" in t:
            x = x.relu() @ t["weight1"][seed] + t["bias1"][seed]
        # 1 and 0 but for regressions.
        return x * t["spread"] + t["offset"]

    def _asked(self, x: torch.Tensor, seed: int) -> torch.Tensor:
        """Return what the nearest training rows say of inputs (rows, D)."""
        t, how = self.tensors, self.neighbours
        if f"components{seed}" in t:
            x = (x - t[f"centre{seed}"]) @ t[f"components{seed}"].T
        places = votes.nearest(t[f"rows{seed}"].numpy(), x.numpy(), how["k"], how["metric"])
        said = votes.outputs(t[f"said{seed}"].numpy(), places, how["answers"])
        return torch.from_numpy(said)

    @property
    def about(self) -> dict[str, Any]:
        """Return what is kept of them beside their tensors, as JSON values."""
        task = stored_task(self.task, self.task.labels or ())
        about = {"task": task, "model": self.model, "protocol": self.protocol}
        if self.pooling != "mean":
            about["pooling"] = self.pooling
        if self.neighbours:
            about["neighbours"] = dict(self.neighbours)
        return about

    def write(self, path: Path) -> None:
        """Write the file; `svuprobe.probe.results.result_file.save` gives it its place."""
        tensors = {name: tensor.detach().cpu() for name, tensor in self.tensors.items()}
        write_tensors(path, tensors, self.about)


@dataclass(frozen=True)
class FoldedHeads:
    """Hold the heads of a cross-validation, by the fold that each was tested on.

    New audio is in no fold, so all folds' heads answer for it together: with their mean.
    """

    folds: Mapping[str, TrainedHeads]

    @property
    def _first(self) -> TrainedHeads:
        return next(iter(self.folds.values()))

    @property
    def task(self) -> Task:
        """Return the task, with its labels and windowing."""
        return self._first.task

    @property
    def model(self) -> dict[str, str]:
        """Return the model that all heads are of: its name, digest and type."""
        return self._first.model

    @property
    def pooling(self) -> str:
        """Return what all heads read of the frames of a window."""
        return self._first.pooling

    @property
    def seeds(self) -> int:
        """Return how many heads there are of each fold."""
        return self._first.seeds

    def __call__(self, states: torch.Tensor, seed: int) -> torch.Tensor:
        """Return the mean over folds of what the heads of a seed answer, as `TrainedHeads` does."""
        return torch.stack([heads(states, seed) for heads in self.folds.values()]).mean(dim=0)

    def write(self, path: Path) -> None:
        """Write the file; `svuprobe.probe.results.result_file.save` gives it its place."""
        tensors, folds = {}, []
        for fold, heads in self.folds.items():
            for name, tensor in heads.tensors.items():
                tensors[f"{fold}/{name}"] = tensor.detach().cpu()
            folds.append({"name": fold, "neighbours": dict(heads.neighbours)})
        write_tensors(path, tensors, self._first.about | {"folds": folds})


def beside(result: Path) -> Path:
    """Return where the heads of a result are."""
    return result.with_suffix(".safetensors")


def load(result: Path) -> TrainedHeads | FoldedHeads:
    """Read a result's heads. Raises ProbeError where there are none, or others than were written
    with it.
    """
    path, written = beside(result), result_file.load(result)  # which says of what is no result
    if not path.is_file():
        raise ProbeError(
            f"{path}: the heads of {result.name} are not there; make them again with svuprobe "
            "probe --overwrite"
        )
    result_file.require_unchanged(written, result, path.suffix)
    remedy = "make it again with svuprobe probe --overwrite"
    tensors, about = read_tensors(path, remedy)
    try:
        if "folds" not in about:
            return _heads(about, tensors, about.get("neighbours", {}))
        folds = {}
        for fold in about["folds"]:
            before = f"{fold['name']}/"
            own = {}
            for name, tensor in tensors.items():
                if name.startswith(before):
                    own[name.removeprefix(before)] = tensor
            folds[fold["name"]] = _heads(about, own, fold["neighbours"])
        return FoldedHeads(folds)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from None


def _heads(
    about: Mapping[str, Any], tensors: dict[str, torch.Tensor], neighbours: Mapping[str, Any]
) -> TrainedHeads:
    pooling = about.get("pooling", "mean")
    task = task_from(about["task"])
    return TrainedHeads(task, about["model"], about["protocol"], tensors, pooling, neighbours)


def model_to_load(result: Path, stored: str, given: str, run_code: bool) -> str:
    """Return the name that a result's model is loaded by: the one that was given, or its own.

    Raises ProbeError where its own is a folder that is gone, or code that nobody allowed to run: a
    result named it, and may come from anywhere.
    """
    if given:
        return canonical(typed(given))
    code = code_of(stored)
    if code and not run_code:
        raise ProbeError(
            f"{result}: its heads are of model {stored}, which runs {code}; nothing was run: if "
            "you trust it, add --run-code"
        )
    if is_folder(stored) and not Path(stored.removeprefix("hf:")).exists():
        raise ProbeError(
            f"{result}: its heads are of model {stored}, and nothing is there; if the checkpoint "
            "was moved, say where it is with --model hf:./FOLDER"
        )
    return stored
