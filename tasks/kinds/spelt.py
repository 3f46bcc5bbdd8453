"""Write and draw predicted sequences of symbols; ``timed`` has a time in s and a symbol each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from svuprobe._text import cell as csv_cell, picture
from svuprobe.tasks.kinds.formats import jams
from svuprobe.tasks.kinds.frames import INK
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.kinds.spelling import BLANK, shown as shown_symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAINT = "#9aa5b1"
_MOST_COLOURS = 10  # of matplotlib's cycle


def table(timed: Sequence[tuple[float, str]]) -> str:
    """Return symbols as CSV, ``time_s,symbol``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["time_s", "symbol"])
    for time, symbol in timed:
        writer.writerow([f"{time:.3f}", csv_cell(symbol)])
    return buffer.getvalue()


def lyrics(timed: Sequence[tuple[float, str]], seconds: float, source: str) -> str:
    """Return the words as JAMS; parameters as of `svuprobe.tasks.kinds.formats.jams`."""
    data = []
    for start, end, word in words(timed):
        data.append({"time": start, "duration": end - start, "value": word, "confidence": None})
    return jams("lyrics", data, seconds, source)


def words(timed: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Return words of characters, each with the times of its first and its last."""
    found: list[tuple[float, float, str]] = []
    between = True
    for time, symbol in timed:
        if symbol == BLANK:
            between = True
        elif between:
            found.append((time, time, symbol))
            between = False
        else:
            start, _, word = found[-1]
            found[-1] = (start, time, word + symbol)
    return found


def draw(
    axes: Axes, prediction: Prediction, timed: Sequence[tuple[float, str]], seconds: float
) -> None:
    """Draw the probability of no symbol, faint, and those of symbols, each named at its spike."""
    times, found = prediction.frame_times, prediction.activation
    axes.fill_between(times, found[:, 0], color=_FAINT, alpha=0.25, lw=0)
    numbers = sorted({int(number) for _, number in prediction.events.reshape(-1, 2)})
    for place, number in enumerate(numbers):
        axes.plot(times, found[:, 1 + number], color=f"C{place % _MOST_COLOURS}", lw=0.9)
    shown = [pair for pair in timed if pair[0] < seconds]
    free_from = 0.0
    for time, symbol in shown:
        name = picture(shown_symbol(symbol))
        half = seconds * len(name) / 180
        if time - half >= free_from:  # else names overlap
            axes.text(time, 1.03, name, ha="center", va="bottom", color=INK, size=8)
            free_from = time + half
    axes.set_ylim(0, 1.15)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel(f"{prediction.activation_name}, grey of none ({len(shown)})")
