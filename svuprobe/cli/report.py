"""Write the page of all results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from svuprobe.cli.output import Output, files_document, output_options
from svuprobe.cli.shared import (
    FOLDER,
    data_of,
    fail_for,
    features_option,
    results_option,
    selection_options,
)

if TYPE_CHECKING:
    from svuprobe.benchmarks.selection import Selection


@click.command()
@results_option
@selection_options()
@click.option("--out", type=FOLDER, default="report", show_default=True)
@features_option
@click.option(
    "--data",
    "where",
    multiple=True,
    envvar="SVUPROBE_DATA",
    help="The folder that holds the datasets, or DATASET=PATH; repeatable.",
)
@click.option(
    "--audio",
    type=click.Choice(["none", "links", "copies"]),
    default="none",
    show_default=True,
    help="Clips to listen to: links to where they lie, or copies beside the page.",
)
@output_options
def report(
    results: Path,
    out: Path,
    features: Path | str,
    where: tuple[str, ...],
    audio: str,
    selection: Selection,
    output: Output,
) -> None:
    """Write a page of all results that opens in a browser from the disk: OUT/index.html.

    Leaderboards that sort and filter, layer curves, scores of each label, the clips that most
    models get wrong, what models were trained on, costs, commands and licences.
    """
    from svuprobe import api

    problems: list[str] = []
    data = data_of(where) if where else None
    try:
        path = api.report(
            results, out, features=features, data=data, audio=audio, selection=selection
        )
    except api.LeftOut as error:
        (path,), problems = error.written, error.problems
    output.say(f"{path}: written; open it in a browser")
    output.document(files_document([path], problems))
    if problems:
        fail_for(problems)
