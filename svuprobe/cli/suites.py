"""Run whole suites."""

from __future__ import annotations

from pathlib import Path

import click

from svuprobe._edge import TERMINAL, warn
from svuprobe.cli.shared import FOLDER, data_of, data_option, device_option


@click.command()
@click.argument("suite")
@data_option
@click.option(
    "--out", type=FOLDER, required=True, help="Leaderboard, plots and what has no place of its own."
)
@click.option("--features", type=FOLDER, help="Caches; OUT/features if not given.")
@click.option("--results", type=FOLDER, help="Results; OUT/results if not given.")
@device_option
@click.option("--allow-missing", is_flag=True, help="Leave out clips that can't be read.")
def run(
    suite: str,
    where: tuple[str, ...],
    out: Path,
    features: Path | None,
    results: Path | None,
    device: str | None,
    allow_missing: bool,
) -> None:
    """Extract, probe and rank all of a SUITE: only what is missing.

    SUITE is starter, svu, mir13, real, demo or a TOML file.
    """
    from svuprobe._run_options import RunOptions
    from svuprobe.suites import run_suite

    options = RunOptions(device=device, allow_missing=allow_missing, reporter=TERMINAL)
    failures = run_suite(
        suite, data=data_of(where), out=out, results=results, features=features, options=options
    )
    if failures:
        for failure in failures:
            warn(f"  {' '.join(failure.split())}")
        raise click.ClickException(
            f"{len(failures)} parts of the suite are missing, as listed above; the rest is done"
        )


@click.command()
@click.option("--out", type=FOLDER, default="demo", show_default=True)
def demo(out: Path) -> None:
    """Run the whole chain on what comes with svuprobe, in a few minutes."""
    from svuprobe.demo import run

    run(out, TERMINAL)
