"""Turn the Markdown that leaderboards are worded in, and a folder's ``about.md``, into HTML.

Paragraphs, lists, code, emphasis and links to the web are known; every other sign stays the
character that it is, and HTML within the text does so too.
"""

from __future__ import annotations

import re

from svuprobe.benchmarks.report.html import Html, join, tag

_INLINE = re.compile(
    r"\\(?P<literal>[!-/:-@\[-`{-~])"
    r"|`(?P<code>[^`]+)`"
    r"|\*\*(?P<strong>(?:[^*\\]|\\.)+)\*\*"
    r"|\*(?P<em>(?:[^*\\]|\\.)+)\*"
    r"|\[(?P<label>(?:[^\]\\]|\\.)+)\]\((?P<link>https?://[^\s()]+)\)"
    r"|&(?P<entity>lt|gt|amp);"
)
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&"}


def inline(markdown: str) -> Html:
    """Return the Markdown of one paragraph as markup."""
    parts: list[Html | str] = []
    plain = ""
    at = 0
    for found in _INLINE.finditer(markdown):
        plain += markdown[at : found.start()]
        at = found.end()
        if found["literal"]:
            plain += found["literal"]
            continue
        if found["entity"]:
            plain += _ENTITIES[found["entity"]]
            continue
        parts.append(plain)
        plain = ""
        if found["code"]:
            parts.append(tag("code", found["code"]))
        elif found["link"]:
            parts.append(tag("a", inline(found["label"]), href=found["link"], rel="noreferrer"))
        elif found["strong"]:
            parts.append(tag("strong", inline(found["strong"])))
        else:
            parts.append(tag("em", inline(found["em"])))
    parts.append(plain + markdown[at:])
    return join(*parts)


def blocks(markdown: str) -> Html:
    """Return Markdown of several paragraphs and lists as markup; a heading becomes a paragraph."""
    parts: list[Html] = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines = [line.strip() for line in block.splitlines()]
        if lines and all(line.startswith(("- ", "* ")) for line in lines):
            parts.append(tag("ul", [tag("li", inline(line[2:])) for line in lines]))
        elif block.strip():
            heading = re.match(r"#+\s+", lines[0])
            words = " ".join(lines)
            if heading:
                parts.append(tag("p", tag("strong", inline(words[heading.end() :]))))
            else:
                parts.append(tag("p", inline(words)))
    return join(*parts)
