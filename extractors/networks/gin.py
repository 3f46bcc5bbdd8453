"""Read the values in a file of gin-config as data: no function is called, nothing is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError

# module.Class.parameter = value, or macro = value
_BINDING = re.compile(r"(?m)^\s*(?P<key>\w[\w./]*)[ \t]*=[ \t]*(?P<value>.*)$")


def read_gin(path: Path, name: str) -> dict[str, Any]:
    """Read what is bound, by the last two parts of each name: ``Class.parameter``.

    Numbers, strings, booleans, None and collections of them become values, ``%macro`` its value;
    anything else, such as ``@module.Class``, stays the text that it is.

    Raises
    ------
    ExtractError
        A file that isn't text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExtractError(f"{name}: can't read {path.name}: {error}") from None
    values: dict[str, Any] = {}
    for binding in _BINDING.finditer(text):
        value = _value(text, binding)
        if isinstance(value, str) and value.startswith("%"):
            value = values.get(value[1:], value)
        values[".".join(binding["key"].split(".")[-2:])] = value
    return values


def _value(text: str, binding: re.Match[str]) -> Any:
    """Return the value of a binding, which may go on over several lines."""
    first = binding["value"]
    if first.startswith(("@", "%")):
        return first.partition("#")[0].strip()
    following = text[binding.end() :].split("\n")
    lines = first
    for line in following[:100]:
        try:
            return ast.literal_eval(lines.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            lines += "\n" + line
    return first.strip()
