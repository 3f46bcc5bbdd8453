"""Check what a computation runs on before anything is read: devices, types of numbers, processes.

Nothing here imports torch before a device other than the CPU is asked about.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import re
from pathlib import Path
from typing import Any

from svuprobe._errors import OptionError

MOST_JOBS = 256  # processes; each takes some 100 MB
MOST_SEED = 2**63 - 1
MOST_BATCH_S = 86_400.0  # of audio
MOST_TIMEOUT_S = 86_400.0
MOST_WINDOW_S = 3_600.0
MOST_WORKERS = 1024  # of a cluster on this machine
LEAST_MEMORY, MOST_MEMORY = 1 << 20, 1 << 50  # bytes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def devices() -> list[str]:
    """Name the devices that are here, ``cpu`` first; ``cuda`` and ``mps`` are the first of their
    kind.
    """
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        # cuda is the current device, which is the first unless a user says otherwise.
        there += ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    return there


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where its C library is glibc.

    glibc asks the system for each block over 32 MB and gives it back when it is freed, and the
    system clears each page of the next one. Of a network that makes large states that was a third
    of the time: EnCodec at 32 kHz took 3.0 CPU seconds for two clips of 4 s, and takes 2.0. Memory
    that was needed once stays with the process until it ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, Windows
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_MMAP_THRESHOLD, 2**30)


@functools.cache
def default_device() -> str:
    """Return ``cuda`` where there is one, else ``cpu``."""
    return "cuda" if "cuda" in devices() else "cpu"


def checked_device(device: str | None) -> str:
    """Return the device, the default one for None.

    Raises
    ------
    OptionError
        There is no such device on this machine.
    """
    if device is None:
        return default_device()
    # torch is asked only where more than the CPU is.
    if device != "cpu" and device not in (there := devices()):
        raise OptionError(
            f"device {device!r}: there is none of this name here; there is {', '.join(there)}"
        )
    return device


@functools.cache
def device_name(device: str) -> str:
    """Return what a device is called by its maker; ``cpu`` or ``mps`` where the system doesn't
    say.
    """
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    if device != "cpu":
        return device
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or device
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or device


def check_dtype(dtype: str, *, auto: bool = True) -> None:
    """Raise OptionError for a type of numbers that no command computes in."""
    known = ["auto"] * auto + ["float32", "bfloat16"]
    if dtype not in known:
        raise OptionError(f"dtype {dtype!r}; it is one of {', '.join(known)}")


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Raise OptionError unless ``value`` is None or a whole number from ``least`` to ``most``."""
    # By type and not isinstance: true is no number here.
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise OptionError(f"{name} = {value!r}; it is a whole number from {least:,} to {most:,}")


def check_real(name: str, value: Any, most: float) -> None:
    """Raise OptionError unless ``value`` is None or a number greater than 0 and at most
    ``most``.
    """
    # NaN is in no range
    if value is not None and (type(value) not in (int, float) or not 0 < value <= most):
        raise OptionError(f"{name} = {value!r}; it is a number greater than 0 and at most {most:g}")


def local_workers(address: str) -> int:
    """Return how many workers on this machine a cluster's address asks for; 0 for a scheduler's.

    Raises
    ------
    OptionError
        It is no address.
    """
    local = re.fullmatch(r"local:([0-9]{1,9})", address)
    number = int(local[1]) if local else 0
    scheduler = re.fullmatch(r"(\w+://\S+|[\w.-]+:[0-9]{1,5})", address)
    if not 1 <= number <= MOST_WORKERS and (local or address.startswith("local:") or not scheduler):
        raise OptionError(
            f"cluster {address!r}; it is local:N for 1 to {MOST_WORKERS:,} workers on this "
            "machine, or the address of a Dask scheduler, as tcp://10.0.0.1:8786"
        )
    return number


def check_cluster(address: str, device: str | None) -> None:
    """Raise OptionError for what is no address of a cluster, or no device of workers."""
    local_workers(address)
    if device not in (None, "cpu", "cuda"):
        raise OptionError(
            f"device {device!r} on a cluster; it is cpu or cuda, which is each worker's own GPU"
        )
