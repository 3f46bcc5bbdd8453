"""Say what a worker is: versions, device, and whether it sees a file.

The function is sent as its source, so that it also answers where svuprobe is older or absent: this
module imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What can change a feature or a score.
LIBRARIES = (
    "svuprobe", "torch", "transformers", "numpy", "scipy", "scikit-learn", "soxr", "soundfile",
    "mir_eval",
)  # fmt: skip
_PARTS = ("", ".extractors", ".pretrain", ".tasks", ".probe", ".benchmarks")
_PATIENCE_S = 5.0  # until a new file is seen through a network


def facts(files: Mapping[str, str]) -> dict[str, Any]:
    """Return what the process that calls it is.

    Parameters
    ----------
    files
        What files must hold that it should see; a folder for empty text.

    Returns
    -------
    dict
        ``host``, ``versions`` by library (empty where it is absent), ``unseen`` (the files that are
        not there, or other ones), ``gpu`` (there is one) and ``dtype`` (the numbers that the
        device multiplies fast, by device).
    """
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ""
    if versions["svuprobe"]:
        versions["svuprobe"] += f" ({_source()})"
    found = {"host": platform.node(), "versions": versions, "gpu": False, "dtype": {}}
    found["unseen"] = [path for path, text in files.items() if not _is_seen(path, text)]
    if all(versions.values()):
        from svuprobe._machine import devices
        from svuprobe.extractors.batching import native_dtype

        there = [device for device in ("cpu", "cuda") if device in devices()]
        found["gpu"] = "cuda" in there
        found["dtype"] = {device: native_dtype(device) for device in there}
    return found


def _source() -> str:
    """Return a digest of svuprobe's own code: a version number is that of many checkouts."""
    digest = hashlib.sha256()
    for part in _PARTS:
        spec = importlib.util.find_spec(f"svuprobe{part}")
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def _is_seen(path: str, text: str) -> bool:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if os.path.isdir(path) if not text else Path(path).read_text("utf-8") == text:
                return True
        except OSError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


def labels(dask_scheduler: Any) -> dict[str, dict[str, float]]:
    """Return the resource labels of each worker of a scheduler, by its address."""
    return {address: dict(worker.resources) for address, worker in dask_scheduler.workers.items()}


def running(dask_scheduler: Any) -> dict[str, int]:
    """Return how many tasks each worker of a scheduler runs, by its address."""
    return {
        address: min(worker.nthreads, len(worker.processing))
        for address, worker in dask_scheduler.workers.items()
    }
