"""What trained heads say of new audio: labels with probabilities, notes, beats.

The audio goes the way of the training clips: the same decoding, windows, model, number format and float16 rounding,
so a recording of the test split gets the very prediction that was scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol as Interface

import numpy as np
import torch

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio import ClipEnd, Decoders, InputSpec, Window
from svuprobe.extractors.base import Extractor, FrameGrid
from svuprobe.extractors.batching import DTYPES, batch_seconds_for, input_spec, native_dtype, window_features
from svuprobe.extractors.loading import load as load_model
from svuprobe.probe import trained
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import kinds
from svuprobe.tasks.types import Clip, Task


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one file.

    Attributes
    ----------
    start_s, end_s
        (W,) of the windows of clip-level tasks.
    window_outputs
        (W, C) probabilities (multiclass: softmax, multilabel: sigmoid) or values (regression).
    outputs
        (C,) of the file: of the mean of its windows' logits.
    notes
        (n, 3) onset and offset in seconds and MIDI pitch.
    beats
        (n,) in seconds.
    frame_times, activation, activation_name
        (F,) each, of frame-level tasks: the probability of an onset or of a beat, or what else the name says.
    failure
        Why there is nothing.
    """

    path: Path
    task: Task
    seconds: float = 0.0
    start_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    end_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    window_outputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    outputs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    beats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    frame_times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    activation: np.ndarray = field(default_factory=lambda: np.zeros(0))
    activation_name: str = ""
    failure: str = ""

    def ranking(self) -> list[tuple[str, float]]:
        """Labels with their probability (regression: value), the likeliest first."""
        pairs = list(zip(self.task.labels or (), self.outputs.tolist(), strict=True))
        return pairs if self.task.kind == "regression" else sorted(pairs, key=lambda pair: -pair[1])


class Answers(Interface):
    """What answers for windows: a frozen model with trained heads, or a fine-tuned one."""

    task: Task
    need: InputSpec
    batch_seconds: float

    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(C,) of each window at clip level, (frames, C) at frame level."""
        ...

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Centres of frames, seconds."""
        ...

    def decode(self, outputs: np.ndarray, times: np.ndarray, path: Path) -> np.ndarray:
        """Notes or beats of a file from its logits (F, C) at ``times``."""
        ...

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """What to draw over the notes or beats: a name and (F,) probabilities, from logits (F, C)."""
        ...


