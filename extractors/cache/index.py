"""The index of a cache: which window is where, in which shard. See `svuprobe.extractors.cache.features`.

It is made from the shards and written into ``features.h5``, with a digest over all of it: an index that was edited,
or that is of other shards than it says, is found when it is read. Indexes without that digest were written by
versions whose columns could be damaged: they count as absent, and are made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import reading, recorded
from svuprobe.extractors.cache.shards import TEXT, Header, Row, numbered, plain

_TEXTS = ("clip_id", "fingerprint")


class Source(NamedTuple):
    """A shard as the index knows it: bytes and checksum of its file, rows of features, digest of its content."""

    size: int
    sha256: str
    rows: int
    content: str


@dataclass(frozen=True)
class Index:
    """The windows of all shards.

    Attributes
    ----------
    header
        What the cache was made with.
    sources
        The shards by name, in the order in which their features follow each other.
    columns
        The fields of `Row`, (N,) each: text as objects, numbers as int64 and float64; and ``offset``, the first row
        of each window in the joined features.
    """

    header: Header
    sources: dict[str, Source]
    columns: dict[str, np.ndarray]

    @property
    def digest(self) -> str:
        """SHA-256 over header, shards and columns, hexadecimal."""
        digest = hashlib.sha256(json.dumps([self.header.attributes(), self.sources], sort_keys=True).encode())
        for name, values in sorted(self.columns.items()):
            if name in _TEXTS:
                digest.update(json.dumps(values.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


def shards_there(directory: Path) -> dict[str, tuple[int, str]]:
    """Bytes and recorded checksum of the shards that are there, by name: cheap, nothing is opened."""
    shards = numbered(directory, "shard-*.h5").values()
    return {path.name: (path.stat().st_size, recorded(path)) for path in shards}


def from_shards(directory: Path) -> Index:
    """Read the index from the shards themselves.

    Raises ExtractError where one is damaged, or was made otherwise than the first.
    """
    header: Header | None = None
    sources: dict[str, Source] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Row._fields}
    for name, (size, sha256) in shards_there(directory).items():
        path = directory / name
        with reading(path), h5py.File(path) as shard:
            found = Header.read(shard.attrs)
            header = header or found
            header.require(found, path)
            for column, several in parts.items():
                several.append(_column(shard, column))
            sources[name] = Source(size, sha256, len(shard["features"]), plain(shard.attrs["sha256"]))
            rows = sum(_rows(header, parts["n_frames"][-1]))
        if rows != sources[name].rows:
            raise ExtractError(
                f"{path}: damaged ({sources[name].rows} rows of features for windows of {rows}); "
                f"run svuprobe cache verify {directory} --remove, then svuprobe extract again"
            )
    if header is None:
        raise ExtractError(f"{directory}: no shard of features there; run svuprobe extract")
    columns = {name: np.concatenate(several) for name, several in parts.items()}
    rows_of_each = _rows(header, columns["n_frames"])
    return Index(header, sources, columns | {"offset": np.cumsum(rows_of_each) - rows_of_each})


def _rows(header: Header, n_frames: np.ndarray) -> np.ndarray:
    """Rows of features that each window has."""
    return np.ones_like(n_frames) if header.level == "clip" else n_frames


def _column(file: h5py.File, name: str) -> np.ndarray:
    if name in _TEXTS:
        return np.asarray(file[name].asstr()[:], dtype=object)
    return np.asarray(file[name][:], dtype=np.float64 if name == "start_s" else np.int64)


def write(index: Index, file: h5py.File) -> None:
    """Write the index into an HDF5 file that is being made.

    Every column is created under its name. Where it is assigned (``file[name] = ...``), h5py makes it first and
    names it then, and under this version of the format large files so made read back damaged.
    """
    for name, values in index.columns.items():
        file.create_dataset(name, data=values, dtype=TEXT if name in _TEXTS else None)
    file.attrs.update(index.header.attributes())
    file.attrs["shards"] = list(index.sources)
    for attribute, field in _ATTRIBUTES.items():
        file.attrs[attribute] = [getattr(source, field) for source in index.sources.values()]
    file.attrs["index_sha256"] = index.digest


_ATTRIBUTES = {"sizes": "size", "sha256": "sha256", "rows": "rows", "content": "content"}


def read(path: Path) -> Index | None:
    """Read the index of a ``features.h5``; None where it has no digest and has to be made again.

    Raises ExtractError where it is damaged or was edited.
    """
    with reading(path), h5py.File(path) as file:
        if "index_sha256" not in file.attrs:
            Header.read(file.attrs)  # of whatever version: it is a cache's
            return None
        names = [str(name) for name in plain(file.attrs["shards"])]
        each = zip(*(plain(file.attrs[attribute]) for attribute in _ATTRIBUTES), strict=True)
        sources = {name: Source(*values) for name, values in zip(names, each, strict=True)}
        columns = {name: _column(file, name) for name in (*Row._fields, "offset")}
        index = Index(Header.read(file.attrs), sources, columns)
        said = plain(file.attrs["index_sha256"])
    if index.digest != said:
        raise ExtractError(
            f"{path}: damaged (its index is not what was written); run svuprobe cache verify {path.parent} --remove, "
            f"which makes it again from the shards"
        )
    return index


def joins(path: Path, there: Mapping[str, tuple[int, str]]) -> bool:
    """Whether a ``features.h5`` has an index with a digest, over just these shards (`shards_there`)."""
    try:
        with h5py.File(path) as file:
            columns = (plain(file.attrs[name]) for name in ("shards", "sizes", "sha256"))
            same = {name: (size, sha) for name, size, sha in zip(*columns, strict=True)} == dict(there)
            return same and "index_sha256" in file.attrs
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return False  # absent or damaged: written again
