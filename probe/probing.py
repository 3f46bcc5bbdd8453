"""Run one probe: a cache and a task's clips in, a result out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from svuprobe._run_options import RunOptions
from svuprobe.extractors.cache import FeatureCache, Header
from svuprobe.extractors.names import is_control
from svuprobe.probe import caveats, classic, evaluate
from svuprobe.probe.assemble import assemble, weights_of_layers
from svuprobe.probe.attention import ClipFrames
from svuprobe.probe.classic.neighbours import NeighbourBank
from svuprobe.probe.features import ClipFeatures, FeatureStats
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.heads import CONCAT, MEAN, WEIGHTED_SUM, Bank
from svuprobe.probe.identity import of_probe
from svuprobe.probe.layer_sets import name_of
from svuprobe.probe.pooled import PooledFrames
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.result import ModelInfo, ProtocolInfo, Result, Timings
from svuprobe.probe.result_layers import LayerChoice, LayerWeights, Selected
from svuprobe.probe.score import PerSeed, defined
from svuprobe.probe.splits import rows_by_split
from svuprobe.probe.train import fit
from svuprobe.probe.trained import TrainedHeads
from svuprobe.probe.workers import matmul_precision_for, unthreaded
from svuprobe.tasks import kinds
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Task


def probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    options: RunOptions,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads]:
    """Train every head of the protocol's grid on a cache, select on validation, score test once.

    ``options.dtype`` is what the matrix products of training are rounded to (``auto`` is what
    `svuprobe.probe.workers.matmul_precision_for` finds); the test split is scored in float32.
    ``options.memory`` bounds what is held of a frame-level cache (see `FrameFeatures`). Returns the
    result and, of the ranked head, the predictions of every seed on the test split and what answers
    for new audio.
    """
    with unthreaded(options.runs_on):
        result, predictions, heads = _probe(cache, listed, protocol, options)
    return (
        replace(result, identity=of_probe(cache, listed, protocol.hash, options.dtype)),
        predictions,
        heads,
    )


def _probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    options: RunOptions,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads]:
    device, reporter = (
        options.runs_on,
        options.reporter.titled(f"probe {listed.task.name} {cache.header.model}"),
    )
    matmul_precision = matmul_precision_for(protocol, device, options.dtype)
    started = time.perf_counter()
    splits, missing = rows_by_split(cache, listed, options.allow_missing, protocol)
    kind = _features_for(listed.task, protocol)
    _require_layer(protocol, cache.header.layer_names)
    # Some protocols have exceptions for tasks; the hash is of the protocol as it is named.
    trained_as = protocol.for_task(listed.task.name)
    features = kind(cache, splits, listed, trained_as, device, options.memory)
    # Before training, which may take hours: a head can't be chosen without a score on validation.
    caveats.require_selection(features)
    loaded = time.perf_counter()
    if protocol.head == "network":
        fitted = fit(features, trained_as, features.dim, reporter, matmul_precision)
        trained = time.perf_counter()
        choices = evaluate.select(features, fitted, reporter)
        # Of the whole grid only the chosen heads see the test split, once.
        banks = {layer: evaluate.chosen_bank(fitted, choice) for layer, choice in choices.items()}
    else:
        chosen = classic.train(features, reporter)
        trained = time.perf_counter()
        choices, banks = chosen.choices, chosen.banks
        matmul_precision = "float64"
    head = _ranked_head(choices, protocol)
    scored = evaluate.test(
        features, list(banks.values()), [layer == head for layer in banks], reporter
    )
    tested = dict(zip(banks, scored, strict=True))
    summed = banks.get(WEIGHTED_SUM)
    without = evaluate.leave_one_out(features, summed, reporter) if summed is not None else {}
    finished = time.perf_counter()
    result = assemble(
        listed,
        features,
        tested[head],
        model=_model_info(cache.header),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        layer_weights=_layer_weights(summed, len(banks[head]), features.feature_stats)
        if protocol.head == "network"
        else None,
        selected=_selected(choices, head, cache.header.layer_names),
        missing=missing,
        environment={"device": device, "products": matmul_precision},
        timings=Timings(
            load_s=loaded - started, train_s=trained - loaded, test_s=finished - trained
        ),
        **_layer_scores(tested, without, listed.task.metrics[0], cache.header.layer_names),
    )
    return (
        result,
        tested[head].predictions,
        _trained(features, banks[head], cache, listed, protocol),
    )


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


def _ranked_head(choices: dict[int, evaluate.Choice], protocol: Protocol) -> int:
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


def _model_info(header: Header) -> ModelInfo:
    return ModelInfo(
        name=header.model,
        revision=header.revision,
        digest=header.digest,
        parameters=header.parameters,
        dim=header.dim,
        sample_rate=header.sample_rate,
        frame_rate=header.frame_rate,
        normalization=header.normalization,
        dtype=header.dtype,
        layer_names=tuple(header.layer_names),
        control=is_control(header.model),
        recipe=header.recipe or None,
    )


def _selected(choices: Mapping[int, evaluate.Choice], head: int, names: Sequence[str]) -> Selected:
    """Return what validation chose, by the names of layers and of sets of them."""
    named = {}
    for layer, choice in choices.items():
        named[layer] = LayerChoice(
            layer=name_of(layer, names),
            learning_rate=None if choice.setting else choice.learning_rate,
            valid=defined(choice.valid),
            setting=choice.setting or None,
        )
    layers = {}
    for layer in _single(choices):
        layers[names[layer]] = named[layer]
    return Selected(head=named[head], layers=layers)


def _layer_scores(
    tested: Mapping[int, evaluate.TestScores],
    without: Mapping[int, list[float]],
    metric: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """Return ``layer_curve``, ``layer_ci95``, ``layer_drop`` and ``layer_sets`` of a result.

    ``without`` holds what the weighted sum scores, per seed, when a layer is left out of it.
    """
    curve, intervals, drop = {}, {}, {}
    for layer in _single(tested):
        curve[names[layer]] = _per_seed(tested[layer].scores[metric])
        intervals[names[layer]] = tested[layer].intervals[metric]
    for layer, scores in without.items():
        lost = np.array(tested[WEIGHTED_SUM].scores[metric]) - scores
        drop[names[layer]] = _per_seed(lost.tolist())
    sets = {}
    for layer in sorted(tested):
        if layer < WEIGHTED_SUM:
            sets[name_of(layer, names)] = _per_seed(tested[layer].scores[metric])
    parts = {"layer_curve": curve, "layer_ci95": intervals, "layer_drop": drop}
    return parts | {"layer_sets": sets or None}


def _single(by_layer: Mapping[int, Any]) -> list[int]:
    """Return the layers that have heads of their own, the first one first."""
    return [layer for layer in sorted(by_layer) if layer >= 0]


def _per_seed(scores: Sequence[float]) -> PerSeed:
    return tuple(defined(score) for score in scores)


def _layer_weights(bank: Bank | None, seeds: int, stats: FeatureStats) -> LayerWeights:
    """Return what a weighted sum weighs; of a model of one layer, that layer has all of it."""
    softmax = np.ones((seeds, 1)) if bank is None else bank.mix_weights().double().cpu().numpy()
    return weights_of_layers(softmax, stats.rms.cpu().numpy(), stats.seen.cpu().numpy())


def _trained(
    features: ClipFeatures | FrameFeatures,
    bank: Bank,
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
) -> TrainedHeads:
    # Tensors of the bank and what features were standardised with: together they answer alone.
    moments, mix = features.feature_stats, bank.mixing()
    tensors = {
        "mean": moments.mean if moments.used else torch.zeros_like(moments.mean),
        "scale": moments.scale if moments.used else torch.ones_like(moments.scale),
        **({} if mix is None else {"mix": mix}),
        **(bank.tensors() if isinstance(bank, NeighbourBank) else _linears(bank)),
        "offset": torch.from_numpy(features.offset),
        "spread": torch.from_numpy(features.spread),
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
