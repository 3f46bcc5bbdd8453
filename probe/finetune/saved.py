"""Keep trained networks on disk: one file a seed, with what training changed and what it needs.

``<protocol>/seed<n>.safetensors`` beside a result holds every weight that any stage trained and
every buffer; the pretrained rest comes from the model by its name. The metadata, each value JSON:
``task`` (with labels and windowing), ``model``, ``supervised`` (a baseline), ``protocol``,
``dtype``, ``state`` (what training saw), ``run`` (a digest). Of a cross-validation the files are
``fold<name>-seed<n>.safetensors``, by the folds' own names, as messages and results have them
(counted from 1 where a name is none for a file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svuprobe._files import sha256_of, writing
from svuprobe._tensors import read_tensors, save_tensors
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.batching import batch_seconds_for
from svuprobe.probe import trained
from svuprobe.probe.finetune.baseline_model import BaselineModel
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.loop import START_ANEW, State
from svuprobe.probe.finetune.model import FineTunedModel, build
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.stored_task import task_from
from svuprobe.tasks.types import Task, natural_key

_DISCARDED = "discarded"  # name of a file in a folder of networks that are to go


def fold_names(folds: Sequence[str]) -> list[str]:
    """Return what files call folds: by their own names, or by their places, from 1, where one can't
    be part of a file's name.

    >>> fold_names(["0", "1"]), fold_names(["north/east", "south"])
    (['0', '1'], ['1', '2'])
    """
    fit = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}", fold) for fold in folds)
    if fit and len({fold.casefold() for fold in folds}) == len(folds):
        return list(folds)
    return [str(place + 1) for place in range(len(folds))]


class RunFolder:
    """Name the files of the networks of one result, in ``<protocol>/`` beside
    ``<protocol>.json``; those of a fold, as `fold_names` calls it, or of a single split.
    """

    def __init__(self, result: Path, fold: str = "") -> None:
        self.result, self.path = result, result.with_suffix("")
        self._before = f"fold{fold}-" if fold else ""

    def network(self, seed: int) -> Path:
        """Return the file of the trained network of a seed."""
        return self.path / f"{self._before}seed{seed}.safetensors"

    def checkpoint(self, seed: int) -> Path:
        """Return the file of a seed that is in training."""
        return self.path / f"{self._before}seed{seed}-checkpoint.safetensors"

    def networks(self, seed: int) -> list[Path]:
        """Return the trained networks of a seed that are there: one, or one of each fold."""
        name = self.network(seed).name
        one = [self.path / name] if (self.path / name).is_file() else []
        return one or sorted(
            self.path.glob(f"fold*-{name}"), key=lambda path: natural_key(path.name)
        )

    def make_room(self, folds: Sequence[str], *, resume: bool, overwrite: bool) -> None:
        """Make the folder for the networks of some folds, none for a single split; what an
        unfinished run left is kept, thrown away, or an error.

        A result that is there is of other data or weights, or to be overwritten: it goes with its
        networks. Raises ProbeError for what is left of a run that was not told to go on, and for
        networks of folds, or of a single split, that this run does not have.
        """
        if self.result.exists() or (self.path / _DISCARDED).exists() or (overwrite and not resume):
            self._discard()
        # Not resumed silently: hours of another run might be mixed with this one.
        left = sorted(self.path.glob("*.safetensors"))
        if left and not resume:
            raise ProbeError(
                f"{self.path}: left by a run that did not end; go on with --resume, or start anew "
                "with --overwrite"
            )
        # They would lie among this run's networks, and answer in their place.
        mine = tuple(f"fold{fold}-seed" for fold in folds) or "seed"
        for file in left:
            if not file.name.startswith(mine):
                raise ProbeError(
                    f"{file}: of a run on other folds or splits; start anew with --overwrite"
                )
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def _discard(self) -> None:
        """Delete a result and its networks: neither stands without the other, whoever is killed
        when.

        A mark in the folder says that the networks are to go. It is there before the result goes,
        and goes last.
        """
        with writing(self.path):
            if self.path.is_dir():
                (self.path / _DISCARDED).touch()
            result_file.remove(self.result)
            if self.path.is_dir():
                for left in sorted(self.path.iterdir()):
                    if left.name != _DISCARDED:
                        left.unlink()
                (self.path / _DISCARDED).unlink()

    def tidy(self) -> None:
        """Delete what was needed on the way: checkpoints, and temporary files of killed
        processes.
        """
        with writing(self.path):
            for pattern in ("*seed*-checkpoint.safetensors*", "*seed*.safetensors.tmp-*"):
                for left in self.path.glob(pattern):
                    left.unlink(missing_ok=True)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the networks, by the name that a result has for a file beside
        it.
        """
        files = sorted(self.path.glob("*seed*.safetensors"))
        return {f"/{file.name}": sha256_of(file) for file in files}


