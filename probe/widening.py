"""Try settings beyond the edge of a grid that validation likes best.

Where the best learning rate of a layer lies depends on the size of its features, of the training
set and of the head: no grid holds it everywhere, and how wide one was made must not decide a score.
Where the choice of a layer is the outermost rate that was tried, heads at the next one outside are
trained, as far from it as the last two rates of the grid are from each other, and the choice is
made again among all. It ends when a rate on either side of the choice was tried, or
`Protocol.widen` of them beyond an edge.

All of it asks validation alone. Heads inside the grid are left as they are, so a layer whose choice
lies inside has the heads it would have without, and one whose choice stays has its scores. A new
head starts, sees batches and drops units as every head of its seed (`svuprobe.probe.training`): it
is the one that a wider grid would have trained. What is tried beyond the edge has nothing to race
against where rates are searched by halving, and trains to its end.

Neighbours (``knn``) are not among it: fewer than one nobody asks, and how many there are ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import mul

from svuprobe._progress import SILENT, Reporter
from svuprobe.probe import evaluate
from svuprobe.probe.evaluate import Choice, Features
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.protocol_fields import GRIDS
from svuprobe.probe.training.bank_run import Fitted
from svuprobe.probe.training.heads import Spec

Train = Callable[[Sequence[Spec], Reporter], list[Fitted]]


def search(
    features: Features, heads: Sequence[Spec], train: Train, reporter: Reporter = SILENT
) -> tuple[list[Fitted], dict[int, Choice]]:
    """Train heads and choose a rate for each layer; go on beyond the edges that were chosen.

    Parameters
    ----------
    heads
        Those of the grid.
    train
        Trains heads to their best states.

    Returns
    -------
    fitted, choices
        All heads that were trained; by layer, the choice among them.
    """
    protocol = features.protocol
    rates = widened(protocol)
    fitted = train(heads, reporter)
    scores = evaluate.rate_scores(features, fitted, reporter)
    choices = evaluate.select(features, scores)
    tried = {layer: set(protocol.grid) for layer in choices}
    reporter = reporter.titled(f"{reporter.title}, beyond the grid")
    while True:
        more = []
        for layer, choice in choices.items():
            for rate in untried(rates, choice.learning_rate, tried[layer]):
                tried[layer].add(rate)
                more += [Spec(layer, rate, seed) for seed in range(protocol.draws)]
        if not more:
            break
        outside = train(more, reporter)
        fitted += outside
        for layer, of_rates in evaluate.rate_scores(features, outside, reporter).items():
            scores[layer] |= of_rates
        choices = evaluate.select(features, scores)
    for layer, choice in choices.items():
        if len(tried[layer]) > len(protocol.grid):
            choices[layer] = replace(choice, tried=tuple(sorted(tried[layer])))
    return fitted, choices


def widened(protocol: Protocol) -> list[float]:
    """Return the grid, ascending, with all that may be tried beyond its edges.

    One value has no ratio to another, and stays alone.

    Example
    -------
    >>> widened(Protocol(learning_rates=(1e-3, 1e-2, 2e-2), widen=2))
    [1e-05, 0.0001, 0.001, 0.01, 0.02, 0.04, 0.08]
    """
    grid = sorted(protocol.grid)
    if len(grid) < 2:
        return grid
    low, high = GRIDS["learning_rates" if protocol.head == "network" else "strengths"]
    rates = set(grid)
    for edge, next_to_it in ((grid[0], grid[1]), (grid[-1], grid[-2])):
        for rate in accumulate([edge, *[edge / next_to_it] * protocol.widen], mul):
            # 0.3 / 0.1 is 2.9999999999999996, and a rate is written as a user would.
            written = float(f"{rate:.12g}")
            if grid[0] <= rate <= grid[-1] or not low <= written <= high:
                continue
            rates.add(written)
    return sorted(rates)


def untried(rates: Sequence[float], chosen: float, tried: Container[float]) -> list[float]:
    """Return the neighbours of a chosen rate, among those that may be tried, that were not."""
    place = rates.index(chosen)
    return [rate for rate in rates[max(place - 1, 0) : place + 2] if rate not in tried]
