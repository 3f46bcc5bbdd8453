"""Probe: from caches to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from svuprobe._errors import UserError
from svuprobe._files import locked, writing
from svuprobe._progress import SILENT, Reporter
from svuprobe._run_options import RunOptions
from svuprobe.api import display
from svuprobe.api.arguments import local_path, model_names, probe_protocol, task_names
from svuprobe.api.caches import caches_of
from svuprobe.api.results import PartlyDone, Probed, at_the_edge, lines_of
from svuprobe.extractors import found_again
from svuprobe.extractors.cache import FeatureCache, require_place
from svuprobe.extractors.names import slug
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.opening import place_of
from svuprobe.probe import identity
from svuprobe.probe.probing import probe as train_and_score
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result import Result
from svuprobe.tasks import kinds, manifest
from svuprobe.tasks.manifest import ClipList


def probe(
    tasks: str | Path | Sequence[str | Path] = (),
    models: str | Path | Sequence[str | Path] = (),
    *,
    features: str | Path,
    results: str | Path,
    protocol: Protocol | str | Path | None = None,
    window_s: float | None = None,
    options: RunOptions | None = None,
) -> list[Probed]:
    """Probe every model that has a cache on every task that has one, or the named ones.

    A result that is there already and agrees in everything that determines it
    (`svuprobe.probe.identity`) is not made again, unless ``options.overwrite`` asks for it.

    Parameters
    ----------
    tasks, models
        Names, as extraction took them; none for all that have features.
    features
        The folder of all caches, or the address of a store, ``s3://bucket/folder``.
    results
        The folder of results: each is ``<model>@<revision8>/<task>/<protocol>.json``.
    protocol
        How heads are trained and chosen: a `Protocol`, the name of a preset
        (`svuprobe.probe.protocol.PRESETS`) or a TOML file; None for the default.
    window_s
        Of windows that extraction was asked for in place of the tasks' own; None for their own.
    options
        ``device``, ``dtype`` (of the products of training), ``memory``, ``allow_missing``,
        ``overwrite``, ``names`` and ``reporter`` are used.

    Returns
    -------
    list of Probed
        Each result with its path.

    Raises
    ------
    ProbeError
        Nothing was extracted for a task.
    PartlyDone
        Some tasks or caches can't be probed; the others are done.

    Example
    -------
    >>> import svuprobe
    >>> (probed,) = svuprobe.probe(
    ...     ["technique"], ["logmel"], features="features", results="results"
    ... )
    >>> probed.path.name
    'svuprobe.json'
    """
    options, protocol = options or RunOptions(), probe_protocol(protocol)
    models = model_names(models, options.reporter)
    place, results = place_of(features, options.reporter), local_path(results)
    place.fetch_lists()
    asked = display.in_features(place.folder, display.kept(options.names))
    shown = display.of_features(place.folder) | asked
    # None stands for every task that has features.
    names: Sequence[str | None] = task_names(tasks) or [None]
    probed: list[Probed] = []
    problems: list[str] = []
    for name in names:
        lists, unreadable = lists_of(place, name, window_s)
        problems += unreadable
        for clips in lists:
            # What can't be probed holds up no other: it is said at the end.
            try:
                folders, unusable = folders_of(place, clips, models, protocol, options.reporter)
            except UserError as error:
                problems.append(str(error))
                continue
            problems += unusable
            for folder in folders:
                try:
                    place.fetch_features(folder)
                    with FeatureCache(folder) as cache:
                        require_place(folder, cache.header)
                        done = _probe_cache(cache, clips, protocol, results, options)
                except UserError as error:
                    problems.append(str(error))
                    continue
                done = display.named(done, shown)
                probed.append(done)
                for line in lines_of(done):
                    options.reporter.say(line)
    for line in at_the_edge(probed):
        options.reporter.say(line)
    if not problems:
        display.require_asked(asked, {each.result.model.name for each in probed})
    if problems:
        raise PartlyDone(probed, problems)
    return probed


def lists_of(
    place: Place, name: str | None, window_s: float | None
) -> tuple[list[ClipList], list[str]]:
    """Return the clips of a task, or of all, that extraction wrote, and a line for each list that
    is none.
    """
    lists, problems = manifest.find(place.folder, name, window_s)
    if not lists and not problems:
        what = f"task {name}" if name else "any task"
        raise ProbeError(
            f"{place}: no features of {what}{_of_window(window_s)}; run svuprobe extract "
            f"--task {name or 'T'} --model M{_option(window_s)} first"
        )
    return lists, problems


def _of_window(window_s: float | None) -> str:
    return "" if window_s is None else f" in windows of {window_s:g} s"


def _option(window_s: float | None) -> str:
    return "" if window_s is None else f" --window {window_s:g}"


def folders_of(
    place: Place,
    clips: ClipList,
    models: Sequence[str],
    protocol: Protocol,
    reporter: Reporter = SILENT,
) -> tuple[list[Path], list[str]]:
    """Return the folders of the caches of some models, or of all, for a task, and a line for each
    that can't be used.

    The reporter is told where they are those of the same weights at another path.
    """
    own = kinds.of(clips.task).level
    level = protocol.level(own)
    # Frames of a task of whole windows have to be asked for.
    what, more = ("features", "") if level == own else ("frames", " --frames")
    unusable = place.fetch_indexes(clips.dataset, clips.task.windowing.key, level)
    if models:  # what is wrong with others is nothing to those that were asked for
        asked = set(map(slug, models))
        unusable = {
            f: line for f, line in unusable.items() if f.parent.name.rpartition("@")[0] in asked
        }
    features, problems = place.folder, list(unusable.values())
    of_all = caches_of(features, clips, level=level)
    if problems and not of_all:
        raise ProbeError(problems[0])
    if not models and not of_all:
        raise ProbeError(
            f"{place}: no {what} for task {clips.task.name}{_of_window(clips.window_s)}; run "
            f"svuprobe extract{more} --task {clips.task.source or clips.task.name} --model M"
            f"{_option(clips.window_s)} first"
        )
    folders: list[Path] = []
    for model in models or ["*"]:
        of_model = caches_of(features, clips, model, level)
        if not of_model and problems:
            continue  # that is why
        if not of_model:
            # Folders are named by model and revision: either may be what is misspelt.
            have = ", ".join(sorted(folder.parent.name for folder in of_all)) or "none"
            raise ProbeError(
                f"{place}: no {what} of {model} for task {clips.task.name} (there are: "
                f"{have}); run svuprobe extract{more} --model {model} --task "
                f"{clips.task.source or clips.task.name}{_option(clips.window_s)}"
            )
        if model != "*":
            for line in found_again.remarks(model, of_model):
                reporter.say(line)
        folders += of_model
    return list(dict.fromkeys(folders)), problems


def _probe_cache(
    cache: FeatureCache, clips: ClipList, protocol: Protocol, results: Path, options: RunOptions
) -> Probed:
    """Probe a cache on a task, unless the result is there; one process at a time for each
    result.
    """
    # Features of audio that has changed since would be scored by labels of the new one.
    identity.refuse_other_audio(cache, clips)
    path = results / cache.directory.parent.name / clips.folder / f"{protocol.file_name}.json"
    # What the result will depend on, known before anything is trained.
    wanted = identity.of_probe(cache, clips, protocol.hash, options.dtype)
    if not options.overwrite:
        result_file.sweep(path)
        old, _ = _old_result(path, wanted, SILENT)
        if old is not None:  # also where nothing may be written
            return Probed(old, path, cached=True)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replaced: tuple[str, ...] = ()
    with ExitStack() as held:
        busy = not held.enter_context(locked(path, wait=False))
        # Waiting, not failing: of two that make the same result the second finds it done.
        if busy:
            options.reporter.say(f"{path}: another process is making it; waiting for it")
            held.enter_context(locked(path, wait=True))
        if busy or not options.overwrite:  # once more: another process may have made it since
            old, replaced = _old_result(path, wanted, options.reporter)
            if old is not None:
                return Probed(old, path, cached=True)
        result, predictions, heads = train_and_score(cache, clips, protocol, options)
        result = result_file.save(result, path, predictions, heads.write)
        return Probed(result, path, cached=False, replaced=replaced)


def _old_result(
    path: Path, wanted: Mapping[str, str], reporter: Reporter
) -> tuple[Result | None, tuple[str, ...]]:
    """Return the result that is there if it is of all this, else in what it differs; name a damaged
    one.
    """
    if not path.exists():
        return None, ()
    try:
        old = result_file.load(path)
        differing = identity.differing(old.identity, wanted)
        if differing:
            return None, tuple(differing)
        # A result whose predictions or heads are damaged is made again as a whole.
        for suffix in old.files:
            result_file.require_unchanged(old, path, suffix)
    except ProbeError as error:
        reporter.say(f"{error}: made again now")
        return None, ()
    return old, ()
