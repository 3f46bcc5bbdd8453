"""Hold the splits of a task: their windows, their targets, and what is scored of outputs for them.

Nothing here knows what gave the outputs: heads on cached features
(`svuprobe.probe.training.features`) and networks that heard the audio
(`svuprobe.probe.finetune.data`) are scored by the same code (`svuprobe.probe.evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.kinds.metrics import Metric
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip, Task


@dataclass(frozen=True)
class Rows:
    """Hold the windows of one split: their rows in the cache and the clip each belongs to.

    ``by_seed`` holds what each seed has of them, where a protocol deals clips or their targets out
    to the seeds; else all seeds have all.
    """

    clips: tuple[Clip, ...]
    row: np.ndarray  # (N,)
    clip: np.ndarray  # (N,) index into clips
    by_seed: tuple[Rows, ...] = ()

    @classmethod
    def of_clips(
        cls, cache: FeatureCache, clips: Sequence[Clip], by_seed: tuple[Rows, ...] = ()
    ) -> Rows:
        """Find the windows of clips, in their order."""
        rows = [cache.rows_of[c.id] for c in clips]
        # Clip numbers ascend, windows of a clip in their order: `pool_windows` relies on both.
        index = np.repeat(np.arange(len(clips)), [len(r) for r in rows])
        return cls(tuple(clips), np.concatenate(rows), index, by_seed)

    def of(self, seed: int) -> Rows:
        """Return what a seed learns from or is chosen by."""
        return self.by_seed[seed] if self.by_seed else self

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Return the sorted names of the groups."""
        return tuple(sorted({c.group for c in self.clips}))

    @cached_property
    def clip_group(self) -> np.ndarray:
        """Return the group of each clip, as an index into ``groups``, (clips,)."""
        index = {name: n for n, name in enumerate(self.groups)}
        return np.array([index[c.group] for c in self.clips], dtype=np.int64)


def rows_by_split(
    cache: FeatureCache, listed: ClipList, allow_missing: bool, protocol: Protocol | None = None
) -> tuple[dict[str, Rows], list[str]]:
    """Find the windows of each split, and the ids of clips that the cache lacks.

    Of the training split there are the clips that some seed of the protocol learns from. Raises
    ProbeError where clips are missing and that was not allowed, or where a split would be empty.
    """
    # A clip that could not be decoded has no row.
    missing = [c.id for c in listed.clips if c.id not in cache.rows_of]
    if missing and not allow_missing:
        some = ", ".join(repr(i) for i in missing[:3])
        raise ProbeError(
            f"{cache.directory}: {len(missing)} of {len(listed.clips)} clips are missing "
            f"({some}...); run svuprobe extract again, or leave them out with --allow-missing"
        )
    splits = {}
    for split in SPLITS:
        clips = tuple(c for c in listed.clips if c.split == split and c.id in cache.rows_of)
        if not clips:
            raise ProbeError(f"task {listed.task.name}: no clip with features in the {split} split")
        # Targets are dealt for training and validation; what a seed is scored on is never touched.
        dealt: list[tuple[Clip, ...]] = []
        if protocol is not None and protocol.deals and split != "test":
            own = training_clips if split == "train" else validation_clips
            dealt = [own(clips, listed.task, protocol, seed) for seed in range(protocol.seeds)]
            wanted = {clip.id for clip in chain.from_iterable(dealt)}
            clips = tuple(c for c in clips if c.id in wanted)
        by_seed = tuple(Rows.of_clips(cache, some) for some in dealt)
        splits[split] = Rows.of_clips(cache, clips, by_seed)
    return splits, missing


