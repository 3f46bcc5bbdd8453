"""Train a network: stages, epochs, steps, and checkpoints from which it goes on to the same
weights.

Everything random follows from the seed, the stage, the epoch and the step, so a checkpoint holds
weights, the optimiser's state and where it stands, and no generator: a run that was killed ends as
one that was not (on a CPU with as many threads, to the bit).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svuprobe._tensors import read_tensors, save_tensors
from svuprobe._tracking import NoTracker, Tracker
from svuprobe.probe.baselines.base import Stage
from svuprobe.probe.finetune.data import TaskData
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.network import Network, TrainingPlan
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.finetune_info import EpochInfo, StageInfo

START_ANEW = "delete it, or start anew with --overwrite"  # after a file that is damaged
_NAMED_CLIPS = 8  # in a message


@dataclass
class State:
    """Hold where a training stands, and what it saw. ``score`` and ``best_epoch`` are of the
    stage.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0  # sum over the steps of the epoch
    score: float | None = None
    best_epoch: int = 0
    stale: int = 0
    seconds: float = 0.0
    epochs: list[EpochInfo] = field(default_factory=list)
    stages: list[StageInfo] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> State:
        """Read a state as files hold it: `to_json` wrote it."""
        body = json.loads(text)
        epochs = [EpochInfo(**epoch) for epoch in body.pop("epochs")]
        stages = []
        for stage in body.pop("stages"):
            weights = tuple(stage["layer_weights"])
            stages.append(StageInfo(**stage | {"layer_weights": weights}))
        return cls(**body, epochs=epochs, stages=stages)

    def to_json(self) -> str:
        """Write the state for the metadata of a file."""
        return json.dumps(asdict(self))


