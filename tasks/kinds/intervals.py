"""Define kinds whose targets are labelled intervals in time: chords, sections, techniques, voices.

`IntervalKind` reads and writes them; `ExclusiveKind` is for those of which just one holds at a
time, so that a frame has one class.

Conventions
-----------
- A target is rows of start and end in s, and a label; an estimate (n, 3) has the number of the
  class in place of the label.
- Frames are decoded one by one; nothing but features and head is measured.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from svuprobe.tasks.kinds.annotations import JAMS, Observation, as_label
from svuprobe.tasks.kinds.answers import Mark
from svuprobe.tasks.kinds.base import Kind, Problem, softmax_less_hot
from svuprobe.tasks.kinds.formats import jams
from svuprobe.tasks.kinds.frames import INK, FrameKind
from svuprobe.tasks.kinds.note_labels import as_times
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import (
    LATEST_S,
    NAMED_BY,
    Cell,
    Numbers,
    columns_of_numbers,
    normal,
    read_text,
)
from svuprobe.tasks.types import Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_FILLS = ("#dbe6f1", "#f3e3da")  # of neighbours, so that each is seen to begin
_ROUNDING_S = 0.01  # by which published files overlap


class IntervalKind(FrameKind):
    """Define a kind of labelled intervals.

    Attributes
    ----------
    noun
        What one interval is called.
    namespaces
        Of the annotation in a JAMS file: the first is what is written.
    """

    noun: ClassVar[str]
    sidecars = (JAMS, ".lab")

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the names of the classes, by their numbers."""

    @abstractmethod
    def class_of(self, label: str) -> int:
        """Return the number of a label's class; -1 where it has none."""

    def check_label(self, where: str, label: str) -> None:
        """Raise TaskError naming the place of a label that can't be."""

    # -- own data ----------------------------------------------------------------------------------

    def read(self, path: Path) -> tuple[tuple[float, float, str], ...]:
        """Read a ``.lab`` file, ``start_s end_s label`` in each line, by start."""
        separator, rows = columns_of_numbers(path, read_text(path, NAMED_BY), "start(_s)?")
        places, times, labels = [], [], []
        for number, cells in rows:
            place = f"{path}:{number}"
            # Labels may hold blanks, also where blanks separate the columns.
            label = normal(" ".join(cells[2:]) if separator.isspace() else "".join(cells[2:3]))
            if not label or (len(cells) > 3 and not separator.isspace()):
                raise TaskError(
                    f"{place}: {len(cells)} fields; a {self.noun} is start_s end_s label"
                )
            self.check_label(place, label)
            places.append(place)
            times.append((Cell(place, cells[0]), Cell(place, cells[1])))
            labels.append(label)
        numbers = Numbers(separator, [cell for pair in times for cell in pair])
        found = []
        for place, (first, last), label in zip(places, times, labels, strict=True):
            start = numbers.read(first, self.noun, 0.0, LATEST_S, " s")
            end = numbers.read(last, self.noun, 0.0, LATEST_S, " s")
            if end <= start:
                raise TaskError(f"{place}: end {end:g} s is not after start {start:g} s")
            found.append((start, end, label))
        return self.ordered(path, found)

    def of_jams(
        self, path: Path, observations: Sequence[Observation]
    ) -> tuple[tuple[float, float, str], ...]:
        """Return the intervals of an annotation; those that do not last are none."""
        found = []
        for where, start, duration, value in observations:
            label = as_label(where, value)
            self.check_label(where, label)
            if duration > 0:
                found.append((start, start + duration, label))
        return self.ordered(path, found)

    def ordered(
        self, path: Path, found: Sequence[tuple[float, float, str]]
    ) -> tuple[tuple[float, float, str], ...]:
        """Return the intervals of a file by start."""
        return tuple(sorted(found))

    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
        """Return the intervals between ``start`` and ``end``, cut there."""
        return tuple(
            (max(on, start) - start, min(off, end) - start, label)
            for on, off, label in events
            if on < end and off > start
        )

    # -- targets -----------------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return the classes."""
        return len(self.with_labels(tuple(labels)).names())

    def with_labels(self, labels: tuple[str, ...]) -> IntervalKind:
        """Return the kind with the labels of a task, where they are what its classes are."""
        return self

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return the starts."""
        return [start for start, _, _ in target]

    def as_events(self, target: Sequence[Any]) -> np.ndarray:
        """Return intervals with their classes, (n, 3); those that have none are left out."""
        rows = [(start, end, self.class_of(label)) for start, end, label in target]
        return np.array([row for row in rows if row[2] >= 0], dtype=float).reshape(-1, 3)

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return no interval, (0, 3)."""
        return np.zeros((0, 3))

    def marks(self, events: Sequence[Any] | np.ndarray) -> list[Mark]:
        """Return start, end and class of each interval, of references and of estimates."""
        rows = list(events)
        if rows and isinstance(rows[0][2], str):
            rows = list(self.as_events(rows))
        return [(float(start), float(end), float(label)) for start, end, label in rows]

    def height_name(self, height: int) -> str:
        """Return the name of a class."""
        names = self.names()
        return names[height] if 0 <= height < len(names) else ""

    # -- predictions -------------------------------------------------------------------------------

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.lab``, an interval a line as own data has them, and ``.jams``."""
        lines, data = [], []
        for start, end, label in named(prediction):
            lines.append(f"{start:.3f}\t{end:.3f}\t{label}\n")
            data.append(
                {"time": start, "duration": end - start, "value": label, "confidence": None}
            )
        return {
            ".lab": "".join(lines),
            ".jams": jams(self.namespaces[0], data, prediction.seconds, prediction.task.name),
        }

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row an interval."""
        return [
            {"start_s": round(start, 4), "end_s": round(end, 4), self.noun: label}
            for start, end, label in named(prediction)
        ]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how many, and which lasts longest."""
        return [f"{self.noun}s", "longest in all"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return how many intervals there are, and the label that lasts longest in all."""
        lasting: dict[str, float] = {}
        intervals = named(prediction)
        for start, end, label in intervals:
            lasting[label] = lasting.get(label, 0.0) + end - start
        longest = max(lasting, key=lambda label: lasting[label]) if lasting else "–"
        return [str(len(intervals)), longest]


