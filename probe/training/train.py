"""Train every head of the grid at once, each with its own learning rate, stopping and best
state.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from joblib import cpu_count

from svuprobe._progress import SILENT, Reporter
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.attention import AttentionBank
from svuprobe.probe.training.bank_run import Fitted, Run, Source
from svuprobe.probe.training.heads import CONCAT, WEIGHTED_SUM, Bank, Shape, Spec
from svuprobe.probe.training.layer_sets import bank_of
from svuprobe.probe.training.rates import looks, lost_rates
from svuprobe.probe.training.workers import Workers, matmul_rounding, unthreaded


def specs(protocol: Protocol, n_layers: int) -> list[Spec]:
    """Return the grid: weighted sum and single layers x learning rates x seeds.

    One layer needs no weighted sum. All layers one after the other are read where that is ranked.
    """
    layers = list(range(n_layers)) if protocol.single_layers or n_layers == 1 else []
    layers += [WEIGHTED_SUM] if n_layers > 1 else []
    layers += [CONCAT] if n_layers > 1 and protocol.select == "concat" else []
    grid = itertools.product(layers, protocol.learning_rates, range(protocol.seeds))
    return [Spec(*point) for point in grid]


def make_banks(
    source: Source, protocol: Protocol, dim: int, heads: Sequence[Spec] | None = None
) -> list[Bank]:
    """Put heads in banks that see the same batches, weighted sums first.

    ``heads`` are those of the grid where None.

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

    wanted = sorted(specs(protocol, n_layers) if heads is None else heads, key=family)
    banks: list[Bank] = []
    for _, together in itertools.groupby(wanted, key=family):
        if protocol.pooling == "attention":
            banks.append(AttentionBank(list(together), shape, source.device))
        else:
            banks.append(bank_of(list(together), shape, source.device))
    return banks


def fit(
    source: Source,
    protocol: Protocol,
    dim: int,
    reporter: Reporter = SILENT,
    matmul_precision: str = "float32",
    heads: Sequence[Spec] | None = None,
) -> list[Fitted]:
    """Train every head, of the grid where ``heads`` is None, until all have stopped.

    The bar counts heads that have stopped. A head learns the same whichever others train beside it:
    on a CPU an MLP with several outputs to the bit; of others a product for more heads may round
    the last digits otherwise.

    With the features in memory each bank is trained from its first epoch to its last, while its
    weights are in the cache of a core. Else all banks learn from a block before the next one takes
    its place. Where rates are searched by halving, banks of the same layers go from one look at the
    rates to the next together, and heads of stopped rates are not returned.
    """
    banks = make_banks(source, protocol, dim, heads)
    with (
        reporter.bar(sum(map(len, banks)), unit="head") as bar,
        unthreaded(source.device),
        matmul_rounding(matmul_precision),
        Workers(source.device) as workers,
    ):
        told = bar.update
        if not source.resident:
            return _together(banks, source, protocol, workers, told)
        if protocol.search == "halving":
            fitted = []
            for some in _of_same_layers(banks):
                fitted += _raced(some, source, protocol, workers, told)
            return fitted
        return list(
            workers.map(lambda bank: _alone(bank, source, protocol, workers.stop, told), banks)
        )


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
        told(run.advance(epoch + 1, stop))
    return _finished([run], told)[0]


def _of_same_layers(banks: Sequence[Bank]) -> Iterator[list[Bank]]:
    """Yield banks that are trained side by side: all of some layers, enough to keep cores busy."""
    some: list[Bank] = []
    for _, of_layers in itertools.groupby(banks, key=lambda bank: bank.layers):
        some += of_layers
        if len(some) >= 2 * cpu_count():
            yield some
            some = []
    if some:
        yield some


def _raced(
    banks: Sequence[Bank],
    source: Source,
    protocol: Protocol,
    workers: Workers,
    told: Callable[[int], Any],
) -> list[Fitted]:
    """Train banks side by side, from one look at their rates to the next."""
    runs = [Run(bank, source, protocol) for bank in banks]
    for until in looks(protocol.search, protocol.max_epochs):
        advance = partial(Run.advance, until=until, stop=workers.stop)
        for finished in workers.map(advance, runs):
            told(finished)
        told(_stop_losers(runs, until))
    return _finished(runs, told)


def _stop_losers(runs: Sequence[Run], epoch: int) -> int:
    """Stop rates that can no longer be chosen, in all runs; return how many heads still learnt."""
    protocol = runs[0].protocol
    if epoch == protocol.max_epochs:
        return 0
    heads = itertools.chain.from_iterable(run.so_far(epoch) for run in runs)
    grid = sorted({spec.learning_rate for run in runs for spec in run.whole.specs})
    lost = lost_rates(heads, grid, protocol.margin, runs[0].source.of_one_clip)
    return sum(run.stop(lost) for run in runs)


def _finished(runs: Sequence[Run], told: Callable[[int], Any]) -> list[Fitted]:
    told(sum(len(run.bank) for run in runs))
    return [run.finished() for run in runs]


def _together(
    banks: list[Bank],
    source: Source,
    protocol: Protocol,
    workers: Workers,
    told: Callable[[int], Any],
) -> list[Fitted]:
    """Train all banks in one pass over the disk per epoch; where each seed has its own clips, a
    seed at a time, or from one look at the rates to the next.
    """
    seeds = [0] if source.one_order else list(range(protocol.seeds))
    races = [seeds] if protocol.search == "halving" else [[seed] for seed in seeds]
    fitted = []
    for race in races:
        runs: dict[int, list[Run]] = {seed: [] for seed in race}
        for seed, bank in itertools.product(race, banks):
            if source.one_order or seed in bank.seeds:
                runs[seed].append(Run(bank, source, protocol))
        everyone = list(itertools.chain.from_iterable(runs.values()))
        epoch = 0
        for until in looks(protocol.search, protocol.max_epochs):
            for number, seed in itertools.product(range(epoch, until), race):
                living = [run for run in runs[seed] if len(run.bank)]
                if living:
                    sees = [run.see for run in living]
                    said = zip(*workers.over(source.epoch(number, seed), sees), strict=True)
                    for run, parts in zip(living, said, strict=True):
                        told(run.update(parts, number))
            told(_stop_losers(everyone, until))
            epoch = until
        fitted += _finished(everyone, told)
    return fitted
