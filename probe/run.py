"""One probe: a cache and a task's clips in, a result out."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np

from svuprobe.extractors.cache import FeatureCache
from svuprobe.extractors.catalogue import is_control
from svuprobe.probe import evaluate
from svuprobe.probe.data import ClipFeatures, FrameFeatures, Moments, Rows, rows_by_split
from svuprobe.probe.heads import WEIGHTED_SUM
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.result import Result, digests
from svuprobe.probe.train import fit
from svuprobe.tasks.cliplist import ClipList

_LIBRARIES = ("svuprobe", "torch", "numpy", "scikit-learn", "mir_eval")


def probe(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    *,
    device: str = "cpu",
    allow_missing: bool = False,
    progress: Callable[..., Any] | None = None,
) -> tuple[Result, dict[str, np.ndarray]]:
    """Train every head of the protocol's grid on a cache, select on validation, score test once.

    Returns the result and, for the ranked head, the predictions of every seed on the test split.
    """
    started = time.perf_counter()
    splits, missing = rows_by_split(cache, listed, allow_missing)
    kind = ClipFeatures if listed.task.level == "clip" else FrameFeatures
    features = kind(cache, splits, listed, protocol, device)
    loaded = time.perf_counter()
    fitted = fit(features, protocol, cache.header.dim, progress)
    trained = time.perf_counter()
    watched = progress or (lambda items, **_: items)
    choices = {c.layer: c for c in evaluate.select(features, fitted, watched)}
    head = WEIGHTED_SUM if WEIGHTED_SUM in choices else 0
    each = watched(list(choices.items()), unit="layer")
    tested = {n: evaluate.test(features, fitted, c, full=n == head) for n, c in each}
    finished = time.perf_counter()
    names = cache.header.layer_names
    single = [n for n in sorted(tested) if n != WEIGHTED_SUM]
    result = Result(
        task=_task(listed),
        model=_model(cache),
        protocol={"name": protocol.name, "hash": protocol.hash, "fields": asdict(protocol)},
        scores={m: _summary(s, tested[head].intervals[m]) for m, s in tested[head].scores.items()},
        chance=evaluate.chance(features),
        layer_weights=_layer_weights(tested[head].mix, features.moments),
        layer_curve={names[n]: tested[n].scores[listed.task.metrics[0]] for n in single},
        selected={
            "head": asdict(choices[head]) | {"layer": "sum" if head == WEIGHTED_SUM else names[head]},
            "layers": {names[n]: asdict(choices[n]) | {"layer": names[n]} for n in single},
        },
        counts=_counts(splits, missing) | {"undefined": _undefined(features)},
        timings={"load_s": loaded - started, "train_s": trained - loaded, "test_s": finished - trained},
        environment={"python": platform.python_version(), "device": device}
        | {name: version(name) for name in _LIBRARIES},
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    return result, tested[head].predictions


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
        **({"beat_decoder": task.beat_decoder} if task.kind == "beats" else {}),
        "labels": list(listed.labels),
        "licence": task.licence,
        "reference": task.reference,
        "splits": dict(splits),
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
    std = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else 0.0
    return {"per_seed": per_seed, "mean": float(np.mean(per_seed)), "std": std, "ci95": ci95}


def _layer_weights(mix: np.ndarray, moments: Moments) -> dict[str, Any]:
    """Weights per seed as learnt, and times the RMS of what they weigh."""
    effective = mix * moments.seen.cpu().numpy()
    effective = effective / effective.sum(axis=1, keepdims=True)
    return {"softmax": mix.tolist(), "times_rms": effective.tolist(), "rms": moments.rms.tolist()}


def _undefined(features: ClipFeatures | FrameFeatures) -> list[str]:
    """Labels with no positive, or no negative, in the test split: left out of the mean over tags."""
    if not isinstance(features, ClipFeatures) or features.task.kind != "multilabel":
        return []
    share = features.clip_targets["test"].mean(axis=0)
    return [label for label, s in zip(features.labels, share, strict=True) if s in (0, 1)]


def _counts(splits: dict[str, Rows], missing: list[str]) -> dict[str, Any]:
    per_split = {
        name: {"clips": len(rows.clips), "windows": len(rows.row), "groups": len(rows.groups)}
        for name, rows in splits.items()
    }
    return per_split | {"missing": len(missing)}
