"""The command line: thin commands over :mod:`svuprobe.api`.

Exit codes: 0 all done; 1 something failed or is missing, with a list; 2 usage. A user's mistake is one line; a
bug keeps its traceback. torch and its like are imported inside the commands that need them, so that ``--help``
answers at once.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svuprobe import __version__
from svuprobe.extractors import catalogue
from svuprobe.extractors.base import ExtractError
from svuprobe.probe.protocol import PRESETS, ProbeError, preset
from svuprobe.tasks import TABLE, check_name
from svuprobe.tasks.types import TaskError

if TYPE_CHECKING:
    from svuprobe import api

USER_MISTAKES = (TaskError, ExtractError, ProbeError)


class OneLineErrors(click.Group):
    """Turns exactly the project's own errors into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except USER_MISTAKES as error:
            raise click.ClickException(" ".join(str(error).split())) from None


class Checked(click.ParamType):
    """A name that a table knows: unknown ones are usage errors with the close matches."""

    def __init__(self, name: str, check: Callable[[str], None]) -> None:
        self.name, self.check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            self.check(value)
        except USER_MISTAKES as error:
            self.fail(str(error), param, ctx)
        return value


class Shard(click.ParamType):
    """``i/n``, the i-th of n parts, counted from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        index, _, of = value.partition("/")
        if not (index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
            self.fail(f"{value!r} is not i/n with 1 <= i <= n", param, ctx)
        return int(index), int(of)


TASK = Checked("task", check_name)
MODEL = Checked("model", catalogue.check_name)
PROTOCOL = Checked("protocol", lambda name: None if preset(name) else None)
FOLDER = click.Path(path_type=Path, file_okay=False)

features_option = click.option(
    "--features",
    type=FOLDER,
    default="features",
    envvar="SVUPROBE_FEATURES",
    show_default=True,
    help="Caches.",
)
results_option = click.option(
    "--results", type=FOLDER, default="results", envvar="SVUPROBE_RESULTS", show_default=True, help="Results."
)
device_option = click.option("--device", help="cpu, cuda, cuda:1, ...; the GPU where there is one.")


def bar(*args: Any, **options: Any) -> Any:
    """A progress bar for what takes longer than a second; none where nobody watches."""
    from tqdm import tqdm

    return tqdm(*args, **{"delay": 1.0, "disable": None, "leave": False, "dynamic_ncols": True} | options)


def wrap(iterable: Any, total: int | None = None, desc: str = "") -> Any:
    """A progress bar around an iterable."""
    return bar(iterable, total=total, desc=desc)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="svuprobe")
def main() -> None:
    """Which frozen audio model, and which of its layers, to use for a singing or music task."""


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` for the commands that list what there is."""
    return click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")(command)


