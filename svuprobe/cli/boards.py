"""Write leaderboards and pictures of results."""

from __future__ import annotations

from pathlib import Path

import click

from svuprobe._edge import echo, say
from svuprobe.cli.shared import FOLDER, fail_for, results_option


@click.command()
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="leaderboard.md",
    show_default=True,
)
@click.option(
    "--check", is_flag=True, help="Write nothing; fail if the file is not what the results say."
)
def leaderboard(results: Path, out: Path, check: bool) -> None:
    """Write leaderboard.md from the result files, with CSV and JSON beside it."""
    from svuprobe import api

    try:
        api.leaderboard(results, out, check=check)
    except api.LeftOut as error:
        if not check:
            echo(f"{out}: written without what is listed below")
        fail_for(error.problems)
    echo(f"{out}: {'up to date' if check else 'written'}")


@click.command()
@click.argument(
    "kind", type=click.Choice(["scores", "layer-weights", "layer-curves", "data-efficiency"])
)
@results_option
@click.option("--out", type=FOLDER, default="plots", show_default=True)
def plot(kind: str, results: Path, out: Path) -> None:
    """Draw scores, layer weights, layer curves or scores over training data: PNG, SVG and CSV."""
    from svuprobe import api

    problems: list[str] = []
    try:
        paths = api.plot(kind, results, out)
    except api.LeftOut as error:
        paths, problems = error.written, error.problems
    for path in paths:
        say(path)
    if problems:
        fail_for(problems)


@click.command()
@results_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["csv", "latex", "json", "mteb", "model-index", "eval-results"]),
    required=True,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file; a folder for mteb, model-index and eval-results.",
)
@click.option(
    "--spread",
    type=click.Choice(["std", "interval", "none"]),
    default="std",
    show_default=True,
    help="Beside the scores of a LaTeX table.",
)
@click.option(
    "--hub-dataset",
    default="",
    metavar="ORG/NAME",
    help="The benchmark's repository, which eval-results has to name.",
)
def export(results: Path, style: str, out: Path, spread: str, hub_dataset: str) -> None:
    """Write results for a paper, a model card, pandas or another benchmark."""
    from svuprobe import api

    problems: list[str] = []
    options = api.ExportOptions(spread=spread, hub_dataset=hub_dataset)
    try:
        paths = api.export(style, results, out, options=options)
    except api.LeftOut as error:
        paths, problems = error.written, error.problems
    for path in paths:
        say(path)
    if problems:
        fail_for(problems)
