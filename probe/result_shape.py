"""The shape of a result's JSON: what each key holds, checked before anything relies on it.

A file that was edited by hand, cut, or written by something else is found here, with the place that is wrong, and
nowhere later as a traceback.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

# A check takes a value and where it stands, and says what is wrong with it, or nothing.
Check = Callable[[Any, str], str]


def _text(value: Any, where: str) -> str:
    return "" if isinstance(value, str) and value else f"{where} is no text"


def _flag(value: Any, where: str) -> str:
    return "" if isinstance(value, bool) else f"{where} is neither true nor false"


def _number(value: Any, where: str) -> str:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return "" if good and math.isfinite(value) else f"{where} is no number"


def _natural(value: Any, where: str) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
    return "" if good else f"{where} is no whole number of at least 0"


def _date(value: Any, where: str) -> str:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return f"{where} is no date"
    return ""


def _matching(pattern: str, words: str) -> Check:
    def check(value: Any, where: str) -> str:
        return "" if isinstance(value, str) and re.fullmatch(pattern, value) else f"{where} is no {words}"

    return check


def _optional(check: Check) -> Check:
    return lambda value, where: "" if value is None else check(value, where)


def _list(check: Check, length: int | None = None, least: int = 0) -> Check:
    def checked(value: Any, where: str) -> str:
        if not isinstance(value, list):
            return f"{where} is no list"
        if (length is not None and len(value) != length) or len(value) < least:
            return f"{where} has {len(value)} values"
        return next((said for n, one in enumerate(value) if (said := check(one, f"{where}[{n}]"))), "")

    return checked


def _each(check: Check) -> Check:
    """A mapping of any keys whose values are alike."""

    def checked(value: Any, where: str) -> str:
        if not isinstance(value, dict):
            return f"{where} is no mapping"
        return next((said for key, one in value.items() if (said := check(one, f"{where}.{key}"))), "")

    return checked


def _keys(**checks: Check) -> Check:
    """A mapping that has these keys, and perhaps others."""

    def checked(value: Any, where: str) -> str:
        if not isinstance(value, dict):
            return f"{where} is no mapping"
        for key, check in checks.items():
            if key not in value:
                return f"{where} lacks the key {key!r}"
            if said := check(value[key], f"{where}.{key}"):
                return said
        return ""

    return checked


_DIGEST = _matching(r"[0-9a-f]{1,128}", "digest")
_NAME = _matching(r"[^\x00-\x1f/\\]{1,300}", "name")
_INTERVAL = _optional(_list(_optional(_number), 2))
_PER_SEED = _list(_optional(_number), least=1)
_SCORE = _keys(per_seed=_PER_SEED, mean=_optional(_number), std=_optional(_number), ci95=_INTERVAL)
_CHOICE = _keys(layer=_text, learning_rate=_number, valid=_optional(_number))
_SPLIT = _keys(clips=_natural, windows=_natural, groups=_natural)
_MATRIX = _list(_list(_number, least=1), least=1)

_SHAPES: dict[str, Check] = {
    "task": _keys(
        name=_NAME,
        version=_natural,
        kind=_NAME,
        dataset=_NAME,
        synthetic=_flag,
        ranked=_NAME,
        scored=_matching("clip|window", "word of clip and window"),
        labels=_list(lambda value, where: "" if isinstance(value, str) else f"{where} is no text"),
        licence=_text,
        reference=_text,
        splits=_keys(train=_natural, valid=_natural, test=_natural),
        split_sha256=_DIGEST,
        target_sha256=_DIGEST,
        windowing=_text,
        class_weight_alpha=_number,
    ),
    "model": _keys(
        name=_text,
        revision=_NAME,
        digest=_text,
        parameters=_natural,
        dim=_natural,
        sample_rate=_number,
        frame_rate=_optional(_number),  # a baseline may answer for whole clips alone
        normalization=_text,
        dtype=_text,
        layer_names=_list(_text, least=1),
        control=_flag,
    ),
    "protocol": _keys(name=_NAME, hash=_DIGEST, fields=_each(lambda value, where: "")),
    "scores": _each(_SCORE),
    "chance": _each(_optional(_number)),
    "layer_weights": _keys(softmax=_MATRIX, times_rms=_MATRIX, rms=_list(_number, least=1)),
    "layer_curve": _each(_PER_SEED),
    "layer_ci95": _each(_INTERVAL),
    "layer_drop": _each(_PER_SEED),
    "selected": _keys(head=_CHOICE, layers=_each(_CHOICE)),
    "counts": _keys(train=_SPLIT, valid=_SPLIT, test=_SPLIT, missing=_natural),
    "timings": _each(_number),
    "environment": _each(_text),
    "date": _date,
    "identity": _each(_text),
    "files": _each(_DIGEST),
    "caveats": _list(_text),
}
_PROBE_FIELDS = _keys(
    seeds=_natural,
    learning_rates=_list(_number, least=1),
    train_fraction=_number,
    shuffle_labels=_flag,
)


def wrong_shape(body: dict[str, Any]) -> str:
    """Say what is wrong with the values of a result whose keys are right; an empty text where nothing is."""
    for key, check in _SHAPES.items():
        if said := check(body[key], key):
            return said
    if "finetune" not in body["model"] and (said := _PROBE_FIELDS(body["protocol"]["fields"], "protocol.fields")):
        return said
    return _inconsistent(body)


def _inconsistent(body: dict[str, Any]) -> str:
    """Say which parts of a result contradict each other."""
    task, names = body["task"], set(body["model"]["layer_names"])
    for part in ("scores", "chance"):
        if task["ranked"] not in body[part]:
            return f"{part} lacks the ranked metric {task['ranked']!r}"
    seeds = {len(score["per_seed"]) for score in body["scores"].values()}
    if len(seeds) > 1:
        return "scores are of different numbers of seeds"
    for part in ("layer_curve", "layer_ci95", "layer_drop"):
        if unknown := sorted(body[part].keys() - names):
            return f"{part} has a layer {unknown[0]!r} that the model has not"
    if unknown := sorted(body["selected"]["layers"].keys() - body["layer_curve"].keys()):
        return f"selected.layers has a layer {unknown[0]!r} that layer_curve has not"
    layers = len(body["model"]["layer_names"])
    if any(len(row) != layers for key in ("softmax", "times_rms") for row in body["layer_weights"][key]):
        return "layer_weights are of another number of layers than the model"
    return ""
