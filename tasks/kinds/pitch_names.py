"""Name pitches as musicians write them."""

from __future__ import annotations

_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
WHITE_KEYS = (0, 2, 4, 5, 7, 9, 11)  # pitch classes


def pitch_name(midi_number: int) -> str:
    """Return the name of a pitch: ``C4`` for MIDI 60."""
    return f"{_NAMES[midi_number % 12]}{midi_number // 12 - 1}"


def white_key(midi_number: int) -> str:
    """Return the name of a white key; empty for a black one."""
    return pitch_name(midi_number) if midi_number % 12 in WHITE_KEYS else ""
