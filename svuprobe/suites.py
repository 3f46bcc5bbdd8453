"""Run a suite: extract and probe what is missing, then leaderboard and plots.

Everything is below OUT: ``features``, ``results``, ``plots``, ``report``, ``leaderboard.md`` and,
where the suite makes its data, ``data``. What there is already is found without loading a model, so
a second run is over in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from svuprobe import api
from svuprobe._errors import UserError
from svuprobe._files import write_text
from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.api import Data, display
from svuprobe.api.arguments import local_path
from svuprobe.benchmarks import real_audio, suite as suites
from svuprobe.cluster.suite import SuiteOnCluster
from svuprobe.extractors.found_again import named_in
from svuprobe.extractors.names import canonical, typed
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.address import is_address
from svuprobe.extractors.store.opening import place_of
from svuprobe.probe.at_hand import AtHand
from svuprobe.probe.protocol import FRAME_POOLINGS
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result_file import Entry
from svuprobe.suite_boards import show
from svuprobe.suite_models import PretrainJob, jobs_of, models_of, pretrain_models
from svuprobe.suite_parts import (
    Part,
    is_there,
    lines_of,
    parts_of,
    revision_now,
    together_or_alone,
    wanted,
)
from svuprobe.tasks import TaskError


def run_suite(
    suite: str | Path,
    *,
    data: Data | str | Path,
    out: str | Path,
    results: str | Path | None = None,
    features: str | Path | None = None,
    options: RunOptions | None = None,
) -> list[str]:
    """Extract and probe what is missing of a suite, then write leaderboard and plots.

    `make_suite` does the same and returns the results too.

    Parameters
    ----------
    suite
        Name of a suite that comes with svuprobe, or a TOML file (`svuprobe.benchmarks.suite`).
    data
        The folder that holds the datasets, or a `Data`. A suite of synthetic data makes its own
        below ``out``.
    out
        Folder of everything that is written.
    results, features
        In place of ``out/results`` and ``out/features``; that of features may be the address of a
        store.
    options
        ``device``, ``allow_missing``, ``names``, ``cluster`` and ``reporter`` are used.

    Returns
    -------
    list of str
        What could not be made, a line each; everything else is done.

    Raises
    ------
    ProbeError, ExtractError, TaskError
        A suite that can't be read, or names a model or task that does not exist. What fails later,
        or lacks its data, is in the list that is returned.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.run_suite("small.toml", data="data", out="all")
    []
    """
    made = make_suite(
        suite, data=data, out=out, results=results, features=features, options=options
    )
    return made.failures


@dataclass(frozen=True)
class SuiteRun:
    """Hold what a run of a suite made or found: its results with their paths, and a line for each
    that could not be made.
    """

    results: list[Entry]
    failures: list[str]


def make_suite(
    suite: str | Path,
    *,
    data: Data | str | Path,
    out: str | Path,
    results: str | Path | None = None,
    features: str | Path | None = None,
    options: RunOptions | None = None,
) -> SuiteRun:
    """Extract and probe what is missing of a suite, write leaderboard and plots, and return the
    results; arguments and errors are those of `run_suite`.
    """
    options = options or RunOptions()
    data, out = api.Data.of(data), local_path(out)
    places = _Places(
        data,
        out,
        features=place_of(features or out / "features", options.reporter),
        results=local_path(results) if results else out / "results",
    )
    plan = suites.load(str(suite))
    if options.cluster is None:
        return _make_suite(plan, places, options, _Here(options))
    folders = [places.out, places.results]
    if not is_address(str(places.features)):  # else each worker has a copy of its own
        folders.append(places.features.folder)
    with SuiteOnCluster(folders, data, options) as there:
        return _make_suite(plan, places, options, there)


@dataclass(frozen=True)
class _Places:
    """Say where a suite reads and writes."""

    data: Data
    out: Path
    features: Place
    results: Path


class _Doer(Protocol):
    """Do the parts of a suite: here, or on a cluster."""

    def start(self) -> object:
        """Be ready for work; what speaks against it is raised."""
        ...

    def pretrain(self, jobs: Sequence[PretrainJob]) -> object:
        """Pre-train models."""
        ...

    def make(
        self, groups: Sequence[Sequence[Part]], data: Data, features: str, results: Path
    ) -> list[str]:
        """Extract and probe what is missing on each dataset; return a line for each failure."""
        ...


def _make_suite(plan: suites.Suite, places: _Places, options: RunOptions, doer: _Doer) -> SuiteRun:
    reporter = options.reporter
    names = display.kept(options.names)
    data, out, features, results = places.data, places.out, places.features, places.results
    asked_for = (*models_of(plan, out), *plan.all_models)
    models = [canonical(typed(name, reporter)) for name in asked_for]
    display.require_asked(names, models)
    if jobs := jobs_of(plan, out):
        doer.pretrain(jobs)
    if plan.prepare == "synth":  # never among the user's own
        data = replace(data, root=out / "data", elsewhere={})
    folder = plan.folder
    if plan.prepare == "real_audio":
        folder = out / "data" / plan.name
        _write_tasks(data.root / "manifest.csv", folder, plan)
    several = parts_of(plan, models, data, folder)
    # Asked for once: to know that of a model of one's own takes loading it.
    revisions = {model: revision_now(model) for model in models}
    features.fetch_lists()
    # A checkpoint that has moved has features and results under the path that it had.
    carried = {model: named_in(features.folder, model) for model in models}

    def as_carried(one: Part) -> Part:
        return replace(one, model=carried[one.model])

    def absent(one: Part) -> bool:
        revision = revisions[one.model]
        return not is_there(results, as_carried(one), revision, options.allow_missing)

    missing = list(filter(absent, several))
    if missing:
        doer.start()
    if plan.prepare == "synth" and any(one.asked.problem for one in missing):
        _synthesise(plan, missing, data, reporter)
        # Again: the tasks have clips now.
        several = parts_of(plan, models, data, folder)
        missing = list(filter(absent, several))
    asked = [wanted(plan.name, as_carried(one), names.get(one.model, "")) for one in several]
    suites.save_wanted(results, plan.name, asked)
    if plan.pretrain and not (results / "about.md").exists():
        write_text(results / "about.md", f"{plan.description}\n")
    reporter.say(
        f"suite {plan.name}: {len(several)} results, {len(several) - len(missing)} of them there"
    )
    # By dataset, so that each is decoded once for all models and tasks.
    groups: dict[str, list[Part]] = {}
    failures = []
    for one in missing:
        problem = f"{one.asked.task.name}: {one.asked.problem}"
        if not one.asked.problem:
            groups.setdefault(one.asked.task.dataset, []).append(one)
        elif problem not in failures:  # once, though it is that of every model
            failures.append(problem)
    if groups:
        failures += doer.make(list(groups.values()), data, str(features), results)
    display.rename_all(results, {carried[model]: name for model, name in names.items()})
    changed, problems = show(results, out, AtHand(features, data.folder), reporter)
    if not changed and not groups:
        reporter.say(f"nothing to do: {out / 'leaderboard.md'} says what the results say")
    return SuiteRun(_of_suite(results, asked), [*failures, *problems])


def _of_suite(results: Path, asked: Sequence[suites.Wanted]) -> list[Entry]:
    """Return the results that a suite asks for and that are there."""
    keys = {(one.model, one.task, one.synthetic, one.hash) for one in asked}
    entries, _ = result_file.read_all(results)
    mine = []
    for result, path in entries:
        task = result.task
        key = (result.model.name, task.name, task.synthetic, result.protocol.hash)
        if key in keys and task.window_s is None:
            mine.append((result, path))
    return mine


def _synthesise(
    plan: suites.Suite, missing: Sequence[Part], data: Data, reporter: Reporter
) -> None:
    """Make the datasets that tasks lack, each once."""
    names: dict[str, list[str]] = {}
    for one in missing:
        if one.asked.problem:
            names.setdefault(one.asked.task.dataset, []).append(one.asked.typed)
    for several in names.values():
        clips = next((plan.synth_clips[name] for name in several if name in plan.synth_clips), None)
        api.synth(several, data.root, clips=clips, reporter=reporter)


def _write_tasks(manifest: Path, folder: Path, plan: suites.Suite) -> None:
    """Write the tasks of a manifest's recordings; those written before do without it."""
    if manifest.is_file():
        real_audio.write(manifest, folder)
    elif not folder.is_dir():
        raise TaskError(
            f"{manifest}: no such file; point --data at the folder of recordings that has it"
        )
    unknown = [name for name in plan.tasks if name not in real_audio.TASKS]
    if unknown:
        raise TaskError(
            f"suite {plan.name}: no task {unknown[0]!r} of recordings; there are "
            f"{list(real_audio.TASKS)}"
        )


