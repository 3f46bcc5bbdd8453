"""Make the audio that svuprobe-small heard: ``python -m svuprobe.pretrain.open_audio OUT``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from svuprobe._errors import UserError
from svuprobe._progress import Reporter
from svuprobe.pretrain.open_audio.run import build


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--debs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the packages' files, where apt-get isn't there; OUT/debs by default.",
)
def main(out: Path, debs: Path | None) -> None:
    """Get and render open audio into OUT: OUT/audio as FLAC files, OUT/manifest.csv their list."""
    try:
        bar = partial(tqdm, disable=None, leave=False)  # none where nobody watches
        build(out, debs or out / "debs", Reporter(say=tqdm.write, make_bar=bar))
    except UserError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
