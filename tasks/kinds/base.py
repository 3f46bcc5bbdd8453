"""Define what every kind of task is, at clip level and at frame level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from svuprobe.tasks.kinds.answers import ClipAnswer
from svuprobe.tasks.kinds.colouring import Colouring
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import normal
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes


class Problem(NamedTuple):
    """Hold one question that some outputs of a head answer, as heads of scikit-learn learn it.

    Attributes
    ----------
    columns
        Of the outputs.
    answers
        ``classes``, of which one is right; a ``tag``, which is there or not; or ``values``.
    targets
        (N,) int64 classes or 0 and 1; (N, C) values.
    weights
        (N,) of the rows in the loss, of which a row of weight 0 is no part; None where all weigh
        alike.
    """

    columns: slice
    answers: str
    targets: np.ndarray
    weights: np.ndarray | None = None


class Kind(ABC):
    """Define a kind of task. Its objects hold nothing, or the labels of a task: all else that is
    known of a task is handed to them.

    Attributes
    ----------
    name
        As tasks, TOML files and results have it; of events in time also their plural, as in "no
        notes".
    level
        ``clip`` or ``frame``: what a cache has to hold.
    metrics
        Of a task on own data, the ranked one first.
    window_s
        Default window of own data. Recordings of any length must fit in memory: longer clips are
        cut.
    has_classes
        Whether labels are classes, which clips carry; else they name values, or there are none.
    may_be_empty
        Whether a clip of own data may have nothing in the column ``target``.
    namespaces
        Of annotations in JAMS files that hold targets of the kind; ``*`` stands for anything.
    keys
        Keys of the TOML file that this kind has alone.
    libraries
        That count or decode for this kind alone: a result says which versions.
    sidecars
        Ends of the names of files that may lie beside a recording and hold its target.
    wrongness
        What `svuprobe.tasks.kinds.answers.ClipAnswer.wrong` is, as the heading of a column.
    """

    name: ClassVar[str]
    level: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    window_s: ClassVar[float] = 30.0
    has_classes: ClassVar[bool] = False
    may_be_empty: ClassVar[bool] = False
    namespaces: ClassVar[tuple[str, ...]] = ()
    sidecars: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def with_labels(self, labels: tuple[str, ...]) -> Kind:
        """Return what does the work for a task with these labels: of most kinds the kind itself."""
        return self

    @property
    def events_name(self) -> str:
        """Return what a target of events in time holds, in the plural."""
        return self.name

    wrongness: ClassVar[str] = "share of heads that are wrong"

    # -- own data: a TOML file and the column target of a CSV file ---------------------------------

    @abstractmethod
    def tail_s(self, window_s: float) -> float:
        """Return the shortest rest of a clip kept as a window, seconds, where the TOML says
        nothing.
        """

    def check_keys(  # noqa: B027 (most kinds refuse nothing)
        self, path: Path, spec: Mapping[str, Any]
    ) -> None:
        """Raise TaskError naming the TOML file where its keys do not go with this kind."""

    def reading(self, spec: Mapping[str, Any]) -> Kind:
        """Return what reads targets as the TOML's keys want them read: of most kinds the kind
        itself.
        """
        return self

    def names_of(self, targets: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return the names of labels or values, from the TOML's ``targets`` or its columns."""
        return [normal(name) for name in targets]

    def suits(self, cells: Sequence[str]) -> bool:
        """Tell whether a column ``target`` looks like the kind's, where nobody says the kind."""
        return False

    def declared(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the labels that the TOML's key ``targets`` declares, as a task holds them."""
        return tuple(sorted(names))

    def metrics_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics of own data whose key ``targets`` names these."""
        return self.metrics

    def numbers_in(self, text: str) -> Sequence[str]:
        """Return the numbers in a cell of the column ``target``: together they tell the decimal
        mark.
        """
        return ()

    def check_targets(  # noqa: B027
        self, metadata: Path, places: Sequence[str], targets: Sequence[Any], labels: Sequence[str]
    ) -> None:
        """Raise TaskError where the targets of a CSV file are right one by one but not together.

        Parameters
        ----------
        places
            ``FILE:LINE`` of each target.
        labels
            Those that the TOML declares, if any.
        """

    # -- targets -----------------------------------------------------------------------------------

    def labels(self, targets: Sequence[Any]) -> tuple[str, ...]:
        """Return the labels of a task that declares none, from the targets of all its clips."""
        return ()

    def labels_of(self, task: Task, clips: Sequence[Clip]) -> tuple[str, ...]:
        """Return `labels` from the targets of those of a task's clips that may tell: all."""
        return self.labels([clip.target for clip in clips])

    def classes(self, target: Any) -> Sequence[str]:
        """Return the labels that a clip carries, of kinds that `has_classes`."""
        return ()

    def stratum(self, target: Any) -> Hashable:
        """Return what random parts of a dataset have as much of each, as the class; None for
        nothing.
        """
        return None

    @abstractmethod
    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return the outputs of a head, per window or frame."""

    def doubts(self, clips: Sequence[Clip]) -> Iterator[str]:
        """Say what in clips' targets is unlikely to be meant, a sentence each without a full
        stop.
        """
        return iter(())

    def decoder(self, task: Task) -> str | None:
        """Return the decoder that a task chose; None of kinds that have one way alone."""
        return None

    def colourings(
        self, task: Task, labels: Sequence[str], clips: Sequence[Clip]
    ) -> Iterator[Colouring]:
        """Yield what clips may be coloured by where each is a point, the most telling first.

        Raises TaskError where a clip has no label and no value of its own.
        """
        raise TaskError(
            f"task {task.name}: is of kind {self.name}, whose clips have no label or value of "
            "their own to colour points by; choose a task of whole clips (svuprobe tasks)"
        )

    # -- learning ----------------------------------------------------------------------------------

    @abstractmethod
    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean loss of each head, (H,).

        Parameters
        ----------
        outputs
            (H, B, C) of B windows or frames.
        targets
            (B, ...), shared by all heads: rows of what `ClipKind.encode` or `FrameKind.rasterise`
            returns.
        weights
            (C,) class weights, of kinds that have them.
        """

    def gradient(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the gradient of each head's mean loss with respect to its outputs, (H, B, C).

        Training needs no value of a loss, only its gradient: a probability less its target. Graphs
        and losses that are not reduced cost as much as the matrix products of a linear head on
        frames. A test holds this against autograd through `loss`. The parameters are those of
        `loss`; ``outputs`` may be in any layout, and are overwritten where classes come first in
        memory.
        """
        # (C, H, B): every operation runs over long rows
        first = outputs.permute(2, 0, 1).contiguous()
        return self.slope(first, targets, weights).permute(1, 2, 0)

    @abstractmethod
    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return `gradient` for outputs that lie as (C, H, B), in the same layout.

        ``outputs`` may be overwritten.
        """

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return what scikit-learn has to learn, which together is what `loss` is of; none of kinds
        that only gradient descent can learn.

        Parameters are those of `loss`, as arrays.
        """
        return []

    # -- what was answered on the test split -------------------------------------------------------

    def answers(
        self, labels: Sequence[str], metric: str, stored: Mapping[str, np.ndarray]
    ) -> list[ClipAnswer]:
        """Return what the heads of a result answered for each test clip; none of kinds that don't
        say how wrong an answer is.

        Parameters
        ----------
        metric
            The one that ranks.
        stored
            The predictions kept beside the result, by name of the array
            (`svuprobe.probe.stats.units` reads and checks them).
        """
        return []

    # -- predictions -------------------------------------------------------------------------------

    @abstractmethod
    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return the files of a prediction: suffix -> content."""

    @abstractmethod
    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return what JSON and CSV say of a file: a row an event or a label, without the path."""

    @abstractmethod
    def columns(self, task: Task) -> list[str]:
        """Return the headings of the printed table, after those of the file and its seconds."""

    @abstractmethod
    def cells(self, prediction: Prediction) -> list[str]:
        """Return the line of a file in the printed table, below `columns`."""

    @abstractmethod
    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw the first ``seconds`` of a prediction over a time axis in seconds."""


def softmax_less_hot(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the gradient of summed cross-entropies: softmax over (C, H, B) less the labels
    (B,).
    """
    # In place, one number a row and head: labels written out would be as large as the softmax.
    place = labels.expand(1, *outputs.shape[1:])
    less = outputs.new_full((1, 1, 1), -1.0).expand_as(place)
    return outputs.softmax(0).scatter_add_(0, place, less)


def tags_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy of tags, mean over rows and tags: (H, B, C) and (B, C) ->
    (H,).
    """
    from torch.nn import functional

    # Unreduced, since the heads of a bank must not share a mean.
    each = functional.binary_cross_entropy_with_logits(
        outputs, targets.expand_as(outputs), reduction="none"
    )
    return each.mean(dim=(1, 2))


def less_tags(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the gradient of `tags_loss` for outputs (C, H, B), in their place."""
    return outputs.sigmoid_().sub_(targets.T[:, None]).div_(targets.numel())


def named_some(names: Sequence[str], most: int = 5) -> str:
    """Return names as part of a sentence, ``'a', 'b' and 3 more``."""
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
