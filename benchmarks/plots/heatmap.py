"""Draw weights of layers: models x layers for each task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import style
from svuprobe.probe.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = {"softmax": "weights", "times_rms": "weights × RMS of what they weigh"}
# One hue, whose lightness falls from 98 to 21 (CIE L*): it survives greyscale.
COLOUR_MAP = "Blues"
_MOST_NUMBERS = 2000  # in the cells of a picture


def _axis_of(layers: Sequence[str]) -> str:
    """Return what the axis of layers says: of a transformer, what its first number is."""
    if layers[0] == "input" and all(re.fullmatch(r"block\d+", name) for name in layers[1:]):
        return "layer (input of the first block, then block outputs)"
    return "layer"


def draw(figure: Figure, results: list[Result], quantity: str) -> None:
    """Draw models x layers for each task.

    Every panel has the same rows, so that a model is found at one height; what is not there stays
    white.
    """
    tasks = style.by_task(results)
    # Models before controls, each group by name; a model of several tasks has one row.
    rows_of = sorted({(result.model.control, style.title(result)) for result in results})
    titles = [title for _, title in rows_of]
    several, titles = len(titles), titles[: style.MOST_ROWS]
    # The axis of the deepest model has room for the layers of all.
    longest = max((r.model.layer_names for r in results), key=len)
    # One axis for all: where models name their layers otherwise, by number.
    alike = all(r.model.layer_names == longest[: len(r.model.layer_names)] for r in results)
    labels = style.layer_ticks(longest) if alike else [str(n) for n in range(len(longest))]
    words = (
        _axis_of(longest)
        if alike
        else "layer, counted from 0: models name theirs otherwise, see the CSV"
    )
    # One scale of colours for all panels; all zeros would be no scale at all.
    top = 1e-12
    for result in results:
        top = max(top, float(np.mean(getattr(result.layer_weights, quantity), axis=0).max()))
    columns = 1 if len(tasks) < 4 else 2
    # A panel is as wide as its layers, and at least as its title.
    title = max(len(picture(task_title(r))) for r in results)
    width = (
        max(0.37 * len(longest), 0.085 * title)
        + (2.6 if columns == 1 else 1.3)
        + style.extra_width(titles)
        + 0.8 * style.are_long(labels)
    )
    # Beyond, they would be too small to read and slow to draw.
    numbers = len(tasks) * len(titles) * len(longest) <= _MOST_NUMBERS
    height = 0.75 + 0.3 * len(titles) + 0.8 * style.are_long(labels)
    panels = style.grid(figure, len(tasks), columns, width, height, sharex=True, sharey=True)
    for axes, same in zip(panels, tasks, strict=True):
        # NaN is drawn as nothing: a layer that a model does not have is no weight of 0.
        table = np.full((len(titles), len(longest)), np.nan)
        for r in same:
            if style.title(r) not in titles:
                continue
            share = np.mean(getattr(r.layer_weights, quantity), axis=0)  # over seeds
            row = titles.index(style.title(r))
            table[row, : len(share)] = share
            _weights_row(axes, r, row, share if numbers else [], top)
        image = axes.imshow(table, cmap=COLOUR_MAP, vmin=0, vmax=top, aspect="auto")
        axes.set_title(picture(task_title(same[0])), loc="left", fontsize=10)
        style.set_layer_ticks(axes, labels)
        axes.set_yticks(range(len(titles)), titles)
        axes.tick_params(length=0, labelbottom=True)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label("%")
    bar.outline.set_visible(False)
    part = f"; {len(titles)} of {several} models, the others are in the CSV" * (
        several > len(titles)
    )
    style.headline(
        figure, f"Layer {QUANTITIES[quantity]} in per cent: {style.conditions(results[0])}{part}"
    )
    figure.supxlabel(f"{words}; framed: best single layer on validation", fontsize=9)


def _weights_row(axes: Axes, result: Result, row: int, share: Iterable[float], top: float) -> None:
    """Write the numbers of a model, and frame the layer whose own head is best on validation."""
    from matplotlib.patches import Rectangle

    for n, value in enumerate(share):
        # White on dark cells: the map's lightness falls with the value.
        colour = "white" if value > 0.45 * top else "black"
        axes.text(n, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    # None where single layers had no heads of their own, as in fine-tuning.
    if best := result.best_layer:
        corner = result.model.layer_names.index(best) - 0.46, row - 0.46
        axes.add_patch(
            Rectangle(corner, 0.92, 0.92, fill=False, ec=style.COLOURS[1], lw=1.8, zorder=3)
        )


def rows(results: list[Result]) -> list[dict[str, Any]]:
    """Return the lines of the CSV: one for each layer of each seed."""
    lines = []
    for r in results:
        by_seed = zip(r.layer_weights.softmax, r.layer_weights.times_rms, strict=False)
        for seed, (weights, times) in enumerate(by_seed):
            for name, weight, sized in zip(r.model.layer_names, weights, times, strict=True):
                dropped = r.layer_drop.get(name, ())[seed : seed + 1]  # leaving this layer out
                row = {"seed": seed, "layer": name, "weight": weight, "times_rms": sized}
                lines.append(style.named(r) | row | {"drop": dropped[0] if dropped else None})
    return lines
