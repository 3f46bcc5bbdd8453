"""Put text from data - names, labels, references - where something would read it as commands.

A task's reference or a model's name is whatever somebody typed. In Markdown it stays the characters
that it is: no HTML, no link, no second column. In a spreadsheet it is no formula. In a picture it
is no mathematics, and its signs are ones that the font has.

References
----------
GitHub Flavored Markdown 0.29, sections 2.4 (backslash escapes) and 4.10 (tables); OWASP, "CSV
Injection".
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Between letters or digits an underscore marks nothing: `conpoff_f` stays readable as it is.
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# At the start of a line: a heading, a list, a quotation, a rule, an underline of a heading.
_LEADING = re.compile(r"^(?:[#+=:-]|\d+(?=[.)]))")
# Full-width signs count in Asian locales.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
FONT = "DejaVu Sans"  # comes with matplotlib


def one_line(text: object) -> str:
    """Return the text on one line, without control characters and signs that turn writing
    around.
    """
    # Controls, halves of pairs and ends of lines part words; marks of format (Cf) within one do
    # not.
    kept = (" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in str(text))
    return " ".join("".join(c for c in kept if unicodedata.category(c) != "Cf").split())


def markdown(text: object) -> str:
    """Escape text for a paragraph or a cell of a table in Markdown."""
    line = _SPECIAL.sub(lambda found: f"\\{found[0]}", one_line(text).translate(_ENTITIES))
    return _LEADING.sub(
        lambda found: f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}", line
    )


def code(text: object) -> str:
    """Set text as code in a paragraph of Markdown; a backtick would end it and becomes an
    apostrophe.
    """
    return f"`{one_line(text).replace('`', chr(39))}`"


def prose(text: str) -> str:
    """Keep the Markdown of a text that somebody wrote as such, but show its HTML as characters."""
    # Links and emphasis are wanted there; scripts are not.
    return text.replace("<", "&lt;")


def cell(value: Any) -> Any:
    """Return a value for CSV: text that a spreadsheet takes for a formula gets an apostrophe before
    it.
    """
    if not isinstance(value, str):
        return "" if isinstance(value, float) and math.isnan(value) else value
    # The writer quotes no lone carriage return.
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if not value.lstrip(" ").startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    # float reads digits of every script and blanks around, which a spreadsheet does not.
    return text.isascii() and text == text.strip()


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Write rows as CSV with a head; keys that are no column are left out."""
    # One kind of line ends on every system, so that files are compared byte by byte.
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writerow({name: cell(name) for name in columns})
    for row in rows:
        writer.writerow({name: cell(row.get(name)) for name in columns})
    return out.getvalue()


def picture(text: object, longest: int = 48) -> str:
    """Return text for a picture: signs its font lacks are spelt out, what is too long is cut in the
    middle.

    Mathematics is switched off where pictures are drawn (``text.parse_math``). An underscore at the
    start would hide a line from the legend.
    """
    has = _glyphs()
    line = "".join(c if has(ord(c)) else f"\\u{ord(c):04x}" for c in one_line(text))
    if len(line) > longest:
        half = (longest - 1) // 2
        line = f"{line[:half]}…{line[-half:]}"
    return f" {line}" if line.startswith("_") else line


@lru_cache(maxsize=1)
def _glyphs() -> Callable[[int], int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return FT2Font(findfont(FONT)).get_char_index
