"""Draw data efficiency: score over the share of the training set, a line per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import model_title, task_title
from svuprobe.benchmarks.plots import dots, layout, style
from svuprobe.benchmarks.plots.looks import Looks
from svuprobe.probe.results.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LINES = 14
_WIDTH, _HEIGHT = 7.5, 4.6  # inches of the axes with their labels
_BEYOND = 0.06  # of the whole axis, on either side of the first and the last share
_SPREAD = 0.4  # of the way from one share to the next that markers of one share take together


def draw(figure: Figure, results: list[Result], looks: Looks) -> None:
    """Draw a line per model over the shares of the training set."""
    axes = layout.grid(figure, 1, 1, _WIDTH, _HEIGHT)[0]
    factor, label = style.unit(results[0].task.ranked)
    everyone = _by_model(results)
    # By the score at the largest share, which every model has been given.
    best = style.best_first(same[-1] for same in everyone)[:_MOST_LINES]
    models = [same for same in everyone if any(same[-1] is result for result in best)]
    fractions = sorted({r.protocol.train_fraction for r in results})
    for same, aside in zip(models, _aside(len(models), fractions), strict=True):
        _line(axes, same, [100 * aside * r.protocol.train_fraction for r in same], factor, looks)
    if (chance := style.chance(results[0])) is not None:
        axes.axhline(factor * chance, **style.CHANCE, zorder=0)
    # A logarithmic axis: shares are tried by factors, not by steps.
    axes.set_xscale("log")
    labels = [f"{100 * f:.3g} %" for f in fractions]
    axes.set_xticks([100 * f for f in fractions], labels, rotation=_rotation(labels, fractions))
    axes.minorticks_off()
    # By hand, as there may be no score to draw; shares lie within.
    beyond = (fractions[-1] / fractions[0]) ** _BEYOND
    axes.set_xlim(100 * fractions[0] / beyond, 100 * fractions[-1] * beyond)
    clips = results[0].task.splits["train"]
    axes.set_xlabel(f"share of the training set ({clips:,} clips)")
    axes.set_ylabel(f"test {label}")
    headline = (
        f"Data efficiency, {picture(task_title(results[0]))}: "
        f"{style.conditions(results[0], of_part=False)}"
    )
    if len(models) < len(everyone):
        headline += f"; the best {len(models)} of {len(everyone)} models, the others are in the CSV"
    layout.legend(figure, _legend_entries(models, looks))
    layout.headline(figure, headline)


def _rotation(labels: Sequence[str], fractions: Sequence[float]) -> float:
    """Return how far labels are turned, degrees: upright where two would touch."""
    # An inch of the picture's width is taken by the labels of the other axis.
    whole = math.log(fractions[-1] / fractions[0]) * (1 + 2 * _BEYOND)
    inches_a_factor = (_WIDTH - 1.0) / whole
    for n, (a, b) in enumerate(pairwise(fractions)):
        needed = layout.widest(labels[n : n + 2], layout.TITLE) + 0.05
        if inches_a_factor * math.log(b / a) < needed:
            return 90.0
    return 0.0


def _aside(models: int, fractions: Sequence[float]) -> list[float]:
    """Return the factor by which each model's markers stand beside a share, intervals side by side.

    Those of one share stay nearer to it than to the next.
    """
    nearest = min(b / a for a, b in pairwise(fractions))
    step = min(0.05, _SPREAD * (nearest - 1) / models)
    factors = []
    for n in range(models):
        factors.append((1 + step) ** (n - (models - 1) / 2))
    return factors


def _line(
    axes: Axes, same: Sequence[Result], place: Sequence[float], factor: float, looks: Looks
) -> None:
    """Draw one model over the shares."""
    look = looks.of(same[0])
    mean = [factor * style.ranked_mean(result) for result in same]
    axes.plot(place, mean, **(look.line | look.mark), ms=5, lw=1.5, zorder=3)
    for at, result in zip(place, same, strict=True):
        style.draw_interval(axes, result.ranked, at, factor, look.colour)


def _legend_entries(models: Sequence[Sequence[Result]], looks: Looks) -> layout.Entries:
    """Return the legend's entries: models, and what else is drawn."""
    items: dict[str, tuple[str, dict[str, Any]]] = {}
    for n, same in enumerate(models):
        look = looks.of(same[0])
        # A share without a score is a gap in the line, which says nothing of why.
        gaps = [r.protocol.train_fraction for r in same if r.ranked.mean is None]
        name = look.name
        if len(gaps) == len(same):
            name += " (undefined)"
        elif gaps:
            name += f" (undefined at {', '.join(f'{100 * share:.3g} %' for share in gaps)})"
        items[f"model{n}"] = name, look.line | look.mark
    items |= style.interval_entries([result for same in models for result in same])
    if style.chance(models[0][0]) is not None:
        items["chance"] = "chance", style.CHANCE
    return items


def _by_model(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results of each model, its smallest share first; models before controls."""

    def key(result: Result) -> tuple[bool, str]:
        return result.model.control, model_title(result)

    models = []
    for _, same in groupby(sorted(results, key=key), key=key):
        models.append(sorted(same, key=lambda result: result.protocol.train_fraction))
    return models


def rows(results: list[Result]) -> list[dict[str, Any]]:
    """Return the lines of the CSV: those of the scores, the share of the training set first."""
    lines = []
    for result, line in zip(results, dots.rows(results), strict=True):
        lines.append({"train_fraction": result.protocol.train_fraction} | line)
    return lines
