"""Say which values the fields of a protocol may have, and refuse others in one line."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from svuprobe._errors import UserError


class ProbeError(UserError):
    """Report a probe that can't be run as asked, in one line for the user."""


POOLINGS = ("mean", "mean_std", "max", "first", "attention")
# Of what lies in a cache of frames alone.
FRAME_POOLINGS = ("max", "first", "attention")
HEADS = ("network", "logistic", "knn")
SEARCHES = ("grid", "halving")
# Halving looks at the rates after this epoch for the first time.
FIRST_LOOK = 7
# What a head may read of all layers; or the number of one layer.
SELECTIONS = ("sum", "best", "concat", "mean")
CHOICES = {
    "mix_layers": ("all", "blocks"),
    "mix_start": ("zeros", "normal"),
    "start": ("zeros", "torch"),
    "ties": ("last", "first"),
    "stopping": ("own", "marble"),
    "pooling": POOLINGS,
    "head": HEADS,
    "search": SEARCHES,
}
# Of learning. What is less moves nothing in single precision.
LEAST_RATE, MOST_RATE = 1e-12, 1000.0
# Least and most of the numbers. The most is far above any use: it ends typing errors, not memory.
RANGES = {
    "hidden": (0, 100_000),
    "own_scale": (0, 1),
    "mix_learning_rate": (0, MOST_RATE),
    "margin": (0, 1_000_000),
    "batch_size": (1, 1_000_000),
    "epoch_updates": (1, 1_000_000),
    "frame_batch_size": (1, 100_000),
    "max_epochs": (1, 1_000_000),
    "patience": (1, 1_000_000),
    "plateau_patience": (1, 1_000_000),
    "plateau_factor": (0, 1),
    "seeds": (1, 1000),
    "pca": (0, 100_000),
    "widen": (0, 20),
}
# Least and most of each value of a grid. Of strengths that is C, the inverse of the regularisation:
# below, weights are 0 to single precision.
GRIDS = {
    "learning_rates": (LEAST_RATE, MOST_RATE),
    "strengths": (1e-12, 1e6),
    "neighbours": (1, 1000),
}
_MOST_VALUES = 100  # of a grid
# Fields that only heads trained by gradient descent have, and fields that only the others have.
_OF_NETWORKS = (
    "hidden", "dropout", "start", "mix_layers", "mix_start", "mix_learning_rate", "learning_rates",
    "batch_size", "epoch_updates", "batch_clips", "frame_batch_size", "max_epochs", "patience",
    "ties", "plateau_patience", "plateau_factor", "stopping", "search",
)  # fmt: skip
FOREIGN = {
    "network": ("strengths", "neighbours", "pca"),
    "logistic": (*_OF_NETWORKS, "neighbours"),
    "knn": (*_OF_NETWORKS, "strengths", "widen"),
}
# Fields that came after results with a head were made, with the value that such results have: at it
# they are left out of what is hashed and stored, so that these are still those of the protocol.
_LATER: dict[str, dict[str, Any]] = {
    "network": {"pooling": "mean", "head": "network", "search": "grid", "widen": 0},
    "logistic": {"widen": 0},
    "knn": {},
}
WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
}


def require_type(name: str, value: Any, declared: str) -> None:
    """Raise ProbeError for a value that is not of its field's type; a whole number is a number."""
    accepted: tuple[type, ...] = {
        "int": (int,),
        "float": (float, int),
        "bool": (bool,),
        "str": (str,),
    }.get(declared, (tuple,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        raise ProbeError(f"{name} = {value!r}; it is {WANTED[accepted[0]]}")


def require_range(name: str, value: float) -> None:
    """Raise ProbeError for a number out of the range of its field."""
    low, high = RANGES[name]
    if not low <= value <= high:  # NaN is in no range
        raise ProbeError(f"{name} = {value!r}; it is from {low:,} to {high:,}")


def require_choice(name: str, value: str) -> None:
    """Raise ProbeError for a word that is none of its field's."""
    if value not in CHOICES[name]:
        raise ProbeError(f"{name} = {value!r}; it is one of {', '.join(CHOICES[name])}")


def require_grid(name: str, values: tuple[float, ...]) -> None:
    """Raise ProbeError for a grid that can't be tried: a value out of range, or there twice."""
    if not 1 <= len(values) <= _MOST_VALUES:
        raise ProbeError(f"{name} has {len(values)} values; it has from 1 to {_MOST_VALUES}")
    low, high = GRIDS[name]
    for value in values:
        require_type(name, value, "float")
        if not low <= value <= high:  # NaN is in no range
            raise ProbeError(f"{name} = {value!r}; each is from {low:g} to {high:,g}")
        if name == "neighbours" and value != round(value):
            raise ProbeError(f"{name} = {value!r}; each is a whole number")
    # Twice the same value would win twice, and change the middle of the grid.
    if len(set(values)) < len(values):
        raise ProbeError(f"{name} = {', '.join(f'{v:g}' for v in values)}; each stands there once")


def require_selection(head: str, select: str, single_layers: bool, pooling: str) -> None:
    """Raise ProbeError for a choice of layers that is none, or that a head can't make."""
    if not (select in SELECTIONS or re.fullmatch(r"\d{1,4}", select)):
        raise ProbeError(
            f"select = {select!r}; it is one of {', '.join(SELECTIONS)}, or the number of a layer"
        )
    if head == "network" and select == "mean":
        raise ProbeError(
            "select = 'mean' is of head = 'logistic' or 'knn'; a network has select = 'sum', whose "
            "weights start at the mean of layers"
        )
    if head != "network" and select == "sum":
        raise ProbeError(
            f"select = 'sum' needs weights that are learnt by gradient descent; head = {head!r} "
            "has best, concat, mean or the number of a layer"
        )
    if not single_layers and (select.isdigit() or select == "best"):
        raise ProbeError(
            f"select = {select!r} chooses among single layers; set single_layers = true"
        )
    if pooling == "attention" and (head != "network" or select == "concat"):
        raise ProbeError(
            "pooling = 'attention' is learnt by networks, a query for each layer or sum; take "
            "another pooling, or head = 'network' and select = 'sum'"
        )


def stored_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that results store: those of the head, without later ones that are as they
    were before.
    """
    head = values["head"]
    left_out = set(FOREIGN[head])
    left_out |= {name for name, before in _LATER[head].items() if values[name] == before}
    return {name: value for name, value in values.items() if name not in left_out}


def with_later_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored fields with those that `stored_fields` leaves out as they were before."""
    return _LATER.get(stored.get("head", "network"), {}) | dict(stored)


def require_own_fields(head: str, changed: Collection[str]) -> None:
    """Raise ProbeError for a field, among those that were changed, that a head hasn't got."""
    for name in FOREIGN[head]:
        if name in changed:
            others = [other for other in HEADS if name not in FOREIGN[other]]
            raise ProbeError(
                f"{name} is of head = {' or '.join(map(repr, others))}; head = {head!r} has none"
            )


def as_field(kind: type, value: Any, said: str) -> Any:
    """Return a TOML value as a field's type: whole numbers may stand for fractions, nothing else
    for others.
    """
    if kind is tuple and isinstance(value, list):
        return tuple(as_field(float, v, said) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ProbeError(f"{said}; it is {WANTED[kind]}")
    return value
