"""Train the seeds of a run, one after the other, and let each answer for the test split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from svuprobe._run_options import FinetuneOptions
from svuprobe._tracking import tracking
from svuprobe.probe.finetune.data import ClipData, FrameData, Outputs
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.loop import State, Training
from svuprobe.probe.finetune.network import Batch, Network
from svuprobe.probe.finetune.saved import RunFolder, load_into, save_network
from svuprobe.probe.stored_task import stored_task

# Of the training split, over which the RMS of layers is measured.
_RMS_WINDOWS = 64


@dataclass(frozen=True)
class TrainedSeed:
    """Hold what one seed gave."""

    outputs: Outputs
    state: State
    weights: np.ndarray  # (L,)
    squares: np.ndarray  # (L,)


@dataclass(frozen=True)
class SeedRunner:
    """Train seeds on one split, by what all of a run have in common.

    Attributes
    ----------
    digest
        Of the run's identity.
    fold
        Name of the fold that is tested; empty of a single split.
    config
        What a tracker is told of the run.
    """

    data: ClipData | FrameData
    folder: RunFolder
    options: FinetuneOptions
    runtime: Runtime
    digest: str
    fold: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def run(self, network: Network, seed: int) -> TrainedSeed:
        """Train a seed, or load it where that was done, and let it answer for the test split."""
        runtime, data = self.runtime, self.data
        network.offset = torch.from_numpy(data.offset).to(runtime.device)
        network.spread = torch.from_numpy(data.spread).to(runtime.device)
        # Of all that two runs have to share for one to go on from what the other left.
        of_fold = [self.fold] if self.fold else []
        run = hashlib.sha256(json.dumps([self.digest, seed, *of_fold]).encode()).hexdigest()
        file = self.folder.network(seed)
        state = load_into(network, file, run) if file.is_file() else self._train(network, seed, run)
        squares = self._squares(network)
        outputs = runtime.outputs(network, data.recordings, data.splits["test"].row)
        return TrainedSeed(outputs, state, network.layer_weights(), squares)

    def _train(self, network: Network, seed: int, run: str) -> State:
        """Train a seed, write its network and say how it went."""
        runtime, checkpoint = self.runtime, self.folder.checkpoint(seed)
        training = Training(
            network,
            self.data,
            seed=seed,
            runtime=runtime,
            checkpoint=checkpoint,
            run=run,
            every=self.options.checkpoint_steps,
        )
        task = self.data.task
        which = f"fold {self.fold}, seed {seed}" if self.fold else f"seed {seed}"
        title = f"finetune {task.name} {network.about['name']} {which}"
        with self.options.reporter.bar(training.steps, title, "step") as bar:

            def tick(loss: float) -> None:
                bar.update(1)
                bar.set_postfix(loss=f"{loss:.3g}", refresh=False)

            training.tick = tick
            # Of several processes the first one logs.
            with tracking(
                self.options.track if runtime.processes.first else None,
                f"{self.folder.path.name}-{task.name}-{self.folder.network(seed).stem}",
                dict(self.config) | {"seed": seed},
                folder=self.folder.path.parent / "tensorboard",
                reporter=self.options.reporter,
            ) as training.tracker:
                state = training.run()
        if runtime.processes.first:
            save_network(
                network,
                training.weights(),
                stored_task(task, self.data.labels),
                state,
                run,
                self.folder.network(seed),
                runtime.dtype,
            )
            checkpoint.unlink(missing_ok=True)
        for number, stage in enumerate(state.stages, start=1):
            self.options.reporter.say(
                f"{which}, stage {number}: {stage.trainable:,} weights, {stage.epochs} "
                f"epochs, validation {task.metrics[0]} {stage.valid:.3f}"
            )
        return state

    def _squares(self, network: Network) -> np.ndarray:
        """Return the mean square of each layer, (L,), over windows from all over the training
        split.
        """
        train = self.data.splits["train"].row
        rows = train[np.linspace(0, len(train) - 1, min(_RMS_WINDOWS, len(train))).astype(int)]
        network.eval()
        squares = []
        for part in np.array_split(rows, -(-len(rows) // network.plan.batch_size)):
            batch = Batch.of([self.data.recordings.window(row) for row in part.tolist()])
            squares.append(network.squares(batch.to(self.runtime.device)))
        return np.asarray(np.mean(squares, axis=0))