def _show(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    cells = [["" if row[c] is None else row[c] for c in columns] for row in rows]
    click.echo(tabulate(cells, columns, disable_numparse=True))


@main.command()
@json_option
def models(as_json: bool) -> None:
    """The models of the catalogue."""
    rows = [asdict(card) | {"control": catalogue.is_control(name)} for name, card in catalogue.CATALOGUE.items()]
    _show(rows, ["name", "hub", "layers", "dim", "sample_rate", "licence"], as_json)
    if not as_json:
        click.echo("\nAlso hf:ORG/NAME[@REVISION], hf:/local/folder, and random:NAME[#SEED] as a control.")


@main.command()
@json_option
def tasks(as_json: bool) -> None:
    """The tasks, their data and their ranked metric."""
    from svuprobe.tasks import load

    rows = []
    for name in TABLE:
        task = load(name)
        rows.append(
            {
                "name": task.name,
                "dataset": task.dataset,
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
    _show(rows, ["name", "dataset", "kind", "ranked", "clips", "hours", "licence"], as_json)
    if not as_json:
        click.echo("\nYour own data: a path to a TOML file in place of the name (see the README).")


@main.command()
@json_option
def protocols(as_json: bool) -> None:
    """The presets of how heads are trained and chosen."""
    rows = [asdict(p) | {"hash": p.hash} for p in PRESETS.values()]
    _show(rows, ["name", "hidden", "scale_layers", "learning_rates", "seeds", "hash"], as_json)


@main.group()
def data() -> None:
    """Datasets on disk."""


@data.command("synth")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable.")
@click.option("--out", type=FOLDER, default="data", envvar="SVUPROBE_DATA", show_default=True)
@click.option("--clips", type=click.IntRange(min=1), help="About how many recordings.")
@click.option("--seed", type=int, default=0, show_default=True)
def data_synth(names: tuple[str, ...], out: Path, clips: int | None, seed: int) -> None:
    """A synthetic copy of a dataset in its official folder layout."""
    from svuprobe import api

    api.synth(names, out, clips=clips, seed=seed, progress=wrap, say=click.echo)


data_option = click.option(
    "--data",
    "where",
    multiple=True,
    default=("data",),
    envvar="SVUPROBE_DATA",
    show_default=True,
    help="The folder that holds the datasets, or DATASET=PATH; repeatable.",
)


@data.command("check")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Repeatable.")
@data_option
@click.option("--thorough", is_flag=True, help="Compare the checksums of a synthetic copy too.")
def data_check(names: tuple[str, ...], where: tuple[str, ...], thorough: bool) -> None:
    """Counts, durations, missing and damaged files of a dataset, against the official numbers."""
    from svuprobe import api

    wrong = [name for name in names if not api.check(name, _data(where), thorough, progress=wrap, say=click.echo)]
    if wrong:
        raise click.ClickException(f"not as it should be: {', '.join(wrong)}; what is wrong stands above")


@data.command("prepare")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable.")
@data_option
def data_prepare(names: tuple[str, ...], where: tuple[str, ...]) -> None:
    """Download what may be downloaded: resumable, checksummed where a checksum is known."""
    from svuprobe import api

    api.prepare(names, _data(where), progress=bar, say=click.echo)


def _data(values: tuple[str, ...]) -> api.Data:
    """``ROOT`` and any number of ``DATASET=PATH``."""
    from svuprobe import api

    roots = [v for v in values if "=" not in v]
    if len(roots) > 1:
        raise click.UsageError(f"--data was given two roots, {roots[0]} and {roots[1]}; others are DATASET=PATH")
    pairs = (v.split("=", 1) for v in values if "=" in v)
    return api.Data(Path(roots[0] if roots else "data"), {name: Path(path) for name, path in pairs})


@main.command()
@click.option("--model", "model_names", type=MODEL, multiple=True, required=True, help="Repeatable.")
@click.option("--task", "task_names", type=TASK, multiple=True, required=True, help="Repeatable.")
@data_option
@features_option
@device_option
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--batch-seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Decoding threads.")
@click.option("--shard", type=Shard(), default=(1, 1), help="Do the i-th of n parts (several processes).")
def extract(
    model_names: tuple[str, ...],
    task_names: tuple[str, ...],
    where: tuple[str, ...],
    features: Path,
    device: str | None,
    dtype: str,
    batch_seconds: float,
    jobs: int,
    shard: tuple[int, int],
) -> None:
    """Run frozen models once over the datasets of tasks and cache every layer."""
    from svuprobe import api

    reports = api.extract(
        model_names,
        task_names,
        data=_data(where),
        features=features,
        device=device,
        dtype=dtype,
        batch_seconds=batch_seconds,
        jobs=jobs,
        shard=shard,
        progress=bar,
        say=click.echo,
    )
    failures = {clip: reason for report in reports for clip, reason in report.failures}
    if failures:
        for clip, reason in failures.items():
            click.echo(f"  {json.dumps(clip, ensure_ascii=False)}: {reason}", err=True)
        raise click.ClickException(f"{len(failures)} clips failed, the others are done; mend them and run this again")


@main.command()
@click.option("--task", "task_names", type=TASK, multiple=True, help="Repeatable; every task that has features.")
@click.option("--model", "model_names", type=MODEL, multiple=True, help="Repeatable; every model that has features.")
@features_option
@results_option
@click.option("--protocol", type=PROTOCOL, default="svuprobe", show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), help="Instead of the protocol's; changes its hash.")
@click.option("--learning-rate", "rates", type=float, multiple=True, help="A grid of your own; repeatable.")
@click.option("--max-epochs", type=click.IntRange(min=1))
@click.option("--hidden", type=click.IntRange(min=0), help="Units of the hidden layer, 0 for linear heads.")
@click.option("--single-layers/--no-single-layers", default=None, help="Whether to draw the layer curve.")
@device_option
@click.option("--allow-missing", is_flag=True, help="Leave out clips that the cache lacks.")
@click.option("--overwrite", is_flag=True, help="Probe again where a result is there.")
def probe(
    task_names: tuple[str, ...],
    model_names: tuple[str, ...],
    features: Path,
    results: Path,
    protocol: str,
    device: str | None,
    allow_missing: bool,
    overwrite: bool,
    rates: tuple[float, ...],
    **fields: Any,
) -> None:
    """Train heads on cached features; select on validation, score the test split once."""
    changes = {name: value for name, value in fields.items() if value is not None}
    if rates:
        changes["learning_rates"] = rates
    asked = preset(protocol, **changes)
    from svuprobe import api

    api.probe(
        task_names,
        model_names,
        features=features,
        results=results,
        protocol=asked,
        device=device,
        allow_missing=allow_missing,
        overwrite=overwrite,
        progress=bar,
        say=click.echo,
    )


@main.command()
@results_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="leaderboard.md", show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail if the file is not what the results say.")
def leaderboard(results: Path, out: Path, check: bool) -> None:
    """Write leaderboard.md from the result files."""
    from svuprobe import api

    api.leaderboard(results, out, check=check)
    click.echo(f"{out}: {'up to date' if check else 'written'}")


@main.command()
@click.argument("kind", type=click.Choice(["layer-weights", "layer-curves"]))
@results_option
@click.option("--out", type=FOLDER, default="plots", show_default=True)
def plot(kind: str, results: Path, out: Path) -> None:
    """Draw layer weights or layer curves: PNG, SVG and CSV."""
    from svuprobe import api

    for path in api.plot(kind, results, out):
        click.echo(path)


@main.command()
@click.option("--out", type=FOLDER, default="demo", show_default=True)
def demo(out: Path) -> None:
    """The whole chain on synthetic singing, in a few minutes."""
    from svuprobe.demo import run

    run(out, progress=bar, wrap=functools.partial(wrap), say=click.echo)


if __name__ == "__main__":
    sys.exit(main())
