"""Ask for values of a clip, as valence and arousal: squared error of standardised targets, and
R2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.tasks.kinds.base import Problem, named_some
from svuprobe.tasks.kinds.clips import CLASSES_SHOWN, SPLIT_NAMES, ClipKind
from svuprobe.tasks.kinds.metrics import METRICS, Metric, metric
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import Cell, Numbers, is_number
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_MOST_VALUE = 1e15  # squares of errors must be finite in float32


class Regression(ClipKind):
    """Take tuples of numbers as targets, labels their names in the same order; encoded, (N, C)
    float32.
    """

    name = "regression"
    metrics = ("r2", "mae")
    more_metrics = ("mae", "rmse", "pearson", "spearman")
    shares = False
    undefined = "no target has two different values"
    wrongness = "mean absolute error"

    # -- own data ----------------------------------------------------------------------------------

    namespaces = ("mood_thayer", "tempo")

    def names_of(self, targets: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return the names in ``targets``, or of the columns where there are several."""
        return super().names_of(targets or (columns if len(columns) > 1 else ()), ())

    def suits(self, cells: Sequence[str]) -> bool:
        """Tell whether all cells are numbers and any has a point: whole ones may name classes."""
        texts = [text for cell in cells for text in cell.split("|")]
        return all(map(is_number, texts)) and any("." in text for text in texts)

    def declared(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names as they stand: the columns of values have this order."""
        return tuple(names)

    def metrics_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics, with the R2 of each target where there are several."""
        each = tuple(f"r2_{name}" for name in names) if len(names) > 1 else ()
        return self.metrics + each

    def numbers_in(self, text: str) -> Sequence[str]:
        """Return the values of a cell, which are joined by ``|``."""
        return text.split("|")

    def parse(self, cell: Cell, numbers: Numbers, labels: Sequence[str]) -> tuple[float, ...]:
        """Return the values in a cell, which are joined by ``|``: as many as targets are
        declared.
        """
        values = []
        for text in cell.text.split("|"):
            values.append(
                numbers.read(Cell(cell.where, text.strip()), "target", -_MOST_VALUE, _MOST_VALUE)
            )
        if labels and len(values) != len(labels):
            raise TaskError(
                f"{cell.where}: {len(values)} values for the {len(labels)} targets of the TOML"
            )
        return tuple(values)

    def check_targets(
        self, metadata: Path, places: Sequence[str], targets: Sequence[Any], labels: Sequence[str]
    ) -> None:
        """Raise TaskError for the first clip that has another number of values than the first of
        all.
        """
        for where, target in zip(places, targets, strict=True):
            if len(target) != len(targets[0]):
                raise TaskError(
                    f"{where}: {len(target)} values, the first clip has {len(targets[0])}; "
                    f"every clip has the same targets"
                )

    # -- targets and loss --------------------------------------------------------------------------

    def labels(self, targets: Sequence[Any]) -> tuple[str, ...]:
        """Return ``target``, or ``target0``, ``target1``, ... where there are several."""
        size = len(targets[0])
        return ("target",) if size == 1 else tuple(f"target{n}" for n in range(size))

    def encode(self, task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
        """Return the values of each clip, (N, C) float32."""
        return np.array([clip.target for clip in clips], dtype=np.float32).reshape(len(clips), -1)

    def standard(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each target, (C,) float32; a constant one's is 1.

        What is learnt then has mean 0 and deviation 1, whatever the unit, so one learning rate does
        for all.
        """
        spread = targets.std(axis=0)
        return targets.mean(axis=0), np.where(spread > 0, spread, 1).astype(np.float32)

    def scaled(self, targets: np.ndarray, offset: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return targets less the mean, divided by the deviation."""
        return np.asarray((targets - offset) / spread, np.float32)

    def unscaled(self, outputs: np.ndarray, offset: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return outputs in the targets' own units."""
        return np.asarray(outputs * spread + offset)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the squared error, mean over windows and targets."""
        return (outputs - targets).square().mean(dim=(1, 2))

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return twice the error, over windows and targets."""
        return outputs.sub_(targets.T[:, None]).mul_(2 * outputs.shape[1] / outputs.numel())

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return one problem: all values at once."""
        return [Problem(slice(None), "values", targets)]

    # -- scores ------------------------------------------------------------------------------------

    def metric(self, name: str, labels: Sequence[str]) -> Metric:
        """Return a metric by its name; ``r2_<target>`` is the R2 of one target."""
        if not name.startswith("r2_"):
            return metric(name)
        column = [labels.index(name.removeprefix("r2_"))]

        def of_target(
            target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
        ) -> np.ndarray:
            return METRICS["r2"](target[:, column], output[:, column], group, counts)

        return of_target

    def by_label(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return R2, errors and correlations of each target, (C,)."""
        once, group = np.ones((1, len(targets))), np.arange(len(targets))
        scores = {}
        for name in ("r2", *self.more_metrics):
            each = []
            for column in range(targets.shape[1]):
                part = slice(column, column + 1)
                each.append(METRICS[name](targets[:, part], outputs[:, part], group, once)[0])
            scores[name] = np.array(each)
        return scores

    def chance(self, train: np.ndarray, labels: Sequence[str], n: int) -> np.ndarray:
        """Return the mean of the training split, alike for all: (1, n, C)."""
        return np.tile(train.mean(axis=0), (1, n, 1))

    def caveats(self, targets: Mapping[str, np.ndarray], labels: Sequence[str]) -> Iterator[str]:
        """Say which targets are constant in a split: nothing to learn, or no R2."""
        for split, name in SPLIT_NAMES:
            low, high = targets[split].min(axis=0), targets[split].max(axis=0)
            constant = [label for label, same in zip(labels, low == high, strict=True) if same]
            if constant:
                subject = "target" if len(constant) == 1 else "targets"
                effect = (
                    "nothing to learn"
                    if split == "train"
                    else "R2 is undefined and left out of the mean"
                )
                yield f"{subject} {named_some(constant)} constant in the {name} split: {effect}"

    # -- what was answered on the test split -------------------------------------------------------

    def wrong(self, target: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return the absolute error, mean over targets."""
        return np.asarray(np.abs(outputs - target).mean(axis=2))

    # -- predictions -------------------------------------------------------------------------------

    def ranking(self, labels: Sequence[str], outputs: np.ndarray) -> tuple[tuple[str, float], ...]:
        """Return targets with their values in the task's order: a value is no likelihood."""
        return tuple(zip(labels, outputs.tolist(), strict=True))

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a target with its value."""
        return [{"label": label, "value": round(value, 6)} for label, value in prediction.ranking]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return all targets with their values."""
        return [", ".join(f"{label} {value:.3f}" for label, value in prediction.ranking)]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a line a target, the largest first, at its value over each window; beside its name
        stands that of the whole file.
        """
        labels = list(prediction.task.labels or ())
        edges = [*prediction.start_s, prediction.end_s[-1]]
        for n in np.argsort(-prediction.outputs)[:CLASSES_SHOWN]:
            values = prediction.window_outputs[:, n]
            text = f"{picture(labels[n])} {prediction.outputs[n]:.3g}"
            axes.stairs(values, edges, baseline=None, lw=2, label=text)
        axes.legend(frameon=False)
        axes.set_ylabel("value")


REGRESSION = Regression()
