"""Say how heads are trained and chosen: presets are published protocols, hashes are of every field.

`svuprobe.probe.asked_protocol` finds one by its name, or reads it from a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from svuprobe._show import shown
from svuprobe.probe.marble import MARBLE_STOPPING
from svuprobe.probe.protocol_fields import (
    CHOICES,
    FOREIGN,
    FRAME_POOLINGS,
    GRIDS,
    POOLINGS,
    RANGES,
    ProbeError,
    require_choice,
    require_grid,
    require_own_fields,
    require_range,
    require_selection,
    require_type,
    stored_fields,
    with_later_fields,
)

__all__ = ["FOREIGN", "FRAME_POOLINGS", "POOLINGS", "PRESETS", "RANGES", "ProbeError", "Protocol"]


@dataclass(frozen=True)
class Protocol:
    """Hold all that heads are trained and chosen by; the defaults are the preset ``svuprobe``.

    Attributes
    ----------
    hidden
        Units of the hidden layer (Linear, ReLU, dropout, Linear); 0 for one Linear.
    standardize
        Subtract each feature's mean over the training set and divide by a scale, so that neither
        the mixing weights trade off against the layers' scale nor learning against loud features.
    own_scale
        The power of a feature's own deviation in its scale; the rest is its layer's. 1 gives every
        feature of a layer deviation 1, 0 keeps how loud they are among each other. Some of that is
        worth keeping: over ten sets, the hand-made front ends and four splits, linear heads at 0.75
        were 0.3 points below a regression whose scaling is chosen on validation, at 1 they were 1.6
        below.
    start
        Weights of the outputs at the start: ``zeros``, as logistic regression's, or random as
        ``torch`` draws them.
    mix_layers, mix_start
        The weighted sum is over ``all`` layers or over the ``blocks`` (without the first layer,
        their input); its weights are a softmax over scalars that start at ``zeros`` or ``normal``
        (standard normal).
    mix_learning_rate
        Of these scalars; 0 gives them the head's.
    learning_rates
        The grid.
    margin
        Clips (windows, where these are scored) of validation by which a rate has to win over one
        nearer to the middle of the grid; 0 takes the best whatever it wins by.
    single_layers
        Also train a head on each single layer, for the layer curve.
    select
        What is ranked, at its best setting on validation: the weighted ``sum``; the ``best`` of all
        that there is; all layers one after the other (``concat``); their plain ``mean``; or the
        layer with a number, counted from 0. Heads of scikit-learn have no sum: their best is of the
        single layers, the mean and the concatenation.
    batch_size, batch_clips, frame_batch_size
        Per step: windows at clip level, or clips with all their windows (``batch_clips``); windows
        at frame level (8, as Gu et al. 2022 take for transcription).
    epoch_updates
        Updates in an epoch at least: a small training set is gone through several times between two
        looks at validation.
    max_epochs, patience
        Epochs at most, and without a better validation score until a head stops; its best state is
        kept. The score is the ranked metric at clip level and the loss at frame level, where
        decoding every head in every epoch would cost more than training; the grid point is always
        chosen by the ranked metric.
    ties
        Which of the states of a head with the same score on validation is kept, the ``last`` or the
        ``first``. A small split gives the same accuracy again and again while a head still learns
        from the training set.
    plateau_patience, plateau_factor
        Epochs without a better score until a head's learning rate is multiplied; factor 1 never
        changes it.
    stopping
        ``own``, or ``marble``: on the tasks that MARBLE has, its table replaces ``max_epochs``,
        ``patience`` and ``plateau_patience`` (see `for_task`).
    seeds
        Heads of every grid point, which differ in their start, order of batches and dropout; and in
        what they learn from where clips or targets are dealt. Heads of scikit-learn differ in
        nothing else, so there is one where nothing is dealt.
    train_fraction
        Share of the training clips to learn from, drawn anew for each seed; smaller ones are nested
        in larger ones, and every class keeps its share and one clip at least.
    shuffle_labels
        A control: the targets of the training clips are dealt anew among them for each seed, and
        those of the validation clips, so what is learnt and chosen is chance.
    pooling
        What a head reads of the frames of a window at clip level: their ``mean``, as papers have
        it; ``mean_std``, the mean and after it the deviation of each feature, each scaled by
        itself, while a layer has one weight in the weighted sum for both; their ``max``, feature by
        feature; the ``first`` frame; or ``attention``, a mean weighted by the softmax of a query
        that each head learns (`svuprobe.probe.training.attention`). The last three need a cache of
        frames (``svuprobe extract --frames``).
    head
        A ``network``, which is trained by gradient descent; or one of scikit-learn's: ``logistic``
        regression, which is ridge regression where targets are values, or the nearest neighbours,
        ``knn`` (`svuprobe.probe.classic`).
    strengths
        Of ``logistic``: the grid of C, the inverse of the regularisation; ridge's alpha is 1 / C.
    neighbours
        Of ``knn``: the grid of how many are asked; each is tried by Euclidean distance and cosine.
    pca
        Of ``logistic`` and ``knn``: the principal components of the training rows that are kept of
        what a head reads; 0 keeps it as it is.
    search
        The whole ``grid`` of learning rates trains to its end, or rates that a layer's validation
        can no longer choose stop early: ``halving`` (`svuprobe.probe.training.rates`).
    widen
        Rates (strengths) that may be tried beyond each edge of the grid, one after the other, as
        long as validation likes the outermost best (`svuprobe.probe.widening`).
    """

    name: str = "svuprobe"
    hidden: int = 512
    dropout: float = 0.2
    standardize: bool = True
    own_scale: float = 0.75
    start: str = "zeros"
    mix_layers: str = "all"
    mix_start: str = "zeros"
    mix_learning_rate: float = 1e-2
    learning_rates: tuple[float, ...] = (5e-4, 2e-3, 1e-2, 5e-2, 2e-1)
    margin: float = 2.0
    single_layers: bool = True
    select: str = "sum"
    batch_size: int = 64
    epoch_updates: int = 15
    batch_clips: bool = False
    frame_batch_size: int = 8
    max_epochs: int = 100
    patience: int = 10
    ties: str = "last"
    plateau_patience: int = 4
    plateau_factor: float = 0.5
    stopping: str = "own"
    seeds: int = 5
    train_fraction: float = 1.0
    shuffle_labels: bool = False
    pooling: str = "mean"
    head: str = "network"
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    neighbours: tuple[float, ...] = (1.0, 3.0, 5.0, 10.0, 20.0, 50.0)
    pca: int = 0
    search: str = "grid"
    widen: int = 2

    __repr__ = shown

    def __post_init__(self) -> None:
        # A TOML file may hold anything.
        for field in fields(self):
            require_type(field.name, getattr(self, field.name), str(field.type))
        if not re.fullmatch(r"[\w-][\w.-]{0,99}", self.name):
            raise ProbeError(
                f"name = {self.name!r}; it is part of a file's name: at most 100 letters, digits, "
                "'_', '-' and, but for the first, '.'"
            )
        for name in RANGES:
            require_range(name, getattr(self, name))
        for name in CHOICES:
            require_choice(name, getattr(self, name))
        for name in GRIDS:
            require_grid(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ProbeError(f"dropout = {self.dropout}; 0 <= dropout < 1")
        if not 0 < self.train_fraction <= 1:
            raise ProbeError(f"train_fraction = {self.train_fraction}; 0 < train_fraction <= 1")
        require_selection(self.head, self.select, self.single_layers, self.pooling)
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        require_own_fields(self.head, changed)

    @property
    def deals(self) -> bool:
        """Return whether every seed learns from clips or targets of its own."""
        return self.shuffle_labels or self.train_fraction < 1

    @property
    def grid(self) -> tuple[float, ...]:
        """Return the learning rates, or the strengths of ``logistic``, that are tried."""
        return self.learning_rates if self.head == "network" else self.strengths

    def level(self, task_level: str) -> str:
        """Return the level of the cache that heads for a task of a level read."""
        return "frame" if self.pooling in FRAME_POOLINGS else task_level

    @property
    def draws(self) -> int:
        """Return how many heads there are of every grid point."""
        return self.seeds if self.head == "network" or self.deals else 1

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the head, as results store them."""
        return stored_fields(asdict(self) | {"seeds": self.draws})

    @property
    def hash(self) -> str:
        """Return a digest over every field by name; different hashes never share a table."""
        return hashlib.sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Return ``svuprobe`` for a preset as published, ``svuprobe-1a2b3c4d`` where a field was
        changed.

        What is done to the training set, pooling, chosen layers and the search are spelt out:
        ``svuprobe-train0.05-1a2b3c4d``, ``svuprobe-shuffled-...``, ``svuprobe-concat-...``.
        """
        published = PRESETS.get(self.name)
        if published is not None and self.hash == published.hash:
            return self.name
        share = f"-train{self.train_fraction:g}" if self.train_fraction < 1 else ""
        shuffled = "-shuffled" if self.shuffle_labels else ""
        pooled = f"-{self.pooling}" if self.pooling != "mean" else ""
        pooled += f"-pca{self.pca}" if self.pca else ""
        if self.select not in ("sum", "best"):
            pooled += f"-{'layer' * self.select.isdigit()}{self.select}"
        pooled += f"-{self.search}" if self.search != "grid" else ""
        return f"{self.name}{pooled}{share}{shuffled}-{self.hash[:8]}"

    def for_task(self, task: str) -> Protocol:
        """Return the protocol as trained on a task, by MARBLE's table if it stops by that."""
        if self.stopping == "own" or task not in MARBLE_STOPPING:
            return self
        max_epochs, plateau, patience = MARBLE_STOPPING[task]
        # torch acts in the epoch after the last that it bears, this project counts that one, too.
        return replace(self, max_epochs=max_epochs, plateau_patience=plateau + 1, patience=patience)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Protocol:
        """Read a protocol from JSON."""
        read: dict[str, Any] = {}
        for name, value in with_later_fields(values).items():
            read[name] = tuple(value) if isinstance(value, list) else value
        return cls(**read)


