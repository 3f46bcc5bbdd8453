"""The command line: thin commands over :mod:`svuprobe.api`.

Exit codes: 0 all done; 1 something failed or is missing, with a list; 2 usage. A user's mistake is one line; a
bug keeps its traceback. torch and its like are imported inside the commands that need them, so that ``--help``
answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from svuprobe import __version__
from svuprobe._edge import OneLineErrors, bar, echo, one_line, say, warn
from svuprobe._machine import LEAST_MEMORY, MOST_BATCH_S, MOST_JOBS, MOST_MEMORY, MOST_SEED, MOST_TIMEOUT_S
from svuprobe._options import ALPHA, DEVICE, RATE, RATE_OR_0, SHARE, Checked, Number, Shard, whole
from svuprobe.extractors import catalogue, names
from svuprobe.probe import baselines
from svuprobe.probe.finetune import protocol as ft_protocol
from svuprobe.probe.protocol import PRESETS, RANGES, preset
from svuprobe.tasks import TABLE, check_name

if TYPE_CHECKING:
    from svuprobe import api

TASK = Checked("task", check_name)
MODEL = Checked("model", names.check_name)
TRAINED = Checked("model", lambda name: None if name in baselines.TABLE else names.check_name(name))
FINETUNE = Checked("preset", lambda name: None if ft_protocol.preset(name) else None)
PROTOCOL = Checked("protocol", lambda name: None if preset(name) else None)
OF_HEADS, OF_TUNING = whole(RANGES), whole(ft_protocol.RANGES)
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
device_option = click.option("--device", type=DEVICE, help="cpu, cuda, cuda:1, ...; the GPU where there is one.")


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="svuprobe")
def main() -> None:
    """Which frozen audio model, and which of its layers, to use for a singing or music task."""


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` for the commands that list what there is."""
    return click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")(command)


