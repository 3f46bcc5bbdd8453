"""Read notes, times and labels from files of other programs: MIDI and JAMS.

What `svuprobe.tasks.kinds.formats` writes comes in again here. Nothing is guessed: where a JAMS
file holds several annotations that may be meant, the key ``namespace`` of the TOML file chooses,
and of two annotators one has to go.

References
----------
Humphrey et al., "JAMS: A JSON annotated music specification for reproducible MIR research", ISMIR
2014; its namespaces are those of jams 0.3.
"""

from __future__ import annotations

import fnmatch
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from svuprobe.tasks.sheets import (
    LATEST_S,
    NAMED_BY,
    can_be_stored,
    normal,
    read_bytes,
    read_text,
)
from svuprobe.tasks.types import TaskError

JAMS = ".jams"
MIDI = (".mid", ".midi")
_DRUMS = 9  # the channel whose numbers are no pitches


class Observation(NamedTuple):
    """Hold one observation of a JAMS annotation: ``where`` names it, times are in seconds."""

    where: str
    time: float
    duration: float
    value: Any


def read_jams(path: Path, namespaces: Sequence[str], chosen: str = "") -> list[Observation]:
    """Read the one annotation of a JAMS file that is of some namespaces.

    Parameters
    ----------
    namespaces
        Of the kind; ``*`` stands for anything, as in ``tag_*``.
    chosen
        A namespace that is taken in place of these.

    Raises
    ------
    TaskError
        It is no JAMS file, or none or several of its annotations may be meant.
    """
    text = read_text(path, NAMED_BY, "JAMS")
    try:
        body = json.loads(text)
        annotations = [(str(each["namespace"]), each["data"]) for each in body["annotations"]]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        detail = "no list of annotations with namespace and data"
        if isinstance(error, ValueError):
            detail = str(error).splitlines()[0][:80]
        raise TaskError(f"{path}: is no JAMS file ({detail})") from None
    wanted = [chosen] if chosen else namespaces
    fitting = []
    for namespace, data in annotations:
        if any(fnmatch.fnmatchcase(namespace, pattern) for pattern in wanted):
            fitting.append((namespace, data))
    if not fitting:
        there = ", ".join(sorted({namespace for namespace, _ in annotations})) or "none"
        raise TaskError(
            f"{path}: no annotation of {' or '.join(wanted)}; there are {there} (the TOML's key "
            "namespace names one)"
        )
    names = [namespace for namespace, _ in fitting]
    if len(set(names)) > 1:
        raise TaskError(
            f"{path}: annotations of {', '.join(names)} may be meant; the TOML's key namespace "
            "says which"
        )
    if len(names) > 1:
        raise TaskError(
            f"{path}: {len(names)} annotations of {names[0]}; leave the one in it that is meant"
        )
    return _observations(path, *fitting[0])


def _observations(path: Path, namespace: str, data: Any) -> list[Observation]:
    rows = _dense(data) if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise TaskError(f"{path}: the data of {namespace} is no list")
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{path}: observation {number} of {namespace}"
        if not isinstance(row, dict):
            raise TaskError(f"{where} is {ascii(row)[:40]}, not an object")
        time = checked(where, "time", row.get("time", 0.0), 0.0, LATEST_S)
        duration = checked(where, "duration", row.get("duration") or 0.0, 0.0, LATEST_S)
        found.append(Observation(where, time, duration, row.get("value")))
    return found


def _dense(data: dict[str, Any]) -> Any:
    """Return observations that are written as a list for each of their parts, as a list."""
    columns = {name: values for name, values in data.items() if isinstance(values, list)}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def checked(where: str, name: str, value: Any, least: float, most: float) -> float:
    """Return a number in a range. Raises TaskError naming the place."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise TaskError(
            f"{where}: {name} {ascii(value)[:40]} is not a number from {least:g} to {most:g}"
        )
    return float(value)


def clip_values(path: Path, namespaces: Sequence[str], chosen: str = "") -> list[str]:
    """Return the values that a JAMS file gives a whole clip, as a cell of a list would have them.

    A value of several parts, as of mood_thayer, is as many values.
    """
    values = []
    for observation in read_jams(path, namespaces, chosen):
        parts = observation.value if isinstance(observation.value, list) else [observation.value]
        for part in parts:
            text = as_label(observation.where, part)
            if "|" in text:
                raise TaskError(
                    f"{observation.where}: value {ascii(part)[:40]} has a |, which joins labels"
                )
            values.append(text)
    if not values:
        raise TaskError(f"{path}: its annotation holds no observation")
    return values


def as_label(where: str, value: Any) -> str:
    """Return a value of an annotation as a label. Raises TaskError where it is no text, and no
    number.
    """
    text = normal(str(value)) if isinstance(value, (str, int, float)) else ""
    if not text or value != value or not can_be_stored(text):
        raise TaskError(f"{where}: value {ascii(value)[:40]} is no label; it is a text or a number")
    return text


def midi_of(hertz: float) -> float:
    """Return a frequency as a MIDI number, 69 for 440 Hz."""
    return 69 + 12 * math.log2(hertz / 440)


def read_midi(path: Path) -> list[tuple[str, float, float, float]]:
    """Read the notes of a MIDI file: where, onset and offset in seconds, MIDI number.

    Changes of tempo are followed, in all tracks; drums (channel 10) are no notes. A note that is
    struck again while it sounds ends there.

    Raises
    ------
    TaskError
        It is no MIDI file, its times are not in beats, or a note never ends.
    """
    import mido

    content = read_bytes(path, NAMED_BY)
    try:
        events = list(mido.MidiFile(file=io.BytesIO(content)))
    except Exception as error:  # mido raises whatever damaged bytes lead it to
        raise TaskError(
            f"{path}: can't be read as MIDI ({str(error)[:80] or type(error).__name__})"
        ) from None
    notes = []
    sounding: dict[tuple[int, int], float] = {}
    now = 0.0
    for event in events:
        now += event.time
        if event.type not in ("note_on", "note_off") or event.channel == _DRUMS:
            continue
        key = (event.channel, event.note)
        # (A note_on of no velocity is how many files end a note.)
        begins = event.type == "note_on" and event.velocity > 0
        if key in sounding:
            onset = sounding.pop(key)
            if now > onset:  # what is struck twice at once is one note
                notes.append((f"{path}: the note at {onset:g} s", onset, now, float(event.note)))
        if begins:
            sounding[key] = now
    for (_, number), onset in sounding.items():
        raise TaskError(f"{path}: note {number}, which begins at {onset:g} s, never ends")
    return notes
