"""Fill caches: decode each clip once, cut it into windows, run the models, write shards.

Conventions
-----------
**Windows** of several clips share a padded batch. Extractors answer exactly in any batch, so a clip's features
don't depend on what else is extracted. At frame level windows join without a seam: each is read with the
samples its last frame still sees, so a 5 s window at 16 kHz has 250 frames on one uniform grid over the whole
clip (Yamamoto pads one reflected frame per window instead; the true audio is at hand, so it is used).

**Flow.** Worker processes decode ahead (`svuprobe.extractors.audio.decoders`); this thread forms batches and runs
every model that lacks the clip on them; one thread writes. All three hold a bounded amount of audio and features
whatever the length of a file. What a batch holds follows from the plan and ``batch_seconds`` alone, never from
timing, so an interrupted run that goes on ends with the same bytes.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio.decoders import TIMEOUT_S, Decoders
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window
from svuprobe.extractors.base import ExtractError, Extractor
from svuprobe.extractors.batching import DTYPES, batch_seconds_for, input_spec, native_dtype, pack, window_features
from svuprobe.extractors.cache.changed import Shards, changed_shards, drop, shards_of
from svuprobe.extractors.cache.features import Header, claim, folder_name, join, plan
from svuprobe.extractors.cache.manage import tidy
from svuprobe.extractors.cache.writer import Answer, Features, Report, ShardFile, Writer
from svuprobe.extractors.progress import Estimate, gib
from svuprobe.tasks.types import Clip, Windowing

_DISK_MARGIN = 1.02


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
    return features / folder_name(header)


def extract(
    extractors: Sequence[Extractor],
    clips: Sequence[Clip],
    features: Path,
    *,
    dataset: str,
    windowing: Windowing,
    level: str,
    device: str = "cpu",
    dtype: str = "auto",
    batch_seconds: float | None = None,
    jobs: int = 1,
    decode_timeout_s: float = TIMEOUT_S,
    shard: tuple[int, int] = (1, 1),
    compiled: bool = False,
    replace_changed: bool = False,
    reporter: Reporter = SILENT,
    begun: Callable[[], object] = lambda: None,
) -> list[Report]:
    """Run models once over every clip that their caches don't hold yet, decoding each clip once for all of them.

    Parameters
    ----------
    clips
        All clips of the dataset that are wanted; ids are unique.
    dtype
        ``float32``, ``bfloat16``, or ``auto`` for `native_dtype`. Front ends without weights are always float32.
    batch_seconds
        Audio in a batch; None for `batch_seconds_for` the device. A GPU that runs out of memory halves a batch.
    jobs
        Decoding processes; 0 decodes in this one.
    decode_timeout_s
        How long a decoding process may give no sign of life: then its clip fails by name. This one can't be given up.
    shard
        ``(i, n)``: do the i-th of n parts of the plan, for several processes on one cache.
    compiled
        Compile models that can be, and pad batches to few lengths.
    replace_changed
        Make shards again that hold clips whose audio, start or end is another now.
    reporter
        Says the plan and the estimate, and shows a bar of the seconds of audio.
    begun
        Called before the work, once nothing speaks against it.

    Returns
    -------
    list of Report
        One for each model, with a failure ``(clip id, reason)`` for every clip that can't be decoded or is too
        short; the others are done.

    Raises
    ------
    ExtractError
        Nothing can be done: the cache is another model's, is damaged, can't be written or won't fit on the disk,
        or clips have other audio now.
    """
    by_id = {c.id: c for c in clips}
    with Decoders(jobs, decode_timeout_s) as decoders:
        sinks = [_sink(e, len(by_id), features, dataset, windowing, level, device, dtype) for e in extractors]
        held = [sink.shards for sink in sinks]
        changed = changed_shards(decoders, by_id, held, replace=replace_changed, reporter=reporter)
        for sink, shards in zip(sinks, changed, strict=True):
            sink.changed = shards
        seconds = _durations(decoders, by_id, sinks)
        batches = _by_clips(sinks, seconds, shard)
        if batches:
            reporter.say(_announcement(batches, seconds, windowing, level))
            _refuse_full_disk(features, batches, seconds, windowing, level)
        begun()
        if batches:
            started = time.perf_counter()
            seconds_each = batch_seconds or batch_seconds_for(device)
            run = _Run(batches, by_id, windowing, level, device, seconds_each, compiled)
            for sink in dict.fromkeys(sink for job in batches for sink in job.paths):
                sink.prepare(device, compiled)
            total = run.seconds_of(seconds)
            desc = f"extract {', '.join(e.name for e in extractors)}"
            bar = reporter.bar(round(total), desc, " s of audio", scaled=True)
            with torch.inference_mode(), bar:
                run.all(decoders, Estimate(bar, total, reporter.say))
            run.share(time.perf_counter() - started)
    for sink in sinks:
        sink.close()
    return [sink.report for sink in sinks]


# -- what is to be done -----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Sink:
    """One model and the cache it fills: the shards that were there, and those of them to be made again."""

    extractor: Extractor
    header: Header
    directory: Path
    report: Report
    shards: Shards
    changed: Shards = field(default_factory=dict)

    @property
    def finished(self) -> frozenset[str]:
        """Clips that need nothing."""
        return frozenset(i for path, clips in self.shards.items() if path not in self.changed for i in clips)

    @property
    def spec(self) -> InputSpec:
        """What windows its model sees."""
        return input_spec(self.extractor, self.header.level)

    def prepare(self, device: str, compiled: bool) -> None:
        """Move the model to its device and type."""
        self.extractor.to(device, DTYPES[self.header.dtype])
        if compiled and hasattr(self.extractor, "compile"):
            self.extractor.compile()

    def close(self) -> None:
        """Join what there is, and delete litter: also after an earlier run that was killed before it could."""
        if any(self.directory.glob("shard-*.h5")) or (self.directory / "features.h5").exists():
            join(self.directory)
        tidy(self.directory)


def _sink(
    extractor: Extractor,
    n_clips: int,
    features: Path,
    dataset: str,
    windowing: Windowing,
    level: str,
    device: str,
    dtype: str,
) -> _Sink:
    chosen = native_dtype(device) if dtype == "auto" else dtype
    header = header_for(extractor, dataset, windowing, level, chosen if extractor.parameters else "float32")
    directory = cache_folder(features, header)
    return _Sink(extractor, header, directory, Report(directory, extractor.name, clips=n_clips), shards_of(directory))


def _durations(decoders: Decoders, by_id: dict[str, Clip], sinks: Sequence[_Sink]) -> dict[str, float]:
    """Seconds of each clip that a cache lacks, 0 for the others and for files that can't be opened."""
    everywhere = frozenset(by_id).intersection(*(sink.finished for sink in sinks))
    missing = [clip for clip in by_id.values() if clip.id not in everywhere]
    lasting = decoders.durations(missing)
    return dict.fromkeys(by_id, 0.0) | {c.id: s or 0.0 for c, s in zip(missing, lasting, strict=True)}


