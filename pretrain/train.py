"""Run the loop of pre-training: steps, their parts, and checkpoints to go on from.

Everything random follows from the recipe's seed and the number of the step: crops, augmentation,
masks, dropout. A checkpoint therefore holds weights, the optimiser's state and numbers, and no
generator. A run that was killed ends as one that was not, on a CPU with as many threads to the bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from svuprobe._distributed import Distributed
from svuprobe._tensors import read_tensors, save_tensors
from svuprobe._tracking import NoTracker, Tracker
from svuprobe.pretrain.clusters import Codes
from svuprobe.pretrain.crops import Crops, Step
from svuprobe.pretrain.going_on import START_ANEW, Run
from svuprobe.pretrain.masking import mask_frames
from svuprobe.pretrain.objectives.base import Objective
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.schedules import learning_rate

_AHEAD = 2  # steps that are read while one is computed


@dataclass
class State:
    """Record where a training stands, and what it saw.

    Attributes
    ----------
    done
        Updates of the weights.
    epoch, next_step
        Of the crops, and which of its steps comes next.
    audio_s, seconds
        Audio seen, and time taken.
    sums, counted
        What the measures add up to since the last row of the curve, over so many steps.
    rows
        The curve.
    """

    done: int = 0
    epoch: int = 0
    next_step: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """Hold what one process computes of a step at once."""

    audio: np.ndarray  # (crops, samples) float32
    mask: np.ndarray  # (crops, frames) bool
    codes: tuple[np.ndarray, ...]  # (crops, frames) int64 of each set of targets
    number: int  # among the parts of the step
    share: float  # of the step's crops


class Training:
    """Put a recipe to work.

    Parameters
    ----------
    objective
        With its first weights, on the device.
    checkpoint
        File to go on from, and to write.
    run
        What has to agree between a checkpoint and the run that goes on from it.
    keep
        Called where a model is to be kept, with the number of updates.

    Attributes
    ----------
    tracker
        Is told the rows of the curve.
    """

    def __init__(
        self,
        objective: Objective,
        crops: Crops,
        codes: Sequence[Codes],
        *,
        recipe: Recipe,
        options: PretrainOptions,
        processes: Distributed,
        checkpoint: Path,
        run: Run,
        keep: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.objective, self.crops, self.codes = objective, crops, tuple(codes)
        self.recipe, self.options, self.processes = recipe, options, processes
        self.checkpoint, self.of_run, self.keep = checkpoint, run, keep
        self.device = processes.device or options.runs_on
        self.tracker: Tracker = NoTracker()
        self.state = State()
        self.learning = [p for p in objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.learning,
            lr=recipe.learning_rate,
            betas=(0.9, recipe.beta2),
            eps=recipe.epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def run(self) -> State:
        """Train what is left of the steps, and return what was seen."""
        if self.options.resume and self.checkpoint.is_file():
            self._load()
        started, before = time.perf_counter(), self.state.seconds
        cuda = [self.device] if self.device.startswith("cuda") else []
        state, recipe = self.state, self.recipe
        self.objective.train()
        bar = self.options.reporter.bar(recipe.steps, "pre-training", "step", initial=state.done)
        with torch.random.fork_rng(devices=cuda), bar, ThreadPoolExecutor(1) as reader:
            for step, parts in self._ahead(reader):
                measures = self._step(parts)
                state.done += 1
                state.next_step += 1
                state.audio_s += len(step.crops) * step.samples / self.crops.recordings.sample_rate
                state.seconds = before + time.perf_counter() - started
                self.objective.after_step(state.done)
                self._watch(measures)
                bar.update()
                bar.set_postfix(refresh=False, loss=f"{measures['loss']:.3f}")
                self._keep()
        return state

    def _ahead(self, reader: ThreadPoolExecutor) -> Iterator[tuple[Step, list[Part]]]:
        """Yield the steps that are left with this process's parts, read ahead."""
        waiting: deque[tuple[int, Step, Future[list[Part]]]] = deque()
        for epoch, step, done in self._plan():
            waiting.append((epoch, step, reader.submit(self._parts, step, done)))
            if len(waiting) > _AHEAD:
                yield self._taken(waiting.popleft())
        while waiting:
            yield self._taken(waiting.popleft())

    def _taken(self, planned: tuple[int, Step, Future[list[Part]]]) -> tuple[Step, list[Part]]:
        """Return a step with its parts, noting the epoch that it is of."""
        epoch, step, parts = planned
        if epoch != self.state.epoch:
            self.state.epoch, self.state.next_step = epoch, 0
        return step, parts.result()

    def _plan(self) -> Iterator[tuple[int, Step, int]]:
        """Yield epoch and step of all that is left, and the number of updates before."""
        done, epoch, first = self.state.done, self.state.epoch, self.state.next_step
        while done < self.recipe.steps:
            for step in self.crops.epoch(epoch)[first:]:
                if done == self.recipe.steps:
                    return
                yield epoch, step, done
                done += 1
            epoch, first = epoch + 1, 0

    def _parts(self, step: Step, done: int) -> list[Part]:
        """Read what this process computes of a step."""
        recipe, processes = self.recipe, self.processes
        frames = self.objective.body.grid.n_frames(step.samples)
        count = len(step.crops)
        mask = mask_frames(
            np.random.default_rng([recipe.seed, 4, done]),
            count,
            frames,
            probability=recipe.mask_probability,
            span=recipe.mask_span,
            least=recipe.least_masks,
        )
        seconds = count * step.samples / self.crops.recordings.sample_rate
        at_once = max(1, -(-seconds // (self.options.part_seconds * processes.world)))
        groups = np.array_split(np.arange(count), int(at_once) * processes.world)
        parts = []
        for number in range(processes.rank, len(groups), processes.world):
            rows = groups[number]
            if len(rows) == 0:
                continue
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
            audio = self.crops.audio(step, done, chosen)
            codes = tuple(self._codes(each, step, chosen, frames) for each in self.codes)
            parts.append(Part(audio, mask[chosen], codes, number, len(rows) / count))
        return parts

    def _codes(self, codes: Codes, step: Step, rows: slice, frames: int) -> np.ndarray:
        """Return one set of targets of some crops of a step: (crops, frames) int64."""
        each = [codes.of_crop(crop.recording, crop.offset, frames) for crop in step.crops[rows]]
        return np.stack(each).astype(np.int64)

    def _step(self, parts: list[Part]) -> dict[str, float]:
        """Update the weights once, and return the loss, the measures and the norm."""
        recipe, done = self.recipe, self.state.done
        names = ("loss", *self.objective.measures)
        totals = torch.zeros(len(names), device=self.device)
        rate = learning_rate(recipe, done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        for part in parts:
            # Dropout follows from the step and the part, so a run that goes on draws the same.
            torch.manual_seed(_number(recipe.seed, done, part.number))
            loss, measures = self._forward(part)
            (part.share * loss).backward()
            values = [loss.detach(), *(measures[name].detach() for name in names[1:])]
            totals += part.share * torch.stack([value.float() for value in values])
        gradients = [self._gradient(p) for p in self.learning]
        self.processes.sum([totals, *gradients])
        watched = dict(zip(names, totals.tolist(), strict=True))
        if not np.isfinite(watched["loss"]):
            raise PretrainError(
                f"the loss is {watched['loss']} at step {done + 1}; try a lower learning_rate (now "
                f"{recipe.learning_rate:g}), a clip_norm, or --dtype float32"
            )
        limit = recipe.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.learning, limit)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        reason = self.objective.collapsed(done + 1, watched)
        if reason:
            raise PretrainError(f"step {done + 1}: {reason}")
        return watched | {"gradient norm": float(norm), "learning rate": rate}

    def _forward(self, part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a part."""
        device = self.device
        audio = torch.from_numpy(part.audio).to(device)
        mask = torch.from_numpy(part.mask).to(device)
        codes = [torch.from_numpy(each).to(device) for each in part.codes]
        kind, rounded = torch.device(device).type, self.options.dtype == "bfloat16"
        with torch.autocast(kind, torch.bfloat16, enabled=rounded):
            loss, measures = self.objective(audio, mask, codes)
        return loss, measures

    @staticmethod
    def _gradient(parameter: Tensor) -> Tensor:
        """Return a parameter's gradient; zeros where this process, or layerdrop, left it out."""
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        return parameter.grad

    def _watch(self, measures: dict[str, float]) -> None:
        """Add a step to the curve."""
        state = self.state
        for name, value in measures.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        state.counted += 1
        if state.counted >= self.options.log_every or state.done == self.recipe.steps:
            row = {"step": float(state.done), "hours": state.audio_s / 3600}
            row |= {name: total / state.counted for name, total in state.sums.items()}
            state.rows.append(row | {"seconds": state.seconds})
            self.tracker.log({k: v for k, v in row.items() if k != "step"}, state.done)
            state.sums, state.counted = {}, 0

    def _keep(self) -> None:
        """Write the checkpoint and keep the model, where it is time to."""
        done, options = self.state.done, self.options
        if not self.processes.first:
            return
        if options.keep_every and done % options.keep_every == 0 and done < self.recipe.steps:
            self.keep(done)
        if done % options.save_every == 0 or done == self.recipe.steps:
            self._save()

    def _save(self) -> None:
        """Write all from which a run goes on."""
        tensors = {f"weights/{name}": t.cpu() for name, t in self.objective.state_dict().items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{key}": v.cpu() for key, v in values.items()}
        about = self.of_run.marks() | {"state": json.dumps(asdict(self.state))}
        save_tensors(self.checkpoint, tensors, about)

    def _load(self) -> None:
        """Take up the checkpoint. Raises PretrainError for one of another run."""
        tensors, about = read_tensors(self.checkpoint, START_ANEW)
        self.of_run.require(self.checkpoint, about)
        self.state = State(**json.loads(about["state"]))
        weights: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "weights":
                weights[rest] = value
            else:
                number, _, key = rest.partition("/")
                moments.setdefault(int(number), {})[key] = value
        self.objective.load_state_dict(weights)
        if moments:
            self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})


def _number(*parts: int) -> int:
    """Return a seed from several numbers, each combination its own."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")
