"""Write HTML whose every text is escaped: only what a function here made counts as markup.

A task's reference, a model's name and a path are whatever somebody typed. `tag` takes texts and
markup as children and escapes the texts; there is no other way to put them on the page.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from svuprobe._text import one_line

# Elements without content, which have no end tag.
_VOID = {"meta", "input", "br", "wbr", "link"}


class Html(str):
    """Be a piece of markup, in which every text is escaped already."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Html | Iterable[Child] | None"


@lru_cache(maxsize=1 << 16)
def text(value: object) -> Html:
    """Return a text as markup, on one line, without control characters or signs that turn writing
    around.
    """
    return Html(html.escape(one_line(value), quote=True))


def join(*children: Child) -> Html:
    """Return children one after the other; texts are escaped, None is nothing."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, (str, int, float)):
            parts.append(_spaced(child))
        else:
            parts.append(join(*child))
    return Html("".join(parts))


def _spaced(child: str | float) -> str:
    """Return a text with the blanks at its ends, which part it from its neighbours."""
    words = str(child)
    before = " " if words[:1].isspace() else ""
    after = " " if len(words) > 1 and words[-1:].isspace() else ""
    return f"{before}{text(words)}{after}"


def tag(name: str, *children: Child, **attributes: object) -> Html:
    """Return an element.

    Parameters
    ----------
    attributes
        ``class_`` stands for ``class``, and ``data_v`` for ``data-v``. True is an attribute without
        a value; False and None are none at all.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{text(value)}"')
    start = f"<{' '.join(words)}>"
    return Html(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def raw(source: str, name: str) -> Html:
    """Return a style sheet or script of ours in its element, as it stands."""
    return Html(f"<{name}>{source}</{name}>")
