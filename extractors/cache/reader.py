"""Read a finished cache (`svuprobe.extractors.cache.format`).

The index comes from ``features.h5``, the features from the shards themselves and not through its
virtual dataset: HDF5 answers NaN there for a shard that it can't open, follows ``HDF5_VDS_PREFIX``
to another cache, and takes any file of the right name and shape.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import EllipsisType, TracebackType

import h5py
import numpy as np

from svuprobe._errors import FileError
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import reading
from svuprobe.extractors.cache.format import Header, plain
from svuprobe.extractors.cache.index import Index, IndexedShard, index_of_shards, join, read_index
from svuprobe.extractors.pooling import OWN

# Of a float16's bits without its sign: from here on they say infinite or NaN.
_FINITE_BELOW = 0x7C00
_MANY = 4 << 20  # values that are looked at at once


def _files_at_once() -> int:
    """Return how many shards may be open; there are up to 256 at clip level.

    A quarter of what the system allows a process is left to others.
    """
    try:
        import resource
    except ImportError:  # Windows
        return 250
    return max(8, min(250, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))


class JoinedFeatures:
    """Read a dataset of a cache, ``features`` or ``std``, (rows, layers, dim) float16.

    Supports ``len``, ``shape``, slices of rows and `read_into`. When a shard is opened, its size
    and the digest that it carries of its rows and features are compared with the index, so it is
    the one that was joined. Values that are not finite are refused where they are first read, with
    the clip's name.
    """

    def __init__(self, directory: Path, index: Index, dataset: str = "features") -> None:
        self._directory, self._index, self._name = directory, index, dataset
        self._names = list(index.shards)
        self._ends = list(accumulate(shard.rows for shard in index.shards.values()))
        self._most = _files_at_once()
        # Features of shards whose files are open.
        self._open: OrderedDict[str, h5py.Dataset] = OrderedDict()
        # Rows of each shard that were not looked at yet: each is looked at once.
        self._unseen = dict(
            zip(self._names, (shard.rows for shard in index.shards.values()), strict=True)
        )
        # HDF5 is not safe among threads, and a shard may be closed for another.
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the rows, layers, dim."""
        header = self._index.header
        return (self._ends[-1] if self._ends else 0), len(header.layer_names), header.dim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | EllipsisType) -> np.ndarray:
        first, last, step = (slice(None) if rows is Ellipsis else rows).indices(len(self))
        rows_read = np.empty((max(0, last - first), *self.shape[1:]), np.float16)
        self.read_into(rows_read, first)
        return rows_read[::step]

    def read_into(self, rows_read: np.ndarray, first: int) -> None:
        """Fill an array (n, layers, dim) with the rows from ``first`` on.

        Raises ExtractError where a shard can't be read, is not the one that the index knows, or
        holds values that are not finite.
        """
        at = 0
        with self._lock:
            while at < len(rows_read):
                # The shard that holds the row: the first whose end lies beyond it.
                number = bisect_right(self._ends, first + at)
                start = self._ends[number - 1] if number else 0
                inside = first + at - start
                n = min(self._ends[number] - start - inside, len(rows_read) - at)
                self._read_shard(self._names[number], inside, rows_read[at : at + n])
                self._refuse_not_finite(self._names[number], first + at, rows_read[at : at + n])
                at += n

    def open_all(self) -> None:
        """Open every shard once, so that one that can't be read is named before any work.

        Raises ExtractError for it.
        """
        with self._lock:
            for name in self._names:
                self._dataset(name)

    def close(self) -> None:
        """Close the shards."""
        with self._lock:
            for dataset in self._open.values():
                dataset.file.close()
            self._open.clear()

    def _read_shard(self, name: str, inside: int, rows_read: np.ndarray) -> None:
        with reading(self._directory / name):
            self._dataset(name).read_direct(rows_read, np.s_[inside : inside + len(rows_read)])

    def _dataset(self, name: str) -> h5py.Dataset:
        """Open the features of a shard that is the index's.

        The file that was not needed for longest is closed for it.
        """
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        path, shard = self._directory / name, self._index.shards[name]
        _require_size(path, shard)
        with reading(path):
            file = h5py.File(path, rdcc_nbytes=0)  # rows are read once: no chunk is needed again
        try:
            with reading(path):
                features = file[self._name]
                self._require(features, plain(file.attrs["sha256"]), path, shard)
        except BaseException:
            file.close()
            raise
        self._open[name] = features
        if len(self._open) > self._most:
            self._open.popitem(last=False)[1].file.close()
        return features

    def _require(
        self, features: h5py.Dataset, content: str, path: Path, shard: IndexedShard
    ) -> None:
        again = f"run svuprobe cache verify {path.parent} --remove, then svuprobe extract again"
        if content != shard.content:
            raise ExtractError(f"{path}: is another shard than features.h5 joins; {again}")
        if features.shape != (shard.rows, *self.shape[1:]) or features.dtype != np.float16:
            raise ExtractError(
                f"{path}: damaged ({self._name} of shape {features.shape}, {features.dtype}); "
                f"{again}"
            )

    def _refuse_not_finite(self, name: str, first: int, rows_read: np.ndarray) -> None:
        """Look at rows that are read for the first time: what later epochs read is the same."""
        if self._unseen[name] <= 0:
            return
        self._unseen[name] -= len(rows_read)
        # Compared as integers, which is faster than isfinite of a float16.
        bits = rows_read.reshape(-1).view(np.uint16)
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
            f"{self._directory / name}: the features of clip {columns['clip_id'][window]!r}, "
            f"layer {header.layer_names[layer]!r}, are not finite; run svuprobe cache verify "
            f"{self._directory} --remove, then svuprobe extract again"
        )


