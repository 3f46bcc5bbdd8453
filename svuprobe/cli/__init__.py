"""Run the command line: thin commands over :mod:`svuprobe.api`, one file a group.

Exit codes: 0 all done; 1 something failed or is missing, with a list; 2 usage. A user's mistake is
one line; a bug keeps its traceback. torch and its like are imported inside the commands that need
them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import click

from svuprobe import __version__
from svuprobe._edge import OneLineErrors
from svuprobe._machine import keep_freed_memory
from svuprobe.cli import (
    boards,
    cache,
    data,
    embed,
    extract,
    finetune,
    listing,
    plots,
    predict,
    pretrain,
    probe,
    report,
    suites,
)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="svuprobe")
def main() -> None:
    """Find which frozen audio model, and which of its layers, to use for a singing or music
    task.
    """
    keep_freed_memory()


for command in (
    listing.models,
    listing.check_model,
    listing.tasks,
    listing.protocols,
    data.data,
    pretrain.pretrain,
    extract.extract,
    probe.probe,
    finetune.finetune,
    cache.cache,
    predict.predict,
    embed.embed,
    boards.leaderboard,
    plots.plot,
    boards.export,
    boards.compare,
    report.report,
    suites.run,
    suites.demo,
):
    main.add_command(command)
