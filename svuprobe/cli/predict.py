"""Use trained heads on new audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from svuprobe._edge import echo, warn
from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import FOLDER, MODEL, device_option, was_given


@click.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="A result's JSON file.",
)
@click.option(
    "--audio",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A file, a folder or a pattern such as 'songs/*.wav'; repeatable.",
)
@click.option("--out", type=FOLDER, help="Write MIDI, CSV, JAMS or beats here.")
@click.option(
    "--plot", "plots", is_flag=True, help="Draw each file's audio and what was found in it."
)
@click.option(
    "--seed", type=click.IntRange(0, 999), default=0, show_default=True, help="Whose head answers."
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
)
@click.option(
    "--run-code",
    is_flag=True,
    help="Run the py: or hear: model that the result names, if you trust it.",
)
@click.option("--model", type=MODEL, help="Where the result's checkpoint is now, if it was moved.")
@device_option
@output_options
def predict(
    run: Path,
    audio: tuple[Path, ...],
    out: Path | None,
    plots: bool,
    seed: int,
    style: str,
    run_code: bool,
    model: str | None,
    device: str | None,
    output: Output,
) -> None:
    """Use a trained probe: labels, notes or beats of any audio files."""
    if output.as_json:
        if was_given("style") and style != "json":
            raise click.UsageError(f"--format {style} and --json are two forms; give one of them")
        style = "json"
    from svuprobe import api
    from svuprobe.probe.predict.formats import summary

    # Pictures have to lie somewhere: here, if nothing was said.
    where = out or (Path() if plots else None)
    options = api.RunOptions(device=device, reporter=output.reporter)
    predictions = api.predict(
        run, audio, seed=seed, run_code=run_code, model=model, options=options
    )
    answered: list[Any] = []
    failed: list[Any] = []
    told = predictions if where is None else _saved(predictions, where, plots, output)
    for prediction in told:
        # One bad file holds up no other; the exit code tells of it at the end.
        (failed if prediction.failure else answered).append(prediction)
    # The answers are what was asked for, also with --quiet.
    if answered or output.as_json:
        echo(summary(answered, style), nl=style == "table")
    if failed:
        for prediction in failed:
            warn(f"  {prediction.failure}")
        raise click.ClickException(f"{len(failed)} of {len(failed) + len(answered)} files failed")


def _saved(predictions: Iterable[Any], out: Path, plots: bool, output: Output) -> Iterator[Any]:
    """Write the files of predictions as they come, and name them."""
    from svuprobe import api

    for prediction, paths in api.save_predictions(predictions, out, plots=plots):
        if not output.quiet:
            for path in paths:
                warn(path)
        yield prediction
