"""Make the JSON of a result from its types and read it by them: what a key may hold stands once.

A file that was edited by hand, cut, or written by something else is found here, with the place that
is wrong, and nowhere later as a traceback. An unknown key is refused: whoever wrote it meant
something by it.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any

from svuprobe.probe.results.result import ProtocolInfo, Result


class ShapeError(ValueError):
    """Report a value that is not of its type; the message says where, and what it should be."""


# -- writing ---------------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    """Return the plain dictionaries, lists, texts and numbers of a result or a part of it.

    An optional key (one whose default is None) is left out where it is None. What is not finite
    becomes null, as JSON has no NaN.
    """
    if is_dataclass(value):
        body = {}
        for each in fields(value):
            part = getattr(value, each.name)
            if part is not None or each.default is not None:
                body[each.name] = to_json(part)
        return body
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- reading ---------------------------------------------------------------------------------------


def from_json(body: Any) -> Result:
    """Return the result of a JSON body.

    Raises
    ------
    ShapeError
        A key that is unknown or missing, a value of another type, or parts that contradict each
        other.
    """
    if not isinstance(body, dict):
        raise ShapeError("it is no mapping")
    # Of the whole file every key is needed that is not optional: one without is of an older layout.
    names = {each.name for each in fields(Result)}
    optional = {each.name for each in fields(Result) if each.default is None}
    wrong = sorted((set(body) - names) | (names - optional - set(body)))
    if wrong:
        raise ShapeError(f"unknown or missing key {wrong[0]!r}")
    result: Result = _read_fields(Result, body, "")
    _require_consistent(result)
    return result


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the type ``kind``; the place ``where`` is named in errors."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        _, is_right, words = arguments
        _require(isinstance(value, str) and bool(is_right(value)), f"{where} is no {words}")
        return value
    if origin in (types.UnionType, typing.Union):  # only with None
        return None if value is None else _read(arguments[0], value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is dict:
        _require(isinstance(value, dict), f"{where} is no mapping")
        return {key: _read(arguments[1], part, f"{where}.{key}") for key, part in value.items()}
    if is_dataclass(kind):
        return _read_fields(kind, value, f"{where}.")
    return _read_plain(kind, value, where)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """Return a JSON list as a tuple: of a fixed length, or of any where the type says ``...``."""
    _require(isinstance(value, list), f"{where} is no list")
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    _require(len(value) == len(kinds), f"{where} has {len(value)} values")
    return tuple(
        _read(kind, part, f"{where}[{n}]")
        for n, (kind, part) in enumerate(zip(kinds, value, strict=True))
    )


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    """Return a value of JSON's own types. A number may be an integer, and keeps being one."""
    # Python counts true as a 1; a result does not.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is bool:
        _require(isinstance(value, bool), f"{where} is neither true nor false")
    elif kind is str:
        _require(isinstance(value, str), f"{where} is no text")
    elif kind is int:
        # A counter beyond 2^62 is damage, and would overflow where counters are added.
        natural = number and isinstance(value, int) and 0 <= value < 1 << 62
        _require(natural, f"{where} is no whole number of at least 0")
    elif kind is float:
        # Beyond 1e300 a square overflows; a whole number may be too large for a float at all.
        finite = number and abs(value) < 1e300
        _require(finite, f"{where} is no number")
    return value  # Any: fields of protocols and what fine-tuning saw


def _require(right: bool, reason: str) -> None:
    if not right:
        raise ShapeError(reason)


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    """Return a dataclass from a mapping; ``where`` ends with a dot, or is empty for the whole
    file.
    """
    _require(isinstance(value, dict), f"{where[:-1]} is no mapping")
    known = _fields_of(kind)
    for key in value:
        _require(key in known, f"{where[:-1]} has an unknown key {key!r}")
    parts = {}
    for name, (each, field_kind) in known.items():
        if name in value:
            parts[name] = _read(field_kind, value[name], where + name)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ShapeError(f"{where[:-1]} lacks the key {name!r}")
    return kind(**parts)


@functools.cache
def _fields_of(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """Return a dataclass's fields with their types; looked up once, as boards read thousands."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {each.name: (each, hints[each.name]) for each in fields(kind)}


def _require_consistent(result: Result) -> None:
    """Raise ShapeError for parts of a result that contradict each other, or are empty against
    need.
    """
    task, names = result.task, set(result.model.layer_names)
    _require(bool(names), "model.layer_names has 0 values")
    for split in ("train", "valid", "test"):
        _require(split in task.splits, f"task.splits lacks the key {split!r}")
    if result.model.finetune is None:
        _require_probe_fields(result.protocol)
    for part, by_metric in (("scores", result.scores), ("chance", result.chance)):
        _require(task.ranked in by_metric, f"{part} lacks the ranked metric {task.ranked!r}")
    seeds = {len(score.per_seed) for score in result.scores.values()}
    _require(len(seeds) == 1, "scores are of different numbers of seeds")
    _require(0 not in seeds, f"scores.{task.ranked}.per_seed has 0 values")
    layered = (
        ("layer_curve", result.layer_curve),
        ("layer_ci95", result.layer_ci95),
        ("layer_drop", result.layer_drop),
    )
    for part, by_layer in layered:
        for name in by_layer:
            _require(name in names, f"{part} has a layer {name!r} that the model has not")
    for name, per_seed in (*result.layer_curve.items(), *result.layer_drop.items()):
        _require(len(per_seed) > 0, f"the scores of layer {name} have 0 values")
    for name in result.selected.layers:
        has_scores = name in result.layer_curve
        _require(has_scores, f"selected.layers has a layer {name!r} that layer_curve has not")
    weights = result.layer_weights
    if weights is None:
        return
    _require(len(weights.rms) > 0, "layer_weights.rms has 0 values")
    for key, matrix in (("softmax", weights.softmax), ("times_rms", weights.times_rms)):
        _require(len(matrix) > 0, f"layer_weights.{key} has 0 values")
        layers = {len(row) for row in matrix}
        same = layers == {len(result.model.layer_names)}
        _require(same, "layer_weights are of another number of layers than the model")


def _require_probe_fields(protocol: ProtocolInfo) -> None:
    """Raise ShapeError unless the fields that tables and pictures use are those of a probe's
    protocol.
    """
    kinds = {
        "seeds": int,
        "train_fraction": float,
        "shuffle_labels": bool,
    }
    for name, kind in kinds.items():
        _require(name in protocol.fields, f"protocol.fields lacks the key {name!r}")
        _read(kind, protocol.fields[name], f"protocol.fields.{name}")
    if protocol.head == "network":
        rates = protocol.fields.get("learning_rates")
        _require(rates is not None, "protocol.fields lacks the key 'learning_rates'")
        _read(tuple[float, ...], rates, "protocol.fields.learning_rates")
        _require(bool(rates), "protocol.fields.learning_rates has 0 values")
