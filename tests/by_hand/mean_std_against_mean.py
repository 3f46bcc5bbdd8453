"""Test, model by model and task by task, whether mean and deviation beat the mean alone.

``svuprobe run pooling --out OUT`` makes the results; ``python
tests/by_hand/mean_std_against_mean.py OUT/results`` prints a line for each model and task that has
both: the ranked metric of each, their difference with its interval at 95 % and p of the paired test
of ``svuprobe compare``, corrected by Holm over all lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from svuprobe import api

_HEAD = "| task | model | mean | mean + std | difference | 95 % | p (Holm) |"


def lines(rows: Sequence[api.Difference]) -> list[str]:
    """Write a Markdown table."""
    table = [_HEAD, "|" + "---|" * 7]
    for row in rows:
        tested = f"groups: {row.groups}, too few | -"  # of a few speakers nothing is said of others
        if row.low is not None and row.high is not None:
            tested = f"{row.low:+.3f} to {row.high:+.3f} | {row.p_holm:.3f}"
        table.append(
            f"| {row.task} ({row.metric}) | {row.model} | {row.second:.3f} | {row.first:.3f} | "
            f"{row.difference:+.3f} | {tested} |"
        )
    return table


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(results: Path) -> None:
    """Print the table of all results in a folder."""
    rows, problems = api.compare_protocols("linear-mean_std*", "linear", results)
    for line in [*lines(rows), *problems]:
        click.echo(line)


if __name__ == "__main__":
    main()
