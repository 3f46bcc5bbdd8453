"""One probe: a cache and a task's clips in, a result out."""

from __future__ import annotations

import platform
import time
from collections import Counter
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.cache import FeatureCache
from svuprobe.extractors.names import is_control
from svuprobe.probe import caveats, evaluate
from svuprobe.probe.features import ClipFeatures, FeatureStats, Rows, rows_by_split
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.heads import WEIGHTED_SUM, Bank
from svuprobe.probe.identity import of_probe
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.result import Result, digests
from svuprobe.probe.train import fit, matmul_precision_for, unthreaded
from svuprobe.probe.trained import TrainedHeads
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS

_LIBRARIES = ("svuprobe", "torch", "numpy", "scikit-learn", "mir_eval")


def probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    allow_missing: bool = False,
    memory: int | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads]:
    """Train every head of the protocol's grid on a cache, select on validation, score test once.

    ``dtype`` is what the matrix products of training are rounded to (``float32``, ``bfloat16``; ``auto`` is what
    `svuprobe.probe.train.matmul_precision_for` finds); the test split is always scored in float32. ``memory``
    bounds, in bytes, what is held of a frame-level cache (see `FrameFeatures`). Returns the result and, of the
    ranked head, the predictions of every seed on the test split and what answers for new audio.
    """
    reporter = reporter.titled(f"probe {listed.task.name} {cache.header.model}")
    with unthreaded(device):
        precision = matmul_precision_for(protocol, device, dtype)
        result, predictions, heads = _probe(
            cache, listed, protocol, device, precision, allow_missing, memory, reporter
        )
    return replace(result, identity=of_probe(cache, listed, protocol.hash, dtype)), predictions, heads


def _probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    device: str,
    matmul_precision: str,
    allow_missing: bool,
    memory: int | None,
    reporter: Reporter,
) -> tuple[Result, dict[str, np.ndarray], TrainedHeads]:
    started = time.perf_counter()
    splits, missing = rows_by_split(cache, listed, allow_missing, protocol)
    kind = ClipFeatures if listed.task.level == "clip" else FrameFeatures
    trained_as = protocol.for_task(listed.task.name)
    features = kind(cache, splits, listed, trained_as, device, memory)
    caveats.require_selection(features)
    loaded = time.perf_counter()
    fitted = fit(features, trained_as, cache.header.dim, reporter, matmul_precision)
    trained = time.perf_counter()
    choices = evaluate.select(features, fitted, reporter)
    head = _ranked_head(choices, protocol)
    banks = {layer: evaluate.chosen_bank(fitted, choice) for layer, choice in choices.items()}
    scored = evaluate.test(features, list(banks.values()), [layer == head for layer in banks], reporter)
    tested = dict(zip(banks, scored, strict=True))
    ranked = listed.task.metrics[0]
    names = cache.header.layer_names
    single = [n for n in sorted(tested) if n != WEIGHTED_SUM]
    summed = banks.get(WEIGHTED_SUM)
    without = evaluate.leave_one_out(features, summed, reporter) if summed is not None else {}
    result = Result(
        task=_task(listed),
        model=_model(cache),
        protocol={"name": protocol.name, "hash": protocol.hash, "fields": asdict(protocol)},
        scores={m: _summary(s, tested[head].intervals[m]) for m, s in tested[head].scores.items()},
        chance=evaluate.chance(features),
        layer_weights=_layer_weights(summed, len(banks[head]), features.feature_stats),
        layer_curve={names[n]: tested[n].scores[ranked] for n in single},
        layer_ci95={names[n]: tested[n].intervals[ranked] for n in single},
        layer_drop={
            names[n]: (np.array(tested[WEIGHTED_SUM].scores[ranked]) - scores).tolist()
            for n, scores in without.items()
        },
        selected={
            "head": asdict(choices[head]) | {"layer": "sum" if head == WEIGHTED_SUM else names[head]},
            "layers": {names[n]: asdict(choices[n]) | {"layer": names[n]} for n in single},
        },
        counts=_counts(splits, missing) | {"undefined": _undefined(features)},
        timings={
            "load_s": loaded - started,
            "train_s": trained - loaded,
            "test_s": time.perf_counter() - trained,
        },
        environment={"python": platform.python_version(), "device": device, "products": matmul_precision}
        | {name: version(name) for name in _LIBRARIES},
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        caveats=caveats.caveats(features),
    )
    return result, tested[head].predictions, _trained(features, banks[head], cache, listed, protocol)


