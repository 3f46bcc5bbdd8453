"""Measure what the forward passes of a model take on its device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from svuprobe._machine import device_name
from svuprobe.extractors.cache.speed import Speed


class Stopwatch:
    """Add up the seconds of some stretches of work.

    A GPU works on after it was asked: there its own clock is read, at the ends of each stretch, so
    that it is nowhere waited for. Elsewhere work is done when the call returns, but for Apple's
    GPUs, which are waited for.

    Parameters
    ----------
    device, dtype, compiled
        How the model runs.
    """

    def __init__(self, device: str = "cpu", dtype: str = "float32", compiled: bool = False) -> None:
        self._device, self._dtype, self._compiled = torch.device(device), dtype, compiled
        self._audio_s = self._wall_s = self._cpu_s = 0.0
        self._running: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self, audio_s: float) -> Iterator[None]:
        """Count the block, in which so many seconds of audio go through the model."""
        cpu = time.process_time()
        if self._device.type == "cuda":
            with self._on_gpu():
                yield
        else:
            started = time.perf_counter()
            yield
            if self._device.type == "mps":
                torch.mps.synchronize()
            self._wall_s += time.perf_counter() - started
        self._cpu_s += time.process_time() - cpu
        self._audio_s += audio_s

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        stream = torch.cuda.current_stream(self._device)
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record(stream)
        yield
        end.record(stream)
        self._running.append((begin, end))
        # Those that are done already; the others count when the seconds are asked for.
        while self._running and self._running[0][1].query():
            self._count_first()

    def _count_first(self) -> None:
        begin, end = self._running.pop(0)
        end.synchronize()
        self._wall_s += begin.elapsed_time(end) / 1000  # of milliseconds

    @property
    def wall_s(self) -> float:
        """Return the seconds that passed; on a GPU, once it has done all it was asked."""
        while self._running:
            self._count_first()
        return self._wall_s

    @property
    def speed(self) -> Speed | None:
        """Return what there is to keep of it; None where nothing ran."""
        if not self._audio_s or not self.wall_s:
            return None
        return Speed(
            device=device_name(str(self._device)),
            threads=torch.get_num_threads() if self._device.type == "cpu" else 0,
            dtype=self._dtype,
            compiled=self._compiled,
            audio_s=self._audio_s,
            wall_s=self.wall_s,
            cpu_s=self._cpu_s,
        )
