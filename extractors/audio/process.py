"""Handle one decoder process from its parent: ask it, read its answers, end it if it gives no sign.

The pipe of its answers is read with a time limit, so that nobody waits for a process that the
kernel holds: one that reads from a network mount that is gone can't even be killed.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from svuprobe.extractors.audio.sound_files import shown
from svuprobe.extractors.audio.worker import Alive, Bug, End, Request, receive
from svuprobe.extractors.base import ExtractError

_MOST_SILENT = 3  # files one after the other that hang: then it is not the files
# For a worker to leave by itself; and for a killed one, which a dead disk can hold for ever.
_END_S = 2.0
_START_S = 60.0  # at least, for a worker to load its libraries
# How often a reader looks whether its worker was given up.
_GLANCE_MS = 500
# What libraries print, even as they load, must not get between the
# answers: stdout's place is taken by stderr. And a file in the working
# directory must not take a library's place: the path is the parent's.
_MAIN = (
    "import os, sys; answers = os.dup(1); os.dup2(2, 1); sys.path[:] = {path!r}; "
    "from svuprobe.extractors._tether import tether; tether(); "
    "from svuprobe.extractors.audio.worker import main; main(answers)"
)
_LEFT: list[subprocess.Popen[bytes]] = []  # killed, and held in the kernel by what they read


class Silent:
    """Remember which files have hung, so that none is waited for twice; and tell when all do.

    Several threads may use it.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._paths: set[str] = set()
        self._in_a_row: list[str] = []
        self._lock = threading.Lock()

    def why(self, path: str) -> str:
        """Say what is wrong with a file that has hung; empty for others."""
        with self._lock:
            return self._reason() if path in self._paths else ""

    def _reason(self) -> str:
        return (
            f"nothing could be read of it in {self.timeout_s:g} s: is its disk or network mount "
            "gone?"
        )

    def add(self, path: str) -> None:
        """Note that a file hangs. Raises ExtractError where those before it did, too."""
        with self._lock:
            self._paths.add(path)
            self._in_a_row.append(path)
            if len(self._in_a_row) >= _MOST_SILENT:
                names = ", ".join(shown(each) for each in self._in_a_row)
                raise ExtractError(
                    f"{names}: nothing could be read of {len(self._in_a_row)} files one after the "
                    f"other, each for {self.timeout_s:g} s: is their disk or network mount gone? "
                    "Mend that and run the same command again (what was finished is kept), or "
                    "wait longer with --decode-timeout"
                )

    def works(self) -> None:
        """Note that a file was read."""
        with self._lock:
            self._in_a_row.clear()


class Died(Exception):
    """Report that a worker is gone; the message says how it ended."""


class Hangs(Exception):
    """Report that a worker gave no sign for too long."""


class _Pipe(io.RawIOBase):
    """Read a worker's answers, until it is given up; raise Hangs when nothing comes for too
    long.
    """

    def __init__(self, descriptor: int, timeout_s: float) -> None:
        self.given_up = False
        self.timeout_s = timeout_s
        self._descriptor = descriptor
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        until = time.monotonic() + self.timeout_s
        while not self.given_up:
            left = until - time.monotonic()
            if self._ready.poll(min(_GLANCE_MS, max(0.0, left) * 1000)):
                return os.readv(self._descriptor, [buffer])
            if left <= 0:
                raise Hangs
        return 0


class Worker:
    """Keep a decoder process, started when it is first asked, and again after it died."""

    def __init__(self, starter: ThreadPoolExecutor, timeout_s: float) -> None:
        self._starter, self._timeout_s = starter, timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: _Pipe | None = None
        self._answers: Any = None  # a buffered reader

    def ask(self, request: Request) -> Iterator[Any]:
        """Yield answers up to the last.

        Raises Died, Hangs; RuntimeError for a bug or a process that can't start.
        """
        try:
            if self._process is None or self._process.poll() is not None:
                self.end()
                self._start()
            assert self._process is not None
            assert self._process.stdin is not None
            pickle.dump(request, self._process.stdin, 5)
            self._process.stdin.flush()
            while not isinstance(answer := receive(self._answers), End):
                if isinstance(answer, Bug):
                    raise RuntimeError(f"in a decoder process:\n{answer.traceback}")
                # A sign of life, which has set the time limit back by coming.
                if not isinstance(answer, Alive):
                    yield answer
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise Died(self.end()) from None
        except Hangs:
            self.kill()
            self.end()
            raise

    def _start(self) -> None:
        with tempfile.TemporaryFile() as said:
            # A session of its own: Ctrl-C reaches the parent alone, which then ends its workers.
            self._process = self._starter.submit(
                subprocess.Popen,
                [sys.executable, "-c", _MAIN.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                # Each worker decodes on one core: there are as many workers as cores.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            ).result()
            assert self._process.stdout is not None
            self._answers = self._process.stdout
            # Windows has no poll for pipes: there answers are waited for without a limit.
            if hasattr(select, "poll"):
                self._pipe = _Pipe(self._process.stdout.fileno(), max(_START_S, self._timeout_s))
                self._answers = io.BufferedReader(self._pipe, 1 << 16)
            try:
                # Its first word says that its libraries are loaded.
                receive(self._answers)
                if self._pipe is not None:
                    self._pipe.timeout_s = self._timeout_s
            except EOFError:
                code = _ended(self._process)
                if code < 0:
                    raise  # killed, not broken
                said.seek(0)
                raise RuntimeError(
                    f"a decoder process can't start: {said.read().decode(errors='replace')}"
                ) from None

    def kill(self) -> None:
        """Kill the process; whoever waits for its answers gets Died."""
        process, pipe = self._process, self._pipe
        if pipe is not None:
            pipe.given_up = True
        if process is not None:
            process.kill()

    def end(self) -> str:
        """Make sure that the process is gone, or will be as soon as the kernel lets it; say how it
        ended.
        """
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()  # it leaves when this does
        code = _ended(process)
        process.stdout.close()
        return f"signal {-code}" if code < 0 else f"exit status {code}"


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process a little, kill it, wait a little more; return its exit code, -9 if
    killed.
    """
    for _ in range(2):
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
    # The kernel holds it: it is forgotten here, and reaped whenever it goes.
    _LEFT.append(process)
    return -9
