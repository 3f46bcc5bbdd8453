"""Every stage as one function, named as its command. The command line adds nothing but words.

>>> from svuprobe import api
>>> api.synth(["technique"], Path("data"))
>>> api.extract(["logmel"], ["technique"], features=Path("features"), data=api.Data(Path("data")))
>>> api.probe(features=Path("features"), results=Path("results"))
>>> api.leaderboard(Path("results"), Path("leaderboard.md"))
"""

from __future__ import annotations

import functools
import importlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svuprobe._errors import UserError
from svuprobe._files import holds, locked, write_text, writing
from svuprobe._machine import (
    LEAST_MEMORY,
    MOST_BATCH_S,
    MOST_JOBS,
    MOST_MEMORY,
    MOST_SEED,
    MOST_TIMEOUT_S,
    check_dtype,
    check_real,
    check_whole,
    checked_device,
)
from svuprobe._progress import Reporter
from svuprobe.extractors import cache as caches, check_model as checkmodel
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, find, require_place
from svuprobe.extractors.extract import extract as run_extraction
from svuprobe.extractors.loading import load as load_model
from svuprobe.extractors.names import slug
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.probe import result_file
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.result import Result, Score
from svuprobe.tasks import (
    Clip,
    Task,
    TaskError,
    Windowing,
    find_clips,
    is_synthetic,
    kinds,
    load as load_task,
    manifest as cliplist,
)
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.synth import CORPORA

if TYPE_CHECKING:
    from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
    from svuprobe.tasks.kinds.prediction import Prediction

Say = Callable[[str], None]


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True)
class Data:
    """Where datasets are: one folder that holds them all, and single ones elsewhere."""

    root: Path
    elsewhere: dict[str, Path] = field(default_factory=dict)

    def folder(self, dataset: str) -> Path:
        """The folder of a dataset."""
        return self.elsewhere.get(dataset, self.root / dataset)


def check_model(
    model: str, *, device: str | None = None, dtype: str = "float32", say: Say = _silent
) -> checkmodel.ModelReport:
    """Try what the contract of an extractor promises on a model, and say what was seen and how fast it was."""
    check_dtype(dtype, auto=False)
    device = checked_device(device)
    report = checkmodel.check(load_model(model), device, dtype)
    for line in report.lines():
        say(line)
    return report


