"""Fine-tune: a task's audio and a model's name in, a result out, the trained networks beside it.

``RESULTS/<model>@<revision8>/<task>/<protocol>.json`` is a result as the probe writes them, with
``model.finetune``: ``parameters`` of the whole network, and of every seed its ``stages`` (epochs,
the best one and its validation score, weights that learnt, layer weights), ``epochs`` (training
loss, validation score), ``seconds``; ``peak_memory_mib``. In the folder ``<protocol>/`` beside it
lies ``seed<n>.safetensors`` for each seed, with everything that training changed and what is needed
to use it (`svuprobe.probe.finetune.saved`), and while a seed is in training its checkpoint.

Where clips are in folds, every fold trains every seed, and the answers of all folds are scored as
one (`svuprobe.probe.cross_validation`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from svuprobe._progress import Reporter
from svuprobe._run_options import FinetuneOptions
from svuprobe.extractors.found_again import is_folder, revision_here
from svuprobe.extractors.names import slug
from svuprobe.probe import baselines, identity, trained
from svuprobe.probe.assemble import digests
from svuprobe.probe.caveats import require_whole
from svuprobe.probe.finetune.data import ClipData, FrameData, Recordings, data_of
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.model import AnyProtocol, build
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.finetune.parts import TrainedPart, result_of, splits_of
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.finetune.saved import RunFolder, fold_names
from svuprobe.probe.finetune.seeds import SeedRunner
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result import Result, Timings
from svuprobe.probe.trained import FoldedHeads, TrainedHeads
from svuprobe.tasks.manifest import ClipList


def finetune(
    listed: ClipList,
    model: str,
    protocol: AnyProtocol,
    results: Path,
    *,
    start: Path | None = None,
    options: FinetuneOptions | None = None,
    runtime: Runtime | None = None,
) -> tuple[Result, Path, bool]:
    """Train every seed and score the test split once with each.

    Parameters
    ----------
    model
        A name that extractors are loaded by, or of a baseline; the protocol is of its kind.
    start
        Result of a probe whose heads are taken to start from.
    options
        ``checkpointing``, ``checkpoint_steps``, ``resume``, ``track``, ``overwrite``, ``jobs``,
        ``allow_missing`` and ``reporter`` are used.
    runtime
        Where networks run, and in what numbers; one CPU in float32 if not given.

    Returns
    -------
    result, path, was_there
        Whether it was there already, of the same data, weights and protocol.

    Raises
    ------
    ProbeError
        What can't be run as asked, and a loss that is not finite.
    """
    options, runtime = options or FinetuneOptions(), runtime or Runtime()
    heads: Mapping[str, TrainedHeads] = {}
    if start is not None:
        protocol, heads = _from_probe(start, protocol, listed, model)

    def make(fold: str, seed: int) -> Network:
        network = build(
            model,
            listed.task,
            listed.labels,
            protocol,
            heads=heads.get(fold),
            seed=seed,
            checkpointing=options.checkpointing,
        )
        return network.to(runtime.device)

    # Made before anything is decoded: what can't be run is said at once.
    parts = splits_of(listed)
    network = make(parts[0][0], 0)
    about = network.about | {"dtype": runtime.dtype}
    path = _path(results, about, listed, protocol)
    marks = identity.marks_of(listed.clips)
    run_identity = identity.of_finetuning(about, listed, protocol.hash, marks)
    if not options.overwrite:
        there = _there(results, path, about, run_identity, marks, options.reporter)
        if there is not None:
            return *there, True
    display = result_file.display_at(path)  # what is there goes before anything is trained
    folder, processes = RunFolder(path), runtime.processes
    # A result that one process deleted must not be missed by another.
    processes.wait()  # all have looked before one clears away
    files_of = fold_names([fold for fold, _ in parts if fold])
    if processes.first:
        folder.make_room(files_of, resume=options.resume, overwrite=options.overwrite)
    processes.wait()
    started = time.perf_counter()
    recordings = Recordings(
        listed,
        network.input_spec,
        network.shortest,
        folder.path,
        jobs=options.decoders,
        allow_missing=options.allow_missing,
        reporter=options.reporter,
    )
    decoded = time.perf_counter()
    config = {
        "task": listed.task.name,
        "model": about["name"],
        "revision": about["revision"],
        "protocol": protocol.fields | {"hash": protocol.hash},
    }
    # All folds' data before any is trained: what is too small is said at once.
    of_parts = _data_of_parts(recordings, parts, network)
    done = []
    for number, (fold, data) in enumerate(of_parts.items()):
        own = RunFolder(path, files_of[number] if fold else "")
        runner = SeedRunner(data, own, options, runtime, run_identity["digest"], fold, config)
        seeds = []
        # Each seed begins with a network of its own; the first was made to name the run.
        for seed in range(protocol.seeds):
            if seed or number:
                network = make(fold, seed)
            seeds.append(runner.run(network, seed))
        done.append(TrainedPart(fold, data, tuple(seeds)))
    finished = time.perf_counter()
    if processes.first:
        folder.tidy()
    spent = Timings(decode_s=decoded - started, train_s=finished - decoded, test_s=0.0)
    result, predictions = result_of(done, network, protocol, about, runtime, spent)
    result = replace(
        result,
        timings=replace(spent, test_s=time.perf_counter() - finished),
        identity=run_identity,
        files=folder.digests(),
    )
    if processes.first:
        result = replace(result, model=replace(result.model, display=display))
        result = result_file.save(result, path, predictions)
    return result, path, False


def _data_of_parts(
    recordings: Recordings, parts: Sequence[tuple[str, ClipList]], network: Network
) -> dict[str, ClipData | FrameData]:
    """Return what each fold trains on and is scored with, by its name.

    All share a network: they read what it gives by what it is, and not by what it learns. Raises
    ProbeError, naming the fold, where a split is empty or too small.
    """
    data: dict[str, ClipData | FrameData] = {}
    for fold, part in parts:
        try:
            data[fold] = own = data_of(recordings, part, network)
            if isinstance(own, FrameData):
                require_whole(own)
        except ProbeError as error:
            raise ProbeError(f"fold {fold}: {error}" if fold else str(error)) from None
    return data


def _from_probe(
    start: Path, protocol: AnyProtocol, listed: ClipList, model: str
) -> tuple[FinetuneProtocol, dict[str, TrainedHeads]]:
    """Return the protocol with the shape of a probe's heads, and these by the names of the folds,
    an empty one for a single split.

    Raises ProbeError where they are of another model, task, labels or splits, or of fewer seeds.
    """
    if isinstance(protocol, RecipeProtocol):
        raise ProbeError(f"--from {start}: {model} is a baseline and starts from random weights")
    probe, found = result_file.load(start), trained.load(start)
    # The folder of a checkpoint may have moved since.
    if revision_here(model) == probe.model.revision and is_folder(probe.model.name):
        model = probe.model.name
    of_folds = dict(found.folds) if isinstance(found, FoldedHeads) else {"": found}
    asked = (model, listed.task.name, list(listed.labels))
    have = (probe.model.name, probe.task.name, list(probe.task.labels))
    for what, wanted, got in zip(("model", "task", "labels"), asked, have, strict=True):
        if wanted != got:
            raise ProbeError(
                f"{start}: its {what} is {got}, not {wanted}; give --from a probe of the same"
            )
    # Heads must not be tested on clips that they learnt from.
    if probe.task.split_sha256 != digests(listed.clips)["split_sha256"]:
        raise ProbeError(
            f"{start}: its clips, or their splits, folds or groups, are not those of "
            f"{listed.task.name} now; run svuprobe probe again"
        )
    heads = next(iter(of_folds.values()))
    if heads.pooling != "mean":
        raise ProbeError(
            f"{start}: its heads read pooling = {heads.pooling!r}, and fine-tuning pools by the "
            "mean; give --from a probe with pooling = 'mean'"
        )
    head = probe.protocol.fields.get("head", "network")
    if head != "network" or "mix" not in heads.tensors:
        kind = f"are {head}" if head != "network" else "read all layers one after the other"
        raise ProbeError(
            f"{start}: its heads {kind}, and fine-tuning goes on with a network on a sum of "
            "layers; give --from a probe under --protocol svuprobe or linear"
        )
    if protocol.layers != "sum":
        raise ProbeError(
            f"{start}: its heads read a sum of layers, and protocol {protocol.name} the last one; "
            "leave --from or --preset out"
        )
    if protocol.seeds > heads.seeds:
        raise ProbeError(
            f"{start}: has heads of {heads.seeds} seeds; ask for no more than that with --seeds"
        )
    fields = probe.protocol.fields
    protocol = replace(
        protocol,
        hidden=fields["hidden"],
        relu=bool(fields["hidden"]),
        dropout=fields["dropout"],
        layers="sum",
        start=f"{probe.protocol.name} {probe.protocol.hash}",
    )
    return protocol, of_folds


def _path(results: Path, about: dict[str, Any], listed: ClipList, protocol: AnyProtocol) -> Path:
    name = about["name"] if isinstance(protocol, RecipeProtocol) else slug(about["name"])
    return (
        results / f"{name}@{about['revision'][:8]}" / listed.folder / f"{protocol.file_name}.json"
    )


def _there(
    results: Path,
    path: Path,
    about: dict[str, Any],
    wanted: dict[str, str],
    marks: dict[str, str],
    reporter: Reporter,
) -> tuple[Result, Path] | None:
    """Return the result that is there of the same data, weights and protocol, if there is one; its
    checkpoint may have lain in another folder.
    """
    if path.exists():
        old = _old_result(path, reporter)
        if old is not None and not _changed(old, wanted, marks):
            return old, path
    moved = _of_same_weights(results, path, about, wanted)
    if moved is not None:
        reporter.say(
            f"{about['name']}: has the weights of {moved[0].model.name}, whose result is there"
        )
    return moved


def _old_result(path: Path, reporter: Reporter) -> Result | None:
    """Return the result that is there; None, and a line, for a file that is none: it is made
    again.
    """
    try:
        return result_file.load(path)
    except ProbeError as error:
        reporter.say(f"{error}: made again")
        return None


def _of_same_weights(
    results: Path, path: Path, about: dict[str, Any], wanted: dict[str, str]
) -> tuple[Result, Path] | None:
    """Return a result of the same identity whose weights lay in another folder, if there is one."""
    if path.exists() or not is_folder(about["name"]):
        return None
    own = path.relative_to(results)
    for other in sorted(results.glob(f"local-*@{about['revision'][:8]}/{own.parent.name}")):
        candidate = other / path.name
        try:
            old = result_file.load(candidate) if candidate.is_file() else None
        except ProbeError:
            continue
        if old is not None and not identity.differing(old.identity, wanted):
            return old, candidate
    return None


def _changed(old: Result, mine: dict[str, str], marks: dict[str, str]) -> list[str]:
    """Return the parts of the identity that differ.

    Where no audio is at hand, what it was is taken on trust.
    """
    return [part for part in identity.differing(old.identity, mine) if marks or part != "audio"]


def is_baseline(model: str) -> bool:
    """Return whether a name is of a supervised baseline."""
    return model in baselines.TABLE
