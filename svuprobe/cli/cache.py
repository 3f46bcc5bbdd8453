"""Handle caches of features on disk."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from svuprobe._edge import TERMINAL, echo
from svuprobe._sizes import size_text
from svuprobe.cli.shared import FEATURES, MODEL, json_option, show_table
from svuprobe.cli.table import Column
from svuprobe.probe.results.naming import without_folders

_OF_CACHES = (
    Column("model", least=12),
    Column("revision", dropped=4),
    Column("dataset", least=8),
    Column("windowing", least=8, dropped=3),
    Column("level", dropped=2),
    Column("dtype", dropped=6),
    Column("clips", right=True, dropped=1),
    Column("hours", right=True, dropped=5),
    Column("size", right=True),
    Column("state", least=12),
)


@click.group()
def cache() -> None:
    """Look at caches of features on disk, verify and prune them."""


cache_argument = click.argument(
    "directory", type=FEATURES, default="features", envvar="SVUPROBE_FEATURES"
)


@cache.command("list")
@cache_argument
@json_option
def cache_list(directory: Path | str, as_json: bool) -> None:
    """List what there is of every cache in DIRECTORY, and whether it is complete.

    DIRECTORY is a folder, or s3://BUCKET/FOLDER.
    """
    from svuprobe import api

    rows = [asdict(kept) | {"directory": str(kept.directory)} for kept in api.cache_list(directory)]
    if not as_json:
        for row in rows:
            row["revision"] = row["revision"][:8]
            # None where it is not known.
            row["hours"] = row["hours"] and round(row["hours"], 2)
            row["size"] = size_text(row["size"])
            # The folders of local models are long, and no help where caches are told apart.
            row["model"] = without_folders(row["model"])
    if rows or as_json:
        show_table(rows, _OF_CACHES, as_json)
    else:
        echo(f"{directory}: no caches; svuprobe extract --features makes them there")


@cache.command("verify")
@cache_argument
@click.option(
    "--remove",
    is_flag=True,
    help="Delete what is damaged; extract makes it again, and nothing else.",
)
def cache_verify(directory: Path | str, remove: bool) -> None:
    """Read every byte in DIRECTORY and compare it with the checksums.

    DIRECTORY is a folder, or s3://BUCKET/FOLDER.
    """
    from svuprobe import api

    damages = api.cache_verify(directory, remove=remove, reporter=TERMINAL)
    if damages:
        what = "deleted" if remove else f"svuprobe cache verify {directory} --remove deletes them"
        raise click.ClickException(
            f"{len(damages)} damaged; {what}; svuprobe extract makes just these again"
        )
    echo(f"{directory}: every byte is as it was written")


@cache.command("prune")
@cache_argument
@click.option("--dry-run", is_flag=True, help="Say it, delete nothing.")
@click.option(
    "--model", type=MODEL, help="Delete every cache of this model instead, of every revision."
)
@click.option("--yes", is_flag=True, help="With --model: yes, delete features.")
def cache_prune(directory: Path | str, dry_run: bool, model: str | None, yes: bool) -> None:
    """Delete what killed processes left in DIRECTORY; never features, unless --model says whose.

    DIRECTORY is a folder, or s3://BUCKET/FOLDER: then the local copy is pruned, too.
    """
    from svuprobe import api

    if yes and (model is None or dry_run):
        rest = "--dry-run, which deletes nothing" if dry_run else "no --model, whose features go"
        raise click.UsageError(f"--yes changes nothing with {rest}; leave it out")
    # Features take days of a GPU: they are deleted only by a word of their own.
    only_said = dry_run or (model is not None and not yes)
    freed = api.cache_prune(directory, model=model, dry_run=only_said, reporter=TERMINAL)
    echo(f"{size_text(freed)} {'would be freed' if only_said else 'freed'}")
    if only_said and not dry_run:
        raise click.ClickException(
            f"nothing was deleted; add --yes to delete these features of {model}"
        )
