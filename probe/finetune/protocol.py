"""Say how a model is fine-tuned and chosen.

The presets are published protocols; the hash covers every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe._show import shown
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.protocol_fields import LEAST_RATE, MOST_RATE

SELECT = ("best", "last")
LAYERS = ("sum", "last")
# Fields that act where the transformer trains, and not while the head does alone.
_OF_SECOND_STAGE = (
    "encoder_learning_rate", "train_convolutions", "last_k", "lora_rank", "bitfit", "layerdrop",
    "spec_augment",
)  # fmt: skip
# Least and most of the numbers. The most is far above any use: it ends typing errors, not memory.
RANGES: dict[str, tuple[float, float]] = {
    "frozen_epochs": (0, 1_000_000),
    "epochs": (0, 1_000_000),
    "last_k": (0, 10_000),
    "lora_rank": (0, 10_000),
    "hidden": (0, 100_000),
    "head_learning_rate": (LEAST_RATE, MOST_RATE),
    "encoder_learning_rate": (LEAST_RATE, MOST_RATE),
    "mix_learning_rate": (0, MOST_RATE),
    "batch_size": (1, 100_000),
    "frame_batch_size": (1, 100_000),
    "class_weight_alpha": (0, 10),
    "seeds": (1, 1000),
}


def _require_in_range(name: str, value: float | None) -> None:
    """Raise ProbeError for a number outside its range; None is the task's own."""
    low, high = RANGES[name]
    if value is not None and not low <= value <= high:  # NaN is in no range
        raise ProbeError(f"{name} = {value!r}; it is from {low:,} to {high:,}")


