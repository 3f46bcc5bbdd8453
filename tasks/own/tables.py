"""Read a list of clips: CSV, TSV, JSON Lines, a JSON array or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from svuprobe.tasks.own import columns
from svuprobe.tasks.own.listing import Listing, Row
from svuprobe.tasks.sheets import normal, read_text, table
from svuprobe.tasks.types import TaskError

_NAMED_BY = "the TOML's key metadata names it"


class _Table(NamedTuple):
    """Hold a list before its columns are known: values are text, or what JSON and Parquet hold."""

    separator: str
    header: list[str]
    head_at: str  # FILE:LINE of the header
    rows: list[tuple[str, dict[str, Any]]]  # FILE:LINE of each


def read(path: Path, base: Path, chosen: Mapping[str, Sequence[str]]) -> Listing:
    """Read a list of clips by the suffix of its file; what has none of ours is CSV.

    Parameters
    ----------
    base
        The folder that a column ``path`` is relative to.
    chosen
        Our columns -> names in the list, where the TOML says so.

    Raises
    ------
    TaskError
        The file can't be read as what its suffix says, or lacks a column; names file and line.
    """
    form, reader = FORMS.get(path.suffix.lower(), FORMS[".csv"])
    whole = reader(path, columns.candidates(chosen))
    found = columns.find(whole.head_at, whole.header, chosen)
    rows = []
    for where, values in whole.rows:
        cells = {}
        for name, theirs in found.items():
            cells[name] = _joined(where, theirs, values)
        rows.append(Row(where, cells, str(path), whole.separator))
    called = {}
    for name, theirs in found.items():
        # What a list calls label or file_name needs no word.
        if name in chosen:
            called[name] = ", ".join(theirs)
    beside = found["path"] == [columns.FILE_NAME]
    return Listing(
        form,
        path,
        path.parent if beside else base,
        rows,
        called=called,
        unused=columns.unused(whole.header, found),
    )


def _joined(where: str, names: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return the value of a column as a CSV file would have it; several are joined by ``|``."""
    texts = []
    for name in names:
        texts.append(_text(where, name, values.get(name)))
    return "|".join(texts)


def _text(where: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # (Cells of a CSV file are stripped already.)
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        # A column of whole numbers with a gap comes out of Parquet as 3.0.
        return repr(value)
    if isinstance(value, (list, tuple)):
        texts = []
        for part in value:
            if isinstance(part, (list, tuple, dict)) or "|" in str(part):
                raise TaskError(
                    f"{where}: {name} holds {_shown(part)}; a list is of texts without | or numbers"
                )
            texts.append(_text(where, name, part))
        return "|".join(texts)
    raise TaskError(f"{where}: {name} is {_shown(value)}; it is a text, a number or a list of them")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- readers: path and what columns may be called -> table ---------------------------------------


def _csv(path: Path, needed: Sequence[Sequence[str]]) -> _Table:
    # Encodings and separators as spreadsheets write them are understood there.
    separator, lines = table(path, read_text(path, _NAMED_BY), needed)
    number, header = next(lines, (1, []))
    rows = []
    for line, cells in lines:
        # (A column that occurs twice is refused later, if it is used.)
        rows.append((f"{path}:{line}", dict(zip(header, cells, strict=True))))
    return _Table(separator, header, f"{path}:{number}", rows)


def _json_lines(path: Path, needed: Sequence[Sequence[str]]) -> _Table:
    text = read_text(path, _NAMED_BY, "JSON Lines")
    rows = []
    # Not splitlines: a text in JSON may hold other ends of lines, as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append((f"{path}:{number}", _object(f"{path}:{number}", line)))
    return _of_objects(path, rows)


def _json_array(path: Path, needed: Sequence[Sequence[str]]) -> _Table:
    values = parsed(str(path), read_text(path, _NAMED_BY, "JSON"))
    if not isinstance(values, list):
        raise TaskError(f"{path}: is no list of clips; a JSON file is an array of objects")
    rows = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise TaskError(f"{path}: entry {number} is {_shown(value)}, not an object")
        rows.append((f"{path}: entry {number}", value))
    return _of_objects(path, rows)


def _parquet(path: Path, needed: Sequence[Sequence[str]]) -> _Table:
    try:
        import pandas
    except ImportError:
        raise TaskError(
            f"{path}: reading Parquet needs pandas and pyarrow: pip install 'svuprobe[frames]'"
        ) from None
    try:
        frame = pandas.read_parquet(path)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; {_NAMED_BY}") from None
    except (OSError, ValueError, ImportError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(f"{path}: can't be read as Parquet ({line})") from None
    rows = []
    for number, values in enumerate(frame.to_dict("records"), 1):
        plain = {str(name): _plain(value) for name, value in values.items()}
        rows.append((f"{path}: row {number}", plain))
    return _Table("\t", [str(name) for name in frame.columns], str(path), rows)


def _plain(value: Any) -> Any:
    """Return a value of pandas as JSON has it: lists, numbers, None for what is missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and value != value else value


def _object(where: str, line: str) -> dict[str, Any]:
    value = parsed(where, line)
    if not isinstance(value, dict):
        raise TaskError(f"{where}: {_shown(value)} is no object; a line is {{...}}")
    return value


def parsed(where: str, text: str) -> Any:
    """Return what a JSON text holds, None for a NaN, as pandas writes what is missing.

    Raises TaskError naming where it stands, also where an object has a key twice.
    """
    try:
        return json.loads(
            text,
            parse_constant=lambda name: None if name == "NaN" else float(name),
            object_pairs_hook=_with_each_key_once,
        )
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({str(error).splitlines()[0][:80]})") from None


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_shown(twice)} occurs twice in an object")
    return values


def _of_objects(path: Path, rows: list[tuple[str, dict[str, Any]]]) -> _Table:
    header: dict[str, None] = {}
    for _, values in rows:
        header |= dict.fromkeys(values)
    first = rows[0][0] if rows else f"{path}:1"
    # JSON has a decimal point; a number in quotes may have either mark.
    return _Table("\t", list(header), first, rows)


# Suffix -> the form in words, and its reader.
FORMS: dict[str, tuple[str, Callable[[Path, Sequence[Sequence[str]]], _Table]]] = {
    ".csv": ("a CSV file", _csv),
    ".tsv": ("a TSV file", _csv),
    ".jsonl": ("JSON Lines", _json_lines),
    ".ndjson": ("JSON Lines", _json_lines),
    ".json": ("a JSON array", _json_array),
    ".parquet": ("a Parquet file", _parquet),
}


def labels_of(path: Path, column: str) -> list[str]:
    """Return the texts of one column of a CSV file, each once, as they stand in it."""
    whole = _csv(path, [[column]])
    if column not in whole.header:
        raise TaskError(
            f"{whole.head_at}: no column {column!r}; there are {', '.join(whole.header) or 'none'}"
        )
    return list(dict.fromkeys(normal(values[column]) for _, values in whole.rows))
