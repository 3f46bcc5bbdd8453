"""Write leaderboards and pictures of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
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
@click.argument("models", nargs=-1, metavar="[FIRST SECOND]")
@results_option
@selection_options(models=False)
@json_option
def compare(models: tuple[str, ...], results: Path, as_json: bool, selection: Selection) -> None:
    """Say on which tasks the model FIRST beats SECOND: difference, interval and p-value.

    Both see the same test clips: a paired bootstrap over their groups and over seeds, corrected by
    Holm over all rows.

    Of one model, or without any of all, two protocols are compared in the same way: svuprobe
    compare MODEL --protocol FIRST --protocol SECOND.
    """
    from svuprobe import api

    if len(set(models)) == 2 == len(models):
        rows, problems = api.compare(*models, results, selection=selection)
        heads = list(models)
    else:
        heads = _two_protocols(models, selection)
        rows, problems = api.compare_protocols(
            heads[0],
            heads[1],
            results,
            models=list(dict.fromkeys(models)),
            selection=replace(selection, protocols=()),
        )
        if rows:  # what was meant by a part of a name
            heads = [rows[0].protocol, rows[0].against]
    if as_json:
        echo(json.dumps([asdict(row) for row in rows], indent=1))
    elif rows:
        _show(rows, heads)
    if problems:
        fail_for(problems)


def _two_protocols(models: Sequence[str], selection: Selection) -> list[str]:
    """Return the protocols that are compared; a usage error where there is no pair of anything."""
    if len(set(models)) > 1:
        raise click.UsageError(f"name two models, not {len(models)}")
    names = list(dict.fromkeys(selection.protocols))
    if len(names) == 2:
        return names
    if len(selection.protocols) > 1:
        given = f"{names[0]} twice" if len(names) == 1 else str(len(names))
        raise click.UsageError(f"name two protocols, not {given}")
    if len(models) == 2:
        said = f"name two models, not {models[0]} twice"
    else:
        said = f"name two models, not {models[0]} alone" if models else "name two models"
    each = f" {models[0]}" if models else ""
    raise click.UsageError(
        f"{said}; or two protocols: svuprobe compare{each} --protocol FIRST --protocol SECOND"
    )


def _show(rows: Sequence[Difference], heads: Sequence[str]) -> None:
    """Print a comparison as a table, with what limits it."""
    # Names of models head columns of numbers, which would be as wide.
    shown = shortened(heads, _LONGEST_HEAD) if terminal_width() else list(heads)
    of_models = not rows[0].model
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    columns = [
        Column("task", least=14),
        *([Column("protocol", least=8)] if of_models and len(protocols) > 1 else []),
        *([] if of_models else [Column("model", least=8)]),
        Column(shown[0], right=True, dropped=2),
        Column(shown[1], right=True, dropped=2),
        Column("difference", right=True),
        Column("95 % interval", dropped=1),
        Column("p (Holm)", right=True),
    ]
    show_table([_compared(row, shown) for row in rows], columns, as_json=False)
    if not of_models:
        echo(f"Protocol {heads[0]} less {heads[1]}.")
    elif len(protocols) == 1:
        echo(f"Protocol {protocols[0]}.")
    for caveat in dict.fromkeys(row.caveat for row in rows if row.caveat):
        echo(f"{caveat[0].upper()}{caveat[1:]}.")


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
        "model": row.model,
        heads[0]: number(row.metric, row.first),
        heads[1]: number(row.metric, row.second),
        "difference": gap if gap.startswith("-") else f"+{gap}",
        "95 % interval": interval,
        "p (Holm)": "unknown" if row.p_holm is None else f"{row.p_holm:.3f}",
    }
