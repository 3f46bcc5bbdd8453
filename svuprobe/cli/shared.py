"""Share options and output of several commands."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from svuprobe._edge import echo, warn
from svuprobe._errors import UserError, did_you_mean
from svuprobe._machine import MOST_WINDOW_S
from svuprobe._options import DEVICE, Checked, DisplayName, Number
from svuprobe._progress import Reporter
from svuprobe.cli.table import Column, lines, print_lines, terminal_width
from svuprobe.extractors.names import check_name as check_model_name, typed
from svuprobe.extractors.store.address import is_address, not_features
from svuprobe.tasks import check_name

if TYPE_CHECKING:
    from svuprobe.api import Data

TASK = Checked("task", check_name)


class TypedModel(Checked):
    """Accept a model's name; that of a folder which is here is the folder, and that is said."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(typed(value, Reporter(warn)), param, ctx)


MODEL = TypedModel("model", check_model_name)


class LocalPath(click.Path):
    """Accept a path of this machine: of an address ``Path`` would make folders such as ``s3:``."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_address(value):
            self.fail(not_features(value), param, ctx)
        return super().convert(value, param, ctx)


FOLDER = LocalPath(file_okay=False)


class FolderOrStore(click.ParamType):
    """Accept a folder, as a path, or the address of a store, as the text that it is."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # A path would make one slash of two.
        if isinstance(value, str) and is_address(value):
            return value
        return FOLDER.convert(value, param, ctx)


FEATURES = FolderOrStore()

# Names are checked when the folder of features is known, by `check_tasks`.
tasks_option = click.option(
    "--task",
    "task_names",
    metavar="TASK",
    multiple=True,
    required=True,
    help="Repeatable; your own by file, or by name once extracted.",
)
features_option = click.option(
    "--features",
    type=FEATURES,
    default="features",
    envvar="SVUPROBE_FEATURES",
    show_default=True,
    help="Caches: a folder, or s3://BUCKET/FOLDER.",
)
results_option = click.option(
    "--results",
    type=FOLDER,
    default="results",
    envvar="SVUPROBE_RESULTS",
    show_default=True,
    help="Results.",
)
window_option = click.option(
    "--window",
    "window_s",
    type=Number(0, MOST_WINDOW_S, min_open=True),
    help="Seconds of the windows that clips are cut into; each task's own if not given.",
)
device_option = click.option(
    "--device", type=DEVICE, help="cpu, cuda, cuda:1, ...; the GPU where there is one."
)
track_option = click.option(
    "--track",
    type=click.Choice(["trackio", "wandb", "tensorboard"]),
    help="Log losses, learning rates and scores there too; needs that package.",
)
data_option = click.option(
    "--data",
    "where",
    multiple=True,
    default=("data",),
    envvar="SVUPROBE_DATA",
    show_default=True,
    help="The folder that holds the datasets, or DATASET=PATH; repeatable.",
)


names_option = click.option(
    "--as",
    "names",
    type=DisplayName(),
    multiple=True,
    help="What tables and pictures call a model; repeatable.",
)


