"""Fill caches: decode each clip once, cut it into windows, run the models, write shards.

Conventions
-----------
**Windows** of several clips share a padded batch. Extractors answer exactly in any batch, so a
clip's features don't depend on what else is extracted. At frame level windows join without a seam:
each is read with the samples its last frame still sees, so a 5 s window at 16 kHz has 250 frames on
one uniform grid over the whole clip (Yamamoto pads one reflected frame per window instead; the true
audio is at hand, so it is used).

**Flow.** Worker processes decode ahead (`svuprobe.extractors.audio.decoders`), also the clips of
later jobs; this thread does one job after the other: it forms batches and runs every model that
lacks the clips on them; one thread writes. All three hold a bounded amount of audio and features
whatever the length of a file. A batch never crosses a job, and what it holds follows from the plan
and ``batch_s`` alone, never from timing, so an interrupted run that goes on ends with the same
bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from svuprobe._run_options import RunOptions
from svuprobe.extractors.audio import ClipEnd, Decoders, InputSpec, Window
from svuprobe.extractors.base import Extractor
from svuprobe.extractors.batching import Block, ModelBatches, batch_seconds_for
from svuprobe.extractors.cache import changed_shards
from svuprobe.extractors.jobs import (
    CacheToFill,
    Corpus,
    Job,
    caches_of,
    jobs_for,
)
from svuprobe.extractors.place import WHOLE, Place
from svuprobe.extractors.progress import Estimate, announcement, refuse_full_disk, remarks
from svuprobe.extractors.writer import ExtractionReport, ShardFile, Writer
from svuprobe.tasks.types import Clip, Windowing

Piece = tuple[Clip, Window | ClipEnd]


@dataclass
class Extraction:
    """Hold what an extraction has to do, once it is planned.

    Attributes
    ----------
    corpus
        Every clip that a job names.
    jobs
        What is still to be written; `fill` does it, here or, in shares, elsewhere
        (`svuprobe.extractors.shares`).
    seconds_of
        Of audio in each clip, by clip id; 0 where it is not known.
    part
        Of the plan, that the jobs are: the i-th of n.
    """

    corpus: Corpus
    caches: list[CacheToFill]
    jobs: list[Job]
    seconds_of: dict[str, float]
    part: tuple[int, int] = WHOLE

    def close(self) -> list[ExtractionReport]:
        """Join each cache, and return the report of each model."""
        for cache in self.caches:
            cache.place.close(cache.directory, self.part)
        return [cache.report for cache in self.caches]


def extract(
    extractors: Sequence[Extractor],
    corpus: Corpus,
    features: Path | Place,
    options: RunOptions,
    *,
    begun: Callable[[Mapping[str, float]], object] = lambda seconds: None,
) -> list[ExtractionReport]:
    """Run models once over every clip their caches don't hold yet, decoding each clip once for all.

    Parameters
    ----------
    corpus
        All clips of the dataset that are wanted; ids are unique.
    features
        The folder of all caches, or the place where they are.
    options
        ``dtype=auto`` is `native_dtype`; front ends without weights are always float32.
        ``batch_s=None`` is `batch_seconds_for` the device; a GPU that runs out of memory halves a
        batch. A clip whose decoding process gives no sign of life for ``decode_timeout_s`` fails by
        name; this process can't be given up (``jobs=0``). ``compiled`` compiles models that can be,
        and pads batches to few lengths. ``shard`` is the part of the plan that is done, and
        ``replace_changed`` has shards made again that hold clips whose audio, start or end is
        another now. The reporter is told the plan and the estimate, and shows a bar of the seconds
        of audio.
    begun
        Called before the work, once nothing else speaks against it, with the seconds of each clip
        that a cache lacks, by its id.

    Returns
    -------
    list of ExtractionReport
        One for each model, with a failure ``(clip id, reason)`` for every clip that can't be
        decoded or is too short; the others are done.

    Raises
    ------
    ExtractError
        Nothing can be done: the cache is another model's, is damaged, can't be written or won't fit
        on the disk, or clips have other audio now.
    """
    with Decoders(options.decoders, options.decode_timeout_s) as decoders:
        extraction = plan_extraction(extractors, corpus, features, options, decoders)
        begun(extraction.seconds_of)
        fill(extraction, decoders, options)
    return extraction.close()


def plan_extraction(
    extractors: Sequence[Extractor],
    corpus: Corpus,
    features: Path | Place,
    options: RunOptions,
    decoders: Decoders,
) -> Extraction:
    """Find out what caches lack, write the plan of their shards, and say what is to be done.

    Arguments and errors are those of `extract`: whatever speaks against the work is said here,
    before any of it, and before a model takes memory on a device.
    """
    # Clips are known by id from here on: shards and jobs name nothing else.
    by_id = {clip.id: clip for clip in corpus.clips}
    reporter = options.reporter
    place = features if isinstance(features, Place) else Place(features)
    caches = [CacheToFill.of(extractor, place, corpus, options) for extractor in extractors]
    shards = [cache.shards for cache in caches]
    changed = changed_shards(
        decoders, by_id, shards, replace=options.replace_changed, reporter=reporter
    )
    for cache, changed_in_it in zip(caches, changed, strict=True):
        cache.changed = changed_in_it
    seconds_of = _durations(decoders, by_id, caches)
    to_do = jobs_for(caches, seconds_of, options.shard)
    if to_do:
        reporter.say(announcement(to_do, seconds_of, corpus.windowing))
        for remark in remarks(to_do, seconds_of, corpus.windowing):
            reporter.say(remark)
        refuse_full_disk(place.folder, to_do, seconds_of, corpus.windowing)
    return Extraction(corpus, caches, to_do, seconds_of, options.shard)


def fill(extraction: Extraction, decoders: Decoders, options: RunOptions) -> None:
    """Do the jobs of an extraction that no other process is at or has done meanwhile."""
    if not extraction.jobs:
        return
    corpus, device, reporter = extraction.corpus, options.runs_on, options.reporter
    started = time.perf_counter()
    batch_s = options.batch_s or batch_seconds_for(device)
    batches = ModelBatches(corpus.level, device, batch_s, options.compiled)
    for cache in caches_of(extraction.jobs):
        cache.prepare(device, options.compiled)
    total = sum(job.seconds(extraction.seconds_of) for job in extraction.jobs)
    names = ", ".join(cache.extractor.name for cache in extraction.caches)
    by_id = {clip.id: clip for clip in corpus.clips}
    with reporter.bar(round(total), f"extract {names}", " s of audio", scaled=True) as bar:
        estimate = Estimate(bar, total, reporter.say)
        _run_jobs(extraction.jobs, by_id, decoders, corpus.windowing, batches, estimate)
    _share_time(extraction.caches, time.perf_counter() - started)
    for cache in extraction.caches:
        cache.keep_speed()


def _durations(
    decoders: Decoders, by_id: Mapping[str, Clip], caches: Sequence[CacheToFill]
) -> dict[str, float]:
    """Return the seconds of each clip that a cache lacks; 0 for the others and for files not to be
    opened.
    """
    in_all_caches = frozenset(by_id).intersection(*(cache.finished for cache in caches))
    missing = [clip for clip in by_id.values() if clip.id not in in_all_caches]
    seconds_of = dict.fromkeys(by_id, 0.0)
    for clip, seconds in zip(missing, decoders.durations(missing), strict=True):
        seconds_of[clip.id] = seconds or 0.0
    return seconds_of


def _share_time(caches: Sequence[CacheToFill], wall_s: float) -> None:
    """Give each model its part of the time that all took together: as much as its batches took."""
    in_models = sum(cache.clock.wall_s for cache in caches)
    for cache in caches:
        if cache.clock.wall_s:
            cache.report.wall_s = wall_s * cache.clock.wall_s / in_models


@torch.inference_mode()
def _run_jobs(
    jobs: Sequence[Job],
    by_id: Mapping[str, Clip],
    decoders: Decoders,
    windowing: Windowing,
    batches: ModelBatches,
    estimate: Estimate,
) -> None:
    """Do one job after the other, while the clips of later ones are decoded."""
    try:
        with (
            Writer() as writer,
            closing(decoders.windows(_requests(jobs, by_id), windowing)) as pieces,
        ):
            for job in jobs:
                if job.claim():
                    _run_job(job, _pieces_of(job, pieces), batches, writer, estimate)
    finally:
        for job in jobs:
            job.release()


def _requests(
    jobs: Sequence[Job], by_id: Mapping[str, Clip]
) -> Iterator[tuple[Clip, Sequence[InputSpec]]]:
    """Yield the clips of each job.

    A job is claimed when decoding gets to it, a little before the models do.
    """
    for job in jobs:
        if job.claim():
            specs = tuple(dict.fromkeys(cache.input_spec for cache in job.shards))
            for clip_id in job.clips:
                yield by_id[clip_id], specs


def _pieces_of(job: Job, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield what was decoded of the clips of a job, and nothing of the next one's."""
    left = len(job.clips)
    while left:
        clip, piece = next(pieces)
        left -= isinstance(piece, ClipEnd)
        yield clip, piece


