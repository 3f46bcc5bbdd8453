"""Say by which commands a result is made again, from what it holds."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import asdict
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
    changed = changed_fields(protocol)
    if protocol.name in FINETUNE_PRESETS:
        words = ["svuprobe", "finetune", *_named(tasks, models, window_s)]
        words += ["--preset", protocol.name, "--data", "DATA"]
        return shlex.join(words), [f"{field} = {value!r}" for field, value in changed.items()]
    known = protocol.name in PRESETS
    name = protocol.name if known else f"{protocol.name}.toml"
    words = ["svuprobe", "probe", *_named(tasks, models, window_s), "--protocol", name]
    others = []
    for field, value in changed.items():
        if not known or field not in {**_OPTIONS, **_FLAGS}:
            others.append(f"{field} = {value!r}")
        elif field in _FLAGS:
            words.append(_FLAGS[field][0 if value else 1])
        else:
            values = value if isinstance(value, list) else [value]
            for each in values:
                words += [_OPTIONS[field], f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words), others


def changed_fields(protocol: ProtocolInfo) -> dict[str, Any]:
    """Return the fields, by name, that are others than those of the preset that a protocol is
    called after; than those of the default where no preset has its name.
    """
    if protocol.name in FINETUNE_PRESETS:
        stored, defaults = protocol.fields, FINETUNE_PRESETS[protocol.name].fields
    else:
        base = PRESETS.get(protocol.name, Protocol())
        stored, defaults = with_later_fields(protocol.fields), asdict(base) | {"seeds": base.draws}
    plain = {field: _plain(value) for field, value in stored.items() if field != "name"}
    return {field: value for field, value in plain.items() if value != _plain(defaults.get(field))}


def changes(protocol: ProtocolInfo, said: Collection[str] = ()) -> str:
    """Say what options changed in a preset, as ``search = halving, widen = 4``, but for the fields
    that are ``said`` elsewhere; an empty string for one as published, and for a protocol with a
    name of its own.
    """
    if protocol.name not in PRESETS and protocol.name not in FINETUNE_PRESETS:
        return ""
    changed = {f: value for f, value in changed_fields(protocol).items() if f not in said}
    return ", ".join(f"{field} = {_words(value)}" for field, value in changed.items())


def _named(tasks: Sequence[str], models: Sequence[str], window_s: float | None) -> list[str]:
    words = []
    for task in tasks:
        words += ["--task", task]
    for model in models:
        words += ["--model", model]
    return words + ([] if window_s is None else ["--window", f"{window_s:g}"])


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _words(value: Any) -> str:
    """Return a field's value as a table says it."""
    if isinstance(value, list):
        return " ".join(map(_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