@dataclass(eq=False)
class _Job:
    """Clips that go through some models together: one shard of each."""

    clips: tuple[str, ...]
    paths: dict[_Sink, Path] = field(default_factory=dict)
    files: dict[_Sink, ShardFile] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)
    left: int = 0


def _by_clips(sinks: Sequence[_Sink], seconds: dict[str, float], part: tuple[int, int]) -> list[_Job]:
    """Shards still to be written; those of several models that hold the same clips are one job."""
    index, of = part
    jobs: dict[tuple[str, ...], _Job] = {}
    for sink in sinks:
        planned = plan(sink.directory, sink.header, seconds)
        taken = set(sink.finished)  # a clip that failed in one shard is planned for another, too
        todo = []
        for n, (name, every) in enumerate(sorted(planned.items())):
            path, ids = sink.directory / name, tuple(i for i in every if i in seconds and i not in taken)
            if ids and (path in sink.changed or not path.exists()):
                taken.update(ids)
                todo.append((n, path, ids))
        sink.report.cached = sink.report.clips - sum(len(ids) for _, _, ids in todo)
        for n, path, ids in todo:
            if n % of == index - 1:
                jobs.setdefault(ids, _Job(ids)).paths[sink] = path
            else:
                sink.report.elsewhere += len(ids)
    return list(jobs.values())