def _ranked_head(choices: dict[int, evaluate.Choice], protocol: Protocol) -> int:
    """The weighted sum; or what validation likes best, the sum first among equals; or the only layer there is."""
    if protocol.select == "best":
        return max(sorted(choices), key=lambda layer: choices[layer].valid)
    return WEIGHTED_SUM if WEIGHTED_SUM in choices else 0


def _task(listed: ClipList) -> dict[str, Any]:
    task = listed.task
    splits = Counter(clip.split for clip in listed.clips)
    return {
        "name": task.name,
        "version": task.version,
        "kind": task.kind,
        "dataset": task.dataset,
        "synthetic": listed.synthetic,
        "ranked": task.metrics[0],
        "scored": task.scored,
        "windowing": task.windowing.key,
        "class_weight_alpha": float(task.class_weight_alpha),
        **({"beat_decoder": task.beat_decoder} if task.kind == "beats" else {}),
        "labels": list(listed.labels),
        "licence": task.licence,
        "reference": task.reference,
        "splits": {name: splits[name] for name in SPLITS},
        **digests(listed.clips),
    }


def _model(cache: FeatureCache) -> dict[str, Any]:
    header = cache.header
    names = ("revision", "digest", "parameters", "dim", "sample_rate", "frame_rate", "normalization", "dtype")
    return {
        "name": header.model,
        **{name: getattr(header, name) for name in names},
        "layer_names": list(header.layer_names),
        "control": is_control(header.model),
    }


def _summary(per_seed: list[float], ci95: tuple[float, float] | None) -> dict[str, Any]:
    std = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None  # one seed says nothing of a spread
    return {"per_seed": per_seed, "mean": float(np.mean(per_seed)), "std": std, "ci95": ci95}


def _layer_weights(bank: Bank | None, seeds: int, moments: FeatureStats) -> dict[str, Any]:
    """Weights of the weighted sum per seed as learnt, times the RMS of what they weigh, and their entropy."""
    mix = np.ones((seeds, 1)) if bank is None else bank.mix_weights().double().cpu().numpy()
    effective = mix * moments.seen.cpu().numpy()
    effective = effective / np.maximum(effective.sum(axis=1, keepdims=True), 1e-300)  # 0 of constant layers
    entropy = -np.where(mix > 0, mix * np.log(np.where(mix > 0, mix, 1)), 0).sum(axis=1)
    return {
        "softmax": mix.tolist(),
        "times_rms": effective.tolist(),
        "rms": moments.rms.tolist(),
        "entropy": entropy.tolist(),
    }


def _trained(
    features: ClipFeatures | FrameFeatures, bank: Bank, cache: FeatureCache, listed: ClipList, protocol: Protocol
) -> TrainedHeads:
    p, moments = bank.parameters, features.feature_stats
    one_hot = torch.eye(len(moments.rms), device=bank.device)[bank.layer]  # of no meaning for weighted sums
    names = ("weight0", "bias0") if bank.shape.hidden else ()
    last = len(names) // 2
    tensors = {
        "mean": moments.mean if moments.used else torch.zeros_like(moments.mean),
        "scale": moments.scale if moments.used else torch.ones_like(moments.scale),
        "mix": bank.mix_weights() if bank.sums else one_hot,
        **{name: p[name] for name in names},
        f"weight{last}": p["weight"].mT,
        f"bias{last}": p["bias"].mT,
        "offset": torch.from_numpy(features.offset),
        "spread": torch.from_numpy(features.spread),
    }
    header = cache.header
    model = {"name": header.model, "digest": header.digest, "dtype": header.dtype}
    return TrainedHeads(replace(listed.task, labels=listed.labels), model, protocol.file_name, tensors)


def _undefined(features: ClipFeatures | FrameFeatures) -> list[str]:
    """Labels with no positive, or no negative, in the test split: left out of the mean over tags."""
    if not isinstance(features, ClipFeatures) or features.task.kind != "multilabel":
        return []
    share = features.clip_targets["test"].mean(axis=0)
    return [label for label, s in zip(features.labels, share, strict=True) if s in (0, 1)]


def _counts(splits: dict[str, Rows], missing: list[str]) -> dict[str, Any]:
    per_split = {
        name: {"clips": len(rows.clips), "windows": len(rows.row), "groups": len(rows.groups)}
        for name, rows in ((name, every.of(0)) for name, every in splits.items())  # all seeds have as many clips
    }
    return per_split | {"missing": len(missing), "missing_clips": sorted(missing)}
