"""Name a checkpoint's revision: the hub's commit, or a digest of the files of a folder that are
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from svuprobe.extractors.checkpoints.source import (
    CONFIGURATIONS,
    NESTED_SETTINGS,
    SETTINGS,
    Source,
    in_folder,
)
from svuprobe.extractors.checkpoints.weight_files import find_weights, only_pickle


def revision_of(source: Source, weights: Sequence[Path]) -> str:
    """Return the commit, or the digest of the files of a folder that are read."""
    if source.commit is not None:
        return source.commit
    read = [source.find(file) for file in ("config.json", SETTINGS, NESTED_SETTINGS)]
    read += [source.find_anywhere(file) for file in CONFIGURATIONS]
    # As long as a commit on the hub, so that both look alike in names of folders.
    return digest_files(*read, *weights)[:40]


def folder_revision(folder: Path, name: str) -> str:
    """Return the digest of a checkpoint's files in a folder, its revision, without loading them.

    Raises
    ------
    ExtractError
        No such folder, or one without weights, or one that doesn't say what they are of.
    """
    source = in_folder(folder, name)
    configured = any(source.find_anywhere(file) for file in CONFIGURATIONS)
    if only_pickle(source) is None and not configured:
        source.required("config.json")
    return revision_of(source, find_weights(source))


def digest_files(*paths: Path | None) -> str:
    """Return the SHA-256 of the names and the bytes of files; None stands for one that isn't there.

    A file is read once as long as it stays what it is: a suite asks for a model's revision before
    every result.
    """
    return _digest_unchanged(tuple((path, *_state_of(path)) for path in paths if path is not None))


def _state_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does: which one it is, its size, its times in nanoseconds."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=256)
def _digest_unchanged(files: tuple[tuple[Any, ...], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