# Ma et al. 2023: MLP of 512, softmax over 13 raw states, one learning rate for all.
_MA2023 = Protocol(
    name="ma2023",
    dropout=0.0,
    standardize=False,
    start="torch",
    epoch_updates=1,
    mix_learning_rate=0.0,
    learning_rates=(1e-3,),
    margin=0.0,
    ties="first",
    plateau_factor=1.0,
    widen=0,
)
# MARBLE (Yuan et al. 2023): batches of 64 files, softmax
# over the 12 blocks, the best of it and of 13 single layers.
_MARBLE = Protocol(
    name="marble",
    standardize=False,
    start="torch",
    epoch_updates=1,
    mix_layers="blocks",
    mix_start="normal",
    learning_rates=(5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2),
    margin=0.0,
    ties="first",
    mix_learning_rate=0.0,
    select="best",
    batch_clips=True,
    frame_batch_size=64,
    stopping="marble",
    seeds=1,
    widen=0,
)
# Linear heads want larger steps than an MLP.
_LINEAR = Protocol(
    name="linear", hidden=0, dropout=0.0, learning_rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
)
# scikit-learn's, on features of deviation 1; the layer is chosen on validation.
_LOGISTIC = Protocol(name="logistic", head="logistic", own_scale=1.0, select="best")
_KNN = Protocol(name="knn", head="knn", own_scale=1.0, select="best")
PRESETS = {p.name: p for p in (Protocol(), _LINEAR, _MA2023, _MARBLE, _LOGISTIC, _KNN)}
