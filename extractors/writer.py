"""Write features of windows into shards, in a thread of its own, in the order of the clips."""

from __future__ import annotations

import functools
import itertools
import platform
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from svuprobe._show import shown
from svuprobe.extractors.batching import WindowFeatures
from svuprobe.extractors.cache import Header, Row, ShardWriter
from svuprobe.extractors.cache.speed import Speed

# What can change a feature, and so stands in every shard.
LIBRARIES = ("torch", "transformers", "numpy", "soxr", "svuprobe")


@dataclass
class ExtractionReport:
    """Count what one extraction did: of ``clips`` wanted, ``cached`` were there, ``done`` were
    added.

    ``busy`` clips are being done by another process, ``elsewhere`` ones belong to other parts
    (``shard``). ``quiet`` windows were dropped by the windowing's ``min_rms``. ``wall_s`` is the
    model's own part of the time that the models of the call took, 0 where nothing was to be done;
    ``speed`` says what its forward passes alone took, None where there were none.
    """

    directory: Path
    model: str
    clips: int = 0
    cached: int = 0
    done: int = 0
    busy: int = 0
    elsewhere: int = 0
    windows: int = 0
    quiet: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    speed: Speed | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)

    __repr__ = shown

    def add(self, other: ExtractionReport) -> None:
        """Count what another process did of the same extraction."""
        for name in ("cached", "done", "windows", "quiet", "audio_s", "wall_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        # A clip may have failed twice, where a share was begun again.
        self.failures = list(dict(self.failures + other.failures).items())


class ShardFile:
    """Hold a shard in the making; its methods run in the writer's thread, in the order of the
    calls.
    """

    def __init__(self, path: Path, header: Header, report: ExtractionReport, n_clips: int) -> None:
        self.path, self.header, self.report, self.n_clips = path, header, report, n_clips
        self._failures: dict[str, str] = {}  # clip id -> reason
        self._writer: ShardWriter | None = None

    def fail(self, clip_id: str, reason: str) -> None:
        """Forget what there is of a clip, and remember why."""
        self._failures.setdefault(clip_id, reason)
        if self._writer is not None:
            self._writer.drop(clip_id)

    def add(self, features: Sequence[WindowFeatures]) -> None:
        """Append windows in their order; a clip fails as a whole."""
        for clip_id, of_clip in itertools.groupby(features, key=lambda window: window.clip.id):
            if clip_id not in self._failures:
                self._add_clip(clip_id, list(of_clip))

    def _add_clip(self, clip_id: str, windows: Sequence[WindowFeatures]) -> None:
        """Append some windows of one clip."""
        arrays, rows = [], []
        for features in windows:
            array = features.array(self.header.rows(features.n_frames))
            if isinstance(array, str):
                self.fail(clip_id, array)
                return
            arrays.append(array)
            window = features.window
            rows.append(
                Row(clip_id, window.number, window.start_s, features.n_frames, window.identity)
            )
        # The file appears with its first clip: a shard whose clips all fail leaves none.
        if self._writer is None:
            self._writer = ShardWriter(self.path, self.header)
        self._writer.append(np.concatenate(arrays), rows)

    def commit(self) -> None:
        """Make the shard durable; there is none where every clip failed."""
        report = self.report
        report.failures += self._failures.items()
        report.done += self.n_clips - len(self._failures)
        if self._writer is not None and self._writer.rows_written:
            report.windows += self._writer.rows_written
            self._writer.commit(versions())
        self.close()

    def close(self) -> None:
        """Leave nothing temporary behind."""
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None


class Writer:
    """Run one thread that does what it is told, in order.

    An error in it is raised where the next thing is asked.

    So HDF5 and the disk don't hold up the models, and a full disk is said as soon as it is known.
    """

    def __init__(self) -> None:
        self.files: list[ShardFile] = []
        # Few may wait: each holds a block of features in memory.
        self._calls: queue.Queue[Callable[[], Any] | None] = queue.Queue(maxsize=4)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="svuprobe-writer", daemon=True)

    def do(self, call: Callable[..., Any], *arguments: Any) -> None:
        # An error may come while this waits for room, so it is looked for on both sides.
        """Call it later, with these arguments."""
        if self._error is None:
            self._calls.put(functools.partial(call, *arguments))
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if self._error is None:
                    call()
            except BaseException as error:
                self._error = error

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._error is None:
            self._error = error  # what still waits is not written
        self._calls.put(None)
        self._thread.join()
        for file in self.files:
            file.close()
        if error is None and self._error is not None:
            raise self._error


def versions() -> dict[str, str]:
    """Return what a shard says it was made with."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
