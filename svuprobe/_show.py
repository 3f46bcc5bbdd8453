"""Show objects in a shell or a notebook so that they fit a screen of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

WIDTH, LINES = 80, 15
_LONGEST = 56  # characters of one value
_MOST_ITEMS = 6  # of a sequence or a mapping
_INDENT = "    "


def shown(self: Any) -> str:
    """Return a dataclass as ``Name(field=value, ...)``, for use as its ``__repr__``.

    Fields at their defaults are left out, arrays are told by their shapes, and what is long is cut:
    at most `LINES` lines of `WIDTH` columns.
    """
    parts = []
    for each in fields(self):
        value = getattr(self, each.name)
        # A preset is told by its name, also where that is the default.
        if each.name == "name" or (each.repr and not _is_default(each, value)):
            parts.append(f"{each.name}={_value(value)}")
    name = type(self).__name__
    whole = f"{name}({', '.join(parts)})"
    if len(whole) <= WIDTH:
        return whole
    lines = [f"{_INDENT}{cut(part, WIDTH - len(_INDENT) - 1)}," for part in parts]
    if len(lines) > LINES - 2:
        lines = _filled(parts)
    if len(lines) > LINES - 2:
        lines = [*lines[: LINES - 3], f"{_INDENT}..."]
    return "\n".join([f"{name}(", *lines, ")"])


def _filled(parts: list[str]) -> list[str]:
    """Return parts as lines of several, as many as fit."""
    room = WIDTH - 1
    lines: list[str] = []
    for part in parts:
        part = cut(part, room - len(_INDENT))
        if lines and len(lines[-1]) + 1 + len(part) <= room:
            lines[-1] += f" {part},"
        else:
            lines.append(f"{_INDENT}{part},")
    return lines


def _is_default(each: Field[Any], value: object) -> bool:
    """Tell whether a field has the value that it has when nobody gives one."""
    default = each.default
    if each.default_factory is not MISSING:
        default = each.default_factory()
    if value is default:
        return True
    # Arrays compare element by element: they are no default.
    return not hasattr(value, "shape") and type(value) is type(default) and value == default


def _value(value: object) -> str:
    """Return a value on one line, cut where it is long."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{tuple(value.shape)} {value.dtype}>"
    if isinstance(value, (str, Path)):
        text = str(value)
        # Of a path or a digest both ends tell.
        half = _LONGEST // 2 - 3
        return repr(text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}")
    if isinstance(value, float):
        text = repr(value)
        return text if len(text) <= 8 else f"{value:.6g}"
    if isinstance(value, Mapping):
        items = [f"{key!r}: {_value(item)}" for key, item in _first(value.items())]
        return f"{{{_joined(items, len(value))}}}"
    if isinstance(value, (tuple, list)):
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"{opening}{_joined(list(map(_value, _first(value))), len(value))}{comma}{closing}"
    if is_dataclass(value) and not isinstance(value, type):
        # What stands first says which one it is.
        inner = [f"{each.name}={_value(getattr(value, each.name))}" for each in fields(value)[:2]]
        rest = ", ..." if len(fields(value)) > 2 else ""
        return f"{type(value).__name__}({', '.join(inner)}{rest})"
    if callable(value) and hasattr(value, "__name__"):
        return f"<{value.__name__}>"
    return cut(" ".join(repr(value).split()), _LONGEST)


def _first(items: Any) -> list[Any]:
    return list(items)[:_MOST_ITEMS]


def _joined(items: list[str], number: int) -> str:
    """Return items in a row; of many, how many there are."""
    text = ", ".join(items)
    if number == len(items) and len(text) <= _LONGEST:
        return text
    # Whole items, as many as there is room for.
    kept: list[str] = []
    for item in items:
        if kept and len(", ".join([*kept, item])) > _LONGEST:
            break
        kept.append(item)
    more = number - len(kept)
    return ", ".join([*kept, f"... {more} more"] if more else kept)


def cut(text: str, length: int) -> str:
    """Return a text that is no longer than that."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