class ExclusiveKind(IntervalKind):
    """Define a kind of intervals of which one holds at a time.

    Rasterised, targets are (F,) int16, the class of a frame or -1 where it has none: such frames
    teach nothing.
    """

    between: ClassVar[int] = -1  # the class of frames that lie in no interval

    def ordered(
        self, path: Path, found: Sequence[tuple[float, float, str]]
    ) -> tuple[tuple[float, float, str], ...]:
        """Return the intervals of a file by start. Raises TaskError where two overlap."""
        in_order = super().ordered(path, found)
        for (_, end, label), (start, _, other) in zip(in_order, in_order[1:], strict=False):
            if start < end - _ROUNDING_S:
                raise TaskError(
                    f"{path}: {other} begins at {start:g} s, while {label} lasts to {end:g} s; "
                    f"there is one {self.noun} at a time"
                )
        return in_order

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return the class of what holds at each frame's centre, (F,) int16."""
        grid = as_times(times)
        labels = np.full(len(grid), self.between, np.int16)
        for start, end, label in target:
            first, last = np.searchsorted(grid, (start, end))
            labels[first:last] = self.class_of(label)
        return labels

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the cross-entropy of frames that have a class, over all frames."""
        from torch.nn import functional

        known = (targets >= 0).to(outputs.dtype)
        hot = functional.one_hot(targets.clamp(min=0), outputs.shape[-1]).to(outputs.dtype)
        return -(known * (hot * outputs.log_softmax(-1)).sum(-1)).mean(1)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return softmax less the label in frames that have a class, over all frames."""
        known = (targets >= 0).to(outputs.dtype)
        return softmax_less_hot(outputs, targets.clamp(min=0)).mul_(known).div_(len(targets))

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return one problem, of the frames that have a class."""
        known = (targets >= 0).astype(float)
        return [Problem(slice(None), "classes", np.maximum(targets, 0).astype(np.int64), known)]

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the intervals (n, 3) of each head: runs of frames with one likeliest class."""
        return [runs(head, times) for head in logits.argmax(-1).numpy()]

    def activation(self, logits: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the probability of the likeliest class, (F,)."""
        highest = logits.max(1)
        sums: NDArray[np.float64] = np.exp(logits - highest[:, None]).sum(1)
        return self.activation_name, 1 / sums

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a named block an interval."""
        shown = [interval for interval in named(prediction) if interval[0] < seconds]
        for number, (start, end, label) in enumerate(shown):
            axes.barh(0.5, end - start, 1.0, start, color=_FILLS[number % 2], edgecolor="none")
            if end - start > seconds * len(label) / 90:  # else names overlap
                axes.text(
                    (start + end) / 2, 0.5, label, ha="center", va="center", color=INK, size=7
                )
        axes.set_yticks([])
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"{self.noun}s ({len(shown)})")


def runs(classes: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intervals (n, 3), start, end and class, of the class of each frame, (F,).

    A frame reaches half way to its neighbours, and the first not beyond 0 s.
    """
    if not len(times):
        return np.zeros((0, 3))
    hop = float(np.diff(times).mean()) if len(times) > 1 else 0.0
    edges = np.concatenate(
        [[max(0.0, times[0] - hop / 2)], (times[1:] + times[:-1]) / 2, [times[-1] + hop / 2]]
    )
    begins = np.flatnonzero(np.diff(classes, prepend=classes[0] - 1))
    ends = np.append(begins[1:], len(classes))
    return np.stack([edges[begins], edges[ends], classes[begins].astype(float)], axis=1)


def named(prediction: Prediction) -> list[tuple[float, float, str]]:
    """Return the intervals of a prediction with their names."""
    from svuprobe.tasks import kinds

    kind: Kind = kinds.of(prediction.task)
    assert isinstance(kind, IntervalKind)
    names = kind.names()
    return [
        (start, end, names[int(number)])
        for start, end, number in prediction.events.reshape(-1, 3).tolist()
    ]


def without_gaps(
    intervals: Sequence[tuple[float, float, str]], between: str
) -> tuple[NDArray[np.float64], list[str]]:
    """Return exclusive intervals (n, 2) and their names, with ``between`` where there is none.

    mir_eval lets an interval go on until the next. Published files overlap by rounding: there an
    interval begins where the one before it ends.
    """
    spans: list[tuple[float, float]] = []
    names: list[str] = []
    for start, end, name in intervals:
        before = spans[-1][1] if spans else start
        if start > before:
            spans.append((before, start))
            names.append(between)
        if end > before:
            spans.append((max(start, before), end))
            names.append(name)
    return np.array(spans, dtype=float).reshape(-1, 2), names


def on_one_span(
    reference: Sequence[tuple[float, float, str]],
    estimate: Sequence[tuple[float, float, str]],
    between: str,
) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64], list[str]]:
    """Return intervals and names of both, the estimate cut to, or filled up to, the reference."""
    from mir_eval.util import adjust_intervals

    spans, names = without_gaps(reference, between)
    found, found_names = adjust_intervals(
        *without_gaps(estimate, between), spans.min(), spans.max(), between, between
    )
    return spans, names, found, found_names
