"""Draw scores: a panel per task with every model, the best at the top."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import layout, style
from svuprobe.benchmarks.plots.looks import Looks
from svuprobe.probe.results.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.3  # inches of a model; of many, which a reader looks for and not through, less
_ROW_OF_MANY = 0.2
_MANY = 20
_DOTS = 3.6  # inches of an axis of scores
_UNDEFINED = "undefined"


def draw(figure: Figure, results: list[Result], looks: Looks) -> None:
    """Draw a panel per task with every model, the best at the top."""
    tasks = [style.best_first(same) for same in style.by_task(results)]
    shown = [same[: style.MOST_ROWS] for same in tasks]
    titles = [
        _panel_title(same, len(everyone)) for same, everyone in zip(shown, tasks, strict=True)
    ]
    most = max(map(len, shown))
    row, size = (_ROW, layout.TITLE) if most <= _MANY else (_ROW_OF_MANY, layout.SMALL)
    width = _DOTS + layout.widest(map(looks.name, results), size) + 0.4
    height = 0.75 + row * most + layout.title_height(titles, _DOTS)
    columns = layout.columns_for(len(tasks), width, height, min(2, len(tasks)))
    panels = layout.grid(figure, len(tasks), columns, width, height)
    for axes, same, title in zip(panels, shown, titles, strict=True):
        factor, label = style.unit(same[0].task.ranked)
        # The y axis grows upwards: the best comes last.
        for at, result in enumerate(same[::-1]):
            _score(axes, result, at, factor, looks)
        if (chance := style.chance(same[0])) is not None:
            axes.axvline(factor * chance, **style.CHANCE, zorder=0)
        axes.set_yticks(range(len(same)), [looks.name(r) for r in same[::-1]], fontsize=size)
        style.grey_controls(axes.get_yticklabels(), [r.model.control for r in same[::-1]])
        axes.set_ylim(-0.6, len(same) - 0.4)
        layout.panel_title(axes, title, _DOTS)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.9", lw=0.8)
        axes.set_axisbelow(True)
    layout.headline(figure, f"Scores: {style.conditions(results[0])}")
    layout.legend(figure, _legend_entries(results))


def _panel_title(shown: list[Result], everyone: int) -> str:
    """Return the task, with what a reader has to know of what is not drawn."""
    words = [picture(task_title(shown[0]))]
    # Else a reader would take missing bars for certainty.
    if not any(result.ranked.ci95 for result in shown):
        words.append("(test groups too few, or too alike, for intervals)")
    if everyone > len(shown):
        words.append(f"(best {len(shown)} of {everyone}; the others are in the CSV)")
    return "  ".join(words)


def _score(axes: Axes, result: Result, at: float, factor: float, looks: Looks) -> None:
    """Draw one model at its height; in words where its score is undefined."""
    if math.isnan(style.ranked_mean(result)):
        there = axes.get_yaxis_transform()
        axes.text(0.01, at, _UNDEFINED, transform=there, va="center", fontsize=8, color="0.35")
        return
    look = looks.of(result)
    style.draw_interval(axes, result.ranked, at, factor, look.colour, vertical=False)
    mean = factor * style.ranked_mean(result)
    axes.plot(mean, at, "o", color=look.colour, mfc=look.face, ms=6)


def _legend_entries(results: list[Result]) -> layout.Entries:
    """Return the legend's entries, of what is drawn alone."""
    items: dict[str, tuple[str, dict[str, Any]]] = dict(style.interval_entries(results))
    dot: dict[str, Any] = {"color": style.NEUTRAL, "ls": "", "marker": "o"}
    if not all(r.model.control for r in results):
        items["model"] = "model", dot
    if any(r.model.control for r in results):
        items["control"] = "control", dot | {"mfc": "white"}
    if any(style.chance(r) is not None for r in results):
        items["chance"] = "chance", style.CHANCE
    return items


def rows(results: list[Result]) -> list[dict[str, Any]]:
    """Return the lines of the CSV: one for each result."""
    lines = []
    for r in results:
        low, high = r.ranked.ci95 or (None, None)
        lines.append(
            style.named(r)
            | {"metric": r.task.ranked, "mean": r.ranked.mean, "std": r.ranked.std}
            | {"ci95_low": low, "ci95_high": high, "chance": r.chance[r.task.ranked]}
        )
    return lines
