"""Share what pictures of results have: conditions, intervals, names of layers, columns of a CSV.

Layers stand under their own names: ``input`` and the numbers of blocks for a transformer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import FONT, picture
from svuprobe.benchmarks.leaderboard import is_share, task_title
from svuprobe.benchmarks.plots import layout
from svuprobe.benchmarks.tables import part_of, pooled_by
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

STYLE: dict[Any, Any] = {
    "font.size": layout.TITLE,
    "font.family": FONT,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "svuprobe",
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
}
# Of marks in a legend that stand for those of every model.
NEUTRAL = "0.25"
CHANCE: dict[str, Any] = {"color": "0.5", "lw": 1.8, "ls": (0, (1, 1.2))}
# As many stay readable, and are drawn in seconds.
MOST_ROWS = 60


def ranked_mean(result: Result) -> float:
    """Return the ranked score; NaN where it is undefined, which is drawn as nothing."""
    return math.nan if result.ranked.mean is None else result.ranked.mean


def best_first(results: Iterable[Result]) -> list[Result]:
    """Return results best first, and what is undefined last."""
    return sorted(
        results, key=lambda r: math.inf if math.isnan(ranked_mean(r)) else -ranked_mean(r)
    )


def left_out(several: int, drawn: int) -> str:
    return (
        f"; the best {drawn} of {several} models, the others are in the CSV"
        if several > drawn
        else ""
    )


def _comparable(result: Result) -> tuple[Any, ...]:
    return result.task.comparable


def by_task(results: Sequence[Result]) -> list[list[Result]]:
    return [list(same) for _, same in groupby(sorted(results, key=_comparable), key=_comparable)]


def unit(metric: str) -> tuple[float, str]:
    """Return factor and label of an axis: per cent where the leaderboard has per cent."""
    return (100.0, f"{picture(metric)} (%)") if is_share(metric) else (1.0, picture(metric))


def conditions(result: Result, of_part: bool = True) -> str:
    """Return protocol, pooling, folds, seeds and share of the training set, for a title."""
    seeds = len(result.ranked.per_seed)
    part = part_of(result.protocol.train_fraction) if of_part else ""
    pooled = pooled_by(result.protocol.pooling)
    synthetic = ", synthetic audio" if result.task.synthetic else ""
    folds = f", {result.task.folds} folds" if result.task.folds else ""
    return (
        f"protocol {picture(result.protocol.name)}{pooled}{folds}, {seeds} "
        f"seed{'s' * (seeds > 1)}{part}{synthetic}"
    )


def draw_interval(
    axes: Axes, score: Score, at: float, factor: float, colour: str, vertical: bool = True
) -> None:
    """Draw the 95 % interval thin with caps, and the std over seeds thick, where there are any."""
    mean, std = score.mean, score.std
    if mean is None:
        return
    line, across = (axes.vlines, "_") if vertical else (axes.hlines, "|")
    if std is not None:
        line(at, factor * (mean - std), factor * (mean + std), colors=colour, lw=6, alpha=0.35)
    if score.interval is not None:
        ends = factor * np.array(score.interval)
        line(at, ends[0], ends[1], colors=colour, lw=1.2)
        places = ([at, at], ends) if vertical else (ends, [at, at])
        axes.plot(*places, across, color=colour, ms=7)


def interval_words(results: Sequence[Result]) -> str:
    """Return what an interval is over: groups that are tested, of one split or of all folds."""
    folded = all(result.task.folds for result in results)
    return f"95 % interval over {'groups of all folds' if folded else 'test groups'}"


def interval_entries(results: Sequence[Result]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the entries of a legend for what `draw_interval` draws, where there is any."""
    items: dict[str, tuple[str, dict[str, Any]]] = {}
    if any(r.ranked.interval for r in results):
        items["thin"] = interval_words(results), {"color": NEUTRAL, "lw": 1.2}
    if any(r.ranked.std is not None for r in results):
        items["thick"] = "± std over seeds", {"color": NEUTRAL, "lw": 6, "alpha": 0.35}
    return items


def grey_controls(labels: Sequence[Text], controls: Sequence[bool]) -> None:
    """Set the names of controls in grey, beside an axis of models."""
    # Inner panels of a shared axis have no labels.
    for text, control in zip(labels, controls, strict=False):
        text.set_color("0.4" if control else "black")


def chance(result: Result) -> float | None:
    return result.chance[result.task.ranked]


def layer_ticks(names: Sequence[str]) -> list[str]:
    """Return layers under their own names; blocks of a transformer as numbers."""
    found = []
    for name in names:
        block = re.fullmatch(r"block0*(\d+)", name)
        found.append(block[1] if block else picture(name, 14))
    return found


def set_layer_ticks(
    axes: Axes,
    labels: Sequence[str],
    unit_width: float,
    size: float = layout.LABEL,
    more: Sequence[Any] = (),
) -> None:
    """Set ticks of layers, slanted where the names are long, thinned where they would touch.

    ``unit_width`` is the inches from one layer to the next; ``more`` is one tick more, place and
    name.
    """
    long = are_long(labels)
    step = layout.step_that_fits(labels, unit_width, size, slanted=long)
    places, names = [*range(0, len(labels), step)], [*labels[::step]]
    if more:
        places, names = [*places, more[0]], [*names, more[1]]
    axes.set_xticks(
        places,
        names,
        fontsize=size,
        rotation=45 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else None,
    )


def are_long(labels: Sequence[str]) -> bool:
    """Tell whether ticks have to be slanted, which takes more height."""
    return max(map(len, labels)) > 5


def named(result: Result) -> dict[str, Any]:
    """Return the columns that every line of a CSV begins with."""
    return {
        "task": task_title(result),
        "model": shown_name(result),
        "revision": result.model.revision,
    }
