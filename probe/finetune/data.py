"""Decode the audio of a task for training, every window once; and score what is made of it."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from svuprobe._files import writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio import Decoders, InputSpec, Window
from svuprobe.probe import evaluate
from svuprobe.probe.finetune.network import Batch, Network
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.song_scores import song_scores
from svuprobe.probe.training.splits import ClipSplits, FrameSplits, Rows
from svuprobe.tasks.kinds.frames import Answer
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip, Task


class Recordings:
    """Hold samples of every window of a task's clips, cut as extraction cuts them.

    They lie as float32 in a scratch file without a name, which is gone when the process ends
    however it ends: random access costs no decoding, and the system keeps in memory what fits. All
    folds of a cross-validation read the same.

    Parameters
    ----------
    input_spec, shortest
        What windows a network sees; a clip with one of fewer than ``shortest`` samples fails.
    folder
        Of the scratch file: 64 kB per second of audio at 16 kHz.
    jobs
        Decoding processes; 0 decodes in this one.

    Raises
    ------
    ProbeError
        A clip that can't be decoded, unless ``allow_missing``.
    ExtractError
        A full disk.
    """

    def __init__(
        self,
        listed: ClipList,
        input_spec: InputSpec,
        shortest: int,
        folder: Path,
        *,
        jobs: int = 0,
        allow_missing: bool = False,
        reporter: Reporter = SILENT,
    ) -> None:
        self.listed, self.input_spec = listed, input_spec
        self.rows_of: dict[str, list[int]] = {}
        self.start_s: list[float] = []
        self.lengths: list[int] = []
        self.clip_ids: list[str] = []
        self.failures: dict[str, str] = {}
        # Training clips first, as they are read most: they lie together in the file.
        clips = [clip for split in SPLITS for clip in listed.clips if clip.split == split]
        with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
            self._decode(clips, shortest, file, jobs, reporter)
            file.flush()
            # An empty file can't be mapped.
            size = sum(self.lengths)
            # The mapping holds the file's content after it is closed.
            self._samples = (
                np.memmap(file, np.float32, "r", shape=(size,)) if size else np.empty(0, np.float32)
            )
        if self.failures and not allow_missing:
            some = "; ".join(list(self.failures.values())[:3])
            raise ProbeError(
                f"{len(self.failures)} of {len(clips)} clips can't be used ({some}); mend them, "
                "or leave them out with --allow-missing"
            )
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def _decode(
        self, clips: Sequence[Clip], shortest: int, file: IO[bytes], jobs: int, reporter: Reporter
    ) -> None:
        """Decode all clips into the scratch file and keep the rows of each."""
        mine: list[Window] = []
        with Decoders(jobs) as decoders:
            pieces = decoders.windows(
                ((clip, [self.input_spec]) for clip in clips), self.listed.task.windowing
            )
            ended = reporter.watch(_ends(pieces, mine), "decode", len(clips), "clip")
            for clip, failure in ended:
                # A network can't make one frame of it, and would raise in the midst of an epoch.
                if not failure and min(len(w.samples) for w in mine) < shortest:
                    failure = f"{clip.path}: a window is shorter than one frame, {shortest} samples"
                if failure:
                    self.failures[clip.id] = failure
                else:
                    self.rows_of[clip.id] = [self._write(file, clip.id, each) for each in mine]
                mine.clear()

    def _write(self, file: IO[bytes], clip_id: str, window: Window) -> int:
        file.write(np.ascontiguousarray(window.samples, np.float32).data)
        self.clip_ids.append(clip_id)
        self.start_s.append(window.start_s)
        self.lengths.append(len(window.samples))
        return len(self.lengths) - 1

    def splits(self, part: ClipList) -> dict[str, Rows]:
        """Return the windows of each split of ``part``: the clips, or as a fold parts them.

        Raises ProbeError where a split would be empty.
        """
        found = {}
        for split in SPLITS:
            mine = tuple(c for c in part.clips if c.split == split and c.id in self.rows_of)
            if not mine:
                raise ProbeError(f"task {part.task.name}: no clip in the {split} split")
            rows = [self.rows_of[clip.id] for clip in mine]
            places = np.repeat(np.arange(len(mine)), [len(each) for each in rows])
            found[split] = Rows(mine, np.concatenate(rows), places)
        return found

    def window(self, row: int) -> np.ndarray:
        """Return the samples of a window, (n,) float32."""
        return np.asarray(self._samples[self._starts[row] : self._starts[row + 1]])

    def song(self, rows: np.ndarray) -> np.ndarray:
        """Return the samples of a whole clip from its windows, (n,) float32."""
        # What windows see beyond their end, their context, is the next one's beginning.
        return np.concatenate(
            [self.window(int(r))[: self.lengths[r] - self.input_spec.context] for r in rows]
        )


def _ends(pieces: Any, mine: list[Window]) -> Any:
    """Yield each clip with its failure, when its windows are all in ``mine``."""
    for clip, piece in pieces:
        if isinstance(piece, Window):
            mine.append(piece)
        else:
            yield clip, piece.failure


Outputs = dict[int, np.ndarray]  # row -> (C,) or (frames, C)


class TaskData(ABC):
    """Ask what a network trains on and what its outputs are worth: the same at both levels."""

    recordings: Recordings
    task: Task
    splits: dict[str, Rows]

    @abstractmethod
    def class_weights(self, alpha: float) -> np.ndarray | None:
        """Return what each class weighs in the loss, (C,); None where all are alike."""

    @abstractmethod
    def weight(self, rows: np.ndarray, class_weights: np.ndarray | None) -> float:
        """Return what the loss of some training windows weighs in the mean over a step."""

    def batch(self, rows: np.ndarray, class_weights: np.ndarray | None) -> Batch:
        """Return training windows with their targets, on the CPU."""
        windows = [self.recordings.window(row) for row in rows.tolist()]
        return Batch.of(windows, self._targets(rows), self.weight(rows, class_weights))

    @abstractmethod
    def _targets(self, rows: np.ndarray) -> torch.Tensor:
        """Return the targets of training windows, as in `Batch`."""

    @abstractmethod
    def loss(
        self, outputs: torch.Tensor, batch: Batch, class_weights: np.ndarray | None
    ) -> torch.Tensor:
        """Return the mean loss of a batch, a scalar, from the network's outputs for it."""

    @abstractmethod
    def ranked_score(self, outputs: Outputs, split: str) -> float:
        """Return the ranked metric of one network's outputs; minus infinity where it has
        diverged.
        """

    @abstractmethod
    def test_answers(self, outputs_of_seeds: Sequence[Outputs]) -> evaluate.Answers:
        """Return what the networks of all seeds answer for the test split."""


