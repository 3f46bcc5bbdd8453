"""Read tables as people and spreadsheets write them, in any locale, or refuse them with what to do.

Conventions
-----------
**Encoding.** UTF-8, or UTF-16 and UTF-32 with their mark. Bytes that are none of these are refused:
nothing in a file says which of Windows' and Apple's many code pages it is in. Lines end in CR, LF
or both.

**Columns** are separated by commas, semicolons or tabs; a first line ``sep=;``, as Excel writes it,
says which. Files of numbers alone (beats, notes) may use blanks too. Cells may be quoted. Empty
lines, and empty cells beyond the last column, are nothing.

**Numbers** have a decimal point or, where columns are not separated by commas, a decimal comma: one
of the two in a file. What can be read in two ways is refused, never guessed: thousands separators,
and in a file without any other hint ``1,500``.
"""

from __future__ import annotations

import csv
import io
import math
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from svuprobe.tasks.types import TaskError

NAMED_BY = "a target column names it"  # why a file of events is read
LATEST_S = 1e6  # no recording lasts 11 days: a time beyond is not in seconds
# utf-16's mark is the beginning of utf-32's.
_MARKS = {  # first bytes of a file -> its encoding; the longer marks first
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
_WORKBOOKS = {b"PK\x03\x04": "an XLSX or ODS workbook", b"\xd0\xcf\x11\xe0": "an XLS workbook"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
# What spreadsheets leave of a formula that failed or a column that was too narrow.
_FAILED = re.compile(r"#(N/A|NV|REF!|BEZUG!|NAME\?|VALUE!|WERT!|DIV/0!|NUM!|ZAHL!|NULL!|#+)")


@dataclass(frozen=True)
class Cell:
    """Hold a piece of text and where it stands, as ``FILE:LINE``."""

    where: str
    text: str


def read_bytes(path: Path, missing: str) -> bytes:
    """Read a file; ``missing`` says what names it, where it is not there.

    Raises TaskError where it is no regular file or can't be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise TaskError(
                f"{path}: is {'a folder' if path.is_dir() else 'a device or pipe'}, not a file"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; {missing}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise TaskError(
            f"{path}: can't be read ({getattr(error, 'strerror', None) or error})"
        ) from None


def read_text(path: Path, missing: str, form: str = "CSV") -> str:
    """Read a text file of a ``form``; ``missing`` says what names it, where it is not there.

    Raises TaskError where it is no regular file, can't be read, is a workbook, or is text of an
    unknown encoding.
    """
    content = read_bytes(path, missing)
    save = f"save it as {form} in UTF-8"
    for start, what in _WORKBOOKS.items():
        if content.startswith(start):
            raise TaskError(f"{path}: is {what}, not text; open it and {save}")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}{_place(content, error, encoding)}; {save}") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TaskError(
            f"{path}:{line}: null characters, as in UTF-16 without its mark or no text; {save}"
        )
    return text.removeprefix("\ufeff")


def _place(content: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    """Say where text ends to be of its encoding, and of which it may be."""
    if encoding in ("utf-16", "utf-32"):
        return f": begins as {encoding.upper()} but is not text of it (cut or damaged?)"
    before = content[: error.start]
    # Lines may end in any of the three ways.
    line = 1 + before.count(b"\n") + before.replace(b"\r\n", b"").count(b"\r")
    return (
        f":{line}: byte {content[error.start]:#x} is not UTF-8 (of Windows-1252, Latin-1 or "
        "another code page?)"
    )


def table(
    path: Path, text: str, needed: Sequence[Sequence[str]]
) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """Split a table with a header into cells.

    Parameters
    ----------
    needed
        For each column that must be there, its names: they tell what separates columns.

    Returns
    -------
    str, iterator of (int, list of str)
        The separator; and the cells of each line that is not empty, stripped, with the number of
        the line in the file. The header comes first; its empty cells at the end are dropped, and
        every line has as many.

    Raises
    ------
    TaskError
        A line has another number of cells than the header, or quotes that do not end.
    """
    text, separator = _said_separator(text)
    separators = separator or _separator(text, needed)
    return separators, _lines(path, text, separators, 1 if separator else 0)


def _said_separator(text: str) -> tuple[str, str]:
    """Take Excel's line ``sep=;`` off a text."""
    match = re.match(r'"?sep=([,;\t])"?[ \t]*(\r\n|\r|\n|$)', text)
    return (text[match.end() :], match[1]) if match else (text, "")


def _separator(text: str, needed: Sequence[Sequence[str]]) -> str:
    """Find what separates columns: with it the first line has the needed ones; a comma if
    nothing.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    for separator in (",", ";", "\t"):
        names = {cell.strip().strip('"').strip() for cell in first.split(separator)}
        if all(names & set(column) for column in needed):
            return separator
    return ","


def _lines(path: Path, text: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    width = 0
    while True:
        # Where the line begins: a quoted cell may hold line ends.
        begins = reader.line_num + 1 + skipped
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise TaskError(f"{path}:{begins}: not a CSV file: {error}") from None
        if not any(cells):
            continue
        if not width:
            width = len(_without_empty_end(cells))
        if len(_without_empty_end(cells)) > width or len(cells) < width:
            hint = (
                "; does a decimal comma stand in a cell without quotes?" if separator == "," else ""
            )
            raise TaskError(
                f"{path}:{begins}: {len(cells)} fields, not {width} fields as in the header{hint}"
            )
        for cell in cells:
            if _FAILED.fullmatch(cell):
                raise TaskError(
                    f"{path}:{begins}: {cell!r} is what a spreadsheet writes of a cell that failed"
                )
        yield begins, cells[:width]


def _without_empty_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def columns_of_numbers(
    path: Path, text: str, header: str
) -> tuple[str, list[tuple[int, list[str]]]]:
    """Split a file of numbers without a header, or with one that begins with the cell ``header``.

    Returns what separates the cells, a blank for blanks and tabs, and the cells of each line with
    its number; lines that begin with ``#`` are comments.
    """
    text, separator = _said_separator(text)
    first = 2 if separator else 1
    lines = [(n, line.strip()) for n, line in enumerate(re.split(r"\r\n|\r|\n", text), first)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if lines and re.match(rf'"?{header}\b', lines[0][1], re.IGNORECASE):
        lines = lines[1:]
    separator = separator or _separator_of_numbers([line for _, line in lines])
    rows = [(n, _without_empty_end(_cells(line, separator))) for n, line in lines]
    return separator, [(n, cells) for n, cells in rows if cells]


def _separator_of_numbers(lines: Sequence[str]) -> str:
    """Find what separates numbers: semicolons first, then blanks that stand beside no comma."""
    if any(";" in line for line in lines):
        return ";"
    if any(re.search(r"[^\s,]\s+[^\s,]", line) for line in lines):
        return " "
    return ","


def _cells(line: str, separator: str) -> list[str]:
    parts = line.split() if separator.isspace() else line.split(separator)
    return [part.strip().removeprefix('"').removesuffix('"').strip() for part in parts]


class Numbers:
    """Read the numbers of one file, of which all have the same decimal mark."""

    def __init__(self, separator: str, cells: Sequence[Cell]) -> None:
        """Find the decimal mark from all cells with numbers. Raises TaskError where it is not
        clear.
        """
        commas = [cell for cell in cells if "," in cell.text]
        points = [cell for cell in cells if "." in cell.text]
        self.decimal_comma = bool(commas)
        if not commas:
            return
        first = commas[0]
        if separator == ",":
            raise TaskError(
                f"{first.where}: {first.text!r} has a comma, which separates columns here; write "
                "a decimal point, and no separators of thousands"
            )
        if points:
            both = next((cell for cell in commas if "." in cell.text), None)
            also = "" if both else f" and {points[0].text!r} ({points[0].where})"
            raise TaskError(
                f"{(both or first).where}: {(both or first).text!r}{also}: points and commas in "
                "the numbers of one file; write decimal points, and no separators of thousands"
            )
        # "1,500" alone may be either; one number with another form settles it.
        if separator != ";" and all(_THOUSANDS.fullmatch(cell.text) for cell in commas):
            raise TaskError(
                f"{first.where}: {first.text!r} has a decimal comma or a separator of thousands, "
                "and nothing in the file tells which; write decimal points, and no separators of "
                "thousands"
            )

    def read(self, cell: Cell, name: str, least: float, most: float, unit: str = "") -> float:
        """Read a cell as a number from ``least`` to ``most``. Raises TaskError naming the cell."""
        text = cell.text.replace(",", ".", 1) if self.decimal_comma else cell.text
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if math.isnan(value):
            raise TaskError(f"{cell.where}: {name} {cell.text[:40]!r} is not a number")
        if not least <= value <= most:
            raise TaskError(
                f"{cell.where}: {name} {cell.text[:40]}{unit} is not from {least:g} to "
                f"{most:g}{unit}"
            )
        return value


def is_number(text: str) -> bool:
    """Tell whether a text is a number with a decimal point or none."""
    return _NUMBER.fullmatch(text) is not None


def can_be_stored(text: str) -> bool:
    """Tell whether our files can hold a text: without a null character, or a half of one, as names
    of files that are not UTF-8 have.
    """
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def normal(text: str) -> str:
    """Write a label in one way: composed characters (NFC), single blanks, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())
