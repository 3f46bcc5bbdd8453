"""Define how features lie on disk: immutable HDF5 shards and one ``features.h5`` that joins them.

Conventions
-----------
A cache holds one (model revision, dataset, windowing, level) in the folder
``FEATURES/<model>@<revision8>/<dataset>-<windowing>-<level>/``:

``plan-NNNNN.json``
    The header, which clips go into which shard and how many seconds they last, written before work
    starts. Every process that fills the cache reads the same plan. Clips asked for later go into a
    further plan.
``shard-NNNNN.h5``
    The windows of its clips, or of those that did not fail. Written once: a process killed at any
    moment loses the shard in hand and nothing else.
``features.h5``
    ``clip_id``, ``window``, ``start_s``, ``n_frames`` and ``offset`` (N windows each), and
    ``features``, float16, a virtual dataset over the shards: (frames, layers, dim) at frame level,
    where window n is ``features[offset[n]:offset[n] + n_frames[n]]``; at clip level (N, layers,
    dim), the means over the frames of each window, and ``offset`` is n. Beside these lies ``std``,
    (N, layers, dim) float16: the population standard deviations over the same frames. It is a
    dataset of its own so that who reads means reads no more than them. Plain h5py reads both;
    where a shard is missing HDF5 answers NaN. svuprobe takes the index from it, which carries a
    digest (`svuprobe.extractors.cache.index`), and the features from the shards.
``<file>.sha256``
    The checksum of each of these: ``sha256sum -c *.sha256`` (see
    `svuprobe.extractors.cache.checksums`).

The attributes of the HDF5 files are the fields of `Header`. A chunk holds 16 windows with all
layers at clip level, and 256 frames of one layer at frame level, so that both one layer of every
clip and every layer of one clip are read without their neighbours. The files keep to HDF5 1.10,
whose metadata carry checksums of their own.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.names import slug
from svuprobe.extractors.pooling import MEAN_STD

# The cache holds a chunk of each layer.
HDF5 = {"libver": ("v110", "v110"), "rdcc_nbytes": 32 << 20}
TEXT = h5py.string_dtype("utf-8")
TEXT_COLUMNS = ("clip_id", "fingerprint")  # the others are numbers
# Fields that are in a file only where they say something; no feature depends on them.
_FACTS = ("trained_s", "at_once_s")
# Fields of a header that older caches lack; they are read as their defaults.
_LATER = ("recipe", "pooling", *_FACTS)


@dataclass(frozen=True)
class Header:
    """Hold what a cache was made with. Two caches with different headers are never mixed.

    Attributes
    ----------
    recipe
        How a model was pre-trained by svuprobe; empty of all others, and in caches that are older
        than the field.
    pooling
        What is kept of a window at clip level: ``mean_std``, its mean in ``features`` and its
        deviation in ``std``; ``own``, what the model makes of a whole window itself. Empty at frame
        level, and in caches that are older than the field: there it is the mean or the model's own.
    trained_s, at_once_s
        What windows the model is used to (`svuprobe.extractors.context`), as far as that was known.
    """

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
    format: int = 2
    recipe: str = ""
    pooling: str = ""
    trained_s: float = 0.0
    at_once_s: float = 0.0

    @property
    def has_std(self) -> bool:
        """Return whether deviations lie beside the means."""
        return self.pooling == MEAN_STD

    def rows(self, n_frames: int) -> int:
        """Return how many rows (layers, dim) are kept of a window of so many frames."""
        return n_frames if self.level == "frame" else 1 + self.has_std

    @property
    def grid(self) -> FrameGrid:
        """Return where the model's frames lie."""
        return FrameGrid.of(self)

    @property
    def frame_rate(self) -> float:
        """Return the frames per second."""
        return self.grid.frame_rate

    def attributes(self) -> dict[str, Any]:
        """Return the fields for HDF5 or JSON: layer names as a list."""
        silent = {name for name in _FACTS if not getattr(self, name)}
        body = asdict(self) | {"layer_names": list(self.layer_names)}
        return {name: value for name, value in body.items() if name not in silent}

    def determining(self) -> dict[str, Any]:
        """Return the attributes that features depend on."""
        return {name: v for name, v in self.attributes().items() if name not in _FACTS}

    @classmethod
    def read(cls, attributes: Any) -> Header:
        """Read a header from a file's attributes or a plan's JSON."""
        values = {}
        for f in fields(cls):
            if f.name not in _LATER or f.name in attributes:
                values[f.name] = plain(attributes[f.name])
        return cls(**values | {"layer_names": tuple(values["layer_names"])})

    def require(self, other: Header, where: Path) -> None:
        """Raise ExtractError naming both values where ``other``, found at ``where``, differs."""
        for name in self.determining():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ExtractError(
                    f"{where}: made with {name} = {theirs!r}, asked for {mine!r}; nothing "
                    "was mixed: choose another --features folder"
                )


def datasets(header: Header) -> tuple[str, ...]:
    """Return the names of the datasets of features in a shard."""
    return ("features", "std") if header.has_std else ("features",)


class Row(NamedTuple):
    """Hold one window: a row of the index."""

    clip_id: str
    window: int
    start_s: float
    n_frames: int
    fingerprint: str


def plain(value: Any) -> Any:
    """Return an attribute of an HDF5 file in Python's own types."""
    if isinstance(value, np.ndarray):
        # Of arrays, too: HDF5 gives lists of text as bytes.
        return [plain(v) for v in value.tolist()]
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def numbered(directory: Path, pattern: str) -> dict[int, Path]:
    """Return files of a cache by their number; the pattern is ``plan-*.json`` or ``shard-*.h5``."""
    matching = re.compile(pattern.replace(".", r"\.").replace("*", r"(\d{5,})"))
    by_number = {}
    for path in directory.glob(pattern):
        if match := matching.fullmatch(path.name):
            by_number[int(match[1])] = path
    return dict(sorted(by_number.items()))


def folder_name(header: Header) -> str:
    """Return where a header's cache lies: ``<model>@<revision8>/<dataset>-<windowing>-<level>``."""
    model = f"{slug(header.model)}@{header.revision[:8]}"
    return f"{model}/{header.dataset}-{header.windowing}-{header.level}"


def misplaced(directory: Path, header: Header) -> str:
    """Say what a folder holds that does not belong there by its name; empty where all is well."""
    # Not resolved: a link's own name is what counts.
    wanted, here = folder_name(header), Path(os.path.abspath(directory))
    if f"{here.parent.name}/{here.name}" == wanted:
        return ""
    return f"holds {wanted} (model {header.model}); move it to where its name says so"


def require_place(directory: Path, header: Header) -> None:
    """Raise ExtractError where a cache lies in the folder of another model, dataset or level."""
    if reason := misplaced(directory, header):
        raise ExtractError(f"{directory}: {reason}")


def find(features: Path, model_slug: str, dataset: str, windowing: str, level: str) -> list[Path]:
    """Return the folders of finished caches of a model, in every revision, for a dataset and
    windowing.
    """
    name = f"{dataset}-{windowing}-{level}"
    return sorted(p.parent for p in features.glob(f"{model_slug}@*/{name}/features.h5"))
