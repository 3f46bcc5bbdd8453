"""Draw curves over layers: the score of a head on each single layer, a panel per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import style
from svuprobe.probe.result import Result
from svuprobe.probe.score import both_ends, mean_over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 24  # and models of one layer beside them, which are lines in every panel
_MOST_FLAT = 8
_DASHES = ((7, 3), (1, 2), (7, 2, 1, 2), (3, 3))


def draw(figure: Figure, results: list[Result]) -> None:
    """Draw a panel per model of several layers; front ends of one layer are lines in each panel."""
    layered = [r for r in results if len(r.layer_curve) > 1]
    flat = [r for r in results if len(r.layer_curve) < 2 and r.ranked.mean is not None]
    # The best are shown, in the order in which they came: neighbours stay neighbours.
    shown = _in_order(layered, style.best_first(layered)[:_MOST_PANELS])
    flat = _in_order(flat, style.best_first(flat)[:_MOST_FLAT])
    # One axis for all panels, as long as the deepest model, so that a layer is at one place.
    end = max(len(r.model.layer_names) for r in shown)
    columns = min(3, len(shown))
    width = 8.0 if columns == 1 else 4.6
    # One scale of scores, since the panels are there to be compared.
    panels = style.grid(figure, len(shown), 3, width, 3.4, sharey=True)
    for n, (axes, result) in enumerate(zip(panels, shown, strict=True)):
        _background(axes, result, shown, flat)
        _curve(axes, result, end)
        _layer_axis(axes, result, end, columns)
        axes.set_title(style.title(result), loc="left", fontsize=10)
        if n % columns == 0:
            axes.set_ylabel(f"test {style.unit(result.task.ranked)[1]}")
        if n + columns >= len(shown):
            axes.set_xlabel("single layer; weighted sum")
    part = style.left_out(len(layered), len(shown))
    task = picture(task_title(results[0]))
    style.headline(figure, f"Layer curves, {task}: {style.conditions(results[0])}{part}")
    style.legend(figure, _legend_entries(len(shown) > 1, flat))


def _background(
    axes: Axes, result: Result, shown: Sequence[Result], flat: Sequence[Result]
) -> None:
    """Draw what a model is compared with: the other models, those of one layer, and chance."""
    factor, _ = style.unit(result.task.ranked)
    for other in shown:
        if other is not result:
            axes.plot(factor * _curve_of(other)[0], color="0.75", lw=1, zorder=1)
    for n, one_layer in enumerate(flat):
        axes.axhline(
            factor * style.ranked_mean(one_layer), color="0.3", ls=_dashes(n), lw=1.3, zorder=1
        )
    if (chance := style.chance(result)) is not None:
        axes.axhline(factor * chance, color="0.85", lw=4, zorder=0)


def _layer_axis(axes: Axes, result: Result, end: int, columns: int) -> None:
    """Set the ticks of the layers, as many as there is room for, and one for the weighted sum."""
    if columns < 3:
        most = 20
    else:
        most = 10 if end < 20 else 7
    ticks = style.layer_ticks(result.model.layer_names)
    style.set_layer_ticks(axes, ticks, most, end, (_sum_at(end), "sum"))
    axes.set_xlim(-0.6, _sum_at(end) + 0.6)


def _dashes(n: int) -> tuple[int, tuple[int, ...]]:
    return 0, _DASHES[n % len(_DASHES)]


def _in_order(results: Sequence[Result], chosen: Sequence[Result]) -> list[Result]:
    """Return those that were chosen, in the order of all."""
    ids = {id(r) for r in chosen}
    return [r for r in results if id(r) in ids]


def _legend_entries(others: bool, flat: Sequence[Result]) -> style.Look:
    """Return the legend's entries."""
    items: style.Look = {
        "curve": (
            "single layer ± std over seeds",
            {"color": style.COLOURS[0], "marker": "o", "ms": 4},
        ),
        "best": (
            "best on validation",
            {"color": style.COLOURS[1], "ls": "", "marker": "o", "mfc": "none", "ms": 10},
        ),
        "sum": ("weighted sum", {"color": style.COLOURS[0], "ls": "", "marker": "s"}),
        "interval": ("95 % interval", {"color": style.COLOURS[0], "lw": 7, "alpha": 0.2}),
    }
    if others:
        items["other"] = "the other models", {"color": "0.75", "lw": 1}
    for n, result in enumerate(flat):
        items[f"flat{n}"] = style.title(result), {"color": "0.3", "ls": _dashes(n)}
    return items | {"chance": ("chance", {"color": "0.85", "lw": 4})}


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


def _curve(axes: Axes, result: Result, end: int) -> None:
    """Draw one model in its panel."""
    factor, _ = style.unit(result.task.ranked)
    mean, std = _curve_of(result)
    names, place, colour = result.model.layer_names, np.arange(len(mean)), style.COLOURS[0]
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
        ms=4,
        capsize=2,
        lw=1.5,
        elinewidth=1.2,
    )
    if best := result.best_layer:
        at = names.index(best)
        axes.plot(at, factor * mean[at], "o", mec=style.COLOURS[1], mfc="none", ms=10, mew=1.6)
    if math.isnan(style.ranked_mean(result)):
        axes.text(
            0.98,
            0.04,
            "sum: undefined",
            transform=axes.transAxes,
            ha="right",
            fontsize=9,
            color="0.35",
        )
    style.draw_interval(axes, result.ranked, _sum_at(end), factor, colour)
    axes.plot(_sum_at(end), factor * style.ranked_mean(result), "s", color=colour, ms=6)


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
