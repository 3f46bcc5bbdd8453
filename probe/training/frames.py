"""Read the frame level: caches larger than memory, streamed once an epoch, and answers for whole
clips.

The splits are in memory where they fit what is allowed; else blocks stream from the disk, the next
one read while one is used. What a step holds is the same either way.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed

from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.features import (
    Block,
    Features,
    FeatureStats,
    Steps,
    chunks,
    rows_at_once,
)
from svuprobe.probe.training.heads import Bank
from svuprobe.probe.training.splits import FrameSplits, Rows
from svuprobe.tasks.kinds.frames import Answer, FrameKind
from svuprobe.tasks.manifest import ClipList

# Of frames that are shuffled together, from this many places of the cache:
_BLOCK_BYTES = 256 << 20
_RUNS = 8
_SERIAL_FRAMES = 20_000_000  # of all heads: decoded and scored in about half a minute on one core


def memory_allowed(device: str) -> int:
    """Return bytes of features to hold at once: half of what is free, on the GPU or of main
    memory.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0] // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kilobytes = dict(line.split(":") for line in lines)
        return int(kilobytes["MemAvailable"].split()[0]) * 1024 // 2
    except (OSError, KeyError):  # no Linux: a quarter of all there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


class FrameFeatures(Features, FrameSplits):
    """Hold a frame-level cache in memory where training and validation split fit, else stream it.

    Frames are shuffled by windows. ``memory`` is what may be held, in bytes; none says
    `memory_allowed`. An epoch goes through blocks of up to 256 MiB, each from eight places of the
    cache; its windows make the steps. What fits is learnt from in the same steps. A block takes an
    eighth of the memory at most, and three are held at once: so with less than 2 GiB blocks are
    smaller, and their shuffling is coarser.
    """

    kind: FrameKind

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
        self.one_order = not protocol.deals
        memory = memory or memory_allowed(device)
        self._per_frame = 2 * int(np.prod(cache.features.shape[1:]))
        # An eighth: three blocks are held at once, beside what training makes of one.
        self._block_frames = max(1, min(_BLOCK_BYTES, memory // 8) // self._per_frame)
        true: dict[int, np.ndarray] = {}
        for rows in splits.values():
            true |= self.window_targets(rows, self.kind.rasterise)
        self._targets = []
        for seed in range(protocol.seeds if protocol.deals else 1):
            self._targets.append(true | self._dealt(seed))
        # Only what is read in every epoch: the test split is read once.
        frames = sum(int(cache.n_frames[splits[s].row].sum()) for s in ("train", "valid"))
        self.resident = frames * self._per_frame <= memory // 2
        self._valid_frames = int(cache.n_frames[splits["valid"].row].sum())
        train = self._stream(self._blocks(self._runs(splits["train"])))
        self.feature_stats = FeatureStats.over(
            (states for _, states in train), protocol.standardize, protocol.own_scale
        )
        self._held = {s: self._held_block(s) for s in ("train", "valid")} if self.resident else {}

    def release(self) -> None:
        """Let go of frames and their targets."""
        self._held, self._targets = {}, []

    def window_times(self, row: int) -> np.ndarray:
        """Return the centres of the frames of a window, (F,) seconds of its clip."""
        return self.cache.header.grid.centres(
            int(self.cache.n_frames[row]), float(self.cache.start_s[row])
        )

    def _dealt(self, seed: int) -> dict[int, np.ndarray]:
        """Return the targets of the frames of each window that a seed was dealt."""
        targets: dict[int, np.ndarray] = {}
        for split in ("train", "valid"):
            targets |= self.window_targets(self.splits[split].of(seed), self.kind.rasterise)
        return targets

    # -- reading -----------------------------------------------------------------------------------

    def _runs(self, rows: Rows) -> list[list[int]]:
        """Return the windows of some rows in the cache's order, in runs that are read in one go."""
        offset, length = self.cache.offset, self.cache.n_frames
        runs: list[list[int]] = []
        frames = 0
        for row in sorted(rows.row.tolist(), key=lambda r: int(offset[r])):
            follows = runs and offset[row] == offset[runs[-1][-1]] + length[runs[-1][-1]]
            if not follows or frames + length[row] > self._block_frames // _RUNS:
                runs.append([])
                frames = 0
            runs[-1].append(row)
            frames += int(length[row])
        return runs

    def _frames(self, runs: Iterable[Sequence[int]]) -> int:
        return sum(int(self.cache.n_frames[list(run)].sum()) for run in runs)

    def _buffer(self, frames: int) -> np.ndarray:
        return np.empty((frames, *self.cache.features.shape[1:]), np.float16)

    def _load(self, runs: Sequence[Sequence[int]], buffer: np.ndarray) -> torch.Tensor:
        """Return frames of the windows of some runs, (F, L, D) float16, on the device.

        On a CPU they lie in the buffer.
        """
        offset, length = self.cache.offset, self.cache.n_frames
        at = 0
        for run in runs:
            first, last = int(offset[run[0]]), int(offset[run[-1]] + length[run[-1]])
            end = at + last - first
            self.cache.features.read_into(buffer[at:end], first)
            at = end
        return torch.from_numpy(buffer[:at]).to(self.device)

    def _block(self, runs: Sequence[Sequence[int]], states: torch.Tensor, seed: int = 0) -> Block:
        own = self._targets[seed if self.protocol.deals else 0]
        windows = itertools.chain.from_iterable(runs)
        targets = torch.from_numpy(np.concatenate([own[row] for row in windows]))
        # Cross-entropies want int64; in the file they are as small as they can be.
        if not targets.is_floating_point():
            targets = targets.long()
        return Block(states, targets.to(self.device), self.feature_stats)

    def _starts(self, runs: Sequence[Sequence[int]]) -> dict[int, int]:
        """Return the first frame of each window in the block of some runs."""
        windows = list(itertools.chain.from_iterable(runs))
        ends = np.cumsum(self.cache.n_frames[windows])
        return dict(zip(windows, (ends - self.cache.n_frames[windows]).tolist(), strict=True))

    def _held_block(self, split: str) -> tuple[list[Block], dict[int, int]]:
        """Return all windows of a split as each seed has them, and their starts.

        One block serves all seeds where they have the same.
        """
        runs = self._runs(self.splits[split])
        states = self._load(runs, self._buffer(self._frames(runs)))
        blocks = [self._block(runs, states, seed) for seed in range(len(self._targets))]
        return blocks, self._starts(runs)

    def _blocks(self, runs: list[list[int]]) -> list[list[list[int]]]:
        """Return runs in their order, as many in a block as its size allows."""
        blocks: list[list[list[int]]] = []
        frames = 0
        for run in runs:
            length = self._frames([run])
            if not blocks or frames + length > self._block_frames:
                blocks.append([])
                frames = 0
            blocks[-1].append(run)
            frames += length
        return blocks

    def _stream(
        self, blocks: Sequence[list[list[int]]]
    ) -> Iterator[tuple[list[list[int]], torch.Tensor]]:
        """Yield runs and frames of blocks, one after the other: the next is read while one is used.

        Three buffers take turns, so what is yielded is good until the next but one is asked for.
        """
        largest = max(map(self._frames, blocks))
        buffers = [self._buffer(largest) for _ in blocks[:3]]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self._load, blocks[0], buffers[0])
            for n, block in enumerate(blocks):
                states = waiting.result()
                if n + 1 < len(blocks):
                    waiting = reader.submit(self._load, blocks[n + 1], buffers[(n + 1) % 3])
                yield block, states

    # -- what the trainer asks for -----------------------------------------------------------------

    @property
    def n_training_rows(self) -> int:
        """Return the frames that the seed with the most of them learns from."""
        lengths = []
        for seed in range(len(self._targets)):
            lengths.append(int(self.cache.n_frames[self.splits["train"].of(seed).row].sum()))
        return max(lengths)

    def training(self, seed: int) -> Iterator[tuple[Block, torch.Tensor | slice]]:
        """Yield what a seed learns from, once: blocks, of which every row counts."""
        seed = 0 if self.one_order else seed
        runs = self._runs(self.splits["train"].of(seed))
        for block, states in self._stream(self._blocks(runs)):
            yield self._block(block, states, seed), slice(None)

    def epoch(self, number: int, seed: int = 0) -> Iterator[tuple[Block, Steps]]:
        """Yield the blocks of an epoch and the frames of each step; then those of validation.

        All heads have one order, but where every seed has clips or targets of its own. What does
        not fit the memory allowed is one stream, so the disk does not pause between the two.
        """
        seed = 0 if self.one_order else seed
        rng = np.random.default_rng([seed, number])
        rows = self.splits["train"].of(seed)
        runs = self._runs(rows)
        updates = max(1, -(-len(rows.row) // self.protocol.frame_batch_size))
        blocks: list[list[list[int]]] = []
        # A small set is gone through several times.
        for _ in range(max(1, -(-self.protocol.epoch_updates // updates))):
            blocks += self._blocks([runs[n] for n in rng.permutation(len(runs))])
        orders: list[list[int]] = []
        for block in blocks:
            windows = list(itertools.chain.from_iterable(block))
            orders.append(rng.permutation(windows).tolist())
        if self.resident:
            held, starts = self._held["train"]
            steps: Steps = []
            for order in orders:
                steps += self._steps(order, starts)
            yield held[seed], steps
            yield self._held["valid"][0][seed], []
            return
        validation = self._blocks(self._runs(self.splits["valid"]))
        orders += [[] for _ in validation]
        for (block, states), order in zip(self._stream(blocks + validation), orders, strict=True):
            yield self._block(block, states, seed), self._steps(order, self._starts(block))

    def _steps(self, windows: list[int], starts: dict[int, int]) -> Steps:
        """Return frames of a few windows at a time."""
        size = self.protocol.frame_batch_size
        steps = []
        for at in range(0, len(windows), size):
            frames = []
            for window in windows[at : at + size]:
                start = starts[window]
                frames.append(torch.arange(start, start + int(self.cache.n_frames[window])))
            steps.append(torch.cat(frames).to(self.device))
        return steps

    def parts(self, block: Block, rows: torch.Tensor, bank: Bank) -> Sequence[torch.Tensor]:
        """Return the frames of a step in the parts that are worked on at once: as many as a core's
        cache holds or, of a kind that learns from whole windows, as many of these, and one at
        least.
        """
        if not self.kind.by_window:
            return super().parts(block, rows, bank)
        return rows.split(self._sizes(block.targets[rows], rows_at_once(bank)))

    def _sizes(self, targets: torch.Tensor, most: int) -> list[int]:
        """Return the frames of parts of whole windows, (N, ...) targets in all, each of up to
        ``most`` frames or of a single window.
        """
        starts = self.kind.window_starts(targets).tolist()
        sizes = [0]
        for start, end in itertools.pairwise([*starts, len(targets)]):
            if sizes[-1] and sizes[-1] + end - start > most:
                sizes.append(0)
            sizes[-1] += end - start
        return sizes

    def _chunks(self, block: Block, bank: Bank) -> list[slice]:
        """Return the frames of a block in parts as `parts` does."""
        if not self.kind.by_window:
            return chunks(len(block), bank)
        ends = np.cumsum([0, *self._sizes(block.targets, rows_at_once(bank))]).tolist()
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    @property
    def of_one_clip(self) -> None:
        """Return None: the choice is by the ranked metric, and no loss."""

    @torch.no_grad()
    def monitor(self, bank: Bank, block: Block) -> np.ndarray:
        """Return a block's part of minus the validation loss of each head, (H,)."""
        total = torch.zeros(len(bank), device=self.device)
        for rows in self._chunks(block, bank):
            loss = self.kind.loss(bank(block.read(bank, rows)), block.targets[rows])
            total -= loss * (rows.stop - rows.start)
        return np.asarray((total / self._valid_frames).cpu().numpy())

    @torch.no_grad()
    def answers(self, banks: Sequence[Bank], split: str) -> Iterator[list[Answer]]:
        """Yield the events of every head of all banks with their scores, clip after clip.

        Each clip is read once.

        Decoding and scoring are on one core each; they go on all cores where that saves more than
        starting there takes, a bank at a time.
        """
        frames = sum(map(len, self.times[split])) * sum(map(len, banks))
        jobs = cpu_count() if frames > _SERIAL_FRAMES else 1
        # Logits are handed over in memory: a file for each would cost more than decoding it.
        with Parallel(jobs, max_nbytes=None) as parallel:
            for number in range(len(self.splits[split].clips)):
                times = self.times[split][number]
                calls = []
                for bank, logits in zip(banks, self._logits(banks, split, number), strict=True):
                    clips = self.splits[split].of(bank.specs[0].seed).clips
                    target = clips[number].target
                    calls.append(delayed(self.kind.answer)(self.task, logits, times, target))
                yield list(itertools.chain.from_iterable(parallel(calls)))

    def _logits(self, banks: Sequence[Bank], split: str, number: int) -> list[np.ndarray]:
        """Return those of each bank for a clip: (H, F, C)."""
        rows = self.splits[split]
        mine = [[row] for row in rows.row[rows.clip == number].tolist()]
        parts: list[list[torch.Tensor]] = [[] for _ in banks]
        for block in itertools.starmap(self._block, self._stream(self._blocks(mine))):
            for bank, logits in zip(banks, parts, strict=True):
                for frames in chunks(len(block), bank):
                    logits.append(bank(block.read(bank, frames)).cpu())
        return [torch.cat(logits, dim=1).numpy() for logits in parts]
