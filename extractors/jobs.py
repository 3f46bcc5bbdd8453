"""Say what an extraction has to do: what each cache lacks, and jobs that fill several at once.

A job is some clips and, for each model that lacks them, the shard that they go into. Models whose
shards hold the same clips share a job, so that each clip is decoded once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from svuprobe._run_options import RunOptions
from svuprobe.extractors import found_again
from svuprobe.extractors.audio import InputSpec
from svuprobe.extractors.base import Extractor
from svuprobe.extractors.batching import DTYPES, input_spec, native_dtype
from svuprobe.extractors.cache import (
    Header,
    ShardClips,
    claim,
    delete_shard,
    folder_name,
    made_with,
    plan_shards,
    read_shards,
    speed,
)
from svuprobe.extractors.context import Context
from svuprobe.extractors.place import Place
from svuprobe.extractors.pooling import pooling_of
from svuprobe.extractors.stopwatch import Stopwatch
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.tasks.types import Clip, Windowing


def header_for(
    extractor: Extractor, dataset: str, windowing: Windowing, level: str, dtype: str = "float32"
) -> Header:
    """Return the header of the cache that ``extractor`` fills."""
    context = Context.of(extractor)
    return Header(
        model=extractor.name,
        revision=extractor.revision,
        digest=extractor.digest,
        parameters=extractor.parameters,
        sample_rate=extractor.sample_rate,
        hop=extractor.hop,
        receptive_field=extractor.receptive_field,
        layer_names=tuple(extractor.layer_names),
        dim=extractor.dim,
        normalization=extractor.normalization,
        dtype=dtype,
        dataset=dataset,
        windowing=windowing.key,
        level=level,
        recipe=getattr(extractor, "recipe", ""),
        pooling=pooling_of(extractor, level),
        trained_s=context.trained_s,
        at_once_s=context.at_once_s,
    )


def cache_folder(features: Path, header: Header) -> Path:
    """Return ``FEATURES/<model>@<revision8>/<dataset>-<windowing>-<level>``."""
    return features / folder_name(header)


@dataclass(frozen=True)
class Corpus:
    """Hold clips of a dataset, the windows models see of them, and the ``level``: ``clip`` or
    ``frame``.
    """

    dataset: str
    windowing: Windowing
    level: str
    clips: Sequence[Clip]


@dataclass(eq=False)
class CacheToFill:
    """Hold a model and the cache of its features.

    Attributes
    ----------
    place
        Where the cache is.
    shards
        The clips of each shard that was there at the beginning.
    changed
        Those of them that are to be made again, since their audio is another now.
    clock
        What its model's forward passes take.
    """

    extractor: Extractor
    header: Header
    directory: Path
    place: Place
    report: ExtractionReport
    shards: ShardClips
    changed: ShardClips = field(default_factory=dict)
    clock: Stopwatch = field(default_factory=Stopwatch)

    @classmethod
    def of(
        cls,
        extractor: Extractor,
        place: Place,
        corpus: Corpus,
        options: RunOptions,
    ) -> CacheToFill:
        """Open the cache of a model, in the number format that it will run in."""
        dtype = options.dtype
        # The number format is a part of the cache: float32 and bfloat16 are not mixed in one.
        if not extractor.parameters:
            dtype = "float32"  # a front end without weights has nothing to gain from fewer bits
        elif dtype == "auto":
            dtype = native_dtype(options.runs_on)
        header = header_for(extractor, corpus.dataset, corpus.windowing, corpus.level, dtype)
        place.fetch_plans(header)
        features = place.folder
        directory = cache_folder(features, header)
        begun = made_with(directory)
        if begun is None:
            begun = found_again.begun_elsewhere(features, header)
            if begun is not None:
                options.reporter.say(found_again.remark(extractor.name, begun))
                header = replace(header, model=begun.model)
                directory = cache_folder(features, header)
        # One that an older version began, without deviations, goes on as it is.
        if begun is not None and not begun.pooling:
            header = replace(header, pooling="")
        place.fetch_shards(directory, options.shard)
        report = ExtractionReport(directory, extractor.name, clips=len(corpus.clips))
        return cls(extractor, header, directory, place, report, read_shards(directory))

    @property
    def finished(self) -> frozenset[str]:
        """Return the clips that need nothing."""
        unchanged = (clips for path, clips in self.shards.items() if path not in self.changed)
        return frozenset().union(*unchanged)

    @property
    def input_spec(self) -> InputSpec:
        """Return what windows its model sees."""
        return input_spec(self.extractor, self.header.level)

    def prepare(self, device: str, compiled: bool) -> None:
        """Move the model to its device and number format."""
        self.extractor.to(device, DTYPES[self.header.dtype])
        self.clock = Stopwatch(device, self.header.dtype)
        if compiled and hasattr(self.extractor, "compile"):
            self.extractor.compile()
            self.clock = Stopwatch(device, self.header.dtype, compiled=True)

    def keep_speed(self) -> None:
        """Keep how fast the model was beside the cache, if it had anything to do."""
        self.report.speed = self.clock.speed
        if self.clock.speed is not None and self.directory.is_dir():
            self.place.fetch_speed(self.directory)
            speed.add(self.directory, self.clock.speed)
            self.place.keep_speed(self.directory)


@dataclass(eq=False)
class Job:
    """Hold clips that go through some models together: one shard of each.

    Attributes
    ----------
    shards
        Where the features of each model go; after `claim`, of those alone that are this process's
        to write.
    """

    clips: tuple[str, ...]
    shards: dict[CacheToFill, Path] = field(default_factory=dict)
    _claims: ExitStack = field(default_factory=ExitStack)
    _claimed: bool = False

    def claim(self) -> bool:
        """Keep other processes from the shards; forget those that they are at or have finished
        meanwhile.

        Returns whether anything is left to do, at later calls too. The claims hold until `release`.
        """
        if not self._claimed:
            self._claim()
            self._claimed = True
        return bool(self.shards)

    def _claim(self) -> None:
        # A copy of the items, since shards of others are taken out on the way.
        for cache, path in list(self.shards.items()):
            # Only now is it known whether the shard is there:
            # whoever had the claim before may have finished it.
            cache.place.fetch_shard(path)
            mine = self._claims.enter_context(claim(path))
            if mine and path in cache.changed:
                delete_shard(path, cache.changed[path])
                if not path.exists():
                    cache.place.drop_shard(path)
            if mine and not path.exists():
                continue
            del self.shards[cache]
            if mine:
                cache.report.cached += len(self.clips)
            else:
                cache.report.busy += len(self.clips)
        if not self.shards:
            self.release()

    def release(self) -> None:
        """Let other processes have the shards."""
        self._claims.close()

    def seconds(self, seconds_of: Mapping[str, float]) -> float:
        """Return how much audio its clips are."""
        return sum(seconds_of[clip_id] for clip_id in self.clips)

    def size(self, seconds_of: Mapping[str, float], windowing: Windowing) -> float:
        """Return about how many bytes its shards will take on the disk."""
        total = 0.0
        for cache in self.shards:
            header = cache.header
            if header.level == "frame":
                # Frames of padding are not written, so audio alone counts.
                rows = self.seconds(seconds_of) * header.frame_rate
            else:
                windows = 0
                for clip_id in self.clips:  # hundredths of a second are enough to count windows
                    windows += len(windowing.spans(round(100 * seconds_of[clip_id]), 100))
                rows = windows * header.rows(0)
            total += rows * len(header.layer_names) * header.dim * 2  # bytes of a float16
        return total


def jobs_for(
    caches: Sequence[CacheToFill], seconds_of: Mapping[str, float], part: tuple[int, int]
) -> list[Job]:
    """Plan the shards still to be written, and return them as jobs, in the order of their names.

    Counts in each cache's report what is cached, and what belongs to other parts.

    Parameters
    ----------
    seconds_of
        Of audio in each clip that is wanted, by clip id.
    part
        ``(i, n)``: the i-th of n parts of the plan is done here.
    """
    number, n_parts = part
    jobs: dict[tuple[str, ...], Job] = {}
    for cache in caches:
        missing = _missing_shards(cache, seconds_of)
        cache.report.cached = cache.report.clips - sum(len(ids) for _, _, ids in missing)
        for place, path, ids in missing:
            # By the place in the whole plan, so that n processes split it without a word.
            if place % n_parts == number - 1:
                jobs.setdefault(ids, Job(ids)).shards[cache] = path
            else:
                cache.report.elsewhere += len(ids)
    return list(jobs.values())


def _missing_shards(
    cache: CacheToFill, seconds_of: Mapping[str, float]
) -> list[tuple[int, Path, tuple[str, ...]]]:
    """Return place in the plan, path and wanted clips of each shard that is still to be written."""
    # A plan once made stays: processes that come later share the shards that it names.
    planned = plan_shards(cache.directory, cache.header, seconds_of)
    while not cache.place.keep_plans(cache.directory):  # another machine's plan came first
        planned = plan_shards(cache.directory, cache.header, seconds_of)
    missing = []
    taken = set(cache.finished)  # a clip that failed in one shard is planned for another, too
    for place, (name, clip_ids) in enumerate(sorted(planned.items())):
        path = cache.directory / name
        ids = tuple(i for i in clip_ids if i in seconds_of and i not in taken)
        if ids and (path in cache.changed or not path.exists()):
            taken.update(ids)
            missing.append((place, path, ids))
    return missing


def caches_of(jobs: Iterable[Job]) -> list[CacheToFill]:
    """Return the caches that some jobs fill."""
    return list(dict.fromkeys(chain.from_iterable(job.shards for job in jobs)))
