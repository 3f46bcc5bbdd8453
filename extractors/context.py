"""Say how the windows of a task go with the stretch of audio that a model was trained on.

The policy is one for all models: **a window goes through a model whole**, however long it is and
whatever the model was trained on, since it is the task that says how much context there is, and all
models are asked the same. A model that can't see more than so many seconds at once is given longer
windows in pieces of that length, whose frames continue one grid. A model whose windows are longer
than what it was trained on, or much shorter, may do worse than it could: extraction says so in a
line, and ``--window`` cuts all clips of a task otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from svuprobe.extractors.training_data import training_data

# Of what a model was trained on: windows under this share are much shorter.
_MUCH_SHORTER = 0.25
# Crops and windows are cut to whole frames: 30.01 s are no more than 30 s.
_ROUNDING = 1.01


@dataclass(frozen=True)
class Context:
    """Say how much audio a model is used to.

    Attributes
    ----------
    trained_s
        Seconds that training saw at once, at most; 0 where that is unknown.
    at_once_s
        Seconds that it can see at once; 0 for any number.
    """

    trained_s: float
    at_once_s: float

    @classmethod
    def of(cls, extractor: Any) -> Context:
        """Return the context of an extractor: what is on record of it, and what it says itself."""
        data = training_data(extractor.name)
        trained_s = data.crop_s if data is not None and data.crop_s else 0.0
        return cls(float(trained_s), float(getattr(extractor, "at_once_s", None) or 0.0))

    def remark(self, name: str, window_s: float) -> str:
        """Return a line on windows of so many seconds; empty where the model is used to them."""
        windows = f"{name}: windows of up to {window_s:.3g} s"
        if self.at_once_s and window_s > self.at_once_s * _ROUNDING:
            return (
                f"{windows} are longer than the {self.at_once_s:g} s that it sees at once; they go "
                "through in pieces of that length, and no frame sees beyond its piece"
            )
        if self.trained_s and window_s > self.trained_s * _ROUNDING:
            return (
                f"{windows} are longer than the {self.trained_s:g} s that it was trained on; they "
                f"go through whole (--window {self.trained_s:g} cuts them to what it knows)"
            )
        if self.trained_s and window_s < self.trained_s * _MUCH_SHORTER:
            return (
                f"{windows} are much shorter than the {self.trained_s:g} s that it was trained on; "
                "they go through as they are (--window gives it more, where clips last longer)"
            )
        return ""
