"""Define kinds whose targets are events in time: a row of outputs a frame, decoded over a whole
clip.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import expit

from svuprobe.tasks.kinds.annotations import JAMS, MIDI, Observation, read_jams
from svuprobe.tasks.kinds.answers import ClipAnswer, Mark
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

INK = "#1b3a5c"  # of events in a picture
_CURVE = "#c8553d"


class Answer(NamedTuple):
    """Hold what a head makes of a whole clip: events as its kind has them, and what they score.

    Attributes
    ----------
    scores
        Of the clip alone. Over a split, a metric is their mean;
    ratios
        but of those that are here it is a ratio of two sums over clips, to which the clip adds
        these two: a rate of errors is over all symbols, not a mean over clips long and short.
    """

    estimate: np.ndarray
    scores: dict[str, float]
    ratios: Mapping[str, tuple[float, float]] = {}


class FrameKind(Kind):
    """Define a kind at frame level: its targets are tuples of events, with times in seconds of the
    clip.

    Attributes
    ----------
    activation_name
        What the first output of a frame is the probability of, as a picture says it.
    pooled
        Name of an F over the events of all clips together, beside the means over clips; empty for
        none.
    by_window
        Whether a loss is of whole windows, whose frames stay together, and not of single frames.
    """

    level = "frame"
    activation_name: ClassVar[str]
    pooled: ClassVar[str] = ""
    by_window: ClassVar[bool] = False
    wrongness = "1 − score, mean over seeds"

    # -- own data ----------------------------------------------------------------------------------

    def tail_s(self, window_s: float) -> float:
        """Return 0: an event in a short rest of a clip counts too."""
        return 0.0

    def check_keys(self, path: Path, spec: Mapping[str, Any]) -> None:
        """Raise TaskError for keys of clips with one label."""
        if spec.get("trim") or spec.get("scored") == "window":
            raise TaskError(
                f'{path}: trim and scored = "window" are for clips with one label, not for '
                f"{self.name}"
            )
        if "targets" in spec:
            raise TaskError(
                f"{path}: targets names labels or the values of a regression; kind = {self.name!r}"
            )

    def of_cell(self, where: str, text: str) -> tuple[Any, ...] | None:
        """Return the target that a cell of own data holds; None where it names a file, as of most
        kinds it does. Raises TaskError naming the cell.
        """
        return None

    @abstractmethod
    def read(self, path: Path) -> Sequence[Any]:
        """Read the events of a text file a column ``target`` names, ascending, in seconds of the
        audio file.

        Raises TaskError naming the file, and the line where a line is wrong.
        """

    def of_jams(self, path: Path, observations: Sequence[Observation]) -> Sequence[Any]:
        """Return the events of a JAMS annotation, ascending; kinds with `namespaces` have it."""
        raise TaskError(f"{path}: {self.name} are not read from JAMS here; a text file has them")

    def of_midi(self, path: Path) -> Sequence[Any]:
        """Return the events of a MIDI file, ascending."""
        raise TaskError(f"{path}: MIDI has notes, and no {self.name}")

    def events(self, path: Path, namespace: str = "") -> Sequence[Any]:
        """Return the events of a file, as `read`: of text, JAMS or MIDI, by its suffix.

        ``namespace`` chooses an annotation of a JAMS file, where the kind's own are not meant.
        """
        suffix = path.suffix.lower()
        if suffix in MIDI:
            return self.of_midi(path)
        if suffix == JAMS:
            if not self.namespaces:
                return self.of_jams(path, ())
            return self.of_jams(path, read_jams(path, self.namespaces, namespace))
        return self.read(path)

    @abstractmethod
    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
        """Return the events from ``start`` to ``end``, in seconds after ``start``."""

    # -- targets and scores ------------------------------------------------------------------------

    @abstractmethod
    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return when each event begins, seconds."""

    def in_words(self, target: Sequence[Any]) -> str:
        """Return a target as a cell of a table: how many events there are."""
        return f"{len(target)} {self.name}"

    def as_events(self, target: Sequence[Any]) -> np.ndarray:
        """Return the events of a target as an estimate has them: what gets everything right."""
        return np.array(target, dtype=float)

    @abstractmethod
    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return the targets (F, ...) of the frames at ``times`` (F,), in seconds."""

    def window_starts(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the rows at which windows begin, (W,), from rasterised targets (N, ...) of some;
        kinds that learn `by_window` say it.
        """
        raise NotImplementedError

    def too_long(self, task: Task, clips: Sequence[Clip], seconds: Mapping[str, float]) -> str:
        """Say which clips may not be cut into windows and are, by their ids' seconds; empty where
        none is, as of all kinds whose events have times.
        """
        return ""

    def unfit(self, clips: Sequence[Clip], frames: Mapping[str, int]) -> str:
        """Say why no head can learn from clips, or be chosen by them, that have so many frames, by
        their ids; empty where one can.
        """
        return ""

    def limits(self, split: str, clips: Sequence[Clip], frames: Mapping[str, int]) -> Iterator[str]:
        """Say what limits the scores of a split of some name, a sentence each; else as `unfit`."""
        return iter(())

    @abstractmethod
    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the events each head finds, from its logits (H, F, C) on frames at ``times``
        (F,).
        """

    @abstractmethod
    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of the events of one clip."""

    def answer(
        self, task: Task, logits: np.ndarray, times: np.ndarray, target: Sequence[Any]
    ) -> list[Answer]:
        """Return what each head answers, from its logits (H, F, C), with its scores against the
        target.
        """
        import torch

        estimates = self.decode(task, torch.from_numpy(logits), times)
        return [self.judged(target, estimate) for estimate in estimates]

    def judged(self, reference: Sequence[Any], estimate: np.ndarray) -> Answer:
        """Return the events of one clip with what they score."""
        return Answer(estimate, self.score(reference, estimate))

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return the events of a guess with nothing but the frame times: none."""
        return np.zeros(0)

    def matched(self, reference: Sequence[Any], estimate: np.ndarray) -> tuple[int, int, int]:
        """Return matches, reference events and estimated events of one clip, for the F called
        `pooled`.
        """
        raise NotImplementedError

    # -- what was answered on the test split -------------------------------------------------------

    def answers(
        self, labels: Sequence[str], metric: str, stored: Mapping[str, np.ndarray]
    ) -> list[ClipAnswer]:
        """Return how far each clip's score is from 1, and the events of the first seed's head."""
        wrong = 1 - stored[f"score_{metric}"].mean(axis=0)
        # Rows of events begin with the clip's number and the seed's.
        rows = stored["estimate"]
        found = []
        for n, (name, group) in enumerate(zip(stored["clip_id"], stored["group"], strict=True)):
            events = rows[(rows[:, 0] == n) & (rows[:, 1] == 0)][:, 2:]
            words = f"{len(events)} {self.name}"
            found.append(ClipAnswer(str(name), str(group), "", words, float(wrong[n]), events))
        return found

    def kept(self, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
        """Return what is kept of the references of test clips beside a result, each (clips,), for
        `answers`; nothing of most kinds, whose clips say it.
        """
        return {}

    def marks(self, events: Sequence[Any] | np.ndarray) -> list[Mark]:
        """Return what a picture of events has: begin and end in seconds, and a height; none of
        kinds that are not drawn.

        What has no height is a moment, and ends where it begins.
        """
        return []

    def height_name(self, height: int) -> str:
        """Return the name of a height at an axis; empty for heights without one."""
        return ""

    # -- predictions -------------------------------------------------------------------------------

    def activation(self, logits: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what decoders look at first: its name, and its probability (F,) from logits (F,
        C).
        """
        return self.activation_name, np.asarray(expit(logits[:, 0]))

    def draw_activation(self, axes: Axes, prediction: Prediction, top: float) -> None:
        """Draw the network's own probability, faint, on an axis of its own from 0 to ``top``."""
        other: Any = axes.twinx()
        other.plot(prediction.frame_times, prediction.activation, color=_CURVE, lw=0.7, alpha=0.7)
        other.set_ylim(0, top)
        other.set_yticks([0, 1])
        other.set_ylabel(prediction.activation_name, color=_CURVE)
        other.spines[["top"]].set_visible(False)
