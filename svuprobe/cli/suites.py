"""Run whole suites."""

from __future__ import annotations

import time
from pathlib import Path

import click

from svuprobe._edge import warn
from svuprobe._options import DeviceOfWorkers
from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import (
    FEATURES,
    FOLDER,
    data_of,
    data_option,
    display_names,
    names_option,
)


@click.command()
@click.argument("suite")
@data_option
@click.option(
    "--out", type=FOLDER, required=True, help="Leaderboard, plots and what has no place of its own."
)
@click.option("--features", type=FEATURES, help="Caches; OUT/features if not given.")
@click.option("--results", type=FOLDER, help="Results; OUT/results if not given.")
@click.option(
    "--cluster",
    is_eager=True,  # before --device, which means each worker's own then
    metavar="ADDRESS",
    help="Run parts on a Dask cluster: a scheduler's address, or local:N for N workers here.",
)
@click.option(
    "--device", type=DeviceOfWorkers(), help="cpu, cuda, cuda:1, ...; the GPU where there is one."
)
@click.option("--allow-missing", is_flag=True, help="Leave out clips that can't be read.")
@names_option
@output_options
def run(
    suite: str,
    where: tuple[str, ...],
    out: Path,
    features: Path | str | None,
    results: Path | None,
    cluster: str | None,
    device: str | None,
    allow_missing: bool,
    names: tuple[tuple[str, str], ...],
    output: Output,
) -> None:
    """Extract, probe and rank all of a SUITE: only what is missing.

    SUITE is a TOML file, or one that comes with svuprobe: demo, ma2023-ablations, marble15, mir13,
    pooling, real, starter or svu.
    """
    from svuprobe._run_options import RunOptions
    from svuprobe.suites import make_suite

    options = RunOptions(
        device=device,
        cluster=cluster,
        allow_missing=allow_missing,
        names=display_names(names),
        reporter=output.reporter,
    )
    made = make_suite(
        suite, data=data_of(where), out=out, results=results, features=features, options=options
    )
    output.results(made.results, made.failures)
    if made.failures:
        for failure in made.failures:
            warn(f"  {' '.join(failure.split())}")
        raise click.ClickException(
            f"{len(made.failures)} parts of the suite are missing, as listed above; the rest is "
            "done"
        )


@click.command()
@click.option("--out", type=FOLDER, default="demo", show_default=True)
def demo(out: Path) -> None:
    """Run the whole chain on what comes with svuprobe, in a few minutes."""
    from svuprobe import demo as chain

    output = Output()
    started = time.perf_counter()
    output.results(chain.run(out, output.reporter))
    for line in chain.where_to_look(out, time.perf_counter() - started):
        output.say(line)
