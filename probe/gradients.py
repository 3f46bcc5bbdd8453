"""Gradients of the losses of :mod:`svuprobe.tasks.kinds`, written out.

Training needs no value of a loss, only its gradient: a probability less its target. Graphs and losses that are not
reduced cost as much as the matrix products of a linear head on frames. Classes come first in memory, so that
every operation runs over long rows. The tests hold these against autograd.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from svuprobe.tasks.kinds.notes import N_OUTPUTS

_ONSET_WEIGHT = 15.0


def gradient(
    kind: str, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Of each head's mean loss, (H, B, C).

    Parameters
    ----------
    outputs
        (H, B, C), in any layout.
    targets
        (B, ...), shared by all heads: what `svuprobe.tasks.kinds.clip_loss` or ``frame_loss`` takes of a head.
    weights
        (C,) class weights of multiclass.
    """
    z = outputs.permute(2, 0, 1).contiguous()  # (C, H, B)
    n = len(targets)
    if kind == "multiclass":
        made = _softmax(z, targets)
        share = torch.full((n,), 1 / n, device=z.device) if weights is None else weights[targets]
        made *= share / share.sum()
    elif kind == "multilabel":
        made = z.sigmoid_().sub_(targets.T[:, None]).div_(z.numel() / z.shape[1])
    elif kind == "regression":
        made = z.sub_(targets.T[:, None]).mul_(2 * z.shape[1] / z.numel())
    elif kind == "beats":
        made = z.sigmoid_().sub_(targets).div_(n)
    else:
        made = _notes(z, targets).div_(n)
    return made.permute(1, 2, 0)


def _softmax(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Softmax over the first axis of (C, H, B) less the labels (B,)."""
    hot = functional.one_hot(labels, len(z)).T[:, None]
    return z.softmax(0).sub_(hot)


def _notes(z: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """BCE of onset (an onset weighs 15) and silence, cross-entropy of octave and pitch class."""
    onset = targets[:, 0]
    made = torch.empty_like(z)
    torch.sub(z[:2].sigmoid(), targets[:, :2].T[:, None], out=made[:2])
    made[0] *= 1 + (_ONSET_WEIGHT - 1) * onset
    for first, end, column in ((2, 7, 2), (7, N_OUTPUTS, 3)):
        made[first:end] = _softmax(z[first:end], targets[:, column])
    return made
