"""Fill a cache: decode, cut into windows, run the model, write shards.

Windows are batched only with windows of the same length, so a clip's features never depend on what else is in
its batch. At frame level windows join without a seam: each is read with the samples its last frame still
sees, so a 5 s window at 16 kHz has 250 frames on one uniform grid over the whole clip (Yamamoto pads one
reflected frame per window instead; the true audio is at hand, so it is used).
"""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svuprobe.extractors.audio import fingerprint, load_clip, trim_silence
from svuprobe.extractors.base import ExtractError, Extractor
from svuprobe.extractors.cache import FeatureCache, Header, ShardWriter, join, plan
from svuprobe.extractors.catalogue import slug
from svuprobe.tasks.types import Clip, Windowing

Progress = Callable[..., Any]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LIBRARIES = ("torch", "transformers", "numpy", "soxr", "svuprobe")


@dataclass
class Report:
    """What one extraction did: of ``clips`` wanted, ``cached`` were there and ``done`` were added.

    ``quiet`` windows were dropped by the windowing's ``min_rms``.
    """

    directory: Path
    clips: int = 0
    cached: int = 0
    done: int = 0
    windows: int = 0
    quiet: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Samples an extractor sees at once, and where they belong."""

    clip_id: str
    number: int
    start_s: float
    samples: np.ndarray


def header_for(
    extractor: Extractor, dataset: str, windowing: Windowing, level: str, dtype: str = "float32"
) -> Header:
    """The header of the cache that ``extractor`` fills."""
    names = ("revision", "digest", "parameters", "sample_rate", "hop", "receptive_field")
    return Header(
        model=extractor.name,
        **{name: getattr(extractor, name) for name in names},
        layer_names=tuple(extractor.layer_names),
        dim=extractor.dim,
        normalization=extractor.normalization,
        dtype=dtype,
        dataset=dataset,
        windowing=windowing.key,
        level=level,
    )


def cache_folder(features: Path, header: Header) -> Path:
    """``FEATURES/<model>@<revision8>/<dataset>-<windowing>-<level>``."""
    model = f"{slug(header.model)}@{header.revision[:8]}"
    return features / model / f"{header.dataset}-{header.windowing}-{header.level}"


def extract(
    extractor: Extractor,
    clips: Sequence[Clip],
    features: Path,
    *,
    dataset: str,
    windowing: Windowing,
    level: str,
    device: str = "cpu",
    dtype: str = "float32",
    batch_seconds: float = 60.0,
    jobs: int = 2,
    shard: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> Report:
    """Run one model once over every clip that its cache does not hold yet.

    Parameters
    ----------
    clips
        All clips of the dataset that are wanted; ids are unique.
    shard
        ``(i, n)``: do the i-th of n parts of the plan, for several processes on one cache.
    progress
        Wraps an iterable as ``tqdm`` does.

    Returns
    -------
    Report
        With a failure ``(clip id, reason)`` for every clip that can't be decoded or is too short; the others
        are done.
    """
    started = time.perf_counter()
    header = header_for(extractor, dataset, windowing, level, dtype)
    directory = cache_folder(features, header)
    by_id = {c.id: c for c in clips}
    report = Report(directory, clips=len(by_id))
    todo = _pending(directory, header, by_id, shard, report)
    if todo:
        extractor.to(device, DTYPES[dtype])
        run = _Run(extractor, header, windowing, device, batch_seconds, jobs, report)
        total = sum(len(ids) for _, ids in todo)
        with torch.inference_mode(), _bar(progress, total, extractor.name) as bar:
            for path, ids in todo:
                run.shard(path, [by_id[i] for i in ids], bar)
    if list(directory.glob("shard-*.h5")) and (todo or not (directory / "features.h5").exists()):
        join(directory, header)
    report.wall_s = time.perf_counter() - started
    return report


def _bar(progress: Progress | None, total: int, name: str) -> Any:
    return _NoBar() if progress is None else progress(total=total, desc=f"extract {name}", unit="clip")


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def _pending(
    directory: Path, header: Header, by_id: dict[str, Clip], part: tuple[int, int], report: Report
) -> list[tuple[Path, list[str]]]:
    """Shards still to be written, with their clips; counts what is cached and checks that it is still true."""
    index, of = part
    shards = plan(directory, header, by_id)
    todo = [
        (n, directory / name, [i for i in ids if i in by_id])
        for n, (name, ids) in enumerate(sorted(shards.items()))
        if not (directory / name).exists() and not by_id.keys().isdisjoint(ids)
    ]
    report.cached = report.clips - sum(len(ids) for _, _, ids in todo)
    if report.cached and (directory / "features.h5").exists():
        _refuse_changed_audio(directory, by_id)
    return [(path, ids) for n, path, ids in todo if n % of == index - 1]


def identity(clip: Clip) -> str:
    """What a clip's features were made from: its file's content and the part of it."""
    return f"{fingerprint(clip.path)} {clip.start!r}-{clip.end!r}"


def _refuse_changed_audio(directory: Path, by_id: dict[str, Clip]) -> None:
    with FeatureCache(directory) as cache:
        known = dict(zip(cache.clip_id.tolist(), cache.fingerprint.tolist(), strict=True))
    for clip_id, clip in by_id.items():
        if clip_id in known and known[clip_id] != identity(clip):
            raise ExtractError(
                f"{clip.path}: clip {clip_id!r} (its audio, start or end) is not what {directory} was made from; "
                f"delete that cache, or keep the other audio under another dataset name"
            )


@dataclass
class _Run:
    """One extraction in progress."""

    extractor: Extractor
    header: Header
    windowing: Windowing
    device: str
    batch_seconds: float
    jobs: int
    report: Report

    def shard(self, path: Path, clips: Sequence[Clip], bar: Any) -> None:
        """Write one shard; nothing is written where every clip of it failed."""
        blocks = [[c] for c in clips] if self.header.level == "frame" else [list(clips)]
        with ShardWriter(path, self.header) as writer:
            written = sum(self._block(writer, block, bar) for block in blocks)
            if written:
                writer.commit(_versions())

    def _block(self, writer: ShardWriter, clips: list[Clip], bar: Any) -> int:
        """Decode and run some clips; their windows are appended in the order of the clips."""
        done: dict[tuple[str, int], tuple[Window, np.ndarray]] = {}
        waiting: dict[int, list[Window]] = {}
        marks = {c.id: identity(c) for c in clips}
        for clip, samples in _decode_ahead(clips, self.header.sample_rate, self.jobs):
            bar.update(1)
            if isinstance(samples, ExtractError):
                self.report.failures.append((clip.id, str(samples)))
                continue
            self.report.audio_s += len(samples) / self.header.sample_rate
            windows = list(self._cut(clip, samples))
            if not windows:
                self.report.failures.append((clip.id, f"{clip.path}: no window is long and loud enough to be kept"))
            for window in windows:
                same = waiting.setdefault(len(window.samples), [])
                same.append(window)
                if len(same) * len(window.samples) >= self.batch_seconds * self.header.sample_rate:
                    self._batch(waiting.pop(len(window.samples)), done)
        for same in waiting.values():
            for batch in self._within_budget(same):
                self._batch(batch, done)
        return self._append(writer, clips, marks, done)

    def _within_budget(self, windows: list[Window]) -> Iterator[list[Window]]:
        seconds = len(windows[0].samples) / self.header.sample_rate
        size = max(1, int(self.batch_seconds / max(seconds, 1e-3)))
        for start in range(0, len(windows), size):
            yield windows[start : start + size]

    def _append(
        self,
        writer: ShardWriter,
        clips: list[Clip],
        marks: dict[str, str],
        done: dict[tuple[str, int], tuple[Window, np.ndarray]],
    ) -> int:
        failed = {clip_id for clip_id, _ in self.report.failures}
        order = {c.id: n for n, c in enumerate(clips) if c.id not in failed}
        keys = sorted((k for k in done if k[0] in order), key=lambda k: (order[k[0]], k[1]))
        for key in keys:
            window, states = done[key]
            n_frames = self._frames(len(window.samples))
            writer.append(
                states,
                clip_id=window.clip_id,
                window=window.number,
                start_s=window.start_s,
                n_frames=n_frames,
                fingerprint=marks[window.clip_id],
            )
        self.report.windows += len(keys)
        self.report.done += len(order)
        return len(keys)

    def _frames(self, n_samples: int) -> int:
        return 1 + max(0, n_samples - self.header.receptive_field) // self.header.hop

    def _cut(self, clip: Clip, samples: np.ndarray) -> Iterator[Window]:
        """Windows of one clip; at frame level with the samples the last frame still sees."""
        rate, context = self.header.sample_rate, self.header.receptive_field - self.header.hop
        first, last = trim_silence(samples, rate) if self.windowing.trim else (0, len(samples))
        frames = self.header.level == "frame"
        padded = np.pad(samples[first:last], (0, context if frames else 0))
        for number, (a, b) in enumerate(self.windowing.spans(last - first, rate)):
            if frames and b - a < self.header.hop:
                continue
            piece = padded[a : b + context] if frames else padded[a:b]
            if (
                self.windowing.min_rms
                and np.sqrt(np.mean(np.square(piece, dtype=np.float64))) < self.windowing.min_rms
            ):
                self.report.quiet += 1
                continue
            yield Window(clip.id, number, (first + a) / rate, piece)

    def _batch(self, windows: list[Window], done: dict[tuple[str, int], tuple[Window, np.ndarray]]) -> None:
        """Run windows of one length; a window the model refuses fails its clip and no other."""
        audio = torch.from_numpy(np.stack([w.samples for w in windows])).to(self.device)
        lengths = torch.full((len(windows),), audio.shape[1], dtype=torch.int64, device=self.device)
        try:
            states, _ = self.extractor(audio, lengths)  # (B, L, F, D)
        except ExtractError as error:
            self.report.failures += [(w.clip_id, str(error)) for w in windows]
            return
        if self.header.level == "clip":
            states = states.float().mean(dim=2)[:, :, None]
        arrays = states.transpose(1, 2).to(torch.float16).cpu().numpy()  # (B, 1 or F, L, D)
        for window, array in zip(windows, arrays, strict=True):
            if not np.isfinite(array).all():
                self.report.failures.append((window.clip_id, "features are not finite in float16"))
            done[window.clip_id, window.number] = window, array


def _decode_ahead(
    clips: Iterable[Clip], sample_rate: int, jobs: int
) -> Iterator[tuple[Clip, np.ndarray | ExtractError]]:
    """Clips in their order with their samples, decoded by ``jobs`` threads a little ahead of their use."""
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        ahead: deque[tuple[Clip, Any]] = deque()
        for clip in clips:
            ahead.append((clip, pool.submit(_try_load, clip, sample_rate)))
            if len(ahead) > 2 * jobs:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()


def _try_load(clip: Clip, sample_rate: int) -> np.ndarray | ExtractError:
    try:
        return load_clip(clip, sample_rate)
    except ExtractError as error:
        return error


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}
