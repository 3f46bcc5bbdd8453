"""Write tables, code and docstrings as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; nothing in a cell can end it."""
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        lines.append(_line(row))
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    texts = []
    for cell in cells:
        text = "" if cell is None else " ".join(str(cell).split())
        texts.append(text.replace("|", "\\|").replace("<", "&lt;"))
    return f"| {' | '.join(texts)} |"


def code(text: object) -> str:
    """Return something as it is typed."""
    return f"`{text}`"


def prose(text: str) -> str:
    """Return a docstring as Markdown: literals and references as code."""
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    # Sphinx's roles are the same to a reader.
    text = re.sub(r":(?:mod|class|func):`(.+?)`", r"`\1`", text)
    # A heading in it would end the part of the page it stands in; two colons begin code.
    text = re.sub(r"^(\S.*)\n-{3,}$", r"**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    # A name on a line of its own, and below it, indented, what it means.
    text = re.sub(r"^(`[^`]+`)\n    (?=\S)", r"\n\1\n:   ", text, flags=re.MULTILINE)
    return text.strip()