def _bytes(job: _Job, seconds: dict[str, float], windowing: Windowing, level: str) -> float:
    """What the shards of a job will take on the disk, about."""
    total = 0.0
    for sink in job.paths:
        head = sink.header
        if level == "frame":
            rows = sum(seconds[i] for i in job.clips) * head.frame_rate
        else:
            rows = sum(len(windowing.spans(round(100 * seconds[i]), 100)) for i in job.clips)
        total += rows * len(head.layer_names) * head.dim * 2
    return total


def _announcement(jobs: Sequence[_Job], seconds: dict[str, float], windowing: Windowing, level: str) -> str:
    names = list(dict.fromkeys(sink.extractor.name for job in jobs for sink in job.paths))
    clips = {i for job in jobs for i in job.clips}
    size = sum(_bytes(job, seconds, windowing, level) for job in jobs)
    hours = sum(seconds[i] for i in clips) / 3600
    directory = next(iter(jobs[0].paths)).directory
    return (
        f"to do: {len(clips)} clips, {hours:.2f} h of audio, {level} level, through {', '.join(names)}: "
        f"{gib(size)} of features ({gib(_free(directory))} free)"
    )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _refuse_full_disk(
    features: Path, jobs: Sequence[_Job], seconds: dict[str, float], windowing: Windowing, level: str
) -> None:
    """The longest clip is named: a file whose header is wrong may be what makes it so much."""
    size, free = sum(_bytes(job, seconds, windowing, level) for job in jobs), _free(features)
    if size * _DISK_MARGIN > free:
        longest = max((i for job in jobs for i in job.clips), key=lambda i: seconds[i])
        raise ExtractError(
            f"{features}: the features need {gib(size)} and {gib(free)} are free; "
            f"free some space, or choose another disk with --features "
            f"(the longest clip is {longest!r} of {seconds[longest] / 3600:.2f} h)"
        )


# -- doing it -----------------------------------------------------------------------------------------------


