"""From a cache to batches: what heads train on, at clip and at frame level.

Both classes offer the same four things to the trainer: batches of a training epoch, the loss of each head, a
validation score of each head, and outputs for a split. States come out as (S or 1, B, layers, dim) float32,
centred and scaled over the training set where the protocol says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe.heads import Bank
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.tasks import kinds
from svuprobe.tasks.cliplist import ClipList
from svuprobe.tasks.metrics import metric
from svuprobe.tasks.types import SPLITS, Clip

_EVAL_BATCH = 256
_RESIDENT_BYTES = 4 << 30


@dataclass(frozen=True)
class Rows:
    """The windows of one split: their rows in the cache and the clip each belongs to."""

    clips: tuple[Clip, ...]
    row: np.ndarray  # (N,)
    clip: np.ndarray  # (N,) index into clips

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Sorted names of the groups."""
        return tuple(sorted({c.group for c in self.clips}))

    @cached_property
    def clip_group(self) -> np.ndarray:
        """Group of each clip, as an index into ``groups``."""
        index = {name: n for n, name in enumerate(self.groups)}
        return np.array([index[c.group] for c in self.clips], dtype=np.int64)


def rows_by_split(cache: FeatureCache, listed: ClipList, allow_missing: bool) -> tuple[dict[str, Rows], list[str]]:
    """Windows of each split, and the ids of clips that the cache lacks.

    Raises ProbeError where clips are missing and that was not allowed, or where a split would be empty.
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
        rows = [cache.rows_of[c.id] for c in clips]
        index = np.repeat(np.arange(len(clips)), [len(r) for r in rows])
        splits[split] = Rows(clips, np.concatenate(rows), index)
    return splits, missing


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
class Moments:
    """What is known of the hidden states over the training set.

    ``rms`` is each layer's root mean square, (L,). ``apply`` subtracts each feature's ``mean`` (L, D) and divides by
    each layer's ``scale`` (L,), the RMS that is left. Both commute with pooling and change nothing that a
    head can express, as its bias takes the mean up; but a log-mel spectrum's mean is ten times what varies in it,
    and gradient descent does not get past that within a hundred epochs.
    """

    rms: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def over(cls, states: Iterable[torch.Tensor], use: bool) -> Moments:
        """Of (N, L, D) tensors; with ``use=False`` (the presets that reproduce papers) apply does nothing."""
        total, square, count = 0.0, 0.0, 0
        for block in (b.double() for part in states for b in part.split(4096)):
            total, square, count = total + block.sum(0), square + block.square().sum(0), count + len(block)
        assert isinstance(total, torch.Tensor)
        assert isinstance(square, torch.Tensor)
        mean = total / count
        rms, left = ((m.clamp_min(0).mean(1)).sqrt() for m in (square / count, square / count - mean.square()))
        scale = torch.where(left > 1e-6 * rms, left, torch.ones_like(left))
        if not use:
            mean, scale = torch.zeros_like(mean), torch.ones_like(scale)
        return cls(rms.float(), mean.float(), scale.float())

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """(..., L, D) float32."""
        return (states.float() - self.mean) / self.scale[:, None]

    @property
    def seen(self) -> torch.Tensor:
        """RMS of each layer as the heads see it, (L,): equal where layers are scaled."""
        return torch.where((self.scale == 1).all() & (self.mean == 0).all(), self.rms, torch.ones_like(self.rms))


class ClipFeatures:
    """A clip-level cache in memory, on the device."""

    shared_batches = False

    def __init__(
        self, cache: FeatureCache, splits: dict[str, Rows], listed: ClipList, protocol: Protocol, device: str
    ) -> None:
        self.task, self.splits, self.protocol, self.device = listed.task, splits, protocol, device
        self.labels = listed.labels
        everything = cache.features[:]
        self.states = {s: torch.from_numpy(everything[r.row]).to(device) for s, r in splits.items()}
        self.moments = Moments.over([self.states["train"]], protocol.scale_layers)
        encoded = {s: kinds.encode(self.task, self.labels, r.clips) for s, r in splits.items()}
        self.clip_targets = encoded
        self.offset, self.spread = np.zeros(1, np.float32), np.ones(1, np.float32)
        if self.task.kind == "regression":  # heads learn targets of mean 0 and deviation 1
            self.offset, self.spread = _standard(encoded["train"])
            encoded = {s: (values - self.offset) / self.spread for s, values in encoded.items()}
        self.targets = {s: torch.from_numpy(encoded[s][r.clip]).to(device) for s, r in splits.items()}
        self.weights = self._class_weights()

    def _class_weights(self) -> torch.Tensor | None:
        alpha = self.task.class_weight_alpha
        if self.task.kind != "multiclass" or not alpha:
            return None
        windows = self.targets["train"].cpu().numpy()
        return torch.from_numpy(kinds.class_weights(windows, len(self.labels), alpha)).to(self.device)

    @property
    def n_outputs(self) -> int:
        """Outputs of a head."""
        return kinds.n_outputs(self.task.kind, self.labels)

    @property
    def step_rows(self) -> int:
        """Rows a head sees per step."""
        return self.protocol.batch_size

    def prepare(self, states: torch.Tensor) -> torch.Tensor:
        """float32, centred and scaled where the protocol says so."""
        return self.moments.apply(states)

    def train_batches(self, epoch: int, seeds: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Shuffled batches of one epoch, each seed in its own order: (S, B, L, D) and (S, B, ...)."""
        n = len(self.targets["train"])
        orders = [np.random.default_rng([seed, epoch]).permutation(n) for seed in range(seeds)]
        order = torch.from_numpy(np.stack(orders)).to(self.device)
        for part in order.split(self.protocol.batch_size, dim=1):
            yield self.prepare(self.states["train"][part]), self.targets["train"][part]

    def loss(self, bank: Bank, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Training loss of each head, (H,)."""
        return kinds.clip_loss(self.task.kind, outputs, targets[bank.seed], self.weights)

    @torch.no_grad()
    def outputs(self, bank: Bank, split: str) -> np.ndarray:
        """Outputs for every window of a split, (H, N, C); in the targets' own units for regression."""
        parts = [bank(self.prepare(p)[None]) for p in self.states[split].split(_EVAL_BATCH)]
        values = torch.cat(parts, dim=1).float().cpu().numpy()
        return np.asarray(values * self.spread + self.offset) if self.task.kind == "regression" else values

    def units(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Targets (N, ...) and groups (N,) of what is scored: windows or clips."""
        rows = self.splits[split]
        pick = rows.clip if self.task.scored == "window" else np.arange(len(rows.clips))
        return self.clip_targets[split][pick], rows.clip_group[pick]

    def scored(self, outputs: np.ndarray, split: str) -> np.ndarray:
        """Outputs of windows (..., N, C) -> of what is scored."""
        return outputs if self.task.scored == "window" else pool_windows(outputs, self.splits[split].clip)

    def ranked(self, outputs: np.ndarray, split: str) -> np.ndarray:
        """Ranked metric of each head's outputs (H, N, C): (H,); NaN for a head that has diverged."""
        target, group = self.units(split)
        everyone = np.ones((1, len(self.splits[split].groups)))
        score = metric(self.task.metrics[0], self.labels)
        values = [score(target, o, group, everyone)[0] for o in self.scored(outputs, split)]
        return np.where(np.isfinite(outputs).all(axis=(1, 2)), values, np.nan)

    def monitor(self, banks: Sequence[Bank], each: Callable[..., Any] = map) -> list[np.ndarray]:
        """Validation score of each head of each bank after an epoch; larger is better."""
        return list(each(lambda bank: self.ranked(self.outputs(bank, "valid"), "valid"), banks))


class FrameFeatures:
    """A frame-level cache read window by window; kept in memory where it fits."""

    shared_batches = True

    def __init__(
        self, cache: FeatureCache, splits: dict[str, Rows], listed: ClipList, protocol: Protocol, device: str
    ) -> None:
        self.task, self.splits, self.protocol, self.device = listed.task, splits, protocol, device
        self.labels = listed.labels
        self.cache = cache
        resident = 4 * int(np.prod(cache.features.shape)) <= _RESIDENT_BYTES
        self._kept: dict[int, torch.Tensor] | None = {} if resident else None
        self.times = {s: [self._times(rows, n) for n in range(len(rows.clips))] for s, rows in splits.items()}
        self.targets = {s: self._targets(s) for s in splits}
        train = (torch.from_numpy(cache.read(int(r))).to(device) for r in splits["train"].row)
        self.moments = Moments.over(train, protocol.scale_layers)

    def _times(self, rows: Rows, clip: int) -> np.ndarray:
        """Frame times of all windows of a clip, joined."""
        header, mine = self.cache.header, rows.row[rows.clip == clip]
        return np.concatenate(
            [header.frame_times(float(self.cache.start_s[r]), int(self.cache.n_frames[r])) for r in mine]
        )

    def _targets(self, split: str) -> dict[int, np.ndarray]:
        """Targets of the frames of each window; rasterised over the whole clip, so no note sees a seam."""
        rows = self.splits[split]
        out: dict[int, np.ndarray] = {}
        for number, clip in enumerate(rows.clips):
            mine = rows.row[rows.clip == number]
            target = kinds.rasterise(self.task.kind, clip.target, self.times[split][number])
            ends = np.cumsum(self.cache.n_frames[mine])
            out |= dict(zip(mine.tolist(), np.split(target, ends[:-1]), strict=True))
        return out

    def read(self, row: int) -> torch.Tensor:
        """States of one window, (F, L, D) float32, centred and scaled where the protocol says so."""
        if self._kept is not None and row in self._kept:
            return self._kept[row]
        states = self.moments.apply(torch.from_numpy(self.cache.read(row)).to(self.device))
        if self._kept is not None:
            self._kept[row] = states
        return states

    @property
    def n_outputs(self) -> int:
        """Outputs of a head, per frame."""
        return kinds.n_outputs(self.task.kind, self.labels)

    @property
    def step_rows(self) -> int:
        """Frames a head sees per step, at most."""
        return self.protocol.frame_batch_size * int(self.cache.n_frames.max())

    def _batch(self, split: str, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.cat([self.read(int(r)) for r in rows])
        targets = torch.from_numpy(np.concatenate([self.targets[split][int(r)] for r in rows]))
        if not targets.is_floating_point():
            targets = targets.long()
        return states[None], targets.to(self.device)

    def _stream(self, split: str, order: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of windows in the given order, the next one read while one is used."""
        size = self.protocol.frame_batch_size
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self._batch, split, parts[0])
            for part in parts[1:]:
                ready, waiting = waiting.result(), reader.submit(self._batch, split, part)
                yield ready
            yield waiting.result()

    def train_batches(self, epoch: int, seeds: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Shuffled windows of one epoch, in one order for all heads: (1, F, L, D) and (F, ...)."""
        rows = self.splits["train"].row
        yield from self._stream("train", np.random.default_rng([0, epoch]).permutation(rows))

    def loss(self, bank: Bank, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Training loss of each head, (H,)."""
        return kinds.frame_loss(self.task.kind, outputs, targets)

    def monitor(self, banks: Sequence[Bank], each: Callable[..., Any] = map) -> list[np.ndarray]:
        """Minus the validation loss of each head of each bank, the split read once."""
        totals = [np.zeros(len(bank)) for bank in banks]
        frames = 0
        for states, targets in self._stream("valid", self.splits["valid"].row):
            frames += len(targets)
            losses = each(lambda bank, s=states, t=targets: self._total_loss(bank, s, t), banks)
            totals = [total + loss for total, loss in zip(totals, losses, strict=True)]
        return [-total / frames for total in totals]

    @torch.no_grad()
    def _total_loss(self, bank: Bank, states: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
        return (self.loss(bank, bank(states), targets) * len(targets)).cpu().numpy()

    @torch.no_grad()
    def decoded(self, bank: Bank, split: str) -> list[list[np.ndarray]]:
        """Notes or beats of each head in each clip: ``[clip][head]``."""
        rows = self.splits[split]
        out = []
        for number in range(len(rows.clips)):
            mine = rows.row[rows.clip == number]
            logits = torch.cat([bank(self._batch(split, mine[[n]])[0]) for n in range(len(mine))], dim=1)
            out.append(kinds.decode(self.task, logits.float().cpu(), self.times[split][number]))
        return out


def _standard(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each regression target; 1 for a constant one."""
    spread = targets.std(axis=0)
    return targets.mean(axis=0), np.where(spread > 0, spread, 1).astype(np.float32)
