"""Train the heads of a bank: a step, an epoch's best states, and which of them still learn."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.adam import Adam
from svuprobe.probe.training.features import Block, ClipFeatures, Steps
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.heads import Bank
from svuprobe.probe.training.rates import SoFar

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
        self.stopped = np.zeros(len(bank), dtype=bool)  # whose rate can no longer be chosen
        self.best_after: list[np.ndarray] = []  # by epoch, the best score of each head so far

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
        self.best_after.append(self.score.copy())
        for name, value in self.bank.parameters.items():
            # Head by head: an index with all of them would copy the weights twice.
            for head in np.flatnonzero(kept).tolist():
                self.whole.parameters[name][place[head]].copy_(value[head])
        stale = self.stale[place] = np.where(better, 0, self.stale[place] + 1)
        plateau = (stale > 0) & (stale % protocol.plateau_patience == 0)
        self.adam.scale(np.where(plateau, protocol.plateau_factor, 1.0).tolist())
        return self._go_on_with(stale < protocol.patience)

    def _go_on_with(self, going: np.ndarray) -> int:
        """Leave out some of the heads that still learn, by (n,) bool; return how many."""
        # Heads that have stopped take no more time: those left move together.
        if not going.all():
            self.place = self.place[going]
            self.adam.select(np.flatnonzero(going).tolist())
        return int((~going).sum())

    def advance(self, until: int, stop: threading.Event) -> int:
        """Go on to a number of epochs, on clips or frames of the bank's own.

        Returns how many heads have finished.
        """
        before = len(self.bank)
        for epoch in range(len(self.best_after), until):
            if stop.is_set() or not len(self.bank):
                break
            blocks = self.source.epoch(epoch, self.whole.specs[0].seed)
            self.update([self.see(block, steps) for block, steps in blocks], epoch)
        return before - len(self.bank)

    def so_far(self, epoch: int) -> Iterator[SoFar]:
        """Yield what an epoch's look at the rates is told of each head that is not stopped."""
        before = self.best_after[min(epoch // 2, len(self.best_after)) - 1]
        left = np.zeros(len(self.whole))
        left[self.place] = 1 - self.stale[self.place] / self.protocol.patience
        for head, spec in enumerate(self.whole.specs):
            if not self.stopped[head]:
                best = float(self.score[head])
                gained = best - float(before[head]) if np.isfinite(before[head]) else 0.0
                yield SoFar(spec.layer, spec.learning_rate, best, gained, float(left[head]))

    def stop(self, rates: Collection[tuple[int, float]]) -> int:
        """Stop the heads of some rates, each of a layer; return how many were still learning."""
        lost = np.array([(s.layer, s.learning_rate) in rates for s in self.whole.specs])
        self.stopped |= lost
        return self._go_on_with(~lost[self.place])

    def finished(self) -> Fitted:
        """Return the heads of the bank with their best states, without those of stopped rates."""
        if not self.stopped.any():
            return Fitted(self.whole, self.score, self.epochs)
        left = np.flatnonzero(~self.stopped)
        return Fitted(self.whole.part(left.tolist()), self.score[left], self.epochs[left])
