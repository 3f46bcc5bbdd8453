"""Hold what a result's heads answered for one test clip: each kind fills it in from predictions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Of a picture of events: begin and end in seconds, and a height or None.
Mark = tuple[float, float, float | None]


@dataclass(frozen=True)
class ClipAnswer:
    """Hold what the heads of one result make of one test clip.

    Attributes
    ----------
    truth, answer
        In words: the label and the one that most seeds give, values, or how many events there are.
        The truth is empty where predictions don't hold it.
    wrong
        How wrong the answers are, mean over seeds: 0 is right, and more is worse. The kind's
        ``wrongness`` says what it is.
    events
        What the first seed's head finds in time, of kinds that have events.
    """

    id: str
    group: str
    truth: str
    answer: str
    wrong: float
    events: np.ndarray = field(default_factory=lambda: np.zeros(0))
