"""Meet the user: what goes to a terminal is harmless, and what the system says is one line.

Names of files, labels and error texts come from elsewhere: each may hold codes that steer a
terminal, or turn the direction of writing around. They are shown as Python writes them, ``\\x1b``.
A bug keeps its traceback.
"""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from svuprobe._errors import UserError
from svuprobe._progress import Reporter
from svuprobe._system_errors import advice, is_systems_word

# Control characters but for the end of a line, marks of
# direction, other ends of lines, halves of characters.
_STEERS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# CUDA, libc and Python word the same thing in three ways.
_NO_MEMORY = re.compile("can't allocate memory|out of memory|can't start new thread", re.IGNORECASE)
_AGAIN = "what was finished before is kept"
# Commands that go on from a checkpoint only where they are told so.
_RESUMED = ("finetune", "pretrain")


def printable(text: str) -> str:
    """Return a text with everything that would steer a terminal escaped, but the ends of its
    lines.
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: object) -> str:
    """Return a text that has to stay on one line."""
    return printable(str(text)).replace("\n", "\\n")


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text that may have several lines."""
    click.echo(printable(str(text)), err=err, nl=nl)


def say(line: object) -> None:
    """Print one line."""
    click.echo(one_line(line))


def warn(line: object) -> None:
    """Print one line on stderr."""
    click.echo(one_line(line), err=True)


def bar(*args: Any, **options: Any) -> Any:
    """Return a progress bar for what takes longer than a second; none where nobody watches."""
    # Imported where a bar is asked for: --help has to be quick.
    from tqdm import tqdm

    options["desc"] = one_line(options.get("desc") or "")
    return tqdm(
        *args, **{"delay": 1.0, "disable": None, "leave": False, "dynamic_ncols": True} | options
    )


class OneLineErrors(click.Group):
    """Turn the project's own errors, the system's, Ctrl-C and SIGTERM into one line.

    Exit codes are 1, 130 and 143.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        """Print in any locale: what it has no letters for is escaped."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # In the C locale a name with an ä would end a command in a traceback.
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options of the group itself."""
        with _printable_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        # As an exception it runs the same clearing up as Ctrl-C: locks and temporary files go.
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            with _printable_errors(), one_line_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            again = " with --resume" if ctx.invoked_subcommand in _RESUMED else ""
            warn(
                f"Interrupted: what is finished is kept; the same command{again} goes on from "
                "there."
            )
            # As shells have it: 128 and the number of the signal.
            sys.exit(143 if isinstance(stop, Terminated) else 130)
        finally:
            signal.signal(signal.SIGTERM, before)


class Terminated(KeyboardInterrupt):
    """Report SIGTERM, as a scheduler sends it when a job's time is up."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        # Final for subclasses, not for values.
        error.message = printable(error.message)  # type: ignore[misc]
        raise


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can mend into one line: our errors, and what the system says of files and
    memory.

    click takes an EOFError for Ctrl-D at a prompt and says nothing but "Aborted!"; here it is a
    bug.
    """
    try:
        yield
    except UserError as error:
        raise click.ClickException(_joined(error)) from None
    except OSError as error:
        # A file that is not there is a bug here: what a user names was looked for before.
        if not is_systems_word(error):
            raise
        what = " -> ".join(
            str(path) for path in (error.filename, error.filename2) if path is not None
        )
        said = f"{what}: {error.strerror}" if what else error.strerror
        raise click.ClickException(
            _joined(f"{said}; {_AGAIN}: {advice(error)}, then run it again")
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        # torch and CUDA raise a RuntimeError where Python has MemoryError.
        said = f"the memory is full ({error or 'of this process'})"
        raise click.ClickException(
            _joined(
                f"{said}; {_AGAIN}: close other programs or ask for less at once, then run it again"
            )
        ) from None
    except UnicodeEncodeError as error:
        # Only where the locale can't write a file's name; in anything else it is a bug.
        if error.encoding != sys.getfilesystemencoding() or error.encoding == "utf-8":
            raise
        raise click.ClickException(
            f"this locale has no way to write the name {error.object!r}; run it again with "
            "PYTHONUTF8=1"
        ) from None
    except EOFError as error:
        raise RuntimeError("a file ended too early") from error


def _joined(error: object) -> str:
    """Return an error on one line, whatever the library that words it thinks of lines."""
    return " ".join(str(error).split())


TERMINAL = Reporter(say, bar)
