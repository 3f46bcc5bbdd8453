"""Build the site: put generated parts, and files of the repository, where pages ask for them.

``<!-- part: NAME -->`` stands for a part of `tables.PARTS`, ``<!-- file: NAME -->`` for a file in
the repository's root, without its first heading.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tables
from measured import ROOT
from mkdocs.exceptions import PluginError

_MARK = re.compile(r"^<!-- (part|file): (\S+) -->$", flags=re.MULTILINE)
# What only the tests of the documentation read: how a block is checked.
_FENCE = re.compile(r"^(```\w+) \{\.checked\}$", flags=re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with everything in it that it asks for."""
    return _FENCE.sub(r"\1", _MARK.sub(_content, markdown))


def _content(mark: re.Match[str]) -> str:
    kind, name = mark.groups()
    if kind == "part":
        if name not in tables.PARTS:
            raise PluginError(f"no part {name!r}; there are {', '.join(tables.PARTS)}")
        return tables.PARTS[name]()
    text = (ROOT / Path(name)).read_text(encoding="utf-8")
    return text.partition("\n")[2]
