"""The features of all shards as one array, read from the shards themselves. See `svuprobe.extractors.cache`.

Not through the virtual dataset of ``features.h5``: HDF5 answers NaN there for a shard that it can't open, follows
``HDF5_VDS_PREFIX`` to another cache, and takes any file of the right name and shape.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from types import EllipsisType

import h5py
import numpy as np

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.durable import reading
from svuprobe.extractors.index import Index, Source
from svuprobe.extractors.shards import Header, plain

_OPEN = 32  # files at once: systems allow a process some hundreds
_FINITE_BELOW = 0x7C00  # of a float16's bits without its sign: from here on they say infinite or NaN
_MANY = 4 << 20  # values that are looked at at once


class JoinedFeatures:
    """Features (rows, layers, dim) float16 of a cache.

    Supports ``len``, ``shape``, slices of rows and `read_direct`. A shard is checked against the index when it is
    opened. Values that are not finite are refused where they are first read, with the clip's name.
    """

    def __init__(self, directory: Path, index: Index) -> None:
        self._directory, self._index = directory, index
        self._names = list(index.sources)
        self._ends = list(accumulate(source.rows for source in index.sources.values()))
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._unseen = dict(zip(self._names, (source.rows for source in index.sources.values()), strict=True))
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, layers, dim."""
        header = self._index.header
        return (self._ends[-1] if self._ends else 0), len(header.layer_names), header.dim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | EllipsisType) -> np.ndarray:
        first, last, step = (slice(None) if rows is Ellipsis else rows).indices(len(self))
        made = np.empty((max(0, last - first), *self.shape[1:]), np.float16)
        self.read_into(made, first)
        return made[::step]

    def read_into(self, made: np.ndarray, first: int) -> None:
        """Fill an array (n, layers, dim) with the rows from ``first`` on.

        Raises ExtractError where a shard can't be read, is not the one that the index knows, or holds values that
        are not finite.
        """
        at = 0
        with self._lock:
            while at < len(made):
                number = bisect_right(self._ends, first + at)
                start = self._ends[number - 1] if number else 0
                inside = first + at - start
                n = min(self._ends[number] - start - inside, len(made) - at)
                self._read_shard(self._names[number], inside, made[at : at + n])
                self._refuse_not_finite(self._names[number], first + at, made[at : at + n])
                at += n

    def open_all(self) -> None:
        """Open every shard once, so that one that can't be read is named before any work.

        Raises ExtractError for it.
        """
        with self._lock:
            for name in self._names:
                self._file(name)

    def close(self) -> None:
        """Close the shards."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _read_shard(self, name: str, inside: int, made: np.ndarray) -> None:
        with reading(self._directory / name):
            self._file(name)["features"].read_direct(made, np.s_[inside : inside + len(made)])

    def _file(self, name: str) -> h5py.File:
        """An open shard that is what the index knows; the one that was not needed for longest is closed for it."""
        if name in self._files:
            self._files.move_to_end(name)
            return self._files[name]
        path, source = self._directory / name, self._index.sources[name]
        _require_size(path, source)
        with reading(path):
            file = h5py.File(path, rdcc_nbytes=0)  # rows are read once: no chunk is needed again
        try:
            with reading(path):
                self._require(file, path, source)
        except BaseException:
            file.close()
            raise
        self._files[name] = file
        if len(self._files) > _OPEN:
            self._files.popitem(last=False)[1].close()
        return file

    def _require(self, file: h5py.File, path: Path, source: Source) -> None:
        again = f"run svuprobe cache verify {path.parent} --remove, then svuprobe extract again"
        self._index.header.require(Header.read(file.attrs), path)
        if plain(file.attrs["sha256"]) != source.content:
            raise ExtractError(f"{path}: is another shard than features.h5 joins; {again}")
        features = file["features"]
        if features.shape != (source.rows, *self.shape[1:]) or features.dtype != np.float16:
            raise ExtractError(f"{path}: damaged (features of shape {features.shape}, {features.dtype}); {again}")

    def _refuse_not_finite(self, name: str, first: int, made: np.ndarray) -> None:
        """Look at rows that are read for the first time: what follows them in later epochs is the same."""
        if self._unseen[name] <= 0:
            return
        self._unseen[name] -= len(made)
        bits = made.reshape(-1).view(np.uint16)
        for start in range(0, bits.size, _MANY):
            part = bits[start : start + _MANY]
            if (part & 0x7FFF).max() >= _FINITE_BELOW:
                wrong = start + int(np.flatnonzero((part & 0x7FFF) >= _FINITE_BELOW)[0])
                row, layer = divmod(wrong // self.shape[2], self.shape[1])
                self._say_not_finite(name, first + row, layer)

    def _say_not_finite(self, name: str, row: int, layer: int) -> None:
        columns, header = self._index.columns, self._index.header
        window = int(np.searchsorted(columns["offset"], row, side="right")) - 1
        raise ExtractError(
            f"{self._directory / name}: the features of clip {columns['clip_id'][window]!r}, layer "
            f"{header.layer_names[layer]!r}, are not finite; run svuprobe cache verify {self._directory} --remove, "
            f"then svuprobe extract again"
        )


def _require_size(path: Path, source: Source) -> None:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise ExtractError(f"{path}: a shard is missing; run svuprobe extract again") from None
    if found != source.size:
        raise ExtractError(
            f"{path}: has {found} bytes of {source.size}; run svuprobe cache verify {path.parent} --remove, "
            f"then svuprobe extract again"
        )