class Probed:
    """A frozen model and the head of one seed.

    Parameters
    ----------
    extractor
        None loads the model by its name; another digest of its weights is refused.
    """

    def __init__(
        self, heads: trained.TrainedHeads, *, seed: int = 0, device: str = "cpu", extractor: Extractor | None = None
    ):
        if seed not in range(heads.seeds):
            raise ProbeError(f"seed {seed}: the result has the heads of seeds 0 to {heads.seeds - 1}")
        self.heads, self.seed, self.device, self.task = heads, seed, device, heads.task
        self.extractor = extractor or load_model(heads.model["name"])
        if self.extractor.digest != heads.model["digest"]:
            raise ProbeError(
                f"{heads.model['name']}: its weights ({self.extractor.digest[:8]}) are not those the heads were "
                f"trained on ({heads.model['digest'][:8]}); probe it again"
            )
        self.extractor.to(device, DTYPES[self._dtype()])
        self.batch_seconds = batch_seconds_for(device)
        self.need = input_spec(self.extractor, self.task.level)

    def _dtype(self) -> str:
        """As trained on, unless the hardware here would take ages."""
        wanted = self.heads.model["dtype"]
        return wanted if wanted == "float32" or native_dtype(self.device) == wanted else "float32"

    @torch.inference_mode()
    def logits(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(C,) of each window at clip level, (frames, C) at frame level."""
        states, frames = window_features(self.extractor, windows, self.task.level, self.device)
        rows = frames if self.task.level == "frame" else [1] * len(frames)
        found = [self.heads(s[:n].cpu(), self.seed).numpy() for s, n in zip(states, rows, strict=True)]
        return found if self.task.level == "frame" else [one[0] for one in found]

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Centres of frames, seconds."""
        return FrameGrid.of(self.extractor).centres(n_frames, start_s)

    def decode(self, outputs: np.ndarray, times: np.ndarray, path: Path) -> np.ndarray:
        """Notes or beats of a file from its logits (F, C) at ``times``."""
        return kinds.decode(self.task, torch.from_numpy(outputs)[None], times)[0]

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Probability of an onset or a beat, with its name."""
        return kinds.activation(self.task.kind, outputs)


def load_answers(result: Path, *, seed: int = 0, device: str = "cpu", run_code: bool = False) -> Answers:
    """What answers for a result: its frozen model with trained heads, or its fine-tuned one.

    Raises ProbeError where they are gone, and where the model is code (``py:``, ``hear:``) unless ``run_code`` says
    that it may be run: a result is data that may come from anywhere, and names what it wants to run.
    """
    from svuprobe.probe.finetune import saved as ft_trained

    if ft_trained.is_finetuned(result):
        return ft_trained.load_finetuned(result, seed=seed, device=device, run_code=run_code)
    heads = trained.load(result)
    trained.refuse_code(result, heads.model["name"], run_code)
    return Probed(heads, seed=seed, device=device)


def predict(
    answers: Answers, paths: Sequence[Path], *, jobs: int = 1, reporter: Reporter = SILENT
) -> Iterator[Prediction]:
    """Predictions of files, in their order; of a file of any length only its outputs are held.

    A file that can't be decoded gives a Prediction with a ``failure``.
    """
    task = answers.task
    clips = [Clip(str(n), str(path), "test", None, "") for n, path in enumerate(paths)]
    with Decoders(jobs) as decoders:
        pieces = decoders.windows(((clip, [answers.need]) for clip in clips), task.windowing)
        files = reporter.watch(_by_file(answers, pieces), "predict", len(paths), "file")
        for path, (windows, outputs, end) in zip(paths, files, strict=True):
            if end.failure:
                yield Prediction(path, task, end.seconds, failure=end.failure)
            elif task.level == "frame":
                yield _frames(path, answers, windows, outputs, end)
            else:
                yield _labels(path, answers, windows, outputs, end)


_Place = tuple[float, float]  # start and end of a window, seconds


def _by_file(
    answers: Answers, pieces: Iterator[tuple[Clip, Window | ClipEnd]]
) -> Iterator[tuple[list[_Place], list[np.ndarray], ClipEnd]]:
    """Windows of each file and their outputs; a few windows at a time go through the model together."""
    places: list[_Place] = []
    outputs: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    rate, context = answers.need.sample_rate, answers.need.context
    for _, piece in pieces:
        if isinstance(piece, Window):
            places.append((piece.start_s, piece.start_s + (len(piece.samples) - context) / rate))
            waiting.append(piece.samples)
        full = sum(map(len, waiting)) >= answers.batch_seconds * rate
        if waiting and (full or (isinstance(piece, ClipEnd) and not piece.failure)):
            outputs += answers.logits(waiting)
            waiting = []
        if isinstance(piece, ClipEnd):
            yield places, outputs, piece
            places, outputs, waiting = [], [], []


def _labels(
    path: Path, answers: Answers, windows: list[_Place], logits: list[np.ndarray], end: ClipEnd
) -> Prediction:
    each, task = np.stack(logits), answers.task
    start_s, end_s = np.array(windows).T
    whole = _probabilities(task.kind, each.mean(axis=0))
    return Prediction(path, task, end.seconds, start_s, end_s, _probabilities(task.kind, each), whole)


def _probabilities(kind: str, logits: np.ndarray) -> np.ndarray:
    """Of labels, (..., C); values of a regression stay as they are."""
    if kind == "regression":
        return logits
    from scipy.special import expit, softmax

    return np.asarray(softmax(logits, axis=-1) if kind == "multiclass" else expit(logits))


def _frames(
    path: Path, answers: Answers, windows: list[_Place], logits: list[np.ndarray], end: ClipEnd
) -> Prediction:
    task = answers.task
    times = np.concatenate(
        [answers.frame_times(start, len(one)) for (start, _), one in zip(windows, logits, strict=True)]
    )
    joined = np.concatenate(logits)
    found = answers.decode(joined, times, path)
    name, shown = answers.activation(joined)
    what: dict[str, Any] = {"notes": found} if task.kind == "notes" else {"beats": found}
    return Prediction(path, task, end.seconds, frame_times=times, activation=shown, activation_name=name, **what)
