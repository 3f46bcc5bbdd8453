"""Ask for one label a clip, of several: cross-entropy, and accuracies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from svuprobe.tasks.kinds.base import Problem, named_some, softmax_less_hot
from svuprobe.tasks.kinds.clips import SPLIT_NAMES, ClipKind
from svuprobe.tasks.kinds.colouring import Colouring, by_class
from svuprobe.tasks.kinds.metrics import confusion
from svuprobe.tasks.sheets import Cell, Numbers, normal
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch

# As many guesses are averaged for the score of chance.
_CHANCE_DRAWS = 100


class Multiclass(ClipKind):
    """Take labels as targets; encoded, (N,) int64 indices into the task's labels."""

    name = "multiclass"
    has_classes = True
    metrics = ("accuracy", "macro_f1", "balanced_accuracy", "top2", "top3")
    votes = True

    namespaces = ("tag_*", "key_mode", "mood_*")

    def suits(self, cells: Sequence[str]) -> bool:
        """Return true: whatever is written may be a label."""
        return True

    def cell_of(self, where: str, values: Sequence[str]) -> str:
        """Return the one label. Raises TaskError naming the file where there are several."""
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            raise TaskError(
                f"{where}: {len(different)} labels ({named_some(different)}); a clip of a "
                f"{self.name} task has one"
            )
        return different[0]

    def parse(self, cell: Cell, numbers: Numbers, labels: Sequence[str]) -> str:
        """Return the label in a cell, composed and with single blanks."""
        return normal(cell.text)

    def labels(self, targets: Sequence[Any]) -> tuple[str, ...]:
        """Return the sorted labels that clips carry."""
        return tuple(sorted(set(targets)))

    def classes(self, target: Any) -> Sequence[str]:
        """Return the label of a clip."""
        return (target,)

    def stratum(self, target: Any) -> str:
        """Return the class."""
        return str(target)

    def encode(self, task: Task, labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
        """Return the index of each clip's label, (N,) int64."""
        return self.one_hot(task, labels, clips).argmax(axis=1)

    def colourings(
        self, task: Task, labels: Sequence[str], clips: Sequence[Clip]
    ) -> Iterator[Colouring]:
        """Yield the classes."""
        return by_class(labels, self.encode(task, labels, clips))

    def class_weights(self, targets: np.ndarray, n_classes: int, alpha: float) -> np.ndarray | None:
        """Return weights of the classes, (C,) float32; None for alpha 0, which weighs all alike."""
        return class_weights(targets, n_classes, alpha) if alpha else None

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the cross-entropy of each head, (H,).

        With class weights the mean is weighted as in ``torch.nn.CrossEntropyLoss``.
        """
        from torch.nn import functional

        heads, batch, classes = outputs.shape
        flat = functional.cross_entropy(
            outputs.reshape(-1, classes), targets.repeat(heads), reduction="none"
        )
        each = flat.view(heads, batch)
        if weights is None:
            return each.mean(1)
        share = weights[targets]
        return (each * share).sum(1) / share.sum()

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return softmax less the class, by what each row weighs in the mean."""
        gradient = softmax_less_hot(outputs, targets)
        rows = len(targets)
        share = outputs.new_full((rows,), 1 / rows) if weights is None else weights[targets]
        gradient *= share / share.sum()
        return gradient

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return one problem, whose rows weigh what their classes do."""
        each = None if weights is None else weights[targets]
        return [Problem(slice(None), "classes", targets, each)]

    def by_label(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return recall, precision and F1 of each class, and its units, (C,)."""
        once, group = np.ones((1, len(targets))), np.arange(len(targets))
        hits, actual, guessed = (n[0] for n in confusion(targets, outputs, group, once))
        with np.errstate(invalid="ignore"):  # 0 / 0 is a score that is undefined: NaN
            return {
                "recall": hits / actual,
                "precision": hits / guessed,
                "f1": 2 * hits / (actual + guessed),
                "support": actual,
            }

    def chance(self, train: np.ndarray, labels: Sequence[str], n: int) -> np.ndarray:
        """Draw classes with their frequencies, a hundred times: (draws, n, C).

        The largest of noisy log priors is such a draw.
        """
        rng = np.random.default_rng(0)
        prior = np.log(np.bincount(train, minlength=len(labels)) + 1e-9)
        # The Gumbel-max trick (Gumbel 1954).
        return prior + rng.gumbel(size=(_CHANCE_DRAWS, n, len(prior)))

    def caveats(self, targets: Mapping[str, np.ndarray], labels: Sequence[str]) -> Iterator[str]:
        """Say which classes a split lacks, and where a split holds one class only."""
        counts = {
            split: np.bincount(target, minlength=len(labels)) for split, target in targets.items()
        }
        for split, name in SPLIT_NAMES:
            occurring = [label for label, count in zip(labels, counts[split], strict=True) if count]
            lacking = [
                label for label, count in zip(labels, counts[split], strict=True) if not count
            ]
            if len(occurring) == 1:
                yield f"one class only in the {name} split: every clip there is {occurring[0]!r}"
            elif lacking:
                subject, verb = ("class", "has") if len(lacking) == 1 else ("classes", "have")
                # Test clips of classes that training never saw.
                unlearnt = counts["test"][counts["train"] == 0].sum()
                effect = ""
                if split == "train" and unlearnt:
                    effect = f": {unlearnt} of {counts['test'].sum()} test clips can't be right"
                yield f"{subject} {named_some(lacking)} {verb} no {name} clip{effect}"

    def wrong(self, target: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return 1 where the largest output is of another class, else 0."""
        return np.asarray(outputs.argmax(axis=2) != target, dtype=float)

    def in_words(self, labels: Sequence[str], target: Any) -> str:
        """Return the label."""
        return labels[int(target)]

    def answer_in_words(self, labels: Sequence[str], outputs: np.ndarray) -> str:
        """Return the label that most seeds give."""
        return labels[int(np.bincount(outputs.argmax(axis=1)).argmax())]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax over classes, (..., C)."""
        return np.asarray(softmax(logits, axis=-1))


def class_weights(targets: np.ndarray, n_classes: int, alpha: float) -> np.ndarray:
    """Weigh each class by 1 / n_c ** alpha, with mean 1 over those that occur; (C,) float32.

    Alpha 1 is the plain inverse frequency (Yamamoto 2023), 0.2 D-CNN-cRT's.
    """
    counts = np.bincount(targets, minlength=n_classes).astype(float)
    seen = counts > 0
    weights = np.where(seen, np.maximum(counts, 1) ** -alpha, 0.0)
    return np.asarray(weights / weights[seen].mean(), dtype=np.float32)


MULTICLASS = Multiclass()
