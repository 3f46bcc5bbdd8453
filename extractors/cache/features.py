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
    Plain h5py reads it; where a shard is missing HDF5 answers NaN. svuprobe takes the index from it, which carries
    a digest (`svuprobe.extractors.cache.index`), and the features from the shards.
``<file>.sha256``
    The checksum of each of these: ``sha256sum -c *.sha256`` (see `svuprobe.extractors.cache.checksums`).

The attributes of the HDF5 files are the fields of :class:`Header`. A chunk holds 16 windows with all layers at clip
level, and 256 frames of one layer at frame level, so that both one layer of every clip and every layer of one clip
are read without their neighbours. The files keep to HDF5 1.10, whose metadata carry checksums of their own.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from svuprobe._errors import FileError
from svuprobe._files import locked, temporary_for
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import Sink, publish, remove
from svuprobe.extractors.cache.index import (
    Index,
    from_shards,
    joins,
    read as read_index,
    shards_there,
    write as write_index,
)
from svuprobe.extractors.cache.joined import JoinedFeatures
from svuprobe.extractors.cache.plan import plan as plan
from svuprobe.extractors.cache.shards import (
    HDF5,
    Header as Header,
    Row as Row,
    ShardWriter as ShardWriter,
    claim as claim,
    finished_clips as finished_clips,
)
from svuprobe.extractors.catalogue import slug


def join(directory: Path) -> None:
    """Write ``features.h5`` over the finished shards of a cache, unless it joins just these already.

    One process at a time; the shards are listed then, so that none is lost. Where there are none it is deleted.

    Raises
    ------
    ExtractError
        A shard is damaged, or of another cache than the others.
    FileError
        The system refuses to write.
    """
    path = directory / "features.h5"
    if joins(path, shards_there(directory)):
        return  # also where nothing may be written
    with locked(path, wait=True):
        there = shards_there(directory)
        if not there:
            remove(path)
        elif not joins(path, there):
            index = from_shards(directory)
            temporary = temporary_for(path)
            try:
                with Sink(temporary, path) as sink:
                    with h5py.File(sink, "w", **HDF5) as file:
                        _join_features(file, index)
                        write_index(index, file)
                    sink.check()
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _join_features(file: h5py.File, index: Index) -> None:
    """The virtual dataset, in h5py's low-level words: its others put the time of day into the file."""
    rows = [source.rows for source in index.sources.values()]
    shape = len(index.header.layer_names), index.header.dim
    whole = h5py.h5s.create_simple((sum(rows), *shape))
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.VIRTUAL)
    how.set_obj_track_times(False)
    how.set_fill_value(np.array([np.nan], np.float16))
    start = 0
    for name, n in zip(index.sources, rows, strict=True):
        whole.select_hyperslab((start, 0, 0), (n, *shape))
        how.set_virtual(whole, name.encode(), b"features", h5py.h5s.create_simple((n, *shape)))
        start += n
    whole.select_all()
    h5py.h5d.create(file.id, b"features", h5py.h5t.py_create(np.dtype(np.float16)), whole, dcpl=how)


class FeatureCache:
    """A finished cache, open for reading.

    Attributes ``clip_id``, ``window``, ``start_s``, ``n_frames``, ``offset``, ``fingerprint`` are arrays over
    the N windows; ``features`` is all features (`JoinedFeatures`), read from the shards.

    The index carries a digest, and each shard is opened and compared with it: its size, and the digest of its content
    as it says itself. So parts of other caches, and an edited index, are found here. A shard whose features or
    attributes were edited goes unseen, if they are finite: ``svuprobe cache verify`` reads every byte. A
    ``features.h5`` of a version whose columns could be damaged is made again, or, where nothing can be written, read
    from the shards.

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
        self.header = index.header
        if self.header.format != Header.format:
            raise ExtractError(
                f"{directory}: has format {self.header.format}, this svuprobe reads {Header.format}; "
                f"choose another --features folder and run svuprobe extract for it"
            )
        columns = index.columns
        self.clip_id, self.fingerprint = columns["clip_id"], columns["fingerprint"]
        self.window, self.start_s = columns["window"], columns["start_s"]
        self.n_frames, self.offset = columns["n_frames"], columns["offset"]
        self.features = JoinedFeatures(directory, index)
        try:
            self.features.open_all()
        except BaseException:
            self.features.close()
            raise

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
        return self.features[start : start + rows]

    def close(self) -> None:
        """Close the shards."""
        self.features.close()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _rejoined(directory: Path) -> Index:
    """The index of a cache that an older version joined: written again where that is possible."""
    try:
        join(directory)
    except FileError:  # a shared cache that others own: its shards say it all, a little slower
        return from_shards(directory)
    return read_index(directory / "features.h5") or from_shards(directory)


def folder_name(header: Header) -> str:
    """``<model>@<revision8>/<dataset>-<windowing>-<level>``, where the cache of a header lies below the features."""
    return f"{slug(header.model)}@{header.revision[:8]}/{header.dataset}-{header.windowing}-{header.level}"


def misplaced(directory: Path, header: Header) -> str:
    """Say what a folder holds that does not belong there by its name; an empty text where all is well."""
    wanted, here = folder_name(header), Path(os.path.abspath(directory))
    if f"{here.parent.name}/{here.name}" == wanted:
        return ""
    return f"holds {wanted} (model {header.model}); move it to where its name says so"


def require_place(directory: Path, header: Header) -> None:
    """Raise ExtractError where a cache lies in the folder of another model, dataset or level."""
    if reason := misplaced(directory, header):
        raise ExtractError(f"{directory}: {reason}")


def find(features: Path, model_slug: str, dataset: str, windowing: str, level: str) -> list[Path]:
    """Folders of the finished caches of a model (every revision of it) for one dataset and windowing."""
    name = f"{dataset}-{windowing}-{level}"
    return sorted(p.parent for p in features.glob(f"{model_slug}@*/{name}/features.h5"))
