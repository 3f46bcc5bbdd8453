"""Train every head of the grid at once, each with its own learning rate, stopping and best
state.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from svuprobe._progress import SILENT, Reporter
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.adam import Adam
from svuprobe.probe.training.attention import AttentionBank
from svuprobe.probe.training.features import Block, ClipFeatures, Steps
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.heads import CONCAT, WEIGHTED_SUM, Bank, Shape, Spec
from svuprobe.probe.training.layer_sets import bank_of
from svuprobe.probe.training.workers import Workers, matmul_rounding, unthreaded

Source = ClipFeatures | FrameFeatures


@dataclass
class Fitted:
    """Hold a bank whose heads have their best state, with what the monitor said of it."""

    bank: Bank
    score: np.ndarray  # (H,)
    epochs: np.ndarray  # (H,) epochs until the best state


class Dropout:
    """Draw masks of hidden units, a stream of random numbers for each seed."""

    def __init__(self, rate: float, hidden: int, seeds: Iterable[int], device: str) -> None:
        self.rate, self.hidden, self.device = rate, hidden, device
        # Away from the seeds of weights and of batches, which count from 0.
        self.generators = [torch.Generator(device).manual_seed(10_000 + seed) for seed in seeds]

    def mask(self, rows: int) -> torch.Tensor | None:
        """Draw (seeds, rows, hidden) of 0 and 1 / (1 - rate); None where nothing is dropped."""
        if not self.rate or not self.hidden:
            return None
        drawn = torch.empty((len(self.generators), rows, self.hidden), device=self.device)
        for one, generator in zip(drawn, self.generators, strict=True):
            one.uniform_(generator=generator)
        return drawn.ge_(self.rate).div_(1 - self.rate)


class Run:
    """Train a bank: the heads that still learn, and the best state of all."""

    def __init__(self, bank: Bank, source: Source, protocol: Protocol) -> None:
        self.source, self.protocol, self.whole = source, protocol, bank
        self.adam = Adam(bank.part(range(len(bank))), protocol.mix_learning_rate)
        self.dropout = Dropout(protocol.dropout, protocol.hidden, bank.seeds, bank.device)
        self.seeds = bank.seeds
        self.place = np.arange(len(bank))  # of the heads that still learn
        self.score = np.full(len(bank), -np.inf)
        self.epochs, self.stale = np.zeros((2, len(bank)), dtype=int)

    @property
    def bank(self) -> Bank:
        """Return the heads that still learn."""
        return self.adam.bank

    def learn(self, block: Block, steps: Steps) -> None:
        """Take one step of Adam for each batch of rows."""
        for rows in steps:
            self.step(block, rows)

    def see(self, block: Block, steps: Steps) -> np.ndarray | None:
        """Learn from a block; with no steps, return its part of the validation scores, (H,)."""
        if not steps:
            return self.source.monitor(self.bank, block)
        self.learn(block, steps)
        return None

    @torch.no_grad()
    def step(self, block: Block, rows: torch.Tensor) -> None:
        """Take one step; what it holds at once is bounded, its gradients are of the whole batch."""
        keep = self.dropout.mask(len(rows))
        if keep is not None and self.bank.seeds != self.seeds:  # all heads of a seed have stopped
            keep = keep[[self.seeds.index(seed) for seed in self.bank.seeds]]
        done = 0
        for part in self.source.parts(block, rows, self.bank):
            kept = None if keep is None else keep[:, done : done + len(part)]
            states = block.read(self.bank, part)
            logits, seen = self.bank.forward(states, kept)
            gradient = self.source.gradient(logits, block.targets[part])
            # A part's gradient is of its own mean; in the batch it counts by its share.
            if len(part) < len(rows):
                gradient *= len(part) / len(rows)
            self.bank.backward(states, seen, gradient, self.adam.gradients, add=done > 0)
            done += len(part)
        self.adam.step()

    def update(self, parts: Iterable[np.ndarray | None], epoch: int) -> int:
        """Take what an epoch's blocks said of the heads: keep best states, lower rates, drop the
        finished.

        Returns how many have finished.
        """
        score = np.nan_to_num(
            np.sum([part for part in parts if part is not None], axis=0), nan=-np.inf
        )
        place, protocol = self.place, self.protocol
        better = score > self.score[place]
        # A tie is no progress, so patience runs on; but of equals the later state has learnt more.
        kept = better | (score == self.score[place]) & (protocol.ties == "last") & np.isfinite(
            score
        )
        self.score[place[kept]] = score[kept]
        self.epochs[place[kept]] = epoch + 1
        for name, value in self.bank.parameters.items():
            # Head by head: an index with all of them would copy the weights twice.
            for head in np.flatnonzero(kept).tolist():
                self.whole.parameters[name][place[head]].copy_(value[head])
        stale = self.stale[place] = np.where(better, 0, self.stale[place] + 1)
        plateau = (stale > 0) & (stale % protocol.plateau_patience == 0)
        self.adam.scale(np.where(plateau, protocol.plateau_factor, 1.0).tolist())
        going = np.flatnonzero(stale < protocol.patience)
        # Heads that have stopped take no more time: those left move together.
        if len(going) < len(place):
            self.place = place[going]
            self.adam.select(going.tolist())
        return len(place) - len(going)

    def finished(self) -> Fitted:
        """Return all heads of the bank, each with its best state."""
        return Fitted(self.whole, self.score, self.epochs)


def specs(protocol: Protocol, n_layers: int) -> list[Spec]:
    """Return the grid: weighted sum and single layers x learning rates x seeds.

    One layer needs no weighted sum. All layers one after the other are read where that is ranked.
    """
    layers = list(range(n_layers)) if protocol.single_layers or n_layers == 1 else []
    layers += [WEIGHTED_SUM] if n_layers > 1 else []
    layers += [CONCAT] if n_layers > 1 and protocol.select == "concat" else []
    grid = itertools.product(layers, protocol.learning_rates, range(protocol.seeds))
    return [Spec(*point) for point in grid]


def make_banks(source: Source, protocol: Protocol, dim: int) -> list[Bank]:
    """Put the grid in banks whose heads see the same batches, weighted sums first.

    On a CPU the MLPs of a bank share their layer too, and so one matrix product: few enough heads
    for its caches. Linear heads are small, and what counts is the number of operations: those of a
    seed make a few banks of several layers each, enough to keep all cores busy; where all seeds see
    the same batches, all on a layer make one. A GPU wants few and large banks.
    """
    n_layers = len(source.feature_stats.rms)
    shape = Shape(
        layers=n_layers,
        dim=dim,
        outputs=source.n_outputs,
        hidden=protocol.hidden,
        dropout=protocol.dropout,
        mix_from=int(protocol.mix_layers == "blocks" and n_layers > 1),
        mix_normal=protocol.mix_start == "normal",
        start_at_zero=protocol.start == "zeros",
    )
    on_gpu = source.device.startswith("cuda")
    by_seed = not source.one_order or (
        not on_gpu and (protocol.hidden > 0 or cpu_count() > n_layers)
    )
    parts = n_layers
    if on_gpu:
        parts = 1
    elif not protocol.hidden and not source.one_order:
        # About two banks for each core, whatever the number of seeds.
        parts = min(n_layers, -(-2 * cpu_count() // protocol.seeds))

    def family(spec: Spec) -> tuple[int, int]:
        return (
            spec.layer * parts // n_layers if spec.layer >= 0 else spec.layer,
            spec.seed if by_seed else 0,
        )

    grid = sorted(specs(protocol, n_layers), key=family)
    banks: list[Bank] = []
    for _, heads in itertools.groupby(grid, key=family):
        if protocol.pooling == "attention":
            banks.append(AttentionBank(list(heads), shape, source.device))
        else:
            banks.append(bank_of(list(heads), shape, source.device))
    return banks


def fit(
    source: Source,
    protocol: Protocol,
    dim: int,
    reporter: Reporter = SILENT,
    matmul_precision: str = "float32",
) -> list[Fitted]:
    """Train every head until all have stopped. The bar counts heads that have stopped.

    With the features in memory each bank is trained from its first epoch to its last, while its
    weights are in the cache of a core. Else all banks learn from a block before the next one takes
    its place.
    """
    banks = make_banks(source, protocol, dim)
    with (
        reporter.bar(sum(map(len, banks)), unit="head") as bar,
        unthreaded(source.device),
        matmul_rounding(matmul_precision),
        Workers(source.device) as workers,
    ):
        told = bar.update
        if source.resident:
            return list(
                workers.map(lambda bank: _alone(bank, source, protocol, workers.stop, told), banks)
            )
        return _together(banks, source, protocol, workers, told)


def _alone(
    bank: Bank,
    source: Source,
    protocol: Protocol,
    stop: threading.Event,
    told: Callable[[int], Any],
) -> Fitted:
    """Train a bank from its first epoch to its last."""
    run = Run(bank, source, protocol)
    for epoch in range(protocol.max_epochs):
        if stop.is_set() or not len(run.bank):
            break
        parts = [run.see(block, steps) for block, steps in source.epoch(epoch, bank.specs[0].seed)]
        told(run.update(parts, epoch))
    told(len(run.bank))
    return run.finished()


def _together(
    banks: list[Bank],
    source: Source,
    protocol: Protocol,
    workers: Workers,
    told: Callable[[int], Any],
) -> list[Fitted]:
    """Train all banks in one pass over the disk per epoch, a seed at a time where each has its own
    clips.
    """
    fitted = []
    for seed in [0] if source.one_order else range(protocol.seeds):
        runs = [
            Run(bank, source, protocol) for bank in banks if source.one_order or seed in bank.seeds
        ]
        for epoch in range(protocol.max_epochs):
            living = [run for run in runs if len(run.bank)]
            if not living:
                break
            sees = [run.see for run in living]
            said = zip(*workers.over(source.epoch(epoch, seed), sees), strict=True)
            for run, parts in zip(living, said, strict=True):
                told(run.update(parts, epoch))
        told(sum(len(run.bank) for run in runs))
        fitted += [run.finished() for run in runs]
    return fitted
