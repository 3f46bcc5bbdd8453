"""Choose a learning rate by validation, and tell which can no longer be chosen: ``search =
"halving"``.

Training a whole grid to its end spends most of its time on rates that lose: of five rates one is
chosen, and each head goes on for ``patience`` epochs after its best. A rate is stopped, for all its
seeds at once, as soon as it would not be chosen even if it alone went on to gain what is left to
gain.

What is left to gain is taken to be one ``margin`` of the protocol and a quarter (`_SHARE`) of what
the rate gained in the second half of its epochs so far: curves of validation flatten. The chosen
rate is the middle one of those within a margin of the best (`best_rate`), and that rule is asked,
not only which is best: a rate at the edge has to overtake by a margin, and is out of the race
earlier than one in the middle.

The schedule was found by replaying recorded validation curves: 40 searches of five rates on short
recordings, 90 layers and weighted sums. With it the grid's rate was chosen for 80 of the 90 (38 of
the 40 heads that are ranked), in 2.2 times fewer epochs of heads. Half the margin makes that 73 and
2.6 times, twice the share 82 and 2.0, a first look after the third epoch 78 and 2.4, after the
sixth 82 and 1.9. Keeping the better half after epochs 4, 8 and 16, as successive halving does,
chose another rate for 31 of 72 layers: few clips of validation order rates of equal worth by
chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# The first look at the rates, and epochs between two looks. Before the fourth epoch the order of
# rates is that of how fast they start.
FIRST_LOOK, BETWEEN_LOOKS = 4, 2
_SHARE = 0.25  # of what a rate gained since half as many epochs


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
        yield from range(FIRST_LOOK, max_epochs, BETWEEN_LOOKS)
    yield max_epochs


def out_of_the_race(
    now: Mapping[float, float],
    before: Mapping[float, float],
    rates: Sequence[float],
    known_to: float,
) -> list[float]:
    """Return the rates in the race that can't be chosen any more.

    Parameters
    ----------
    now, before
        Of each rate in the race, the mean over seeds of the best validation score so far, and of
        that after half as many epochs; minus infinity where the head of a seed has none.
    rates
        The whole grid, which has the middle.
    known_to
        What validation knows a score to, as for `best_rate`.

    Example
    -------
    >>> now, before = {1e-3: 0.50, 1e-2: 0.80, 1e-1: 0.79}, {1e-3: 0.46, 1e-2: 0.70, 1e-1: 0.75}
    >>> out_of_the_race(now, before, [1e-3, 1e-2, 1e-1], known_to=0.01)
    [0.001, 0.1]
    """
    # Rates that are out keep their place in the grid, and can't be chosen.
    means = {rate: now.get(rate, -np.inf) for rate in rates}
    chosen = best_rate(means, known_to)
    out = []
    for rate, score in now.items():
        if rate == chosen:
            continue
        # A rate at which a head diverged has nothing to gain.
        gained = max(0.0, score - before[rate]) if np.isfinite(score) else 0.0
        hoped = {**means, rate: score + known_to + _SHARE * gained}
        if best_rate(hoped, known_to) != rate:
            out.append(rate)
    return out


class SoFar(NamedTuple):
    """Hold what validation has said of one head: its best score so far, and in half as many
    epochs.
    """

    layer: int
    learning_rate: float
    best: float
    before: float
    learns: bool  # whether it has not finished by itself


def lost_rates(
    heads: Iterable[SoFar], grid: Sequence[float], known_to: float
) -> set[tuple[int, float]]:
    """Return the layers with their rates that are to stop, from all heads in the race.

    A rate whose heads have all finished costs nothing more, and stays for the choice.
    """
    of_layers: dict[int, dict[float, list[SoFar]]] = {}
    for head in heads:
        of_layers.setdefault(head.layer, {}).setdefault(head.learning_rate, []).append(head)
    lost = set()
    for layer, rates in of_layers.items():
        now, before = {}, {}
        for rate, of_seeds in rates.items():
            now[rate] = float(np.mean([head.best for head in of_seeds]))
            before[rate] = float(np.mean([head.before for head in of_seeds]))
        for rate in out_of_the_race(now, before, grid, known_to):
            if any(head.learns for head in rates[rate]):
                lost.add((layer, rate))
    return lost
