"""Decode ahead in worker processes: in order, in bounded memory, safe from codecs that crash or
hang.

Workers are plain Python processes that talk over pipes: unlike `multiprocessing` they never import
the caller's script again, so a notebook or a script without ``if __name__ == "__main__"`` will do.
Every worker takes the next clip when it is free; the windows of later clips wait until those of
earlier ones are taken.

A worker that gives no sign for a time, as on a network mount that is gone, is killed and replaced,
and its clip fails by name. Where one after the other does, nothing works, and that ends the work.
Where this process decodes itself (``jobs=0``), and on Windows, nothing can be given up so: there
such a file is waited for.

Not torch's DataLoader: where a codec crashes or hangs it ends the whole run without naming the
clip, and where processes are spawned it imports the caller's script again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from svuprobe.extractors.audio.process import Died, Hangs, Silent, Worker
from svuprobe.extractors.audio.sound_files import FileHead, shown
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window, cut
from svuprobe.extractors.audio.worker import AT_ONCE, FACTS, Fact, Request, side_by_side
from svuprobe.tasks.types import Clip, Windowing

# Without a sign of a worker, by default: a disk or network may be slow and not gone.
TIMEOUT_S = 600.0
_AHEAD_BYTES = 256 << 20  # of windows that wait, over all workers
_AHEAD_CLIPS = 64  # for each worker, begun or not
_CHUNK = 64  # clips in one request for facts


class Decoders:
    """Keep ``jobs`` decoder processes, started when first needed; with 0, this process decodes the
    same.

    ``timeout_s`` is how long a worker may give no sign. A context manager; `close` ends the
    processes.
    """

    def __init__(self, jobs: int, timeout_s: float = TIMEOUT_S) -> None:
        self._silent = Silent(timeout_s)
        # One thread for all: the kernel ends a process with the one it is of.
        self._starter = ThreadPoolExecutor(1)
        self._workers = [Worker(self._starter, timeout_s) for _ in range(jobs)]
        self._ahead: _Ahead | None = None

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def windows(
        self, requests: Iterable[tuple[Clip, Sequence[InputSpec]]], windowing: Windowing
    ) -> Generator[tuple[Clip, Window | ClipEnd], None, None]:
        """Yield each clip's windows and then its ClipEnd, as `windows.cut` does, in the requests'
        order.

        Requests are taken in the caller's thread, some clips ahead. A worker that dies is replaced,
        and its clip tried once more; the clip fails where the second one dies too, or where one
        hangs. Raises ExtractError where several clips one after the other hang.
        """
        if not self._workers:
            for clip, specs in requests:
                for piece in cut(clip, specs, windowing):
                    yield clip, piece
            return
        self._ahead = _Ahead(self._workers, windowing, self._silent)
        try:
            yield from self._ahead.windows(requests)
        finally:
            self._ahead.stop()

    def durations(self, clips: Sequence[Clip]) -> list[float | None]:
        """Return each clip's seconds as `clips.duration` has them; None too where a decoder dies or
        hangs.
        """
        return list(self._facts("duration", clips))

    def identities(self, clips: Sequence[Clip]) -> list[str | None]:
        """Return each clip's `clips.identity`; None where a decoder dies or hangs."""
        return list(self._facts("identity", clips))

    def heads(self, paths: Sequence[str]) -> Iterator[FileHead]:
        """Yield what the head of each file says, in the order of the paths."""
        clips = [Clip("", path, "", None, "") for path in paths]
        for path, head in zip(paths, self._facts("head", clips), strict=True):
            yield head or FileHead(problem=self.why(path))

    def why(self, path: str) -> str:
        """Say why there is no fact about a file."""
        return self._silent.why(path) or "a decoder dies of it"

    def _facts(self, fact: str, clips: Sequence[Clip]) -> Iterator[Any]:
        """Yield a fact about each clip, in order; None where there is none. Raises as `windows`
        does.
        """
        if not self._workers:
            yield from side_by_side(FACTS[fact], clips)
            return
        # Small chunks where there are few clips, so that every worker has some.
        size = max(1, min(_CHUNK, -(-len(clips) // len(self._workers))))
        chunks = [clips[at : at + size] for at in range(0, len(clips), size)]
        free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        over = threading.Event()

        def ask(chunk: Sequence[Clip]) -> list[Any]:
            worker = free.get()
            try:
                return _facts_of(worker, fact, chunk, self._silent, over)
            finally:
                free.put(worker)

        with ThreadPoolExecutor(len(self._workers)) as pool:
            try:
                for answers in pool.map(ask, chunks):
                    yield from answers
            except BaseException:  # Ctrl-C, too: no more requests
                over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in self._workers:
                    worker.kill()
                raise

    def close(self) -> None:
        """End the processes."""
        if self._ahead is not None:
            self._ahead.stop()
        for worker in self._workers:
            worker.end()
        self._starter.shutdown()


def _facts_of(
    worker: Worker, fact: str, clips: Sequence[Clip], silent: Silent, over: threading.Event
) -> list[Any]:
    """Ask for a fact about each clip until it is over.

    None stands for a clip whose file hangs or, twice, kills a worker.
    """
    known: list[Any] = []
    # Of the next clip; clips that are asked alone, since any of those at once may be the bad one.
    deaths = alone = 0
    while len(known) < len(clips) and not over.is_set():
        clip = clips[len(known)]
        if silent.why(clip.path) or deaths == 2:
            known.append(None)
            deaths = 0
            continue
        # Ask for clips up to the next whose file has hung before.
        ahead = next(
            (n for n, c in enumerate(clips[len(known) :]) if silent.why(c.path)), len(clips)
        )
        some = clips[len(known) : len(known) + (1 if alone else ahead)]
        try:
            # Targets are left out: they may be large, and workers need none.
            for answer in worker.ask(
                Request(tuple(replace(c, target=None) for c in some), fact=fact)
            ):
                assert isinstance(answer, Fact)
                known.append(answer.value)
                silent.works()
                deaths, alone = 0, max(0, alone - 1)
        except Died:
            # Of several clips nobody knows which was to blame: they are asked again, one at a time.
            deaths += len(some) == 1
            alone = alone or AT_ONCE
        except Hangs:
            if len(some) == 1:
                silent.add(clip.path)
            alone = alone or AT_ONCE
    return known


@dataclass(eq=False)
class _Task:
    """Hold one clip, and what is known of it that was not taken yet."""

    clip: Clip
    specs: tuple[InputSpec, ...]
    pieces: deque[Window | ClipEnd] = field(default_factory=deque)
    error: BaseException | None = None


class _Ahead:
    """Decode some clips ahead: a thread for each worker fills queues that the caller empties in
    order.

    A window waits for room while ``_AHEAD_BYTES`` are held. Only the first clip's next window
    always finds it, so that the caller never waits for a window that waits for the caller.
    """

    def __init__(self, workers: Sequence[Worker], windowing: Windowing, silent: Silent) -> None:
        self._workers, self._windowing, self._silent = workers, windowing, silent
        self._threads: list[threading.Thread] = []
        self._order: deque[_Task] = deque()  # all clips that are not done with
        self._waiting: deque[_Task] = deque()  # those of them that no worker has begun
        self._bytes = 0
        self._stopped = False
        # One lock, and a condition for each thing that is waited for: a clip, a piece, room.
        lock = threading.Lock()
        self._work, self._news, self._room = (threading.Condition(lock) for _ in range(3))

    def windows(
        self, requests: Iterable[tuple[Clip, Sequence[InputSpec]]]
    ) -> Iterator[tuple[Clip, Window | ClipEnd]]:
        """Yield every piece of every clip, in order."""
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
        # A thread that reads from its worker wakes when that is killed.
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
        # Threads begin one by one, so that few clips take few processes.
        if len(self._threads) < len(self._workers):
            worker = self._workers[len(self._threads)]
            self._threads.append(threading.Thread(target=self._serve, args=(worker,), daemon=True))
            self._threads[-1].start()

    def _take(self) -> Window | ClipEnd:
        """Return the next piece of the first clip."""
        head = self._order[0]
        with self._news:
            self._news.wait_for(lambda: head.pieces or head.error)
            if not head.pieces:
                assert head.error is not None
                raise head.error
            piece = head.pieces.popleft()
            self._bytes -= _bytes(piece)
            # The clip is done with; the next one in order is the first now.
            if isinstance(piece, ClipEnd):
                self._order.popleft()
            self._room.notify_all()
        return piece

    def _serve(self, worker: Worker) -> None:
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
            except BaseException as error:
                # Raised in the caller's thread, where the clip's turn comes.
                with self._news:
                    task.error = error
                    self._news.notify_all()

    def _pieces(self, worker: Worker, task: _Task) -> Iterator[Window | ClipEnd]:
        """Yield pieces of one clip, at a second try too.

        The kernel may kill a worker for other reasons than the clip, as for want of memory.
        """
        path = task.clip.path
        request = Request((replace(task.clip, target=None),), task.specs, self._windowing)
        # Pieces that a first try gave are not given again by the second.
        given, ended = 0, ""
        for _ in range(2):
            if self._silent.why(path):
                break
            try:
                for number, piece in enumerate(worker.ask(request)):
                    if self._stopped:
                        return
                    if number >= given:
                        given += 1
                        yield piece
                self._silent.works()
                return
            except Died as died:
                ended = str(died)
            except Hangs:
                self._silent.add(path)
            if self._stopped:
                return
        why = self._silent.why(path) or f"the decoder died twice while reading it ({ended})"
        yield ClipEnd(0.0, 0, f"{shown(path)}: {why}")

    def _put(self, task: _Task, piece: Window | ClipEnd) -> None:
        with self._room:
            self._room.wait_for(
                lambda: (
                    self._stopped
                    or self._bytes < _AHEAD_BYTES
                    or (task is self._order[0] and not task.pieces)
                )
            )
            task.pieces.append(piece)
            self._bytes += _bytes(piece)
            self._news.notify_all()


def _bytes(piece: Window | ClipEnd) -> int:
    return piece.samples.nbytes if isinstance(piece, Window) else 0