def selection_options(*, models: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--task``, ``--model``, ``--protocol`` and ``--as``: the command gets a `Selection`.

    Parameters
    ----------
    models
        Whether models are chosen by an option; not of a command whose arguments are models.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def selecting(*args: Any, **options: Any) -> Any:
            # Here, as it reads results with numpy and --help has to be quick.
            from svuprobe.benchmarks.selection import Selection

            options["selection"] = Selection(
                tasks=options.pop("task_patterns"),
                models=options.pop("model_patterns", ()),
                protocols=options.pop("protocol_patterns"),
                names=display_names(options.pop("names")),
            )
            return command(*args, **options)

        selecting = names_option(selecting)
        # The last that is added comes first in --help.
        for kind in ("protocol", "model", "task") if models else ("protocol", "task"):
            selecting = click.option(
                f"--{kind}",
                f"{kind}_patterns",
                metavar="NAME",
                multiple=True,
                help=f"Only results of this {kind}; * for any letters, repeatable.",
            )(selecting)
        return selecting

    return add


def display_names(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return display names by model; two for one model are a usage error."""
    names: dict[str, str] = {}
    for name, model in pairs:
        if names.setdefault(model, name) != name:
            raise click.UsageError(
                f"--as was given two names for {model}, {names[model]!r} and {name!r}"
            )
    return names


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, for the commands that list what there is."""
    return click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")(command)


def show_table(rows: list[dict[str, Any]], columns: Sequence[Column], as_json: bool) -> None:
    """Print some columns of rows, by their heads, as a table; or all of them as JSON."""
    if as_json:
        echo(json.dumps(rows, indent=1))
        return
    cells = []
    for row in rows:
        cells.append(["" if row[each.head] is None else str(row[each.head]) for each in columns])
    print_lines(lines(columns, cells, terminal_width()))


def check_tasks(names: Sequence[str], features: Path | str) -> None:
    """Refuse a task that neither svuprobe nor a folder of features knows.

    A task on own data is known there by its name, once it was extracted by its file.
    """
    for name in names:
        try:
            check_name(name)
        except UserError as error:
            # Here, as it reads caches with h5py and --help has to be quick.
            from svuprobe.extractors.store.opening import place_of

            place = place_of(features)
            place.fetch_lists()
            lists = sorted(place.folder.glob("tasks/*.json"))
            known = dict.fromkeys(path.name.partition(".")[0] for path in lists)
            if name not in known:
                have = f"; {features} has features of {', '.join(known)}" if known else ""
                raise click.BadParameter(f"{error}{have}", param_hint="'--task'") from None


def was_given(option: str) -> bool:
    """Tell whether an option of the command that runs was given, by the name of its parameter."""
    source = click.get_current_context().get_parameter_source(option)
    return source is not None and source is not ParameterSource.DEFAULT


def refuse_timeout(jobs: int | None) -> None:
    """Refuse a time limit for decoding processes where there are none."""
    if jobs == 0 and was_given("decode_timeout_s"):
        raise click.UsageError(
            "--decode-timeout changes nothing with --jobs 0: what decodes is this process, which "
            "can't be given up; leave one of them out"
        )


def data_of(values: tuple[str, ...], tasks: Sequence[str] = ()) -> Data:
    """Return where datasets are, from ``ROOT`` and any number of ``DATASET=PATH``.

    A dataset that there is none of is a usage error, and one that none of the tasks is on, where
    they are given.
    """
    from svuprobe.api import Data

    for value in values:
        if is_address(value):
            raise click.UsageError(f"--data {not_features(value)}")
    roots = [v for v in values if "=" not in v]
    if len(roots) > 1:
        raise click.UsageError(
            f"--data was given two roots, {roots[0]} and {roots[1]}; others are DATASET=PATH"
        )
    # Of the first sign: a path may hold another.
    elsewhere = dict(v.split("=", 1) for v in values if "=" in v)
    for name in elsewhere:
        _require_dataset(name, tasks)
    root = Path(roots[0] if roots else "data")
    return Data(root, {name: Path(path) for name, path in elsewhere.items()})


def _require_dataset(name: str, tasks: Sequence[str]) -> None:
    """Refuse a dataset whose folder nothing would look into."""
    from svuprobe.tasks import TABLE, load
    from svuprobe.tasks.datasets import DATASETS

    if name not in DATASETS:
        raise click.UsageError(
            f"--data {name}=...: no dataset {name!r}; {did_you_mean(name, DATASETS)}"
        )
    used = {load(task).dataset: None for task in tasks if task in TABLE}
    if tasks and name not in used:
        have = f"they are on {', '.join(used)}" if used else "they say where their own data lie"
        raise click.UsageError(f"--data {name}=... is of none of the tasks; {have}")


def fail_for(problems: Sequence[str]) -> NoReturn:
    """List what was left out, and end with exit code 1."""
    if len(problems) == 1:
        raise click.ClickException(problems[0])
    for problem in problems:
        warn(f"  {problem}")
    raise click.ClickException(
        f"{len(problems)} files could not be used, as listed above; the rest is done"
    )
