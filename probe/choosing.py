"""Train the heads of a protocol's grid on one set of splits, and choose some on validation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe import caveats, classic, evaluate, widening
from svuprobe.probe.assemble import weights_of_layers
from svuprobe.probe.classic.neighbours import NeighbourBank
from svuprobe.probe.evaluate import Choice, Features
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results.result_layers import LayerChoice, LayerWeights, Selected
from svuprobe.probe.results.score import defined
from svuprobe.probe.trained import TrainedHeads
from svuprobe.probe.training.attention import ClipFrames
from svuprobe.probe.training.bank_run import Fitted
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.heads import CONCAT, MEAN, WEIGHTED_SUM, Bank, Spec
from svuprobe.probe.training.layer_sets import name_of
from svuprobe.probe.training.pooled import PooledFrames
from svuprobe.probe.training.splits import rows_by_split
from svuprobe.probe.training.train import fit, specs
from svuprobe.probe.training.workers import matmul_precision_for
from svuprobe.tasks import kinds
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Task


@dataclass(frozen=True)
class ChosenHeads:
    """Hold the heads that validation chose on one set of splits.

    Attributes
    ----------
    features
        The splits with their features, on which the heads can be tested.
    choices, banks
        By layer, ``WEIGHTED_SUM`` for the sum: the choice, and its heads, one a seed.
    head
        The layer of the ranked head.
    missing
        Ids of clips without features.
    load_s, train_s
        Seconds that reading the cache and training with the choice took.
    """

    features: Features
    choices: dict[int, Choice]
    banks: dict[int, Bank]
    head: int
    missing: list[str]
    load_s: float
    train_s: float

    @property
    def sums(self) -> Bank | None:
        """Return the weighted sums; None of a model of one layer."""
        return self.banks.get(WEIGHTED_SUM)

    def layer_weights(self) -> LayerWeights | None:
        """Return what the weighted sum weighs; of a model of one layer, that layer has all of it;
        None where heads learn no weights.
        """
        if self.features.protocol.head != "network":
            return None
        seeds, stats = len(self.banks[self.head]), self.features.feature_stats
        softmax = np.ones((seeds, 1))
        if self.sums is not None:
            softmax = self.sums.mix_weights().double().cpu().numpy()
        return weights_of_layers(softmax, stats.rms.cpu().numpy(), stats.seen.cpu().numpy())

    def selected(self, names: Sequence[str]) -> Selected:
        """Return what validation chose, by the names of layers and of sets of them."""
        named = {}
        for layer, choice in self.choices.items():
            named[layer] = LayerChoice(
                layer=name_of(layer, names),
                learning_rate=None if choice.setting else choice.learning_rate,
                valid=defined(choice.valid),
                setting=choice.setting or None,
                tried=choice.tried or None,
            )
        layers = {}
        for layer in single_layers(self.choices):
            layers[names[layer]] = named[layer]
        return Selected(head=named[self.head], layers=layers)

    def trained(self, cache: FeatureCache, listed: ClipList, protocol: Protocol) -> TrainedHeads:
        """Return what answers for new audio with the ranked head."""
        # Tensors of the bank and what features were standardised with: together they answer alone.
        bank = self.banks[self.head]
        moments, mix = self.features.feature_stats, bank.mixing()
        tensors = {
            "mean": moments.mean if moments.used else torch.zeros_like(moments.mean),
            "scale": moments.scale if moments.used else torch.ones_like(moments.scale),
            **({} if mix is None else {"mix": mix}),
            **(bank.tensors() if isinstance(bank, NeighbourBank) else _linears(bank)),
            "offset": torch.from_numpy(self.features.offset),
            "spread": torch.from_numpy(self.features.spread),
        }
        header = cache.header
        model = {"name": header.model, "digest": header.digest, "dtype": header.dtype}
        return TrainedHeads(
            replace(listed.task, labels=listed.labels),
            model,
            protocol.file_name,
            tensors,
            protocol.pooling,
            bank.about if isinstance(bank, NeighbourBank) else {},
        )


def choose(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    options: RunOptions,
    reporter: Reporter,
) -> ChosenHeads:
    """Train every head of the grid on the training split and choose on the validation split.

    Raises ProbeError where a split lacks clips, or no head can be chosen by the validation split.
    """
    started = time.perf_counter()
    splits, missing = rows_by_split(cache, listed, options.allow_missing, protocol)
    kind = _features_for(listed.task, protocol)
    _require_layer(protocol, cache.header.layer_names)
    # Some protocols have exceptions for tasks; the hash is of the protocol as it is named.
    trained_as = protocol.for_task(listed.task.name)
    features = kind(cache, splits, listed, trained_as, options.runs_on, options.memory)
    # Before training, which may take hours: a head can't be chosen without a score on validation.
    caveats.require_selection(features)
    loaded = time.perf_counter()
    if protocol.head == "network":
        matmul_precision = matmul_precision_for(protocol, options.runs_on, options.dtype)

        def train(heads: Sequence[Spec], said: Reporter) -> list[Fitted]:
            return fit(features, trained_as, features.dim, said, matmul_precision, heads)

        grid = specs(trained_as, len(cache.header.layer_names))
        fitted, choices = widening.search(features, grid, train, reporter)
        # Of the whole grid only the chosen heads see the test split, once.
        banks = {layer: evaluate.chosen_bank(fitted, choice) for layer, choice in choices.items()}
    else:
        chosen = classic.train(features, reporter)
        choices, banks = chosen.choices, chosen.banks
    trained = time.perf_counter()
    return ChosenHeads(
        features,
        choices,
        banks,
        _ranked_head(choices, protocol),
        missing,
        loaded - started,
        trained - loaded,
    )


def single_layers(by_layer: Mapping[int, Any]) -> list[int]:
    """Return the layers that have heads of their own, the first one first."""
    return [layer for layer in sorted(by_layer) if layer >= 0]


def _features_for(task: Task, protocol: Protocol) -> type[ClipFeatures] | type[FrameFeatures]:
    """Return what reads the cache for a task; ProbeError where there is nothing to pool."""
    if kinds.of(task).level == "clip":
        of_frames = PooledFrames if protocol.pooling in ("max", "first") else ClipFeatures
        return ClipFrames if protocol.pooling == "attention" else of_frames
    if protocol.pooling != "mean":
        raise ProbeError(
            f"task {task.name}: pooling = {protocol.pooling!r} is of the frames of a window, and "
            f"{task.kind} are found in single frames, which nothing pools; probe it with pooling = "
            "'mean'"
        )
    return FrameFeatures


def _require_layer(protocol: Protocol, names: Sequence[str]) -> None:
    """Raise ProbeError where the layer that a protocol ranks is none of the model's."""
    if protocol.select.isdigit() and int(protocol.select) >= len(names):
        raise ProbeError(
            f"select = {protocol.select!r}: the model has layers 0 ({names[0]}) to "
            f"{len(names) - 1} ({names[-1]})"
        )


def _ranked_head(choices: dict[int, Choice], protocol: Protocol) -> int:
    """Choose what the protocol ranks; or what validation likes best; or the only layer there is.

    Among equals the weighted sum comes first, then single layers, then other sets of layers.
    """
    if protocol.select.isdigit():
        return int(protocol.select)
    if protocol.select == "best":
        order = sorted(choices, key=lambda layer: (layer < WEIGHTED_SUM, layer))
        return max(order, key=lambda layer: choices[layer].valid)
    wanted = {"sum": WEIGHTED_SUM, "concat": CONCAT, "mean": MEAN}[protocol.select]
    return wanted if wanted in choices else 0


def _linears(bank: Bank) -> dict[str, torch.Tensor]:
    """Return the parameters of heads of Linear, in the order they are used in."""
    p = bank.parameters
    names = ("weight0", "bias0") if bank.shape.hidden else ()
    last = len(names) // 2
    return {
        **{name: p[name] for name in (*names, *(["query"] if "query" in p else []))},
        f"weight{last}": p["weight"].mT,
        f"bias{last}": p["bias"].mT,
    }
