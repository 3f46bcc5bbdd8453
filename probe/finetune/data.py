"""The audio of a task for training: every window, decoded once; and what is scored of it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from svuprobe._files import writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio import Decoders, InputSpec, Window
from svuprobe.probe.features import ClipFeatures, Rows
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import Answer, FrameKind
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip


class Recordings:
    """Samples of every window of a task's clips, cut as extraction cuts them.

    They lie as float32 in a scratch file without a name, which is gone when the process ends however it ends: random
    access costs no decoding, and the system keeps in memory what fits.

    Parameters
    ----------
    need, shortest
        What windows a network sees; a clip with one of fewer than ``shortest`` samples fails.
    folder
        Of the scratch file: 64 kB per second of audio at 16 kHz.
    jobs
        Decoding processes; 0 decodes in this one.

    Raises
    ------
    ProbeError
        A clip that can't be decoded, unless ``allow_missing``; a split without clips.
    ExtractError
        A full disk.
    """

    def __init__(
        self,
        listed: ClipList,
        need: InputSpec,
        shortest: int,
        folder: Path,
        *,
        jobs: int = 0,
        allow_missing: bool = False,
        reporter: Reporter = SILENT,
    ) -> None:
        self.listed, self.need = listed, need
        self.start_s: list[float] = []
        self.lengths: list[int] = []
        self.clip_ids: list[str] = []
        self.failures: dict[str, str] = {}
        clips = [clip for split in SPLITS for clip in listed.clips if clip.split == split]
        with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
            rows = self._decode(clips, shortest, file, jobs, reporter)
            file.flush()
            size = sum(self.lengths)
            # The mapping holds the file's content after it is closed.
            self._samples = np.memmap(file, np.float32, "r", shape=(size,)) if size else np.empty(0, np.float32)
        if self.failures and not allow_missing:
            some = "; ".join(list(self.failures.values())[:3])
            raise ProbeError(
                f"{len(self.failures)} of {len(clips)} clips can't be used ({some}); mend them, or leave them out "
                f"with --allow-missing"
            )
        self.splits = _splits(listed, clips, rows)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def _decode(
        self, clips: Sequence[Clip], shortest: int, file: IO[bytes], jobs: int, reporter: Reporter
    ) -> dict[str, list[int]]:
        """Rows of each clip; decodes all into the scratch file."""
        rows: dict[str, list[int]] = {}
        mine: list[Window] = []
        with Decoders(jobs) as decoders:
            pieces = decoders.windows(((clip, [self.need]) for clip in clips), self.listed.task.windowing)
            ended = reporter.watch(_ends(pieces, mine), "decode", len(clips), "clip")
            for clip, failure in ended:
                if not failure and min(len(w.samples) for w in mine) < shortest:
                    failure = f"{clip.path}: a window is shorter than one frame, {shortest} samples"
                if failure:
                    self.failures[clip.id] = failure
                else:
                    rows[clip.id] = [self._write(file, clip.id, window) for window in mine]
                mine.clear()
        return rows

    def _write(self, file: IO[bytes], clip_id: str, window: Window) -> int:
        file.write(np.ascontiguousarray(window.samples, np.float32).data)
        self.clip_ids.append(clip_id)
        self.start_s.append(window.start_s)
        self.lengths.append(len(window.samples))
        return len(self.lengths) - 1

    def window(self, row: int) -> np.ndarray:
        """Samples of a window, (n,) float32."""
        return np.asarray(self._samples[self._starts[row] : self._starts[row + 1]])

    def batch(self, rows: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, samples) float32, zeros after each window, and (batch,) int64 lengths."""
        return padded([self.window(int(row)) for row in rows])

    def song(self, rows: np.ndarray) -> np.ndarray:
        """Samples of a whole clip from its windows."""
        return np.concatenate([self.window(int(r))[: self.lengths[r] - self.need.context] for r in rows])