class Training:
    """Train one seed of one network.

    Parameters
    ----------
    network
        On the device of the runtime, with its first weights.
    checkpoint
        File to write after every epoch, and after every ``every`` steps if that is not 0. One that
        is there is gone on from.
    run
        Digest of all that has to agree between a checkpoint and the run that goes on from it.
    tick
        Called after every step with the loss.

    Attributes
    ----------
    tracker
        Is told losses and learning rates of every step, and the validation score of an epoch.
    """

    def __init__(
        self,
        network: Network,
        data: TaskData,
        *,
        seed: int,
        runtime: Runtime,
        checkpoint: Path,
        run: str,
        every: int = 0,
        tick: Callable[[float], None] = lambda loss: None,
    ) -> None:
        self.network, self.data, self.seed, self.runtime = network, data, seed, runtime
        self.checkpoint, self.run_digest, self.every, self.tick = checkpoint, run, every, tick
        self.state = State()
        self.tracker: Tracker = NoTracker()
        # Names of the weights that any stage so far trains, and of buffers.
        self.trained: list[str] = []
        self._logged = 0  # steps of all stages, as the tracker was told
        self._best: dict[str, Tensor] = {}
        self._waiting: dict[int, dict[str, Tensor]] = {}  # optimiser's state from a checkpoint

    @property
    def steps(self) -> int:
        """Return the steps of all stages, if none ends early."""
        each = len(self._batches(0, 0))
        return each * sum(stage.epochs for stage in self.network.plan.stages)

    def run(self) -> State:
        """Train what is left and return what was seen; the network then holds the weights that
        count.
        """
        if self.checkpoint.is_file():
            self._load()
        started, before = time.perf_counter(), self.state.seconds
        # The caller's random numbers are theirs: dropout must not move them.
        cuda = [self.runtime.device] if self.runtime.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda):
            for number, stage in enumerate(self.network.plan.stages):
                # Also of stages that are over: what they freeze and train is remembered in their
                # order.
                groups = self.network.groups(stage)
                self._remember_trained()
                if number >= self.state.stage:
                    self._stage(stage, groups)
                    self.state.seconds = before + time.perf_counter() - started
        return self.state

    def weights(self) -> dict[str, Tensor]:
        """Return copies of what training may have changed, on the CPU."""
        state = self.network.state_dict()
        return {name: state[name].detach().cpu().clone() for name in self.trained}

    def _remember_trained(self) -> None:
        """Add what the stage that begins may change to the names of what a checkpoint holds."""
        # A stage may freeze what an earlier one trained: its weights are kept all the same.
        learn = {name for name, p in self.network.named_parameters() if p.requires_grad}
        fixed = {name for name, _ in self.network.named_parameters()}
        buffers = set(self.network.state_dict()) - fixed
        self.trained = sorted({*self.trained, *learn, *buffers})

    def _stage(self, stage: Stage, groups: list[dict[str, Any]]) -> None:
        """Train a stage to its end, from where it stands."""
        plan, state = self.network.plan, self.state
        optimiser = optimiser_of(plan, groups)
        self._fill(optimiser)
        class_weights = self.data.class_weights(stage.class_weight_alpha)
        while state.epoch < stage.epochs and not (plan.patience and state.stale >= plan.patience):
            self._epoch(stage, optimiser, class_weights)
            self._validate(stage)
            self._log_epoch()
            self._save(optimiser)
        if plan.select == "best" and self._best:  # the next stage starts from there
            self.network.load_state_dict(self._best, strict=False)
        # Of this stage: a frozen transformer is not among what it trains.
        counted = [p.numel() for p in self.network.parameters() if p.requires_grad]
        state.stages.append(
            StageInfo(
                epochs=state.epoch,
                best_epoch=state.best_epoch,
                valid=state.score,
                trainable=sum(counted),
                layer_weights=tuple(self.network.layer_weights().tolist()),
            )
        )
        state.stage, state.epoch, state.step, state.stale = state.stage + 1, 0, 0, 0
        state.score, state.best_epoch, self._best = None, 0, {}

    def _batches(self, stage: int, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch, shuffled.

        A single window that is left over joins the last batch, as batch norms need two.
        """
        rows, size = self.data.splits["train"].row, self.network.plan.batch_size
        order = np.random.default_rng([self.seed, stage, epoch]).permutation(rows)
        # A cut that would leave one window alone is not made.
        cuts = [at for at in range(size, len(order), size) if len(order) - at > 1]
        return np.split(order, cuts)

    def _epoch(
        self, stage: Stage, optimiser: torch.optim.Optimizer, class_weights: np.ndarray | None
    ) -> None:
        state = self.state
        batches = self._batches(state.stage, state.epoch)
        self.network.train()
        while state.step < len(batches):
            loss = self._step(optimiser, batches[state.step], class_weights)
            state.step, state.loss = state.step + 1, state.loss + loss
            self.tick(loss)
            self._log_step(optimiser, loss, len(batches))
            if self.every and state.step % self.every == 0 and state.step < len(batches):
                self._save(optimiser)
        state.epochs.append(EpochInfo(stage=state.stage + 1, loss=state.loss / len(batches)))
        state.epoch, state.step, state.loss = state.epoch + 1, 0, 0.0

    def _step(
        self, optimiser: torch.optim.Optimizer, rows: np.ndarray, class_weights: np.ndarray | None
    ) -> float:
        """Take one step of the optimiser and return the mean loss of the batch."""
        processes, state = self.runtime.processes, self.state
        # Dropout follows from where training stands, so a run that goes on draws the same.
        torch.manual_seed(_number(self.seed, state.stage, state.epoch, state.step, processes.rank))
        parts = np.array_split(rows, self.runtime.accumulate * processes.world)[
            processes.rank :: processes.world
        ]
        # Parts may have more frames or heavier classes than
        # others: each counts by what it weighs in the whole.
        whole = self.data.weight(rows, class_weights)
        total = torch.zeros((), device=self.runtime.device)
        for part in parts:
            if len(part):
                batch = self.data.batch(part, class_weights).to(self.runtime.device)
                outputs = self.runtime.run(self.network, batch)
                loss = batch.weight / whole * self.data.loss(outputs, batch, class_weights)
                # Gradients add up over the parts, so their weights sum to that of one mean over the
                # batch.
                loss.backward()
                total += loss.detach()
        learning = [p for group in optimiser.param_groups for p in group["params"]]
        if processes.world > 1:
            # All have to sum the same tensors, whether or not this process had a part of the batch.
            for p in learning:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            processes.sum([total, *(p.grad for p in learning if p.grad is not None)])
        # One wait for the device a step, after everything is queued.
        value = float(total)
        if not np.isfinite(value):
            raise ProbeError(self._not_finite(value, rows))
        optimiser.step()
        # None takes no memory between steps, and a frozen weight keeps having none.
        optimiser.zero_grad(set_to_none=True)
        return value

    def _not_finite(self, value: float, rows: np.ndarray) -> str:
        """Say where the loss is not finite, and of which clips."""
        names = list(dict.fromkeys(self.data.recordings.clip_ids[int(r)] for r in rows))
        some = ", ".join(map(repr, names[:_NAMED_CLIPS]))
        more = f" and {len(names) - _NAMED_CLIPS} more" if len(names) > _NAMED_CLIPS else ""
        s = self.state
        return (
            f"the loss is {value} at stage {s.stage + 1}, epoch {s.epoch + 1}, step {s.step + 1}, "
            f"seed {self.seed} (clips {some}{more}); try a lower learning rate or --dtype "
            "float32, and listen to these clips"
        )

    def _log_step(self, optimiser: torch.optim.Optimizer, loss: float, batches: int) -> None:
        """Log a step, counted over all stages."""
        values = {"loss": loss}
        for number, group in enumerate(optimiser.param_groups):
            values[f"learning rate/group {number}"] = float(group["lr"])
        self._logged = batches * len(self.state.epochs) + self.state.step
        self.tracker.log(values, self._logged)

    def _log_epoch(self) -> None:
        """Log an epoch that ended, at its last step."""
        epoch = self.state.epochs[-1]
        values = {"epoch/number": float(len(self.state.epochs)), "epoch/loss": epoch.loss}
        if epoch.valid is not None:
            name = self.data.task.metrics[0]
            values[f"epoch/validation {name}"] = float(epoch.valid)
        self.tracker.log(values, self._logged)

    def _validate(self, stage: Stage) -> None:
        """Score the epoch that just ended, where the plan asks for it, and keep the best
        weights.
        """
        plan, state = self.network.plan, self.state
        # The last epoch is always looked at, else a short stage would have no score.
        ended = state.epoch == stage.epochs
        if not ended and (plan.select == "last" or state.epoch % plan.validate_every):
            return
        # All of it in every epoch that is looked at: no sample, so scores can be compared.
        rows = self.data.splits["valid"].row
        outputs = self.runtime.outputs(self.network, self.data.recordings, rows)
        score = self.data.ranked_score(outputs, "valid")
        state.epochs[-1] = replace(state.epochs[-1], valid=score)
        if state.score is None or score > state.score or plan.select == "last":
            state.score, state.best_epoch, state.stale = score, state.epoch, 0
            self._best = self.weights() if plan.select == "best" else {}
        else:
            state.stale += 1

    def _fill(self, optimiser: torch.optim.Optimizer) -> None:
        """Give an optimiser the state of the checkpoint that was loaded."""
        if self._waiting:
            optimiser.load_state_dict(optimiser.state_dict() | {"state": self._waiting})
            self._waiting = {}

    def _save(self, optimiser: torch.optim.Optimizer) -> None:
        """Write the checkpoint: weights as they are and at their best, and the optimiser's
        state.
        """
        # All processes hold the same weights: one file is enough.
        if not self.runtime.processes.first:
            return
        tensors = {f"now/{name}": value for name, value in self.weights().items()}
        tensors |= {f"best/{name}": value for name, value in self._best.items()}
        for number, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{key}": v.detach().cpu() for key, v in values.items()}
        save_tensors(
            self.checkpoint,
            tensors,
            {"run": self.run_digest, "state": self.state.to_json()},
        )

    def _load(self) -> None:
        """Take up the checkpoint. Raises ProbeError for one of another run."""
        tensors, about = read_tensors(self.checkpoint, START_ANEW)
        if about["run"] != self.run_digest:
            raise ProbeError(
                f"{self.checkpoint}: of a run with other data, weights or options; "
                f"go on with the same command, or start anew with --overwrite"
            )
        self.state = State.from_json(about["state"])
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = value
        self.network.load_state_dict(parts["now"], strict=False)
        self._best = parts["best"]
        for name, value in parts["optimiser"].items():
            number, _, key = name.partition("/")
            self._waiting.setdefault(int(number), {})[key] = value


def optimiser_of(plan: TrainingPlan, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return a plan's optimiser for parameter groups; one pass over the weights where torch has
    that.
    """
    if plan.optimiser == "adam":
        # Weight decay is added to the gradient here, as in Adam of 2015 and not in AdamW.
        return torch.optim.Adam(groups, weight_decay=plan.weight_decay, fused=True)
    classes = {name.lower(): name for name in dir(torch.optim)}
    cls: type[torch.optim.Optimizer] = getattr(torch.optim, classes[plan.optimiser])
    return cls(groups, weight_decay=plan.weight_decay)  # type: ignore[call-arg]


def _number(*parts: int) -> int:
    """Return a seed from several numbers, each combination its own."""
    # 56 bits: torch takes seeds below 2^63.
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")
