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
from svuprobe.probe import caveats, evaluate
from svuprobe.probe.assemble import assemble, weights_of_layers
from svuprobe.probe.attention import ClipFrames
from svuprobe.probe.features import ClipFeatures, FeatureStats
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.heads import WEIGHTED_SUM, Bank
from svuprobe.probe.identity import of_probe
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.result import (
    LayerChoice,
    LayerWeights,
    ModelInfo,
    ProtocolInfo,
    Result,
    Selected,
    Timings,
)
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
    # Some protocols have exceptions for tasks; the hash is of the protocol as it is named.
    trained_as = protocol.for_task(listed.task.name)
    features = kind(cache, splits, listed, trained_as, device, options.memory)
    # Before training, which may take hours: a head can't be chosen without a score on validation.
    caveats.require_selection(features)
    loaded = time.perf_counter()
    fitted = fit(features, trained_as, features.dim, reporter, matmul_precision)
    trained = time.perf_counter()
    choices = evaluate.select(features, fitted, reporter)
    head = _ranked_head(choices, protocol)
    # Of the whole grid only the chosen heads see the test split, once.
    banks = {layer: evaluate.chosen_bank(fitted, choice) for layer, choice in choices.items()}
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
        layer_weights=_layer_weights(summed, len(banks[head]), features.feature_stats),
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
        return ClipFrames if protocol.pooling == "attention" else ClipFeatures
    if protocol.pooling != "mean":
        raise ProbeError(
            f"task {task.name}: pooling = {protocol.pooling!r} is of the frames of a window, and "
            f"{task.kind} are found in single frames, which nothing pools; probe it with pooling = "
            "'mean'"
        )
    return FrameFeatures


def _ranked_head(choices: dict[int, evaluate.Choice], protocol: Protocol) -> int:
    """Choose the weighted sum; or what validation likes best; or the only layer there is.

    The sum comes first among equals.
    """
    if protocol.select == "best":
        # The sum is -1, so it stands first and wins ties.
        return max(sorted(choices), key=lambda layer: choices[layer].valid)
    return WEIGHTED_SUM if WEIGHTED_SUM in choices else 0


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
    """Return what validation chose, by the layers' names; the weighted sum is called ``sum``."""
    named = {}
    for layer, choice in choices.items():
        name = "sum" if layer == WEIGHTED_SUM else names[layer]
        valid = defined(choice.valid)
        named[layer] = LayerChoice(layer=name, learning_rate=choice.learning_rate, valid=valid)
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
    """Return ``layer_curve``, ``layer_ci95`` and ``layer_drop`` of a result, by the layers' names.

    ``without`` holds what the weighted sum scores, per seed, when a layer is left out of it.
    """
    curve, intervals, drop = {}, {}, {}
    for layer in _single(tested):
        curve[names[layer]] = _per_seed(tested[layer].scores[metric])
        intervals[names[layer]] = tested[layer].intervals[metric]
    for layer, scores in without.items():
        lost = np.array(tested[WEIGHTED_SUM].scores[metric]) - scores
        drop[names[layer]] = _per_seed(lost.tolist())
    return {"layer_curve": curve, "layer_ci95": intervals, "layer_drop": drop}


def _single(by_layer: Mapping[int, Any]) -> list[int]:
    """Return the layers that have heads of their own, the first one first."""
    return [layer for layer in sorted(by_layer) if layer != WEIGHTED_SUM]


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
    p, moments = bank.parameters, features.feature_stats
    # Of no meaning for weighted sums.
    one_hot = torch.eye(len(moments.rms), device=bank.device)[bank.layer]
    names = ("weight0", "bias0") if bank.shape.hidden else ()
    last = len(names) // 2
    tensors = {
        "mean": moments.mean if moments.used else torch.zeros_like(moments.mean),
        "scale": moments.scale if moments.used else torch.ones_like(moments.scale),
        "mix": bank.mix_weights() if bank.sums else one_hot,
        **{name: p[name] for name in (*names, *(["query"] if "query" in p else []))},
        f"weight{last}": p["weight"].mT,
        f"bias{last}": p["bias"].mT,
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
    )
