"""Index a cache: which window is where, in which shard (`svuprobe.extractors.cache.format`).

It is made from the shards and written into ``features.h5``, with a digest over all of it: an index
that was edited, or that is of other shards than it says, is found when it is read. Indexes without
that digest were written by versions whose columns could be damaged: they count as absent, and are
made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from svuprobe._files import locked, temporary_for
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import Sink, publish, reading, recorded, remove
from svuprobe.extractors.cache.format import (
    HDF5,
    TEXT,
    TEXT_COLUMNS,
    Header,
    Row,
    datasets,
    numbered,
    plain,
)


class IndexedShard(NamedTuple):
    """Hold what the index knows of a shard: bytes, checksum, rows of features, digest of its
    content.
    """

    size: int
    sha256: str
    rows: int
    content: str


@dataclass(frozen=True)
class Index:
    """Hold the windows of all shards.

    Attributes
    ----------
    header
        What the cache was made with.
    shards
        The shards by name, in the order in which their features follow each other.
    columns
        The fields of `Row`, (N,) each: text as objects, numbers as int64 and float64; and
        ``offset``, the first row of each window in the joined features.
    """

    header: Header
    shards: dict[str, IndexedShard]
    columns: dict[str, np.ndarray]

    @property
    def digest(self) -> str:
        """Return SHA-256 over header, shards and columns, hexadecimal."""
        return self.digest_of(self.header.attributes())

    def digest_of(self, header: Mapping[str, Any]) -> str:
        """Return the digest with a header as a file holds it: older ones lack a field or two."""
        digest = hashlib.sha256(json.dumps([header, self.shards], sort_keys=True).encode())
        # Text and numbers are digested apart: the bytes of an object array are addresses.
        for name, values in sorted(self.columns.items()):
            if name in TEXT_COLUMNS:
                digest.update(json.dumps(values.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


def shards_on_disk(directory: Path) -> dict[str, tuple[int, str]]:
    """Return bytes and recorded checksum of the shards there, by name: cheap, nothing is opened."""
    shards = numbered(directory, "shard-*.h5").values()
    return {path.name: (path.stat().st_size, recorded(path)) for path in shards}


def index_of_shards(directory: Path) -> Index:
    """Read the index from the shards themselves.

    Raises ExtractError where one is damaged, or was made otherwise than the first.
    """
    header: Header | None = None
    shards: dict[str, IndexedShard] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Row._fields}
    for name, (size, sha256) in shards_on_disk(directory).items():
        path = directory / name
        with reading(path), h5py.File(path) as file:
            made_with = Header.read(file.attrs)
            header = header or made_with
            header.require(made_with, path)
            for column, several in parts.items():
                several.append(_column(file, column))
            lengths = [len(file[dataset]) for dataset in datasets(header)]
            shards[name] = IndexedShard(size, sha256, lengths[0], plain(file.attrs["sha256"]))
            rows = sum(_rows(header, parts["n_frames"][-1]))
        for length in lengths:
            if rows != length:
                raise ExtractError(
                    f"{path}: damaged ({length} rows of features for windows of {rows}); run "
                    f"svuprobe cache verify {directory} --remove, then svuprobe extract again"
                )
    if header is None:
        raise ExtractError(f"{directory}: no shard of features there; run svuprobe extract")
    columns = {name: np.concatenate(several) for name, several in parts.items()}
    rows_of_each = _rows(header, columns["n_frames"])
    # A window's features begin where those of all before it end.
    return Index(header, shards, columns | {"offset": np.cumsum(rows_of_each) - rows_of_each})


def _rows(header: Header, n_frames: np.ndarray) -> np.ndarray:
    """Return how many rows of features each window has."""
    return np.ones_like(n_frames) if header.level == "clip" else n_frames


def _column(file: h5py.File, name: str) -> np.ndarray:
    """Read a column: text as objects, numbers as int64, start_s as float64."""
    if name in TEXT_COLUMNS:
        return np.asarray(file[name].asstr()[:], dtype=object)
    return np.asarray(file[name][:], dtype=np.float64 if name == "start_s" else np.int64)


def _write_index(index: Index, file: h5py.File) -> None:
    """Write the index into an HDF5 file that is being made.

    Every column is created under its name. Where it is assigned (``file[name] = ...``), h5py makes
    it first and names it then, and under this version of the format large files so made read back
    damaged.
    """
    for name, values in index.columns.items():
        file.create_dataset(name, data=values, dtype=TEXT if name in TEXT_COLUMNS else None)
    file.attrs.update(index.header.attributes())
    file.attrs["shards"] = list(index.shards)
    for attribute, field in _ATTRIBUTES.items():
        file.attrs[attribute] = [getattr(shard, field) for shard in index.shards.values()]
    file.attrs["index_sha256"] = index.digest


# Attributes of the file, and the fields of `IndexedShard` that they list.
_ATTRIBUTES = {"sizes": "size", "sha256": "sha256", "rows": "rows", "content": "content"}


def read_index(path: Path) -> Index | None:
    """Read the index of a ``features.h5``; None where it has no digest and has to be made again.

    Raises ExtractError where it is damaged or was edited.
    """
    with reading(path), h5py.File(path) as file:
        if "index_sha256" not in file.attrs:
            Header.read(file.attrs)  # of whatever version: it is a cache's
            return None
        names = [str(name) for name in plain(file.attrs["shards"])]
        each = zip(*(plain(file.attrs[attribute]) for attribute in _ATTRIBUTES), strict=True)
        shards = {name: IndexedShard(*values) for name, values in zip(names, each, strict=True)}
        columns = {name: _column(file, name) for name in (*Row._fields, "offset")}
        index = Index(Header.read(file.attrs), shards, columns)
        said = plain(file.attrs["index_sha256"])
        held = {key: v for key, v in index.header.attributes().items() if key in file.attrs}
    if index.digest_of(held) != said:
        raise ExtractError(
            f"{path}: damaged (its index is not what was written); run svuprobe cache verify "
            f"{path.parent} --remove, which makes it again from the shards"
        )
    return index


def joins_shards(path: Path, on_disk: Mapping[str, tuple[int, str]]) -> bool:
    """Return whether a ``features.h5`` has an index with a digest, over just these
    `shards_on_disk`.
    """
    try:
        with h5py.File(path) as file:
            columns = (plain(file.attrs[name]) for name in ("shards", "sizes", "sha256"))
            same = {name: (size, sha) for name, size, sha in zip(*columns, strict=True)} == dict(
                on_disk
            )
            return same and "index_sha256" in file.attrs
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return False  # absent or damaged: written again


def join(directory: Path) -> None:
    """Write ``features.h5`` over a cache's finished shards, unless it joins just these already.

    One process at a time; the shards are listed then, so that none is lost. Where there are none it
    is deleted.

    Raises
    ------
    ExtractError
        A shard is damaged, or of another cache than the others.
    FileError
        The system refuses to write.
    """
    path = directory / "features.h5"
    if joins_shards(path, shards_on_disk(directory)):
        return  # also where nothing may be written
    with locked(path, wait=True):
        # Another process may have finished shards while this one waited.
        on_disk = shards_on_disk(directory)
        if not on_disk:
            remove(path)
        elif not joins_shards(path, on_disk):
            index = index_of_shards(directory)
            temporary = temporary_for(path)
            try:
                with Sink(temporary, path) as sink:
                    with h5py.File(sink, "w", **HDF5) as file:
                        for dataset in datasets(index.header):
                            _join_features(file, index, dataset)
                        _write_index(index, file)
                    sink.check()
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _join_features(file: h5py.File, index: Index, dataset: str) -> None:
    """Write a virtual dataset, in h5py's low-level words: its others write the time of day."""
    rows = [shard.rows for shard in index.shards.values()]
    shape = len(index.header.layer_names), index.header.dim
    whole = h5py.h5s.create_simple((sum(rows), *shape))
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.VIRTUAL)
    layout.set_obj_track_times(False)
    # What a missing shard would hold reads as NaN, never as zeros.
    layout.set_fill_value(np.array([np.nan], np.float16))
    start = 0
    for name, n in zip(index.shards, rows, strict=True):
        whole.select_hyperslab((start, 0, 0), (n, *shape))
        own = h5py.h5s.create_simple((n, *shape))
        layout.set_virtual(whole, name.encode(), dataset.encode(), own)
        start += n
    whole.select_all()
    h5py.h5d.create(
        file.id, dataset.encode(), h5py.h5t.py_create(np.dtype(np.float16)), whole, dcpl=layout
    )
