"""Fine-tune: from audio to models trained end to end, and to their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from svuprobe._distributed import Distributed
from svuprobe._progress import SILENT
from svuprobe._run_options import FinetuneOptions
from svuprobe.api import display
from svuprobe.api.arguments import AnyProtocol, finetune_protocols, model_names, task_names
from svuprobe.api.data import Data, clips_of
from svuprobe.api.results import Probed, lines_of
from svuprobe.extractors.batching import native_dtype
from svuprobe.extractors.store.opening import place_of
from svuprobe.probe.finetune import run as tuning
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.results.naming import as_kept
from svuprobe.tasks import manifest


def finetune(
    tasks: str | Path | Sequence[str | Path],
    models: str | Path | Sequence[str | Path],
    *,
    data: Data | str | Path,
    results: str | Path,
    protocols: AnyProtocol | str | Sequence[AnyProtocol | str] = (),
    start: str | Path | None = None,
    options: FinetuneOptions | None = None,
) -> list[Probed]:
    """Train models end to end on the audio of tasks, or supervised baselines from random weights.

    Under ``accelerate launch`` each batch is shared out over all processes.

    Parameters
    ----------
    tasks
        Names of tasks; on data of one's own TOML files or ``folder:PATH``, or the names of those
        that were extracted to ``options.features``.
    models
        Models by name, or baselines (`svuprobe.probe.baselines`).
    data
        The folder that holds the datasets, or a `Data`.
    results
        The folder of results; trained networks lie beside them.
    protocols
        A ``FinetuneProtocol`` for models, a ``RecipeProtocol`` for baselines, or one of each, or
        names of presets (``yamamoto2023``, ``released-code``); the default of the one that is not
        given.
    start
        Result of a probe whose heads are taken to start from.
    options
        ``device``, ``dtype`` (``auto``: bfloat16 autocast on a GPU that has it natively), ``jobs``,
        ``allow_missing``, ``overwrite``, ``names``, ``reporter`` and the fields of
        `FinetuneOptions` are used.

    Returns
    -------
    list of Probed
        Each result with its path, task by task.

    Raises
    ------
    TaskError
        A task is unknown, or its data are not there.
    ExtractError
        A model can't be loaded.
    ProbeError
        What can't be run as asked, and a loss that is not finite.

    Example
    -------
    >>> import svuprobe
    >>> quick = svuprobe.FinetuneProtocol(frozen_epochs=1, epochs=0, seeds=1)
    >>> models = ["random:wav2vec2-tiny"]
    >>> (tuned,) = svuprobe.finetune(
    ...     ["technique"], models, data="data", results="results", protocols=[quick]
    ... )
    """
    options = options or FinetuneOptions()
    tasks, given = task_names(tasks), finetune_protocols(protocols)
    names_of_models = [as_kept(name) for name in model_names(models, options.reporter)]
    names = display.kept(options.names)
    display.require_asked(names, names_of_models)
    # Before a device is looked at: accelerate gives each process its own.
    processes = Distributed()
    device = processes.device or options.runs_on
    dtype = options.dtype
    if dtype == "auto":
        dtype = native_dtype(device) if device.startswith("cuda") else "float32"
    # Of several processes the first one speaks.
    options = replace(
        options, device=device, reporter=options.reporter if processes.first else SILENT
    )
    runtime = Runtime(device, dtype, options.accumulate, processes)
    probed = []
    place = place_of(options.features)
    place.fetch_lists()
    for name in dict.fromkeys(manifest.sources(place.folder, tasks)):
        clips = clips_of(name, Data.of(data), options.reporter)
        # A model named twice is trained once.
        for model in dict.fromkeys(names_of_models):
            result, path, was_there = tuning.finetune(
                clips,
                model,
                _protocol_for(model, given),
                Path(results),
                start=None if start is None else Path(start),
                options=options,
                runtime=runtime,
            )
            done = Probed(result, path, was_there)
            # Of several processes the first one writes.
            probed.append(display.named(done, names) if processes.first else done)
            for line in lines_of(probed[-1]):
                options.reporter.say(line)
    return probed


def _protocol_for(model: str, protocols: Sequence[AnyProtocol]) -> AnyProtocol:
    """Return the protocol that was given for models or for baselines, or its default."""
    wanted = RecipeProtocol if tuning.is_baseline(model) else FinetuneProtocol
    for protocol in protocols:
        if isinstance(protocol, wanted):
            return protocol
    return wanted()