def training_clips(
    clips: tuple[Clip, ...], task: Task, protocol: Protocol, seed: int
) -> tuple[Clip, ...]:
    """Return the clips that a seed learns from, in their order: targets dealt anew, a fraction
    taken.

    Every seed has a shuffle and fractions of its own, so that the spread over seeds is that of the
    draw; they are the same for all models. Fractions of a seed are nested and keep one clip of each
    class at least; where a clip has no one class, they are of all clips.
    """
    # The first number of a seed tells the draws apart: 0 fractions, 1 training, 2 validation.
    if protocol.shuffle_labels:
        clips = _dealt_anew(clips, np.random.default_rng([1, seed]))
    # Targets are dealt before a share is taken: after it would be another draw.
    if protocol.train_fraction == 1:
        return clips
    kind = kinds.of(task)
    places: dict[object, list[int]] = {}
    # One permutation for all fractions: a smaller one is a beginning of a larger one.
    for n in np.random.default_rng([0, seed]).permutation(len(clips)).tolist():
        places.setdefault(kind.stratum(clips[n].target), []).append(n)
    taken: list[int] = []
    for same in places.values():  # of each class its share, and one clip at least
        taken += same[: max(1, round(protocol.train_fraction * len(same)))]
    # In the order of all, so that the whole set is what it is without a fraction.
    return tuple(clips[n] for n in sorted(taken))


def validation_clips(
    clips: tuple[Clip, ...], task: Task, protocol: Protocol, seed: int
) -> tuple[Clip, ...]:
    """Return the clips a seed is chosen by: all, targets dealt anew where those of training are.

    A shuffled head chosen by true labels is no control: features that cluster by class make some of
    a hundred states fit the true validation labels by accident, and with them the test split.
    """
    return (
        _dealt_anew(clips, np.random.default_rng([2, seed])) if protocol.shuffle_labels else clips
    )


def _dealt_anew(clips: tuple[Clip, ...], rng: np.random.Generator) -> tuple[Clip, ...]:
    """Deal the targets of clips out among them."""
    order = rng.permutation(len(clips))
    return tuple(replace(c, target=clips[n].target) for c, n in zip(clips, order, strict=True))


