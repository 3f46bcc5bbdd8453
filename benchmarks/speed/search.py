"""Search of the learning rate: ``halving`` against the whole grid, on caches that are there.

``python benchmarks/speed/search.py FEATURES [--task T] [--model M] [--protocol svuprobe] --out
FILE.csv``

Of every task and model with a cache in FEATURES (`svuprobe run starter --out OUT` makes some, in
OUT/features) the heads are trained by both searches, one after the other, and scored on the test
split. A line of the CSV is a layer or the weighted sum of one of them: the rates that both chose,
what both score, the grid's spread over seeds, and the CPU seconds of the whole search, the choice
included. What stands in the file already is not done again; the summary is of all lines of the
file. A score is outside if it differs from the grid's by more than the grid's standard deviation
over seeds.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from svuprobe._files import write_text
from svuprobe._progress import SILENT
from svuprobe._run_options import RunOptions
from svuprobe.api.probing import folders_of, lists_of
from svuprobe.extractors.cache import FeatureCache
from svuprobe.extractors.place import Place
from svuprobe.probe import evaluate
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.choosing import ChosenHeads, choose
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.layer_sets import name_of
from svuprobe.probe.training.workers import unthreaded
from svuprobe.probe.widening import widened
from svuprobe.tasks.manifest import ClipList

SEARCHES = ("grid", "halving")
COLUMNS = (
    "task", "model", "protocol", "layer", "ranked", "rate_grid", "rate_halving", "score_grid",
    "score_halving", "std_grid", "cpu_s_grid", "cpu_s_halving",
)  # fmt: skip
Row = dict[str, Any]


def searched(
    cache: FeatureCache, clips: ClipList, protocol: Protocol
) -> tuple[ChosenHeads, dict[int, list[float]], float]:
    """Heads that a search chose, their test scores per layer and seed, and CPU seconds."""
    started = time.process_time()
    with unthreaded("cpu"):
        chosen = choose(cache, clips, protocol, RunOptions(), SILENT)
        spent = time.process_time() - started
        answers = evaluate.test_answers(chosen.features, list(chosen.banks.values()), SILENT)
        scores = {}
        for layer, answered in zip(chosen.banks, answers, strict=True):
            tested = evaluate.score(chosen.features, answered, False)
            scores[layer] = tested.scores[clips.task.metrics[0]]
    return chosen, scores, spent


def compared(cache: FeatureCache, clips: ClipList, protocol: str) -> Iterator[Row]:
    """Yield a row for each layer of a model, and for its weighted sum."""
    chosen, scores, spent = {}, {}, {}
    for search in SEARCHES:
        wanted = preset(protocol, search=search)
        chosen[search], scores[search], spent[search] = searched(cache, clips, wanted)
    grid, halving = (chosen[search].choices for search in SEARCHES)
    for layer in grid:
        yield {
            "task": clips.task.name,
            "model": cache.header.model,
            "protocol": protocol,
            "layer": name_of(layer, cache.header.layer_names),
            "ranked": layer == chosen["grid"].head,
            "rate_grid": grid[layer].learning_rate,
            "rate_halving": halving[layer].learning_rate,
            "score_grid": round(float(np.mean(scores["grid"][layer])), 5),
            "score_halving": round(float(np.mean(scores["halving"][layer])), 5),
            "std_grid": round(float(np.std(scores["grid"][layer], ddof=1)), 5),
            "cpu_s_grid": round(spent["grid"], 1),
            "cpu_s_halving": round(spent["halving"], 1),
        }


def summary(rows: Sequence[Row]) -> list[str]:
    """Lines of what all rows say together, and of each rate or score that is another."""
    lines = []
    for kind in ("ranked heads", "all heads"):
        some = [row for row in rows if kind == "all heads" or row["ranked"] == "True"]
        same = sum(row["rate_grid"] == row["rate_halving"] for row in some)
        outside = [row for row in some if _difference(row) > float(row["std_grid"])]
        lines.append(
            f"{kind}: the grid's rate in {same} of {len(some)}, {len(outside)} scores outside"
        )
    # Once for each search, not for each of its layers.
    searches = {(row["task"], row["model"], row["protocol"]): row for row in rows}.values()
    spent = [sum(float(row[f"cpu_s_{search}"]) for row in searches) for search in SEARCHES]
    lines.append(
        f"{spent[0]:.0f} CPU s for the grid, {spent[1]:.0f} for halving ({spent[0] / spent[1]:.2f} "
        f"times less) over {len(searches)} searches"
    )
    for row in rows:
        rates = widened(preset(row["protocol"]))
        if row["ranked"] == "True" and float(row["rate_grid"]) in (rates[0], rates[-1]):
            lines.append(
                f"  {row['task']} {row['model']}: nothing is tried beyond {row['rate_grid']}"
            )
        if row["rate_grid"] != row["rate_halving"]:
            outside = ", outside" * (_difference(row) > float(row["std_grid"]))
            lines.append(
                f"  {row['task']} {row['model']} {row['layer']} ({row['protocol']}): "
                f"{row['rate_halving']} for {row['rate_grid']}, {row['score_halving']} for "
                f"{row['score_grid']} ± {row['std_grid']}{outside}"
            )
    return lines


def _difference(row: Row) -> float:
    return abs(float(row["score_grid"]) - float(row["score_halving"]))


def _written(rows: Sequence[Row], out: Path) -> list[Row]:
    """Write rows and read them back, so that new and old ones are alike."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())
    return _read(out)


def _read(out: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))


@click.command()
@click.argument("features", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--task", "tasks", multiple=True, help="Repeatable; every task with features.")
@click.option("--model", "models", multiple=True, help="Repeatable; every model with features.")
@click.option("--protocol", "protocols", multiple=True, default=["svuprobe"], show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A CSV file.")
def main(
    features: Path, tasks: Sequence[str], models: Sequence[str], protocols: Sequence[str], out: Path
) -> None:
    """Compare both searches and say where their answers differ."""
    rows, place = _read(out) if out.exists() else [], Place(features)
    for protocol in protocols:
        for name in tasks or [None]:
            for clips in lists_of(place, name, None)[0]:
                for folder in folders_of(place, clips, models, preset(protocol))[0]:
                    with FeatureCache(folder) as cache:
                        key = (clips.task.name, cache.header.model, protocol)
                        if key not in {(r["task"], r["model"], r["protocol"]) for r in rows}:
                            rows = _written([*rows, *compared(cache, clips, protocol)], out)
                            click.echo(
                                f"{' '.join(key)}: {rows[-1]['cpu_s_grid']} and "
                                f"{rows[-1]['cpu_s_halving']} CPU s"
                            )
    for line in summary(rows):
        click.echo(line)


if __name__ == "__main__":
    main()
