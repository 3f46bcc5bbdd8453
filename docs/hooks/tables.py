"""Write the generated parts of the documentation as Markdown, from the code's own tables.

Each function of `PARTS` makes one part. A page names it in a comment, ``<!-- part: models -->``,
and `site.py` puts it there when the site is built, so no table on the site can be older than the
code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from cells import code, prose, table
from measured import coverage, encoders, scale

# -- models ----------------------------------------------------------------------------------------


def models() -> str:
    """Write a table for each group of models, and below it what each was trained on."""
    from svuprobe.cli import model_table
    from svuprobe.extractors.catalogue import CATALOGUE

    groups: dict[str, list[dict[str, Any]]] = {}
    for row in model_table.rows(list(CATALOGUE.values())):
        groups.setdefault(row["group"], []).append(row)
    parts = []
    for group in model_table.GROUPS:
        if group in groups:
            parts += [f"### {group[0].upper()}{group[1:]}", _models_of(groups[group])]
    return "\n\n".join(parts)


def _models_of(rows: Sequence[dict[str, Any]]) -> str:
    cells = []
    for row in rows:
        rate = "" if row["frame_rate"] is None else f"{row['frame_rate']:.3g}"
        cells.append(
            (
                f"[{code(row['name'])}](https://huggingface.co/{row['hub']})"
                if row["hub"]
                else code(row["name"]),
                _millions(row["parameters"]),
                f"{row['layers']} x {row['dim']}",
                f"{row['sample_rate'] / 1000:g}",
                rate,
                row["licence"],
                _heard(row["training_data"]),
                row["reference"],
            )
        )
    head = (
        "name", "weights", "layers x dim", "kHz", "frames/s", "licence", "trained on", "reference",
    )  # fmt: skip
    return table(head, cells)


def _millions(parameters: int | None) -> str:
    return f"{parameters / 1e6:,.3g} M" if parameters else "none"


def _heard(data: dict[str, Any] | None) -> str:
    """Return what a model was trained on, and which datasets of tasks are in it."""
    if data is None:
        return "nothing"
    hours = "unknown hours" if data["hours"] is None else f"{data['hours']:,g} h"
    text = f"{hours}: {data['sets']}"
    if data["holds"]:
        text += f"; **holds {', '.join(data['holds'])}**"
    if not data["published"]:
        text += "; may hold any, as its authors don't list it"
    elif data["may_hold"]:
        text += f"; may hold {', '.join(data['may_hold'])}"
    return text if data["read"] else f"{text} (unchecked)"


# -- tasks -----------------------------------------------------------------------------------------


def tasks() -> str:
    """Write a table of all tasks, then what each asks and where it departs from its paper."""
    import importlib

    from svuprobe.tasks import TABLE, load

    rows, notes = [], []
    described: dict[str, str] = {}  # module -> the first of its tasks
    for name, place in TABLE.items():
        task = load(name)
        clips = f"{sum(task.expected.values()):,}" if task.expected else ""
        window = "whole" if task.windowing.window_s is None else f"{task.windowing.window_s:g} s"
        rows.append(
            (
                f"[{code(name)}](#{name})", code(task.dataset), task.kind, code(task.metrics[0]),
                task.scored, window, clips, f"{task.hours:g}" if task.hours else "",
            )
        )  # fmt: skip
        module = importlib.import_module(place.split(":")[0])
        first = described.setdefault(module.__name__, name)
        about = prose(module.__doc__ or "")
        if first != name:
            about = f"See [{code(first)}](#{first}): the text there is about both."
        notes.append(
            f"### {name}\n\n{about}\n\n"
            f"Metrics: {', '.join(code(metric) for metric in task.metrics)}. "
            f"Version {task.version}. Licence of the data: {task.licence}. "
            f"Reference: {task.reference}."
        )
    head = ("task", "data", "kind", "ranked by", "scored per", "window", "clips", "hours")
    return "\n\n".join([table(head, rows), *notes])


def kinds() -> str:
    """Write the metrics of each kind of task."""
    from svuprobe.tasks import kinds as room

    rows = []
    for name in room.TABLE:
        kind = room.named(name)
        every = dict.fromkeys((*kind.metrics, *getattr(kind, "more_metrics", ())))
        metrics = ", ".join(code(metric) for metric in every)
        beside = ", ".join(code(suffix) for suffix in kind.sidecars)
        rows.append((code(name), metrics, beside))
    return table(("kind", "metrics", "file beside a recording in a folder"), rows)


def own_data_keys() -> str:
    """Write every key of the TOML file of a task on one's own data, with its rule."""
    from svuprobe.tasks.own.keys import KEYS

    rows = [(code(name), key.meaning, key.rule) for name, key in KEYS.items()]
    return table(("key", "what it is for", "it is"), rows)


def own_data_columns() -> str:
    """Write every column of a list of clips, and the names under which it is known."""
    from svuprobe.tasks.own import COLUMNS

    rows = []
    for name, column in COLUMNS.items():
        known = ", ".join(code(each) for each in column.names if each != name)
        rows.append((code(name), column.meaning, known, "needed" if column.needed else ""))
    return table(("column", "what it holds", "also called", ""), rows)


# -- protocols -------------------------------------------------------------------------------------


