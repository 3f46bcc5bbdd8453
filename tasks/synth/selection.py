"""Choose which rows of an official list a small corpus takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Row = dict[str, str]

# After one clip of each class in each split: so many more in a round.
SHARES = {"train": 4, "valid": 1, "test": 1}


def spread(rows: Sequence[Row], label: str, clips: int) -> list[Row]:
    """Return ``clips`` rows of an official list, evenly: one of each label and split, then
    ``SHARES`` more.

    A longer selection begins with the shorter one.
    """
    seen: Counter[tuple[str, str]] = Counter()
    order = []
    for row in rows:
        cell = row[label], row["split"]
        # Where a row comes in its label and split, in rounds of its split's share.
        order.append((seen[cell] / SHARES[row["split"]], *cell, row))
        seen[cell] += 1
    return [row for *_, row in sorted(order, key=lambda place: place[:3])[:clips]]