def pool_windows(outputs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Average the windows of each clip: (..., N, C) and (N,) sorted clip numbers -> (..., clips,
    C).
    """
    # Where the clip number changes a clip begins: its windows lie together.
    starts = np.flatnonzero(np.r_[True, np.diff(clip) != 0])
    # Sums and sizes instead of a loop over clips: there may be 100,000.
    sizes = np.diff(np.r_[starts, len(clip)])
    return np.asarray(np.add.reduceat(outputs, starts, axis=-2) / sizes[:, None])


def majority_vote(outputs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Count windows of each clip that vote for each class: (..., N, C), (N,) -> (..., clips, C).

    Clip numbers are sorted.

    Their argmax is the vote by which Hsieh et al. 2020 score songs; ties go to the first class.
    """
    # A one for the class that each window takes to be likeliest.
    votes = np.eye(outputs.shape[-1])[outputs.argmax(axis=-1)]
    starts = np.flatnonzero(np.r_[True, np.diff(clip) != 0])
    return np.asarray(np.add.reduceat(votes, starts, axis=-2))


class Splits:
    """Hold a task and the windows of its splits.

    Attributes
    ----------
    offset, spread
        Of the targets of a regression, which are learnt with mean 0 and deviation 1; 0 and 1
        elsewhere.
    """

    kind: Kind

    def __init__(self, listed: ClipList, splits: dict[str, Rows]) -> None:
        self.task, self.labels, self.splits = listed.task, listed.labels, splits
        self.kind = kinds.of(listed.task, listed.labels)
        # Neutral values, so that other kinds scale back, too, without being asked.
        self.offset, self.spread = np.zeros(1, np.float32), np.ones(1, np.float32)

    @property
    def folds(self) -> tuple[Splits, ...]:
        """Return the splits of each fold of a cross-validation; else these alone."""
        return (self,)

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Return the names of ``folds``; of a single split, an empty one."""
        return ("",)

    @property
    def n_outputs(self) -> int:
        """Return the outputs of a head, per window or frame."""
        return self.kind.n_outputs(self.labels)

    def n_scored(self, split: str) -> int:
        """Return the windows of a split, or its clips where these are what is scored."""
        rows = self.splits[split]
        # At frame level windows are what training counts, though whole clips are scored.
        by_clip = self.kind.level == "clip" and self.task.scored == "clip"
        return len(rows.clips if by_clip else rows.row)


class ClipSplits(Splits):
    """Hold the splits at clip level; ``clip_targets`` has the encoded targets of the clips of
    each.
    """

    kind: ClipKind

    def __init__(self, listed: ClipList, splits: dict[str, Rows]) -> None:
        super().__init__(listed, splits)
        self.clip_targets: dict[str, np.ndarray] = {}
        for split, rows in splits.items():
            self.clip_targets[split] = self.kind.encode(self.task, self.labels, rows.clips)
        # Of training alone: what is known of validation and test must not reach a head.
        self.offset, self.spread = self.kind.standard(self.clip_targets["train"])

    def metric(self, name: str, scored: str) -> Metric:
        """Return a metric of ``scored`` units, each a ``window`` or a ``clip``."""
        return self.kind.metric(name, self.labels)

    def guesses(self) -> np.ndarray:
        """Return outputs of guessing what is scored of test, from the training split alone, (draws,
        N, C).
        """
        return self.kind.chance(self.clip_targets["train"], self.labels, len(self.units("test")[0]))

    def units(self, split: str, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return targets (N, ...) and groups (N,) of what is scored, as they are or as dealt to a
        seed.
        """
        rows = self.splits[split]
        targets = self.clip_targets[split]
        if seed is not None and rows.by_seed:
            targets = self.kind.encode(self.task, self.labels, rows.of(seed).clips)
        # Where windows are scored, each has the target of its clip.
        pick = rows.clip if self.task.scored == "window" else np.arange(len(rows.clips))
        return targets[pick], rows.clip_group[pick]

    def scored(self, outputs: np.ndarray, split: str) -> np.ndarray:
        """Return outputs of what is scored, windows or clips, from those of windows (..., N, C)."""
        return (
            outputs
            if self.task.scored == "window"
            else pool_windows(outputs, self.splits[split].clip)
        )

    def ranked(self, outputs: np.ndarray, split: str, seed: int | None = None) -> np.ndarray:
        """Return the ranked metric of each head's outputs (H, N, C): (H,); NaN for a head that
        diverged.

        By the true targets, or by those that a seed was dealt.
        """
        target, group = self.units(split, seed)
        # One sample, in which every group counts once: the plain metric, as in the bootstrap.
        everyone = np.ones((1, len(self.splits[split].groups)))
        score = self.metric(self.task.metrics[0], self.task.scored)
        values = [score(target, o, group, everyone)[0] for o in self.scored(outputs, split)]
        # An argmax of NaN is class 0, which would have a score: a diverged head must have none.
        return np.where(np.isfinite(outputs).all(axis=(1, 2)), values, np.nan)


class FrameSplits(Splits):
    """Hold the splits at frame level; ``times`` has each clip's frame times by split, seconds."""

    kind: FrameKind

    def __init__(self, listed: ClipList, splits: dict[str, Rows]) -> None:
        super().__init__(listed, splits)
        self.times = {split: self._times(rows) for split, rows in splits.items()}

    def window_times(self, row: int) -> np.ndarray:
        """Return the centres of the frames of a window, (F,) seconds of its clip."""
        raise NotImplementedError

    def frames_of_windows(self, split: str) -> dict[str, list[int]]:
        """Return how many frames each window of the clips of a split has, by the clips' ids."""
        rows = self.splits[split]
        found: dict[str, list[int]] = {clip.id: [] for clip in rows.clips}
        for row, clip in zip(rows.row.tolist(), rows.clip.tolist(), strict=True):
            found[rows.clips[clip].id].append(len(self.window_times(row)))
        return found

    def _times(self, rows: Rows) -> list[np.ndarray]:
        """Return the frame times of each clip, those of its windows joined."""
        times = []
        for number in range(len(rows.clips)):
            windows = rows.row[rows.clip == number].tolist()
            times.append(np.concatenate([self.window_times(row) for row in windows]))
        return times

    def window_targets(
        self, rows: Rows, rasterise: Callable[[Any, np.ndarray], np.ndarray]
    ) -> dict[int, np.ndarray]:
        """Return the targets of the frames of each window, by row.

        ``rasterise`` takes the events of a clip and its frame times: of the whole clip, so no event
        sees a seam.
        """
        targets: dict[int, np.ndarray] = {}
        for number, clip in enumerate(rows.clips):
            windows = rows.row[rows.clip == number].tolist()
            times = [self.window_times(row) for row in windows]
            whole = rasterise(clip.target, np.concatenate(times))
            # Cut apart again after labelling, since an event may go over the end of a window.
            ends = np.cumsum([len(part) for part in times])
            targets |= dict(zip(windows, np.split(whole, ends[:-1]), strict=True))
        return targets
