"""Draw what is heard in a clip over time: notes as a piano roll, moments as ticks in two lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from svuprobe.benchmarks.report import charts
from svuprobe.benchmarks.report.html import Child, Html, join, tag
from svuprobe.probe.clip_answers import ClipAnswer, Mark, height_name, marks
from svuprobe.probe.results.result import TaskInfo

SHOWN_S = 30.0
_PER_S = 30.0  # units of the picture a second
_LEFT, _BOTTOM, _TOP = 74.0, 24.0, 8.0
_STEP = 7.0  # units a height
_LINE = 12.0  # units a name takes
_MOST_ROWS = 50  # of a roll


def figure(
    task: TaskInfo,
    answer: ClipAnswer,
    reference: Sequence[Any] | None,
    caption: str,
    player: Html | None,
) -> Html:
    """Return the first seconds of a clip, with its reference where that is at hand."""
    found = _early(marks(task, answer.events))
    true = None if reference is None else _early(marks(task, reference))
    last = max((mark[1] for mark in [*found, *(true or [])]), default=1.0)
    seconds = min(SHOWN_S, max(1.0, last))
    heights = [mark[2] for mark in [*found, *(true or [])] if mark[2] is not None]
    drawing = _roll if heights else _lanes
    picture, height = drawing(task, found, true, seconds, heights)
    width = _LEFT + _PER_S * seconds + 10
    told = f"{caption}: {len(found)} estimated"
    if true is not None:
        told += f", {len(true)} in the reference"
    svg = tag(
        "svg",
        picture,
        class_="timeline",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=told,
    )
    words: Child = join(caption, f", first {seconds:.0f} s" if last > SHOWN_S else None)
    return tag(
        "figure",
        tag("figcaption", words, _legend(true is not None)),
        tag("div", svg, class_="scroll walk", tabindex=0, role="group", aria_label=told),
        player,
        class_="chart wide",
    )


def _legend(with_reference: bool) -> Html:
    reference = tag("span", "reference", class_="key ref") if with_reference else None
    return tag("span", reference, tag("span", "estimate", class_="key est"), class_="legend")


def _early(several: Sequence[Mark]) -> list[Mark]:
    """Return what begins within the shown seconds, cut at their end."""
    early = []
    for begin, end, height in several:
        if begin < SHOWN_S:
            early.append((begin, min(end, SHOWN_S), height))
    return early


def _x(seconds: float) -> float:
    return round(_LEFT + _PER_S * seconds, 1)


def _time_axis(seconds: float, top: float, bottom: float) -> Html:
    parts = []
    for second in charts.ticks(0, seconds, 10):
        x = _x(second)
        parts.append(charts.path([(x, top), (x, bottom)], class_="grid"))
        parts.append(tag("text", f"{second:g} s", x=x, y=bottom + 16, class_="tick mid"))
    return tag("g", parts)


def _roll(
    task: TaskInfo,
    found: Sequence[Mark],
    true: Sequence[Mark] | None,
    seconds: float,
    heights: Sequence[float],
) -> tuple[Html, float]:
    """Return a piano roll and its height: the reference as wide bars, the estimate within them."""
    low, high = round(min(heights)) - 1, round(max(heights)) + 1
    step = _STEP
    rows = list(range(low, high + 1))
    if len(rows) > _MOST_ROWS:  # names rather than pitches: only those that occur
        rows, step = sorted({round(height) for height in heights}), _LINE
    bottom = _TOP + step * len(rows)
    place = {height: n for n, height in enumerate(rows)}

    def y(height: float) -> float:
        return round(bottom - step * (place[round(height)] + 0.5), 1)

    parts = [_time_axis(seconds, _TOP, bottom)]
    free = bottom + step  # the lowest place where a name would touch no other
    for row in rows:
        name = height_name(task, row)
        if name and y(row) <= free:
            free = y(row) - _LINE
            parts.append(tag("text", name, x=_LEFT - 6, y=y(row) + 4, class_="tick end"))
    for several, classes, thick in ((true or (), "ref", 6.4), (found, "est", 3.2)):
        for begin, end, height in several:
            if height is None:
                continue
            name = height_name(task, round(height)) or f"{height:.4g}"
            told = f"{classes_in_words(classes)} {name}: {begin:.3f} to {end:.3f} s"
            parts.append(
                tag(
                    "rect",
                    tag("title", told),
                    x=_x(begin),
                    y=round(y(height) - thick / 2, 1),
                    width=max(1.0, round(_PER_S * (end - begin), 1)),
                    height=thick,
                    class_=f"pt {classes}",
                )
            )
    return join(*parts), bottom + _BOTTOM


def _lanes(
    task: TaskInfo,
    found: Sequence[Mark],
    true: Sequence[Mark] | None,
    seconds: float,
    heights: Sequence[float],
) -> tuple[Html, float]:
    """Return two lanes of moments and their height: the reference above the estimate."""
    bottom = _TOP + 60.0
    parts = [_time_axis(seconds, _TOP, bottom)]
    lanes = [("ref", true), ("est", found)]
    for n, (classes, several) in enumerate(lanes):
        top = _TOP + 30 * n
        words = classes_in_words(classes)
        parts.append(tag("text", words, x=_LEFT - 6, y=top + 18, class_="tick end"))
        for begin, _, _ in several or ():
            x = _x(begin)
            told = tag("title", f"{words} {begin:.3f} s")
            drawn = f"M{x} {top + 4}V{top + 26}"
            parts.append(tag("path", told, d=drawn, class_=f"pt moment {classes}"))
    return join(*parts), bottom + _BOTTOM


def classes_in_words(classes: str) -> str:
    """Return what a class of marks is."""
    return "reference" if classes == "ref" else "estimate"
