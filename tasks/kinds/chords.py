"""Ask for chords: labelled intervals, as `svuprobe.tasks.kinds.chord_labels` names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.tasks.kinds import chord_labels
from svuprobe.tasks.kinds.annotations import JAMS, Observation
from svuprobe.tasks.kinds.base import Problem, softmax_less_hot
from svuprobe.tasks.kinds.formats import jams
from svuprobe.tasks.kinds.frames import INK, FrameKind
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import LATEST_S, NAMED_BY, Cell, Numbers, columns_of_numbers, read_text
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_FILLS = ("#dbe6f1", "#f3e3da")  # of neighbours, so that each is seen to begin


class Chords(FrameKind):
    """Take tuples of ``(start_s, end_s, label)`` as targets, labels in Harte's notation.

    Rasterised, they are (F,) int16, the class or -1 where no class says the chord; estimates are
    (n, 3): start, end and class.
    """

    name = "chords"
    metrics = chord_labels.METRICS
    activation_name = "P(no chord)"
    namespaces = ("chord", "chord_harte")
    sidecars = (JAMS, ".lab")

    # -- own data ----------------------------------------------------------------------------------

    def read(self, path: Path) -> tuple[tuple[float, float, str], ...]:
        """Read a ``.lab`` file, ``start_s end_s label`` in each line, by start."""
        separator, rows = columns_of_numbers(path, read_text(path, NAMED_BY), "start(_s)?")
        for number, cells in rows:
            if len(cells) != 3:
                raise TaskError(
                    f"{path}:{number}: {len(cells)} fields; a chord is start_s end_s label"
                )
        places = [f"{path}:{number}" for number, _ in rows]
        times = [
            Cell(place, text)
            for place, (_, cells) in zip(places, rows, strict=True)
            for text in cells[:2]
        ]
        numbers = Numbers(separator, times)
        chords: list[tuple[float, float, str]] = []
        for place, start, end, (_, cells) in zip(
            places, times[::2], times[1::2], rows, strict=True
        ):
            begins = numbers.read(start, "chord", 0.0, LATEST_S, " s")
            ends = numbers.read(end, "chord", 0.0, LATEST_S, " s")
            if ends <= begins:
                raise TaskError(f"{place}: end {ends:g} s is not after start {begins:g} s")
            chord_labels.check(place, cells[2])
            chords.append((begins, ends, cells[2]))
        return _ordered(path, chords)

    def of_jams(
        self, path: Path, observations: Sequence[Observation]
    ) -> tuple[tuple[float, float, str], ...]:
        """Return the chords of an annotation; those that do not last are none."""
        chords = []
        for where, start, duration, label in observations:
            chord_labels.check(where, str(label))
            if duration > 0:
                chords.append((start, start + duration, str(label)))
        return _ordered(path, chords)

    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
        """Return the chords between ``start`` and ``end``, cut there."""
        return tuple(
            (max(on, start) - start, min(off, end) - start, label)
            for on, off, label in events
            if on < end and off > start
        )

    # -- targets and loss --------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return 61: no chord, and five qualities on twelve roots."""
        return len(chord_labels.CLASSES)

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return the starts."""
        return [chord[0] for chord in target]

    def doubts(self, clips: Sequence[Clip]) -> Iterator[str]:
        """Say how much of the chords no class can say."""
        seconds = apart = 0.0
        for clip in clips:
            for start, end, label in clip.target:
                seconds += end - start
                apart += (end - start) * (chord_labels.class_of(label) < 0)
        if apart > 0.01 * seconds:
            yield (
                f"{100 * apart / seconds:.0f} % of the time has chords that are neither major nor "
                "minor (suspended, diminished, ...): heads don't learn from them, and majmin and "
                "sevenths leave them out"
            )

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return the class of each frame, -1 where no class says it; (F,) int16."""
        return chord_labels.rasterise(target, times)

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

    # -- decoding and scores -----------------------------------------------------------------------

    def as_events(self, target: Sequence[Any]) -> np.ndarray:
        """Return chords with their classes, (n, 3); those that no class says are left out."""
        rows = [(on, off, chord_labels.class_of(label)) for on, off, label in target]
        return np.array([row for row in rows if row[2] >= 0], dtype=float).reshape(-1, 3)

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the chords (n, 3) of each head: runs of frames with one likeliest class."""
        return [chord_labels.decode(head, times) for head in logits.argmax(-1).numpy()]

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip."""
        return chord_labels.score(reference, estimate)

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return no chord, (0, 3)."""
        return np.zeros((0, 3))

    # -- predictions -------------------------------------------------------------------------------

    def activation(self, logits: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the probability that there is no chord, (F,)."""
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        return self.activation_name, exponents[:, 0] / exponents.sum(1)

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.lab``, a chord a line as own data has them, and ``.jams``."""
        lines, data = [], []
        for start, end, label in _named(prediction):
            lines.append(f"{start:.3f}\t{end:.3f}\t{label}\n")
            data.append(
                {"time": start, "duration": end - start, "value": label, "confidence": None}
            )
        return {
            ".lab": "".join(lines),
            ".jams": jams("chord", data, prediction.seconds, prediction.task.name),
        }

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a chord."""
        return [
            {"start_s": round(start, 4), "end_s": round(end, 4), "chord": label}
            for start, end, label in _named(prediction)
        ]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how many, and which lasts longest."""
        return ["chords", "most of the time"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return how many chords there are, and the one that lasts longest in all."""
        lasting: dict[str, float] = {}
        chords = _named(prediction)
        for start, end, label in chords:
            lasting[label] = lasting.get(label, 0.0) + end - start
        return [str(len(chords)), max(lasting, key=lambda label: lasting[label]) if chords else "–"]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a named block a chord."""
        shown = [chord for chord in _named(prediction) if chord[0] < seconds]
        for number, (start, end, label) in enumerate(shown):
            axes.barh(0.5, end - start, 1.0, start, color=_FILLS[number % 2], edgecolor="none")
            if end - start > seconds / 40:  # else names overlap
                axes.text(
                    (start + end) / 2, 0.5, label, ha="center", va="center", color=INK, size=7
                )
        axes.set_yticks([])
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"chords ({len(shown)})")


def _named(prediction: Prediction) -> list[tuple[float, float, str]]:
    """Return chords with their names."""
    return [
        (start, end, chord_labels.CLASSES[int(label)])
        for start, end, label in prediction.events.reshape(-1, 3).tolist()
    ]


def _ordered(
    path: Path, chords: list[tuple[float, float, str]]
) -> tuple[tuple[float, float, str], ...]:
    """Return chords by start. Raises TaskError where two sound at a time."""
    chords.sort()
    for (_, end, label), (start, _, other) in zip(chords, chords[1:], strict=False):
        # Published files overlap by rounding.
        if start < end - 0.01:
            raise TaskError(
                f"{path}: {other} begins at {start:g} s, while {label} lasts to {end:g} s; "
                "one chord sounds at a time"
            )
    return tuple(chords)


CHORDS = Chords()
