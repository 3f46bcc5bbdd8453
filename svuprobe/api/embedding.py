"""Compute features of audio files without a task, and write them as arrays or a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svuprobe._files import replacing
from svuprobe._run_options import RunOptions
from svuprobe._show import shown
from svuprobe.api.arguments import local_path
from svuprobe.api.audio_files import audio_files
from svuprobe.api.models import LoadedModel, load_model
from svuprobe.extractors.audio import ClipEnd, Decoders, Window
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.batching import finite_features, input_spec
from svuprobe.extractors.cache.checksums import Sink
from svuprobe.tasks.types import Clip, Windowing

SUFFIXES = (".npz", ".h5", ".parquet")
LEVELS = ("clip", "frame")


@dataclass(frozen=True)
class Embedding:
    """Hold the features of one file.

    Attributes
    ----------
    features
        (layers, dim) float32, means over time, or (layers, frames, dim) at frame level; None where
        the file can't be read.
    frames
        How many frames it has.
    failure
        Why it can't be read, or has no features, else nothing.
    """

    path: Path
    features: np.ndarray | None
    frames: int = 0
    failure: str = ""

    __repr__ = shown


def embed(
    model: str | Path,
    audio: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    level: str = "clip",
    window_s: float | None = None,
    options: RunOptions | None = None,
) -> list[Embedding]:
    """Compute every layer's features of audio files, and write them where a file is named.

    Parameters
    ----------
    model
        Its name, as `load_model` takes it.
    audio
        Files of any length and rate; folders, which are searched for sound files; or patterns.
    out
        ``.npz`` (arrays ``features``, ``paths``, ``layers``, ``model``), ``.h5`` (a dataset a file
        under ``features``) or ``.parquet`` (a row a file and layer; needs pyarrow). None writes
        nothing.
    level
        ``clip``: the mean over all frames of a file; ``frame``: every frame.
    window_s
        Seconds that the model sees at once; None takes a file whole, or in equal parts where it
        lasts over a minute.
    options
        ``device``, ``dtype``, ``jobs`` and ``reporter`` are used.

    Returns
    -------
    list of Embedding
        One a file, in their order; one that can't be read, or that the model refuses, has a
        ``failure``.

    Raises
    ------
    ExtractError
        The model can't be loaded, there is no file, or none has features; a format that is not
        here.

    Example
    -------
    >>> import svuprobe
    >>> (song,) = svuprobe.embed("logmel", ["song.wav"], "song.npz")
    >>> song.features.shape
    (1, 128)
    """
    options = options or RunOptions()
    target = None if out is None else local_path(out)
    if level not in LEVELS:
        raise ExtractError(f"level {level!r}; it is one of {', '.join(LEVELS)}")
    if target is not None:
        _check_format(target, level)
    files = [each.path for each in audio_files(audio)]
    loaded = load_model(model, options=options)
    with Decoders(options.decoders, options.decode_timeout_s) as decoders:
        found = _embedded(loaded, files, level, Windowing(window_s), options, decoders)
        done = list(options.reporter.watch(found, "embed", len(files)))
    usable = [each for each in done if not each.failure]
    if not usable:
        raise ExtractError(f"none of {len(files)} files has features: {done[0].failure}")
    if target is not None:
        _WRITERS[target.suffix](target, loaded, usable, level)
    return done


def _embedded(
    loaded: LoadedModel,
    files: Sequence[Path],
    level: str,
    windowing: Windowing,
    options: RunOptions,
    decoders: Decoders,
) -> Iterator[Embedding]:
    """Yield the features of each file."""
    extractor = loaded.extractor
    spec = input_spec(extractor, level)
    clips = [Clip(str(file), str(file), "train", None, "") for file in files]
    parts: list[np.ndarray] = []
    counts: list[int] = []
    refused = ""
    with torch.inference_mode():
        for clip, piece in decoders.windows(((clip, [spec]) for clip in clips), windowing):
            if isinstance(piece, Window):
                # What the model refuses in one file holds up no other.
                try:
                    states, frames = finite_features(
                        extractor, [piece.samples], level, options.runs_on
                    )
                except ExtractError as error:
                    refused = refused or f"{clip.path}: {error}"
                    continue
                rows = 1 if level == "clip" else frames[0]
                parts.append(states[0, :rows].float().cpu().numpy())  # (rows, layers, dim)
                counts.append(frames[0])
                continue
            assert isinstance(piece, ClipEnd)
            path = Path(clip.path)
            if piece.failure or refused or not parts:
                reason = piece.failure or refused
                reason = reason or f"{path}: shorter than a frame of {loaded.name}"
                yield Embedding(path, None, failure=reason)
            elif level == "clip":
                # Each window counts as its frames do.
                mean = np.average(np.concatenate(parts), axis=0, weights=counts)
                yield Embedding(path, mean.astype(np.float32), sum(counts))
            else:
                every = np.concatenate(parts).transpose(1, 0, 2)
                yield Embedding(path, np.ascontiguousarray(every), sum(counts))
            parts, counts, refused = [], [], ""


# -- files -----------------------------------------------------------------------------------------


def _check_format(out: Path, level: str) -> None:
    """Raise ExtractError for a name that says no format, or one whose package is missing."""
    if out.suffix not in SUFFIXES:
        raise ExtractError(f"{out}: the name ends in one of {', '.join(SUFFIXES)}")
    if out.suffix == ".parquet":
        if level == "frame":
            raise ExtractError(f"{out}: a table holds one row a file and layer; use .h5 for frames")
        _arrow()


def _arrow() -> Any:
    """Return pyarrow. Raises ExtractError where it isn't installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ExtractError(
            ".parquet needs the package pyarrow: pip install 'svuprobe[frames]', or use .npz or .h5"
        ) from None
    return pyarrow


