"""Read the sizes of a network from a configuration, which is data from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from svuprobe.extractors.base import ExtractError

_MOST = 2**16  # of any size


def read_sizes(
    cls: type[Any], described: Mapping[str, Any], name: str, where: str = "config.json"
) -> dict[str, Any]:
    """Return those entries of a configuration that are fields of a dataclass.

    Parameters
    ----------
    cls
        A dataclass, whose defaults say the type of each field: whole or fractional numbers above
        zero, true or false, or as many of them in a list.
    described, where
        The configuration, and where it lies, for messages.
    name
        Of the model, for messages.

    Raises
    ------
    ExtractError
        For a value of another type, and for an absurd one.
    """
    values = {}
    for field in fields(cls):
        if field.name not in described:
            continue
        value = described[field.name]
        if not _fits(value, field.default):
            raise ExtractError(
                f"{name}: {where} describes no usable model: {field.name} is {value!r:.40}"
            )
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return values


def check_sizes(rules: Mapping[str, bool], name: str, where: str = "config.json") -> None:
    """Raise ExtractError with the first rule that isn't kept."""
    for rule, kept in rules.items():
        if not kept:
            raise ExtractError(f"{name}: {where} describes no usable model: {rule}")


def _fits(value: Any, default: Any) -> bool:
    """Return whether a value is of its default's type and in a possible range."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        listed = isinstance(value, (list, tuple)) and len(value) == len(default)
        return listed and all(map(_fits, value, default))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = isinstance(default, float) or isinstance(value, int)
    return number and whole and 0 < value <= _MOST
