"""Ask for chords: labelled intervals, as `svuprobe.tasks.kinds.chord_labels` names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from svuprobe.tasks.kinds import chord_labels
from svuprobe.tasks.kinds.intervals import ExclusiveKind
from svuprobe.tasks.types import Clip


class Chords(ExclusiveKind):
    """Take tuples of ``(start_s, end_s, label)`` as targets, labels in Harte's notation.

    Where no chord is named there is none. Chords that no class says teach nothing.
    """

    name = "chords"
    noun = "chord"
    namespaces = ("chord", "chord_harte")
    metrics = chord_labels.METRICS
    activation_name = "P(chord)"
    between = 0

    def names(self) -> Sequence[str]:
        """Return no chord, and five qualities on twelve roots."""
        return chord_labels.CLASSES

    def class_of(self, label: str) -> int:
        """Return the class of a label in Harte's notation; -1 where no class says it."""
        return chord_labels.class_of(label)

    def check_label(self, where: str, label: str) -> None:
        """Raise TaskError where a label is not in Harte's notation."""
        chord_labels.check(where, label)

    def doubts(self, clips: Sequence[Clip]) -> Iterator[str]:
        """Say how much of the chords no class can say."""
        seconds = apart = 0.0
        for clip in clips:
            for start, end, label in clip.target:
                seconds += end - start
                apart += (end - start) * (self.class_of(label) < 0)
        if apart > 0.01 * seconds:
            yield (
                f"{100 * apart / seconds:.0f} % of the time has chords that are neither major nor "
                "minor (suspended, diminished, ...): heads don't learn from them, and majmin and "
                "sevenths leave them out"
            )

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip."""
        return chord_labels.score(reference, estimate)


CHORDS = Chords()
