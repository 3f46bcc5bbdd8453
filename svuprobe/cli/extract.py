"""Extract: from audio to caches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svuprobe._edge import warn
from svuprobe._machine import MOST_BATCH_S, MOST_JOBS, MOST_TIMEOUT_S
from svuprobe._options import Number, Shard
from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import (
    MODEL,
    check_tasks,
    data_of,
    data_option,
    device_option,
    display_names,
    features_option,
    names_option,
    refuse_timeout,
    tasks_option,
    window_option,
)
from svuprobe.extractors.catalogue import CATALOGUE

if TYPE_CHECKING:
    from svuprobe.extractors.writer import ExtractionReport


@click.command()
@click.option(
    "--model", "model_names", type=MODEL, multiple=True, required=True, help="Repeatable."
)
@tasks_option
@data_option
@features_option
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 where the hardware multiplies it natively.",
)
@click.option(
    "--batch-seconds",
    type=Number(0, MOST_BATCH_S, min_open=True),
    help="Audio in a batch; found for the device if not given.",
)
@click.option(
    "--jobs", type=click.IntRange(0, MOST_JOBS), help="Decoding processes; 0 decodes in this one."
)
@click.option(
    "--decode-timeout",
    "decode_timeout_s",
    type=Number(0, MOST_TIMEOUT_S, min_open=True),
    default=600.0,
    show_default=True,
    help=(
        "Seconds without a sign of a decoding process, as on a disk that is gone; then its clip "
        "fails."
    ),
)
@window_option
@click.option(
    "--shard", type=Shard(), default=(1, 1), help="Do the i-th of n parts (several processes)."
)
@click.option(
    "--compile", "compiled", is_flag=True, help="Compile the models: pays on a GPU, for many hours."
)
@click.option(
    "--replace-changed",
    is_flag=True,
    help=(
        "Delete and make again the shards that hold clips whose audio, start or end is another now."
    ),
)
@click.option(
    "--frames",
    is_flag=True,
    help=(
        "Keep every frame also for tasks of whole windows (for probe --pooling max, first or "
        "attention)."
    ),
)
@names_option
@output_options
def extract(
    model_names: tuple[str, ...],
    task_names: tuple[str, ...],
    where: tuple[str, ...],
    features: Path | str,
    device: str | None,
    dtype: str,
    batch_seconds: float | None,
    jobs: int | None,
    decode_timeout_s: float,
    window_s: float | None,
    shard: tuple[int, int],
    compiled: bool,
    replace_changed: bool,
    frames: bool,
    names: tuple[tuple[str, str], ...],
    output: Output,
) -> None:
    """Run frozen models once over the datasets of tasks and cache every layer."""
    check_tasks(task_names, features)
    refuse_timeout(jobs)
    _refuse_idle(model_names, dtype, compiled)
    if str(features).startswith("memory://"):
        warn(f"{features}: is memory of this process; what is put there goes with it")
    from svuprobe import api

    options = api.RunOptions(
        device=device,
        dtype=dtype,
        jobs=jobs,
        batch_s=batch_seconds,
        decode_timeout_s=decode_timeout_s,
        compiled=compiled,
        shard=shard,
        replace_changed=replace_changed,
        names=display_names(names),
        reporter=output.reporter,
    )
    # (Options that are not given are None and found there, alike for Python and the command line.)
    reports = api.extract(
        task_names,
        model_names,
        data=data_of(where, task_names),
        features=features,
        window_s=window_s,
        frames=frames,
        options=options,
    )
    # A clip that can't be decoded fails for every model: it is listed once.
    failures: dict[str, str] = {}
    for report in reports:
        failures |= dict(report.failures)
    output.document({"caches": [_summary(each) for each in reports], "failures": failures})
    if failures:
        for clip, reason in failures.items():
            warn(f"  {json.dumps(clip, ensure_ascii=False)}: {reason}")
        raise click.ClickException(
            f"{len(failures)} clips failed, the others are done; mend them and run this again"
        )


def _refuse_idle(models: Sequence[str], dtype: str, compiled: bool) -> None:
    """Refuse how networks are computed where no model is one."""
    families = {CATALOGUE[name].family if name in CATALOGUE else "" for name in models}
    if families != {"handmade"}:
        return
    who = " and ".join(models)
    if dtype == "bfloat16":
        raise click.UsageError(
            f"--dtype {dtype} changes nothing in {who}, computed in float32 as without weights; "
            "leave it out"
        )
    if compiled:
        raise click.UsageError(f"--compile changes nothing in {who}, which can't be; leave it out")


def _summary(report: ExtractionReport) -> dict[str, Any]:
    """Return what was done of one cache; what failed is said once for all."""
    summary = asdict(report) | {"directory": str(report.directory)}
    del summary["failures"]
    return summary
