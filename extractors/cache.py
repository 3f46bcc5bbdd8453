"""Features on disk: immutable HDF5 shards and one ``features.h5`` that joins them.

Conventions
-----------
A cache holds one (model revision, dataset, windowing, level) in the folder
``FEATURES/<model>@<revision8>/<dataset>-<windowing>-<level>/``:

``plan-NNNNN.json``
    The header, which clips go into which shard and how many seconds they last, written before work starts. Every
    process that fills the cache reads the same plan. Clips asked for later go into a further plan.
``shard-NNNNN.h5``
    The windows of its clips, or of those that did not fail. Written once: a process killed at any moment loses the
    shard in hand and nothing else.
``features.h5``
    ``clip_id``, ``window``, ``start_s``, ``n_frames`` and ``offset`` (N windows each), and ``features``, float16,
    a virtual dataset over the shards: (N, layers, dim) at clip level, (frames, layers, dim) at frame level,
    where window n is ``features[offset[n]:offset[n] + n_frames[n]]``. At clip level ``offset`` is n.
    Plain h5py reads it; where a shard is missing HDF5 answers NaN, and svuprobe refuses to open it.
``<file>.sha256``
    The checksum of each of these: ``sha256sum -c *.sha256`` (see `svuprobe.extractors.durable`).

The attributes of the HDF5 files are the fields of :class:`Header`. A chunk holds 16 windows with all layers at clip
level, and 256 frames of one layer at frame level, so that both one layer of every clip and every layer of one clip
are read without their neighbours. The files keep to HDF5 1.10, whose metadata carry checksums of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import h5py
import numpy as np

from svuprobe._files import locked, temporary_for
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.durable import Sink, publish, reading, recorded, remove, sidecar
from svuprobe.extractors.planning import plan as plan
from svuprobe.extractors.shards import (
    HDF5,
    Header as Header,
    Row as Row,
    ShardWriter as ShardWriter,
    claim as claim,
    finished_clips as finished_clips,
    numbered,
    plain,
)


class Source(NamedTuple):
    """A shard as ``features.h5`` knows it: its size in bytes and its checksum."""

    size: int
    sha256: str


def sources(directory: Path) -> dict[str, Source]:
    """The shards that are there, by name."""
    shards = numbered(directory, "shard-*.h5").values()
    return {path.name: Source(path.stat().st_size, recorded(path)) for path in shards}


def joined_sources(file: h5py.File) -> dict[str, Source]:
    """The shards that an open ``features.h5`` joins, by name."""
    names, sizes, digests = (plain(file.attrs[name]) for name in ("shards", "sizes", "sha256"))
    return {name: Source(*more) for name, *more in zip(names, sizes, digests, strict=True)}


def join(directory: Path, header: Header) -> None:
    """Write ``features.h5`` over the finished shards of a cache, unless it joins just these already.

    One process at a time; the shards are listed then, so that none is lost. Where there are none it is deleted.
    """
    path = directory / "features.h5"
    if _joins(path, sources(directory)):
        return  # also where nothing may be written
    with locked(path, wait=True):
        there = sources(directory)
        if not there:
            remove(path)
        elif not _joins(path, there):
            temporary = temporary_for(path)
            try:
                with Sink(temporary, path) as sink:
                    with h5py.File(sink, "w", **HDF5) as file:
                        _write_joined(file, directory, header, there)
                    sink.check()
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _joins(path: Path, there: dict[str, Source]) -> bool:
    try:
        with h5py.File(path) as file:
            return sidecar(path).exists() and joined_sources(file) == there
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return False  # absent or damaged: written again


def _write_joined(file: h5py.File, directory: Path, header: Header, there: dict[str, Source]) -> None:
    index: dict[str, list[np.ndarray]] = {name: [] for name in Row._fields}
    lengths = []
    for name in there:
        with reading(directory / name), h5py.File(directory / name) as shard:
            header.require(Header.read(shard.attrs), directory / name)
            lengths.append(len(shard["features"]))
            for column, parts in index.items():
                parts.append(shard[column][:])
    _join_features(file, dict(zip(there, lengths, strict=True)), (len(header.layer_names), header.dim))
    for column, parts in index.items():
        file[column] = np.concatenate(parts)
    n_frames = np.concatenate(index["n_frames"])
    rows = np.ones_like(n_frames) if header.level == "clip" else n_frames
    file["offset"] = np.cumsum(rows) - rows
    file.attrs.update(header.attributes())
    file.attrs["shards"] = list(there)
    file.attrs["sizes"] = [source.size for source in there.values()]
    file.attrs["sha256"] = [source.sha256 for source in there.values()]


def _join_features(file: h5py.File, lengths: Mapping[str, int], shape: tuple[int, int]) -> None:
    """The virtual dataset, in h5py's low-level words: its others put the time of day into the file."""
    whole = h5py.h5s.create_simple((sum(lengths.values()), *shape))
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.VIRTUAL)
    how.set_obj_track_times(False)
    how.set_fill_value(np.array([np.nan], np.float16))
    start = 0
    for name, n in lengths.items():
        whole.select_hyperslab((start, 0, 0), (n, *shape))
        how.set_virtual(whole, name.encode(), b"features", h5py.h5s.create_simple((n, *shape)))
        start += n
    whole.select_all()
    h5py.h5d.create(file.id, b"features", h5py.h5t.py_create(np.dtype(np.float16)), whole, dcpl=how)


