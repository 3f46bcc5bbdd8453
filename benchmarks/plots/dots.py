"""Draw scores: a panel per task with every model, the best at the top."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import task_title
from svuprobe.benchmarks.plots import style
from svuprobe.probe.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(figure: Figure, results: list[Result]) -> None:
    """Draw a panel per task with every model, the best at the top."""
    tasks = [style.best_first(same) for same in style.by_task(results)]
    shown = [same[: style.MOST_ROWS] for same in tasks]
    most = max(map(len, shown))
    # Inches; long names of models take room from the dots otherwise.
    width = 5.4 + style.extra_width(style.title(r) for r in results)
    for axes, same, everyone in zip(
        style.grid(figure, len(tasks), 2, width, 0.7 + 0.32 * most), shown, tasks, strict=True
    ):
        factor, label = style.unit(same[0].task.ranked)
        # The y axis grows upwards: the best comes last.
        for at, result in enumerate(same[::-1]):
            _score(axes, result, at, factor)
        if (chance := style.chance(same[0])) is not None:
            axes.axvline(factor * chance, color="0.5", lw=1, ls="--", zorder=0)
        axes.set_yticks(range(len(same)), [style.title(r) for r in same[::-1]])
        axes.set_ylim(-0.6, len(same) - 0.4)
        # Else a reader would take missing bars for certainty.
        few = "" if any(r.ranked.ci95 for r in same) else "  (too few test groups for intervals)"
        part = f"  (best {len(same)} of {len(everyone)}; the others are in the CSV)" * (
            len(everyone) > len(same)
        )
        axes.set_title(picture(task_title(same[0])) + few + part, loc="left", fontsize=10)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.9", lw=0.8)
        axes.set_axisbelow(True)
    style.headline(figure, f"Scores: {style.conditions(results[0])}")
    style.legend(figure, _legend_entries(results))


def _score(axes: Axes, result: Result, at: float, factor: float) -> None:
    """Draw one model at its height; in words where its score is undefined."""
    if math.isnan(style.ranked_mean(result)):
        there = axes.get_yaxis_transform()
        axes.text(0.01, at, "undefined", transform=there, va="center", fontsize=9, color="0.35")
        return
    style.draw_interval(axes, result.ranked, at, factor, style.COLOURS[0], vertical=False)
    face = "white" if result.model.control else style.COLOURS[0]
    axes.plot(factor * style.ranked_mean(result), at, "o", color=style.COLOURS[0], mfc=face, ms=6)


def _legend_entries(results: list[Result]) -> style.Look:
    """Return the legend's entries, of what is drawn alone."""
    items: style.Look = {}
    if any(r.ranked.ci95 for r in results):
        items["thin"] = "95 % interval over test groups", {"color": style.COLOURS[0], "lw": 1.2}
    if any(r.ranked.std is not None for r in results):
        items["thick"] = "± std over seeds", {"color": style.COLOURS[0], "lw": 6, "alpha": 0.35}
    dot: dict[str, Any] = {"color": style.COLOURS[0], "ls": "", "marker": "o"}
    items["model"] = "model", dot
    items["control"] = "control", dot | {"mfc": "white"}
    items["chance"] = "chance", {"color": "0.5", "lw": 1, "ls": "--"}
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
