"""Say by which commands a result is made again, from what it holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from svuprobe.probe.finetune.protocol import PRESETS as FINETUNE_PRESETS
from svuprobe.probe.protocol import PRESETS, Protocol
from svuprobe.probe.protocol_fields import with_later_fields
from svuprobe.probe.results.result import ProtocolInfo

# Field of a protocol -> the option of svuprobe probe that sets it.
_OPTIONS = {
    "seeds": "--seeds",
    "learning_rates": "--learning-rate",
    "max_epochs": "--max-epochs",
    "hidden": "--hidden",
    "pooling": "--pooling",
    "search": "--search",
    "widen": "--widen",
    "train_fraction": "--train-fraction",
}
_FLAGS = {
    "single_layers": ("--single-layers", "--no-single-layers"),
    "shuffle_labels": ("--shuffle-labels", ""),
}


def extract_command(tasks: Sequence[str], models: Sequence[str], window_s: float | None) -> str:
    """Return the command line that makes the caches that results were made from."""
    words = ["svuprobe", "extract", *_named(tasks, models, window_s), "--data", "DATA"]
    return shlex.join(words)


def train_command(
    tasks: Sequence[str], models: Sequence[str], window_s: float | None, protocol: ProtocolInfo
) -> tuple[str, list[str]]:
    """Return the command line that trains heads or networks as results were.

    Returns
    -------
    command, others
        The line; and the fields that no option of it sets, as lines of a protocol's TOML file.
    """
    if protocol.name in FINETUNE_PRESETS:
        words = ["svuprobe", "finetune", *_named(tasks, models, window_s)]
        words += ["--preset", protocol.name, "--data", "DATA"]
        return shlex.join(words), _changed(protocol, FINETUNE_PRESETS[protocol.name].fields)
    known = protocol.name in PRESETS
    base = PRESETS[protocol.name] if known else Protocol()
    name = protocol.name if known else f"{protocol.name}.toml"
    words = ["svuprobe", "probe", *_named(tasks, models, window_s), "--protocol", name]
    others = []
    defaults = {each.name: getattr(base, each.name) for each in fields(base)}
    for field, value in with_later_fields(protocol.fields).items():
        value = tuple(value) if isinstance(value, list) else value
        if field == "name" or value == defaults.get(field):
            continue
        if not known or field not in {**_OPTIONS, **_FLAGS}:
            others.append(f"{field} = {value!r}")
        elif field in _FLAGS:
            words.append(_FLAGS[field][0 if value else 1])
        else:
            values = value if isinstance(value, tuple) else (value,)
            for each in values:
                words += [_OPTIONS[field], f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words), others


def _named(tasks: Sequence[str], models: Sequence[str], window_s: float | None) -> list[str]:
    words = []
    for task in tasks:
        words += ["--task", task]
    for model in models:
        words += ["--model", model]
    return words + ([] if window_s is None else ["--window", f"{window_s:g}"])


def _changed(protocol: ProtocolInfo, defaults: dict[str, Any]) -> list[str]:
    """Return the fields that are others than a preset's."""
    changed = []
    for field, value in protocol.fields.items():
        default = defaults.get(field)
        default = list(default) if isinstance(default, tuple) else default
        if field != "name" and value != default:
            changed.append(f"{field} = {value!r}")
    return changed
