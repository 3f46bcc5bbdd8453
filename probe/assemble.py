"""Assemble the result of scored heads or networks: what of a task, a model and its scores is
kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np

from svuprobe.probe import caveats, evaluate
from svuprobe.probe.chance import chance as chance_of
from svuprobe.probe.results.result import Counts, ModelInfo, ProtocolInfo, Result, TaskInfo, Timings
from svuprobe.probe.results.result_folds import SplitCounts
from svuprobe.probe.results.result_layers import LayerWeights, Selected
from svuprobe.probe.results.score import Score, defined
from svuprobe.probe.training.splits import ClipSplits, FrameSplits, Rows
from svuprobe.tasks import folds, kinds
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip

# Whose versions can change a score in its last digits.
_LIBRARIES = ("svuprobe", "torch", "numpy", "scikit-learn", "mir_eval")


def assemble(
    listed: ClipList,
    features: ClipSplits | FrameSplits,
    test: evaluate.TestScores,
    *,
    model: ModelInfo,
    protocol: ProtocolInfo,
    layer_weights: LayerWeights | None,
    selected: Selected,
    missing: Sequence[str],
    environment: Mapping[str, str],
    timings: Timings,
    libraries: Sequence[str] = (),
    **layers: Any,
) -> Result:
    """Return the result of a probe or of fine-tuning.

    Parameters
    ----------
    features
        The splits as heads or networks saw them.
    test
        Scores of the ranked head.
    missing
        Ids of clips without features.
    environment
        What training ran on; the versions of ``libraries``, beside those of all results, are added.
    layers
        ``layer_curve``, ``layer_ci95``, ``layer_drop`` and ``layer_sets`` where single layers and
        sets of them have heads of their own.
    """
    scores = {}
    for metric, per_seed in test.scores.items():
        scores[metric] = Score.of_seeds(per_seed, test.intervals[metric])
    chance = {}
    for metric, value in chance_of(features).items():
        chance[metric] = defined(value)
    versions = {
        name: version(name) for name in (*_LIBRARIES, *libraries, *kinds.of(listed.task).libraries)
    }
    return Result(
        task=_task_info(listed),
        model=model,
        protocol=protocol,
        scores=scores,
        chance=chance,
        layer_weights=layer_weights,
        selected=selected,
        counts=_counts(features, missing),
        timings=timings,
        environment={"python": platform.python_version(), **environment, **versions},
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        caveats=tuple(caveats.caveats(features)),
        **layers,
    )


def weights_of_layers(softmax: np.ndarray, rms: np.ndarray, seen_rms: np.ndarray) -> LayerWeights:
    """Return what a weighted sum weighs.

    Parameters
    ----------
    softmax
        (S, L) weights of every seed.
    rms
        (L,) of the layers over the training set.
    seen_rms
        (L,) or (S, L), of the layers as the sum sees them: scaled, where the protocol scales them.
    """
    # What a layer adds to the sum is its weight times how large it is.
    products = softmax * seen_rms
    total = products.sum(axis=1, keepdims=True)
    times_rms = products / np.maximum(total, 1e-300)  # the RMS of layers that are constant is 0
    # A weight of 0 adds nothing to the entropy, as w log w goes to 0 with w.
    logarithm = np.log(np.where(softmax > 0, softmax, 1))
    return LayerWeights(
        softmax=_rows(softmax),
        times_rms=_rows(times_rms),
        rms=tuple(rms.tolist()),
        entropy=tuple((-(softmax * logarithm).sum(axis=1)).tolist()),
    )


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _task_info(listed: ClipList) -> TaskInfo:
    task = listed.task
    per_split = Counter(clip.split for clip in listed.clips)
    n_folds = len(folds.names(listed.clips))
    if n_folds:
        # What heads of a fold learn from and are chosen by, the mean over folds.
        of_folds: Counter[str] = Counter()
        for fold in folds.names(listed.clips):
            of_folds.update(c.split for c in folds.as_splits(task, listed.clips, fold))
        for split in ("train", "valid"):
            per_split[split] = round(of_folds[split] / n_folds)
    return TaskInfo(
        name=task.name,
        version=task.version,
        kind=task.kind,
        dataset=task.dataset,
        synthetic=listed.synthetic,
        ranked=task.metrics[0],
        scored=task.scored,
        windowing=task.windowing.key,
        window_s=listed.window_s,
        class_weight_alpha=float(task.class_weight_alpha),
        beat_decoder=kinds.of(task).decoder(task),
        labels=tuple(listed.labels),
        licence=task.licence,
        reference=task.reference,
        splits={name: per_split[name] for name in SPLITS},
        folds=n_folds or None,
        **digests(listed.clips),
    )


def digests(clips: Sequence[Clip]) -> dict[str, str]:
    """Return ``split_sha256`` and ``target_sha256`` of a task's clips, whatever their order."""
    places = []
    for c in clips:
        # Without folds it is the digest that results had before there were any.
        places.append(f"{c.id}\t{c.split}\t{c.group}" + (f"\t{c.fold}" if c.fold else ""))
    return {
        "split_sha256": _sha256_of_lines(places),
        "target_sha256": _sha256_of_lines(f"{c.id}\t{json.dumps(c.target)}" for c in clips),
    }


def _sha256_of_lines(lines: Iterable[str]) -> str:
    # Sorted, so that the order in which a dataset is listed does not matter.
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _counts(features: ClipSplits | FrameSplits, missing: Sequence[str]) -> Counts:
    sizes = {"test": size_of(features.splits["test"])}
    for split in ("train", "valid"):
        of_folds = [size_of(fold.splits[split]) for fold in features.folds]
        sizes[split] = SplitCounts(
            clips=_mean([size.clips for size in of_folds]),
            windows=_mean([size.windows for size in of_folds]),
            groups=_mean([size.groups for size in of_folds]),
        )
    return Counts(
        **sizes,
        missing=len(missing),
        missing_clips=tuple(sorted(missing)),
        undefined=_undefined_labels(features),
    )


def _mean(counts: Sequence[int]) -> int:
    """Return the mean over folds, rounded; the count itself of a single split."""
    return round(sum(counts) / len(counts))


def size_of(rows: Rows) -> SplitCounts:
    """Count what of a split has features."""
    first = rows.of(0)  # seeds may draw clips of their own, but all as many
    return SplitCounts(clips=len(first.clips), windows=len(first.row), groups=len(first.groups))


def _undefined_labels(features: ClipSplits | FrameSplits) -> tuple[str, ...]:
    """Return the labels with no positive, or no negative, in the test split: no mean counts
    them.
    """
    if not isinstance(features, ClipSplits):
        return ()
    return tuple(features.kind.unscored(features.clip_targets["test"], features.labels))
