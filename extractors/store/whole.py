"""Tell whether a plan or a shard is whole by itself, without the checksum beside it."""

from __future__ import annotations

from pathlib import Path

import h5py

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import reading
from svuprobe.extractors.cache.format import plain
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.cache.shards import content_of


def is_whole(path: Path) -> bool:
    """Tell whether a file can be read and, of a shard, holds what its own digest is of."""
    try:
        with open(path, "rb") as file:
            is_shard = file.read(8) == b"\x89HDF\r\n\x1a\n"
        if not is_shard:
            read_plan(path)
            return True
        with reading(path), h5py.File(path) as shard:
            return bool(content_of(shard) == plain(shard.attrs["sha256"]))
    except ExtractError:
        return False
