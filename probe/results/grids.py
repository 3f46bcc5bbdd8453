"""Say what grid validation chose from, and whether the choice lies at its edge."""

from __future__ import annotations

import math
from dataclasses import dataclass

from svuprobe.probe.results.result import Result

# What a wider grid is asked for by, by the name of what is chosen.
_WIDER = {
    "learning rate": "--widen, or a grid of your own by --learning-rate",
    "C": "--widen, or strengths in a protocol's TOML file",
    "alpha": "--widen, or strengths, which are 1 / alpha, in a protocol's TOML file",
    "k": "neighbours in a protocol's TOML file",
}


@dataclass(frozen=True)
class GridChoice:
    """Hold what was chosen for the ranked head, and the values that were tried.

    Attributes
    ----------
    name
        ``learning rate``; ``C`` of logistic, ``alpha`` of ridge regression; ``k`` neighbours.
    tried
        Ascending.
    """

    name: str
    value: float
    tried: tuple[float, ...]

    @classmethod
    def of(cls, result: Result) -> GridChoice | None:
        """Return the choice of a result; None where nothing was chosen, as in fine-tuning."""
        head, fields = result.selected.head, result.protocol.fields
        if result.protocol.head == "network":
            name, value, tried = "learning rate", head.learning_rate, fields.get("learning_rates")
        else:
            # A setting is C = 1, alpha = 10 or k = 5, cosine.
            name, _, words = (head.setting or "").partition(" = ")
            value = _number(words.partition(",")[0])
            tried = fields.get("neighbours" if name == "k" else "strengths")
        tried = head.tried or tried
        if not value or not tried:
            return None
        values = [1 / strength if name == "alpha" else float(strength) for strength in tried]
        return cls(name, value, tuple(sorted(values)))

    @property
    def end(self) -> str:
        """Return ``smallest`` or ``largest`` where the choice is that of all that was tried, and
        one beyond it could be; else an empty text.
        """
        if len(self.tried) < 2:
            return ""  # nothing was chosen
        # Settings are rounded to six digits.
        if self.value > self.tried[-1] or math.isclose(self.value, self.tried[-1], rel_tol=1e-4):
            return "largest"
        low = self.value < self.tried[0] or math.isclose(self.value, self.tried[0], rel_tol=1e-4)
        fewest = self.name == "k" and self.value <= 1  # nobody asks fewer than one neighbour
        return "smallest" if low and not fewest else ""

    @property
    def wider(self) -> str:
        """Return what a wider grid is asked for by."""
        return _WIDER[self.name]


def _number(words: str) -> float | None:
    try:
        return float(words)
    except ValueError:
        return None
