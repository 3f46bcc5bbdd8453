"""Lay a picture out by what its words measure: nothing is cut, nothing lies over another.

Sizes are taken from the font's own metrics before anything is drawn. A picture grows with its
title, its legend and the names beside its axes; panels keep the size that they were given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from svuprobe._text import FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

HEADLINE, TITLE, LABEL, SMALL = 11.0, 10.0, 9.0, 8.0  # points
_LINE = 1.35  # of a font's size, from one line to the next
_POINTS = 72.0  # an inch
_DPI = 720  # so fine that hinting, which moves letters to whole pixels, changes nothing
_HANDLE = 0.48  # inches of an entry of a legend that its mark takes, with the space beside it
_BETWEEN = 0.3  # inches between columns of a legend
_LEAST_WIDTH = 6.0  # inches of a picture: a title and a legend have room
_MARGIN = 0.25  # inches of a picture that no words take
# Names are broken after these where a line is full: paths, revisions, words joined by dashes.
_BREAKS = re.compile(r"(?<=[\s/:@_,;.-])")
# An entry of a legend: its words, and how the mark beside them looks.
Entries = Mapping[str, tuple[str, Mapping[str, Any]]]


@lru_cache(maxsize=1)
def _font() -> FT2Font:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return FT2Font(findfont(FONT))


def width_of(text: str, size: float) -> float:
    """Return the inches that a text takes in a font of ``size`` points: of its longest line."""
    font = _font()
    font.set_size(size, _DPI)
    widths = [0.0]
    for line in text.split("\n"):
        font.set_text(line)
        widths.append(font.get_width_height()[0] / 64 / _DPI)  # from 64ths of a pixel
    return max(widths)


def widest(texts: Iterable[str], size: float) -> float:
    """Return the inches that the widest of several texts takes; 0 of none."""
    return max((width_of(text, size) for text in texts), default=0.0)


def height_of(text: str, size: float) -> float:
    """Return the inches that the lines of a text take."""
    return (text.count("\n") + 1) * size * _LINE / _POINTS


def wrapped(text: str, width: float, size: float) -> str:
    """Return a text in lines of at most ``width`` inches: broken between words or parts of a name,
    and within one only where it does not fit on a line of its own.
    """
    lines = []
    for whole in text.split("\n"):
        line = ""
        for piece in _pieces(whole, width, size):
            if line and width_of((line + piece).rstrip(), size) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece
        lines.append(line.rstrip())
    return "\n".join(lines)


def _pieces(text: str, width: float, size: float) -> list[str]:
    """Return the pieces that a text may be broken into, each at most as wide as a line."""
    pieces = []
    for piece in _BREAKS.split(text):
        while len(piece) > 1 and width_of(piece.rstrip(), size) > width:
            fits = max(1, math.floor(len(piece) * width / width_of(piece, size)))
            pieces.append(piece[:fits])
            piece = piece[fits:]
        pieces.append(piece)
    return pieces


def columns_for(n: int, width: float, height: float, fewest: int, most: int = 4) -> int:
    """Return in how many columns ``n`` panels stand: more than the fewest where the picture would
    be much higher than wide.
    """
    columns = fewest
    while columns < min(n, most) and -(-n // columns) * height > 1.2 * columns * width:
        columns += 1
    return min(columns, n)


def grid(
    figure: Figure, n: int, columns: int, width: float, height: float, **options: Any
) -> list[Axes]:
    """Return ``n`` panels in rows of ``columns``, each ``width`` x ``height`` inches.

    Words around them are extra: `headline`, `legend` and `footnote` make the picture higher.
    """
    rows = -(-n // columns)
    figure.set_size_inches(max(columns * width, _LEAST_WIDTH), rows * height)
    panels = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in panels[n:]:
        empty.set_visible(False)
    return list(panels[:n])


def headline(figure: Figure, text: str) -> None:
    """Write the title of the whole picture, on as many lines as its width needs."""
    text = wrapped(text, figure.get_figwidth() - _MARGIN, HEADLINE)
    figure.suptitle(text, fontsize=HEADLINE)
    _grow(figure, height_of(text, HEADLINE))


def footnote(figure: Figure, text: str) -> None:
    """Write a sentence below all panels, on as many lines as the width needs."""
    text = wrapped(text, figure.get_figwidth() - _MARGIN, LABEL)
    figure.supxlabel(text, fontsize=LABEL)
    _grow(figure, height_of(text, LABEL))


def panel_title(axes: Axes, text: str, width: float, size: float = TITLE) -> None:
    """Write the title of a panel over its ``width`` inches, and make room for its lines."""
    text = wrapped(text, width, size)
    axes.set_title(text, loc="left", fontsize=size)


def title_height(texts: Iterable[str], width: float, size: float = TITLE) -> float:
    """Return the inches that the highest of several titles takes over panels of a width."""
    return max(height_of(wrapped(text, width, size), size) for text in texts)


def legend(figure: Figure, entries: Entries, note: str = "") -> None:
    """Explain the marks below all panels, in as many columns as there is room for.

    An entry that is wider than the picture makes it wider. A ``note`` stands above the entries.
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=text, **look) for text, look in entries.values()]
    texts = [text for text, _ in entries.values()]
    column = widest(texts, LABEL) + _HANDLE + _BETWEEN
    figure.set_figwidth(max(figure.get_figwidth(), column + _MARGIN))
    columns = max(1, min(len(texts), int((figure.get_figwidth() - _MARGIN) / column)))
    note = wrapped(note, figure.get_figwidth() - _MARGIN, LABEL)
    # As many rows as these columns need, in as few columns as fill them.
    rows = -(-len(texts) // columns)
    figure.legend(
        handles=handles,
        frameon=False,
        ncols=-(-len(texts) // rows),
        loc="outside lower center",
        fontsize=LABEL,
        title=note or None,
        title_fontsize=LABEL,
    )
    _grow(figure, (rows + 1) * LABEL * 1.5 / _POINTS + bool(note) * height_of(note, LABEL))


def _grow(figure: Figure, inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


def step_that_fits(labels: Sequence[str], unit: float, size: float, slanted: bool = False) -> int:
    """Return every how many-th of an axis's labels is written, so that none touches the next.

    ``unit`` is the inches from one to the next. Slanted ones take the height of a line each.
    """
    space = width_of("  ", size)
    widths = [width_of(label, size) for label in labels]
    for step in range(1, len(labels)):
        if slanted:
            fits = height_of("", size) <= step * unit
        else:
            pairs = zip(widths[::step], widths[step::step], strict=False)
            fits = all((one + other) / 2 + space <= step * unit for one, other in pairs)
        if fits:
            return step
    return max(1, len(labels))
