"""Train every head of the grid at once: each with its own learning rate, early stopping and best state."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol as Interface

import numpy as np
import torch
from joblib import cpu_count

from svuprobe.probe.data import Moments
from svuprobe.probe.heads import WEIGHTED_SUM, Adam, Bank, Spec
from svuprobe.probe.protocol import Protocol

# Largest tensor of a bank. On a CPU the allocator hands blocks of over 32 MiB back to the system each time, and
# fetching their pages again costs more than the arithmetic; a GPU wants few and large ones.
_BANK_BYTES = {"cpu": 24 << 20, "cuda": 1 << 30}


class Source(Interface):
    """What the trainer needs of :class:`~svuprobe.probe.data.ClipFeatures` and ``FrameFeatures``."""

    moments: Moments
    device: str
    shared_batches: bool

    @property
    def n_outputs(self) -> int: ...
    @property
    def step_rows(self) -> int: ...
    def train_batches(self, epoch: int, seeds: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...
    def loss(self, bank: Bank, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor: ...
    def monitor(self, banks: Sequence[Bank], each: Callable[..., Any] = map) -> list[np.ndarray]: ...


@dataclass
class Fitted:
    """A bank whose heads hold their best state, with what the monitor said of it."""

    bank: Bank
    score: np.ndarray  # (H,)
    epochs: np.ndarray  # (H,) epochs until the best state


@dataclass
class _Run:
    """A bank in training. ``alive`` maps its heads to their place among all heads of the bank."""

    bank: Bank
    adam: Adam
    alive: torch.Tensor
    best: dict[str, torch.Tensor]
    score: np.ndarray
    epochs: np.ndarray
    stale: np.ndarray
    specs: list[Spec] = field(default_factory=list)

    def step(self, source: Source, batch: tuple[torch.Tensor, torch.Tensor], keep: torch.Tensor | None) -> None:
        states, targets = batch
        loss = source.loss(self.bank, self.bank(states, keep), targets)
        loss.sum().backward()
        self.adam.step()

    def update(self, score: np.ndarray, epoch: int, protocol: Protocol) -> None:
        """Take the validation scores of the living heads: keep best states, lower rates, stop the finished."""
        place = self.alive.cpu().numpy()
        running = self.stale[place] < protocol.patience
        better = running & (np.nan_to_num(score, nan=-np.inf) > self.score[place])
        self.score[place[better]], self.epochs[place[better]] = score[better], epoch + 1
        self.stale[place] = np.where(better, 0, self.stale[place] + 1)
        improved = torch.from_numpy(np.flatnonzero(better)).to(self.alive.device)
        for name, value in self.bank.parameters.items():
            self.best[name][self.alive[improved]] = value.detach()[improved]
        stale = self.stale[place]
        plateau = (stale > 0) & (stale % protocol.plateau_patience == 0)
        factor = np.where(plateau, protocol.plateau_factor, 1.0).astype(np.float32)
        self.adam.scale(torch.from_numpy(factor).to(self.alive.device))
        self._retire(torch.from_numpy(stale < protocol.patience).to(self.alive.device))

    def _retire(self, going: torch.Tensor) -> None:
        """Drop the finished heads, once they are enough to be worth copying the others."""
        if int(going.sum()) > 0.8 * len(going) and bool(going.any()) and not bool(going.all()):
            return
        if not bool(going.all()):
            keep = torch.nonzero(going)[:, 0]
            self.alive = self.alive[keep]
            self.bank.select(keep)
            self.adam.select(keep)

    def finished(self) -> Fitted:
        """All heads of the bank again, each with its best state."""
        self.bank.specs = self.specs
        self.bank.layer = torch.tensor([s.layer for s in self.specs], device=self.alive.device)
        self.bank.seed = torch.tensor([s.seed for s in self.specs], device=self.alive.device)
        self.bank.parameters = self.best
        return Fitted(self.bank, self.score, self.epochs)


def specs(protocol: Protocol, n_layers: int) -> list[Spec]:
    """The grid: weighted sum and single layers x learning rates x seeds. One layer needs no weighted sum."""
    layers = list(range(n_layers)) if protocol.single_layers or n_layers == 1 else []
    layers += [WEIGHTED_SUM] if n_layers > 1 else []
    grid = itertools.product(layers, protocol.learning_rates, range(protocol.seeds))
    return [Spec(*point) for point in grid]


def make_banks(source: Source, protocol: Protocol, dim: int) -> list[Bank]:
    """Banks of a size that keeps their tensors small; at frame level, where all heads see the same batch, heads
    of one layer stay together and share their input.
    """
    n_layers = len(source.moments.rms)
    width = protocol.hidden or source.n_outputs
    largest = 4 * max(source.step_rows * max(dim, width), dim * width)  # activations, or weights, of a head
    size = max(1, _BANK_BYTES["cuda" if source.device.startswith("cuda") else "cpu"] // largest)

    def family(spec: Spec) -> int:
        return spec.layer if source.shared_batches else min(spec.layer, 0)

    banks = []
    for _, same in itertools.groupby(sorted(specs(protocol, n_layers), key=family), key=family):
        heads = list(same)
        for start in range(0, len(heads), size):
            banks.append(
                Bank(
                    heads[start : start + size],
                    n_layers=n_layers,
                    dim=dim,
                    n_outputs=source.n_outputs,
                    hidden=protocol.hidden,
                    device=source.device,
                )
            )
    return banks


class Dropout:
    """Masks of hidden units, one stream of random numbers per seed."""

    def __init__(self, rate: float, hidden: int, seeds: int, device: str) -> None:
        self.rate, self.hidden, self.device = rate, hidden, device
        self.generators = [torch.Generator(device).manual_seed(10_000 + seed) for seed in range(seeds)]

    def mask(self, rows: int) -> torch.Tensor | None:
        """(seeds, rows, hidden) of 0 and 1 / (1 - rate); None where nothing is dropped."""
        if not self.rate or not self.hidden:
            return None
        shape = (rows, self.hidden)
        drawn = [torch.rand(shape, generator=g, device=self.device) >= self.rate for g in self.generators]
        return torch.stack(drawn).float() / (1 - self.rate)


@contextlib.contextmanager
def one_thread_each(device: str) -> Iterator[Callable[..., Any]]:
    """A ``map`` that works on banks side by side, each on one core, on a CPU.

    Banks are independent, so this needs no barrier inside an operation: torch's own threads wait for each other
    in each of many small operations, and on a busy machine that costs far more than the work. It also makes
    results independent of the number of cores.
    """
    if device.startswith("cuda"):
        yield map
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def fit(source: Source, protocol: Protocol, dim: int, progress: Callable[..., Any] | None = None) -> list[Fitted]:
    """Train every head until all have stopped. ``progress`` wraps the range of epochs as tqdm does."""
    with one_thread_each(source.device) as each:
        return _fit(source, protocol, dim, progress, each)


def _fit(
    source: Source,
    protocol: Protocol,
    dim: int,
    progress: Callable[..., Any] | None,
    each: Callable[..., Any],
) -> list[Fitted]:
    runs = [_start(bank, protocol) for bank in make_banks(source, protocol, dim)]
    dropout = Dropout(protocol.dropout, protocol.hidden, protocol.seeds, source.device)
    bar: Any = range(protocol.max_epochs)
    if progress is not None:
        bar = progress(bar, desc="probe", unit="epoch")
    for epoch in bar:
        living = [run for run in runs if (run.stale[run.alive.cpu()] < protocol.patience).any()]
        if not living:
            break
        if progress is not None:
            bar.set_postfix(heads=sum(len(run.bank) for run in living), refresh=False)
        for batch in source.train_batches(epoch, protocol.seeds):
            keep = dropout.mask(batch[0].shape[1])
            list(each(lambda run, b=batch, k=keep: run.step(source, b, k), living))
        for run, score in zip(living, source.monitor([run.bank for run in living], each), strict=True):
            run.update(score, epoch, protocol)
    if progress is not None:
        bar.close()
    return [run.finished() for run in runs]


def _start(bank: Bank, protocol: Protocol) -> _Run:
    rates = torch.tensor([s.learning_rate for s in bank.specs], device=bank.device)
    n = len(bank)
    return _Run(
        bank=bank,
        adam=Adam(bank, rates, protocol.mix_learning_rate),
        alive=torch.arange(n, device=bank.device),
        best={k: v.detach().clone() for k, v in bank.parameters.items()},
        score=np.full(n, -np.inf),
        epochs=np.zeros(n, dtype=int),
        stale=np.zeros(n, dtype=int),
        specs=list(bank.specs),
    )