class _Hashed:
    """Share what `FinetuneProtocol` and `RecipeProtocol` have; both are frozen dataclasses with a
    name.
    """

    name: str

    @property
    def fields(self) -> dict[str, Any]:
        """Return every field, as results store them."""
        return asdict(self)  # type: ignore[call-overload]

    @property
    def hash(self) -> str:
        """Return a digest over every field, hexadecimal; different hashes never share a table."""
        return hashlib.sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Return ``yamamoto2023`` for a preset as published, ``yamamoto2023-1a2b3c4d`` where it was
        changed.
        """
        return self.name if self == PRESETS.get(self.name) else f"{self.name}-{self.hash[:8]}"


@dataclass(frozen=True)
class FinetuneProtocol(_Hashed):
    """Say what trains, how fast, how long, and which epoch counts; defaults are ``yamamoto2023``.

    Attributes
    ----------
    frozen_epochs, epochs
        Epochs of the head and the layer weights alone, then of the transformer too. 0 leaves a
        stage out.
    train_convolutions
        Whether the second stage also trains the convolutions on the waveform.
    last_k
        Only the last k blocks train in the second stage; 0 for everything after the convolutions.
    lora_rank
        Only low-rank adapters of the query, key, value and output projections train (Hu et al.
        2022; scaled by 2, no dropout); 0 for none.
    bitfit
        Only the biases of the transformer train (Ben Zaken et al. 2022).
    layers
        ``sum``, a softmax over scalars that start at zero weighs the raw hidden states; or
        ``last``.
    hidden, relu, dropout
        Linear, ReLU if ``relu``, dropout, Linear; ``hidden=0`` is one Linear. At clip level the
        mean over time comes first, which without a ReLU is the same as between the two.
    head_learning_rate, encoder_learning_rate, mix_learning_rate
        Of Adam. 0 gives the layer weights the head's.
    batch_size, frame_batch_size
        Windows per step, at clip and at frame level.
    layerdrop, spec_augment
        Off as published by Yamamoto; the dropout of the checkpoint's own config.json is on in the
        second stage.
    class_weight_alpha
        Of the cross-entropy, see `svuprobe.tasks.kinds.multiclass`; None is the task's.
    select
        ``best``: each stage ends at its epoch with the best ranked metric on validation; ``last``:
        at its last.
    start
        Protocol and hash of the probe whose heads are taken to start from; empty for random heads.
    """

    name: str = "yamamoto2023"
    frozen_epochs: int = 2
    epochs: int = 8
    train_convolutions: bool = False
    last_k: int = 0
    lora_rank: int = 0
    bitfit: bool = False
    layers: str = "sum"
    hidden: int = 768
    relu: bool = False
    dropout: float = 0.5
    head_learning_rate: float = 3e-4
    encoder_learning_rate: float = 5e-5
    mix_learning_rate: float = 0.0
    batch_size: int = 48
    frame_batch_size: int = 8
    layerdrop: float = 0.0
    spec_augment: bool = False
    class_weight_alpha: float | None = None
    select: str = "best"
    seeds: int = 3
    start: str = ""

    __repr__ = shown

    def __post_init__(self) -> None:
        for name in RANGES:
            _require_in_range(name, getattr(self, name))
        if not self.frozen_epochs + self.epochs:
            raise ProbeError("frozen_epochs = epochs = 0; nothing would be trained")
        for name in ("dropout", "layerdrop"):
            if not 0 <= getattr(self, name) < 1:
                raise ProbeError(f"{name} = {getattr(self, name)}; 0 <= {name} < 1")
        if self.select not in SELECT or self.layers not in LAYERS:
            raise ProbeError(
                f"select = {self.select!r} of {SELECT}, layers = {self.layers!r} of {LAYERS}"
            )
        chosen = [name for name in ("last_k", "lora_rank", "bitfit") if getattr(self, name)]
        if len(chosen) > 1 or (chosen and self.train_convolutions):
            raise ProbeError(
                f"{' and '.join(chosen + ['train_convolutions'] * self.train_convolutions)}: "
                "choose one"
            )

    @property
    def fields(self) -> dict[str, Any]:
        """Return every field, and the mark by which the leaderboard knows models that were
        fine-tuned.
        """
        return super().fields | {"finetune": True}


@dataclass(frozen=True)
class RecipeProtocol(_Hashed):
    """Train a supervised baseline as its authors did: the recipe is its own and stands in the
    result.

    ``epochs`` (of each stage, at most where the recipe stops early) and ``batch_size`` take the
    place of the recipe's; 0 for neither. A recipe's epochs are of the dataset it was published
    with: a smaller one needs more.
    """

    name: str = "recipe"
    epochs: int = 0
    batch_size: int = 0
    seeds: int = 3

    __repr__ = shown

    def __post_init__(self) -> None:
        _require_in_range("epochs", self.epochs)
        _require_in_range("seeds", self.seeds)
        if self.batch_size:
            _require_in_range("batch_size", self.batch_size)


# What the code released with Yamamoto 2023 does in truth: its helper that freezes is never called,
# and its default takes the last layer. (It also leaves layerdrop and SpecAugment as a checkpoint's
# config.json has them: not here.)
_RELEASED = FinetuneProtocol(
    name="released-code",
    frozen_epochs=0,
    epochs=10,
    train_convolutions=True,
    layers="last",
    encoder_learning_rate=3e-4,
    select="last",
)
PRESETS: dict[str, _Hashed] = {p.name: p for p in (FinetuneProtocol(), _RELEASED, RecipeProtocol())}


def preset(name: str, **changes: Any) -> FinetuneProtocol:
    """Return a preset of fine-tuning by its name, with fields changed.

    Raises ProbeError for a name that is none, and for a field that can't act beside the others.
    """
    protocol = PRESETS.get(name)
    if not isinstance(protocol, FinetuneProtocol):
        names = [n for n, p in PRESETS.items() if isinstance(p, FinetuneProtocol)]
        raise ProbeError(f"unknown protocol {name!r} of fine-tuning; {did_you_mean(name, names)}")
    changed = replace(protocol, **changes)
    for field, why in _idle(changed, changes):
        raise ProbeError(f"{field} = {changes[field]!r} changes nothing: {why}")
    return changed


def _idle(protocol: FinetuneProtocol, named: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield each named field that can't act, with why: who names one expects that it acts."""
    if not protocol.epochs:
        for field in _OF_SECOND_STAGE:
            if field in named:
                yield field, "epochs = 0 leaves out the stage that trains the transformer"
    if "mix_learning_rate" in named and protocol.layers == "last":
        yield "mix_learning_rate", f"preset {protocol.name} reads the last layer and weighs none"
    if "dropout" in named and protocol.dropout and not protocol.hidden:
        yield "dropout", "hidden = 0 has no units to drop; leave it out, or give hidden units"
