"""Draw the scores of a table beside its numbers: the interval thin, the spread over seeds thick."""

from __future__ import annotations

from collections.abc import Iterable

from svuprobe.benchmarks.report.charts import Scale, score_range
from svuprobe.benchmarks.report.html import Html, tag
from svuprobe.benchmarks.tables import CellScore

WIDTH, HEIGHT = 150, 18


def scale_of(metric: str, scores: Iterable[CellScore], chance: float | None) -> Scale | None:
    """Return the scale that all scores of a column share; None where nothing is defined."""
    values = []
    for score in scores:
        if score.mean is not None:
            values += [score.mean, *(score.ci95 or ())]
            values += [score.mean - (score.std or 0), score.mean + (score.std or 0)]
    if not values:
        return None
    return Scale(*score_range(metric, values, chance, 0.04), 5.0, WIDTH - 5.0)


def drawn(score: CellScore, scale: Scale, classes: str, mark: str, chance: float | None) -> Html:
    """Return one line of the picture; its numbers stand beside it."""
    parts = []
    middle = HEIGHT / 2
    if chance is not None and scale.holds(chance):
        x = scale(chance)
        parts.append(tag("path", d=f"M{x} 0V{HEIGHT}", class_="chance"))
    if score.mean is not None:
        if score.ci95 is not None:
            low, high = scale(score.ci95[0]), scale(score.ci95[1])
            ends = f"M{low} {middle}H{high}M{low} {middle - 3}v6M{high} {middle - 3}v6"
            parts.append(tag("path", d=ends, class_="interval"))
        if score.std:
            low, high = scale(score.mean - score.std), scale(score.mean + score.std)
            parts.append(tag("path", d=f"M{low} {middle}H{high}", class_="spread"))
        if scale.holds(score.mean):
            parts.append(tag("use", href=f"#{mark}", x=scale(score.mean), y=middle))
    return tag(
        "svg",
        parts,
        class_=f"forest {classes}",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        aria_hidden="true",
    )
