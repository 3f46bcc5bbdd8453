"""Fine-tune: a task's audio and a model's name in, a result out, the trained networks beside it.

``RESULTS/<model>@<revision8>/<task>/<protocol>.json`` is a result as the probe writes them, with
``model.finetune``: ``parameters`` of the whole network, and of every seed its ``stages`` (epochs,
the best one and its validation score, weights that learnt, layer weights), ``epochs`` (training
loss, validation score), ``seconds``; ``peak_memory_mib``. In the folder ``<protocol>/`` beside it
lies ``seed<n>.safetensors`` for each seed, with everything that training changed and what is needed
to use it (`svuprobe.probe.finetune.saved`), and while a seed is in training its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._progress import Reporter
from svuprobe._run_options import FinetuneOptions
from svuprobe.extractors.found_again import is_folder, revision_here
from svuprobe.extractors.names import is_control, slug
from svuprobe.probe import baselines, identity, trained
from svuprobe.probe.assemble import assemble, weights_of_layers
from svuprobe.probe.caveats import require_whole
from svuprobe.probe.finetune.data import ClipData, FrameData, Recordings, data_of
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.model import AnyProtocol, build
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.finetune.saved import RunFolder
from svuprobe.probe.finetune.seeds import SeedRunner, TrainedSeed
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.finetune_info import FineTuneInfo
from svuprobe.probe.results.result import ModelInfo, ProtocolInfo, Result, Timings
from svuprobe.probe.results.result_layers import LayerChoice, Selected
from svuprobe.probe.results.score import defined
from svuprobe.probe.trained import FoldedHeads, TrainedHeads
from svuprobe.tasks import folds
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
    n_folds = len(folds.names(listed.clips))
    if n_folds:
        raise ProbeError(
            f"task {listed.task.name}: its clips are in {n_folds} folds, and fine-tuning trains on "
            "one split; say train, valid or test in a column split in place of folds, or run "
            "svuprobe probe"
        )
    heads = None
    if start is not None:
        protocol, heads = _from_probe(start, protocol, listed, model)

    def make(seed: int) -> Network:
        network = build(
            model,
            listed.task,
            listed.labels,
            protocol,
            heads=heads,
            seed=seed,
            checkpointing=options.checkpointing,
        )
        return network.to(runtime.device)

    # Made before anything is decoded: what can't be run is said at once.
    network = make(0)
    about = network.about | {"dtype": runtime.dtype}
    path = _path(results, about, listed, protocol)
    marks = identity.marks_of(listed.clips)
    run_identity = identity.of_finetuning(about, listed, protocol.hash, marks)
    # What is there is not made again if it is of the same data, weights and protocol.
    if path.exists() and not options.overwrite:
        old = _old_result(path, options.reporter)
        if old is not None and not _changed(old, run_identity, marks):
            return old, path, True
    if not options.overwrite:
        moved = _of_same_weights(results, path, about, run_identity)
        if moved is not None:
            options.reporter.say(
                f"{about['name']}: has the weights of {moved[0].model.name}, whose result is there"
            )
            return *moved, True
    display = result_file.display_at(path)  # what is there goes before anything is trained
    folder, processes = RunFolder(path), runtime.processes
    # A result that one process deleted must not be missed by another.
    processes.wait()  # all have looked before one clears away
    if processes.first:
        folder.make_room(resume=options.resume, overwrite=options.overwrite)
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
    task_data = data_of(recordings, network)
    if isinstance(task_data, FrameData):
        require_whole(task_data)
    runner = SeedRunner(task_data, folder, options, runtime, run_identity["digest"], config)
    seeds = []
    # Each seed begins with a network of its own; the first was made to name the run.
    for seed in range(protocol.seeds):
        if seed:
            network = make(seed)
        seeds.append(runner.run(network, seed))
    finished = time.perf_counter()
    if processes.first:
        folder.tidy()
    spent = Timings(decode_s=decoded - started, train_s=finished - decoded, test_s=0.0)
    result, predictions = _result(network, runner.data, protocol, seeds, about, runtime, spent)
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


def _from_probe(
    start: Path, protocol: AnyProtocol, listed: ClipList, model: str
) -> tuple[FinetuneProtocol, TrainedHeads]:
    """Return the protocol with the shape of a probe's heads, and these.

    Raises ProbeError where they are of another model, task or labels, or of fewer seeds.
    """
    if isinstance(protocol, RecipeProtocol):
        raise ProbeError(f"--from {start}: {model} is a baseline and starts from random weights")
    probe, heads = result_file.load(start), trained.load(start)
    # The folder of a checkpoint may have moved since.
    if revision_here(model) == probe.model.revision and is_folder(probe.model.name):
        model = probe.model.name
    asked = (model, listed.task.name, list(listed.labels))
    have = (probe.model.name, probe.task.name, list(probe.task.labels))
    for what, wanted, got in zip(("model", "task", "labels"), asked, have, strict=True):
        if wanted != got:
            raise ProbeError(
                f"{start}: its {what} is {got}, not {wanted}; give --from a probe of the same"
            )
    if isinstance(heads, FoldedHeads):
        raise ProbeError(
            f"{start}: it has heads of {len(heads.folds)} folds, and fine-tuning trains on one "
            "split; give --from a probe of a single split"
        )
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
    return protocol, heads


def _path(results: Path, about: dict[str, Any], listed: ClipList, protocol: AnyProtocol) -> Path:
    name = about["name"] if isinstance(protocol, RecipeProtocol) else slug(about["name"])
    return (
        results / f"{name}@{about['revision'][:8]}" / listed.folder / f"{protocol.file_name}.json"
    )


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


def _result(
    network: Network,
    data: ClipData | FrameData,
    protocol: AnyProtocol,
    seeds: Sequence[TrainedSeed],
    about: dict[str, Any],
    runtime: Runtime,
    timings: Timings,
) -> tuple[Result, dict[str, np.ndarray]]:
    """Return the result of all seeds and what they predict for the test split."""
    test = data.test_scores([seed.outputs for seed in seeds])
    softmax = np.stack([seed.weights for seed in seeds])
    # (S, L): a seed's own layers have an RMS of their own
    squares = np.stack([seed.squares for seed in seeds])
    # That of the state which was kept, the last stage's.
    valid = np.array([seed.state.stages[-1].valid for seed in seeds], dtype=float)
    head = LayerChoice(
        layer="sum",
        # Of what the last stage trains last: the transformer, else the layer weights.
        learning_rate=network.plan.stages[-1].rates[-1][1],
        valid=defined(float(valid.mean())),
    )
    finetune_info = FineTuneInfo(
        parameters=sum(p.numel() for p in network.parameters()),
        stages=tuple(tuple(seed.state.stages) for seed in seeds),
        epochs=tuple(tuple(seed.state.epochs) for seed in seeds),
        seconds=tuple(seed.state.seconds for seed in seeds),
        peak_memory_mib=runtime.peak_memory_mib(),
        processes=runtime.processes.world,
    )
    control = not isinstance(protocol, RecipeProtocol) and is_control(about["name"])
    layer_names = tuple(about["layer_names"])
    result = assemble(
        data.recordings.listed,
        data,
        test,
        model=ModelInfo(
            **about | {"layer_names": layer_names}, control=control, finetune=finetune_info
        ),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        layer_weights=weights_of_layers(softmax, np.sqrt(squares.mean(axis=0)), np.sqrt(squares)),
        selected=Selected(head=head, layers={}),
        missing=list(data.recordings.failures),
        environment={"device": runtime.device},
        timings=timings,
        libraries=("transformers",),
    )
    return result, test.predictions


def is_baseline(model: str) -> bool:
    """Return whether a name is of a supervised baseline."""
    return model in baselines.TABLE
