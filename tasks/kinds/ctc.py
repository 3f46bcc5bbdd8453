"""Compute connectionist temporal classification: sequences of symbols without times, from frames.

Output 0 of a frame is the blank, and symbol n of the alphabet output n + 1. The likelihood of a
sequence is the sum over all ways to spell it with one output a frame, where runs of one symbol
count once and blanks not at all; so a symbol that follows itself needs a blank between, and a
window as many frames as it has symbols and such repeats.

Conventions
-----------
**Targets** of frames are (N, 2): the symbols of a window, as outputs, stand in its first frames,
zeros behind them, for there are never more symbols than frames; the second column is 1 in the first
frame of a window, 2 where the window teaches nothing because no way fits it, and 0 in others. So
frames can be kept, shuffled by windows and put in batches as those of any other kind.

**The loss** is minus the log-likelihood of all windows over the number of their frames. (s3prl's,
for SUPERB, divides that of each utterance by its symbols. A gradient that is so many times as large
takes the same steps with Adam; what differs is that here a long clip counts as much as its length.)

References
----------
Graves et al., "Connectionist temporal classification", ICML 2006; Yang et al., "SUPERB",
Interspeech 2021 (phoneme recognition: a linear layer on frozen frames, CTC).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

_BEGINS, _BEGINS_UNFIT = 1, 2
# Frames times states of windows of all heads at once: 4 bytes each, there and back.
_MOST_STATES = 16 << 20


def frames_needed(symbols: Sequence[int]) -> int:
    """Return how many frames the shortest way to spell symbols has."""
    repeats = sum(a == b for a, b in zip(symbols, symbols[1:], strict=False))
    return len(symbols) + repeats


def rasterise(symbols: Sequence[int], n_frames: int) -> np.ndarray:
    """Return the targets (n_frames, 2) int16 of a window with these symbols, each an output."""
    targets = np.zeros((n_frames, 2), np.int16)
    if n_frames:
        fits = frames_needed(symbols) <= n_frames
        targets[0, 1] = _BEGINS if fits else _BEGINS_UNFIT
        if fits:
            targets[: len(symbols), 0] = symbols
    return targets


def window_starts(targets: torch.Tensor) -> torch.Tensor:
    """Return the rows (W,) at which windows begin, of targets (N, 2)."""
    return torch.nonzero(targets[:, 1])[:, 0]


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the loss of each head, (H,), from outputs (H, N, C) and targets (N, 2) of whole
    windows.
    """
    starts = window_starts(targets)
    if not len(starts):
        return (outputs * 0).sum(dim=(1, 2))
    return torch.cat([_loss(part, targets, starts) for part in _in_parts(outputs, targets)])


def _loss(outputs: torch.Tensor, targets: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the loss of each head; windows are padded to the longest, and what stands in padding
    counts nothing.
    """
    heads, frames, _ = outputs.shape
    lengths = torch.cat([starts[1:], starts.new_tensor([frames])]) - starts  # (W,)
    steps = torch.arange(int(lengths.max()), device=starts.device)
    rows = (starts[:, None] + steps).clamp_(max=frames - 1)  # (W, T)
    symbols = targets[rows, 0] * (steps < lengths[:, None])
    counts = (symbols > 0).sum(dim=1)
    padded = outputs.float().log_softmax(dim=-1)[:, rows].permute(2, 0, 1, 3)  # (T, H, W, C)
    each = functional.ctc_loss(
        padded.flatten(1, 2),
        # (One column at least: a batch may be of silence alone.)
        symbols[:, : max(1, int(counts.max()))].repeat(heads, 1),
        lengths.repeat(heads),
        counts.repeat(heads),
        reduction="none",
        zero_infinity=True,
    )
    teaches = targets[starts, 1] == _BEGINS
    return (each.view(heads, -1) * teaches).sum(dim=1) / frames


def _in_parts(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the outputs of a few heads at a time: torch holds all ways through all windows."""
    # There are two states a symbol, and no window has more symbols than all have together.
    states = targets.shape[0] * (2 * int((targets[:, 0] > 0).sum()) + 1)
    return outputs.split(max(1, _MOST_STATES // states))


def slope(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the gradient of `loss` for outputs (C, H, N), in the same layout."""
    gradients: list[torch.Tensor] = []
    with torch.enable_grad():
        for part in _in_parts(outputs.detach().permute(1, 2, 0), targets):
            asked = part.requires_grad_()
            gradients += torch.autograd.grad(loss(asked, targets).sum(), asked)
    return torch.cat(gradients).permute(2, 0, 1)


def best_path(logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
    """Return what each head spells if every frame says its likeliest output: (n, 2), time in s and
    number of the symbol in the alphabet; from logits (H, F, C) on frames at ``times`` (F,).

    Where symbols stand in time was not learnt: a head may say one anywhere that the others leave
    room. The time is the middle of its run of frames.
    """
    found = []
    for best in logits.argmax(dim=-1).numpy():  # (F,)
        begins = np.flatnonzero(np.diff(best, prepend=-1))
        ends = np.append(begins[1:], len(best))
        middles = (times[begins] + times[ends - 1]) / 2
        said = best[begins] > 0
        found.append(np.stack([middles, best[begins] - 1.0], axis=1)[said])
    return found
