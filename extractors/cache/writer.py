"""The writer's thread: from what models say to shards on the disk, in the order of the clips."""

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
import torch

from svuprobe.extractors.audio.windows import Window, identity
from svuprobe.extractors.cache.features import Header, Row, ShardWriter
from svuprobe.tasks.types import Clip

_LIBRARIES = ("torch", "transformers", "numpy", "soxr", "svuprobe")


@dataclass
class Report:
    """What one extraction did: of ``clips`` wanted, ``cached`` were there and ``done`` were added.

    ``busy`` clips are being done by another process, ``elsewhere`` ones belong to other parts (``shard``).
    ``quiet`` windows were dropped by the windowing's ``min_rms``. ``wall_s`` is the model's
    own part of the time that the models of the call took, 0 where nothing was to be done.
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
    failures: list[tuple[str, str]] = field(default_factory=list)


class Features:
    """Features of a batch; they come from the device once, when the writer asks for them."""

    def __init__(self, states: torch.Tensor) -> None:
        self._states = states

    def of(self, index: int, rows: int) -> np.ndarray:
        """(rows, layers, dim) of one window."""
        self._states = self._states.cpu()
        return self._states[index, :rows].numpy()


@dataclass(frozen=True)
class Answer:
    """What a model said to one window: its place in a batch of features, or why there are none."""

    clip: Clip
    window: Window
    n_frames: int
    made: Features | str
    index: int

    def features(self, level: str) -> np.ndarray | str:
        """(1 or frames, layers, dim), or why there are none."""
        if isinstance(self.made, str):
            return self.made
        array = self.made.of(self.index, self.n_frames if level == "frame" else 1)
        return array if np.isfinite(array).all() else f"{self.clip.path}: features are not finite in float16"


class ShardFile:
    """A shard in the making; its methods run in the writer's thread, in the order of the calls."""

    def __init__(self, path: Path, header: Header, report: Report, n_clips: int) -> None:
        self.path, self.header, self.report, self.n_clips = path, header, report, n_clips
        self.failed: dict[str, str] = {}
        self._identities: dict[str, str] = {}
        self._writer: ShardWriter | None = None

    def fail(self, clip_id: str, reason: str) -> None:
        """Forget what there is of a clip, and remember why."""
        self.failed.setdefault(clip_id, reason)
        if self._writer is not None:
            self._writer.drop(clip_id)

    def add(self, answers: Sequence[Answer]) -> None:
        """Append windows in their order; a clip fails as a whole."""
        for clip_id, several in itertools.groupby(answers, key=lambda answer: answer.clip.id):
            if clip_id in self.failed:
                continue
            windows = list(several)
            found = [answer.features(self.header.level) for answer in windows]
            reason = next((f for f in found if isinstance(f, str)), None)
            if reason:
                self.fail(clip_id, reason)
                continue
            if clip_id not in self._identities:
                self._identities[clip_id] = identity(windows[0].clip)
            mark = self._identities[clip_id]
            rows = [Row(clip_id, a.window.number, a.window.start_s, a.n_frames, mark) for a in windows]
            self._open().append(np.concatenate([f for f in found if not isinstance(f, str)]), rows)

    def commit(self) -> None:
        """Make the shard durable; there is none where every clip failed."""
        report = self.report
        report.failures += self.failed.items()
        report.done += self.n_clips - len(self.failed)
        if self._writer is not None and self._writer.rows_written:
            report.windows += self._writer.rows_written
            self._writer.commit(_versions())
        self.close()

    def close(self) -> None:
        """Leave nothing temporary behind."""
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None

    def _open(self) -> ShardWriter:
        if self._writer is None:
            self._writer = ShardWriter(self.path, self.header)
        return self._writer


class Writer:
    """One thread that does what it is told, in order; an error in it is raised where the next thing is asked."""

    def __init__(self) -> None:
        self.files: list[ShardFile] = []
        self._calls: queue.Queue[Callable[[], Any] | None] = queue.Queue(maxsize=4)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="svuprobe-writer", daemon=True)

    def do(self, call: Callable[..., Any], *arguments: Any) -> None:
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

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self._error is None:
            self._error = error  # what still waits is not written
        self._calls.put(None)
        self._thread.join()
        for file in self.files:
            file.close()
        if error is None and self._error is not None:
            raise self._error


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}
