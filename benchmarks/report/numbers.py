"""Print scores as the leaderboard does, with the number of the file beside them for the pointer."""

from __future__ import annotations

from dataclasses import replace

from svuprobe.benchmarks.leaderboard import number
from svuprobe.benchmarks.report.html import Child, Html, tag
from svuprobe.benchmarks.tables import CellScore
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import PerSeed, both_ends, mean_over_seeds

NOTHING = "–"


def exact(value: float) -> str:
    """Return a number of a result's JSON to six significant digits, as ``leaderboard.json`` has
    it.
    """
    return f"{value:.6g}"


def cell(
    metric: str, value: float | None, *more: Child, name: str = "td", **attributes: object
) -> Html:
    """Return a cell with a score; sorting and the pointer read the number of the file."""
    if value is None:
        return tag(name, NOTHING, class_="num none")
    classes = f"num {attributes.pop('class_', '')}".strip()
    shown = number(metric, value)
    return tag(name, shown, *more, class_=classes, data_v=exact(value), **attributes)


def spread_cell(
    metric: str,
    score: CellScore | None,
    *more: Child,
    best: bool = False,
    tip: str | None = None,
) -> Html:
    """Return a cell with a score and, smaller, its standard deviation over seeds; the pointer is
    told ``tip``.
    """
    if score is None or score.mean is None:
        return tag("td", NOTHING, class_="num none")
    std = None if score.std is None else tag("small", f" ± {number(metric, score.std)}")
    return cell(metric, score.mean, *more, std, class_="best" if best else "", data_tip=tip)


def in_words(metric: str, score: CellScore) -> str:
    """Return a score with both kinds of uncertainty on one line, and the number of the file."""
    if score.mean is None:
        return "undefined"
    words = number(metric, score.mean)
    if score.std is not None:
        words += f" ± {number(metric, score.std)}"
    if score.ci95 is not None:
        words += f", 95 % {number(metric, score.ci95[0])} to {number(metric, score.ci95[1])}"
    return f"{words} ({exact(score.mean)})"


def layer_score(result: Result, layer: str) -> CellScore:
    """Return the score of a layer's own head on test, with its spread and interval."""
    score = score_of_seeds(result.layer_curve.get(layer, ()))
    return replace(score, ci95=both_ends(result.layer_ci95.get(layer)))


def score_of_seeds(per_seed: PerSeed) -> CellScore:
    """Return mean and standard deviation over seeds, where they are defined."""
    mean = mean_over_seeds(per_seed)
    known = [value for value in per_seed if value is not None]
    std = None
    if mean is not None and len(known) > 1:
        std = (sum((value - mean) ** 2 for value in known) / (len(known) - 1)) ** 0.5
    return CellScore(mean, std)
