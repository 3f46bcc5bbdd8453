"""Test, model by model and task by task, whether mean and deviation beat the mean alone.

``svuprobe run pooling --out OUT`` makes the results; ``python
tests/by_hand/mean_std_against_mean.py OUT/results`` prints a line for each model and task that has
both: the ranked metric of each, their difference with its interval at 95 % and p of the paired test
of `svuprobe.probe.stats.compare`, which resamples the test set's groups, the same for both, and the
seeds. p is corrected by Holm over all lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result import Result
from svuprobe.probe.stats import compare

_POOLINGS = ("mean", "mean_std")
Entry = tuple[Result, Path]


def pairs(results: Path) -> list[tuple[Entry, Entry]]:
    """Find results that differ in their pooling and in nothing else of the protocol."""
    by_rest: dict[str, dict[str, Entry]] = {}
    for path in sorted(results.glob("*/*/*.json")):
        result = result_file.load(path)
        fields = {k: v for k, v in result.protocol.fields.items() if k != "pooling"}
        model = result.model
        key = json.dumps([model.name, model.revision, result.task.comparable, fields], default=str)
        by_rest.setdefault(key, {})[result.protocol.pooling] = (result, path)
    found = []
    for poolings in by_rest.values():
        if all(name in poolings for name in _POOLINGS):
            found.append((poolings["mean"], poolings["mean_std"]))
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values over all of them (Holm 1979); NaN stays and doesn't count."""
    known = [n for n in np.argsort(values) if np.isfinite(values[n])]
    corrected, least = list(values), 0.0
    for place, n in enumerate(known):
        least = max(least, min(1.0, values[n] * (len(known) - place)))
        corrected[n] = least
    return corrected


def lines(found: Iterable[tuple[Entry, Entry]]) -> list[str]:
    """Write a Markdown table."""
    tested = []
    for mean, both in found:
        scores = [compare.read(*mean), compare.read(*both)]
        tested.append((mean[0], compare.between([mean, both], scores)))
    p = holm([float(one.p[0, 1]) for _, one in tested])
    table = [
        "| task | model | mean | mean + std | difference | 95 % | p (Holm) |",
        "|" + "---|" * 7,
    ]
    for (result, one), corrected in zip(tested, p, strict=True):
        interval = f"{one.low[1, 0]:+.3f} to {one.high[1, 0]:+.3f} | {corrected:.3f}"
        if not np.isfinite(corrected):  # of a few speakers nothing can be said about others
            interval = f"groups: {one.groups}, too few | -"
        table.append(
            f"| {result.task.name} ({result.task.ranked}) | {result.model.name} | "
            f"{one.mean[0]:.3f} | {one.mean[1]:.3f} | {one.mean[1] - one.mean[0]:+.3f} | "
            f"{interval} |"
        )
    return table


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(results: Path) -> None:
    """Print the table of all results in a folder."""
    found = pairs(results)
    if not found:
        raise ProbeError(
            f"{results}: no model has both poolings; run svuprobe run pooling --out OUT"
        )
    for line in lines(found):
        click.echo(line)


if __name__ == "__main__":
    main()
