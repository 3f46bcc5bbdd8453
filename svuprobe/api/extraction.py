"""Extract: from audio to caches of every layer."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from svuprobe._machine import MOST_WINDOW_S, check_real
from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.api import display
from svuprobe.api.arguments import model_names, task_names
from svuprobe.api.data import Data, clips_of
from svuprobe.extractors.audio import Decoders
from svuprobe.extractors.base import Extractor
from svuprobe.extractors.extract import Extraction, extract as fill_caches, plan_extraction
from svuprobe.extractors.jobs import Corpus
from svuprobe.extractors.loading import load as load_extractor
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.opening import place_of
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.tasks import Clip, TaskError, Windowing, kinds, manifest
from svuprobe.tasks.data.doubts import too_long
from svuprobe.tasks.manifest import ClipList

# Dataset, windowing, level: tells the caches of one model apart.
_CacheKey = tuple[str, Windowing, str]


def extract(
    tasks: str | Path | Sequence[str | Path],
    models: str | Path | Sequence[str | Path],
    *,
    data: Data | str | Path,
    features: str | Path,
    window_s: float | None = None,
    frames: bool = False,
    options: RunOptions | None = None,
) -> list[ExtractionReport]:
    """Run each model once over the datasets of the tasks; what a cache holds already is left alone.

    Tasks on one dataset with one windowing share a cache, and all models share each decoded clip.
    The clips of each task are written beside the features, so probing needs no audio.

    Parameters
    ----------
    tasks
        Names of tasks; on data of one's own TOML files or ``folder:PATH``, or the names of those
        that were extracted to ``features`` before.
    models
        Names of models: of the catalogue, ``hf:``, ``random:``, ``py:`` or ``hear:``.
    data
        The folder that holds the datasets, or a `Data`.
    features
        The folder of all caches, or the address of a store, ``s3://bucket/folder``.
    window_s
        Cut clips into windows of so many seconds, whatever a task says. They have caches and
        results of their own; `svuprobe.probe` takes the same number.
    frames
        Keep every frame also for tasks of whole windows, which heads with ``pooling`` = ``max``,
        ``first`` or ``attention`` read.
    options
        ``device``, ``dtype``, ``jobs``, ``batch_s``, ``decode_timeout_s``, ``compiled``, ``shard``,
        ``replace_changed``, ``names`` and ``reporter`` are used.

    Returns
    -------
    list of ExtractionReport
        One for each cache, with a failure ``(clip id, reason)`` for every clip that can't be used;
        the others are done.

    Raises
    ------
    TaskError
        A task is unknown, or its data are not there.
    ExtractError
        A model can't be loaded, or a cache is another model's, is damaged, or won't fit on the
        disk.
    OptionError
        The window is no number of seconds.

    Example
    -------
    >>> import svuprobe
    >>> reports = svuprobe.extract(["technique"], ["logmel"], data="data", features="features")
    >>> reports[0].failures
    []
    """
    options = options or RunOptions()
    tasks, models = task_names(tasks), model_names(models, options.reporter)
    names = display.kept(options.names)
    display.require_asked(names, models)
    place = place_of(features, options.reporter)
    place.fetch_lists()
    tasks = manifest.sources(place.folder, tasks)
    request = _requested(tasks, models, Data.of(data), window_s, frames, options)
    reports = []
    for corpus, sharing in request.corpora:
        done = fill_caches(
            request.extractors,
            corpus,
            place,
            options,
            # The lists are written when nothing speaks against the work, and not before.
            begun=functools.partial(_begin, place, sharing, options.reporter),
        )
        for report in done:
            options.reporter.say(summary(corpus.dataset, corpus.level, report))
        reports += done
    display.save_in_features(place.folder, display.in_features(place.folder, names))
    place.keep_lists()
    return reports


def plan(
    tasks: str | Path | Sequence[str | Path],
    models: str | Path | Sequence[str | Path],
    *,
    data: Data | str | Path,
    features: str | Path,
    frames: bool = False,
    options: RunOptions | None = None,
) -> list[Extraction]:
    """Do what `extract` does before a model runs: plan the shards of every cache, and write the
    lists of clips.

    Arguments and errors are those of `extract`. Who does the jobs closes each extraction
    afterwards.
    """
    options = options or RunOptions()
    tasks, models = task_names(tasks), model_names(models, options.reporter)
    place = place_of(features, options.reporter)
    place.fetch_lists()
    tasks = manifest.sources(place.folder, tasks)
    request = _requested(tasks, models, Data.of(data), None, frames, options)
    extractions = []
    with Decoders(options.decoders, options.decode_timeout_s) as decoders:
        for corpus, sharing in request.corpora:
            extraction = plan_extraction(request.extractors, corpus, place, options, decoders)
            _begin(place, sharing, options.reporter, extraction.seconds_of)
            extractions.append(extraction)
    return extractions


class _Request(NamedTuple):
    """Hold what an extraction was asked for: models, and the clips of each cache with the lists
    that share it.
    """

    extractors: list[Extractor]
    corpora: list[tuple[Corpus, list[ClipList]]]


def _requested(
    tasks: Sequence[str],
    models: Sequence[str],
    place: Data,
    window_s: float | None,
    frames: bool,
    options: RunOptions,
) -> _Request:
    """Find the clips of tasks and load models: before any audio is decoded, so that what can't be
    is said at once.
    """
    check_real("window", window_s, MOST_WINDOW_S)
    lists = []
    for name in dict.fromkeys(tasks):
        lists.append(clips_of(name, place, options.reporter).with_window(window_s))
    caches = _by_cache(lists, frames)
    extractors = [load_extractor(name) for name in dict.fromkeys(models)]
    corpora = []
    for key, clips in caches.items():
        sharing = [each for each in lists if _cache_key(each, frames) == key]
        corpora.append((Corpus(*key, clips), sharing))
    return _Request(extractors, corpora)


def _begin(
    place: Place, lists: Sequence[ClipList], reporter: Reporter, seconds: Mapping[str, float]
) -> None:
    """Write the lists of clips. Raises TaskError where some last too long for their task's
    windows, by the seconds of those that are still to be extracted.
    """
    for clips in lists:
        if reason := too_long(clips.task, clips.clips, seconds):
            raise TaskError(f"task {clips.task.name}: {reason}")
    for clips in lists:
        manifest.save(place.folder, clips, reporter)
    place.keep_lists()


def _cache_key(clips: ClipList, frames: bool) -> _CacheKey:
    level = "frame" if frames else kinds.of(clips.task).level
    return clips.dataset, clips.task.windowing, level


def _by_cache(lists: Sequence[ClipList], frames: bool) -> dict[_CacheKey, list[Clip]]:
    """Return the clips wanted of each cache, each once, whatever the number of tasks that want
    them.
    """
    groups: dict[_CacheKey, dict[str, Clip]] = {}
    for clips in lists:
        wanted = groups.setdefault(_cache_key(clips, frames), {})
        for clip in clips.clips:
            # Ids name rows of a cache, so within one dataset an id is one piece of audio.
            other = wanted.setdefault(clip.id, clip)
            if (other.path, other.start, other.end) != (clip.path, clip.start, clip.end):
                raise TaskError(
                    f"clip {clip.id!r} of dataset {clips.task.dataset} is {other.path} for one "
                    f"task and {clip.path} for another; give one of them another dataset name"
                )
    return {key: list(wanted.values()) for key, wanted in groups.items()}


def summary(dataset: str, level: str, report: ExtractionReport) -> str:
    """Return one line on what extraction did for a model."""
    line = (
        f"{report.model} on {dataset}, {level} level: {report.done} clips done, {report.cached} "
        "already cached"
    )
    if report.done and report.wall_s:
        line += f" ({report.wall_s:.1f} s, {report.audio_s / report.wall_s:.1f} times real time)"
    if report.elsewhere:
        line += f", {report.elsewhere} in other parts"
    if report.busy:
        line += f", {report.busy} being done by another process"
    if report.quiet:
        line += f", {report.quiet} silent windows left out"
    return line
