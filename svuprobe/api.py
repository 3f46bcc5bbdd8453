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
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, find, write_text
from svuprobe.extractors.catalogue import load as load_model, slug
from svuprobe.extractors.run import Report, extract as run_extraction
from svuprobe.probe import result as result_file
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.result import Result, digests
from svuprobe.tasks import (
    Clip,
    Task,
    TaskError,
    cliplist,
    dataset_id,
    find_clips,
    is_synthetic,
    load as load_task,
)
from svuprobe.tasks.cliplist import ClipList
from svuprobe.tasks.synth import CORPORA

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
    datasets = dict.fromkeys(load_task(name).dataset for name in tasks)
    written = []
    for dataset in datasets:
        if dataset not in CORPORA:
            raise TaskError(f"no synthetic {dataset}; there are {', '.join(CORPORA)}")
        module, function = CORPORA[dataset].split(":")
        getattr(importlib.import_module(module), function)(out / dataset, clips, seed, progress=progress)
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
    from svuprobe.tasks import check as checking

    loaded = load_task(task)
    root = data.folder(loaded.dataset)
    if not loaded.source and not root.is_dir():
        say(checking.absent(loaded, root))
        return False
    report = checking.check(loaded, root, find_clips(loaded, root), progress, thorough=thorough)
    for line in report.lines():
        say(line)
    return report.ok


def prepare(
    tasks: Sequence[str], data: Data, *, progress: Callable[..., Any] | None = None, say: Say = _silent
) -> None:
    """Download and unpack what may be downloaded of each task's dataset."""
    from svuprobe.tasks.prepare import prepare as run_preparation

    for dataset in dict.fromkeys(load_task(name).dataset for name in tasks):
        run_preparation(dataset, data.folder(dataset), progress=progress, say=say)


@functools.cache
def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def extract(
    models: Sequence[str],
    tasks: Sequence[str],
    *,
    data: Data,
    features: Path,
    device: str | None = None,
    dtype: str = "float32",
    batch_seconds: float = 60.0,
    jobs: int = 2,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[Report]:
    """Run each model once over the datasets of the tasks; what a cache holds already is left alone.

    Tasks on one dataset with one windowing share a cache. The clips of each task are written beside the
    features, so probing needs no audio. Failed clips are in the reports; the rest is done.
    """
    groups = _by_cache(tasks, data, features, say)
    reports = []
    for name in models:
        extractor = load_model(name)
        for (dataset, windowing, level), clips in groups.items():
            report = run_extraction(
                extractor,
                clips,
                features,
                dataset=dataset,
                windowing=windowing,
                level=level,
                device=device or default_device(),
                dtype=dtype,
                batch_seconds=batch_seconds,
                jobs=jobs,
                shard=shard,
                progress=progress,
            )
            say(_told(name, dataset, level, report))
            reports.append(report)
    return reports


def _by_cache(tasks: Sequence[str], data: Data, features: Path, say: Say) -> dict[tuple[Any, ...], list[Clip]]:
    """Clips wanted of each cache, each once, whatever the number of tasks that want them."""
    groups: dict[tuple[Any, ...], dict[str, Clip]] = {}
    for name in dict.fromkeys(tasks):
        task = load_task(name)
        root = data.folder(task.dataset)
        clips = find_clips(task, root)
        synthetic = not task.source and is_synthetic(root)
        cliplist.save(features, task, clips, synthetic)
        say(f"{task.name}: {_counted(task, clips)}{' (synthetic)' if synthetic else ''}")
        wanted = groups.setdefault((dataset_id(task, synthetic), task.windowing, task.level), {})
        for clip in clips:
            other = wanted.setdefault(clip.id, clip)
            if (other.path, other.start, other.end) != (clip.path, clip.start, clip.end):
                raise TaskError(
                    f"clip {clip.id!r} of dataset {task.dataset} is {other.path} for one task and {clip.path} "
                    f"for another; give one of them another dataset name"
                )
    return {key: list(clips.values()) for key, clips in groups.items()}


def _counted(task: Task, clips: Sequence[Clip]) -> str:
    splits = Counter(clip.split for clip in clips)
    text = f"{len(clips)} clips ({splits['train']} train, {splits['valid']} valid, {splits['test']} test)"
    if task.kind == "notes":
        from svuprobe.tasks import notes

        odd = Counter[str]()
        for clip in clips:
            odd.update(notes.irregular(clip.target, 0.02))
        text += f", {sum(len(c.target) for c in clips)} notes"
        text += "".join(f", {n} {what.replace('_', ' ')}" for what, n in odd.items() if n)
    return text


def _told(model: str, dataset: str, level: str, report: Report) -> str:
    speed = f", {report.audio_s / report.wall_s:.1f} times real time" if report.done and report.wall_s else ""
    return (
        f"{model} on {dataset}, {level} level: {report.done} clips done, {report.cached} already cached "
        f"({report.wall_s:.1f} s{speed}){f', {report.quiet} silent windows left out' if report.quiet else ''}"
    )


@dataclass(frozen=True)
class Probed:
    """One result, where it is, and whether it was there already."""

    result: Result
    path: Path
    cached: bool


def probe(
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    *,
    features: Path,
    results: Path,
    protocol: Protocol | None = None,
    device: str | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    progress: Callable[..., Any] | None = None,
    say: Say = _silent,
) -> list[Probed]:
    """Probe every model that has a cache on every task that has one, or the named ones.

    A result that is there already, of the same weights, task, split, targets and protocol, is not made again.
    """
    protocol = protocol or Protocol()
    names: Sequence[str | None] = tasks or [None]
    lists = [found for name in names for found in _lists(features, name)]
    probed = []
    for listed in lists:
        for folder in _caches(features, listed, models):
            with FeatureCache(folder) as cache:
                one = _probe_one(cache, listed, protocol, results, device, allow_missing, overwrite, progress)
            probed.append(one)
            say(_told_probe(one))
    return probed


def _lists(features: Path, name: str | None) -> list[ClipList]:
    found = cliplist.find(features, name)
    if not found:
        what = f"task {name}" if name else "any task"
        raise ProbeError(
            f"{features}: no features of {what}; run svuprobe extract --task {name or 'T'} --model M first"
        )
    return found


def _caches(features: Path, listed: ClipList, models: Sequence[str]) -> list[Path]:
    key = (listed.dataset, listed.task.windowing.key, listed.task.level)
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
    device: str | None,
    allow_missing: bool,
    overwrite: bool,
    progress: Callable[..., Any] | None,
) -> Probed:
    name = f"{listed.task.name}{'.synthetic' if listed.synthetic else ''}"
    path = results / cache.directory.parent.name / name / f"{protocol.file_name}.json"
    if path.exists() and not overwrite:
        old = result_file.load(path)
        if _same(old, cache, listed, protocol):
            return Probed(old, path, cached=True)
    from svuprobe.probe.run import probe as run_probe

    labelled = None
    if progress is not None:
        title = f"probe {listed.task.name} {cache.header.model}"
        labelled = functools.partial(_titled, progress, title)
    result, predictions = run_probe(
        cache,
        listed,
        protocol,
        device=device or default_device(),
        allow_missing=allow_missing,
        progress=labelled,
    )
    result_file.save(result, path, predictions)
    return Probed(result, path, cached=False)


