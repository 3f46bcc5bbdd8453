"""Networks that were trained, on disk: one file a seed, with what training changed and what is needed to use it.

``<protocol>/seed<n>.safetensors`` beside a result holds every weight that any stage trained and every buffer; the
pretrained rest comes from the model by its name. The metadata, each value JSON: ``task`` (with labels and windowing),
``model``, ``supervised`` (a baseline), ``protocol``, ``dtype``, ``state`` (what training saw), ``run`` (a digest).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.batching import batch_seconds_for
from svuprobe.probe import result_file, trained
from svuprobe.probe.finetune.adapt import Tuned, build
from svuprobe.probe.finetune.loop import Machine, State, load, save
from svuprobe.probe.finetune.network import Network, Supervised
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Task


class FineTuned:
    """A network that was fine-tuned, or a trained baseline: what `svuprobe.probe.predict.predict` calls answers.

    Attributes
    ----------
    task, need, batch_seconds
        See `svuprobe.probe.predict.predict.Answers`.
    """

    def __init__(self, network: Network, task: Task, machine: Machine) -> None:
        self.network, self.task, self.machine = network, task, machine
        self.need, self.batch_seconds = network.need, batch_seconds_for(machine.device)

    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(C,) of each window at clip level, (frames, C) at frame level."""
        for samples in windows:
            if len(samples) < self.network.shortest:
                raise ExtractError(
                    f"{self.network.about['name']}: a clip of {len(samples)} samples is shorter than one frame, "
                    f"{self.network.shortest} samples at {self.need.sample_rate} Hz"
                )
        return self.machine.logits(self.network, windows)

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Centres of frames, seconds."""
        return self.network.frame_times(start_s, n_frames)

    def decode(self, outputs: np.ndarray, times: np.ndarray, audio: Callable[[], np.ndarray]) -> np.ndarray:
        """Notes or beats of a file; a baseline may have a decoder of its own, which follows the audio's tempo."""
        return self.network.decode(self.task, outputs, times, audio)

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """What to draw over the notes or beats."""
        return self.network.activation(outputs)


def is_finetuned(result: Path) -> bool:
    """Whether trained networks lie beside a result, for `load_finetuned`."""
    return (result.with_suffix("") / "seed0.safetensors").is_file()


def load_finetuned(result: Path, *, seed: int = 0, device: str = "cpu", run_code: bool = False) -> FineTuned:
    """The trained network of a seed of a result. Raises ProbeError where there is none."""
    file = result.with_suffix("") / f"seed{seed}.safetensors"
    if not file.is_file():
        raise ProbeError(f"{file}: no such seed of {result.name}; make it again with svuprobe finetune --overwrite")
    result_file.require_unchanged(result_file.load(result), result, f"/{file.name}")
    tensors, metadata = load(file)
    about = {key: json.loads(value) for key, value in metadata.items()}
    task = trained._task(about["task"])
    dtype = about["dtype"] if device.startswith("cuda") else "float32"
    protocol = RecipeProtocol() if about["supervised"] else FinetuneProtocol(**about["protocol"])
    trained.refuse_code(result, about["model"]["name"], run_code)
    network = build(about["model"]["name"], task, task.labels or (), protocol)
    if network.about["digest"] != about["model"]["digest"]:
        raise ProbeError(
            f"{about['model']['name']}: its weights ({network.about['digest'][:8]}) are not those that were "
            f"fine-tuned ({about['model']['digest'][:8]}); fine-tune it again"
        )
    network.offset, network.spread = tensors.pop("offset"), tensors.pop("spread")
    network.load_state_dict(tensors, strict=False)
    return FineTuned(network.requires_grad_(False).to(device), task, Machine(device, dtype))


def save_network(
    network: Network,
    weights: dict[str, torch.Tensor],
    listed: ClipList,
    state: State,
    run: str,
    file: Path,
    dtype: str,
) -> None:
    """Write the file of a seed in one step."""
    task = {name: getattr(listed.task, name) for name in trained._TASK_FIELDS}
    task |= {"labels": list(listed.labels), "windowing": asdict(listed.task.windowing)}
    protocol = asdict(network.protocol) if isinstance(network, Tuned) else {}
    about = {
        "task": task,
        "model": network.about,
        "supervised": isinstance(network, Supervised),
        "protocol": protocol,
        "dtype": dtype,
        "state": asdict(state),
        "run": run,
    }
    save(file, weights, {key: json.dumps(value) for key, value in about.items()})


def load_into(network: Network, file: Path, run: str) -> State:
    """Give a network the weights of a seed that was trained; what its training saw."""
    tensors, about = load(file)
    if json.loads(about["run"]) != run:
        raise ProbeError(f"{file}: of a run with other data, weights or options; start anew with --overwrite")
    for stage in network.plan.stages:
        network.groups(stage)
    network.load_state_dict(tensors, strict=False)
    return State(**json.loads(about["state"]))