def _run_job(
    job: Job, pieces: Iterable[Piece], batches: ModelBatches, writer: Writer, estimate: Estimate
) -> None:
    """Run the models on all clips of a job; its shards are on disk as soon as the last clip is
    through.
    """
    shards: dict[CacheToFill, ShardFile] = {}
    for cache, path in job.shards.items():
        shards[cache] = ShardFile(path, cache.header, cache.report, len(job.clips))
    writer.files += shards.values()
    waiting: dict[InputSpec, Block] = {}  # windows that no model has seen yet
    through_s = 0.0  # of the clip in hand
    for clip, piece in pieces:
        if isinstance(piece, Window):
            block = waiting.setdefault(piece.spec, [])
            block.append((clip, piece))
            if batches.fill_a_block(block):
                _run_block(waiting.pop(piece.spec), shards, batches, writer)
            reached_s = piece.start_s
        else:
            for cache in shards:
                cache.report.audio_s += piece.seconds
                cache.report.quiet += piece.quiet
            if piece.failure:
                # It fails as a whole, also where windows of
                # it are written: a cache holds no half clips.
                for block in waiting.values():
                    block[:] = [(other, window) for other, window in block if other is not clip]
                for shard in shards.values():
                    writer.do(shard.fail, clip.id, piece.failure)
            reached_s = piece.seconds
        estimate.update(max(0.0, reached_s - through_s))
        through_s = 0.0 if isinstance(piece, ClipEnd) else max(through_s, reached_s)
    # What is left fills no block, but the job ends here: no batch crosses it.
    for block in waiting.values():
        _run_block(block, shards, batches, writer)
    for cache, shard in shards.items():
        writer.do(shard.commit)
        writer.do(cache.place.keep_shard, shard.path)
    writer.do(job.release)


def _run_block(
    block: Block, shards: Mapping[CacheToFill, ShardFile], batches: ModelBatches, writer: Writer
) -> None:
    """Run every model that sees such windows; hand their features to its shard in the windows'
    order.
    """
    if not block:
        return
    spec = block[0][1].spec
    for cache, shard in shards.items():
        if cache.input_spec == spec:
            samples = sum(len(window.samples) for _, window in block)
            with cache.clock.running(samples / spec.sample_rate):
                features = batches.run(cache.extractor, block, cache.header.has_std)
            writer.do(shard.add, features)
