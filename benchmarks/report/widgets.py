"""Make the parts that sections share: tables that scroll inside, and what is folded away."""

from __future__ import annotations

from collections.abc import Sequence

from svuprobe.benchmarks.report.html import Child, Html, tag


def data_table(
    caption: str,
    heads: Sequence[Child],
    rows: Sequence[Html],
    *,
    classes: str = "",
    sorts: bool = True,
    walk: bool = False,
) -> Html:
    """Return a table with its caption, in a box that scrolls where the page is narrow.

    Parameters
    ----------
    heads
        The headings; one that is markup of a cell is taken as it is.
    sorts
        Whether the page's script lets its columns sort it.
    walk
        Whether the arrow keys go through its values and read them out.
    """
    cells = []
    for head in heads:
        whole = isinstance(head, Html) and head.startswith("<th")
        cells.append(head if whole else tag("th", head, scope="col"))
    table = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", tag("tr", cells)),
        tag("tbody", rows),
        class_=f"{classes} {'sorts' if sorts else ''}".strip() or None,
    )
    named = f"Table: {caption}"
    box = "scroll walk" if walk else "scroll"
    return tag("div", table, class_=box, tabindex=0, role="group", aria_label=named)


def num(*words: Child, sortable: bool = True) -> Html:
    """Return the heading of a column of numbers, which stand at its right."""
    return tag("th", *words, scope="col", class_="num" if sortable else "num unsorted")


def details(summary: str, *children: Child, open_: bool = False) -> Html:
    """Return what is folded away until somebody asks for it; print unfolds it."""
    return tag("details", tag("summary", summary), *children, open=open_)