def _show(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    if as_json:
        echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    cells = [["" if row[c] is None else one_line(row[c]) for c in columns] for row in rows]
    echo(tabulate(cells, columns, disable_numparse=True))


@main.command()
@json_option
def models(as_json: bool) -> None:
    """The models of the catalogue."""
    rows = [asdict(card) | {"control": names.is_control(name)} for name, card in catalogue.CATALOGUE.items()]
    _show(rows, ["name", "hub", "layers", "dim", "sample_rate", "licence"], as_json)
    if not as_json:
        echo(f"\nAlso {names.OTHER_FORMS}.")


@main.command("check-model")
@click.argument("name", type=MODEL)
@device_option
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
def check_model(name: str, device: str | None, dtype: str) -> None:
    """Whether a model keeps the contract of an extractor, and how fast it is here."""
    from svuprobe import api

    if not api.check_model(name, device=device, dtype=dtype, say=say).ok:
        raise click.ClickException(f"{name} does not keep the contract; what FAILED stands above")


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
        echo("\nYour own data: a path to a TOML file in place of the name (see the README).")


@main.command()
@json_option
def protocols(as_json: bool) -> None:
    """The presets of how heads are trained and chosen."""
    rows = [asdict(p) | {"hash": p.hash} for p in PRESETS.values()]
    _show(rows, ["name", "hidden", "standardize", "learning_rates", "seeds", "hash"], as_json)


@main.group()
def data() -> None:
    """Datasets on disk."""


@data.command("synth")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable.")
@click.option("--out", type=FOLDER, default="data", envvar="SVUPROBE_DATA", show_default=True)
@click.option("--clips", type=click.IntRange(1, 1_000_000), help="About how many recordings.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True)
def data_synth(names: tuple[str, ...], out: Path, clips: int | None, seed: int) -> None:
    """A synthetic copy of a dataset in its official folder layout."""
    from svuprobe import api

    api.synth(names, out, clips=clips, seed=seed, progress=bar, say=say)


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

    wrong = [name for name in names if not api.check(name, _data(where), thorough, progress=bar, say=say)]
    if wrong:
        raise click.ClickException(f"not as it should be: {', '.join(wrong)}; what is wrong stands above")


@data.command("prepare")
@click.option("--task", "names", type=TASK, multiple=True, required=True, help="Whose dataset; repeatable.")
@data_option
def data_prepare(names: tuple[str, ...], where: tuple[str, ...]) -> None:
    """Download what may be downloaded: resumable, checksummed where a checksum is known."""
    from svuprobe import api

    api.prepare(names, _data(where), progress=bar, say=say)


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
@click.option("--jobs", type=click.IntRange(0, MOST_JOBS), help="Decoding processes; 0 decodes in this one.")
@click.option(
    "--decode-timeout",
    "decode_timeout_s",
    type=Number(0, MOST_TIMEOUT_S, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds without a sign of a decoding process, as on a disk that is gone; then its clip fails.",
)
@click.option("--shard", type=Shard(), default=(1, 1), help="Do the i-th of n parts (several processes).")
@click.option("--compile", "compiled", is_flag=True, help="Compile the models: pays on a GPU, for many hours.")
@click.option(
    "--replace-changed",
    is_flag=True,
    help="Delete and make again the shards that hold clips whose audio, start or end is another now.",
)
def extract(
    model_names: tuple[str, ...],
    task_names: tuple[str, ...],
    where: tuple[str, ...],
    features: Path,
    device: str | None,
    dtype: str,
    batch_seconds: float | None,
    jobs: int | None,
    decode_timeout_s: float,
    shard: tuple[int, int],
    compiled: bool,
    replace_changed: bool,
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
        decode_timeout_s=decode_timeout_s,
        shard=shard,
        compiled=compiled,
        replace_changed=replace_changed,
        progress=bar,
        say=say,
    )
    failures = {clip: reason for report in reports for clip, reason in report.failures}
    if failures:
        for clip, reason in failures.items():
            warn(f"  {json.dumps(clip, ensure_ascii=False)}: {reason}")
        raise click.ClickException(f"{len(failures)} clips failed, the others are done; mend them and run this again")


@main.command()
@click.option("--task", "task_names", type=TASK, multiple=True, help="Repeatable; every task that has features.")
@click.option("--model", "model_names", type=MODEL, multiple=True, help="Repeatable; every model that has features.")
@features_option
@results_option
@click.option("--protocol", type=PROTOCOL, default="svuprobe", show_default=True, help="A preset, or a TOML file.")
@click.option("--seeds", type=OF_HEADS["seeds"], help="Instead of the protocol's; changes its hash.")
@click.option("--learning-rate", "rates", type=RATE, multiple=True, help="A grid of your own; repeatable.")
@click.option("--max-epochs", type=OF_HEADS["max_epochs"])
@click.option("--hidden", type=OF_HEADS["hidden"], help="Units of the hidden layer, 0 for linear heads.")
@click.option("--single-layers/--no-single-layers", default=None, help="Whether to draw the layer curve.")
@click.option(
    "--train-fraction",
    "fractions",
    type=Number(0, 1, min_open=True),
    multiple=True,
    help="Learn from this share of the training clips; repeatable, smaller ones are within larger ones.",
)
@click.option("--shuffle-labels", is_flag=True, default=None, help="A control: deal the training targets anew.")
@click.option(
    "--memory",
    type=Number(LEAST_MEMORY / 2**30, MOST_MEMORY / 2**30),
    help="GiB of frames to hold; half of the free.",
)
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of training's products; auto: bfloat16 for MLPs on a CPU that has it natively, TF32 on a GPU.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out clips that the cache lacks.")
@click.option("--overwrite", is_flag=True, help="Probe again where a result is there.")
def probe(
    task_names: tuple[str, ...],
    model_names: tuple[str, ...],
    features: Path,
    results: Path,
    protocol: str,
    device: str | None,
    dtype: str,
    allow_missing: bool,
    overwrite: bool,
    rates: tuple[float, ...],
    fractions: tuple[float, ...],
    memory: float | None,
    **fields: Any,
) -> None:
    """Train heads on cached features; select on validation, score the test split once."""
    changes = {name: value for name, value in fields.items() if value is not None}
    if rates:
        changes["learning_rates"] = rates
    several = [preset(protocol, **changes)]
    if fractions:
        several = [preset(protocol, **changes, train_fraction=share) for share in fractions]
    from svuprobe import api

    problems: dict[str, None] = {}
    for asked in several:
        try:
            api.probe(
                task_names,
                model_names,
                features=features,
                results=results,
                protocol=asked,
                device=device,
                dtype=dtype,
                allow_missing=allow_missing,
                overwrite=overwrite,
                memory=None if memory is None else round(memory * 2**30),
                progress=bar,
                say=say,
            )
        except api.PartlyDone as error:
            problems |= dict.fromkeys(error.problems)
    if len(problems) == 1:
        raise click.ClickException(next(iter(problems)))
    if problems:
        for problem in problems:
            warn(f"  {problem}")
        raise click.ClickException(f"{len(problems)} could not be probed, as listed above; the others are done")


def adaptation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of the protocol of fine-tuning that is worth changing."""
    for option in reversed(
        (
            click.option("--one-stage", is_flag=True, help="No epochs with a frozen transformer first."),
            click.option("--frozen-epochs", type=OF_TUNING["frozen_epochs"], help="Head and layer weights alone."),
            click.option("--epochs", type=OF_TUNING["epochs"], help="Everything; of a baseline each stage."),
            click.option("--last-k", type=click.IntRange(1, 10_000), help="Only the last K blocks."),
            click.option(
                "--lora", "lora_rank", type=click.IntRange(1, 10_000), help="Only adapters of this rank (peft)."
            ),
            click.option("--bitfit", is_flag=True, default=None, help="Only biases."),
            click.option("--train-convolutions", is_flag=True, default=None, help="The convolutions on audio too."),
            click.option("--head-learning-rate", type=RATE),
            click.option("--encoder-learning-rate", type=RATE),
            click.option("--mix-learning-rate", type=RATE_OR_0, help="Of the layer weights; 0 is the head's."),
            click.option("--hidden", type=OF_TUNING["hidden"], help="Width of the head, 0 for one linear layer."),
            click.option("--dropout", type=SHARE, help="Of the head."),
            click.option("--batch-size", type=OF_TUNING["batch_size"], help="Windows in a step."),
            click.option("--layerdrop", type=SHARE),
            click.option("--spec-augment", is_flag=True, default=None, help="Mask stretches of time in training."),
            click.option(
                "--class-weight-alpha",
                type=ALPHA,
                help="Weights 1 / n^alpha; the task's if not given.",
            ),
            click.option("--select", type=click.Choice(list(ft_protocol.SELECT)), help="Which epoch counts."),
            click.option("--seeds", type=OF_TUNING["seeds"]),
        )
    ):
        command = option(command)
    return command


@main.command()
@click.option("--task", "task_names", type=TASK, multiple=True, required=True, help="Repeatable.")
@click.option("--model", "model_names", type=TRAINED, multiple=True, required=True, help="Or a baseline; repeatable.")
@data_option
@results_option
@click.option("--preset", "preset_name", type=FINETUNE, default="yamamoto2023", show_default=True)
@adaptation_options
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Result of a probe whose heads to start from.",
)
@device_option
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--accumulate", type=click.IntRange(1, 100_000), default=1, help="Parts to compute each batch in.")
@click.option("--gradient-checkpointing", "checkpointing", is_flag=True, help="Less memory, more time.")
@click.option(
    "--checkpoint-steps", type=click.IntRange(0, 1_000_000_000), default=0, help="Also save within an epoch."
)
@click.option("--resume", is_flag=True, help="Go on where a run was interrupted.")
@click.option("--jobs", type=click.IntRange(0, MOST_JOBS), help="Decoding processes; 0 decodes in this one.")
@click.option("--allow-missing", is_flag=True, help="Leave out clips that can't be decoded.")
@click.option("--overwrite", is_flag=True, help="Start anew where a result, or a part of one, is there.")
def finetune(
    task_names: tuple[str, ...],
    model_names: tuple[str, ...],
    where: tuple[str, ...],
    preset_name: str,
    one_stage: bool,
    batch_size: int | None,
    **options: Any,
) -> None:
    """Train models end to end on tasks, or supervised baselines; several GPUs with accelerate launch."""
    names = ft_protocol.FinetuneProtocol.__dataclass_fields__
    changes = {k: options.pop(k) for k in list(options) if k in names and k != "start"}
    changes = {k: value for k, value in changes.items() if value is not None}
    supervised: dict[str, Any] = {name: changes[name] for name in ("epochs", "seeds") if name in changes}
    if one_stage:
        changes["frozen_epochs"] = 0
    if batch_size is not None:
        changes |= {"batch_size": batch_size, "frame_batch_size": batch_size}
        supervised["batch_size"] = batch_size
    protocol = ft_protocol.preset(preset_name, **changes)
    unfit = sorted(changes.keys() - {"epochs", "seeds", "batch_size", "frame_batch_size"})
    if unfit and (trained := [name for name in model_names if name in baselines.TABLE]):
        raise click.UsageError(
            f"{unfit[0]} changes nothing in baseline {trained[0]}, which is trained by its recipe; "
            "only --epochs, --seeds and --batch-size do"
        )
    from svuprobe import api

    api.finetune(
        task_names,
        model_names,
        data=_data(where),
        protocol=protocol,
        recipe=ft_protocol.RecipeProtocol(**supervised),
        progress=bar,
        say=say,
        **options,
    )


@main.group()
def cache() -> None:
    """Caches of features on disk."""


cache_argument = click.argument("directory", type=FOLDER, default="features", envvar="SVUPROBE_FEATURES")


@cache.command("list")
@cache_argument
@json_option
def cache_list(directory: Path, as_json: bool) -> None:
    """What there is of every cache in DIRECTORY, and whether it is complete."""
    from svuprobe import api
    from svuprobe.extractors.cache import size_text

    rows = [asdict(kept) | {"directory": str(kept.directory)} for kept in api.cache_list(directory)]
    if not as_json:
        for row in rows:
            row["revision"] = row["revision"][:8]
            row["hours"] = row["hours"] and round(row["hours"], 2)
            row["size"] = size_text(row["size"])
    columns = "model revision dataset windowing level dtype clips hours size state"
    _show(rows, columns.split(), as_json)


@cache.command("verify")
@cache_argument
@click.option("--remove", is_flag=True, help="Delete what is damaged; extract makes it again, and nothing else.")
def cache_verify(directory: Path, remove: bool) -> None:
    """Read every byte in DIRECTORY and compare it with the checksums."""
    from svuprobe import api

    damages = api.cache_verify(directory, remove=remove, progress=bar, say=say)
    if damages:
        what = "deleted" if remove else f"svuprobe cache verify {directory} --remove deletes them"
        raise click.ClickException(f"{len(damages)} damaged; {what}; svuprobe extract makes just these again")
    echo(f"{directory}: every byte is as it was written")


@cache.command("prune")
@cache_argument
@click.option("--dry-run", is_flag=True, help="Say it, delete nothing.")
@click.option("--model", type=MODEL, help="Delete every cache of this model instead, of every revision.")
@click.option("--yes", is_flag=True, help="With --model: yes, delete features.")
def cache_prune(directory: Path, dry_run: bool, model: str | None, yes: bool) -> None:
    """Delete what killed processes left in DIRECTORY; never features, unless --model says whose."""
    from svuprobe import api
    from svuprobe.extractors.cache import size_text

    only_said = dry_run or (model is not None and not yes)
    freed = api.cache_prune(directory, model=model, dry_run=only_said, say=say)
    echo(f"{size_text(freed)} {'would be freed' if only_said else 'freed'}")
    if only_said and not dry_run:
        raise click.ClickException(f"nothing was deleted; add --yes to delete these features of {model}")


@main.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="A result's JSON file.",
)
@click.option("--audio", type=click.Path(path_type=Path), multiple=True, required=True, help="Repeatable.")
@click.option("--out", type=FOLDER, help="Write MIDI, CSV, JAMS or beats here.")
@click.option("--plot", "plots", is_flag=True, help="Draw each file's audio and what was found in it.")
@click.option("--seed", type=click.IntRange(0, 999), default=0, show_default=True, help="Whose head answers.")
@click.option("--format", "style", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--run-code", is_flag=True, help="Run the py: or hear: model that the result names, if you trust it.")
@device_option
def predict(
    run: Path,
    audio: tuple[Path, ...],
    out: Path | None,
    plots: bool,
    seed: int,
    style: str,
    run_code: bool,
    device: str | None,
) -> None:
    """Use a trained probe: labels, notes or beats of any audio files."""
    from svuprobe import api
    from svuprobe.probe.predict.formats import summary

    found: list[Any] = []
    failed: list[Any] = []
    where = out or (Path() if plots else None)
    for prediction, written in api.predict(
        run, audio, out=where, plots=plots, seed=seed, device=device, run_code=run_code, progress=bar
    ):
        (failed if prediction.failure else found).append(prediction)
        for path in written:
            warn(path)
    if found:
        echo(summary(found, style), nl=style == "table")
    if failed:
        for prediction in failed:
            warn(f"  {prediction.failure}")
        raise click.ClickException(f"{len(failed)} of {len(audio)} files failed")


@main.command()
@results_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="leaderboard.md", show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail if the file is not what the results say.")
def leaderboard(results: Path, out: Path, check: bool) -> None:
    """Write leaderboard.md from the result files, with CSV and JSON beside it."""
    from svuprobe import api

    try:
        api.leaderboard(results, out, check=check)
    except api.LeftOut as error:
        if not check:
            echo(f"{out}: written without what is listed below")
        _fail_for(error.problems)
    echo(f"{out}: {'up to date' if check else 'written'}")


def _fail_for(problems: Sequence[str]) -> NoReturn:
    """List what was left out, and end with exit code 1."""
    if len(problems) == 1:
        raise click.ClickException(problems[0])
    for problem in problems:
        warn(f"  {problem}")
    raise click.ClickException(f"{len(problems)} files could not be used, as listed above; the rest is done")


@main.command()
@click.argument("kind", type=click.Choice(["scores", "layer-weights", "layer-curves", "data-efficiency"]))
@results_option
@click.option("--out", type=FOLDER, default="plots", show_default=True)
def plot(kind: str, results: Path, out: Path) -> None:
    """Draw scores, layer weights, layer curves or scores over training data: PNG, SVG and CSV."""
    from svuprobe import api

    problems: list[str] = []
    try:
        paths = api.plot(kind, results, out)
    except api.LeftOut as error:
        paths, problems = error.written, error.problems
    for path in paths:
        say(path)
    if problems:
        _fail_for(problems)


@main.command()
@click.argument("suite")
@data_option
@click.option("--out", type=FOLDER, required=True, help="Leaderboard, plots and what has no place of its own.")
@click.option("--features", type=FOLDER, help="Caches; OUT/features if not given.")
@click.option("--results", type=FOLDER, help="Results; OUT/results if not given.")
@device_option
@click.option("--allow-missing", is_flag=True, help="Leave out clips that can't be read.")
def run(suite: str, where: tuple[str, ...], **options: Any) -> None:
    """Extract, probe and rank all of a SUITE (svu, mir13, real, demo or a TOML file): only what is missing."""
    from svuprobe import api

    failures = api.run(suite, data=_data(where), progress=bar, say=say, **options)
    if failures:
        for failure in failures:
            warn(f"  {' '.join(failure.split())}")
        raise click.ClickException(
            f"{len(failures)} parts of the suite are missing, as listed above; the rest is done"
        )


@main.command()
@click.option("--out", type=FOLDER, default="demo", show_default=True)
def demo(out: Path) -> None:
    """The whole chain on synthetic singing, in a few minutes."""
    from svuprobe.demo import run

    run(out, progress=bar, say=say)


if __name__ == "__main__":
    sys.exit(main())
