"""Say by which commands a result is made again, from what it holds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
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
        The line; and the fields that no option of it sets, as lines of a protocol's TOML file, or
        of fine-tuning as Python sets them.
    """
    changed = changed_fields(protocol)
    if protocol.name in FINETUNE_PRESETS:
        words = ["svuprobe", "finetune", *_named(tasks, models, window_s), "--data", "DATA"]
        options, others = _of_finetuning(protocol, changed)
        return shlex.join(words + options), others
    known = protocol.name in PRESETS
    name = protocol.name if known else f"{protocol.name}.toml"
    words = ["svuprobe", "probe", *_named(tasks, models, window_s), "--protocol", name]
    others = []
    for field, value in changed.items():
        if not known or field not in {**_OPTIONS, **_FLAGS}:
            others.append(toml_line(field, value))
        elif field in _FLAGS:
            words.append(_FLAGS[field][0 if value else 1])
        else:
            values = value if isinstance(value, list) else [value]
            for each in values:
                words += [_OPTIONS[field], f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words), others


def _of_finetuning(
    protocol: ProtocolInfo, changed: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return the options that make a protocol of fine-tuning of its preset, and the fields that
    have none.
    """
    # Baselines are trained by their recipes, which no preset changes.
    words = [] if protocol.name == "recipe" else ["--preset", protocol.name]
    others = []
    of_probe = ("start", "hidden", "relu", "dropout") if changed.get("start") else ()
    words += ["--from", "PROBE.json"] if of_probe else []
    for field, value in changed.items():
        # The one option sets both sizes of batches.
        if field in of_probe or (field == "frame_batch_size" and "batch_size" in changed):
            continue
        if field in ("layers", "relu", "frame_batch_size"):
            others.append(toml_line(field, value))
            continue
        words.append("--lora" if field == "lora_rank" else f"--{field.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return words, others


def toml_line(field: str, value: Any) -> str:
    """Return a field as a line of a protocol's TOML file; of what TOML can't say, a comment.

    >>> toml_line("standardize", True), toml_line("learning_rates", [1e-3, 0.1])
    ('standardize = true', 'learning_rates = [0.001, 0.1]')
    >>> toml_line("class_weight_alpha", None)
    "# class_weight_alpha: the task's"
    """
    return f"# {field}: the task's" if value is None else f"{field} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON writes text, true and false as TOML does, and numbers as Python.
    return json.dumps(value, ensure_ascii=False)


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


def changes(
    protocol: ProtocolInfo, said: Collection[str] = (), among: Sequence[ProtocolInfo] = ()
) -> str:
    """Say what options changed in a preset, as ``search = halving, widen = 4``, but for the fields
    that are ``said`` elsewhere; an empty string for one as published.

    Of a protocol with a name of its own, say the fields in which it differs from others of its name
    ``among`` some; an empty string where there is no other.
    """
    if protocol.name not in PRESETS and protocol.name not in FINETUNE_PRESETS:
        changed = _told_apart(protocol, among)
    else:
        changed = changed_fields(protocol)
    changed = {f: value for f, value in changed.items() if f not in said}
    return ", ".join(f"{field} = {_words(value)}" for field, value in changed.items())


def _told_apart(protocol: ProtocolInfo, among: Sequence[ProtocolInfo]) -> dict[str, Any]:
    """Return the fields of a protocol, by name, that others of its name have otherwise."""
    mine = with_later_fields(protocol.fields)
    differing: dict[str, Any] = {}
    for other in among:
        if other.name == protocol.name and other.hash != protocol.hash:
            theirs = with_later_fields(other.fields)
            # From another head the head tells it: what only one of both has says no more.
            same = mine.get("head") == theirs.get("head")
            names = [
                n
                for n in mine
                if (same or n in theirs) and _plain(mine[n]) != _plain(theirs.get(n))
            ]
            differing |= {name: _plain(mine[name]) for name in names}
    # In the order of the fields, whatever the others are.
    return {name: differing[name] for name in mine if name in differing}


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
