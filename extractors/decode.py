"""Decoding ahead in worker processes: in order, in bounded memory, and safe from a codec that crashes.

Workers are plain Python processes that talk over pipes: unlike `multiprocessing` they never import the caller's
script again, so a notebook or a script without ``if __name__ == "__main__"`` will do. Every worker takes the next
clip when it is free; the windows of later clips wait until those of earlier ones are taken.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from svuprobe.extractors.audio import Finished, Need, Window, cut, duration, identity
from svuprobe.extractors.decode_worker import Bug, Request, receive
from svuprobe.extractors.files import shown
from svuprobe.tasks.types import Clip, Windowing

_AHEAD_BYTES = 256 << 20  # of windows that wait, over all workers
_AHEAD_CLIPS = 64  # for each worker, begun or not
_CHUNK = 64  # clips in one request for durations
# What libraries print, even as they load, must not get between the answers: stdout's place is taken by stderr. And
# a file in the working directory must not take a library's place: the path is the parent's.
_MAIN = (
    "import os, sys; answers = os.dup(1); os.dup2(2, 1); sys.path[:] = {path!r}; "
    "from svuprobe.extractors.decode_worker import main; main(answers)"
)


class Decoders:
    """``jobs`` decoder processes, started when first needed; with none, this process decodes, to the same result.

    A context manager; `close` ends the processes.
    """

    def __init__(self, jobs: int) -> None:
        self._workers = [_Worker() for _ in range(jobs)]
        self._ahead: _Ahead | None = None

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def windows(
        self, requests: Iterable[tuple[Clip, Sequence[Need]]], windowing: Windowing
    ) -> Iterator[tuple[Clip, Window | Finished]]:
        """Each clip's windows and then its Finished, as `audio.cut` gives them, clips in the order of the requests.

        Requests are taken in the caller's thread, some clips ahead. A worker that dies is replaced, and its clip
        tried once more; the clip fails where the second one dies too.
        """
        if not self._workers:
            for clip, needs in requests:
                for piece in cut(clip, needs, windowing):
                    yield clip, piece
            return
        self._ahead = _Ahead(self._workers, windowing)
        try:
            yield from self._ahead.windows(requests)
        finally:
            self._ahead.stop()

    def durations(self, clips: Sequence[Clip]) -> list[float | None]:
        """Seconds of each clip as `audio.duration` has them."""
        if not self._workers:
            return [duration(clip) for clip in clips]
        size = max(1, min(_CHUNK, -(-len(clips) // len(self._workers))))
        chunks = [clips[at : at + size] for at in range(0, len(clips), size)]
        free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def ask(chunk: Sequence[Clip]) -> list[float | None]:
            worker = free.get()
            try:
                return _durations(worker, chunk)
            finally:
                free.put(worker)

        with ThreadPoolExecutor(len(self._workers)) as pool:
            return [seconds for chunk in pool.map(ask, chunks) for seconds in chunk]

    def close(self) -> None:
        """End the processes."""
        if self._ahead is not None:
            self._ahead.stop()
        for worker in self._workers:
            worker.end()


class _Died(Exception):
    """A worker is gone; the message says how it ended."""


class _Worker:
    """A decoder process, started when it is first asked, and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Request) -> Iterator[Any]:
        """Answers up to the last. Raises _Died, and RuntimeError for a bug or a process that can't start."""
        try:
            if self._process is None or self._process.poll() is not None:
                self.end()
                self._start()
            assert self._process is not None
            assert self._process.stdin is not None
            pickle.dump(request, self._process.stdin, 5)
            self._process.stdin.flush()
            while True:
                answer = receive(self._process.stdout)
                if isinstance(answer, Bug):
                    raise RuntimeError(f"in a decoder process:\n{answer.traceback}")
                yield answer
                if not isinstance(answer, Window):
                    return
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise _Died(self.end()) from None

    def _start(self) -> None:
        with tempfile.TemporaryFile() as said:
            # A session of its own: Ctrl-C reaches the parent alone, which then ends its workers.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            try:
                receive(self._process.stdout)
            except EOFError:
                code = self._process.wait()
                if code < 0:
                    raise  # killed, not broken
                said.seek(0)
                raise RuntimeError(f"a decoder process can't start: {said.read().decode(errors='replace')}") from None

    def kill(self) -> None:
        """Kill the process; whoever waits for its answers gets _Died."""
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> str:
        """Make sure that the process is gone; says how it ended."""
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()  # it leaves when this does
        try:
            code = process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        return f"signal {-code}" if code < 0 else f"exit status {code}"


