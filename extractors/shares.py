"""Deal out the jobs of an extraction to other processes, on this machine or others.

One process plans (`svuprobe.extractors.extract.plan_extraction`) and deals shares; each holds
everything that a process needs that sees the same folders, or the same store: of that it has a
local copy of its own. A job is the same wherever it is done, so the shards are those of one
process, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from svuprobe._files import writing
from svuprobe._run_options import RunOptions
from svuprobe.extractors.audio import Decoders
from svuprobe.extractors.base import ExtractError, Extractor
from svuprobe.extractors.cache import Header, ShardClips
from svuprobe.extractors.extract import Extraction, fill
from svuprobe.extractors.jobs import CacheToFill, Corpus, Job, caches_of, header_for
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.opening import place_of
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.tasks.types import Clip

_WAIT_S = 1.0  # before a shard is looked at again that another process is at


@dataclass(frozen=True)
class CachePart:
    """Say which cache a share fills; ``changed`` are those of its shards to be made again.

    ``model`` is the name that the model is loaded by: its cache may be that of another path.
    ``directory`` is the cache where the share was dealt.
    """

    model: str
    header: Header
    directory: Path
    changed: ShardClips


@dataclass(frozen=True)
class Share:
    """Hold some jobs of an extraction: plain data, which can be sent.

    Attributes
    ----------
    corpus
        The clips of these jobs.
    seconds_of
        Of audio in each of them, by clip id.
    caches
        Those that the jobs fill.
    jobs
        The clips of each, and the names of its shards by the number of their cache in ``caches``.
    features
        The folder or the store of all caches.
    """

    corpus: Corpus
    seconds_of: dict[str, float]
    caches: tuple[CachePart, ...]
    jobs: tuple[tuple[tuple[str, ...], dict[int, str]], ...]
    features: str

    @property
    def models(self) -> list[str]:
        """Return the names of the models that the jobs run."""
        return [part.model for part in self.caches]

    def of_model(self, model: str) -> Share:
        """Return what of the share is one model's."""
        (number,) = (n for n, part in enumerate(self.caches) if part.model == model)
        jobs = []
        for clips, shards in self.jobs:
            if number in shards:
                jobs.append((clips, {0: shards[number]}))
        caches = (self.caches[number],)
        return Share(self.corpus, self.seconds_of, caches, tuple(jobs), self.features)


def deal(extraction: Extraction, most: int) -> list[Share]:
    """Split the jobs of an extraction into at most so many shares, each of about as much audio."""
    # In turn: jobs are sorted by the length of their clips.
    dealt = [extraction.jobs[first::most] for first in range(most)]
    by_id = {clip.id: clip for clip in extraction.corpus.clips}
    return [_share(extraction, jobs, by_id) for jobs in dealt if jobs]


def _share(extraction: Extraction, jobs: Sequence[Job], by_id: Mapping[str, Clip]) -> Share:
    caches = caches_of(jobs)
    parts = []
    for cache in caches:
        own = {path for job in jobs for mine, path in job.shards.items() if mine is cache}
        changed = {path: clips for path, clips in cache.changed.items() if path in own}
        parts.append(CachePart(cache.extractor.name, cache.header, cache.directory, changed))
    ids = list(dict.fromkeys(clip_id for job in jobs for clip_id in job.clips))
    corpus = extraction.corpus
    sent = []
    for job in jobs:
        shards = {caches.index(cache): path.name for cache, path in job.shards.items()}
        sent.append((job.clips, shards))
    return Share(
        Corpus(corpus.dataset, corpus.windowing, corpus.level, [by_id[i] for i in ids]),
        {i: extraction.seconds_of[i] for i in ids},
        tuple(parts),
        tuple(sent),
        str(caches[0].place),
    )


def do(
    share: Share, load: Callable[[str], Extractor], options: RunOptions
) -> list[ExtractionReport]:
    """Do the jobs of a share; shards that are there already are left alone.

    A shard that another process is at, as one that was given up but still runs, is waited for.

    Parameters
    ----------
    load
        Makes an extractor from its name.
    options
        How extraction runs; the number format is that of the plan.

    Returns
    -------
    list of ExtractionReport
        One for each of ``share.caches``.

    Raises
    ------
    ExtractError
        A model is another here than in the plan, or as in `svuprobe.extractors.extract.extract`.
    """
    extractors = []
    for part in share.caches:
        extractor = load(part.model)
        _require_same(extractor, part.header, share.corpus)
        extractors.append(extractor)
    reports = [ExtractionReport(part.directory, part.model) for part in share.caches]
    place = place_of(share.features, options.reporter)
    busy = True
    while busy:
        extraction = _extraction(share, extractors, place)
        with Decoders(options.decoders, options.decode_timeout_s) as decoders:
            fill(extraction, decoders, options)
        for report, cache in zip(reports, extraction.caches, strict=True):
            report.add(cache.report)
        busy = any(cache.report.busy for cache in extraction.caches)
        if busy:
            time.sleep(_WAIT_S)
    for number, report in enumerate(reports):
        # What was done in one pass was there in the next.
        clips = sum(len(clips) for clips, shards in share.jobs if number in shards)
        report.cached = clips - report.done - len(report.failures)
    return reports


def _extraction(share: Share, extractors: Sequence[Extractor], place: Place) -> Extraction:
    """Return a share as the extraction that it is a part of had it, with the folders of here."""
    caches = []
    for extractor, part in zip(extractors, share.caches, strict=True):
        directory = place.folder / part.directory.parent.name / part.directory.name
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        report = ExtractionReport(part.directory, part.model)
        changed = {directory / path.name: clips for path, clips in part.changed.items()}
        caches.append(CacheToFill(extractor, part.header, directory, place, report, {}, changed))
    jobs = []
    for clips, shards in share.jobs:
        jobs.append(Job(clips, {caches[n]: caches[n].directory / s for n, s in shards.items()}))
    return Extraction(share.corpus, caches, jobs, share.seconds_of)


def _require_same(extractor: Extractor, header: Header, corpus: Corpus) -> None:
    """Raise ExtractError where a model that was loaded here is not the one of the plan."""
    own = header_for(extractor, corpus.dataset, corpus.windowing, corpus.level, header.dtype)
    for name in ("revision", "digest", "layer_names", "dim", "sample_rate", "hop"):
        mine, planned = getattr(own, name), getattr(header, name)
        if mine != planned:
            raise ExtractError(
                f"{header.model}: its {name} is {mine!r} on this worker and {planned!r} where the "
                "extraction was planned; give every worker the same files"
            )