class FeatureCache:
    """A finished cache, open for reading.

    Attributes ``clip_id``, ``window``, ``start_s``, ``n_frames``, ``offset``, ``fingerprint`` are arrays over
    the N windows; ``features`` is the joined HDF5 dataset.

    Raises ExtractError where there is no cache, or where a shard is missing or has not its size. A byte that was
    changed goes unseen: ``svuprobe cache verify`` reads every one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / "features.h5"
        if not path.is_file():
            raise ExtractError(f"{path}: no such cache; run svuprobe extract")
        with reading(path):
            self._file = h5py.File(path)
            try:
                self._read()
            except BaseException:
                self._file.close()
                raise

    def _read(self) -> None:
        self.header = Header.read(self._file.attrs)
        if self.header.format != Header.format:
            raise ExtractError(
                f"{self.directory}: has format {self.header.format}, this svuprobe reads {Header.format}; "
                f"delete it and run svuprobe extract again"
            )
        self.features = self._file["features"]
        self.clip_id: np.ndarray = self._file["clip_id"].asstr()[:]
        self.fingerprint: np.ndarray = self._file["fingerprint"].asstr()[:]
        self.window, self.start_s, self.n_frames, self.offset = (
            self._file[name][:] for name in ("window", "start_s", "n_frames", "offset")
        )
        for name, source in joined_sources(self._file).items():
            _require_size(self.directory / name, source.size)

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """Windows of each clip, in their order."""
        order = np.lexsort((self.window, self.clip_id))
        ids, first = np.unique(self.clip_id[order], return_index=True)
        return dict(zip(ids.tolist(), np.split(order, first[1:]), strict=True))

    def read(self, row: int) -> np.ndarray:
        """All layers of one window: (1 or frames, layers, dim) float16."""
        rows = 1 if self.header.level == "clip" else int(self.n_frames[row])
        start = int(self.offset[row])
        return np.asarray(self.features[start : start + rows])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _require_size(shard: Path, size: int) -> None:
    try:
        found = shard.stat().st_size
    except FileNotFoundError:
        raise ExtractError(f"{shard}: a shard is missing; run svuprobe extract again") from None
    if found != size:
        raise ExtractError(
            f"{shard}: has {found} bytes of {size}; run svuprobe cache verify {shard.parent} --remove, "
            f"then svuprobe extract again"
        )


def find(features: Path, model_slug: str, dataset: str, windowing: str, level: str) -> list[Path]:
    """Folders of the finished caches of a model (every revision of it) for one dataset and windowing."""
    name = f"{dataset}-{windowing}-{level}"
    return sorted(p.parent for p in features.glob(f"{model_slug}@*/{name}/features.h5"))
