"""Predict labels with probabilities, notes or beats of new audio, by what was trained.

The audio goes the way of the training clips: the same decoding, windows, model, number format and
float16 rounding, so a recording of the test split gets the very prediction that was scored. With
folds all of them answer, with the mean of their heads, for any recording: one of the data itself
gets another prediction than was scored, which came from the one fold that had not learnt from it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
import torch

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio import (
    ClipEnd,
    Decoders,
    InputSpec,
    Window,
    cut_samples,
    load_clip,
    load_samples,
)
from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.batching import (
    DTYPES,
    batch_seconds_for,
    finite_features,
    input_spec,
    native_dtype,
)
from svuprobe.extractors.loading import load as load_model
from svuprobe.probe import trained
from svuprobe.probe.protocol import FRAME_POOLINGS, ProbeError
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Clip, Task


class Predictor(Interface):
    """Answer for windows: a frozen model with trained heads, or a fine-tuned one.

    Attributes
    ----------
    task
        With its labels and windowing, and no clips.
    input_spec
        What windows it sees.
    batch_seconds
        Seconds of audio that it takes at once.
    """

    task: Task
    input_spec: InputSpec
    batch_seconds: float

    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return logits of windows (samples,): (C,) each at clip level, (frames, C) at frame
        level.
        """
        ...

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Return the centres of frames, seconds."""
        ...

    def decode(
        self, outputs: np.ndarray, times: np.ndarray, audio: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return the events in logits (F, C) at ``times``; ``audio`` gives the samples, (n,) at its
        rate.
        """
        ...

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what to draw over the events: a name and (F,) probabilities, from logits (F,
        C).
        """
        ...


class HeadsPredictor:
    """Answer with a frozen model and the head of one seed.

    Parameters
    ----------
    model
        The name that the model is loaded by, if not that which the heads know; another digest of
        its weights is refused.
    """

    def __init__(
        self,
        heads: trained.TrainedHeads | trained.FoldedHeads,
        *,
        seed: int = 0,
        device: str = "cpu",
        model: str = "",
    ):
        trained.require_seed(seed, heads.seeds, "heads")
        self.heads, self.seed, self.device, self.task = heads, seed, device, heads.task
        name = model or heads.model["name"]
        self.extractor = load_model(name)
        # Heads answer nonsense, with confidence, on features of other weights.
        if self.extractor.digest != heads.model["digest"]:
            stored = heads.model["name"]
            remedy = "probe it again" if name == stored else f"name where those of {stored} are"
            raise ProbeError(
                f"{name}: its weights ({self.extractor.digest[:8]}) are not those the heads were "
                f"trained on ({heads.model['digest'][:8]}); {remedy}"
            )
        self.extractor.to(device, DTYPES[self._dtype()])
        self.batch_seconds = batch_seconds_for(device)
        # Of what the model gives: some poolings are of frames.
        in_frames = heads.pooling in FRAME_POOLINGS
        self.level = "frame" if in_frames else kinds.of(self.task).level
        self.input_spec = input_spec(self.extractor, self.level)

    def _dtype(self) -> str:
        """Return the number format of the heads' features, unless the hardware here would take
        ages.
        """
        wanted = self.heads.model["dtype"]
        # Emulated bfloat16 is many times slower.
        return wanted if wanted == "float32" or native_dtype(self.device) == wanted else "float32"

    @torch.inference_mode()
    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return logits of windows (samples,): (C,) each at clip level, (frames, C) at frame
        level.
        """
        std = self.heads.pooling == "mean_std"
        states, frames = finite_features(self.extractor, windows, self.level, self.device, std=std)
        if self.level == "clip":
            # Of each layer the mean and, where the heads read it, the deviation behind it.
            states = states.transpose(1, 2).flatten(2)[:, None]  # (windows, 1, layers, 1 or 2 dim)
            frames = [1] * len(frames)
        # States are padded to the longest window: a window's own frames come first.
        found = [
            self.heads(s[:n].cpu(), self.seed).numpy() for s, n in zip(states, frames, strict=True)
        ]
        return found if kinds.of(self.task).level == "frame" else [one[0] for one in found]

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Return the centres of frames, seconds."""
        return FrameGrid.of(self.extractor).centres(n_frames, start_s)

    def decode(
        self, outputs: np.ndarray, times: np.ndarray, audio: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return the events in logits (F, C) at ``times``; ``audio`` gives the samples, (n,) at its
        rate.
        """
        kind = kinds.of(self.task)
        assert isinstance(kind, FrameKind)
        return kind.decode(self.task, torch.from_numpy(outputs)[None], times)[0]

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what to draw over the events: a name and (F,) probabilities, from logits (F,
        C).
        """
        kind = kinds.of(self.task)
        assert isinstance(kind, FrameKind)
        return kind.activation(outputs)


def load_predictor(
    result: Path, *, seed: int = 0, device: str = "cpu", run_code: bool = False, model: str = ""
) -> Predictor:
    """Return what answers for a result: its frozen model with trained heads, or its fine-tuned one.

    Raises ProbeError where they are gone, and where the model is code (``py:``, ``hear:``) unless
    ``run_code`` says that it may be run: a result is data that may come from anywhere, and names
    what it wants to run. ``model`` names the same weights where they are now, in place of where the
    result says.
    """
    # Imported here: heads on frozen features need nothing of fine-tuning.
    from svuprobe.probe.finetune import saved

    if saved.is_finetuned(result):
        return saved.load_predictor(
            result, seed=seed, device=device, run_code=run_code, model=model
        )
    heads = trained.load(result)
    name = trained.model_to_load(result, heads.model["name"], model, run_code)
    return HeadsPredictor(heads, seed=seed, device=device, model=name)


def predict(
    predictor: Predictor, paths: Sequence[Path], *, jobs: int = 1, reporter: Reporter = SILENT
) -> Iterator[Prediction]:
    """Yield predictions of files, in their order; of a file of any length only its outputs are
    held.

    A file that can't be decoded, or that the model refuses, gives a Prediction with a ``failure``.
    """
    task, kind = predictor.task, kinds.of(predictor.task)
    # Numbers as ids: a file may be named twice.
    clips = [Clip(str(n), str(path), "test", None, "") for n, path in enumerate(paths)]
    with Decoders(jobs) as decoders:
        pieces = decoders.windows(
            ((clip, [predictor.input_spec]) for clip in clips), task.windowing
        )
        files = reporter.watch(_by_file(predictor, pieces), "predict", len(paths), "file")
        for path, clip, (windows, outputs, end) in zip(paths, clips, files, strict=True):
            if end.failure:
                yield Prediction(path, task, end.seconds, failure=end.failure)
            elif isinstance(kind, ClipKind):
                yield _labels(kind, path, predictor, windows, outputs, end)
            else:
                # Read again by a decoder that wants it, which few do: a whole recording may be
                # hours.
                audio = functools.partial(load_clip, clip, predictor.input_spec.sample_rate)
                yield _frames(path, predictor, windows, outputs, end, audio)


def predict_samples(predictor: Predictor, audio: np.ndarray, sample_rate: float) -> Prediction:
    """Return the prediction of one recording in memory, the same as of a file that holds it.

    Parameters
    ----------
    audio
        (samples,) or (channels, samples), floating point.
    sample_rate
        Hz.

    Raises
    ------
    ExtractError
        It is no such array, or no window of it is long and loud enough.
    """
    clip = Clip("audio", "audio", "test", None, "")
    pieces = cut_samples(audio, sample_rate, [predictor.input_spec], predictor.task.windowing)
    ((windows, outputs, end),) = _by_file(predictor, ((clip, piece) for piece in pieces))
    if end.failure:
        raise ExtractError(end.failure)
    path = Path(clip.path)
    kind = kinds.of(predictor.task)
    if isinstance(kind, ClipKind):
        return _labels(kind, path, predictor, windows, outputs, end)
    again = functools.partial(load_samples, audio, sample_rate, predictor.input_spec.sample_rate)
    return _frames(path, predictor, windows, outputs, end, again)


_Place = tuple[float, float]  # start and end of a window, seconds


def _by_file(
    predictor: Predictor, pieces: Iterator[tuple[Clip, Window | ClipEnd]]
) -> Iterator[tuple[list[_Place], list[np.ndarray], ClipEnd]]:
    """Yield the windows of each file and their outputs; a few windows go through the model
    together.
    """
    places: list[_Place] = []
    outputs: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    rate, context = predictor.input_spec.sample_rate, predictor.input_spec.context
    refused = ""
    for clip, piece in pieces:
        if isinstance(piece, Window):
            places.append((piece.start_s, piece.start_s + (len(piece.samples) - context) / rate))
            waiting.append(piece.samples)
        # As much at once as fits the memory; windows of two files never go together.
        full = sum(map(len, waiting)) >= predictor.batch_seconds * rate
        if waiting and (full or (isinstance(piece, ClipEnd) and not piece.failure)):
            try:
                outputs += _finite(predictor.logits(waiting))
            except ExtractError as error:  # which holds up no other file
                refused = refused or f"{clip.path}: {error}"
            waiting = []
        if isinstance(piece, ClipEnd):
            yield places, outputs, replace(piece, failure=piece.failure or refused or None)
            places, outputs, waiting, refused = [], [], [], ""


def _finite(outputs: list[np.ndarray]) -> list[np.ndarray]:
    for one in outputs:
        if not np.isfinite(one).all():
            raise ExtractError("answers are not finite (is the audio far beyond full scale?)")
    return outputs


def _labels(
    kind: ClipKind,
    path: Path,
    predictor: Predictor,
    windows: list[_Place],
    logits: list[np.ndarray],
    end: ClipEnd,
) -> Prediction:
    # The mean is of logits, as when the test split is scored, and not of probabilities.
    each, task = np.stack(logits), predictor.task
    start_s, end_s = np.array(windows).T
    whole = kind.probabilities(each.mean(axis=0))
    ranking = kind.ranking(task.labels or (), whole)
    return Prediction(
        path, task, end.seconds, start_s, end_s, kind.probabilities(each), whole, ranking
    )


def _frames(
    path: Path,
    predictor: Predictor,
    windows: list[_Place],
    logits: list[np.ndarray],
    end: ClipEnd,
    audio: Callable[[], np.ndarray],
) -> Prediction:
    task = predictor.task
    # Seams of windows vanish here: events are found in the joined frames.
    times = np.concatenate(
        [
            predictor.frame_times(start, len(one))
            for (start, _), one in zip(windows, logits, strict=True)
        ]
    )
    joined = np.concatenate(logits)
    found = predictor.decode(joined, times, audio)
    name, shown = predictor.activation(joined)
    return Prediction(
        path,
        task,
        end.seconds,
        events=found,
        frame_times=times,
        activation=shown,
        activation_name=name,
    )
