"""Write, claim, read back and delete one shard (`svuprobe.extractors.cache.format`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from svuprobe._files import locked, temporary_for
from svuprobe.extractors.cache.checksums import Sink, publish, reading, remove
from svuprobe.extractors.cache.format import (
    HDF5,
    TEXT,
    TEXT_COLUMNS,
    Header,
    Row,
    datasets,
    numbered,
)

# Of features that are read at once to compute their digest.
_READ_BYTES = 64 << 20
_WINDOWS_PER_CHUNK, _FRAMES_PER_CHUNK = 16, 256


# What `read_shard` has read, by path, with what tells a file from the one that takes its place.
_read: dict[Path, tuple[tuple[int, int, int], Header, dict[str, str]]] = {}


class ShardWriter:
    """Write one shard; the file appears under its name only when :meth:`commit` has finished.

    Raises ExtractError where the system refuses to write: a full disk, a read-only folder.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self._rows: list[Row] = []
        self._digests: dict[str, Any] = {}
        self._temporary = temporary_for(path)
        self._sink = Sink(self._temporary, path)
        self._file = h5py.File(self._sink, "w", **HDF5)
        layers, dim = len(header.layer_names), header.dim
        # What is read together lies together: all layers of a clip, or one layer's frames.
        chunk = (
            (_WINDOWS_PER_CHUNK, layers, dim)
            if header.level == "clip"
            else (_FRAMES_PER_CHUNK, 1, dim)
        )
        self._datasets = [
            self._file.create_dataset(
                name, (0, layers, dim), "float16", maxshape=(None, layers, dim), chunks=chunk
            )
            for name in datasets(header)
        ]

    @property
    def rows_written(self) -> int:
        """Return the windows so far."""
        return len(self._rows)

    def _length(self, row: Row) -> int:
        return self.header.rows(row.n_frames)

    def append(self, features: np.ndarray, rows: Sequence[Row]) -> None:
        """Add windows.

        Parameters
        ----------
        features
            (R, layers, dim) float16: at frame level all frames of all rows; at clip level one for
            each row, or where the header says ``mean_std`` two, a mean and then its deviation.
        rows
            Their index; windows of one clip follow each other.
        """
        lengths = [self._length(row) for row in rows]
        if len(features) != sum(lengths):
            raise ValueError(f"{len(features)} features for rows of {sum(lengths)}")
        step = len(self._datasets)
        for n, dataset in enumerate(self._datasets):
            start = len(dataset)
            dataset.resize(start + len(features) // step, axis=0)
            dataset[start:] = features[n::step]
        self._sink.check()
        self._rows += rows
        # A digest for each clip, so that a clip that fails can be dropped again.
        parts = np.split(np.ascontiguousarray(features), np.cumsum(lengths)[:-1])
        for row, part in zip(rows, parts, strict=True):
            digest = self._digests.setdefault(row.clip_id, hashlib.sha256())
            digest.update(json.dumps(row).encode())
            digest.update(part)

    def drop(self, clip_id: str) -> None:
        """Forget the windows of a clip that failed in its middle; it is the last one, or has
        none.
        """
        kept = [row for row in self._rows if row.clip_id != clip_id]
        if self._rows[: len(kept)] != kept:
            raise ValueError(f"clip {clip_id!r} is not the last one")
        if len(kept) < len(self._rows):
            for dataset in self._datasets:
                dataset.resize(sum(map(self._length, kept)) // len(self._datasets), axis=0)
            self._sink.check()
            self._rows = kept
            del self._digests[clip_id]

    def commit(self, versions: dict[str, str]) -> None:
        """Write the index and the header, sync, and give the shard its checksum and its name.

        The attribute ``sha256`` is over rows and features, whatever their layout in the file.
        """
        for name, values in zip(Row._fields, zip(*self._rows, strict=True), strict=True):
            text = isinstance(values[0], str)
            self._file.create_dataset(name, data=list(values), dtype=TEXT if text else None)
        self._file.attrs.update(self.header.attributes())
        self._file.attrs["versions"] = json.dumps(versions)
        content = b"".join(digest.digest() for digest in self._digests.values())
        self._file.attrs["sha256"] = hashlib.sha256(content).hexdigest()
        self._file.close()
        self._sink.check()
        self._sink.close()
        publish(self._temporary, self.path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a commit this closes nothing twice and deletes nothing.
        self._file.close()
        self._sink.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Give whether this process may write a shard now; it may as long as the context lasts.

    False where another live process is at it. What a dead one left of the shard is deleted.
    """
    with locked(path, wait=False) as mine:
        yield mine


def read_shard(path: Path) -> tuple[Header, dict[str, str]]:
    """Read a shard's header and the fingerprint of each of its clips; ExtractError where it is
    damaged.

    A plan asks for each several times, and opening thousands of files takes a while: what was read
    is kept as long as the file is the same one. A shard is never changed, only replaced.
    """
    with reading(path):
        found = path.stat()
        version = found.st_ino, found.st_mtime_ns, found.st_size
        known = _read.get(path)
        if known is None or known[0] != version:
            with h5py.File(path) as file:
                ids, prints = file["clip_id"].asstr()[:], file["fingerprint"].asstr()[:]
                known = version, Header.read(file.attrs), dict(zip(ids, prints, strict=True))
            _read[path] = known
    return known[1], dict(known[2])


def content_of(file: h5py.File) -> str:
    """Compute the digest over an open shard's rows and features: its ``sha256`` if nothing was
    changed.
    """
    header = Header.read(file.attrs)
    columns = (
        file[name].asstr()[:] if name in TEXT_COLUMNS else file[name][:] for name in Row._fields
    )
    digests: dict[str, Any] = {}
    several = [file[name] for name in datasets(header)]
    length = len(several[0])
    if any(len(one) != length for one in several):
        raise ValueError(f"{length} means beside {len(several[-1])} deviations")
    ahead = max(1, _READ_BYTES // max(1, several[0][:1].nbytes))  # rows that are read at once
    held, first, start = [one[:ahead] for one in several], 0, 0
    for values in zip(*(column.tolist() for column in columns), strict=True):
        row = Row(*values)
        stop = start + header.rows(row.n_frames) // len(several)
        # A window that goes beyond what was read starts the next read.
        if stop > first + len(held[0]):
            held = [one[start : max(stop, start + ahead)] for one in several]
            first = start
        digest = digests.setdefault(row.clip_id, hashlib.sha256())
        digest.update(json.dumps(row).encode())
        for one in held:
            digest.update(np.ascontiguousarray(one[start - first : stop - first]))
        start = stop
    if start != length:
        raise ValueError(f"{length} rows of features for windows of {start}")
    return hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()


def read_shards(directory: Path) -> dict[Path, dict[str, str]]:
    """Read what is in each finished shard of a cache: clip id -> what the clip was made from."""
    return {path: read_shard(path)[1] for path in numbered(directory, "shard-*.h5").values()}


def delete_shard(shard: Path, seen: Mapping[str, str]) -> None:
    """Delete a shard that is to be made again, unless another process did so since it was ``seen``.

    The caller holds the shard's claim.
    """
    if shard.exists() and read_shard(shard)[1] == seen:
        remove(shard)
