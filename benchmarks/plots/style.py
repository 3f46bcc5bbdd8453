"""Share what all pictures have: colours, titles, panels, intervals, legends, names of layers.

Layers stand under their own names: ``input`` and the numbers of blocks for a transformer.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import FONT, picture
from svuprobe.benchmarks.leaderboard import is_share, model_title, task_title
from svuprobe.benchmarks.tables import part_of, pooled_by
from svuprobe.probe.naming import shown_name
from svuprobe.probe.result import Result
from svuprobe.probe.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": FONT,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "svuprobe",
    "figure.constrained_layout.use": True,
}
# Okabe & Ito's colours: told apart with any colour
# vision; line styles and markers tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# As many stay readable, and are drawn in seconds.
MOST_ROWS = 60
MOST_TICKS = 30
# An entry of a legend: its words, and how the mark beside them looks.
Look = dict[str, tuple[str, dict[str, Any]]]


def title(result: Result) -> str:
    return picture(model_title(result))


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
    """Return protocol, pooling, seeds and share of the training set, for a title."""
    seeds = len(result.ranked.per_seed)
    part = part_of(result.protocol.train_fraction) if of_part else ""
    pooled = pooled_by(result.protocol.pooling)
    synthetic = ", synthetic audio" if result.task.synthetic else ""
    return (
        f"protocol {picture(result.protocol.name)}{pooled}, {seeds} "
        f"seed{'s' * (seeds > 1)}{part}{synthetic}"
    )


def grid(
    figure: Figure, n: int, columns: int, width: float, height: float, **options: Any
) -> list[Axes]:
    """Return ``n`` panels in rows of up to ``columns``, each ``width`` x ``height`` inches.

    Titles and legends are extra.
    """
    columns = min(columns, n)
    rows = -(-n // columns)
    figure.set_size_inches(max(columns * width, 6.0), rows * height + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in panels[n:]:
        empty.set_visible(False)
    return list(panels[:n])


def headline(figure: Figure, text: str) -> None:
    """Write the title of the whole picture, on as many lines as its width needs."""
    # Inches that a letter takes at this size, about.
    figure.suptitle(textwrap.fill(text, int(figure.get_figwidth() / 0.095)), fontsize=11)


def extra_width(titles: Iterable[str]) -> float:
    """Return the inches that long names take beside an axis, beyond those of common ones."""
    return 0.09 * max(0, max(map(len, titles)) - 20)


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


def legend(figure: Figure, items: Look) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=text, **look) for text, look in items.values()]
    figure.legend(handles=handles, frameon=False, ncols=3, loc="outside lower center", fontsize=9)


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
    most: int = MOST_TICKS,
    end: int = 0,
    more: Sequence[Any] = (),
) -> None:
    """Set ticks of layers, thinned where there are many, slanted where the names are long.

    The axis reaches to layer ``end``, if that is more than there are; ``more`` is one tick more,
    place and name.
    """
    step = max(1, -(-max(len(labels), end) // most))
    places, names = [*range(0, len(labels), step)], [*labels[::step]]
    if more:
        places, names = [*places, more[0]], [*names, more[1]]
    long = are_long(labels)
    axes.set_xticks(places, names, rotation=45 if long else 0, ha="right" if long else "center")


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
