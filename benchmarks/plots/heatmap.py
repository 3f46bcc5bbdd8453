"""Draw weights of layers: models x layers for each task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import layout, style
from svuprobe.benchmarks.plots.looks import COLOURS, Looks
from svuprobe.probe.results.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

QUANTITIES = {"softmax": "weights", "times_rms": "weights × RMS of what they weigh"}
# One hue, whose lightness falls from 98 to 21 (CIE L*): it survives greyscale.
COLOUR_MAP = "Blues"
FRAME = COLOURS[1]  # told apart from every shade of the map
_MOST_NUMBERS = 2000  # in the cells of a picture
_ROW, _CELL = 0.3, 0.37  # inches of a model, and of a layer
_ROW_OF_MANY, _MANY = 0.2, 20
_LEAST_CELLS = 2.4  # inches of a panel, in which a title has room


def _axis_of(layers: Sequence[str]) -> str:
    """Return what the axis of layers says: of a transformer, what its first number is."""
    if layers[0] == "input" and all(re.fullmatch(r"block\d+", name) for name in layers[1:]):
        return "layer (input of the first block, then block outputs)"
    return "layer"


def draw(figure: Figure, results: list[Result], looks: Looks, quantity: str) -> None:
    """Draw models x layers for each task.

    Every panel has the same rows, so that a model is found at one height; what is not there stays
    white.
    """
    tasks = style.by_task(results)
    names, controls, several = _rows_of(results, looks)
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
    # Beyond, they would be too small to read and slow to draw; then colours alone tell.
    numbers = len(tasks) * len(names) * len(longest) <= _MOST_NUMBERS
    row, size = (_ROW, layout.TITLE) if len(names) <= _MANY else (_ROW_OF_MANY, layout.SMALL)
    cells = max(_CELL * len(longest), _LEAST_CELLS)
    titles = [picture(task_title(same[0])) for same in tasks]
    width = cells + layout.widest(names, size) + 0.4
    height = 0.55 + row * len(names) + layout.title_height(titles, cells)
    height += 0.6 * style.are_long(labels)
    columns = layout.columns_for(len(tasks), width, height, 1 if len(tasks) < 4 else 2)
    panels = layout.grid(figure, len(tasks), columns, width, height, sharex=True, sharey=True)
    for axes, same, title in zip(panels, tasks, titles, strict=True):
        # NaN is drawn as nothing: a layer that a model does not have is no weight of 0.
        table = np.full((len(names), len(longest)), np.nan)
        for r in same:
            if looks.name(r) not in names:
                continue
            share = np.mean(getattr(r.layer_weights, quantity), axis=0)  # over seeds
            at = names.index(looks.name(r))
            table[at, : len(share)] = share
            _weights_row(axes, r, at, share if numbers else [], top)
        image = axes.imshow(table, cmap=COLOUR_MAP, vmin=0, vmax=top, aspect="auto")
        layout.panel_title(axes, title, cells)
        style.set_layer_ticks(axes, labels, cells / len(longest))
        axes.set_yticks(range(len(names)), names, fontsize=size)
        style.grey_controls(axes.get_yticklabels(), controls)
        axes.tick_params(length=0, labelbottom=True)
        axes.spines[:].set_visible(False)
    if not numbers:
        _colour_bar(figure, image, panels)
    if any(result.best_layer for result in results):
        words += "; framed: best single layer on validation"
    layout.footnote(figure, words)
    part = f"; {len(names)} of {several} models, the others are in the CSV" * (several > len(names))
    layout.headline(
        figure, f"Layer {QUANTITIES[quantity]} in per cent: {style.conditions(results[0])}{part}"
    )


def _rows_of(results: list[Result], looks: Looks) -> tuple[list[str], list[bool], int]:
    """Return the names of the rows, which of them are controls, and how many models there are."""
    # Models before controls, each group by name; a model of several tasks has one row.
    rows_of = sorted({(result.model.control, looks.name(result)) for result in results})
    shown = rows_of[: style.MOST_ROWS]
    return [name for _, name in shown], [control for control, _ in shown], len(rows_of)


def _colour_bar(figure: Figure, image: AxesImage, panels: Sequence[Axes]) -> None:
    """Draw the scale of colours beside the panels."""
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label("%")
    bar.outline.set_visible(False)
    figure.set_figwidth(figure.get_figwidth() + 0.9)


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
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=FRAME, lw=1.8, zorder=3))


def rows(results: list[Result]) -> list[dict[str, Any]]:
    """Return the lines of the CSV: one for each layer of each seed."""
    lines = []
    for r in results:
        assert r.layer_weights is not None  # others have nothing to draw
        by_seed = zip(r.layer_weights.softmax, r.layer_weights.times_rms, strict=False)
        for seed, (weights, times) in enumerate(by_seed):
            for name, weight, sized in zip(r.model.layer_names, weights, times, strict=True):
                dropped = r.layer_drop.get(name, ())[seed : seed + 1]  # leaving this layer out
                row = {"seed": seed, "layer": name, "weight": weight, "times_rms": sized}
                lines.append(style.named(r) | row | {"drop": dropped[0] if dropped else None})
    return lines
