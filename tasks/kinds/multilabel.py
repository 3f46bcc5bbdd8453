"""Ask for any number of labels a clip, as in tagging: a binary cross-entropy each, means over
tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from svuprobe.tasks.kinds.base import Problem, less_tags, named_some, tags_loss
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.colouring import Colouring, by_tag
from svuprobe.tasks.kinds.metrics import METRICS
from svuprobe.tasks.sheets import Cell, Numbers, normal
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch

_TAGS_SHOWN = 3


class Multilabel(ClipKind):
    """Take tuples of labels as targets; encoded, (N, C) float32 of 0 and 1."""

    name = "multilabel"
    has_classes = True
    metrics = ("roc_auc", "ap")
    may_be_empty = True
    undefined = "no tag has both a clip with it and one without it"
    wrongness = "1 − average precision of the clip's tags"

    namespaces = ("tag_*",)

    def suits(self, cells: Sequence[str]) -> bool:
        """Tell whether any cell has several labels."""
        return any("|" in cell for cell in cells)

    def parse(self, cell: Cell, numbers: Numbers, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the labels in a cell, which are joined by ``|``; sorted, each once."""
        tags = {normal(tag) for tag in cell.text.split("|")}
        return tuple(sorted(tags - {""}))

    def check_targets(
        self, metadata: Path, places: Sequence[str], targets: Sequence[Any], labels: Sequence[str]
    ) -> None:
        """Raise TaskError where no clip has a label, and none is declared either."""
        if not labels and not any(targets):
            raise TaskError(
                f"{metadata}: no clip has a label; labels are joined by | in the column target"
            )

    def labels(self, targets: Sequence[Any]) -> tuple[str, ...]:
        """Return the sorted labels that clips carry."""
        # Sorted, so that column c is the same label whatever clip came first.
        return tuple(sorted(set().union(*targets)))

    def classes(self, target: Any) -> Sequence[str]:
        """Return the labels of a clip."""
        return tuple(target)

    def encode(self, task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
        """Return which labels each clip carries, (N, C) float32 of 0 and 1."""
        return self.one_hot(task, labels, clips)

    def colourings(
        self, task: Task, labels: Sequence[str], clips: Sequence[Clip]
    ) -> Iterator[Colouring]:
        """Yield whether a clip carries each tag, the most frequent tag first."""
        return by_tag(labels, self.encode(task, labels, clips))

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the binary cross-entropy, mean over windows and tags."""
        return tags_loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return sigmoid less the tag, over windows and tags."""
        return less_tags(outputs, targets)

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return a problem a tag: one against the rest."""
        return [
            Problem(slice(tag, tag + 1), "tag", column.astype(np.int64))
            for tag, column in enumerate(targets.T)
        ]

    def by_label(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return ROC-AUC and average precision of each tag, and its positives, (C,)."""
        once, group = np.ones((1, len(targets))), np.arange(len(targets))
        scores = {}
        for name in self.metrics:
            each = []
            for tag in range(targets.shape[1]):
                part = slice(tag, tag + 1)
                each.append(METRICS[name](targets[:, part], outputs[:, part], group, once)[0])
            scores[name] = np.array(each)
        return scores | {"support": targets.sum(axis=0).astype(float)}

    def ranks(self, name: str) -> bool:
        """Return True of the area under the ROC curve and average precision."""
        return name.startswith(("roc_auc", "ap"))

    def chance(self, train: np.ndarray, labels: Sequence[str], n: int) -> np.ndarray:
        """Return each tag's frequency in the training split, alike for all: (1, n, C)."""
        # A constant ranks nothing: ROC-AUC 0.5, average precision the share of positives.
        return np.tile(train.mean(axis=0), (1, n, 1))

    def caveats(self, targets: Mapping[str, np.ndarray], labels: Sequence[str]) -> Iterator[str]:
        """Say which tags are left out of the mean over tags, and which can't be learnt."""
        unlearnt = self.unscored(targets["train"], labels)
        if unlearnt:
            subject, verb = ("tag", "has") if len(unlearnt) == 1 else ("tags", "have")
            yield (
                f"{subject} {named_some(unlearnt)} {verb} no positive or no negative in the "
                "training split"
            )
        for split, name in (("valid", "validation"), ("test", "test")):
            left_out = self.unscored(targets[split], labels)
            if left_out:
                verb = "has" if len(left_out) == 1 else "have"
                yield (
                    f"{len(labels) - len(left_out)} of {len(labels)} tags scored in the {name} "
                    f"split: {named_some(left_out)} {verb} no positive or no negative there"
                )

    def unscored(self, test: np.ndarray, labels: Sequence[str]) -> list[str]:
        """Return the tags without a positive, or without a negative: means over tags leave them
        out.
        """
        shares = test.mean(axis=0)
        # ROC-AUC is undefined there; scikit-learn raises or warns, by version.
        return [label for label, share in zip(labels, shares, strict=True) if share in (0, 1)]

    def wrong(self, target: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return 1 less the average precision of the clip's own tags among all; 0 without a tag."""
        order = np.argsort(-outputs, axis=2, kind="stable")
        carried = np.broadcast_to(target > 0.5, outputs.shape)
        hits = np.take_along_axis(carried, order, axis=2).astype(float)
        precision = hits.cumsum(axis=2) / np.arange(1, outputs.shape[2] + 1)
        found, n_tags = (precision * hits).sum(axis=2), hits.sum(axis=2)
        return np.asarray(np.where(n_tags > 0, 1 - found / np.maximum(n_tags, 1), 0.0))

    def in_words(self, labels: Sequence[str], target: Any) -> str:
        """Return the tags."""
        carried = [label for label, there in zip(labels, target, strict=True) if there > 0.5]
        return ", ".join(carried) or "no tag"

    def answer_in_words(self, labels: Sequence[str], outputs: np.ndarray) -> str:
        """Return the likeliest tags of the mean over seeds, with their probabilities."""
        mean = self.probabilities(outputs).mean(axis=0)
        likeliest = self.ranking(labels, mean)[:_TAGS_SHOWN]
        return ", ".join(f"{label} {100 * value:.0f} %" for label, value in likeliest)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the sigmoid of each tag, (..., C)."""
        return np.asarray(expit(logits))


MULTILABEL = Multilabel()
