"""Let intervals have a task's own labels as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svuprobe.tasks.kinds.intervals import IntervalKind
from svuprobe.tasks.types import TaskError


@dataclass(frozen=True)
class LabelledIntervals(IntervalKind):
    """Define a kind of intervals whose classes are the labels of a task.

    Attributes
    ----------
    labels_
        Of the task, sorted.
    """

    labels_: tuple[str, ...] = ()

    has_classes = True

    def with_labels(self, labels: tuple[str, ...]) -> LabelledIntervals:
        """Return the kind with the labels of a task."""
        return replace(self, labels_=labels)

    def names(self) -> Sequence[str]:
        """Return the labels."""
        return self.labels_

    def class_of(self, label: str) -> int:
        """Return the place of a label; -1 where the task has it not."""
        return self.labels_.index(label) if label in self.labels_ else -1

    # -- own data ----------------------------------------------------------------------------------

    def check_keys(self, path: Path, spec: Mapping[str, Any]) -> None:
        """Raise TaskError for keys of clips with one label; ``targets`` names the labels."""
        super().check_keys(path, {key: spec[key] for key in spec if key != "targets"})

    def check_label(self, where: str, label: str) -> None:
        """Raise TaskError where the TOML's key ``targets`` lacks a label."""
        if self.labels_ and label not in self.labels_:
            raise TaskError(
                f"{where}: label {label!r} is not in targets = {list(self.labels_)}; add it there"
            )

    def labels(self, targets: Sequence[Any]) -> tuple[str, ...]:
        """Return the sorted labels of all intervals."""
        return tuple(sorted({label for target in targets for _, _, label in target}))

    def classes(self, target: Any) -> Sequence[str]:
        """Return the labels that occur in a clip."""
        return tuple(sorted({label for _, _, label in target}))
