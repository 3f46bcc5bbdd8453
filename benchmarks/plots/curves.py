"""Draw curves over layers: the score of a head on each single layer, a panel per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import layout, style
from svuprobe.benchmarks.plots.looks import Looks
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import both_ends, mean_over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 24  # and models of one layer beside them, which are lines in every panel
_MOST_FLAT = 8
_OTHER: dict[str, Any] = {"color": "0.8", "lw": 1}
_LABELS = 0.75  # inches of a panel that its axis of scores takes


def draw(figure: Figure, results: list[Result], looks: Looks) -> None:
    """Draw a panel per model of several layers; front ends of one layer are lines in each panel."""
    layered = [r for r in results if len(r.layer_curve) > 1]
    flat = [r for r in results if len(r.layer_curve) < 2 and r.ranked.mean is not None]
    # The best are shown, in the order in which they came: neighbours stay neighbours.
    shown = _in_order(layered, style.best_first(layered)[:_MOST_PANELS])
    flat = _in_order(flat, style.best_first(flat)[:_MOST_FLAT])
    # One axis for all panels, as long as the deepest model, so that a layer is at one place.
    end = max(len(r.model.layer_names) for r in shown)
    columns, width, height = _panel_size(len(shown))
    titles = [looks.name(result) for result in shown]
    height += layout.title_height(titles, width - _LABELS)
    if any(style.are_long(style.layer_ticks(r.model.layer_names)) for r in shown):
        height += 0.6
    # One scale of scores, since the panels are there to be compared.
    panels = layout.grid(figure, len(shown), columns, width, height, sharey=True)
    for n, (axes, result) in enumerate(zip(panels, shown, strict=True)):
        _background(axes, result, shown, flat, looks)
        _curve(axes, result, end, looks)
        unit_width = (width - _LABELS) / (_sum_at(end) + 1.2)
        ticks = style.layer_ticks(result.model.layer_names)
        style.set_layer_ticks(axes, ticks, unit_width, more=(_sum_at(end), "sum"))
        axes.set_xlim(-0.6, _sum_at(end) + 0.6)
        layout.panel_title(axes, looks.name(result), width - _LABELS)
        if n % columns == 0:
            axes.set_ylabel(f"test {style.unit(result.task.ranked)[1]}")
        if n + columns >= len(shown):
            axes.set_xlabel("single layer; weighted sum")
    layout.legend(figure, _legend_entries(shown, flat, looks))
    part = style.left_out(len(layered), len(shown))
    task = picture(task_title(results[0]))
    layout.headline(figure, f"Layer curves, {task}: {style.conditions(results[0])}{part}")


def _panel_size(panels: int) -> tuple[int, float, float]:
    """Return how many columns there are, and the inches of a panel without its title."""
    if panels == 1:
        return 1, 8.0, 3.2
    if panels <= 9:
        return min(3, panels), 4.6, 3.1
    return 4, 4.0, 2.5


def _background(
    axes: Axes, result: Result, shown: Sequence[Result], flat: Sequence[Result], looks: Looks
) -> None:
    """Draw what a model is compared with: the other models, those of one layer, and chance."""
    factor, _ = style.unit(result.task.ranked)
    for other in shown:
        if other is not result:
            axes.plot(factor * _curve_of(other)[0], **_OTHER, zorder=1)
    for one_layer in flat:
        at = factor * style.ranked_mean(one_layer)
        axes.axhline(at, **looks.of(one_layer).line, lw=1.3, zorder=1)
    if (chance := style.chance(result)) is not None:
        axes.axhline(factor * chance, **style.CHANCE, zorder=0)


def _in_order(results: Sequence[Result], chosen: Sequence[Result]) -> list[Result]:
    """Return those that were chosen, in the order of all."""
    ids = {id(r) for r in chosen}
    return [r for r in results if id(r) in ids]


def _legend_entries(
    shown: Sequence[Result], flat: Sequence[Result], looks: Looks
) -> layout.Entries:
    """Return the legend's entries, of what is drawn alone."""
    neutral: dict[str, Any] = {"color": style.NEUTRAL}
    items = {
        "curve": ("single layer ± std over seeds", neutral | {"marker": "o", "ms": 4}),
        "sum": ("weighted sum ± std over seeds", neutral | {"ls": "", "marker": "s"}),
    }
    if any(r.best_layer for r in shown):
        ring = {"color": "black", "ls": "", "marker": "o", "mfc": "none", "ms": 10}
        items["best"] = "best layer on validation", ring
    if any(any(r.layer_ci95.values()) or r.ranked.interval for r in shown):
        items["interval"] = style.interval_words(shown), neutral | {"lw": 7, "alpha": 0.2}
    if len(shown) > 1:
        items["other"] = "the other models", _OTHER
    for n, result in enumerate(flat):
        items[f"flat{n}"] = looks.name(result), looks.of(result).line
    if any(style.chance(r) is not None for r in shown):
        items["chance"] = "chance", style.CHANCE
    return items


