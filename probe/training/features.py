"""Read a cache into batches: what heads train on, and the clip level of it.

`ClipFeatures` and `svuprobe.probe.training.frames.FrameFeatures` offer the same to the trainer: the
blocks of an epoch, those to learn from with their steps, those of validation with none; the
gradient of each head's loss; a validation score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from svuprobe.extractors.cache import FeatureCache, JoinedFeatures
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.heads import Bank
from svuprobe.probe.training.splits import ClipSplits, Rows, Splits
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.manifest import ClipList

# Of float16: a feature that varies less than this share of its mean is its rounding.
_ROUNDING = 2.0**-11
# Largest tensor that a bank makes of a part of a batch: what a core's cache holds; a GPU wants few
# and large ones.
TENSOR_BYTES = {"cpu": 6 << 20, "cuda": 1 << 30}


@dataclass(frozen=True)
class FeatureStats:
    """Hold what is known of the hidden states over the training set.

    ``rms`` is each layer's root mean square, (L,). Heads see states less each feature's ``mean``
    (L, D), divided by its ``scale`` (L, D); as they are where not ``used``. ``seen`` (L,) is the
    RMS of what they see. Both commute with pooling and change nothing that a head can express; but
    a log-mel spectrum's mean is ten times what varies in it, and its loudest bands vary ten times
    as much as its quietest: gradient descent does not get past that in the time it has.
    """

    rms: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    seen: torch.Tensor
    used: bool

    @classmethod
    def over(
        cls, states: Iterable[torch.Tensor], use: bool, own_scale: float = 1.0
    ) -> FeatureStats:
        """Compute from (N, L, D) tensors; with ``use=False``, as papers have it, states stay as
        they are.

        ``own_scale`` is the power of a feature's own deviation in its scale, the rest is its
        layer's.
        """
        total: torch.Tensor | float = 0.0
        square: torch.Tensor | float = 0.0
        count = 0
        # In float64 and in parts: a float32 sum of squares would lose the deviation of large means.
        for part in states:
            for block in map(torch.Tensor.double, part.split(64)):
                total = total + block.sum(0)
                square = square + block.square().sum(0)
                count += len(block)
        assert isinstance(total, torch.Tensor)
        assert isinstance(square, torch.Tensor)
        mean = total / count
        rms = (square / count).mean(1).sqrt()
        # The square of the mean may exceed the mean of squares by rounding.
        deviation = (square / count - mean.square()).clamp_min(0).sqrt()
        scale = torch.maximum(deviation, _ROUNDING * mean.abs())
        of_layer = deviation.square().mean(1, keepdim=True).sqrt()
        scale = scale**own_scale * of_layer ** (1 - own_scale)
        scale = torch.where(scale > 0, scale, 1.0)  # a feature of zeros, a layer of constants
        seen = (deviation / scale).square().mean(1).sqrt() if use else rms
        return cls(rms.float(), mean.float(), scale.float(), seen.float(), use)


@dataclass(frozen=True)
class Block:
    """Hold rows that are at hand: windows at clip level, frames at frame level."""

    states: torch.Tensor  # (N, L, D) float16, as in the cache
    targets: torch.Tensor  # (N, ...)
    feature_stats: FeatureStats

    def __len__(self) -> int:
        return len(self.targets)

    def read(self, bank: Bank, rows: torch.Tensor | slice) -> torch.Tensor:
        """Return what a bank reads of some rows, (l, B, D) float32: its first layer to its last, or
        all.
        """
        layers = bank.reads
        # Sliced before the rows are picked, so that only what is needed is copied.
        states = self.states[:, layers]
        # Whole rows are copied: indexing goes number by number, and takes ten times as long.
        picked = states[rows] if isinstance(rows, slice) else states.index_select(0, rows)
        chosen = picked.transpose(0, 1)
        made = torch.empty(chosen.shape, device=chosen.device).copy_(chosen)
        if self.feature_stats.used:  # centred and scaled
            made.sub_(self.feature_stats.mean[layers, None]).div_(
                self.feature_stats.scale[layers, None]
            )
        return made


Steps = list[torch.Tensor]  # rows of a block that each step learns from


def rows_at_once(bank: Bank) -> int:
    """Return how many rows keep the largest tensor of a bank small."""
    shape, heads = bank.shape, len(bank)
    # The input of heads, one for each head where heads mix or hide layers of their own.
    inputs = heads if bank.sums or (shape.hidden and len(bank.layers) > 1) else len(bank.layers)
    per_row = max(shape.dim * inputs, (shape.hidden or shape.outputs) * heads, 1)
    return max(64, TENSOR_BYTES[bank.device.partition(":")[0]] // (4 * per_row))


def chunks(n: int, bank: Bank) -> list[slice]:
    """Return rows 0 to n in parts that are worked on at once."""
    size = rows_at_once(bank)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class Features(Splits):
    """Define what both levels share. ``feature_stats`` are over the training split; ``dim`` is of
    what heads read.

    Where every seed has clips of its own, moments, class weights and what regressions are scaled by
    are over those of all seeds: one set of heads has one input.
    """

    feature_stats: FeatureStats
    one_order: bool  # whether all seeds see the same batches
    weights: torch.Tensor | None = None  # of the classes in the loss

    def __init__(
        self,
        cache: FeatureCache,
        splits: dict[str, Rows],
        listed: ClipList,
        protocol: Protocol,
        device: str,
        memory: int | None = None,
    ):
        self.cache, self.protocol, self.device = cache, protocol, device
        self.memory = memory
        self.dim = cache.header.dim
        super().__init__(listed, splits)

    def release(self) -> None:
        """Let go of the features themselves: splits and targets stay, nothing can be trained."""
        raise NotImplementedError

    @property
    def of_one_clip(self) -> float | None:
        """Return what one clip or window more is worth in what `monitor` says; None of a loss."""
        raise NotImplementedError

    def parts(self, block: Block, rows: torch.Tensor, bank: Bank) -> Sequence[torch.Tensor]:
        """Return the rows of a step, which are of a block, in the parts that are worked on at
        once.
        """
        return rows.split(rows_at_once(bank))

    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return that of each head's mean loss, (H, B, C), for the targets (B, ...) that all
        share.
        """
        return self.kind.gradient(outputs, targets, self.weights)


