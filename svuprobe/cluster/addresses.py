"""Connect to a Dask scheduler, or start one with workers on this machine."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from svuprobe._errors import UserError
from svuprobe._machine import local_workers

_ANSWER_S = 10.0  # that a scheduler has to answer
_WORKERS_S = 60.0  # and workers to be there


class ClusterError(UserError):
    """Report a scheduler that is not there, or workers that will not do."""


def dask() -> Any:
    """Return the package distributed; ClusterError where it is not installed."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise ClusterError(
            "--cluster needs the package distributed: pip install 'distributed>=2024'"
        ) from None


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give a client of the scheduler at an address, with at least one worker.

    ``local:N`` starts N worker processes of one thread each, which end with this context: also
    where this process is killed.

    Raises
    ------
    ClusterError
        Nobody answers there, or no worker comes.
    """
    number = local_workers(address)
    if number:
        with _local(number) as client:
            yield client
        return
    with _client(address, address) as client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError:
            raise ClusterError(
                f"{address}: the scheduler has had no worker for {_WORKERS_S:g} s; start some with "
                f"dask worker {address} --nthreads 1, then run the same command again"
            ) from None
        yield client


@contextmanager
def _client(address: str, where: Any) -> Iterator[Any]:
    distributed = dask()
    try:
        client = distributed.Client(where, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise ClusterError(
            f"{address}: no Dask scheduler answers there ({said}); start one with dask scheduler, "
            "or write --cluster local:4 for workers on this machine"
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=_ANSWER_S)


@contextmanager
def _local(number: int) -> Iterator[Any]:
    """Start a scheduler in this process, and workers; the first ones hold a GPU each, as far as
    there are some.
    """
    distributed = dask()
    import torch

    gpus = torch.cuda.device_count()
    with tempfile.TemporaryDirectory(prefix="svuprobe-workers-") as folder:
        common = {
            "nthreads": 1,
            "memory_limit": 0,
            "local_directory": folder,
            "dashboard": False,
            "silence_logs": logging.CRITICAL,
        }
        workers = {}
        for n in range(number):
            options = dict(common)
            if n < gpus:
                options |= {"resources": {"gpu": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(n)}}
            workers[n] = {"cls": distributed.Nanny, "options": options}
        scheduler = {
            "cls": distributed.Scheduler,
            # A free port for its pages of numbers: its own default may be another run's.
            "options": {
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
                "host": "127.0.0.1",
            },
        }
        with (
            distributed.SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster,
            _client(f"local:{number}", cluster) as client,
        ):
            try:
                client.wait_for_workers(number, timeout=_WORKERS_S)
            except TimeoutError:
                raise ClusterError(
                    f"local:{number}: not all workers have started after {_WORKERS_S:g} s; each "
                    "is a process that takes a core: ask for fewer"
                ) from None
            yield client
