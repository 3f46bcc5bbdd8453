"""Handle datasets on disk."""

from __future__ import annotations

from pathlib import Path

import click

from svuprobe._edge import TERMINAL
from svuprobe._machine import MOST_SEED
from svuprobe.cli.shared import FOLDER, TASK, data_of, data_option


@click.group()
def data() -> None:
    """Make, check and download datasets on disk."""


@data.command("synth")
@click.option(
    "--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable."
)
@click.option("--out", type=FOLDER, default="data", envvar="SVUPROBE_DATA", show_default=True)
@click.option("--clips", type=click.IntRange(1, 1_000_000), help="About how many recordings.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True)
def data_synth(names: tuple[str, ...], out: Path, clips: int | None, seed: int) -> None:
    """Write a synthetic copy of a dataset in its official folder layout."""
    from svuprobe import api

    api.synth(names, out, clips=clips, seed=seed, reporter=TERMINAL)


@data.command("check")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Repeatable.")
@data_option
@click.option("--thorough", is_flag=True, help="Compare the checksums of a synthetic copy too.")
def data_check(names: tuple[str, ...], where: tuple[str, ...], thorough: bool) -> None:
    """Count clips, durations, missing and damaged files of a dataset, against the official
    numbers.
    """
    from svuprobe import api

    # Every name is looked at; the exit code is one for all of them.
    wrong = []
    for name in names:
        # Every task is checked, whatever is wrong with the one before.
        if not api.check(name, data_of(where, names), thorough=thorough, reporter=TERMINAL):
            wrong.append(name)
    if wrong:
        raise click.ClickException(
            f"not as it should be: {', '.join(wrong)}; what is wrong stands above"
        )


@data.command("prepare")
@click.option(
    "--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable."
)
@data_option
def data_prepare(names: tuple[str, ...], where: tuple[str, ...]) -> None:
    """Download what may be downloaded: resumable, checksummed where a checksum is known."""
    from svuprobe import api

    api.prepare(names, data_of(where, names), reporter=TERMINAL)