def _durations(worker: _Worker, clips: Sequence[Clip]) -> list[float | None]:
    """Durations of clips; None for one whose header kills a worker."""
    request = Request(tuple(replace(clip, target=None) for clip in clips))
    try:
        return list(next(worker.ask(request)))
    except _Died:
        if len(clips) == 1:
            return [None]
        half = len(clips) // 2
        return _durations(worker, clips[:half]) + _durations(worker, clips[half:])


@dataclass(eq=False)
class _Task:
    """One clip, and what is known of it that was not taken yet."""

    clip: Clip
    needs: tuple[Need, ...]
    pieces: deque[Window | Finished] = field(default_factory=deque)
    error: BaseException | None = None


class _Ahead:
    """Some clips being decoded ahead: a thread for each worker fills queues that the caller empties in order.

    A window waits for room while ``_AHEAD_BYTES`` are held. Only the first clip's next window always finds it, so
    that the caller never waits for a window that waits for the caller.
    """

    def __init__(self, workers: Sequence[_Worker], windowing: Windowing) -> None:
        self._workers, self._windowing = workers, windowing
        self._threads: list[threading.Thread] = []
        self._order: deque[_Task] = deque()  # all clips that are not done with
        self._waiting: deque[_Task] = deque()  # those of them that no worker has begun
        self._bytes = 0
        self._stopped = False
        lock = threading.Lock()
        self._work, self._news, self._room = (threading.Condition(lock) for _ in range(3))

    def windows(self, requests: Iterable[tuple[Clip, Sequence[Need]]]) -> Iterator[tuple[Clip, Window | Finished]]:
        """Every piece of every clip, in order."""
        source = iter(requests)
        more = True
        while more or self._order:
            while more and len(self._order) < _AHEAD_CLIPS * len(self._workers):
                request = next(source, None)
                more = request is not None
                if request is not None:
                    self._add(_Task(request[0], tuple(request[1])))
            if self._order:
                yield self._order[0].clip, self._take()

    def stop(self) -> None:
        """End the threads, and the workers that are in the middle of a clip."""
        with self._news:
            self._stopped, idle = True, not self._order
            self._work.notify_all()
            self._room.notify_all()
        for thread, worker in zip(self._threads, self._workers, strict=False):
            while thread.is_alive():
                if not idle:
                    worker.kill()
                thread.join(0.05)
        if not idle:
            for worker in self._workers:
                worker.end()

    def _add(self, task: _Task) -> None:
        with self._work:
            self._order.append(task)
            self._waiting.append(task)
            self._work.notify()
        if len(self._threads) < len(self._workers):
            worker = self._workers[len(self._threads)]
            self._threads.append(threading.Thread(target=self._serve, args=(worker,), daemon=True))
            self._threads[-1].start()

    def _take(self) -> Window | Finished:
        """The next piece of the first clip."""
        head = self._order[0]
        with self._news:
            self._news.wait_for(lambda: head.pieces or head.error)
            if not head.pieces:
                assert head.error is not None
                raise head.error
            piece = head.pieces.popleft()
            self._bytes -= _bytes(piece)
            if isinstance(piece, Finished):
                self._order.popleft()
            self._room.notify_all()
        return piece

    def _serve(self, worker: _Worker) -> None:
        """Do clips until there is an end to it."""
        while True:
            with self._work:
                self._work.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                task = self._waiting.popleft()
            try:
                for piece in self._pieces(worker, task):
                    self._put(task, piece)
            except BaseException as error:  # raised in the caller's thread, where the clip's turn comes
                with self._news:
                    task.error = error
                    self._news.notify_all()

    def _pieces(self, worker: _Worker, task: _Task) -> Iterator[Window | Finished]:
        """Pieces of one clip. The kernel may kill a worker for other reasons than the clip: hence a second try."""
        request = Request((replace(task.clip, target=None),), task.needs, self._windowing)
        given, ended = 0, ""
        for _ in range(2):
            try:
                for number, piece in enumerate(worker.ask(request)):
                    if self._stopped:
                        return
                    if number >= given:
                        given += 1
                        yield piece
                return
            except _Died as died:
                if self._stopped:
                    return
                ended = str(died)
        failure = f"{shown(task.clip.path)}: the decoder died twice while reading it ({ended})"
        yield Finished(0.0, identity(task.clip), 0, failure)

    def _put(self, task: _Task, piece: Window | Finished) -> None:
        with self._room:
            self._room.wait_for(
                lambda: self._stopped or self._bytes < _AHEAD_BYTES or (task is self._order[0] and not task.pieces)
            )
            task.pieces.append(piece)
            self._bytes += _bytes(piece)
            self._news.notify_all()


def _bytes(piece: Window | Finished) -> int:
    return piece.samples.nbytes if isinstance(piece, Window) else 0
