"""From a cache to batches: what heads train on, and the clip level of it.

`ClipFeatures` and `svuprobe.probe.frames.FrameFeatures` offer the same to the trainer: the blocks of an epoch, those
to learn from with their steps, those of validation with none; the gradient of each head's loss; a validation score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe.heads import Bank
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip, Task

# Largest tensor that a bank makes of a part of a batch: what a core's cache holds; a GPU wants few and large ones.
_ROUNDING = 2.0**-11  # of float16: a feature that varies less than this share of its mean is its rounding
_TENSOR_BYTES = {"cpu": 6 << 20, "cuda": 1 << 30}


@dataclass(frozen=True)
class Rows:
    """The windows of one split: their rows in the cache and the clip each belongs to.

    ``by_seed`` holds what each seed has of them, where a protocol deals clips or their targets out to the seeds;
    else all seeds have all.
    """

    clips: tuple[Clip, ...]
    row: np.ndarray  # (N,)
    clip: np.ndarray  # (N,) index into clips
    by_seed: tuple[Rows, ...] = ()

    @classmethod
    def of_clips(cls, cache: FeatureCache, clips: Sequence[Clip], by_seed: tuple[Rows, ...] = ()) -> Rows:
        """Find the windows of clips, in their order."""
        rows = [cache.rows_of[c.id] for c in clips]
        index = np.repeat(np.arange(len(clips)), [len(r) for r in rows])
        return cls(tuple(clips), np.concatenate(rows), index, by_seed)

    def of(self, seed: int) -> Rows:
        """Return what a seed learns from or is chosen by."""
        return self.by_seed[seed] if self.by_seed else self

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Sorted names of the groups."""
        return tuple(sorted({c.group for c in self.clips}))

    @cached_property
    def clip_group(self) -> np.ndarray:
        """Group of each clip, as an index into ``groups``."""
        index = {name: n for n, name in enumerate(self.groups)}
        return np.array([index[c.group] for c in self.clips], dtype=np.int64)


def rows_by_split(
    cache: FeatureCache, listed: ClipList, allow_missing: bool, protocol: Protocol | None = None
) -> tuple[dict[str, Rows], list[str]]:
    """Windows of each split, and the ids of clips that the cache lacks.

    Of the training split there are the clips that some seed of the protocol learns from. Raises ProbeError where
    clips are missing and that was not allowed, or where a split would be empty.
    """
    missing = [c.id for c in listed.clips if c.id not in cache.rows_of]
    if missing and not allow_missing:
        some = ", ".join(repr(i) for i in missing[:3])
        raise ProbeError(
            f"{cache.directory}: {len(missing)} of {len(listed.clips)} clips are missing ({some}...); "
            f"run svuprobe extract again, or leave them out with --allow-missing"
        )
    splits = {}
    for split in SPLITS:
        clips = tuple(c for c in listed.clips if c.split == split and c.id in cache.rows_of)
        if not clips:
            raise ProbeError(f"task {listed.task.name}: no clip with features in the {split} split")
        dealt: list[tuple[Clip, ...]] = []
        if protocol is not None and protocol.deals and split != "test":
            own = training_clips if split == "train" else validation_clips
            dealt = [own(clips, listed.task, protocol, seed) for seed in range(protocol.seeds)]
            wanted = {clip.id for some in dealt for clip in some}
            clips = tuple(c for c in clips if c.id in wanted)
        splits[split] = Rows.of_clips(cache, clips, tuple(Rows.of_clips(cache, some) for some in dealt))
    return splits, missing


def training_clips(clips: tuple[Clip, ...], task: Task, protocol: Protocol, seed: int) -> tuple[Clip, ...]:
    """Return the clips that a seed learns from, in their order: targets dealt anew, a fraction taken.

    Every seed has a shuffle and fractions of its own, so that the spread over seeds is that of the draw; they are the
    same for all models. Fractions of a seed are nested and keep one clip of each class at least; where a clip has no
    one class, they are of all clips.
    """
    if protocol.shuffle_labels:
        clips = _dealt_anew(clips, np.random.default_rng([1, seed]))
    if protocol.train_fraction == 1:
        return clips
    kind = kinds.of(task)
    places: dict[object, list[int]] = {}
    for n in np.random.default_rng([0, seed]).permutation(len(clips)).tolist():
        places.setdefault(kind.stratum(clips[n].target), []).append(n)
    taken = [n for same in places.values() for n in same[: max(1, round(protocol.train_fraction * len(same)))]]
    return tuple(clips[n] for n in sorted(taken))


