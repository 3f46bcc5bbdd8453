"""Define kinds whose targets belong to a whole clip: labels or values, one row of outputs a
window.
"""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from svuprobe._text import cell as csv_cell, picture
from svuprobe.tasks.kinds import metrics
from svuprobe.tasks.kinds.answers import ClipAnswer
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.colouring import Colouring, by_value
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import Cell, Numbers
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In the words of a sentence.
SPLIT_NAMES = (("train", "training"), ("valid", "validation"), ("test", "test"))
CLASSES_SHOWN = 12  # in a picture
_LABELS_SHOWN = 3  # in a line of the table


class ClipKind(Kind):
    """Define a kind at clip level.

    Attributes
    ----------
    shares
        Whether all its metrics lie in 0 to 1, which bounds their intervals.
    votes
        Whether windows may vote for a clip: their outputs are of classes of which one is right.
    undefined
        Why the ranked metric may have no value on a split.
    more_metrics
        What is scored of every task of the kind, whatever metrics it names.
    """

    level = "clip"
    shares: ClassVar[bool] = True
    votes: ClassVar[bool] = False
    undefined: ClassVar[str] = "no clip has a score"
    more_metrics: ClassVar[tuple[str, ...]] = ()

    def tail_s(self, window_s: float) -> float:
        """Return a second: of less, little can be told."""
        return min(1.0, window_s)

    def cell_of(self, where: str, values: Sequence[str]) -> str:
        """Return values of an annotation as a cell of own data has them.

        Raises TaskError naming the file where a clip can't have so many.
        """
        return "|".join(values)

    @abstractmethod
    def parse(self, cell: Cell, numbers: Numbers, labels: Sequence[str]) -> Any:
        """Return the target in a cell of own data. Raises TaskError naming the cell.

        Parameters
        ----------
        numbers
            The reader of the file's numbers, which knows its decimal mark.
        labels
            Those that the TOML declares, if any.
        """

    # -- targets -----------------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return the outputs of a head: one a label."""
        return len(labels)

    @abstractmethod
    def encode(self, task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
        """Return the targets of N clips as numbers, (N,) int64 or (N, C) float32.

        A label that is not among the task's raises TaskError naming the clip.
        """

    def one_hot(self, task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
        """Return which labels each clip carries, (N, C) float32 of 0 and 1; errors as `encode`."""
        index = {label: n for n, label in enumerate(labels)}
        carried = np.zeros((len(clips), len(labels)), dtype=np.float32)
        for row, clip in enumerate(clips):
            for label in self.classes(clip.target):
                if label not in index:
                    raise TaskError(
                        f"task {task.name}: label {label!r} of clip {clip.id!r} is not among its "
                        f"{len(labels)} labels"
                    )
                carried[row, index[label]] = 1
        return carried

    def colourings(
        self, task: Task, labels: Sequence[str], clips: Sequence[Clip]
    ) -> Iterator[Colouring]:
        """Yield a scale for each value of the targets."""
        return by_value(labels, self.encode(task, labels, clips))

    def class_weights(self, targets: np.ndarray, n_classes: int, alpha: float) -> np.ndarray | None:
        """Return what each class weighs in the loss, (C,) float32; None where all weigh alike."""
        return None

    def standard(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and spread of encoded training targets, float32, by which what is learnt is
        ``scaled``.
        """
        return np.zeros(1, np.float32), np.ones(1, np.float32)

    def scaled(self, targets: np.ndarray, offset: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return encoded targets as heads learn them."""
        return targets

    def unscaled(self, outputs: np.ndarray, offset: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return outputs in the units of the targets: the inverse of `scaled`."""
        return outputs

    # -- scores ------------------------------------------------------------------------------------

    def metric(self, name: str, labels: Sequence[str]) -> metrics.Metric:
        """Return a metric by its name."""
        return metrics.metric(name)

    def by_label(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of each label alone, (C,) by metric, NaN where one is undefined; none
        of kinds whose labels have none.

        Parameters
        ----------
        targets
            Encoded, (N,) or (N, C).
        outputs
            (N, C) of one head.
        """
        return {}

    def scored_names(self, task: Task, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics of a task, the ranked one first, then what is scored beside them;
        without those that are the same whatever is answered.
        """
        ranked, *others = (*task.metrics, *self.more_metrics)
        if self.has_classes:
            others = [name for name in others if metrics.varies(name, len(labels))]
        return tuple(dict.fromkeys((ranked, *others)))

    def ranks(self, name: str) -> bool:
        """Return whether a metric asks which of two clips has the larger output.

        Outputs of one head alone can be put in an order, so in a cross-validation, where each fold
        has heads of its own, such a metric is computed within each fold and averaged.
        """
        return False

    @abstractmethod
    def chance(self, train: np.ndarray, labels: Sequence[str], n: int) -> np.ndarray:
        """Return the outputs of guessing from the encoded training targets alone, (draws, n, C)."""

    def caveats(self, targets: Mapping[str, np.ndarray], labels: Sequence[str]) -> Iterator[str]:
        """Say what limits a task's scores, from each split's encoded targets: a sentence each."""
        return iter(())

    def unscored(self, test: np.ndarray, labels: Sequence[str]) -> list[str]:
        """Return the labels that metrics leave out, from the encoded targets of the test split."""
        return []

    # -- what was answered on the test split -------------------------------------------------------

    def answers(
        self, labels: Sequence[str], metric: str, stored: Mapping[str, np.ndarray]
    ) -> list[ClipAnswer]:
        """Return what the heads answered for each clip: by the mean of its windows' outputs."""
        names, first, clip = np.unique(stored["clip_id"], return_index=True, return_inverse=True)
        sizes = np.bincount(clip)
        seeds = []
        for own in stored["outputs"].astype(float):  # (windows, C)
            total = np.zeros((len(names), own.shape[1]))
            np.add.at(total, clip, own)
            seeds.append(total / sizes[:, None])
        outputs, target = np.stack(seeds), stored["target"][first]
        of_seeds = self.wrong(target, outputs)
        if of_seeds is None:
            return []
        wrong = of_seeds.mean(axis=0)
        found = []
        for n in np.argsort(first):  # in the order of the predictions
            found.append(
                ClipAnswer(
                    id=str(names[n]),
                    group=str(stored["group"][first[n]]),
                    truth=self.in_words(labels, target[n]),
                    answer=self.answer_in_words(labels, outputs[:, n]),
                    wrong=float(wrong[n]),
                )
            )
        return found

    def wrong(self, target: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
        """Return how wrong each seed's answers (S, N, C) are: (S, N), 0 for right; None of kinds
        that don't say, whose clips are then not listed.
        """
        return None

    def in_words(self, labels: Sequence[str], target: Any) -> str:
        """Return an encoded target as a reader knows it."""
        return ", ".join(f"{value:.4g}" for value in np.ravel(target))

    def answer_in_words(self, labels: Sequence[str], outputs: np.ndarray) -> str:
        """Return what the seeds' outputs (S, C) for one clip say."""
        return self.in_words(labels, outputs.mean(axis=0))

    # -- predictions -------------------------------------------------------------------------------

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return what is predicted from logits (..., C): probabilities, or values as they are."""
        return logits

    def ranking(self, labels: Sequence[str], outputs: np.ndarray) -> tuple[tuple[str, float], ...]:
        """Return labels with what is predicted of them (C,), the likeliest first."""
        pairs = zip(labels, outputs.tolist(), strict=True)
        return tuple(sorted(pairs, key=lambda pair: -pair[1]))

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return a ``.csv``: a row a window and, with the scope ``file``, one for the whole."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["scope", "start_s", "end_s", *map(csv_cell, prediction.task.labels or ())])
        spans = zip(prediction.start_s, prediction.end_s, prediction.window_outputs, strict=True)
        rows = [("window", *span) for span in spans]
        rows.append(("file", 0.0, prediction.seconds, prediction.outputs))
        for scope, start, end, values in rows:
            writer.writerow(
                [scope, f"{start:.3f}", f"{end:.3f}", *(f"{value:.4f}" for value in values)]
            )
        return {".csv": buffer.getvalue()}

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a label with its probability."""
        return [
            {"label": label, "probability": round(value, 6)} for label, value in prediction.ranking
        ]

    def columns(self, task: Task) -> list[str]:
        """Return one heading, the task."""
        return [task.name]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return the likeliest labels with their probabilities."""
        likeliest = prediction.ranking[:_LABELS_SHOWN]
        return [", ".join(f"{label} {100 * value:.1f} %" for label, value in likeliest)]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw classes x windows as a heatmap, the likeliest classes of the file on top."""
        labels = list(prediction.task.labels or ())
        order = np.argsort(-prediction.outputs)[:CLASSES_SHOWN]
        edges = np.append(prediction.start_s, prediction.end_s[-1])
        values = prediction.window_outputs[:, order].T  # (classes, windows)
        mesh = axes.pcolormesh(
            edges, np.arange(len(order) + 1), values, cmap="cividis", vmin=0, vmax=1
        )
        if values.size <= 120:  # more percentages than these overlap
            _write_percentages(axes, edges, values)
        texts = [f"{picture(labels[n])} {100 * prediction.outputs[n]:.0f} %" for n in order]
        axes.set_yticks(np.arange(len(order)) + 0.5, texts)
        axes.invert_yaxis()
        axes.figure.colorbar(mesh, ax=axes, label="probability", pad=0.01)


def _write_percentages(axes: Axes, edges: np.ndarray, values: np.ndarray) -> None:
    """Write each value (classes, windows) into its cell of a heatmap, legible on dark and
    bright.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > 0.55 else "white"
        text = f"{100 * value:.0f}"
        axes.text(centres[column], row + 0.5, text, ha="center", va="center", color=colour, size=8)