class _Run:
    """Jobs in progress: from windows to batches to files."""

    def __init__(
        self,
        jobs: Sequence[_Job],
        by_id: dict[str, Clip],
        windowing: Windowing,
        level: str,
        device: str,
        batch_seconds: float,
        compiled: bool,
    ) -> None:
        self.jobs, self.by_id, self.windowing = jobs, by_id, windowing
        self.device, self.batch_seconds, self.compiled = device, batch_seconds, compiled
        # Windows wait until a block of this many seconds can be sorted by length. Frames are large: no waiting.
        self.block_seconds = batch_seconds * (1 if level == "frame" else 8)
        self.waiting: dict[InputSpec, list[tuple[Clip, Window]]] = {}
        self.started: deque[_Job] = deque()  # claimed, and not handed to the writer as a whole
        self.spent: dict[_Sink, float] = {}  # seconds in the batches of each model

    def seconds_of(self, seconds: dict[str, float]) -> float:
        """Audio of all jobs."""
        return sum(seconds[i] for job in self.jobs for i in job.clips)

    def share(self, wall_s: float) -> None:
        """Give each model its part of the time that all took together: as much as its batches took."""
        total = sum(self.spent.values())
        for sink, seconds in self.spent.items():
            sink.report.wall_s = wall_s * seconds / total

    def all(self, decoders: Decoders, estimate: Estimate) -> None:
        """Do every job; a shard is on the disk as soon as its last clip is through."""
        try:
            with Writer() as writer:
                through = 0.0  # seconds of the clip in hand
                for clip, piece in decoders.windows(self._requests(), self.windowing):
                    if isinstance(piece, Window):
                        self._add(clip, piece, writer)
                        now = piece.start_s
                    else:
                        self._finished(clip, piece, writer)
                        now = piece.seconds
                    estimate.update(max(0.0, now - through))
                    through = 0.0 if isinstance(piece, ClipEnd) else max(through, now)
        finally:
            for job in self.jobs:
                job.held.close()

    def _requests(self) -> Iterator[tuple[Clip, Sequence[InputSpec]]]:
        """Clips of each job in turn. A job is claimed when decoding gets to it, a little before the models do."""
        for job in self.jobs:
            for sink, path in list(job.paths.items()):
                mine = job.held.enter_context(claim(path))
                if mine and path in sink.changed:
                    drop(path, sink.changed[path])
                if not mine or path.exists():
                    del job.paths[sink]
                    sink.report.cached += len(job.clips) if mine else 0
                    sink.report.busy += 0 if mine else len(job.clips)
            job.left = len(job.clips)
            if not job.paths:
                job.held.close()
                continue
            self.started.append(job)
            needs = tuple(dict.fromkeys(sink.spec for sink in job.paths))
            for clip_id in job.clips:
                yield self.by_id[clip_id], needs

    def _add(self, clip: Clip, window: Window, writer: Writer) -> None:
        waiting = self.waiting.setdefault(window.spec, [])
        waiting.append((clip, window))
        if sum(len(w.samples) for _, w in waiting) >= self.block_seconds * window.spec.sample_rate:
            self._block(window.spec, writer)

    def _finished(self, clip: Clip, end: ClipEnd, writer: Writer) -> None:
        job = self.started[0]
        job.left -= 1
        for sink in job.paths:
            sink.report.audio_s += end.seconds
            sink.report.quiet += end.quiet
        if end.failure:
            for waiting in self.waiting.values():
                waiting[:] = [(c, w) for c, w in waiting if c is not clip]
            for sink in job.paths:
                writer.do(self._file(job, sink, writer).fail, clip.id, end.failure)
        if job.left == 0:
            for need in list(self.waiting):
                self._block(need, writer)
            for sink in job.paths:
                writer.do(self._file(job, sink, writer).commit)
            self.started.popleft()
            writer.do(job.held.close)

    def _file(self, job: _Job, sink: _Sink, writer: Writer) -> ShardFile:
        if sink not in job.files:
            job.files[sink] = ShardFile(job.paths[sink], sink.header, sink.report, len(job.clips))
            writer.files.append(job.files[sink])
        return job.files[sink]

    def _block(self, need: InputSpec, writer: Writer) -> None:
        """Run the windows that wait, and hand them to the files in the order in which they came."""
        block = self.waiting.pop(need, [])
        if not block:
            return
        job = self.started[0]
        batches = list(pack([len(w.samples) for _, w in block], self.batch_seconds * need.sample_rate))
        for sink in [s for s in job.paths if s.spec == need]:
            answers: dict[int, Answer] = {}
            started = time.perf_counter()
            for rows in batches:
                self._batch(sink, {row: block[row] for row in rows}, answers)
            if len(job.paths) > 1 and self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)  # else its time would be counted as the next model's
            self.spent[sink] = self.spent.get(sink, 0.0) + time.perf_counter() - started
            writer.do(self._file(job, sink, writer).add, [answers[row] for row in range(len(block))])

    def _batch(self, sink: _Sink, rows: dict[int, tuple[Clip, Window]], answers: dict[int, Answer]) -> None:
        """Features of each window, or why there are none: a window the model refuses fails no other."""
        samples = [window.samples for _, window in rows.values()]
        frames: list[int] = []
        made: Features | str
        try:
            length = self._padded(max(map(len, samples)))
            states, frames = window_features(sink.extractor, samples, sink.header.level, self.device, length)
            made = Features(states)
        except ExtractError as error:
            made = str(error)
        except torch.OutOfMemoryError:
            made = (
                f"{sink.extractor.name}: {self.device} has no memory for a window of "
                f"{len(samples[0]) / sink.header.sample_rate:g} s; use a smaller model or --device cpu"
            )
            if len(rows) > 1:
                self.batch_seconds /= 2
        if isinstance(made, str) and len(rows) > 1:
            halves = list(rows.items())
            for half in (halves[: len(rows) // 2], halves[len(rows) // 2 :]):
                self._batch(sink, dict(half), answers)
            return
        for index, (row, (clip, window)) in enumerate(rows.items()):
            answers[row] = Answer(clip, window, frames[index] if frames else 0, made, index)

    def _padded(self, samples: int) -> int:
        """The length of a batch: as it is, or with compiled models one of few, at most an eighth longer."""
        if not self.compiled:
            return samples
        step = 1 << max(8, samples.bit_length() - 4)
        return -(-samples // step) * step
