"""Say what the clips of a task are coloured by where each is a point, as in a map of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Colouring:
    """Hold one way to colour N clips: by their classes, or by values on a scale.

    Attributes
    ----------
    title
        What is coloured by, as a tag or the name of a value; empty of the only one of a task.
    values
        (N,) int64, the number of each clip's class in ``classes``; or (N,) float32, its value.
    classes
        Names of classes; none where values are on a scale.
    """

    title: str
    values: np.ndarray
    classes: tuple[str, ...] = ()


def by_class(labels: Sequence[str], numbers: np.ndarray) -> Iterator[Colouring]:
    """Yield the one colouring of clips of a class each, (N,) int64."""
    yield Colouring("", numbers, tuple(labels))


def by_tag(labels: Sequence[str], carried: np.ndarray) -> Iterator[Colouring]:
    """Yield a colouring for each tag, the most frequent first, from (N, C) of 0 and 1."""
    for n in np.argsort(-carried.sum(axis=0), kind="stable"):
        yield Colouring(labels[n], carried[:, n].astype(np.int64), ("without", "with"))


def by_value(names: Sequence[str], values: np.ndarray) -> Iterator[Colouring]:
    """Yield a colouring for each value of the clips, (N, C)."""
    for n, name in enumerate(names):
        yield Colouring(name, np.asarray(values[:, n], np.float32))
