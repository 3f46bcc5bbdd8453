"""Say what a command did: to people, to nobody with ``--quiet``, to a program with ``--json``.

With ``--json`` standard output is one JSON document, and messages go to standard error; where
nothing could be done there is no document, and the exit code says so. Errors go to standard error
always.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svuprobe._edge import TERMINAL, bar, echo, say, warn
from svuprobe._progress import SILENT, Reporter

if TYPE_CHECKING:
    from svuprobe.probe.results.result_file import Entry


@dataclass(frozen=True)
class Output:
    """Take what a command has to say, and show it as was asked."""

    quiet: bool = False
    as_json: bool = False

    @property
    def reporter(self) -> Reporter:
        """Return who is told what goes on."""
        if self.quiet:
            return SILENT
        return Reporter(warn, bar) if self.as_json else TERMINAL

    def say(self, line: object) -> None:
        """Say one line to people."""
        if not self.quiet:
            (warn if self.as_json else say)(line)

    def document(self, body: Any) -> None:
        """Print the document of ``--json``, where it was asked for."""
        if self.as_json:
            echo(json.dumps(body, indent=1, ensure_ascii=False))

    def written(self, paths: Sequence[Path], problems: Sequence[str] = ()) -> None:
        """Name the files that were written, a line each."""
        if not self.as_json:
            for path in paths:
                self.say(path)
        self.document(files_document(paths, problems))

    def results(self, entries: Sequence[Entry], problems: Sequence[str] = ()) -> None:
        """Show results: as a table, or as a document with what could not be done."""
        if self.as_json:
            from svuprobe.probe.summary import summary_of

            several = [summary_of(*entry) for entry in entries]
            self.document({"results": several, "problems": list(problems)})
        elif not self.quiet and entries:
            # Here, as tables are made with numpy.
            from svuprobe.benchmarks.selection import told_apart
            from svuprobe.benchmarks.tables import build
            from svuprobe.cli import results_table, table

            tables = build(told_apart(entries))
            table.print_lines(results_table.lines(tables, table.terminal_width()))


def files_document(paths: Sequence[Path], problems: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return what ``--json`` says of files that were written."""
    return {"written": [str(path) for path in paths], "problems": list(problems)}


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--quiet`` and ``--json``: the command gets an `Output`."""

    @functools.wraps(command)
    def showing(*args: Any, **options: Any) -> Any:
        output = Output(quiet=options.pop("quiet"), as_json=options.pop("as_json"))
        return command(*args, output=output, **options)

    showing = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document; messages go to stderr."
    )(showing)
    return click.option(
        "-q", "--quiet", is_flag=True, help="Say nothing but errors; with --json print only that."
    )(showing)