class ClipData(TaskData, ClipSplits):
    """Hold a task at clip level."""

    def __init__(self, recordings: Recordings, part: ClipList) -> None:
        super().__init__(part, recordings.splits(part))
        self.recordings = recordings
        encoded = self.kind.scaled(self.clip_targets["train"], self.offset, self.spread)
        rows = self.splits["train"]
        self.train_targets = dict(zip(rows.row.tolist(), encoded[rows.clip], strict=True))

    def class_weights(self, alpha: float) -> np.ndarray | None:
        windows = np.array(list(self.train_targets.values()))
        return self.kind.class_weights(windows, len(self.labels), alpha)

    def weight(self, rows: np.ndarray, class_weights: np.ndarray | None) -> float:
        if class_weights is None:
            return float(len(rows))
        # torch's weighted cross-entropy divides by this sum, so means over parts add up by it.
        return float(sum(class_weights[self.train_targets[row]] for row in rows.tolist()))

    def _targets(self, rows: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.stack([self.train_targets[row] for row in rows.tolist()]))

    def loss(
        self, outputs: torch.Tensor, batch: Batch, class_weights: np.ndarray | None
    ) -> torch.Tensor:
        assert batch.targets is not None
        weights = (
            None if class_weights is None else torch.as_tensor(class_weights, device=outputs.device)
        )
        # Losses are made for banks of heads, (H, N, C).
        return self.kind.loss(outputs[None], batch.targets, weights)[0]  # of one head

    def ranked_score(self, outputs: Outputs, split: str) -> float:
        score = self.ranked(self._stacked([outputs], split), split)[0]
        return float(np.nan_to_num(score, nan=-np.inf))

    def test_answers(self, outputs_of_seeds: Sequence[Outputs]) -> evaluate.Answers:
        return self._stacked(outputs_of_seeds, "test")

    def _stacked(self, outputs_of_seeds: Sequence[Outputs], split: str) -> np.ndarray:
        """Return the outputs of seeds for every window of a split, (S, N, C)."""
        # Rows of a split in their order, whatever order the outputs came in.
        rows = self.splits[split].row.tolist()
        return np.stack([np.stack([outputs[row] for row in rows]) for outputs in outputs_of_seeds])


