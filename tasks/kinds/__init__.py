"""The kinds of task: how a target becomes numbers, what the loss is, what is scored.

Losses take outputs of many heads at once, with the heads axis first, and return one value per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional

from svuprobe.tasks.kinds import beats, notes
from svuprobe.tasks.types import Clip, Task, TaskError

CLIP_METRICS = {
    "multiclass": ("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"),
    "multilabel": ("roc_auc", "ap"),
    "regression": ("r2", "mae"),
}
FRAME_METRICS = {"notes": notes.METRICS, "beats": beats.METRICS}
KINDS = (*CLIP_METRICS, *FRAME_METRICS)


def n_outputs(kind: str, labels: Sequence[str]) -> int:
    """Outputs of a head: one per label, 20 for notes, 1 for beats."""
    return {"notes": notes.N_OUTPUTS, "beats": 1}.get(kind, len(labels))


def encode(task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
    """Targets of clip-level tasks: (N,) int64, (N, C) float32 0/1, or (N, C) float32.

    An unknown label raises TaskError naming the clip.
    """
    if task.kind == "regression":
        return np.array([clip.target for clip in clips], dtype=np.float32).reshape(len(clips), -1)
    index = {label: n for n, label in enumerate(labels)}
    tags = np.zeros((len(clips), len(labels)), dtype=np.float32)
    for row, clip in enumerate(clips):
        for tag in (clip.target,) if task.kind == "multiclass" else clip.target:
            if tag not in index:
                raise TaskError(
                    f"task {task.name}: label {tag!r} of clip {clip.id!r} is not among its {len(labels)} labels"
                )
            tags[row, index[tag]] = 1
    return tags.argmax(axis=1) if task.kind == "multiclass" else tags


def class_weights(targets: np.ndarray, n_classes: int, alpha: float) -> np.ndarray:
    """Weights 1 / n_c ** alpha of each class, normalised to mean 1 over the classes that occur; (C,) float32.

    alpha 0 weighs all alike; 1 is the plain inverse frequency (Yamamoto 2023), 0.2 D-CNN-cRT's.
    """
    counts = np.bincount(targets, minlength=n_classes).astype(float)
    seen = counts > 0
    weights = np.where(seen, np.maximum(counts, 1) ** -alpha, 0.0)
    return np.asarray(weights / weights[seen].mean(), dtype=np.float32)


def clip_loss(
    kind: str, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Loss of each head, (H,).

    Parameters
    ----------
    outputs
        (H, B, C).
    targets
        (H, B) int64 for multiclass, else (H, B, C) float.
    weights
        (C,) class weights of the cross-entropy; the mean is weighted as in ``torch.nn.CrossEntropyLoss``.
    """
    if kind == "multiclass":
        heads, batch, classes = outputs.shape
        flat = functional.cross_entropy(outputs.reshape(-1, classes), targets.reshape(-1), reduction="none").view(
            heads, batch
        )
        if weights is None:
            return flat.mean(1)
        share = weights[targets]
        return (flat * share).sum(1) / share.sum(1)
    if kind == "multilabel":
        each = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    else:
        each = (outputs - targets).square()
    return each.mean(dim=(1, 2))


def frame_loss(kind: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Loss of each head, (H,), for outputs (H, F, C) and the targets of F frames that all heads share."""
    return notes.loss(outputs, targets) if kind == "notes" else beats.loss(outputs, targets)


def rasterise(kind: str, target: Sequence, times: np.ndarray) -> np.ndarray:
    """Targets of the frames at ``times``: (F, 4) int16 for notes, (F,) float32 for beats."""
    return notes.rasterise(target, times) if kind == "notes" else beats.rasterise(target, times)


def decode(task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
    """Notes (n, 3) or beat times (n,) of each head from its logits (H, F, C) on frames at ``times``."""
    if task.kind == "notes":
        return [notes.decode(head.numpy(), times) for head in logits]
    if len(times) < 2:
        return [np.zeros(0) for _ in logits]
    fps = round(1 / float(np.diff(times).mean()), 6)
    activations = torch.sigmoid(logits[:, :, 0].double())
    if task.beat_decoder == "peaks":
        found = [beats.pick_peaks(activation, fps) for activation in activations]
    else:
        found = beats.decode(activations, fps)
    return [np.asarray(beat) + times[0] for beat in found]


class Answer(NamedTuple):
    """What a head makes of a whole clip: notes (n, 3) or beat times (n,), and what they score."""

    estimate: np.ndarray
    scores: dict[str, float]


def answer(task: Task, logits: np.ndarray, times: np.ndarray, target: Sequence) -> list[Answer]:
    """Of each head, from its logits (H, F, C) on frames at ``times``."""
    return [Answer(e, score_clip(task.kind, target, e)) for e in decode(task, torch.from_numpy(logits), times)]


def activation(kind: str, logits: np.ndarray) -> tuple[str, np.ndarray]:
    """Probability of an onset or a beat with its name, which decoders look at first: (F,) from (F, C) logits."""
    return ("P(onset)" if kind == "notes" else "P(beat)"), np.asarray(expit(logits[:, 0]))


def score_clip(kind: str, reference: Sequence, estimate: np.ndarray) -> dict[str, float]:
    """All metrics of one clip's notes or beats.

    As is the custom, the first 5 s of beats do not count; a clip without a beat after them counts whole.
    """
    if kind == "notes":
        return notes.score(np.array(reference, dtype=float).reshape(-1, 3), estimate)
    skip_s = 5.0 if max(reference, default=0.0) >= 5.0 else 0.0
    return beats.score(np.array(reference, dtype=float), estimate, skip_s)
