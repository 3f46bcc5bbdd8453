"""Share options and output of several commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from svuprobe._edge import echo, one_line, warn
from svuprobe._machine import MOST_WINDOW_S
from svuprobe._options import DEVICE, Checked, Number
from svuprobe.extractors.names import check_name as check_model_name
from svuprobe.tasks import check_name

if TYPE_CHECKING:
    from svuprobe.api import Data

TASK = Checked("task", check_name)
MODEL = Checked("model", check_model_name)
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
data_option = click.option(
    "--data",
    "where",
    multiple=True,
    default=("data",),
    envvar="SVUPROBE_DATA",
    show_default=True,
    help="The folder that holds the datasets, or DATASET=PATH; repeatable.",
)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, for the commands that list what there is."""
    return click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")(command)


def show_table(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    """Print some columns of rows as a table, or all of them as JSON."""
    if as_json:
        echo(json.dumps(rows, indent=1))
        return
    # Imported here, so that commands without a table start without it.
    from tabulate import tabulate

    cells = []
    for row in rows:
        # Licences and names are of others: none may break a line or steer the terminal.
        cells.append(["" if row[name] is None else one_line(row[name]) for name in columns])
    echo(tabulate(cells, columns, disable_numparse=True))


def data_of(values: tuple[str, ...]) -> Data:
    """Return where datasets are, from ``ROOT`` and any number of ``DATASET=PATH``."""
    from svuprobe.api import Data

    roots = [v for v in values if "=" not in v]
    if len(roots) > 1:
        raise click.UsageError(
            f"--data was given two roots, {roots[0]} and {roots[1]}; others are DATASET=PATH"
        )
    # Of the first sign: a path may hold another.
    pairs = (v.split("=", 1) for v in values if "=" in v)
    return Data(Path(roots[0] if roots else "data"), {name: Path(path) for name, path in pairs})


def fail_for(problems: Sequence[str]) -> NoReturn:
    """List what was left out, and end with exit code 1."""
    if len(problems) == 1:
        raise click.ClickException(problems[0])
    for problem in problems:
        warn(f"  {problem}")
    raise click.ClickException(
        f"{len(problems)} files could not be used, as listed above; the rest is done"
    )
