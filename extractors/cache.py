"""Features on disk: immutable HDF5 shards and one ``features.h5`` that joins them.

Conventions
-----------
A cache holds one (model revision, dataset, windowing, level) in the folder
``FEATURES/<model>@<revision8>/<dataset>-<windowing>-<level>/``:

``plan-NNNNN.json``
    The header and which clips go into which shard, written before work starts. Every process that fills the
    cache reads the same plan, so they need no locks. Clips asked for later go into a further plan.
``shard-NNNNN.h5``
    Written under a temporary name, synced and renamed: a process killed at any moment loses the shard in
    hand and nothing else.
``features.h5``
    ``clip_id``, ``window``, ``start_s``, ``n_frames`` and ``offset`` (N windows each), and ``features``, float16,
    a virtual dataset over the shards: (N, layers, dim) at clip level, (frames, layers, dim) at frame level,
    where window n is ``features[offset[n]:offset[n] + n_frames[n]]``. At clip level ``offset`` is n.
    Plain h5py reads it; where a shard is missing HDF5 answers NaN, and svuprobe refuses to open it.

The attributes of every file are the fields of :class:`Header`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from svuprobe.extractors.base import ExtractError

INDEX = ("clip_id", "window", "start_s", "n_frames", "fingerprint")
_TEXT = h5py.string_dtype("utf-8")
_FRAMES_PER_CHUNK = 256


@dataclass(frozen=True)
class Header:
    """What a cache was made with. Two caches with different headers are never mixed."""

    model: str
    revision: str
    digest: str
    parameters: int
    sample_rate: int
    hop: int
    receptive_field: int
    layer_names: tuple[str, ...]
    dim: int
    normalization: str
    dtype: str
    dataset: str
    windowing: str
    level: str
    format: int = 1

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Centre of each frame of a window that starts at ``start_s``, in seconds, (n_frames,)."""
        centre = np.arange(n_frames) * self.hop + self.receptive_field / 2
        return np.asarray(start_s + centre / self.sample_rate)

    def attributes(self) -> dict[str, Any]:
        """For HDF5: as a dict with layer names as a list."""
        return asdict(self) | {"layer_names": list(self.layer_names)}

    @classmethod
    def read(cls, attributes: Any) -> Header:
        """From a file's attributes or a plan's JSON."""
        values = {f.name: _plain(attributes[f.name]) for f in fields(cls)}
        return cls(**values | {"layer_names": tuple(values["layer_names"])})

    def require(self, other: Header, where: Path) -> None:
        """Raise ExtractError naming both values where ``other``, found at ``where``, differs."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if mine != theirs:
                raise ExtractError(
                    f"{where}: made with {f.name} = {theirs!r}, asked for {mine!r}; nothing was mixed: "
                    f"choose another --features folder or delete this one"
                )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


class ShardWriter:
    """Writes one shard; the file appears under its name only when :meth:`commit` has finished."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self._temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        self._rows: dict[str, list[Any]] = {name: [] for name in INDEX}
        self._digest = hashlib.sha256()
        self._file = h5py.File(self._temporary, "w")
        shape = (len(header.layer_names), header.dim)
        per_chunk = 1 if header.level == "clip" else _FRAMES_PER_CHUNK
        self._features = self._file.create_dataset(
            "features", (0, *shape), "float16", maxshape=(None, *shape), chunks=(per_chunk, *shape)
        )

    def append(self, features: np.ndarray, **row: Any) -> None:
        """Add one window: (1 or frames, layers, dim) float16, and its row of the index."""
        start = self._features.shape[0]
        self._features.resize(start + len(features), axis=0)
        self._features[start:] = features
        self._digest.update(features.tobytes())
        for name in INDEX:
            self._rows[name].append(row[name])

    def commit(self, versions: dict[str, str]) -> None:
        """Write the index and the header, sync, and give the shard its name."""
        for name, values in self._rows.items():
            text = name in ("clip_id", "fingerprint")
            array = np.array(values, dtype=object if text else None)
            self._file.create_dataset(name, data=array, dtype=_TEXT if text else array.dtype)
            self._digest.update(json.dumps(values).encode())
        self._file.attrs.update(self.header.attributes())
        self._file.attrs["versions"] = json.dumps(versions)
        self._file.attrs["sha256"] = self._digest.hexdigest()
        self._file.close()
        sync_and_rename(self._temporary, self.path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def sync_and_rename(temporary: Path, path: Path) -> None:
    """Make ``temporary`` durable and put it in the place of ``path`` in one step."""
    for name, flags in ((temporary, os.O_RDWR), (path.parent, os.O_RDONLY)):
        if name == path.parent:
            os.replace(temporary, path)
        descriptor = os.open(name, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(text)
    sync_and_rename(temporary, path)


# -- the plan -------------------------------------------------------------------------------------------


def plans(directory: Path) -> list[dict[str, Any]]:
    """Every plan of a cache, oldest first."""
    return [json.loads(p.read_text()) for p in sorted(directory.glob("plan-*.json"))]


def plan(directory: Path, header: Header, clip_ids: Iterable[str]) -> dict[str, list[str]]:
    """Shards that hold or will hold ``clip_ids``: shard name -> its clip ids.

    Clips that no plan names yet, or that failed in a shard already finished, are planned now. The split into
    shards depends on the clips alone, so processes that start together write the same plan.
    """
    directory.mkdir(parents=True, exist_ok=True)
    earlier = plans(directory)
    for number, old in enumerate(earlier):
        header.require(Header.read(old["header"]), directory / f"plan-{number:05d}.json")
    shards: dict[str, list[str]] = {}
    for old in earlier:
        shards |= old["shards"]
    covered: set[str] = set()
    for name, ids in shards.items():
        covered |= _done_clips(directory / name) if (directory / name).exists() else set(ids)
    new = [i for i in dict.fromkeys(clip_ids) if i not in covered]
    if new:
        added = _split(new, header.level, first=len(shards))
        text = json.dumps({"header": header.attributes(), "shards": added}, indent=1)
        write_text(directory / f"plan-{len(earlier):05d}.json", text)
        shards |= added
    return shards


def _done_clips(shard: Path) -> set[str]:
    with h5py.File(shard) as file:
        return set(file["clip_id"].asstr()[:])


def _split(ids: list[str], level: str, first: int) -> dict[str, list[str]]:
    """At most 256 shards of at least 32 clips; at frame level 8 clips, a few minutes of audio each."""
    size = 8 if level == "frame" else max(32, -(-len(ids) // 256))
    blocks = [ids[i : i + size] for i in range(0, len(ids), size)]
    return {f"shard-{first + n:05d}.h5": block for n, block in enumerate(blocks)}


# -- the joined cache -----------------------------------------------------------------------------------


def join(directory: Path, header: Header) -> None:
    """Write ``features.h5`` over the finished shards of a cache."""
    shards = sorted(directory.glob("shard-*.h5"))
    index: dict[str, list[np.ndarray]] = {name: [] for name in INDEX}
    lengths = []
    for path in shards:
        with h5py.File(path) as file:
            header.require(Header.read(file.attrs), path)
            lengths.append(len(file["features"]))
            for name in INDEX:
                index[name].append(file[name][:])
    layout = h5py.VirtualLayout((sum(lengths), len(header.layer_names), header.dim), "float16")
    for path, start, n in zip(shards, np.cumsum([0, *lengths[:-1]]), lengths, strict=True):
        layout[start : start + n] = h5py.VirtualSource(path.name, "features", (n, *layout.shape[1:]))
    temporary = directory / f"features.h5.tmp-{os.getpid()}"
    with h5py.File(temporary, "w", libver="latest") as file:
        file.create_virtual_dataset("features", layout, fillvalue=np.nan)
        for name in INDEX:
            file[name] = np.concatenate(index[name])
        rows = np.ones_like(file["n_frames"][:]) if header.level == "clip" else file["n_frames"][:]
        file["offset"] = np.cumsum(rows) - rows
        file.attrs.update(header.attributes())
        file.attrs["shards"] = [p.name for p in shards]
    sync_and_rename(temporary, directory / "features.h5")


class FeatureCache:
    """A finished cache, open for reading.

    Attributes ``clip_id``, ``window``, ``start_s``, ``n_frames``, ``offset``, ``fingerprint`` are arrays over
    the N windows; ``features`` is the joined HDF5 dataset.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / "features.h5"
        if not path.is_file():
            raise ExtractError(f"{path}: no such cache; run svuprobe extract")
        self._file = h5py.File(path)
        self.header = Header.read(self._file.attrs)
        self.features = self._file["features"]
        self.clip_id: np.ndarray = self._file["clip_id"].asstr()[:]
        self.fingerprint: np.ndarray = self._file["fingerprint"].asstr()[:]
        self.window, self.start_s, self.n_frames, self.offset = (
            self._file[name][:] for name in ("window", "start_s", "n_frames", "offset")
        )
        for name in _plain(self._file.attrs["shards"]):
            if not (directory / name).is_file():
                raise ExtractError(f"{directory / name}: a shard is missing; run svuprobe extract again")

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


def find(features: Path, model_slug: str, dataset: str, windowing: str, level: str) -> list[Path]:
    """Folders of the finished caches of a model (every revision of it) for one dataset and windowing."""
    name = f"{dataset}-{windowing}-{level}"
    return sorted(p.parent for p in features.glob(f"{model_slug}@*/{name}/features.h5"))