def _sum_at(end: int) -> float:
    """Return where the weighted sum stands, beyond the last layer."""
    return 1.08 * end - 0.5


def _curve_of(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std over seeds at each layer of the model: (L,) each, NaN where there is
    none.
    """
    mean, std = np.full((2, len(result.model.layer_names)), np.nan)
    for n, name in enumerate(result.model.layer_names):
        values = result.layer_curve.get(name, ())
        # Undefined as soon as one seed is: a mean of the others would be of other heads.
        known = mean_over_seeds(values)
        if known is not None:
            mean[n] = known
            std[n] = np.std(np.array(values, dtype=float), ddof=1) if len(values) > 1 else np.nan
    return mean, std


def _curve(axes: Axes, result: Result, end: int, looks: Looks) -> None:
    """Draw one model in its panel."""
    factor, _ = style.unit(result.task.ranked)
    mean, std = _curve_of(result)
    names, place, look = result.model.layer_names, np.arange(len(mean)), looks.of(result)
    colour = look.colour
    if any(result.layer_ci95.values()):
        ends = np.array(
            [both_ends(result.layer_ci95.get(name)) or (np.nan, np.nan) for name in names],
            dtype=float,
        )
        axes.fill_between(place, *(factor * ends.T), color=colour, alpha=0.2, lw=0)
    axes.errorbar(
        place,
        factor * mean,
        factor * std,
        color=colour,
        marker="o",
        mfc=look.face,
        ms=4,
        capsize=2,
        lw=1.5,
        elinewidth=1.2,
    )
    if best := result.best_layer:
        at = names.index(best)
        axes.plot(at, factor * mean[at], "o", mec="black", mfc="none", ms=10, mew=1.4)
    if math.isnan(style.ranked_mean(result)):
        # Upright over its tick, where nothing else is drawn.
        there = axes.get_xaxis_transform()
        axes.text(
            _sum_at(end),
            0.5,
            "undefined",
            transform=there,
            rotation=90,
            ha="center",
            va="center",
            fontsize=layout.SMALL,
            color="0.35",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
    style.draw_interval(axes, result.ranked, _sum_at(end), factor, colour)
    mean_of_sum = factor * style.ranked_mean(result)
    axes.plot(_sum_at(end), mean_of_sum, "s", color=colour, mfc=look.face, ms=6)


def rows(results: list[Result]) -> list[dict[str, Any]]:
    """Return the lines of the CSV: one for each seed of each layer."""
    lines = []
    for r in results:
        for name, several in r.layer_curve.items():
            low, high = r.layer_ci95.get(name) or (None, None)
            for seed, score in enumerate(several):
                row = {"layer": name, "seed": seed, r.task.ranked: score}
                lines.append(style.named(r) | row | {"ci95_low": low, "ci95_high": high})
    return lines
