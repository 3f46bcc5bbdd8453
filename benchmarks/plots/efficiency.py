"""Draw data efficiency: score over the share of the training set, a line per model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from svuprobe._text import picture
from svuprobe.benchmarks.leaderboard import model_title, task_title
from svuprobe.benchmarks.plots import dots, style
from svuprobe.probe.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LINES = 14
_LINES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX"


def draw(figure: Figure, results: list[Result]) -> None:
    """Draw a line per model over the shares of the training set."""
    figure.set_size_inches(7.5, 5.2)
    axes = figure.subplots()
    factor, label = style.unit(results[0].task.ranked)
    everyone = _by_model(results)
    # By the score at the largest share, which every model has been given.
    best = style.best_first(same[-1] for same in everyone)[:_MOST_LINES]
    models = [same for same in everyone if any(same[-1] is result for result in best)]
    for n, same in enumerate(models):
        aside = 1.05 ** (n - (len(models) - 1) / 2)  # intervals side by side
        _line(axes, n, same, [100 * aside * r.protocol.train_fraction for r in same], factor)
    if (chance := style.chance(results[0])) is not None:
        axes.axhline(factor * chance, color="0.85", lw=4, zorder=0, label="chance")
    # A logarithmic axis: shares are tried by factors, not by steps.
    fractions = sorted({r.protocol.train_fraction for r in results})
    axes.set_xscale("log")
    axes.set_xticks([100 * f for f in fractions], [f"{100 * f:g} %" for f in fractions])
    axes.minorticks_off()
    clips = results[0].task.splits["train"]
    axes.set_xlabel(
        f"share of the training set ({clips:,} clips); thin: 95 % interval, thick: ± std over seeds"
    )
    axes.set_ylabel(f"test {label}")
    figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside lower center")
    told = (
        f"Data efficiency, {picture(task_title(results[0]))}: "
        f"{style.conditions(results[0], of_part=False)}"
    )
    if len(models) < len(everyone):
        told += f"; the best {len(models)} of {len(everyone)} models, the others are in the CSV"
    style.headline(figure, told)


def _line(
    axes: Axes, n: int, same: Sequence[Result], place: Sequence[float], factor: float
) -> None:
    """Draw one model over the shares."""
    look: dict[str, Any] = {
        # Colours, dashes and marks go round at different lengths: 14 lines are told apart.
        "color": style.COLOURS[n % len(style.COLOURS)],
        "ls": _LINES[n % len(_LINES)],
        "lw": 1.5,
    }
    face = "white" if same[0].model.control else look["color"]
    marker = _MARKERS[n % len(_MARKERS)]
    mean = [factor * style.ranked_mean(r) for r in same]
    axes.plot(
        place, mean, marker=marker, ms=5, mfc=face, label=style.title(same[0]), zorder=3, **look
    )
    for at, result in zip(place, same, strict=True):
        style.draw_interval(axes, result.ranked, at, factor, look["color"])


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
