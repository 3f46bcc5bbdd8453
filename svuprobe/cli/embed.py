"""Compute features of audio files without a task."""

from __future__ import annotations

from pathlib import Path

import click

from svuprobe._edge import warn
from svuprobe._options import Number
from svuprobe.cli.output import Output, files_document, output_options
from svuprobe.cli.shared import LocalPath, device_option


@click.command()
@click.argument("audio", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--model", required=True, help="Its name, as extract takes it.")
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    required=True,
    help="A .npz, .h5 or .parquet file.",
)
@click.option(
    "--level",
    type=click.Choice(["clip", "frame"]),
    default="clip",
    show_default=True,
    help="The mean over a file, or every frame.",
)
@click.option(
    "--window",
    "window_s",
    type=Number(0.1, 3600),
    help="Seconds that the model sees at once.  [default: the file, in parts over a minute]",
)
@device_option
@output_options
def embed(
    audio: tuple[Path, ...],
    model: str,
    out: Path,
    level: str,
    window_s: float | None,
    device: str | None,
    output: Output,
) -> None:
    """Compute every layer's features of AUDIO: files, folders of them, or patterns."""
    from svuprobe import api

    options = api.RunOptions(device=device, reporter=output.reporter)
    done = api.embed(model, audio, out, level=level, window_s=window_s, options=options)
    failed = [each for each in done if each.failure]
    output.say(f"{out}: {len(done) - len(failed)} files")
    output.document(files_document([out], [each.failure for each in failed]))
    if failed:
        for each in failed:
            warn(f"  {each.failure}")
        raise click.ClickException(f"{len(failed)} of {len(done)} files failed")
