"""Work on banks of heads side by side, each on one core; and say how products are rounded there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from svuprobe.extractors.batching import native_dtype
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.features import Block, Steps

# What a bank does with a block and its steps: it learns, or says its part of the validation scores.
See = Callable[[Block, Steps], np.ndarray | None]


@contextlib.contextmanager
def unthreaded(device: str) -> Iterator[None]:
    """Run operations on one core on a CPU.

    torch's own threads wait for each other in each of many small operations, and on a busy machine
    that costs far more than the work. One core each also keeps a result from depending on how torch
    shares an operation out; only how heads are put in banks follows the number of cores, and with
    it the last digits.
    """
    threads = torch.get_num_threads()
    if not device.startswith("cuda"):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# What matrix products are rounded to, and torch's name
# for it. Sums and weights are float32 in all of them.
MATMUL_PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "medium"}


def matmul_precision_for(protocol: Protocol, device: str, dtype: str = "auto") -> str:
    """Choose one of ``MATMUL_PRECISIONS``: as asked; or TF32 on a GPU, on a CPU what it multiplies.

    Linear heads stay in float32 on a CPU: their products are small, and rounding them saves next to
    nothing.
    """
    if dtype != "auto":
        return dtype
    if device.startswith("cuda"):
        return "tf32"
    return native_dtype(device) if protocol.hidden else "float32"


@contextlib.contextmanager
def matmul_rounding(matmul_precision: str) -> Iterator[None]:
    """Round matrix products as one of ``MATMUL_PRECISIONS`` says."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(MATMUL_PRECISIONS[matmul_precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _alone_on_a_core() -> None:
    """Set up a thread that trains.

    The softmax of a head that has learnt its training set leaves gradients below 1e-38, and a
    product with such numbers takes a CPU several times as long: they count as zeros.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class Workers:
    """Work on banks side by side, each on one core, on a CPU; one after the other on a GPU.

    Banks are independent, so they need no barrier inside an operation.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith("cuda")
        self.stop = threading.Event()

    def __enter__(self) -> Workers:
        if not self.on_gpu:
            self.pool = ThreadPoolExecutor(cpu_count(), initializer=_alone_on_a_core)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()  # on an interrupt, what runs ends with its epoch
        if not self.on_gpu:
            self.pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Return results in the order of the items."""
        return map(work, items) if self.on_gpu else self.pool.map(work, items)

    def over(
        self, blocks: Iterable[tuple[Block, Steps]], sees: Sequence[See]
    ) -> Iterator[list[np.ndarray | None]]:
        """Yield what all banks say of each block, which they see in order.

        Who is done with a block goes on with the next one. No block is asked for before all are
        done with the last but one.
        """
        if self.on_gpu:
            for block in blocks:
                yield [see(*block) for see in sees]
            return
        before: list[Future[np.ndarray | None]] = []
        for block in blocks:
            # A bank sees a block only after the one before, whoever works on it.
            last: list[Future[Any] | None] = [*before] or [None] * len(sees)
            now = []
            for see, done in zip(sees, last, strict=True):
                now.append(self.pool.submit(_see_after, see, block, done))
            if before:
                yield [done.result() for done in before]
            before = now
        yield [done.result() for done in before]


def _see_after(
    see: See, block: tuple[Block, Steps], last: Future[np.ndarray | None] | None
) -> np.ndarray | None:
    """Let a bank see a block once it is done with the ``last`` one."""
    if last is not None:
        last.result()
    return see(*block)
