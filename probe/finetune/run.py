"""Fine-tuning end to end: a task's audio and a model's name in, a result out, and the trained networks beside it.

``RESULTS/<model>@<revision8>/<task>/<protocol>.json`` is a result as the probe writes them, with ``model.finetune``:
``parameters`` of the whole network, and of every seed its ``stages`` (epochs, the best one and its validation score,
weights that learnt, layer weights), ``epochs`` (training loss, validation score), ``seconds``; ``peak_memory_mib``.
In the folder ``<protocol>/`` beside it lies ``seed<n>.safetensors`` for each seed, with everything that training
changed and what is needed to use it (`svuprobe.probe.finetune.saved`), and while a seed is in training its
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svuprobe._files import sha256_of, writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.names import is_control, slug
from svuprobe.probe import baselines, evaluate, identity, result_file, trained
from svuprobe.probe.assemble import assemble, weights_of_layers
from svuprobe.probe.finetune.adapt import build
from svuprobe.probe.finetune.data import ClipTask, Outputs, Recordings, TaskView, view_of
from svuprobe.probe.finetune.loop import Machine, State, Training
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.finetune.saved import load_into, save_network
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result import (
    FineTuneInfo,
    LayerChoice,
    ModelInfo,
    ProtocolInfo,
    Result,
    Selected,
    Timings,
    defined,
)
from svuprobe.probe.trained import TrainedHeads
from svuprobe.tasks.manifest import ClipList

_RMS_WINDOWS = 64
_DISCARDED = "discarded"  # name of a file in the folder of networks that are to go

AnyProtocol = FinetuneProtocol | RecipeProtocol


@dataclass(frozen=True)
class Options:
    """What changes how a run goes and not what it means.

    Attributes
    ----------
    checkpointing
        Gradient checkpointing.
    every
        Steps between checkpoints; 0 for one after each epoch only.
    resume, overwrite
        Go on from what an unfinished run left, or throw it (and a finished result) away.
    """

    machine: Machine = field(default_factory=Machine)
    checkpointing: bool = False
    every: int = 0
    resume: bool = False
    overwrite: bool = False
    jobs: int = 0
    allow_missing: bool = False


@dataclass(frozen=True)
class _Seed:
    """What one seed gave."""

    outputs: Outputs
    state: State
    weights: np.ndarray  # (L,)
    squares: np.ndarray  # (L,)


def finetune(
    listed: ClipList,
    model: str,
    protocol: AnyProtocol,
    results: Path,
    *,
    start: Path | None = None,
    options: Options | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Result, Path, bool]:
    """Train every seed, score the test split once with each; the result, its path and whether it was there.

    Parameters
    ----------
    model
        A name that extractors are loaded by, or of a baseline; the protocol is of its kind.
    start
        Result of a probe whose heads are taken to start from.

    Raises
    ------
    ProbeError
        What can't be run as asked, and a loss that is not finite.
    """
    options = options or Options()
    heads = None
    if start is not None:
        protocol, heads = _from_probe(start, protocol, listed, model)

    def make(seed: int) -> Network:
        checkpointing, device = options.checkpointing, options.machine.device
        network = build(
            model, listed.task, listed.labels, protocol, heads=heads, seed=seed, checkpointing=checkpointing
        )
        return network.to(device)

    network = make(0)
    about = network.about | {"dtype": options.machine.dtype}
    path = _path(results, about, listed, protocol)
    folder = path.with_suffix("")
    marks = identity.marks_of(listed.clips)
    mine = identity.of_finetuning(about, listed, protocol.hash, marks)
    if path.exists() and not options.overwrite:
        old = _old_result(path, reporter)
        if old is not None and not _changed(old, mine, marks):
            return old, path, True
    first = options.machine.ranks.first
    options.machine.ranks.wait()  # all have looked before one clears away
    if first:
        _make_room(path, folder, options)
    options.machine.ranks.wait()
    started = time.perf_counter()
    recordings = Recordings(
        listed,
        network.need,
        network.shortest,
        folder,
        jobs=options.jobs,
        allow_missing=options.allow_missing,
        reporter=reporter,
    )
    decoded = time.perf_counter()
    view = view_of(recordings, network)
    several = []
    for seed in range(protocol.seeds):
        if seed:
            network = make(seed)
        run = _run_digest(mine, seed)
        several.append(_one_seed(network, view, recordings, seed, run, folder, options, reporter))
    finished = time.perf_counter()
    if first:
        _tidy(folder)
    spent = Timings(decode_s=decoded - started, train_s=finished - decoded, test_s=0.0)
    result, predictions = _result(network, view, recordings, protocol, several, about, options, spent)
    result = replace(
        result,
        timings=replace(spent, test_s=time.perf_counter() - finished),
        identity=mine,
        files={f"/{file.name}": sha256_of(file) for file in sorted(folder.glob("seed*.safetensors"))},
    )
    if first:
        result = result_file.save(result, path, predictions)
    return result, path, False


# -- before training ----------------------------------------------------------------------------------------


def _from_probe(
    start: Path, protocol: AnyProtocol, listed: ClipList, model: str
) -> tuple[FinetuneProtocol, TrainedHeads]:
    """The heads of a probe, and the protocol with their shape. ProbeError where they are of something else."""
    if isinstance(protocol, RecipeProtocol):
        raise ProbeError(f"--from {start}: {model} is a baseline and starts from random weights")
    probe, heads = result_file.load(start), trained.load(start)
    asked = (model, listed.task.name, list(listed.labels))
    have = (probe.model.name, probe.task.name, list(probe.task.labels))
    for what, wanted, got in zip(("model", "task", "labels"), asked, have, strict=True):
        if wanted != got:
            raise ProbeError(f"{start}: its {what} is {got}, not {wanted}; give --from a probe of the same")
    if protocol.seeds > heads.seeds:
        raise ProbeError(f"{start}: has heads of {heads.seeds} seeds; ask for no more than that with --seeds")
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
    task = f"{listed.task.name}{'.synthetic' if listed.synthetic else ''}"
    return results / f"{name}@{about['revision'][:8]}" / task / f"{protocol.file_name}.json"


def _old_result(path: Path, reporter: Reporter) -> Result | None:
    """The result that is there; None, and a line, for a file that is none: it is made again."""
    try:
        return result_file.load(path)
    except ProbeError as error:
        reporter.say(f"{error}: made again")
        return None


def _changed(old: Result, mine: dict[str, str], marks: dict[str, str]) -> list[str]:
    """Parts of the identity that differ. Where no audio is at hand, what it was is taken on trust."""
    return [part for part in identity.differing(old.identity, mine) if marks or part != "audio"]


def _make_room(path: Path, folder: Path, options: Options) -> None:
    """Make the folder of the trained networks; what an unfinished run left is kept, thrown away, or an error.

    A result that is there is of other data or weights, or to be overwritten: it goes with its networks.
    """
    if path.exists() or (folder / _DISCARDED).exists() or (options.overwrite and not options.resume):
        _discard(path, folder)
    if any(folder.glob("*.safetensors")) and not options.resume:
        raise ProbeError(
            f"{folder}: left by a run that did not end; go on with --resume, or start anew with --overwrite"
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _discard(path: Path, folder: Path) -> None:
    """Delete a result and its networks, so that neither stands without the other, whoever is killed when.

    A mark in the folder says that the networks are to go. It is there before the result goes, and goes last.
    """
    with writing(folder):
        if folder.is_dir():
            (folder / _DISCARDED).touch()
        result_file.remove(path)
        if folder.is_dir():
            for left in sorted(folder.iterdir()):
                if left.name != _DISCARDED:
                    left.unlink()
            (folder / _DISCARDED).unlink()


def _tidy(folder: Path) -> None:
    """Delete what was needed on the way: checkpoints, and temporary files of processes that were killed."""
    with writing(folder):
        for left in (*folder.glob("seed*-checkpoint.safetensors*"), *folder.glob("seed*.safetensors.tmp-*")):
            left.unlink(missing_ok=True)


def _run_digest(mine: dict[str, str], seed: int) -> str:
    """Digest of all that two runs have to share for one to go on from the other's checkpoint."""
    return hashlib.sha256(json.dumps([mine["digest"], seed]).encode()).hexdigest()


