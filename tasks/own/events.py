"""Files of notes and of beats, as own data has them: read into seconds of the audio file, and nothing misread."""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks.own.sheets import LATEST_S, Cell, Numbers, columns_of_numbers, read_text
from svuprobe.tasks.types import TaskError

_NAMED_BY = "a target column names it"


def read_notes(path: Path) -> tuple[tuple[float, float, float], ...]:
    """Notes of a file ``onset_s,offset_s,midi``, sorted by onset; a header line is skipped.

    Raises TaskError naming the file, and the line where a line is wrong.
    """
    separator, rows = columns_of_numbers(path, read_text(path, _NAMED_BY), "onset_s")
    for number, cells in rows:
        if len(cells) != 3:
            hint = "; a decimal comma needs columns separated by ; or tabs" if separator == "," else ""
            raise TaskError(f"{path}:{number}: {len(cells)} fields; a note is onset_s,offset_s,midi{hint}")
    lines = [[Cell(f"{path}:{number}", cell) for cell in cells] for number, cells in rows]
    numbers = Numbers(separator, [cell for line in lines for cell in line])
    notes = []
    for line in lines:
        onset, offset = (numbers.read(cell, "note", 0.0, LATEST_S, " s") for cell in line[:2])
        midi = numbers.read(line[2], "MIDI number (69 is 440 Hz) of a note", 0.0, 127.0)
        if offset <= onset:
            raise TaskError(f"{line[0].where}: offset {offset:g} s is not after onset {onset:g} s")
        notes.append((onset, offset, midi))
    return tuple(sorted(notes))


def read_beats(path: Path) -> tuple[float, ...]:
    """Beat times in s, sorted: the first column of a text file, as in ``.beats`` files.

    Raises TaskError naming the file, and the line where a line is wrong.
    """
    separator, rows = columns_of_numbers(path, read_text(path, _NAMED_BY), "time_s")
    _refuse_commas_of_either_kind(path, separator, rows)
    cells = [Cell(f"{path}:{number}", cells[0]) for number, cells in rows]
    numbers = Numbers(separator, cells)
    return tuple(sorted(numbers.read(cell, "beat", 0.0, LATEST_S, " s") for cell in cells))


def _refuse_commas_of_either_kind(path: Path, separator: str, rows: list[tuple[int, list[str]]]) -> None:
    """Raise TaskError where commas may be decimal ones: they are all there is, and no number has a point."""
    pairs = [(number, cells) for number, cells in rows if len(cells) > 1]
    if separator == "," and pairs and not any("." in cell for _, cells in rows for cell in cells):
        number, cells = pairs[0]
        raise TaskError(
            f"{path}:{number}: {','.join(cells)!r} is {'.'.join(cells[:2])} s with a decimal comma, or has "
            f"several columns; write decimal points ({cells[0]}.0 where it is a whole second)"
        )