def _npz(out: Path, loaded: LoadedModel, done: Sequence[Embedding], level: str) -> None:
    """Write arrays: at frame level one after the other, ``frames`` of each file."""
    features = [each.features for each in done if each.features is not None]
    # Files of many lengths join along time; np.split(features, np.cumsum(frames)[:-1], axis=1).
    joined = np.stack(features) if level == "clip" else np.concatenate(features, axis=1)
    with replacing(out) as path, path.open("wb") as file:
        np.savez(
            file,
            features=joined,
            frames=np.array([each.frames for each in done]),
            paths=np.array([str(each.path) for each in done]),
            layers=np.array(loaded.layer_names),
            model=np.array(f"{loaded.name}@{loaded.revision}"),
        )


def _utf8(path: Path) -> str:
    """Return a path as text that HDF5 and Parquet hold; bytes that are not UTF-8 as ``\\udce9``."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _hdf5(out: Path, loaded: LoadedModel, done: Sequence[Embedding], level: str) -> None:
    """Write a dataset a file, with its path as an attribute."""
    import h5py

    with replacing(out) as path, Sink(path, out) as sink:
        with h5py.File(sink, "w") as content:
            content.attrs["model"] = f"{loaded.name}@{loaded.revision}"
            content.attrs["layers"] = list(loaded.layer_names)
            content.attrs["level"] = level
            for number, each in enumerate(done):
                dataset = content.create_dataset(f"features/{number:06d}", data=each.features)
                dataset.attrs["path"] = _utf8(each.path)
                dataset.attrs["frames"] = each.frames
        sink.check()


def _parquet(out: Path, loaded: LoadedModel, done: Sequence[Embedding], level: str) -> None:
    """Write a row a file and layer."""
    arrow = _arrow()
    columns: dict[str, list[Any]] = {"path": [], "layer": [], "frames": [], "features": []}
    for each in done:
        assert each.features is not None
        for layer, features in zip(loaded.layer_names, each.features, strict=True):
            columns["path"].append(_utf8(each.path))
            columns["layer"].append(layer)
            columns["frames"].append(each.frames)
            columns["features"].append(features)
    table = arrow.table(columns).replace_schema_metadata(
        {"model": f"{loaded.name}@{loaded.revision}"}
    )
    with replacing(out) as path:
        arrow.parquet.write_table(table, str(path))


_WRITERS = {".npz": _npz, ".h5": _hdf5, ".parquet": _parquet}
