"""List what there is, and try whether a model keeps its contract."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from svuprobe._edge import TERMINAL, echo, warn
from svuprobe._errors import did_you_mean
from svuprobe.cli import model_table
from svuprobe.cli.shared import MODEL, device_option, json_option, show_table
from svuprobe.cli.table import Column
from svuprobe.extractors import catalogue
from svuprobe.probe.protocol import FOREIGN, PRESETS
from svuprobe.tasks import TABLE

_OF_TASKS = (
    Column("name"),  # whole, as it is what one types
    Column("dataset", least=9, dropped=2),
    Column("kind", dropped=4),
    Column("ranked", dropped=1),
    Column("clips", right=True, dropped=5),
    Column("hours", right=True, dropped=3),
    Column("licence", least=14, dropped=6),
)
_OF_PROTOCOLS = (
    Column("name"),
    Column("head", dropped=5),
    Column("hidden", right=True, dropped=2),
    Column("select", dropped=4),
    Column("learning_rates", dropped=3),
    Column("widen", right=True, dropped=6),
    Column("seeds", right=True, dropped=1),
    Column("hash"),
)


@click.command()
@click.option(
    "--not-trained-on",
    "datasets",
    metavar="DATASET",
    multiple=True,
    callback=lambda ctx, param, values: list(dict.fromkeys(map(_dataset, values))),
    help=(
        "Only models of which it is on record that training heard none of it: a dataset, or a task "
        "on it; repeatable."
    ),
)
@json_option
def models(datasets: list[str], as_json: bool) -> None:
    """List the models of the catalogue, with the audio that each was trained on."""
    cards = list(catalogue.CATALOGUE.values())
    clean, left_out = model_table.without(cards, datasets)
    if as_json:
        echo(json.dumps(model_table.rows(clean), indent=1))
    else:
        echo("\n".join(model_table.lines(clean)))
    if datasets:
        for line in left_out:
            (warn if as_json else echo)(line)


def _dataset(name: str) -> str:
    """Return a dataset by its name or by that of a task on it; another is a usage error."""
    from svuprobe.tasks import load
    from svuprobe.tasks.datasets import DATASETS

    if name in TABLE:
        return load(name).dataset
    if name not in DATASETS:
        raise click.BadParameter(
            f"no dataset or task {name!r}; {did_you_mean(name, [*DATASETS, *TABLE])}",
            param_hint="'--not-trained-on'",
        )
    return name


@click.command("check-model")
@click.argument("name", type=MODEL)
@device_option
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True
)
def check_model(name: str, device: str | None, dtype: str) -> None:
    """Check whether a model keeps the contract of an extractor, and how fast it is here."""
    # Imported where it is used: torch takes seconds, and --help is to answer at once.
    from svuprobe import api

    options = api.RunOptions(device=device, dtype=dtype, reporter=TERMINAL)
    if not api.check_model(name, options=options).ok:
        raise click.ClickException(f"{name} does not keep the contract; what FAILED stands above")


@click.command()
@json_option
def tasks(as_json: bool) -> None:
    """List the tasks, their data and their ranked metric."""
    from svuprobe.tasks import load
    from svuprobe.tasks.datasets import DATASETS, embedded_folder

    rows = []
    for name in TABLE:
        task = load(name)
        rows.append(
            {
                "name": task.name,
                "dataset": task.dataset,
                "embedded": embedded_folder(task.dataset) is not None,
                "kind": task.kind,
                "ranked": task.metrics[0],
                "metrics": list(task.metrics),
                "window_s": task.windowing.window_s,
                "clips": sum(task.expected.values()) or None,
                "splits": dict(task.expected),
                "hours": task.hours or None,
                "labels": list(task.labels or ()),
                "version": task.version,
                "licence": task.licence,
                "reference": task.reference,
            }
        )
    show_table(rows, _OF_TASKS, as_json)
    if not as_json:
        # A first run needs no download: whoever lists tasks should see that.
        embedded = [card.name for card in DATASETS.values() if card.embedded]
        echo(f"\nThe recordings of {', '.join(embedded)} come with svuprobe: nothing to download.")
        echo("Your own data: a path to a TOML file, or folder:PATH (see docs/own-data.md).")


@click.command()
@json_option
def protocols(as_json: bool) -> None:
    """List the presets of how heads are trained and chosen."""
    # The hash is what results and tables carry.
    rows = []
    for made in PRESETS.values():
        # A field that its head has not is left empty.
        own = dict.fromkeys(FOREIGN[made.head], "") if not as_json else {}
        known = asdict(made) | {"seeds": made.draws} | own | {"hash": made.hash}
        rows.append({k: v for k, v in known.items() if not as_json or k not in FOREIGN[made.head]})
    if not as_json:
        for row in rows:
            rates = row["learning_rates"]
            row["learning_rates"] = " ".join(f"{rate:g}" for rate in rates or ())
    show_table(rows, _OF_PROTOCOLS, as_json)
