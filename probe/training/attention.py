"""Pool the frames of a window by attention, which a head learns: ``pooling = attention``.

A head has one query q, (dim,). What it reads of a window is the mean of the frames x_f weighted by
the softmax over the window's own frames of q . x_f / sqrt(dim), x_f being the frame of its layer,
or of its weighted sum of layers. Queries start at 0, so every head starts as one on the mean, with
the same scaling; what follows the pooling is the same head.

Gradients are written out, as in `svuprobe.probe.training.heads`, and all heads of a bank share the
products with the frames that they read. Frames are many: a batch goes through in chunks of windows,
each read, scaled and padded when it is its turn, once on the way forward and once on the way back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svuprobe._sizes import gib
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.training.features import TENSOR_BYTES, ClipFeatures, FeatureStats
from svuprobe.probe.training.frames import memory_allowed
from svuprobe.probe.training.heads import Bank, Tensors, put
from svuprobe.probe.training.splits import Rows


@dataclass(frozen=True)
class Frames:
    """Hold the frames of windows that are at hand, one window after the other.

    Attributes
    ----------
    states
        (all frames, L, D) float16, as in the cache.
    start, length
        First frame and number of frames of each window, (N,) int64, on the CPU.
    """

    states: Tensor
    start: Tensor
    length: Tensor

    def means(self) -> Iterator[Tensor]:
        """Yield the mean over the frames of each window, (1, L, D) float32."""
        for start, length in zip(self.start.tolist(), self.length.tolist(), strict=True):
            yield self.states[start : start + length].mean(dim=0, keepdim=True, dtype=torch.float32)


@dataclass(frozen=True)
class FrameBlock:
    """Hold windows with all their frames, as `svuprobe.probe.training.features.Block` holds
    windows.
    """

    states: Frames
    targets: Tensor  # (N, ...)
    feature_stats: FeatureStats

    def __len__(self) -> int:
        return len(self.targets)

    def read(self, bank: Bank, rows: Tensor | slice) -> Any:
        """Return the `Windows` that a bank reads of some rows."""
        layers = bank.reads
        every = torch.arange(len(self))
        chosen = every[rows] if isinstance(rows, slice) else rows.cpu()
        return Windows(self, layers, chosen.tolist())


class Windows:
    """Read some windows of a block in chunks; it may be gone through several times."""

    def __init__(self, block: FrameBlock, layers: slice, rows: Sequence[int]) -> None:
        self.block, self.layers, self.rows = block, layers, rows
        stats, frames = block.feature_stats, block.states
        self.mean, self.scale = stats.mean[layers], stats.scale[layers]
        longest = int(frames.length[list(rows)].max())
        per_window = 4 * longest * self.mean.numel()
        device = frames.states.device.type
        self._at_once = max(1, TENSOR_BYTES[device] // per_window)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield frames (L, windows, F, D) float32, zeros after a window's own, and which are its
        own, (windows, F).
        """
        for first in range(0, len(self.rows), self._at_once):
            yield self._padded(self.rows[first : first + self._at_once])

    def _padded(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        frames = self.block.states
        lengths = frames.length[list(rows)]
        longest = int(lengths.max())
        layers, dim = self.mean.shape
        x = self.mean.new_zeros(layers, len(rows), longest, dim)
        for place, (row, n) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            start = int(frames.start[row])
            x[:, place, :n] = frames.states[start : start + n, self.layers].transpose(0, 1)
            if self.block.feature_stats.used:  # centred and scaled
                own = x[:, place, :n]
                own.sub_(self.mean[:, None]).div_(self.scale[:, None])
        valid = torch.arange(longest) < lengths[:, None]
        return x, valid.to(x.device)


class AttentionBank(Bank):
    """Hold heads that pool the frames of a window by attention; ``query`` (H, D) is a parameter."""

    def _initial(self, seed: int) -> Tensors:
        return super()._initial(seed) | {"query": torch.zeros(self.shape.dim)}

    @property
    def learns_input(self) -> bool:
        """Return whether what heads read depends on their parameters."""
        return True

    def _spread(self, states: Any) -> bool:
        return False  # every head reads a sum of its own

    def inputs(self, states: Any) -> Tensor:
        """Return what each head sees of `Windows`: (H, B, D)."""
        return torch.cat([self._pooled(x, valid) for x, valid in states], dim=1)

    def _groups(self, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield heads that read the same layers, these (l, b, F, D), and the heads' weights of them
        (h, l).
        """
        if self.sums:
            yield slice(0, len(self)), x, self.mix_weights()
            return
        start = 0
        for layer, heads in itertools.groupby(s.layer for s in self.specs):
            stop = start + len(list(heads))
            place = layer - self.layers[0]
            yield slice(start, stop), x[place : place + 1], x.new_ones(stop - start, 1)
            start = stop

    def _pooled(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool a chunk of windows, (H, b, D)."""
        parts = []
        for heads, layers, mix in self._groups(x):
            query = self.parameters["query"][heads]
            weights = attention(_products(query, layers), mix, valid)
            parts.append(torch.einsum("hl,lbhd->hbd", mix, _summed(weights, layers)))
        return torch.cat(parts)

    def into_input(self, states: Any, back: Tensor, into: Tensors, add: bool) -> None:
        """Write (or add) the gradients of queries and mix, from that of what heads read (H, B,
        D).
        """
        queries = torch.zeros_like(self.parameters["query"])
        of_mix = torch.zeros_like(self.parameters["mix"]) if self.sums else None
        first, root = 0, math.sqrt(self.shape.dim)
        for x, valid in states:
            part = back[:, first : first + len(valid)]
            first += len(valid)
            for heads, layers, mix in self._groups(x):
                query, own = self.parameters["query"][heads], part[heads]
                products = _products(query, layers)
                weights = attention(products, mix, valid)
                # What a frame's weight changes in the loss: (h, l, b, F), of the layers' sum.
                of_layers = torch.matmul(own.transpose(0, 1), layers.mT).permute(2, 0, 1, 3)
                change = torch.einsum("hl,hlbf->hbf", mix, of_layers)
                # The softmax's Jacobian: a weight times how far its change is from their mean.
                inner = (weights * change).sum(dim=2, keepdim=True)
                of_scores = weights * (change - inner)
                summed = _summed(of_scores, layers)  # (l, b, h, D)
                queries[heads] += torch.einsum("hl,lbhd->hd", mix, summed) / root
                if of_mix is not None:
                    of_mix += torch.einsum("hbf,hlbf->hl", weights, of_layers)
                    of_mix += torch.einsum("hbf,hlbf->hl", of_scores, products)
        put(into["query"], queries, add)
        if of_mix is not None:
            self.into_mix(of_mix, into, add)


def _products(query: Tensor, layers: Tensor) -> Tensor:
    """Multiply queries (h, D) with frames (l, b, F, D), over sqrt(D): (h, l, b, F)."""
    products = query @ layers.flatten(0, 2).T
    return products.div_(math.sqrt(query.shape[1])).view(len(query), *layers.shape[:3])


def attention(products: Tensor, mix: Tensor, valid: Tensor) -> Tensor:
    """Return the weights of frames, (h, b, F), 0 for padding, from products of queries and frames
    (h, l, b, F), weights of layers (h, l) and which frames are a window's own, (b, F).
    """
    scores = torch.einsum("hl,hlbf->hbf", mix, products)
    return scores.masked_fill(~valid, -torch.inf).softmax(dim=2)


def _summed(weights: Tensor, layers: Tensor) -> Tensor:
    """Sum frames (l, b, F, D) by weights (h, b, F): (l, b, h, D)."""
    return torch.matmul(weights.transpose(0, 1), layers)


class ClipFrames(ClipFeatures):
    """Hold the windows of a frame-level cache in memory, for a task of labels of whole windows.

    What is centred and scaled by are the moments of the windows' means, as at clip level.
    """

    def _read(self, splits: dict[str, Rows], memory: int | None) -> dict[str, Frames]:
        offset, length = self.cache.offset, self.cache.n_frames
        shape = self.cache.features.shape[1:]
        total = sum(int(length[rows.row].sum()) for rows in splits.values())
        size, allowed = 2 * total * int(np.prod(shape)), memory or memory_allowed(self.device)
        if size > allowed:
            raise ProbeError(
                f"{self.cache.directory}: the frames of task {self.task.name} are {gib(size)} and "
                f"{gib(allowed)} of memory are allowed; allow more with --memory, or probe with "
                "pooling = 'mean_std', which needs none of them"
            )
        read = {}
        for split, rows in splits.items():
            lengths = length[rows.row]
            starts = np.cumsum(lengths) - lengths
            states = np.empty((int(lengths.sum()), *shape), np.float16)
            for row, start, n in zip(rows.row.tolist(), starts, lengths, strict=True):
                self.cache.features.read_into(states[start : start + n], int(offset[row]))
            read[split] = Frames(
                torch.from_numpy(states).to(self.device),
                torch.from_numpy(starts),
                torch.from_numpy(lengths),
            )
        return read

    def _means(self, read: Frames) -> Iterator[Tensor]:
        return read.means()

    def _block(self, read: Frames, targets: Tensor) -> FrameBlock:
        return FrameBlock(read, targets, self.feature_stats)
