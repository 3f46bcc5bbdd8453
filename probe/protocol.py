"""How heads are trained and chosen. The presets are published protocols; the hash covers every field."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any


class ProbeError(Exception):
    """A probe that can't be run as asked, as one line for the user."""


@dataclass(frozen=True)
class Protocol:
    """Head, layer mixing, optimiser, grid, selection, seeds. The defaults are the preset ``svuprobe``.

    Attributes
    ----------
    hidden
        Units of the hidden layer (Linear, ReLU, dropout, Linear); 0 for one Linear.
    scale_layers
        Subtract each feature's mean over the training set and divide by its layer's RMS (one scalar a layer), so
        that the mixing weights do not trade off against the layers' scale, nor learning against their mean.
    mix_learning_rate
        Of the layer weights, which are a softmax over scalars that start at zero; 0 gives them the head's.
    learning_rates
        The grid. With one value nothing is selected.
    single_layers
        Also train a head on each single layer, for the layer curve.
    batch_size, frame_batch_size
        Windows per step, at clip and at frame level (8, as Gu et al. 2022 take for transcription).
    patience
        Epochs without a better validation score until a head stops; its best state is kept. The score is the
        ranked metric at clip level and the loss at frame level, where decoding every head in every epoch
        would cost more than training; the grid point is always chosen by the ranked metric.
    plateau_patience, plateau_factor
        Epochs without a better score until a head's learning rate is multiplied; factor 1 never changes it.
    """

    name: str = "svuprobe"
    hidden: int = 512
    dropout: float = 0.2
    scale_layers: bool = True
    mix_learning_rate: float = 1e-2
    learning_rates: tuple[float, ...] = (5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
    single_layers: bool = True
    batch_size: int = 64
    frame_batch_size: int = 8
    max_epochs: int = 100
    patience: int = 10
    plateau_patience: int = 4
    plateau_factor: float = 0.5
    seeds: int = 5

    def __post_init__(self) -> None:
        positive = ("batch_size", "frame_batch_size", "max_epochs", "patience", "seeds")
        for name in positive:
            if getattr(self, name) < 1:
                raise ProbeError(f"{name} = {getattr(self, name)}; it is at least 1")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ProbeError(f"learning_rates = {self.learning_rates}; each is greater than 0")
        if not 0 <= self.dropout < 1:
            raise ProbeError(f"dropout = {self.dropout}; 0 <= dropout < 1")

    @property
    def hash(self) -> str:
        """Hexadecimal digest over every field; results of different hashes never share a table."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """``svuprobe`` for a preset as published, ``svuprobe-1a2b3c4d`` where a field was changed."""
        return self.name if self == PRESETS.get(self.name) else f"{self.name}-{self.hash[:8]}"

    @classmethod
    def read(cls, values: dict[str, Any]) -> Protocol:
        """From JSON."""
        return cls(**values | {"learning_rates": tuple(values["learning_rates"])})


# Ma et al. 2023: MLP of 512, softmax over 13 raw states with the head's learning rate, lr 1e-3 fixed.
_MA2023 = Protocol(
    name="ma2023",
    dropout=0.0,
    scale_layers=False,
    mix_learning_rate=0.0,
    learning_rates=(1e-3,),
    plateau_factor=1.0,
)
PRESETS = {p.name: p for p in (Protocol(), Protocol(name="linear", hidden=0, dropout=0.0), _MA2023)}


def preset(name: str, **changes: Any) -> Protocol:
    """A preset by its name, with fields changed; an unknown name answers with the close matches."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(PRESETS)}"
        raise ProbeError(f"unknown protocol {name!r}; {hint}")
    return replace(PRESETS[name], **changes)