class NetworkPredictor:
    """Answer for new audio with a network that was fine-tuned, or a trained baseline; of a
    cross-validation with the mean of what the networks of all folds say, as new audio is in none.

    Attributes
    ----------
    task, input_spec, batch_seconds
        See `svuprobe.probe.predict.predict.Predictor`.
    """

    def __init__(self, networks: Sequence[Network], task: Task, runtime: Runtime) -> None:
        self.networks, self.task, self.runtime = networks, task, runtime
        # All are the same but for what they learnt.
        self.network = networks[0]
        self.input_spec = self.network.input_spec
        self.batch_seconds = batch_seconds_for(runtime.device)

    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return logits of windows (samples,): (C,) each at clip level, (frames, C) at frame
        level.
        """
        for samples in windows:
            if len(samples) < self.network.shortest:
                raise ExtractError(
                    f"{self.network.about['name']}: a clip of {len(samples)} samples is shorter "
                    f"than one frame, {self.network.shortest} samples at "
                    f"{self.input_spec.sample_rate} Hz"
                )
        of_networks = [self.runtime.logits(network, windows) for network in self.networks]
        return [np.mean(of_window, axis=0) for of_window in zip(*of_networks, strict=True)]

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Return the centres of frames, seconds."""
        return self.network.frame_times(start_s, n_frames)

    def decode(
        self, outputs: np.ndarray, times: np.ndarray, audio: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return a recording's events; a decoder that follows its tempo asks for its samples
        (n,).
        """
        reader = self.network.reader
        samples = torch.from_numpy(audio()) if reader.follows_tempo else None
        return reader.decode(torch.from_numpy(outputs), times, samples)

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what to draw over the events: a name and (F,) probabilities."""
        return self.network.reader.activation(outputs)


def is_finetuned(result: Path) -> bool:
    """Return whether trained networks lie beside a result, for `load_predictor`."""
    return bool(RunFolder(result).networks(0))


def load_predictor(
    result: Path, *, seed: int = 0, device: str = "cpu", run_code: bool = False, model: str = ""
) -> NetworkPredictor:
    """Return the trained network of a seed of a result, or those of its folds; ``model`` says where
    the pretrained weights are now.

    Raises ProbeError where one is missing, or is not what was written with the result.
    """
    written = result_file.load(result)
    trained.require_seed(seed, len(written.ranked.per_seed), "networks")
    files = RunFolder(result).networks(seed)
    if len(files) != (written.task.folds or 1):
        raise ProbeError(
            f"{RunFolder(result).path}: lacks networks of seed {seed}; make them again with "
            "svuprobe finetune --overwrite"
        )
    networks = []
    for file in files:
        # Weights of another run would answer under the name of this result.
        result_file.require_unchanged(written, result, f"/{file.name}")
        network, task, runtime = _load(file, result, device, run_code, model)
        networks.append(network)
    return NetworkPredictor(networks, task, runtime)


def _load(
    file: Path, result: Path, device: str, run_code: bool, model: str
) -> tuple[Network, Task, Runtime]:
    """Return a trained network, its task and what it runs on."""
    tensors, metadata = read_tensors(file, START_ANEW)
    about = {key: json.loads(value) for key, value in metadata.items()}
    task = task_from(about["task"])
    # A CPU takes ages over bfloat16 that a GPU trained in.
    dtype = about["dtype"] if device.startswith("cuda") else "float32"
    # The shape of the head depends on the protocol, so the network is built by it.
    protocol = RecipeProtocol() if about["supervised"] else FinetuneProtocol(**about["protocol"])
    name = about["model"]["name"]
    if not about["supervised"]:  # a baseline is its name
        name = trained.model_to_load(result, name, model, run_code)
    network = build(name, task, task.labels or (), protocol)
    if network.about["digest"] != about["model"]["digest"]:
        stored = about["model"]["name"]
        remedy = "fine-tune it again" if name == stored else f"name where those of {stored} are"
        raise ProbeError(
            f"{name}: its weights ({network.about['digest'][:8]}) are not those that were "
            f"fine-tuned ({about['model']['digest'][:8]}); {remedy}"
        )
    # Their shape is that of the targets, which a fresh network does not know.
    network.offset, network.spread = tensors.pop("offset"), tensors.pop("spread")
    network.load_state_dict(tensors, strict=False)
    return network.requires_grad_(False).to(device), task, Runtime(device, dtype)


def save_network(
    network: Network,
    weights: dict[str, torch.Tensor],
    task: Mapping[str, Any],
    state: State,
    run: str,
    file: Path,
    dtype: str,
) -> None:
    """Write the file of a seed in one step; ``task`` is as `stored_task` gives it."""
    protocol = asdict(network.protocol) if isinstance(network, FineTunedModel) else {}
    about = {
        "task": task,
        "model": network.about,
        "supervised": isinstance(network, BaselineModel),
        "protocol": protocol,
        "dtype": dtype,
        "state": asdict(state),
        "run": run,
    }
    save_tensors(file, weights, {key: json.dumps(value) for key, value in about.items()})


def load_into(network: Network, file: Path, run: str) -> State:
    """Give a network the weights of a seed that was trained and return what its training saw."""
    tensors, about = read_tensors(file, START_ANEW)
    # The digest covers data, weights and protocol: anything else would be a mixture of two runs.
    if json.loads(about["run"]) != run:
        raise ProbeError(
            f"{file}: of a run with other data, weights or options; start anew with --overwrite"
        )
    # As training left it: what no stage trains is frozen.
    for stage in network.plan.stages:
        network.groups(stage)
    network.load_state_dict(tensors, strict=False)
    return State.from_json(about["state"])