def validation_clips(clips: tuple[Clip, ...], task: Task, protocol: Protocol, seed: int) -> tuple[Clip, ...]:
    """Return the clips that a seed is chosen by: all, with their targets dealt anew where those of training are.

    A shuffled head chosen by true labels is no control: features that cluster by class make some of a hundred states
    fit the true validation labels by accident, and with them the test split.
    """
    return _dealt_anew(clips, np.random.default_rng([2, seed])) if protocol.shuffle_labels else clips


def _dealt_anew(clips: tuple[Clip, ...], rng: np.random.Generator) -> tuple[Clip, ...]:
    """Deal the targets of clips out among them."""
    order = rng.permutation(len(clips))
    return tuple(replace(c, target=clips[n].target) for c, n in zip(clips, order, strict=True))


def pool_windows(outputs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Mean over the windows of each clip: (..., N, C) and (N,) sorted clip numbers -> (..., clips, C)."""
    starts = np.flatnonzero(np.r_[True, np.diff(clip) != 0])
    sizes = np.diff(np.r_[starts, len(clip)])
    return np.asarray(np.add.reduceat(outputs, starts, axis=-2) / sizes[:, None])


def majority_vote(outputs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Windows of each clip that vote for each class: (..., N, C) and (N,) sorted clip numbers -> (..., clips, C).

    Their argmax is the vote by which Hsieh et al. 2020 score songs; ties go to the first class.
    """
    votes = np.eye(outputs.shape[-1])[outputs.argmax(axis=-1)]
    starts = np.flatnonzero(np.r_[True, np.diff(clip) != 0])
    return np.asarray(np.add.reduceat(votes, starts, axis=-2))


@dataclass(frozen=True)
class FeatureStats:
    """What is known of the hidden states over the training set.

    ``rms`` is each layer's root mean square, (L,). Heads see states less each feature's ``mean`` (L, D), divided by
    its ``scale`` (L, D); as they are where not ``used``. ``seen`` (L,) is the RMS of what they see.
    Both commute with pooling and change nothing that a head can express; but a log-mel spectrum's mean is ten times
    what varies in it, and its loudest bands vary ten times as much as its quietest: gradient descent does not get
    past that in the time it has.
    """

    rms: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    seen: torch.Tensor
    used: bool

    @classmethod
    def over(cls, states: Iterable[torch.Tensor], use: bool, own_scale: float = 1.0) -> FeatureStats:
        """Of (N, L, D) tensors; with ``use=False`` (the presets that reproduce papers) states stay as they are.

        ``own_scale`` is the power of a feature's own deviation in its scale, the rest is its layer's.
        """
        total, square, count = 0.0, 0.0, 0
        for block in (b.double() for part in states for b in part.split(64)):
            total, square, count = total + block.sum(0), square + block.square().sum(0), count + len(block)
        assert isinstance(total, torch.Tensor)
        assert isinstance(square, torch.Tensor)
        mean = total / count
        rms = (square / count).mean(1).sqrt()
        deviation = (square / count - mean.square()).clamp_min(0).sqrt()
        scale = torch.maximum(deviation, _ROUNDING * mean.abs())
        of_layer = deviation.square().mean(1, keepdim=True).sqrt()
        scale = scale**own_scale * of_layer ** (1 - own_scale)
        scale = torch.where(scale > 0, scale, 1.0)  # a feature of zeros, a layer of constants
        seen = (deviation / scale).square().mean(1).sqrt() if use else rms
        return cls(rms.float(), mean.float(), scale.float(), seen.float(), use)


@dataclass(frozen=True)
class Block:
    """Rows that are at hand: windows at clip level, frames at frame level."""

    states: torch.Tensor  # (N, L, D) float16, as in the cache
    targets: torch.Tensor  # (N, ...)
    feature_stats: FeatureStats

    def __len__(self) -> int:
        return len(self.targets)

    def read(self, bank: Bank, rows: torch.Tensor | slice) -> torch.Tensor:
        """What a bank reads of some rows, (l, B, D) float32: all layers, or those from its first to its last."""
        layers = slice(None) if bank.sums else slice(bank.layers[0], bank.layers[-1] + 1)
        chosen = self.states[:, layers][rows].transpose(0, 1)
        made = torch.empty(chosen.shape, device=chosen.device).copy_(chosen)
        if self.feature_stats.used:  # centred and scaled
            made.sub_(self.feature_stats.mean[layers, None]).div_(self.feature_stats.scale[layers, None])
        return made


Steps = list[torch.Tensor]  # rows of a block that each step learns from


def _rows_at_once(bank: Bank) -> int:
    """Rows that keep the largest tensor of a bank small."""
    shape, heads = bank.shape, len(bank)
    inputs = heads if bank.sums or (shape.hidden and len(bank.layers) > 1) else len(bank.layers)
    per_row = max(shape.dim * inputs, (shape.hidden or shape.outputs) * heads, 1)
    return max(64, _TENSOR_BYTES[bank.device.partition(":")[0]] // (4 * per_row))


def chunks(n: int, bank: Bank) -> list[slice]:
    """Rows 0 to n in parts that are worked on at once."""
    size = _rows_at_once(bank)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class Features:
    """What both levels share. ``feature_stats`` are over the training split.

    Where every seed has clips of its own, moments, class weights and what regressions are scaled by are over those
    of all seeds: one set of heads has one input.
    """

    kind: Kind
    feature_stats: FeatureStats
    one_order: bool  # whether all seeds see the same batches
    weights: torch.Tensor | None = None  # of the classes in the loss

    def __init__(
        self, cache: FeatureCache, splits: dict[str, Rows], listed: ClipList, protocol: Protocol, device: str
    ):
        self.cache, self.splits, self.protocol, self.device = cache, splits, protocol, device
        self.task, self.labels = listed.task, listed.labels
        self.kind = kinds.of(listed.task)
        # Of the targets of a regression, which heads learn with mean 0 and deviation 1.
        self.offset, self.spread = np.zeros(1, np.float32), np.ones(1, np.float32)

    @property
    def n_outputs(self) -> int:
        """Outputs of a head, per window or frame."""
        return self.kind.n_outputs(self.labels)

    def n_scored(self, split: str) -> int:
        """Windows of a split, or its clips where these are what is scored."""
        rows = self.splits[split]
        return len(rows.clips if self.kind.level == "clip" and self.task.scored == "clip" else rows.row)

    def parts(self, rows: torch.Tensor, bank: Bank) -> Sequence[torch.Tensor]:
        """The rows of a step in the parts that are worked on at once."""
        return rows.split(_rows_at_once(bank))

    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of each head's mean loss, (H, B, C), for the targets (B, ...) that all share."""
        return self.kind.gradient(outputs, targets, self.weights)


class ClipFeatures(Features):
    """A clip-level cache in memory, on the device."""

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
        super().__init__(cache, splits, listed, protocol, device)
        states = {s: values.to(device) for s, values in _whole(cache, splits).items()}
        self.feature_stats = FeatureStats.over([states["train"]], protocol.standardize, protocol.own_scale)
        self.clip_targets = {s: self.kind.encode(self.task, self.labels, r.clips) for s, r in splits.items()}
        self.offset, self.spread = self.kind.standard(self.clip_targets["train"])
        self.blocks = {}
        for split, rows in splits.items():
            learnt = self.kind.scaled(self.clip_targets[split], self.offset, self.spread)
            targets = torch.from_numpy(learnt[rows.clip]).to(device)
            self.blocks[split] = Block(states[split], targets, self.feature_stats)
        self.weights = self._class_weights()
        self.own = [self._own(seed) for seed in range(protocol.seeds if protocol.deals else 1)]

    def _own(self, seed: int) -> tuple[Block, np.ndarray, np.ndarray]:
        """Return what a seed learns from: the training split with its targets, its rows there, and their clips."""
        block, rows = self.blocks["train"], self.splits["train"]
        own = rows.of(seed)
        if own is rows:
            return block, np.arange(len(rows.row)), rows.clip
        place = {row: n for n, row in enumerate(rows.row.tolist())}
        mine = np.array([place[row] for row in own.row.tolist()])
        encoded = self.kind.encode(self.task, self.labels, own.clips)
        encoded = self.kind.scaled(encoded, self.offset, self.spread)
        targets = block.targets.clone()
        targets[torch.from_numpy(mine).to(self.device)] = torch.from_numpy(encoded[own.clip]).to(targets)
        return replace(block, targets=targets), mine, own.clip

    def _class_weights(self) -> torch.Tensor | None:
        windows = self.blocks["train"].targets.cpu().numpy()
        weights = self.kind.class_weights(windows, len(self.labels), self.task.class_weight_alpha)
        return None if weights is None else torch.from_numpy(weights).to(self.device)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Block, Steps]]:
        """The training split and the rows of each step, in this seed's order; then the validation split."""
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
        batches = [clips[i : i + size] for i in range(0, len(clips), size)]
        return [torch.from_numpy(np.concatenate([windows[c] for c in batch])) for batch in batches]

    def parts(self, rows: torch.Tensor, bank: Bank) -> Sequence[torch.Tensor]:
        """One: with class weights a batch's mean loss is no mean of parts."""
        return [rows]

    @torch.no_grad()
    def outputs(self, bank: Bank, split: str) -> np.ndarray:
        """Outputs for every window of a split, (H, N, C); in the targets' own units."""
        block = self.blocks[split]
        parts = [bank(block.read(bank, rows)) for rows in chunks(len(block), bank)]
        values = torch.cat(parts, dim=1).cpu().numpy()
        return self.kind.unscaled(values, self.offset, self.spread)

    def units(self, split: str, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Targets (N, ...) and groups (N,) of what is scored, windows or clips; true, or as dealt to a seed."""
        rows = self.splits[split]
        targets = self.clip_targets[split]
        if seed is not None and rows.by_seed:
            targets = self.kind.encode(self.task, self.labels, rows.of(seed).clips)
        pick = rows.clip if self.task.scored == "window" else np.arange(len(rows.clips))
        return targets[pick], rows.clip_group[pick]

    def scored(self, outputs: np.ndarray, split: str) -> np.ndarray:
        """Outputs of windows (..., N, C) -> of what is scored."""
        return outputs if self.task.scored == "window" else pool_windows(outputs, self.splits[split].clip)

    def ranked(self, outputs: np.ndarray, split: str, seed: int | None = None) -> np.ndarray:
        """Ranked metric of each head's outputs (H, N, C): (H,); NaN for a head that has diverged.

        By the true targets, or by those that a seed was dealt.
        """
        target, group = self.units(split, seed)
        everyone = np.ones((1, len(self.splits[split].groups)))
        score = self.kind.metric(self.task.metrics[0], self.labels)
        values = [score(target, o, group, everyone)[0] for o in self.scored(outputs, split)]
        return np.where(np.isfinite(outputs).all(axis=(1, 2)), values, np.nan)

    def monitor(self, bank: Bank, block: Block) -> np.ndarray:
        """Return the validation score of each head, (H,); larger is better."""
        return self.ranked(self.outputs(bank, "valid"), "valid", bank.specs[0].seed)


def _whole(cache: FeatureCache, splits: dict[str, Rows]) -> dict[str, torch.Tensor]:
    """Windows of every split, (N, L, D) float16; the cache is read from its start to its end, once."""
    shape = cache.features.shape[1:]
    made = {s: np.empty((len(r.row), *shape), np.float16) for s, r in splits.items()}
    step = max(1, (64 << 20) // (2 * int(np.prod(shape))))
    for start in range(0, len(cache.features), step):
        part = cache.features[start : start + step]
        for split, rows in splits.items():
            here = np.flatnonzero((rows.row >= start) & (rows.row < start + len(part)))
            made[split][here] = part[rows.row[here] - start]
    return {s: torch.from_numpy(values) for s, values in made.items()}