def padded(windows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows as a batch: (batch, samples) float32 and (batch,) int64."""
    lengths = torch.tensor([len(w) for w in windows])
    audio = torch.zeros(len(windows), int(lengths.max()))
    for row, samples in zip(audio, windows, strict=True):
        row[: len(samples)] = torch.from_numpy(np.array(samples))
    return audio, lengths


def _ends(pieces: Any, mine: list[Window]) -> Any:
    """Each clip with its failure, when its windows are all in ``mine``."""
    for clip, piece in pieces:
        if isinstance(piece, Window):
            mine.append(piece)
        else:
            yield clip, piece.failure


def _splits(listed: ClipList, clips: Sequence[Clip], rows: dict[str, list[int]]) -> dict[str, Rows]:
    splits = {}
    for split in SPLITS:
        mine = tuple(c for c in clips if c.split == split and c.id in rows)
        if not mine:
            raise ProbeError(f"task {listed.task.name}: no clip in the {split} split")
        sizes = [len(rows[c.id]) for c in mine]
        splits[split] = Rows(mine, np.concatenate([rows[c.id] for c in mine]), np.repeat(np.arange(len(mine)), sizes))
    return splits


Outputs = dict[int, np.ndarray]  # row -> (C,) or (frames, C)


class ClipTask(ClipFeatures):
    """Targets at clip level, and what `svuprobe.probe.evaluate` scores."""

    def __init__(self, recordings: Recordings) -> None:
        listed = recordings.listed
        self.task, self.labels, self.splits = listed.task, listed.labels, recordings.splits
        kind = kinds.of(self.task)
        assert isinstance(kind, ClipKind)
        self.kind = kind
        self.clip_targets = {s: self.kind.encode(self.task, self.labels, r.clips) for s, r in self.splits.items()}
        values = self.clip_targets["train"]
        self.offset, self.spread = self.kind.standard(values)
        values = self.kind.scaled(values, self.offset, self.spread)
        rows = self.splits["train"]
        self.train_targets = dict(zip(rows.row.tolist(), values[rows.clip], strict=True))

    def class_weights(self, alpha: float) -> np.ndarray | None:
        """Of the cross-entropy, (C,); None where all are alike."""
        windows = np.array(list(self.train_targets.values()))
        return self.kind.class_weights(windows, len(self.labels), alpha)

    def loss(self, outputs: torch.Tensor, rows: np.ndarray, weights: Any) -> torch.Tensor:
        """Mean loss of a batch of training windows."""
        targets = torch.as_tensor(np.stack([self.train_targets[int(r)] for r in rows]), device=outputs.device)
        weights = None if weights is None else torch.as_tensor(weights, device=outputs.device)
        return self.kind.loss(outputs[None], targets, weights)[0]

    def share(self, rows: np.ndarray, weights: Any) -> float:
        """What the loss of some windows weighs in the mean over a batch."""
        if weights is None:
            return float(len(rows))
        return float(sum(weights[self.train_targets[int(r)]] for r in rows))

    def stacked(self, several: Sequence[Outputs], split: str) -> np.ndarray:
        """Outputs of seeds for every window of a split, (S, N, C)."""
        rows = self.splits[split].row.tolist()
        return np.stack([np.stack([one[r] for r in rows]) for one in several])


class FrameTask(FrameFeatures):
    """The same at frame level."""

    def __init__(self, recordings: Recordings, network: Network) -> None:
        listed = recordings.listed
        self.task, self.labels, self.splits = listed.task, listed.labels, recordings.splits
        kind = kinds.of(self.task)
        assert isinstance(kind, FrameKind)
        self.kind = kind
        self.recordings, self.network = recordings, network
        self.n_frames = [network.n_frames(n) for n in recordings.lengths]
        self.times = {s: [self._clip_times(r, n) for n in range(len(r.clips))] for s, r in self.splits.items()}
        self.train_targets = self._train_targets()

    def _clip_times(self, rows: Rows, clip: int) -> np.ndarray:
        mine = rows.row[rows.clip == clip].tolist()
        return np.concatenate([self.network.frame_times(self.recordings.start_s[r], self.n_frames[r]) for r in mine])

    def _train_targets(self) -> dict[int, np.ndarray]:
        """Of the frames of each window; rasterised over the whole clip, so no note sees a seam."""
        rows = self.splits["train"]
        out: dict[int, np.ndarray] = {}
        for number, clip in enumerate(rows.clips):
            mine = rows.row[rows.clip == number].tolist()
            target = self.network.labels(clip.target, self.times["train"][number])
            ends = np.cumsum([self.n_frames[r] for r in mine])
            out |= dict(zip(mine, np.split(target, ends[:-1]), strict=True))
        return out

    def class_weights(self, alpha: float) -> None:
        """Frames are not weighed."""

    def loss(self, outputs: torch.Tensor, rows: np.ndarray, weights: Any) -> torch.Tensor:
        """Mean loss of the valid frames of a batch of training windows."""
        targets = torch.from_numpy(np.concatenate([self.train_targets[int(r)] for r in rows]))
        if not targets.is_floating_point():
            targets = targets.long()
        found = torch.cat([o[: self.n_frames[int(r)]] for o, r in zip(outputs, rows, strict=True)])
        return self.network.frame_loss(found, targets.to(outputs.device))

    def share(self, rows: np.ndarray, weights: Any) -> float:
        """What the loss of some windows weighs in the mean over a batch: their frames."""
        return float(sum(self.n_frames[int(r)] for r in rows))

    def found(self, several: Sequence[Outputs], split: str) -> Iterator[list[Answer]]:
        """Notes or beats in the outputs of seeds: of each clip a list with one entry for each seed."""
        rows = self.splits[split]
        for number, (clip, times) in enumerate(zip(rows.clips, self.times[split], strict=True)):
            mine = rows.row[rows.clip == number]
            song = functools.partial(self.recordings.song, mine)
            joined = [np.concatenate([one[r] for r in mine.tolist()]) for one in several]
            estimates = [self.network.decode(self.task, logits, times, song) for logits in joined]
            yield [Answer(e, self.kind.score(clip.target, e)) for e in estimates]


TaskView = ClipTask | FrameTask


def view_of(recordings: Recordings, network: Network) -> TaskView:
    """What is trained on and scored."""
    return FrameTask(recordings, network) if network.frames else ClipTask(recordings)