def synth(
    tasks: Sequence[str],
    out: Path,
    *,
    clips: int | None = None,
    seed: int = 0,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[Path]:
    """Write a synthetic copy of each task's dataset in its official layout under ``out``."""
    check_whole("seed", seed, 0, MOST_SEED)
    datasets = dict.fromkeys(load_task(name).dataset for name in tasks)
    written = []
    for dataset in datasets:
        if dataset not in CORPORA:
            raise TaskError(f"no synthetic {dataset}; there are {', '.join(CORPORA)}")
        module, function = CORPORA[dataset].split(":")
        getattr(importlib.import_module(module), function)(out / dataset, clips, seed, Reporter(say, progress))
        say(f"{dataset}: synthetic, seed {seed}, in {out / dataset}")
        written.append(out / dataset)
    return written


def check(
    task: str,
    data: Data,
    thorough: bool = False,
    *,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> bool:
    """Say what there is of a task's dataset and what is wrong with it; whether it is whole."""
    from joblib import cpu_count

    from svuprobe.extractors.audio import Decoders
    from svuprobe.tasks.data import check as checking

    loaded = load_task(task)
    root = data.folder(loaded.dataset)
    if not loaded.source and not root.is_dir():
        for line in checking.absent(loaded, root):
            say(line)
        return False
    with Decoders(min(int(cpu_count()), 8)) as decoders:
        clips = find_clips(loaded, root)
        report = checking.check(loaded, root, clips, decoders.heads, Reporter(say, progress), thorough=thorough)
    for line in report.lines():
        say(line)
    return report.ok


def prepare(
    tasks: Sequence[str], data: Data, *, progress: Callable[..., Any] | None = None, say: Say = _silent
) -> None:
    """Download and unpack what may be downloaded of each task's dataset."""
    from svuprobe.tasks.data.prepare import prepare as run_preparation

    for dataset in dict.fromkeys(load_task(name).dataset for name in tasks):
        run_preparation(dataset, data.folder(dataset), reporter=Reporter(say, progress))


def extract(
    models: Sequence[str],
    tasks: Sequence[str],
    *,
    data: Data,
    features: Path,
    device: str | None = None,
    dtype: str = "auto",
    batch_seconds: float | None = None,
    jobs: int | None = None,
    decode_timeout_s: float = 600.0,
    shard: tuple[int, int] = (1, 1),
    compiled: bool = False,
    replace_changed: bool = False,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[ExtractionReport]:
    """Run each model once over the datasets of the tasks; what a cache holds already is left alone.

    Tasks on one dataset with one windowing share a cache, and all models share each decoded clip. The clips of
    each task are written beside the features, so probing needs no audio. Failed clips are in the reports; the
    rest is done. See `svuprobe.extractors.extract.extract` for the options; ``jobs=None`` takes a process for every
    core that the models leave free.
    """
    device = checked_device(device)
    check_dtype(dtype)
    check_whole("jobs", jobs, 0, MOST_JOBS)
    check_real("batch_seconds", batch_seconds, MOST_BATCH_S)
    check_real("decode_timeout_s", decode_timeout_s, MOST_TIMEOUT_S)
    lists = _clip_lists(tasks, data, say)
    groups = _by_cache(lists)
    extractors = [load_model(name) for name in dict.fromkeys(models)]
    reports = []
    for (dataset, windowing, level), clips in groups.items():
        mine = [one for one in lists if _cache_key(one) == (dataset, windowing, level)]
        several = run_extraction(
            extractors,
            clips,
            features,
            dataset=dataset,
            windowing=windowing,
            level=level,
            device=device,
            dtype=dtype,
            batch_seconds=batch_seconds,
            jobs=_decoders(device) if jobs is None else jobs,
            decode_timeout_s=decode_timeout_s,
            shard=shard,
            compiled=compiled,
            replace_changed=replace_changed,
            reporter=Reporter(say, progress),
            begun=functools.partial(_save_lists, features, mine),
        )
        for report in several:
            say(_told(dataset, level, report))
        reports += several
    return reports


def _decoders(device: str) -> int:
    """Decoding takes about a hundredth of the time that a base model needs on a CPU, and more than on a GPU."""
    from joblib import cpu_count

    cores = int(cpu_count())
    return min(cores, 32) if device.startswith("cuda") else max(1, min(cores // 2, 4))


def _clip_lists(tasks: Sequence[str], data: Data, say: Say) -> list[ClipList]:
    """The clips of each task as they are on the disk, counted for the user."""
    lists = []
    for name in dict.fromkeys(tasks):
        task = load_task(name)
        root = data.folder(task.dataset)
        clips = find_clips(task, root)
        lists.append(cliplist.listed(task, clips, not task.source and is_synthetic(root)))
        _say_list(lists[-1], say)
    return lists


def _save_lists(features: Path, lists: Sequence[ClipList]) -> None:
    for one in lists:
        cliplist.save(features, one)


def _cache_key(one: ClipList) -> tuple[str, Windowing, str]:
    """What tells the cache that a task reads from others of one model."""
    return one.dataset, one.task.windowing, kinds.of(one.task).level


def _by_cache(lists: Sequence[ClipList]) -> dict[tuple[str, Windowing, str], list[Clip]]:
    """Clips wanted of each cache, each once, whatever the number of tasks that want them."""
    groups: dict[tuple[str, Windowing, str], dict[str, Clip]] = {}
    for one in lists:
        wanted = groups.setdefault(_cache_key(one), {})
        for clip in one.clips:
            other = wanted.setdefault(clip.id, clip)
            if (other.path, other.start, other.end) != (clip.path, clip.start, clip.end):
                raise TaskError(
                    f"clip {clip.id!r} of dataset {one.task.dataset} is {other.path} for one task and {clip.path} "
                    f"for another; give one of them another dataset name"
                )
    return {key: list(clips.values()) for key, clips in groups.items()}


def _say_list(one: ClipList, say: Say) -> None:
    """Say how many clips a task has, and what in them may not be meant."""
    from svuprobe.tasks.data.doubts import doubts

    task = one.task
    say(f"{task.name}: {_counted(task, one.clips)}{' (synthetic)' if one.synthetic else ''}")
    for doubt in doubts(task, one.clips):
        say(f"{task.name}: {doubt}")


def _counted(task: Task, clips: Sequence[Clip]) -> str:
    splits = Counter(clip.split for clip in clips)
    events = f", {sum(len(clip.target) for clip in clips)} {task.kind}" if kinds.of(task).level == "frame" else ""
    return f"{len(clips)} clips ({splits['train']} train, {splits['valid']} valid, {splits['test']} test){events}"


def _told(dataset: str, level: str, report: ExtractionReport) -> str:
    more = [
        f"{number} {what}"
        for number, what in (
            (report.elsewhere, "in other parts"),
            (report.busy, "being done by another process"),
            (report.quiet, "silent windows left out"),
        )
        if number
    ]
    speed = ""
    if report.done and report.wall_s:
        speed = f" ({report.wall_s:.1f} s, {report.audio_s / report.wall_s:.1f} times real time)"
    return (
        f"{report.model} on {dataset}, {level} level: {report.done} clips done, {report.cached} already cached"
        f"{speed}{''.join(f', {words}' for words in more)}"
    )


def cache_list(directory: Path) -> list[caches.CacheInfo]:
    """What there is of every cache below a folder, and whether it is complete."""
    return [caches.cache_info(folder) for folder in caches.cache_folders(directory)]


def cache_verify(
    directory: Path,
    *,
    remove: bool = False,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[caches.Damage]:
    """Read every byte of every cache below a folder; say and return what is damaged.

    With ``remove`` damaged files are deleted; extracting again then makes these again and touches no others.
    """
    damages: list[caches.Damage] = []
    try:
        caches.verify(directory, delete=remove, reporter=Reporter(say, progress), tell=damages.append)
    finally:  # also where a disk is full: what is deleted is named
        for damage in damages:
            say(f"{damage.path}: {damage.reason}")
    for folder in dict.fromkeys(d.path if d.path.is_dir() else d.path.parent for d in damages):
        kept = caches.cache_info(folder)
        say(
            f"  {folder.name}: svuprobe extract --model {kept.model}, with the other options that made it, repairs it"
        )
    return damages


def cache_prune(
    directory: Path,
    *,
    model: str | None = None,
    dry_run: bool = False,
    say: Say = _silent,
) -> int:
    """Delete what dead processes left in the caches below a folder, or every cache of one model.

    Returns the bytes that are free now, or would be (``dry_run``).
    """
    if model is None:
        gone = caches.prune(directory, dry_run=dry_run)
        for path, size in gone.items():
            say(f"{path}: {caches.size_text(size)}")
        return sum(gone.values())
    folders = [f for f in caches.cache_folders(directory) if f.parent.name.rpartition("@")[0] == slug(model)]
    emptied = caches.empty_folders(directory, slug(model))
    if not folders and not emptied:
        raise ExtractError(f"{directory}: no cache of {model}; svuprobe cache list says what there is")
    sizes = [caches.size_of(folder) for folder in folders]
    for folder, size in zip(folders, sizes, strict=True):
        say(f"{folder}: {caches.size_text(size)}")
        if not dry_run:
            caches.delete_cache(folder)
    for folder in () if dry_run else emptied:
        with writing(folder):
            folder.rmdir()
    return sum(sizes)


@dataclass(frozen=True)
class Probed:
    """One result, where it is, and whether it was there already.

    ``replaced`` names the parts of the identity in which an older result at that place was another.
    """

    result: Result
    path: Path
    cached: bool
    replaced: tuple[str, ...] = ()


class PartlyDone(ProbeError):
    """Some of what was asked could not be done, and the rest is.

    Attributes
    ----------
    done
        What was done.
    problems
        A line for each thing that was not.
    """

    def __init__(self, done: list[Probed], problems: list[str]) -> None:
        self.done, self.problems = done, problems
        several = f"{len(problems)} of {len(problems) + len(done)} could not be probed, the others are done"
        super().__init__(problems[0] if len(problems) == 1 and not done else f"{several}: {'; '.join(problems)}")


def probe(
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    *,
    features: Path,
    results: Path,
    protocol: Protocol | None = None,
    device: str | None = None,
    dtype: str = "auto",
    allow_missing: bool = False,
    overwrite: bool = False,
    memory: int | None = None,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[Probed]:
    """Probe every model that has a cache on every task that has one, or the named ones.

    A result that is there already and agrees in everything that determines it (`svuprobe.probe.identity`) is not
    made again. ``dtype`` is what the products of training are rounded to, as `svuprobe.probe.probing.probe` says.
    ``memory`` is what may be held of a frame-level cache, in bytes; half of what is free.

    Raises
    ------
    PartlyDone
        Some tasks or caches can't be probed; the others are done.
    """
    protocol = protocol or Protocol()
    device = checked_device(device)
    check_dtype(dtype)
    check_whole("memory", memory, LEAST_MEMORY, MOST_MEMORY)
    names: Sequence[str | None] = tasks or [None]
    probed: list[Probed] = []
    problems: list[str] = []
    for name in names:
        lists, bad = _lists(features, name)
        problems += bad
        for listed in lists:
            try:
                folders = _caches(features, listed, models)
            except UserError as error:
                problems.append(str(error))
                continue
            for folder in folders:
                try:
                    with FeatureCache(folder) as cache:
                        require_place(folder, cache.header)
                        one = _probe_one(
                            cache,
                            listed,
                            protocol,
                            results,
                            device=device,
                            dtype=dtype,
                            allow_missing=allow_missing,
                            overwrite=overwrite,
                            memory=memory,
                            progress=progress,
                            say=say,
                        )
                except UserError as error:
                    problems.append(str(error))
                    continue
                probed.append(one)
                for line in _told_probe(one):
                    say(line)
    for line in _at_the_edge(probed):
        say(line)
    if problems:
        raise PartlyDone(probed, problems)
    return probed


def _lists(features: Path, name: str | None) -> tuple[list[ClipList], list[str]]:
    found, problems = cliplist.find(features, name)
    if not found and not problems:
        what = f"task {name}" if name else "any task"
        raise ProbeError(
            f"{features}: no features of {what}; run svuprobe extract --task {name or 'T'} --model M first"
        )
    return found, problems


def _caches(features: Path, listed: ClipList, models: Sequence[str]) -> list[Path]:
    key = (listed.dataset, listed.task.windowing.key, kinds.of(listed.task).level)
    there = find(features, "*", *key)
    if not models and not there:
        raise ProbeError(
            f"{features}: no features for task {listed.task.name}; run svuprobe extract --task {listed.task.name}"
        )
    folders = []
    for model in models or ["*"]:
        found = find(features, "*" if model == "*" else slug(model), *key)
        if not found:
            have = ", ".join(sorted(p.parent.name for p in there)) or "none"
            raise ProbeError(
                f"{features}: no features of {model} for task {listed.task.name} (there are: {have}); "
                f"run svuprobe extract --model {model} --task {listed.task.source or listed.task.name}"
            )
        folders += found
    return list(dict.fromkeys(folders))


def _probe_one(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    results: Path,
    *,
    device: str,
    dtype: str,
    allow_missing: bool,
    overwrite: bool,
    memory: int | None,
    progress: Callable[..., Any] | None,
    say: Say,
) -> Probed:
    """Probe a cache on a task, unless the result is there; one process at a time for each result."""
    from svuprobe.probe import identity

    identity.refuse_other_audio(cache, listed)
    path = results / cache.directory.parent.name / listed.folder / f"{protocol.file_name}.json"
    mine = identity.of_probe(cache, listed, protocol.hash, dtype)
    if not overwrite:
        result_file.sweep(path)
        old, _ = _old_result(path, mine, _silent)
        if old is not None:  # also where nothing may be written
            return Probed(old, path, cached=True)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replaced: tuple[str, ...] = ()
    with ExitStack() as held:
        busy = not held.enter_context(locked(path, wait=False))
        if busy:
            say(f"{path}: another process is making it; waiting for it")
            held.enter_context(locked(path, wait=True))
        if busy or not overwrite:  # once more: another process may have made it since
            old, replaced = _old_result(path, mine, say)
            if old is not None:
                return Probed(old, path, cached=True)
        made = _make_result(cache, listed, protocol, path, device, dtype, allow_missing, memory, progress)
        return replace(made, replaced=replaced)


def _old_result(path: Path, mine: Mapping[str, str], say: Say) -> tuple[Result | None, tuple[str, ...]]:
    """The result that is there, if it is of all this; else in what it differs. A damaged one is named."""
    from svuprobe.probe import identity

    if not path.exists():
        return None, ()
    try:
        old = result_file.load(path)
        differing = identity.differing(old.identity, mine)
        if not differing:
            for suffix in old.files:
                result_file.require_unchanged(old, path, suffix)
            return old, ()
        return None, tuple(differing)
    except ProbeError as error:
        say(f"{error}: made again now")
        return None, ()


def _make_result(
    cache: FeatureCache,
    listed: ClipList,
    protocol: Protocol,
    path: Path,
    device: str,
    dtype: str,
    allow_missing: bool,
    memory: int | None,
    progress: Callable[..., Any] | None,
) -> Probed:
    """Train and score, and write the result with what belongs to it."""
    from svuprobe.probe.probing import probe as run_probe

    result, predictions, heads = run_probe(
        cache,
        listed,
        protocol,
        device=device,
        dtype=dtype,
        allow_missing=allow_missing,
        memory=memory,
        reporter=Reporter(make_bar=progress),
    )
    result = result_file.save(result, path, predictions, heads.write)
    return Probed(result, path, cached=False)


def _told_probe(one: Probed) -> list[str]:
    result = one.result
    ranked, score = result.task.ranked, result.ranked
    seconds = "already there" if one.cached else f"{result.timings.total_s:.1f} s"
    lines = [
        f"{result.title}{_what_is_special(result)}: {ranked} {_score_text(score)}, "
        f"chance {_number(result.chance[ranked])} ({seconds})"
    ]
    if one.replaced:
        lines.append(f"  took the place of a result with other {' and '.join(one.replaced)}: {one.path}")
    return [*lines, *(f"  {caveat}" for caveat in result.caveats)]


def _what_is_special(result: Result) -> str:
    """What was done to the training set, so that no control is taken for a score."""
    share = result.protocol.train_fraction
    words = [f"{100 * share:g} % of the training clips"] * (share < 1)
    words += ["training labels shuffled: a control"] * result.protocol.shuffle_labels
    return f" ({', '.join(words)})" if words else ""


def _score_text(score: Score) -> str:
    """Mean, spread over seeds where there are several, and interval over groups where there is one."""
    spread = "" if score.std is None else f" ± {_number(score.std)}"
    ends = score.ci95
    interval = f", 95 % interval {_number(ends[0])} to {_number(ends[1])}" if ends else ""
    return f"{_number(score.mean)}{spread}{interval}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _at_the_edge(probed: Sequence[Probed]) -> list[str]:
    """Say in one line of which results the learning rate is the largest or smallest that was tried."""
    found = []
    for one in probed:
        tried = one.result.protocol.learning_rates
        chosen = one.result.selected.head.learning_rate
        if len(tried) > 1 and not tried[0] < chosen < tried[-1]:
            which = "largest" if chosen >= tried[-1] else "smallest"
            found.append(f"{one.result.title} ({chosen:g}, the {which})")
    if not found:
        return []
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return [
        f"the learning rate chosen is at the edge of the grid, one beyond it may do better (--learning-rate): "
        f"{', '.join(found[:5])}{more}"
    ]


def finetune(
    tasks: Sequence[str],
    models: Sequence[str],
    *,
    data: Data,
    results: Path,
    protocol: FinetuneProtocol | None = None,
    recipe: RecipeProtocol | None = None,
    start: Path | None = None,
    device: str | None = None,
    dtype: str = "auto",
    accumulate: int = 1,
    checkpointing: bool = False,
    checkpoint_steps: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    allow_missing: bool = False,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[Probed]:
    """Train models end to end on the audio of tasks, or supervised baselines from random weights.

    Under ``accelerate launch`` each batch is shared out over all processes.

    Parameters
    ----------
    models
        Models by name, which ``protocol`` is for, or baselines, which ``recipe`` is for.
    start
        Result of a probe whose heads are taken to start from.
    dtype
        ``float32``, ``bfloat16`` (autocast), or ``auto``: the latter on a GPU that has it natively.
    accumulate
        Parts that each batch is computed in.
    checkpointing
        Compute blocks again in the backward pass instead of keeping them: less memory, more time.
    checkpoint_steps
        Steps between checkpoints within an epoch; there is one after each epoch anyway.
    resume
        Go on from what an unfinished run left, to the same result.
    """
    from svuprobe.extractors.batching import native_dtype
    from svuprobe.probe.finetune import run as tuning
    from svuprobe.probe.finetune.loop import Machine, Ranks
    from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol

    check_dtype(dtype)
    check_whole("jobs", jobs, 0, MOST_JOBS)
    check_whole("accumulate", accumulate, 1, 100_000)
    check_whole("checkpoint_steps", checkpoint_steps, 0, 1_000_000_000)
    ranks = Ranks()
    device = ranks.device or checked_device(device)
    if dtype == "auto":
        dtype = native_dtype(device) if device.startswith("cuda") else "float32"
    options = tuning.Options(
        machine=Machine(device, dtype, accumulate, ranks),
        checkpointing=checkpointing,
        every=checkpoint_steps,
        resume=resume,
        overwrite=overwrite,
        jobs=_decoders(device) if jobs is None else jobs,
        allow_missing=allow_missing,
    )
    told, watched = (say, progress) if ranks.first else (_silent, None)
    done = []
    for name in dict.fromkeys(tasks):
        task = load_task(name)
        root = data.folder(task.dataset)
        clips = find_clips(task, root)
        listed = cliplist.listed(task, clips, not task.source and is_synthetic(root))
        _say_list(listed, told)
        for model in dict.fromkeys(models):
            chosen = (recipe or RecipeProtocol()) if tuning.is_baseline(model) else (protocol or FinetuneProtocol())
            found = tuning.finetune(
                listed, model, chosen, results, start=start, options=options, reporter=Reporter(told, watched)
            )
            done.append(Probed(*found))
            for line in _told_probe(done[-1]):
                told(line)
    return done


def predict(
    run: Path,
    audio: Sequence[str | Path],
    *,
    out: Path | None = None,
    plots: bool = False,
    seed: int = 0,
    device: str | None = None,
    jobs: int | None = None,
    run_code: bool = False,
    progress: Callable[..., Any] | None = None,
) -> Iterator[tuple[Prediction, list[Path]]]:
    """What the heads of a result say of audio files, in their order, and the files written.

    Parameters
    ----------
    run
        A result's JSON file, with its heads beside it.
    audio
        Files of any length; one that can't be decoded gives a prediction with a ``failure``.
    out
        Where MIDI, CSV, JAMS and beat files go, and with ``plots`` a picture of each; None writes nothing. Each file
        of audio has a name of its own there.
    run_code
        Whether the model that the result names may be run where it is code: ``py:`` and ``hear:``.
    """
    from svuprobe.probe.predict import draw, formats
    from svuprobe.probe.predict.predict import load_answers, predict as run_prediction

    device = checked_device(device)
    check_whole("jobs", jobs, 0, MOST_JOBS)
    check_whole("seed", seed, 0, 999)
    answers = load_answers(run, seed=seed, device=device, run_code=run_code)
    paths = [Path(path) for path in audio]
    stems = _distinct([path.stem for path in paths])
    found = run_prediction(
        answers, paths, jobs=_decoders(device) if jobs is None else jobs, reporter=Reporter(make_bar=progress)
    )
    for prediction, stem in zip(found, stems, strict=True):
        written: list[Path] = []
        if out is not None and not prediction.failure:
            written = formats.write(prediction, out / stem)
            written += [draw.draw(prediction, out / f"{stem}.png")] if plots else []
        yield prediction, written


_LONGEST_STEM = 120  # of a written file: suffixes and numbers come after it


def _distinct(stems: Sequence[str]) -> list[str]:
    """Names for files of several folders, none of them twice: the second ``take`` becomes ``take-2``, or ``take-3``.

    Letters that differ in case alone are the same on some file systems. What can't be the start of a file's name is
    replaced: the file of ``..wav`` has the stem ``.``, and writing there would leave the folder.
    """
    taken: set[str] = set()
    names = []
    for stem in stems:
        plain = re.sub(r"[\x00-\x1f/\\:]", "_", stem).strip(". ")[:_LONGEST_STEM] or "audio"
        numbers = itertools.count(2)
        name = plain
        while name.casefold() in taken:
            name = f"{plain}-{next(numbers)}"
        taken.add(name.casefold())
        names.append(name)
    return names


class LeftOut(ProbeError):
    """Some files of results could not be used, and everything was made of the others.

    Attributes
    ----------
    written
        The files that were written.
    problems
        A line for each file that was left out.
    """

    def __init__(self, written: list[Path], problems: list[str]) -> None:
        self.written, self.problems = written, problems
        several = f"{len(problems)} files of results could not be used, the rest is done"
        super().__init__(problems[0] if len(problems) == 1 else f"{several}: {'; '.join(problems)}")


def leaderboard(results: Path, out: Path, *, check: bool = False) -> str:
    """Write the leaderboard of all results, with CSV and JSON beside it; returns the Markdown.

    With ``check`` nothing is written: ProbeError names the first file that is not what the results say.

    Raises
    ------
    LeftOut
        Results, or predictions beside them, can't be used; the leaderboard of the others is written.
    """
    from svuprobe.benchmarks.leaderboard import files

    if out.suffix in (".csv", ".json"):
        raise ProbeError(
            f"{out}: the leaderboard is Markdown, with a .csv and a .json of that name beside it; name a .md"
        )
    texts, problems = files(results, out)
    for path, text in texts.items():
        if not check:
            write_text(path, text)
        elif not holds(path, text):
            state = "is not what the results say" if path.is_file() else "is missing"
            again = f"svuprobe leaderboard --results {results} --out {out}"
            raise ProbeError(f"{path}: {state}; run {again} and commit it")
    if problems:
        raise LeftOut([] if check else list(texts), problems)
    return texts[out]


def plot(kind: str, results: Path, out: Path) -> list[Path]:
    """Draw ``scores``, ``layer-weights``, ``layer-curves`` or ``data-efficiency``: PNG, SVG and CSV.

    Raises LeftOut where results can't be read; those of the others are drawn.
    """
    from svuprobe.benchmarks.plots import KINDS

    entries, problems = result_file.read_all(results)
    try:
        written = KINDS[kind]([result for result, _ in entries], out)
    except ProbeError as error:
        if not problems:
            raise
        raise LeftOut([], [*problems, str(error)]) from None
    if problems:
        raise LeftOut(written, problems)
    return written


def run(suite: str, *, data: Data, out: Path, **options: Any) -> list[str]:
    """Extract and probe what is missing of a suite, then leaderboard and plots; see `svuprobe.running.run`."""
    from svuprobe.running import run as run_suite

    return run_suite(suite, data=data, out=out, **options)


__all__ = [
    "Data",
    "ExtractError",
    "LeftOut",
    "PartlyDone",
    "ProbeError",
    "Probed",
    "TaskError",
    "cache_list",
    "cache_prune",
    "cache_verify",
    "check",
    "check_model",
    "extract",
    "finetune",
    "leaderboard",
    "plot",
    "predict",
    "prepare",
    "probe",
    "run",
    "synth",
]