def _titled(progress: Callable[..., Any], title: str, *args: Any, **options: Any) -> Any:
    return progress(*args, **options | {"desc": title})


def _same(old: Result, cache: FeatureCache, listed: ClipList, protocol: Protocol) -> bool:
    """Whether a result is what probing again would make: same weights, clips, targets, task and protocol."""
    now = {"version": listed.task.version, "labels": list(listed.labels), **digests(listed.clips)}
    if listed.task.kind == "beats":
        now["beat_decoder"] = listed.task.beat_decoder
    same_task = all(old.task.get(key) == value for key, value in now.items())
    same_features = (old.model["digest"], old.model["dtype"]) == (cache.header.digest, cache.header.dtype)
    return same_task and same_features and old.protocol["hash"] == protocol.hash and not old.counts["missing"]


def _told_probe(one: Probed) -> str:
    result = one.result
    ranked, score = result.task["ranked"], result.ranked
    ci = score["ci95"]
    interval = f", 95 % interval {ci[0]:.3f} to {ci[1]:.3f}" if ci else ""
    seconds = "already there" if one.cached else f"{sum(result.timings.values()):.1f} s"
    return (
        f"{result.model['name']} on {result.task['name']}: {ranked} {score['mean']:.3f} ± {score['std']:.3f}"
        f"{interval}, chance {result.chance[ranked]:.3f} ({seconds})"
    )


def leaderboard(results: Path, out: Path, *, check: bool = False) -> str:
    """Write the leaderboard of all results; with ``check`` raise ProbeError if the file is not what it'd write."""
    from svuprobe.benchmarks.leaderboard import render

    text = render(result_file.load_all(results))
    if not check:
        write_text(out, text)
    elif not out.is_file() or out.read_text() != text:
        state = "is not what the results say" if out.is_file() else "is missing"
        raise ProbeError(f"{out}: {state}; run svuprobe leaderboard --results {results} --out {out} and commit it")
    return text


def plot(kind: str, results: Path, out: Path) -> list[Path]:
    """Draw ``layer-weights`` or ``layer-curves`` of all results: PNG, SVG and CSV."""
    from svuprobe.benchmarks import plots

    draw = {"layer-weights": plots.layer_weights, "layer-curves": plots.layer_curves}[kind]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="matplotlib")
        return draw(result_file.load_all(results), out)


__all__ = [
    "Data",
    "ExtractError",
    "ProbeError",
    "Probed",
    "TaskError",
    "check",
    "extract",
    "leaderboard",
    "plot",
    "prepare",
    "probe",
    "synth",
]