class _Here:
    """Do the parts of a suite in this process, one after the other."""

    def __init__(self, options: RunOptions) -> None:
        # Names are given to all results at the end, made now or before.
        self._options = replace(options, names={})

    def start(self) -> None:
        """Do nothing: this process is there."""

    def pretrain(self, jobs: Sequence[PretrainJob]) -> None:
        """Pre-train models."""
        pretrain_models(jobs, self._options)

    def make(
        self, groups: Sequence[Sequence[Part]], data: Data, features: str, results: Path
    ) -> list[str]:
        """Do one dataset after the other."""
        failures: list[str] = []
        for group in groups:
            failures += _make(group, data, features, results, self._options)
        # A model that can't be loaded fails on every dataset, with the same words.
        return list(dict.fromkeys(failures))


def _make(
    group: Sequence[Part], data: Data, features: str, results: Path, options: RunOptions
) -> list[str]:
    """Extract and probe what is missing on one dataset; every model looks at it in one go."""
    failures: dict[str, str] = {}
    # Heads that pool frames themselves read these, the others of the same task don't.
    for frames in (False, True):
        of_level = [one for one in group if (one.protocol.pooling in FRAME_POOLINGS) == frames]
        if of_level:
            names = list(dict.fromkeys(one.model for one in of_level))
            tasks = list(dict.fromkeys(one.asked.typed for one in of_level))
            failures |= _extract(names, tasks, data, features, options, frames)
    # What is there was looked at, and is of something else.
    probing = replace(options, overwrite=True)
    for one in group:
        if one.model in failures:
            continue
        try:
            api.probe(
                [one.asked.typed],
                [one.model],
                features=features,
                results=results,
                protocol=one.protocol,
                options=probing,
            )
        except UserError as error:
            failures[f"{one.model} on {one.asked.task.name}"] = str(error)
    return lines_of(failures)


def _extract(
    models: list[str],
    tasks: list[str],
    data: Data,
    features: str,
    options: RunOptions,
    frames: bool,
) -> dict[str, str]:
    """Return why a model could not be run, for each that could not."""
    several, failures = together_or_alone(
        models,
        lambda models: api.extract(
            tasks, models, data=data, features=features, frames=frames, options=options
        ),
    )
    for reports in several:
        for report in reports:
            for clip, reason in report.failures:
                options.reporter.say(f"  {clip!r}: {reason}")
    if several:  # some can be used: the end, which lists what is missing, may be hours away
        for line in lines_of(failures):
            options.reporter.say(f"left out: {line}")
    return failures
