"""Write leaderboards and pictures of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from svuprobe._edge import echo
from svuprobe.cli.output import Output, files_document, output_options
from svuprobe.cli.shared import (
    LocalPath,
    fail_for,
    json_option,
    results_option,
    selection_options,
    show_table,
    was_given,
)
from svuprobe.cli.table import Column, shortened, terminal_width

if TYPE_CHECKING:
    from svuprobe.benchmarks.pairwise import Difference
    from svuprobe.benchmarks.selection import Selection

_LONGEST_HEAD = 16


@click.command()
@results_option
@selection_options()
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    default="leaderboard.md",
    show_default=True,
)
@click.option(
    "--check", is_flag=True, help="Write nothing; fail if the file is not what the results say."
)
@output_options
def leaderboard(
    results: Path, out: Path, check: bool, selection: Selection, output: Output
) -> None:
    """Write leaderboard.md from the result files, with CSV and JSON beside it."""
    from svuprobe import api

    try:
        api.leaderboard(results, out, check=check, selection=selection)
    except api.LeftOut as error:
        if not check:
            output.say(f"{out}: written without what is listed below")
        output.document(files_document(error.written, error.problems))
        fail_for(error.problems)
    output.say(f"{out}: {'up to date' if check else 'written'}")
    beside = [out.with_suffix(suffix) for suffix in (".csv", ".json")]
    output.document(files_document([] if check else [out, *beside]))


@click.command()
@results_option
@selection_options()
@click.option(
    "--format",
    "style",
    type=click.Choice(["csv", "labels", "latex", "json", "mteb", "model-index", "eval-results"]),
    required=True,
)
@click.option(
    "--out",
    type=LocalPath(),
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
@output_options
def export(
    results: Path,
    style: str,
    out: Path,
    spread: str,
    hub_dataset: str,
    selection: Selection,
    output: Output,
) -> None:
    """Write results for a paper, a model card, pandas or another benchmark.

    ``csv`` has a line for each score, ``labels`` for each class, tag or target alone.
    """
    for option, of in (("spread", "latex"), ("hub_dataset", "eval-results")):
        if was_given(option) and style != of:
            raise click.UsageError(
                f"--{option.replace('_', '-')} changes nothing in --format {style}; it is of {of}"
            )
    from svuprobe import api

    problems: list[str] = []
    options = api.ExportOptions(spread=spread, hub_dataset=hub_dataset)
    try:
        paths = api.export(style, results, out, options=options, selection=selection)
    except api.LeftOut as error:
        paths, problems = error.written, error.problems
    output.written(paths, problems)
    if problems:
        fail_for(problems)


@click.command()
@click.argument("first")
@click.argument("second")
@results_option
@selection_options(models=False)
@json_option
def compare(first: str, second: str, results: Path, as_json: bool, selection: Selection) -> None:
    """Say on which tasks the model FIRST beats SECOND: difference, interval and p-value.

    Both see the same test clips: a paired bootstrap over their groups and over seeds, corrected by
    Holm over all rows.
    """
    if first == second:
        raise click.UsageError(f"name two models, not {first} twice")
    from svuprobe import api

    rows, problems = api.compare(first, second, results, selection=selection)
    if as_json:
        echo(json.dumps([asdict(row) for row in rows], indent=1))
    elif rows:
        # Names of models head columns of numbers, which would be as wide.
        heads = shortened([first, second], _LONGEST_HEAD) if terminal_width() else [first, second]
        protocols = list(dict.fromkeys(row.protocol for row in rows))
        columns = [
            Column("task", least=14),
            *([Column("protocol", least=8)] if len(protocols) > 1 else []),
            Column(heads[0], right=True, dropped=2),
            Column(heads[1], right=True, dropped=2),
            Column("difference", right=True),
            Column("95 % interval", dropped=1),
            Column("p (Holm)", right=True),
        ]
        show_table([_compared(row, heads) for row in rows], columns, as_json=False)
        if len(protocols) == 1:
            echo(f"Protocol {protocols[0]}.")
        for caveat in dict.fromkeys(row.caveat for row in rows if row.caveat):
            echo(f"{caveat[0].upper()}{caveat[1:]}.")
    if problems:
        fail_for(problems)


def _compared(row: Difference, heads: Sequence[str]) -> dict[str, str]:
    """Return the cells of a comparison by their heads, in per cent where the metric is a share."""
    from svuprobe.benchmarks.leaderboard import number

    gap = number(row.metric, row.difference)
    interval = "unknown"
    if row.low is not None and row.high is not None:
        interval = f"{number(row.metric, row.low)} to {number(row.metric, row.high)}"
    return {
        "task": f"{row.task}{' (synthetic)' * row.synthetic}: {row.metric}",
        "protocol": row.protocol,
        heads[0]: number(row.metric, row.first),
        heads[1]: number(row.metric, row.second),
        "difference": gap if gap.startswith("-") else f"+{gap}",
        "95 % interval": interval,
        "p (Holm)": "unknown" if row.p_holm is None else f"{row.p_holm:.3f}",
    }
