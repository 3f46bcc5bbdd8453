"""Run one probe: a cache and a task's clips in, a result out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.extractors.cache import FeatureCache, Header, size_of as size_of_cache, speed
from svuprobe.extractors.names import is_control
from svuprobe.probe import caveats, cross_validation, evaluate
from svuprobe.probe.assemble import assemble, size_of
from svuprobe.probe.choosing import ChosenHeads, choose, single_layers
from svuprobe.probe.evaluate import Answers, Features, TestScores
from svuprobe.probe.identity import of_probe
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results.extraction_info import ExtractionInfo
from svuprobe.probe.results.result import ModelInfo, ProtocolInfo, Result, Timings
from svuprobe.probe.results.result_folds import FoldInfo
from svuprobe.probe.results.result_layers import LayerWeights, Selected
from svuprobe.probe.results.score import PerSeed, defined
from svuprobe.probe.trained import FoldedHeads, TrainedHeads
from svuprobe.probe.training.heads import WEIGHTED_SUM
from svuprobe.probe.training.layer_sets import name_of
from svuprobe.probe.training.splits import ClipSplits, FrameSplits
from svuprobe.probe.training.workers import matmul_precision_for, unthreaded
from svuprobe.tasks import folds
from svuprobe.tasks.manifest import ClipList


def probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    options: RunOptions,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads | FoldedHeads]:
    """Train every head of the protocol's grid on a cache, select on validation, score test once.

    ``options.dtype`` is what the matrix products of training are rounded to (``auto`` is what
    `svuprobe.probe.training.workers.matmul_precision_for` finds); the test split is scored in
    float32. ``options.memory`` bounds what is held of a frame-level cache (see `FrameFeatures`).
    Returns the result and, of the ranked head, the predictions of every seed on the test split and
    what answers for new audio.
    """
    with unthreaded(options.runs_on):
        result, predictions, heads = _probe(cache, listed, protocol, options)
    return (
        replace(result, identity=of_probe(cache, listed, protocol.hash, options.dtype)),
        predictions,
        heads,
    )


@dataclass(frozen=True)
class _Tested:
    """Hold what is said of chosen heads on the test split, or over all folds.

    Attributes
    ----------
    data
        The splits as the heads saw them.
    ranked, by_layer
        Scores of the ranked head, and of the heads of each layer and set of layers.
    without
        By layer, what the weighted sum scores, per seed, when the layer is left out of it.
    """

    data: ClipSplits | FrameSplits
    ranked: TestScores
    by_layer: dict[int, TestScores]
    without: dict[int, list[float]]
    layer_weights: LayerWeights | None
    selected: Selected
    heads: TrainedHeads | FoldedHeads
    missing: list[str]
    load_s: float
    train_s: float
    folds: tuple[FoldInfo, ...] | None = None


def _probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    options: RunOptions,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads | FoldedHeads]:
    started = time.perf_counter()
    run = _over_folds if folds.names(listed.clips) else _on_one_split
    tested = run(cache, listed, protocol, options)
    products = "float64"  # of scikit-learn
    if protocol.head == "network":
        products = matmul_precision_for(protocol, options.runs_on, options.dtype)
    names = cache.header.layer_names
    spent = time.perf_counter() - started
    result = assemble(
        listed,
        tested.data,
        tested.ranked,
        model=_model_info(cache.header),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        layer_weights=tested.layer_weights,
        selected=tested.selected,
        missing=tested.missing,
        environment={"device": options.runs_on, "products": products},
        timings=Timings(
            load_s=tested.load_s,
            train_s=tested.train_s,
            test_s=spent - tested.load_s - tested.train_s,
            extraction=_extraction(cache),
        ),
        folds=tested.folds,
        **_layer_scores(tested.by_layer, tested.without, listed.task.metrics[0], names),
    )
    return result, tested.ranked.predictions, tested.heads


def _reporter(cache: FeatureCache, listed: ClipList, options: RunOptions) -> Reporter:
    return options.reporter.titled(f"probe {listed.task.name} {cache.header.model}")


def _on_one_split(
    cache: FeatureCache, listed: ClipList, protocol: Protocol, options: RunOptions
) -> _Tested:
    """Train and choose heads, and score the test split once."""
    reporter = _reporter(cache, listed, options)
    chosen = choose(cache, listed, protocol, options, reporter)
    data, deals = chosen.features, protocol.deals
    by_layer = {}
    answers = evaluate.test_answers(data, list(chosen.banks.values()), reporter)
    for layer, answered in zip(chosen.banks, answers, strict=True):
        by_layer[layer] = evaluate.score(data, answered, layer == chosen.head, deals)
    without = {}
    if chosen.sums is not None:
        for layer, outputs in evaluate.leave_one_out(data, chosen.sums, reporter):
            without[layer] = evaluate.ranked_scores(data, outputs).tolist()
    return _Tested(
        data,
        by_layer[chosen.head],
        by_layer,
        without,
        chosen.layer_weights(),
        chosen.selected(cache.header.layer_names),
        chosen.trained(cache, listed, protocol),
        chosen.missing,
        chosen.load_s,
        chosen.train_s,
    )


def _over_folds(
    cache: FeatureCache, listed: ClipList, protocol: Protocol, options: RunOptions
) -> _Tested:
    """Train and choose heads for each fold, and score the answers of all folds as one.

    `svuprobe.probe.cross_validation` says how. Features of one fold are in memory at a time.
    """
    names = cache.header.layer_names
    reporter = _reporter(cache, listed, options)
    # Of each fold, in their order; banks are not kept, as some hold what they learnt from.
    features: dict[str, Features] = {}
    trained: dict[str, TrainedHeads] = {}
    weights: list[LayerWeights | None] = []
    infos: list[FoldInfo] = []
    ranked: list[Answers] = []
    by_layer: dict[int, list[Answers]] = {}
    without: dict[int, list[np.ndarray]] = {}
    load_s = train_s = 0.0
    for fold in folds.names(listed.clips):
        part = replace(listed, clips=tuple(folds.as_splits(listed.task, listed.clips, fold)))
        of_fold = reporter.titled(f"{reporter.title} fold {fold}")
        try:
            own = choose(cache, part, protocol, options, of_fold)
        except ProbeError as error:
            raise ProbeError(f"fold {fold}: {error}") from None
        banks = list(own.banks.values())
        answers = list(evaluate.test_answers(own.features, banks, of_fold))
        answered = dict(zip(own.banks, answers, strict=True))
        for layer, of_layer in answered.items():
            by_layer.setdefault(layer, []).append(of_layer)
        if own.sums is not None:
            for layer, outputs in evaluate.leave_one_out(own.features, own.sums, of_fold):
                without.setdefault(layer, []).append(outputs)
        ranked.append(answered[own.head])
        own.features.release()
        features[fold] = own.features
        trained[fold] = own.trained(cache, listed, protocol)
        weights.append(own.layer_weights())
        infos.append(_fold_info(fold, own, answered, names))
        load_s, train_s = load_s + own.load_s, train_s + own.train_s
    data = cross_validation.folded(listed, features)
    tested = {}
    for layer, parts in by_layer.items():
        tested[layer] = cross_validation.score(data, parts, False, protocol.deals)
    dropped = {}
    for layer, outputs_of_folds in without.items():
        whole = np.concatenate(outputs_of_folds, axis=1)
        dropped[layer] = evaluate.ranked_scores(data, whole).tolist()
    return _Tested(
        data,
        cross_validation.score(data, ranked, True, protocol.deals),
        tested,
        dropped,
        cross_validation.layer_weights(weights),
        cross_validation.selected([info.selected for info in infos]),
        FoldedHeads(trained),
        own.missing,
        load_s,
        train_s,
        tuple(infos),
    )


def _fold_info(
    name: str, own: ChosenHeads, answered: Mapping[int, Answers], layer_names: Sequence[str]
) -> FoldInfo:
    """Return what a fold gave alone, from what its heads answered on its own test clips."""
    data = own.features
    scores = evaluate.score(data, answered[own.head], full=True).scores
    curve = {}
    for layer in single_layers(answered):
        of_layer = evaluate.score(data, answered[layer], full=False).scores
        curve[layer_names[layer]] = _per_seed(of_layer[data.task.metrics[0]])
    weights = own.layer_weights()
    return FoldInfo(
        name=name,
        train=size_of(data.splits["train"]),
        valid=size_of(data.splits["valid"]),
        test=size_of(data.splits["test"]),
        scores={metric: _per_seed(per_seed) for metric, per_seed in scores.items()},
        selected=own.selected(layer_names),
        layer_curve=curve,
        softmax=None if weights is None else weights.softmax,
        caveats=tuple(caveats.caveats(data)),
    )


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


def _extraction(cache: FeatureCache) -> ExtractionInfo | None:
    """Return what making the cache took; None where it doesn't say."""
    kept = speed.read(cache.directory)
    if not kept:
        return None
    most = asdict(kept[0])  # of the machine that did most of it
    # Without the note of the times itself: how long that is depends on their digits.
    note = (cache.directory / speed.NAME).stat().st_size
    return ExtractionInfo(**most, cache_bytes=size_of_cache(cache.directory) - note)


def _layer_scores(
    tested: Mapping[int, TestScores],
    without: Mapping[int, list[float]],
    metric: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """Return ``layer_curve``, ``layer_ci95``, ``layer_drop`` and ``layer_sets`` of a result.

    ``without`` holds what the weighted sum scores, per seed, when a layer is left out of it.
    """
    curve, intervals, drop = {}, {}, {}
    for layer in single_layers(tested):
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


def _per_seed(scores: Sequence[float]) -> PerSeed:
    return tuple(defined(score) for score in scores)