class FrameData(TaskData, FrameSplits):
    """Hold a task at frame level, with the frames of a network, which has its own way to read
    them.
    """

    def __init__(self, recordings: Recordings, part: ClipList, network: Network) -> None:
        self.recordings, self.network = recordings, network
        super().__init__(part, recordings.splits(part))
        self.train_targets = self.window_targets(self.splits["train"], network.reader.targets)

    def window_times(self, row: int) -> np.ndarray:
        """Return the centres of the frames of a window, (F,) seconds of its clip."""
        n_frames = self.network.n_frames(self.recordings.lengths[row])
        return self.network.frame_times(self.recordings.start_s[row], n_frames)

    def class_weights(self, alpha: float) -> None:
        """Return None: frames are not weighed."""

    def weight(self, rows: np.ndarray, class_weights: np.ndarray | None) -> float:
        # Every frame counts the same, whatever window it is in.
        return float(sum(len(self.train_targets[row]) for row in rows.tolist()))

    def _targets(self, rows: np.ndarray) -> torch.Tensor:
        targets = torch.from_numpy(
            np.concatenate([self.train_targets[row] for row in rows.tolist()])
        )
        # Class numbers are kept as int16, which no loss of torch takes.
        return targets if targets.is_floating_point() else targets.long()

    def loss(
        self, outputs: torch.Tensor, batch: Batch, class_weights: np.ndarray | None
    ) -> torch.Tensor:
        assert batch.targets is not None
        own = []  # without the frames of padding
        for window, samples in zip(outputs, batch.lengths.tolist(), strict=True):
            own.append(window[: self.network.n_frames(samples)])
        return self.network.reader.frame_loss(torch.cat(own), batch.targets)

    def ranked_score(self, outputs: Outputs, split: str) -> float:
        by_clip = song_scores(self, self._answers([outputs], split))
        score = by_clip[self.task.metrics[0]].mean()[0]
        return float(np.nan_to_num(score, nan=-np.inf))

    def test_answers(self, outputs_of_seeds: Sequence[Outputs]) -> evaluate.Answers:
        return list(self._answers(outputs_of_seeds, "test"))

    def _answers(self, outputs_of_seeds: Sequence[Outputs], split: str) -> Iterator[list[Answer]]:
        """Yield the events of each clip, with their scores, one answer for each seed."""
        rows, reader = self.splits[split], self.network.reader
        for number, (clip, times) in enumerate(zip(rows.clips, self.times[split], strict=True)):
            # Decoded as a whole: an event may go over the end of a window.
            windows = rows.row[rows.clip == number]
            audio = (
                torch.from_numpy(self.recordings.song(windows)) if reader.follows_tempo else None
            )
            answers = []
            for outputs in outputs_of_seeds:
                joined = np.concatenate([outputs[row] for row in windows.tolist()])
                events = reader.decode(torch.from_numpy(joined), times, audio)
                answers.append(self.kind.judged(clip.target, events))
            yield answers


def data_of(recordings: Recordings, part: ClipList, network: Network) -> ClipData | FrameData:
    """Return what a network is trained on and scored with: the splits of ``part``, which are all
    clips, or a fold's way to part them. Raises ProbeError where a split is empty.
    """
    if network.by_frame:
        return FrameData(recordings, part, network)
    return ClipData(recordings, part)
