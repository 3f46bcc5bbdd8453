"""Choose a learning rate by validation, and tell which can no longer be chosen: ``search =
"halving"``.

Training a whole grid to its end spends most of its time on rates that lose: of five rates one is
chosen, and each head goes on for ``patience`` epochs after its best. A rate is stopped, for all its
seeds at once, as soon as it would not be chosen even if it alone went on to gain what its heads may
still gain. The chosen rate is the middle one of those within a margin of the best (`best_rate`),
and that rule is asked, not only which is best: a rate at the edge has to overtake by a margin, and
is out of the race earlier than one in the middle.

What a head may gain (`reach`):

- It falls with the square of the patience it has left, and is nothing once it has finished. What a
  head has gained so far says little of that: a few clips of validation jump.
- A rate above the one that would be chosen may gain four times as much: rates fall where
  validation stays on a plateau, and heads of high rates get better when they do.
- It is three clips of validation. Frames are monitored by their loss, in which nobody knows what a
  clip is worth or the margin of the choice: there it is a quarter of what the head gained in the
  second half of its epochs, and a rate nearer to the middle of the grid is never stopped.

The first look is after the seventh epoch: earlier the order of rates is that of how fast they
start. These numbers were found by replaying recorded validation curves: 40 searches of five rates,
120 layers and weighted sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from svuprobe.probe.protocol_fields import FIRST_LOOK

_CLIPS = 3.0  # of validation that a head with all its patience may gain
_SHARE = 0.25  # of what it gained since half as many epochs, where a loss is monitored
_ABOVE = 4.0  # times as much may heads of rates above the chosen one gain


def best_rate(means: Mapping[float, float], known_to: float = 0.0) -> float:
    """Return the rate with the best score; of those within ``known_to`` of it, the grid's middle
    one.

    A small validation split gives many rates the same score, give or take a clip, and the best of
    them by chance is as likely at the edge of the grid, where heads hardly learn or jump, as
    anywhere.
    """
    rates = sorted(means)
    best = max(rates, key=lambda rate: means[rate])
    if not known_to:
        return best
    alike = [n for n, rate in enumerate(rates) if means[rate] >= means[best] - known_to]
    middle = (len(rates) - 1) / 2
    return rates[min(alike, key=lambda n: (abs(n - middle), -means[rates[n]]))]


def looks(search: str, max_epochs: int) -> Iterator[int]:
    """Yield the numbers of epochs after which a search looks at the rates, and at last the most."""
    if search == "halving":
        yield from range(FIRST_LOOK, max_epochs)
    yield max_epochs


class SoFar(NamedTuple):
    """Hold what validation has said of one head.

    Attributes
    ----------
    best
        Its best score so far, minus infinity where it has none.
    gained
        How much of that since half as many epochs.
    patience_left
        From 1 after an epoch that was its best to 0 where it has finished.
    """

    layer: int
    learning_rate: float
    best: float
    gained: float
    patience_left: float


def reach(head: SoFar, of_one_clip: float | None) -> float:
    """Return what a head may still gain, at a rate that isn't above the chosen one.

    ``of_one_clip`` as for `lost_rates`.

    Example
    -------
    >>> reach(SoFar(0, 1e-2, best=0.8, gained=0.1, patience_left=0.5), of_one_clip=0.01)
    0.0075
    """
    if not np.isfinite(head.best):  # it diverged
        return 0.0
    most = _SHARE * head.gained if of_one_clip is None else _CLIPS * of_one_clip
    return most * head.patience_left**2


def out_of_the_race(
    scores: Mapping[float, float],
    reaches: Mapping[float, float],
    rates: Sequence[float],
    known_to: float | None,
) -> list[float]:
    """Return the rates in the race that can't be chosen any more.

    Parameters
    ----------
    scores, reaches
        Of each rate in the race, means over its seeds: the best validation score so far, and what
        heads may still gain.
    rates
        The whole grid, which has the middle.
    known_to
        What validation knows a score to, as for `best_rate`; None where the choice will be by
        another score than the one that is monitored.

    Example
    -------
    >>> scores, reaches = {1e-3: 0.50, 1e-2: 0.80, 1e-1: 0.79}, {1e-3: 0.0, 1e-2: 0.0, 1e-1: 0.01}
    >>> out_of_the_race(scores, reaches, [1e-3, 1e-2, 1e-1], known_to=0.01)
    [0.001]
    """
    rates, margin = sorted(rates), known_to or 0.0
    # Rates that are out keep their place in the grid, and can't be chosen.
    means = {rate: scores.get(rate, -np.inf) for rate in rates}
    chosen = best_rate(means, margin)

    def from_the_middle(rate: float) -> float:
        return abs(rates.index(rate) - (len(rates) - 1) / 2)

    out = []
    for rate, score in scores.items():
        if rate == chosen:
            continue
        if known_to is None and from_the_middle(rate) < from_the_middle(chosen):
            continue
        gain = reaches[rate] * (_ABOVE if rate > chosen else 1.0)
        if best_rate({**means, rate: score + gain}, margin) != rate:
            out.append(rate)
    return out


def lost_rates(
    heads: Iterable[SoFar], grid: Sequence[float], margin: float, of_one_clip: float | None
) -> set[tuple[int, float]]:
    """Return the layers with their rates that are to stop, from all heads in the race.

    A rate whose heads have all finished costs nothing more, and stays for the choice.

    Parameters
    ----------
    margin
        Clips of validation that the choice is known to.
    of_one_clip
        What one of them is worth in the scores; None where these are of a loss.
    """
    known_to = None if of_one_clip is None else margin * of_one_clip
    of_layers: dict[int, dict[float, list[SoFar]]] = {}
    for head in heads:
        of_layers.setdefault(head.layer, {}).setdefault(head.learning_rate, []).append(head)
    lost = set()
    for layer, rates in of_layers.items():
        scores, reaches = {}, {}
        for rate, of_seeds in rates.items():
            scores[rate] = float(np.mean([head.best for head in of_seeds]))
            reaches[rate] = float(np.mean([reach(head, of_one_clip) for head in of_seeds]))
        for rate in out_of_the_race(scores, reaches, grid, known_to):
            if any(head.patience_left for head in rates[rate]):
                lost.add((layer, rate))
    return lost
