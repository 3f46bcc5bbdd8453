"""Draw results and features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import (
    MODEL,
    LocalPath,
    check_tasks,
    display_names,
    fail_for,
    features_option,
    names_option,
    results_option,
    selection_options,
    window_option,
)

if TYPE_CHECKING:
    from svuprobe.benchmarks.selection import Selection

KINDS = {
    "scores": "Draw the scores of all models, a panel per task, with both kinds of uncertainty.",
    "layer-weights": "Draw what the weighted sum weighs: models x layers, a panel per task.",
    "layer-curves": "Draw the score of a head on each single layer, a panel per model.",
    "data-efficiency": "Draw the score over the share of the training set, a line per model.",
}
out_option = click.option(
    "--out",
    type=LocalPath(),
    default="plots",
    show_default=True,
    help="Folder of pictures; or one picture's file, which ends in .pdf, .svg or .png.",
)


@click.group()
def plot() -> None:
    """Draw results, or a map of features: PNG, SVG and CSV, or one PDF."""


def _of_results(kind: str, words: str) -> click.Command:
    """Return the command that draws one kind of picture of results."""

    @click.command(kind, help=words)
    @results_option
    @selection_options()
    @out_option
    @output_options
    def command(results: Path, out: Path, selection: Selection, output: Output) -> None:
        from svuprobe import api

        problems: list[str] = []
        try:
            paths = api.plot(kind, results, out, selection=selection)
        except api.LeftOut as error:
            paths, problems = error.written, error.problems
        output.written(paths, problems)
        if problems:
            fail_for(problems)

    return command


for kind, words in KINDS.items():
    plot.add_command(_of_results(kind, words))


@plot.command("map")
@click.option("--task", metavar="TASK", required=True, help="Whose windows are the points.")
@click.option(
    "--model",
    "model_names",
    type=MODEL,
    multiple=True,
    help="Repeatable, a panel each; every model that has features.",
)
@click.option(
    "--layer",
    default="",
    metavar="NAME",
    help="By name or number; if not given, what a result says is best, else the last.",
)
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne"]),
    default="pca",
    show_default=True,
    help="PCA keeps distances as far as two axes can, t-SNE neighbours.",
)
@click.option(
    "--split",
    type=click.Choice(["test", "valid", "train", "all"]),
    default="test",
    show_default=True,
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=0,
    help="Of t-SNE, and of which windows are drawn where there are too many.",
)
@window_option
@names_option
@features_option
@results_option
@out_option
@output_options
def plot_map(
    task: str,
    model_names: tuple[str, ...],
    names: tuple[tuple[str, str], ...],
    features: Path | str,
    results: Path,
    out: Path,
    layer: str,
    method: str,
    split: str,
    seed: int,
    window_s: float | None,
    output: Output,
) -> None:
    """Draw windows of a task as points in two dimensions, coloured by label or value.

    From cached features, without audio.
    """
    from svuprobe import api

    check_tasks([task], features)
    options = api.MapOptions(
        layer=layer,
        method=method,
        split=split,
        seed=seed,
        window_s=window_s,
        names=display_names(names),
    )
    paths = api.plot_map(
        task,
        model_names,
        features=features,
        out=out,
        results=results,
        options=options,
        reporter=output.reporter,
    )
    output.written(paths)