def protocols() -> str:
    """Write every field of every preset, and what the fields mean."""
    from svuprobe.probe.protocol import FOREIGN, PRESETS, Protocol

    rows: list[tuple[object, ...]] = []
    for field in fields(Protocol):
        if field.name != "name":
            # What a preset changes stands out; a field that its head hasn't got is left empty.
            default = _shown(field.default)
            cells = []
            for preset in PRESETS.values():
                value = _shown(getattr(preset, field.name))
                if field.name in FOREIGN[preset.head]:
                    value = ""
                elif field.name == "seeds":
                    value = str(preset.draws)
                cells.append(value if value in ("", default) else f"**{value}**")
            rows.append((code(field.name), *cells))
    rows.append(("hash", *(code(preset.hash) for preset in PRESETS.values())))
    meanings = []
    for names, meaning in _attributes(Protocol.__doc__ or ""):
        meanings.append(f"{', '.join(code(name) for name in names)}\n:   {meaning}")
    head = ("field", *(code(name) for name in PRESETS))
    return "\n\n".join([table(head, rows), "### What the fields mean", *meanings])


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each:g}" for each in value)
    return "yes" if value is True else "no" if value is False else str(value)


def _attributes(docstring: str) -> list[tuple[list[str], str]]:
    """Return the names and the text of each entry of a docstring's Attributes section."""
    from inspect import cleandoc

    text = cleandoc(docstring).partition("Attributes\n----------\n")[2]
    entries: list[tuple[list[str], str]] = []
    for block in re.split(r"\n(?=\S)", text):
        names, _, meaning = block.partition("\n")
        entries.append((names.split(", "), " ".join(prose(meaning).split())))
    return entries


def suites() -> str:
    """Write what the suites that come with svuprobe ask for."""
    from svuprobe.benchmarks import suite as reading

    rows = []
    for name in reading.shipped():
        suite = reading.load(name)
        asked = (suite.all_models, suite.tasks, suite.protocols)
        counts = [str(len(each)) for each in asked]
        rows.append((code(name), *counts, suite.description))
    return table(("suite", "models", "tasks", "protocols", "what it is"), rows)


# -- training --------------------------------------------------------------------------------------


def finetuning() -> str:
    """Write the fields of the presets of fine-tuning."""
    from svuprobe.probe.finetune.protocol import PRESETS, FinetuneProtocol

    # Supervised baselines are trained by recipes of their own.
    presets = [preset for preset in PRESETS.values() if isinstance(preset, FinetuneProtocol)]
    rows = []
    for field in fields(FinetuneProtocol):
        if field.name != "name":
            values = [_shown(getattr(preset, field.name)) for preset in presets]
            rows.append((code(field.name), *values))
    return table(("field", *(code(preset.name) for preset in presets)), rows)


def baselines() -> str:
    """Write what supervised baselines there are."""
    import importlib

    from svuprobe.probe.baselines import TABLE

    rows = []
    for name, place in TABLE.items():
        module, _, attribute = place.partition(":")
        found = getattr(importlib.import_module(f"svuprobe.probe.baselines.{module}"), attribute)
        rows.append((code(name), prose(found.__doc__ or "").split("\n\n")[0]))
    return table(("baseline", "what it is"), rows)


def recipes() -> str:
    """Write what recipes of pre-training there are."""
    from svuprobe.pretrain.presets import PRESETS

    rows = []
    for name, recipe in PRESETS.items():
        targets = ", ".join(recipe.targets) or "its own teacher"
        rows.append((code(name), recipe.objective, recipe.size, targets, f"{recipe.steps:,}"))
    return table(("recipe", "objective", "size", "targets", "steps"), rows)


# -- the command line ------------------------------------------------------------------------------


def commands() -> str:
    """Write every command with its arguments and options, as its ``--help`` has them."""
    import click

    from svuprobe.cli import main

    parts: list[str] = []
    with click.Context(main, info_name="svuprobe") as context:
        _command(main, context, 2, parts)
    return "\n\n".join(parts)


def _command(command: Any, context: Any, level: int, parts: list[str]) -> None:
    """Add a command's part, and those of the commands in it."""
    import click

    pieces = " ".join(command.collect_usage_pieces(context))
    parts.append(f"{'#' * level} {context.command_path}")
    parts.append(prose(click.unstyle(command.help or "")))
    parts.append(f"```text\n{context.command_path} {pieces}\n```")
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and "--help" not in parameter.opts:
            rows.append((code(record[0]), record[1]))
    if rows:
        parts.append(table(("option", "what it does"), rows))
    if command.epilog:
        parts.append(command.epilog)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.get_command(context, name)
        with click.Context(inner, info_name=name, parent=context) as below:
            _command(inner, below, min(level + 1, 4), parts)


PARTS: dict[str, Callable[[], str]] = {
    "models": models,
    "tasks": tasks,
    "kinds": kinds,
    "own-data-keys": own_data_keys,
    "own-data-columns": own_data_columns,
    "protocols": protocols,
    "suites": suites,
    "finetuning": finetuning,
    "baselines": baselines,
    "recipes": recipes,
    "coverage": coverage,
    "commands": commands,
    "scale": scale,
    "encoders": encoders,
}
