"""Lay out tables that fit the terminal, in colours where it has them.

On a terminal a table is as wide as that is: names are shortened in the middle, then columns that
matter less are left out. What goes to a file or another program is as wide as it needs to be.
Colours follow https://no-color.org: none with ``NO_COLOR``, and with ``FORCE_COLOR`` also where the
output is no terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import click

from svuprobe._edge import one_line

GAP = "  "
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Column:
    """Describe a column.

    Attributes
    ----------
    right
        Whether cells end below each other, as numbers do.
    least
        Letters that cells may be shortened to, in the middle; None for cells that stay whole.
    dropped
        Columns of the highest number are left out first where there is no room, all of them; 0
        stays.
    """

    head: str
    right: bool = False
    least: int | None = None
    dropped: int = 0


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[int], list[int], list[list[str]]]:
    """Return the columns that are kept, by their places, their widths, and the rows of their cells.

    Parameters
    ----------
    width
        Of the terminal, in letters; None for any.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    kept = list(range(len(columns)))
    while True:
        widths = _widths(columns, cells, kept, width)
        first = max(columns[place].dropped for place in kept)
        if widths is not None or not first:
            break
        kept = [place for place in kept if columns[place].dropped != first]
    if widths is None:  # nothing is left to leave out: as narrow as it gets
        widths = _narrowest(columns, cells, kept)
    shown = [[row[place] for place in kept] for row in cells]
    for n, place in enumerate(kept):
        if columns[place].least is not None:
            names = shortened([row[n] for row in shown], widths[n])
            for row, name in zip(shown, names, strict=True):
                row[n] = name
    return kept, widths, shown


def lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return a table with a head: a line for each row, none wider than ``width``."""
    kept, widths, cells = lay_out(columns, rows, width)
    of_kept = [columns[place] for place in kept]
    rule = GAP.join("-" * n for n in widths)
    head = line_of([column.head for column in of_kept], of_kept, widths)
    return [head, rule, *(line_of(row, of_kept, widths) for row in cells)]


def line_of(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    """Return one line of a table."""
    parts = []
    for text, column, width in zip(cells, columns, widths, strict=True):
        blanks = " " * (width - breadth(text))
        parts.append(blanks + text if column.right else text + blanks)
    return GAP.join(parts).rstrip()


def _natural(column: Column, cells: Sequence[Sequence[str]], place: int) -> int:
    return max([breadth(column.head), *(breadth(row[place]) for row in cells)])


def _narrowest(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], kept: Sequence[int]
) -> list[int]:
    widths = []
    for place in kept:
        natural = _natural(columns[place], cells, place)
        least = columns[place].least
        floor = natural if least is None else max(least, breadth(columns[place].head))
        widths.append(min(natural, floor))
    return widths


def _widths(
    columns: Sequence[Column],
    cells: Sequence[Sequence[str]],
    kept: Sequence[int],
    width: int | None,
) -> list[int] | None:
    """Return widths that fit, or None where even the shortest names leave no room."""
    widths = [_natural(columns[place], cells, place) for place in kept]
    if width is None:
        return widths
    narrowest = _narrowest(columns, cells, kept)
    excess = sum(widths) + len(GAP) * (len(kept) - 1) - width
    # The widest gives way first, a letter at a time, so that no name is cut for another's sake.
    while excess > 0:
        room = [n for n in range(len(kept)) if widths[n] > narrowest[n]]
        if not room:
            return None
        widths[max(room, key=lambda n: widths[n])] -= 1
        excess -= 1
    return widths


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Return names of at most ``width`` letters, cut in the middle; different ones stay different.

    >>> shortened(["mert-v1-95m", "a-very-long-name-of-one", "a-very-long-name-of-two"], 12)
    ['mert-v1-95m', 'a-very…f-one', 'a-very…f-two']
    """
    different = len(set(names))
    room = width - 1
    # Most names differ at both ends; where these don't, another place for the cut may tell.
    for tail in sorted(range(room + 1), key=lambda n: abs(n - room // 2)):
        cut = [_cut(name, width, tail) for name in names]
        if len(set(cut)) == different:
            return cut
    # Names that differ in the middle alone are numbered, in their order.
    order = {name: n for n, name in enumerate(dict.fromkeys(names), 1)}
    numbered = []
    for name in names:
        mark = f"{_ELLIPSIS}{order[name]}"
        whole = breadth(name) <= width
        numbered.append(name if whole else _start(name, width - len(mark)) + mark)
    return numbered


def _cut(name: str, width: int, tail: int) -> str:
    if breadth(name) <= width:
        return name
    end = _start(name[::-1], tail)[::-1]
    return _start(name, width - 1 - breadth(end)) + _ELLIPSIS + end


def _start(text: str, width: int) -> str:
    """Return as much of the start of a text as ``width`` letters hold."""
    while breadth(text) > max(width, 0):
        text = text[:-1]
    return text


def breadth(text: str) -> int:
    """Return how many columns of a terminal a text takes: signs of East Asia two, accents none."""
    if text.isascii():
        return len(text)
    columns = 0
    for sign in text:
        if not unicodedata.combining(sign):
            columns += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
    return columns


# -- the terminal ----------------------------------------------------------------------------------


def terminal_width() -> int | None:
    """Return the columns of the terminal, or of ``COLUMNS``; None where output is no terminal."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def has_colours() -> bool:
    """Tell whether output is coloured."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def styled(line: str, **style: object) -> str:
    """Return a line in a colour or in bold, where output is coloured."""
    return click.style(line, **style) if has_colours() and style else line  # type: ignore[arg-type]


def print_lines(several: Sequence[str]) -> None:
    """Print lines whose text is harmless already; codes of colours stay where they are wanted."""
    for line in several:
        click.echo(line, color=has_colours())
