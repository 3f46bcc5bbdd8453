"""Probe: from caches to results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svuprobe._edge import warn
from svuprobe._machine import LEAST_MEMORY, MOST_MEMORY
from svuprobe._options import RATE, Checked, Number, whole
from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import (
    MODEL,
    check_tasks,
    device_option,
    display_names,
    features_option,
    names_option,
    results_option,
    window_option,
)
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import POOLINGS, RANGES
from svuprobe.probe.protocol_fields import SEARCHES

if TYPE_CHECKING:
    from svuprobe.api import Probed

PROTOCOL = Checked("protocol", lambda name: None if preset(name) else None)
OF_HEADS = whole(RANGES)


@click.command()
@click.option(
    "--task",
    "task_names",
    metavar="TASK",
    multiple=True,
    help="Repeatable, by name or file; every task that has features.",
)
@click.option(
    "--model",
    "model_names",
    type=MODEL,
    multiple=True,
    help="Repeatable; every model that has features.",
)
@features_option
@results_option
@window_option
@click.option(
    "--protocol",
    type=PROTOCOL,
    default="svuprobe",
    show_default=True,
    help="A preset (svuprobe protocols), or a TOML file.",
)
@click.option(
    "--seeds", type=OF_HEADS["seeds"], help="Instead of the protocol's; changes its hash."
)
@click.option(
    "--learning-rate", "rates", type=RATE, multiple=True, help="A grid of your own; repeatable."
)
@click.option(
    "--widen",
    type=OF_HEADS["widen"],
    help=(
        "Rates that may be tried beyond an edge of the grid while validation likes the outermost "
        "best; 0 for the grid as it is."
    ),
)
@click.option("--max-epochs", type=OF_HEADS["max_epochs"])
@click.option(
    "--hidden", type=OF_HEADS["hidden"], help="Units of the hidden layer, 0 for linear heads."
)
@click.option(
    "--single-layers/--no-single-layers", default=None, help="Whether to draw the layer curve."
)
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help=(
        "What heads read of a window's frames: mean, mean and deviation; and of a cache made with "
        "extract --frames: maximum, first frame, or a mean by weights that they learn."
    ),
)
@click.option(
    "--select",
    metavar="[sum|best|concat|mean|NUMBER]",
    help=(
        "What is ranked: the weighted sum, the best of all on validation, all layers one after the "
        "other, their mean, or one layer."
    ),
)
@click.option(
    "--search",
    type=click.Choice(SEARCHES),
    help=(
        "Train the whole grid of learning rates, or stop those that can no longer be chosen: in "
        "half the time."
    ),
)
@click.option(
    "--pca",
    type=OF_HEADS["pca"],
    help="Principal components that logistic and knn read; 0 for the features as they are.",
)
@click.option(
    "--train-fraction",
    "fractions",
    type=Number(0, 1, min_open=True),
    multiple=True,
    help=(
        "Learn from this share of the training clips; repeatable, smaller ones are within larger "
        "ones."
    ),
)
@click.option(
    "--shuffle-labels",
    is_flag=True,
    default=None,
    help="A control: deal the training targets anew.",
)
@click.option(
    "--memory",
    type=Number(LEAST_MEMORY / 2**30, MOST_MEMORY / 2**30),
    help="GiB of frames to hold; half of the free.",
)
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help=(
        "Of training's products; auto: bfloat16 for MLPs on a CPU that has it natively, TF32 on "
        "a GPU."
    ),
)
@click.option("--allow-missing", is_flag=True, help="Leave out clips that the cache lacks.")
@click.option("--overwrite", is_flag=True, help="Probe again where a result is there.")
@names_option
@output_options
def probe(
    task_names: tuple[str, ...],
    model_names: tuple[str, ...],
    features: Path | str,
    results: Path,
    protocol: str,
    device: str | None,
    dtype: str,
    allow_missing: bool,
    overwrite: bool,
    rates: tuple[float, ...],
    fractions: tuple[float, ...],
    memory: float | None,
    window_s: float | None,
    names: tuple[tuple[str, str], ...],
    output: Output,
    **fields: Any,
) -> None:
    """Train heads on cached features; select on validation, score the test split once.

    Options from --seeds to --shuffle-labels make of a preset another protocol, whose scores
    stand in a table of their own.
    """
    check_tasks(task_names, features)
    changes = {name: value for name, value in fields.items() if value is not None}
    if rates:
        changes["learning_rates"] = rates
    if fractions:
        # A share of the training set is a protocol of its own: results lie side by side.
        protocols = [preset(protocol, **changes, train_fraction=share) for share in fractions]
    else:
        protocols = [preset(protocol, **changes)]
    if protocols[0].head != "network" and dtype != "auto":
        raise click.UsageError(
            f"--dtype {dtype} changes nothing in head = {protocols[0].head!r}, which scikit-learn "
            "computes in float64; leave it out"
        )
    from svuprobe import api

    options = api.RunOptions(
        device=device,
        dtype=dtype,
        memory=None if memory is None else round(memory * 2**30),
        allow_missing=allow_missing,
        overwrite=overwrite,
        names=display_names(names),
        reporter=output.reporter,
    )
    problems: dict[str, None] = {}  # what several protocols meet is said once
    probed: list[Probed] = []
    for each in protocols:
        try:
            probed += api.probe(
                task_names,
                model_names,
                features=features,
                results=results,
                protocol=each,
                window_s=window_s,
                options=options,
            )
        except api.PartlyDone as error:
            probed += error.done
            problems |= dict.fromkeys(error.problems)
    output.results([(each.result, each.path) for each in probed], list(problems))
    if len(problems) == 1:
        raise click.ClickException(next(iter(problems)))
    if problems:
        for problem in problems:
            warn(f"  {problem}")
        raise click.ClickException(
            f"{len(problems)} could not be probed, as listed above; the others are done"
        )