class ClipFeatures(Features, ClipSplits):
    """Hold a clip-level cache in memory, on the device."""

    kind: ClipKind
    one_order = False
    resident = True

    def __init__(
        self,
        cache: FeatureCache,
        splits: dict[str, Rows],
        listed: ClipList,
        protocol: Protocol,
        device: str,
        memory: int | None = None,
    ) -> None:
        super().__init__(cache, splits, listed, protocol, device, memory)
        read = self._read(splits, memory)
        self.feature_stats = FeatureStats.over(
            self._means(read["train"]), protocol.standardize, protocol.own_scale
        )
        self.blocks: dict[str, Any] = {}
        for split, rows in splits.items():
            learnt = self.kind.scaled(self.clip_targets[split], self.offset, self.spread)
            targets = torch.from_numpy(learnt[rows.clip]).to(device)
            self.blocks[split] = self._block(read[split], targets)
        self.weights = self._class_weights()
        self.own = [self._own(seed) for seed in range(protocol.seeds if protocol.deals else 1)]

    def release(self) -> None:
        """Let go of the windows."""
        self.blocks, self.own = {}, []

    def _read(self, splits: dict[str, Rows], memory: int | None) -> dict[str, Any]:
        """Return the windows of each split, (N, L, D) float16 on the device."""
        parts = [self.cache.features]
        if self.protocol.pooling == "mean_std":
            parts.append(self.cache.std)
            self.dim = 2 * self.cache.header.dim
        return {split: whole.to(self.device) for split, whole in _whole(parts, splits).items()}

    def _means(self, read: Any) -> Iterable[torch.Tensor]:
        """Return what moments are taken over, (n, L, D) each."""
        return [read]

    def _block(self, read: Any, targets: torch.Tensor) -> Any:
        return Block(read, targets, self.feature_stats)

    def _own(self, seed: int) -> tuple[Block, np.ndarray, np.ndarray]:
        """Return what a seed learns from: the training split with its targets, its rows, their
        clips.
        """
        block, rows = self.blocks["train"], self.splits["train"]
        own = rows.of(seed)
        if own is rows:
            return block, np.arange(len(rows.row)), rows.clip
        # Targets of a seed's own clips stand where these lie in the training split of all seeds.
        place = {row: n for n, row in enumerate(rows.row.tolist())}
        mine = np.array([place[row] for row in own.row.tolist()])
        encoded = self.kind.encode(self.task, self.labels, own.clips)
        encoded = self.kind.scaled(encoded, self.offset, self.spread)
        targets = block.targets.clone()
        targets[torch.from_numpy(mine).to(self.device)] = torch.from_numpy(encoded[own.clip]).to(
            targets
        )
        return replace(block, targets=targets), mine, own.clip

    def _class_weights(self) -> torch.Tensor | None:
        windows = self.blocks["train"].targets.cpu().numpy()
        weights = self.kind.class_weights(windows, len(self.labels), self.task.class_weight_alpha)
        return None if weights is None else torch.from_numpy(weights).to(self.device)

    @property
    def n_training_rows(self) -> int:
        """Return the windows that the seed with the most of them learns from."""
        return max(len(rows) for _, rows, _ in self.own)

    def training(self, seed: int) -> Iterator[tuple[Block, torch.Tensor | slice]]:
        """Yield what a seed learns from, once: a block and its rows."""
        block, mine, _ = self.own[seed if self.protocol.deals else 0]
        yield block, torch.from_numpy(mine).to(self.device)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Block, Steps]]:
        """Yield the training split with the rows of each step, in a seed's order; then the
        validation split.
        """
        block, mine, clip = self.own[seed if self.protocol.deals else 0]
        rng = np.random.default_rng([seed, number])
        steps = self._batches(mine, clip, rng)
        while len(steps) < self.protocol.epoch_updates:  # a small set is gone through several times
            steps += self._batches(mine, clip, rng)
        yield block, [step.to(self.device) for step in steps]
        yield self.blocks["valid"], []

    def _batches(self, rows: np.ndarray, clip: np.ndarray, rng: np.random.Generator) -> Steps:
        """Return rows (N,) of these clips (N,) in batches, each once."""
        size = self.protocol.batch_size
        if not self.protocol.batch_clips:
            return list(torch.from_numpy(rng.permutation(rows)).split(size))
        windows = np.split(rows, np.flatnonzero(np.diff(clip)) + 1)
        clips = rng.permutation(len(windows)).tolist()
        batches = []
        for at in range(0, len(clips), size):
            batch = [windows[number] for number in clips[at : at + size]]
            batches.append(torch.from_numpy(np.concatenate(batch)))
        return batches

    def parts(self, block: Block, rows: torch.Tensor, bank: Bank) -> Sequence[torch.Tensor]:
        """Return one part: with class weights a batch's mean loss is no mean of parts."""
        return [rows]

    @torch.no_grad()
    def outputs(self, bank: Bank, split: str) -> np.ndarray:
        """Return outputs for every window of a split, (H, N, C), in the targets' own units."""
        block = self.blocks[split]
        parts = [bank(block.read(bank, rows)) for rows in chunks(len(block), bank)]
        values = torch.cat(parts, dim=1).cpu().numpy()
        return self.kind.unscaled(values, self.offset, self.spread)

    @property
    def of_one_clip(self) -> float:
        """Return one of the clips that are scored: what is monitored is what is chosen by."""
        return 1 / self.n_scored("valid")

    def monitor(self, bank: Bank, block: Block) -> np.ndarray:
        """Return the validation score of each head, (H,); larger is better."""
        return self.ranked(self.outputs(bank, "valid"), "valid", bank.specs[0].seed)


def _whole(parts: Sequence[JoinedFeatures], splits: dict[str, Rows]) -> dict[str, torch.Tensor]:
    """Read the windows of every split, (N, L, D) float16, the parts of a layer one after the other;
    each is read from start to end, once.
    """
    _, layers, dim = parts[0].shape
    shape = layers, len(parts) * dim
    made = {s: np.empty((len(r.row), *shape), np.float16) for s, r in splits.items()}
    # About 64 MB of the cache at once.
    step = max(1, (64 << 20) // (2 * layers * dim))
    for number, features in enumerate(parts):
        columns = slice(number * dim, (number + 1) * dim)
        for start in range(0, len(features), step):
            block = features[start : start + step]
            for split, rows in splits.items():
                here = np.flatnonzero((rows.row >= start) & (rows.row < start + len(block)))
                made[split][here, :, columns] = block[rows.row[here] - start]
    return {s: torch.from_numpy(values) for s, values in made.items()}
