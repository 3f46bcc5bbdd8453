"""Pre-train: from recordings to a model of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from svuprobe._edge import TERMINAL
from svuprobe._machine import MOST_BATCH_S, MOST_JOBS, MOST_TIMEOUT_S
from svuprobe._options import Checked, Number
from svuprobe.cli.shared import FOLDER, device_option, refuse_timeout, track_option
from svuprobe.pretrain.options import WEIGHTS
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import CHOICES, RANGES, SPEEDS, Recipe, load_recipe

RECIPE = Checked("recipe", lambda name: load_recipe(name, PRESETS))
_MOST_STEPS = 1_000_000_000
_LISTS: dict[str, click.ParamType] = {"speeds": Number(*SPEEDS), "targets": click.STRING}


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of a recipe; what it means is in `svuprobe.pretrain.recipe`."""
    for field in reversed(fields(Recipe)):
        if field.name == "name":
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            option = click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None)
        elif field.name in _LISTS:
            # Repeated for several: --targets mfcc39:500 --targets chroma12:128.
            option = click.option(flag, field.name, type=_LISTS[field.name], multiple=True)
        else:
            option = click.option(flag, field.name, type=_type_of(field.name, field.default))
        command = option(command)
    return command


def _type_of(name: str, default: Any) -> click.ParamType:
    """Return the type of a field's option."""
    if name in CHOICES:
        return click.Choice(list(CHOICES[name]))
    if name not in RANGES:
        return click.STRING
    low, high = RANGES[name]
    if isinstance(default, int):
        return click.IntRange(int(low), int(high))
    return Number(low, high)


@click.command(epilog=f"Recipes: {', '.join(PRESETS)}, or a TOML file of your own.")
@click.argument("recipe", type=RECIPE)
@click.option(
    "--audio",
    "audio",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    required=True,
    help="Folder of sound files, or manifest (CSV with a column path); repeatable.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the model.")
@recipe_options
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
)
@click.option("--jobs", type=click.IntRange(0, MOST_JOBS), help="Decoding processes; 0 for none.")
@click.option(
    "--decode-timeout",
    "decode_timeout_s",
    type=Number(0, MOST_TIMEOUT_S, min_open=True),
    default=600.0,
    help="Seconds without a sign of a decoding process.",
)
@click.option(
    "--part-seconds",
    "part_s",
    type=Number(0, MOST_BATCH_S, min_open=True),
    help="Audio computed at once; a step of more is computed in parts.",
)
@click.option("--log-every", type=click.IntRange(1, _MOST_STEPS), default=50, help="Steps.")
@click.option("--save-every", type=click.IntRange(1, _MOST_STEPS), default=500, help="Steps.")
@click.option(
    "--keep-every",
    type=click.IntRange(0, _MOST_STEPS),
    default=0,
    help="Steps between models that are kept on the way.",
)
@click.option(
    "--weights-dtype",
    type=click.Choice(list(WEIGHTS)),
    default="float32",
    show_default=True,
    help="In which the model is stored.",
)
@click.option("--resume", is_flag=True, help="Go on where a run was interrupted.")
@track_option
def pretrain(recipe: str, audio: tuple[Path, ...], out: Path, **given: Any) -> None:
    """Pre-train a model on recordings without labels; several GPUs with accelerate launch.

    RECIPE is a preset or a TOML file; each of its fields is an option. The model's folder is used
    as hf:OUT by every other command.
    """
    refuse_timeout(given["jobs"])
    names = {field.name for field in fields(Recipe)}
    changes: dict[str, Any] = {}
    for name in list(given):
        if name in names:
            value = given.pop(name)
            if value is not None and value != ():
                changes[name] = value
    from svuprobe import api

    model = api.pretrain(
        recipe,
        audio,
        out=out,
        changes=changes,
        options=api.PretrainOptions(**given, reporter=TERMINAL),
    )
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    seen = model.seen
    TERMINAL.say(
        f"hf:{model.folder}: {seen.steps:,} steps, {seen.hours_seen:.1f} h of audio seen; "
        f"{', '.join(f'{name} {value:.3f}' for name, value in seen.losses.items())}"
    )
    TERMINAL.say(f"curve: {model.folder / 'run' / 'curve.png'} and .csv")