def _require_size(path: Path, shard: IndexedShard) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ExtractError(f"{path}: a shard is missing; run svuprobe extract again") from None
    if size != shard.size:
        raise ExtractError(
            f"{path}: has {size} bytes of {shard.size}; run svuprobe cache verify {path.parent} "
            "--remove, then svuprobe extract again"
        )


class FeatureCache:
    """Open a finished cache for reading.

    Attributes ``clip_id``, ``window``, ``start_s``, ``n_frames``, ``offset``, ``fingerprint`` are
    arrays over the N windows; ``features`` is all features (`JoinedFeatures`), read from the
    shards; at clip level they are the means over each window, and ``std`` the deviations.

    The index carries a digest, and each shard is opened and compared with it: its size, and the
    digest of its content as it says itself. So parts of other caches, and an edited index, are
    found here. A shard whose features or attributes were edited goes unseen, if they are finite:
    ``svuprobe cache verify`` reads every byte. A ``features.h5`` of a version whose columns could
    be damaged is made again, or, where nothing can be written, read from the shards.

    Raises
    ------
    ExtractError
        There is no cache, or a part of it is missing, can't be read, or is not of it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / "features.h5"
        if not path.is_file():
            raise ExtractError(f"{path}: no such cache; run svuprobe extract")
        index = read_index(path) or _rejoined(directory)
        self._index, self.header = index, index.header
        if self.header.format != Header.format:
            raise ExtractError(
                f"{directory}: has format {self.header.format}, this svuprobe reads "
                f"{Header.format}; choose another --features folder and run svuprobe extract for "
                "it"
            )
        columns = index.columns
        self.clip_id, self.fingerprint = columns["clip_id"], columns["fingerprint"]
        self.window, self.start_s = columns["window"], columns["start_s"]
        self.n_frames, self.offset = columns["n_frames"], columns["offset"]
        self.features = JoinedFeatures(directory, index)
        self._opened = [self.features]
        # A file that is open must not stay so where another can't be opened.
        try:
            self.features.open_all()
        except BaseException:
            self.features.close()
            raise

    @cached_property
    def std(self) -> JoinedFeatures:
        """Return the deviations, row by row beside the means of ``features``.

        Raises ExtractError where the cache holds none.
        """
        if not self.header.has_std:
            raise ExtractError(_no_std(self.directory, self.header))
        deviations = JoinedFeatures(self.directory, self._index, "std")
        self._opened.append(deviations)
        return deviations

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """Return the windows of each clip, in their order."""
        # Windows of one clip together, in their order; the shards may hold them in any.
        order = np.lexsort((self.window, self.clip_id))
        ids, first = np.unique(self.clip_id[order], return_index=True)
        return dict(zip(ids.tolist(), np.split(order, first[1:]), strict=True))

    def read(self, row: int) -> np.ndarray:
        """Read all layers of one window, at clip level their means: (1 or frames, layers, dim)
        float16.
        """
        rows = 1 if self.header.level == "clip" else int(self.n_frames[row])
        start = int(self.offset[row])
        return self.features[start : start + rows]

    def close(self) -> None:
        """Close the shards."""
        for features in self._opened:
            features.close()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _no_std(directory: Path, header: Header) -> str:
    """Say why a cache holds no deviations, and what to do for them."""
    if header.level != "clip":
        return f"{directory}: holds frames, which have no deviation; read a cache at clip level"
    if header.pooling == OWN:
        return (
            f"{directory}: holds what {header.model} makes of a whole window itself, which has no "
            "deviation; probe it with pooling = mean"
        )
    return (
        f"{directory}: holds means alone, as it is of an older svuprobe; for deviations, too, run "
        f"svuprobe cache prune {directory} --model {header.model}, then svuprobe extract again"
    )


def _rejoined(directory: Path) -> Index:
    """Return the index of a cache that an older version joined; write it again where that is
    possible.
    """
    try:
        join(directory)
    except FileError:  # a shared cache that others own: its shards say it all, a little slower
        return index_of_shards(directory)
    return read_index(directory / "features.h5") or index_of_shards(directory)
