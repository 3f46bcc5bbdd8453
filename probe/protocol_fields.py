"""Say which values the fields of a protocol may have, and refuse others in one line."""

from __future__ import annotations

from typing import Any

from svuprobe._errors import UserError


class ProbeError(UserError):
    """Report a probe that can't be run as asked, in one line for the user."""


POOLINGS = ("mean", "mean_std", "attention")
CHOICES = {
    "mix_layers": ("all", "blocks"),
    "mix_start": ("zeros", "normal"),
    "start": ("zeros", "torch"),
    "ties": ("last", "first"),
    "select": ("sum", "best"),
    "stopping": ("own", "marble"),
    "pooling": POOLINGS,
}
MOST_RATE = 1000.0  # of learning
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
}
_MOST_RATES = 100
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


def require_rates(rates: tuple[float, ...]) -> None:
    """Raise ProbeError for a grid that can't be trained: a rate not positive, or there twice."""
    if not 1 <= len(rates) <= _MOST_RATES:
        raise ProbeError(f"learning_rates has {len(rates)} values; it has from 1 to {_MOST_RATES}")
    for rate in rates:
        require_type("learning_rates", rate, "float")
        if not 0 < rate <= MOST_RATE:  # NaN is in no range
            raise ProbeError(
                f"learning_rates = {rate!r}; each is a number greater than 0, at most {MOST_RATE:g}"
            )
    # Twice the same rate would win twice, and change the middle of the grid.
    if len(set(rates)) < len(rates):
        raise ProbeError(
            f"learning_rates = {', '.join(f'{r:g}' for r in rates)}; each stands there once"
        )
