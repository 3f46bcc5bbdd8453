"""Lay out what a suite asks for, part by part, and tell which results are there.

A part is one model on one task under one protocol. Its result is there if it is of the same task,
clips, audio and protocol; to know that, no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from svuprobe._errors import UserError
from svuprobe.api import Data
from svuprobe.benchmarks import suite as suites
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.loading import load as load_model, local_revision
from svuprobe.extractors.names import is_control, slug
from svuprobe.probe import identity
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.tasks import Clip, Task, TaskError, find_clips, is_synthetic, load as load_task, own
from svuprobe.tasks.datasets import DATASETS, embedded_folder
from svuprobe.tasks.manifest import labels_of

Made = TypeVar("Made")


@dataclass(frozen=True)
class Asked:
    """Hold a task of the suite; ``typed`` is its name or TOML file, ``problem`` why its data are
    absent.

    ``clips`` and ``labels`` are empty where the data are absent: any clips will do then.
    """

    task: Task
    typed: str
    protocols: tuple[Protocol, ...]
    synthetic: bool
    clips: tuple[Clip, ...] = ()
    labels: tuple[str, ...] = ()
    problem: str = ""

    @cached_property
    def marks(self) -> dict[str, str]:
        """Return what the audio of each clip is, by clip id, without clips whose file is not
        there.
        """
        return identity.marks_of(self.clips)


@dataclass(frozen=True)
class Part:
    """Name one result of the suite."""

    asked: Asked
    protocol: Protocol
    model: str


def parts_of(plan: suites.Suite, models: list[str], data: Data, folder: Path) -> list[Part]:
    """Return everything that a suite asks for."""
    parts = []
    for name in plan.tasks:
        asked = _asked(plan, name, data, folder)
        for protocol in asked.protocols:
            parts += [Part(asked, protocol, model) for model in models]
    return parts


def _asked(plan: suites.Suite, name: str, data: Data, folder: Path) -> Asked:
    """Return a task with its clips; an unknown name raises, absent data do not."""
    typed = f"{name}.toml" if plan.prepare == "real_audio" else name
    if own.is_own(typed):
        typed = own.at(typed, folder / own.path_of(typed))
    task = load_task(typed)
    root = data.folder(task.dataset)
    # Recordings that come with svuprobe are real, also in a suite that makes its other data.
    made = plan.prepare == "synth" and not embedded_folder(task.dataset)
    synthetic = made or (not task.source and is_synthetic(root))
    asked = Asked(task, typed, plan.protocols_of(name), synthetic)
    try:
        if not task.source and not root.is_dir():
            raise TaskError(_absent(task, root))
        clips = find_clips(task, root)
    except TaskError as error:
        return replace(asked, problem=str(error))
    return replace(asked, clips=tuple(clips), labels=labels_of(task, clips))


def _absent(task: Task, root: Path) -> str:
    """Say what is missing, and the command that gets it or says how."""
    words = f"--task {task.name} --data {root.parent}"
    if task.dataset in DATASETS and DATASETS[task.dataset].archives:
        return f"{root}: no such folder; get it with svuprobe data prepare {words}"
    return f"{root}: no such folder; svuprobe data check {words} says how to get it"


def revision_now(model: str) -> str | None:
    """Return the revision of a local model; None for others, and where its files are gone.

    What was made of it stands.
    """
    try:
        return local_revision(model)
    except ExtractError:
        return None


def is_there(results: Path, one: Part, revision: str | None, allow_missing: bool) -> bool:
    """Tell whether there is a result of the protocol on the clips as they are (or any, without
    data).

    ``one.model`` is the name that results carry.
    """
    for folder in _folders(results, one, revision):
        path = folder / f"{one.protocol.file_name}.json"
        if path.is_file() and _agrees(path, one, allow_missing):
            return True
    return False


def _folders(results: Path, one: Part, revision: str | None) -> list[Path]:
    """Return where results of a model's revision are; of any revision where that is not known
    here.
    """
    names = [one.asked.task.name, f"{one.asked.task.name}.synthetic"]
    # Whether absent data are synthetic can't be seen: either result will do.
    possible = names if one.asked.problem else [names[one.asked.synthetic]]
    folders = []
    for of_model in sorted(results.glob(f"{slug(one.model)}@{revision[:8] if revision else '*'}")):
        folders += [of_model / name for name in possible]
    return folders


def _agrees(path: Path, one: Part, allow_missing: bool) -> bool:
    """Tell whether a result is of the same task, clips, audio and protocol; its folder says the
    revision.
    """
    result_file.sweep(path)
    try:
        old = result_file.load(path)
    except ProbeError:  # of an older schema, or damaged: made again
        return False
    if old.counts.missing and not allow_missing:
        return False
    asked = one.asked
    if asked.problem:
        return old.protocol.hash == one.protocol.hash and old.task.version == asked.task.version
    now = identity.identity(asked.task, asked.labels, asked.clips, one.protocol.hash, "auto")
    left_out = set(old.counts.missing_clips)
    marks = {clip_id: mark for clip_id, mark in asked.marks.items() if clip_id not in left_out}
    # Else some audio is not at hand, and was what it was.
    if len(marks) + len(left_out) == len(asked.clips):
        now["audio"] = identity.of_audio(marks)
    return not identity.differing(old.identity, now)


def wanted(suite: str, one: Part, display: str = "") -> suites.Wanted:
    """Return what a suite asks for, as its leaderboard waits for it.

    ``one.model`` is the name that results carry.
    """
    asked, protocol = one.asked, one.protocol
    return suites.Wanted(
        suite=suite,
        model=one.model,
        control=is_control(one.model),
        task=asked.task.name,
        metric=asked.task.metrics[0],
        synthetic=asked.synthetic,
        protocol=protocol.name,
        hash=protocol.hash,
        display=display,
    )


def lines_of(failures: Mapping[str, str]) -> list[str]:
    """Return a line for each failure: what failed, unless the reason begins with it, and why."""
    return [f"{what}: {why.removeprefix(f'{what}: ')}" for what, why in failures.items()]


def unloadable(models: Iterable[str]) -> dict[str, str]:
    """Return why a model can't be loaded, for each that can't; one at a time is in memory."""
    failures = {}
    for model in models:
        try:
            load_model(model)
        except UserError as error:
            failures[model] = str(error)
    return failures


def together_or_alone(
    models: list[str], work: Callable[[list[str]], Made]
) -> tuple[list[Made], dict[str, str]]:
    """Work with all models at once; where that fails, without those that can't be loaded; where
    that fails too, with each alone, so that one leaves the others alone.

    Returns what was made, and why a model could not be used, for each that could not.
    """
    try:
        return [work(models)], {}
    except TaskError as error:
        return [], dict.fromkeys(models, str(error))
    except UserError as error:
        if len(models) == 1:
            return [], {models[0]: str(error)}
    failures = unloadable(models)
    if failures:
        # Together they share each decoded clip.
        loaded = [model for model in models if model not in failures]
        made, why = together_or_alone(loaded, work) if loaded else ([], {})
        return made, failures | why
    made = []
    for model in models:
        alone, why = together_or_alone([model], work)
        made += alone
        failures |= why
    return made, failures
