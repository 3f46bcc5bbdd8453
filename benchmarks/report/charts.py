"""Draw charts as SVG, from results: nothing is vendored, and nothing is fetched.

A panel is 340 x 210 units and is shown at about that size, so that its text has the size of the
page's. Each point has its value as a title; the page's script shows it under the pointer and reads
it out as the arrow keys move through a chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from svuprobe.benchmarks.leaderboard import is_share, number
from svuprobe.benchmarks.report.html import Child, Html, tag

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 10.0, 10.0, 30.0

Point = tuple[float, float]
# Of the axis that scores have to themselves at least, or chance is left out of it.
_LEAST_SHARE = 0.25


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, at most ``most`` + 1 of them."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * n for n in (1, 2, 5, 10) if span / (power * n) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Turn values into places; ``log`` for values that are tried by factors."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def holds(self, value: float | None) -> bool:
        """Tell whether there is a value, and it is within the ends."""
        return value is not None and self.low <= value <= self.high

    def __call__(self, value: float) -> float:
        """Return where a value lies, in units of the picture."""
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        part = ((math.log(value) if self.log else value) - low) / (high - low or 1.0)
        return round(self.start + part * (self.stop - self.start), 1)


def score_range(
    metric: str, values: Sequence[float], chance: float | None, room: float
) -> tuple[float, float]:
    """Return the ends of an axis of scores that holds all values, and chance unless the values
    would be crowded at one end for it. ``room`` is a share of the span, left at both ends.
    """
    several = list(values) or [0.0, 1.0]
    low, high = min(several), max(several)
    if chance is not None:
        wide = max(high, chance) - min(low, chance)
        if high - low >= _LEAST_SHARE * wide:
            low, high = min(low, chance), max(high, chance)
    more = room * (high - low) or 0.02
    if is_share(metric):  # there is nothing beyond 0 and 1
        return max(low - more, min(0.0, low)), min(high + more, max(1.0, high))
    return low - more, high + more


def score_scale(metric: str, values: Sequence[float], chance: float | None = None) -> Scale:
    """Return the scale of a panel's axis of scores."""
    return Scale(*score_range(metric, values, chance, 0.06), HEIGHT - BOTTOM, TOP)


def path(points: Sequence[Point], **attributes: object) -> Html:
    """Return a line through points."""
    moves = "L".join(f"{x:g} {y:g}" for x, y in points)
    return tag("path", d=f"M{moves}", **attributes)


def point(at: Point, mark: str, told: str, **attributes: object) -> Html:
    """Return the mark of one value, with what is said of it."""
    classes = f"pt {attributes.pop('class_', '')}".strip()
    title = tag("title", told)
    return tag("use", title, href=f"#{mark}", x=at[0], y=at[1], class_=classes, **attributes)


def band(low: Sequence[Point], high: Sequence[Point], **attributes: object) -> Html:
    """Return the area between two lines."""
    outline = [*low, *reversed(high)]
    return tag("path", d="M" + "L".join(f"{x:g} {y:g}" for x, y in outline) + "z", **attributes)


def y_axis(metric: str, scale: Scale, right: float = WIDTH - RIGHT) -> Html:
    """Return lines across the panel at round scores, with their numbers."""
    parts = []
    for value in ticks(scale.low, scale.high):
        y = scale(value)
        parts.append(path([(LEFT, y), (right, y)], class_="grid"))
        shown = f"{100 * value:.0f}" if is_share(metric) else number(metric, value)
        if is_share(metric) and scale.high - scale.low < 0.05:
            shown = number(metric, value)
        parts.append(tag("text", shown, x=LEFT - 6, y=y + 4, class_="tick end"))
    return tag("g", parts)


def x_axis(places: Sequence[tuple[float, str]], title: str) -> Html:
    """Return the words below a panel, at their places, and what they are."""
    parts = []
    for x, words in places:
        parts.append(tag("text", words, x=x, y=HEIGHT - BOTTOM + 14, class_="tick mid"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", title, x=middle, y=HEIGHT - 2, class_="tick mid axis"))
    return tag("g", parts)


def panel(label: str, *children: Child) -> Html:
    """Return a panel of the usual size; ``label`` is read out in its place."""
    return tag(
        "svg",
        *children,
        class_="panel",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=label,
    )


def figure(caption: Child, drawing: Html, label: str, classes: str = "", hint: bool = True) -> Html:
    """Return a chart with its caption; the arrow keys move through its points."""
    said = f"{label}: arrow keys go through its values" if hint else label
    walk = tag("div", drawing, class_="walk", tabindex=0, role="group", aria_label=said)
    return tag("figure", tag("figcaption", caption), walk, class_=f"chart {classes}".strip())