# -- one seed -----------------------------------------------------------------------------------------------


def _one_seed(
    network: Network,
    view: TaskView,
    recordings: Recordings,
    seed: int,
    run: str,
    folder: Path,
    options: Options,
    reporter: Reporter,
) -> _Seed:
    """Train a seed, or load it where that was done, and let it answer for the test split."""
    if isinstance(view, ClipTask):
        network.offset, network.spread = (
            torch.from_numpy(v).to(options.machine.device) for v in (view.offset, view.spread)
        )
    machine, file = options.machine, folder / f"seed{seed}.safetensors"
    checkpoint = folder / f"seed{seed}-checkpoint.safetensors"
    if file.is_file():
        state = load_into(network, file, run)
    else:
        state = _train(network, view, recordings, seed, run, checkpoint, file, options, reporter)
        for number, stage in enumerate(state.stages, start=1):
            reporter.say(
                f"seed {seed}, stage {number}: {stage['trainable']:,} weights, {stage['epochs']} epochs, validation "
                f"{view.task.metrics[0]} {stage['valid']:.3f}"
            )
    train = view.splits["train"].row
    some = train[np.linspace(0, len(train) - 1, min(_RMS_WINDOWS, len(train))).astype(int)]
    parts = np.array_split(some, -(-len(some) // network.plan.batch_size))
    network.eval()
    batches = (recordings.batch(part) for part in parts)
    squares = np.mean([network.squares(a.to(machine.device), n) for a, n in batches], axis=0)
    outputs = machine.answer(network, recordings, view.splits["test"].row)
    return _Seed(outputs, state, network.layer_weights(), squares)


def _train(
    network: Network,
    view: TaskView,
    recordings: Recordings,
    seed: int,
    run: str,
    checkpoint: Path,
    file: Path,
    options: Options,
    reporter: Reporter,
) -> State:
    training = Training(
        network,
        view,
        recordings,
        seed=seed,
        machine=options.machine,
        checkpoint=checkpoint,
        run=run,
        every=options.every,
    )
    desc = f"finetune {recordings.listed.task.name} {network.about['name']} seed {seed}"
    with reporter.bar(training.steps, desc, "step") as bar:

        def tick(loss: float) -> None:
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.3g}", refresh=False)

        training.tick = tick
        state = training.run()
    if options.machine.ranks.first:
        save_network(network, training.weights(), recordings.listed, state, run, file, options.machine.dtype)
        checkpoint.unlink(missing_ok=True)
    return state


# -- the result ---------------------------------------------------------------------------------------------


def _result(
    network: Network,
    view: TaskView,
    recordings: Recordings,
    protocol: AnyProtocol,
    several: Sequence[_Seed],
    about: dict[str, Any],
    options: Options,
    timings: Timings,
) -> tuple[Result, dict[str, np.ndarray]]:
    outputs = [one.outputs for one in several]
    if isinstance(view, ClipTask):
        test = evaluate.score_clips(view, view.stacked(outputs, "test"), True)
    else:
        test = evaluate.score_songs(view, list(view.found(outputs, "test")), True)
    softmax = np.stack([one.weights for one in several])
    squares = np.stack([one.squares for one in several])  # (S, L): a seed's own layers have an RMS of their own
    valid = [one.state.stages[-1]["valid"] for one in several]
    head = LayerChoice(
        layer="sum",
        learning_rate=network.plan.stages[-1].rates[-1][1],
        valid=defined(float(np.mean(valid))),
    )
    finetune_info = FineTuneInfo(
        parameters=sum(p.numel() for p in network.parameters()),
        stages=tuple(tuple(one.state.stages) for one in several),
        epochs=tuple(tuple(one.state.epochs) for one in several),
        seconds=tuple(one.state.seconds for one in several),
        peak_memory_mib=_peak_mib(options.machine.device),
        processes=options.machine.ranks.world,
    )
    control = not isinstance(protocol, RecipeProtocol) and is_control(about["name"])
    layer_names = tuple(about["layer_names"])
    result = assemble(
        recordings.listed,
        view,
        test,
        model=ModelInfo(**about | {"layer_names": layer_names}, control=control, finetune=finetune_info),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        layer_weights=weights_of_layers(softmax, np.sqrt(squares.mean(axis=0)), np.sqrt(squares)),
        selected=Selected(head=head, layers={}),
        missing=list(recordings.failures),
        environment={"device": options.machine.device},
        timings=timings,
        libraries=("transformers",),
    )
    return result, test.predictions


def _peak_mib(device: str) -> float:
    """Most memory that was held: of the GPU, else of the process."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def is_baseline(model: str) -> bool:
    """Whether a name is of a supervised baseline."""
    return model in baselines.TABLE
