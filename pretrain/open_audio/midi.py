"""Write standard MIDI files of one track, and random music for them: as much as renderings need.

Conventions
-----------
Times are in seconds, pitches and velocities MIDI numbers, channels count from 0 (9: drums).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TICKS_PER_S = 2000  # 1000 a quarter note, which lasts 0.5 s as long as no tempo is set
DRUMS = 9
_SCALES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # minor
    (0, 2, 3, 5, 7, 9, 10),  # Dorian
    (0, 2, 4, 7, 9),  # pentatonic
    (0, 2, 3, 5, 7, 8, 11),  # harmonic minor
)
_PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (1, 4, 0, 0), (0, 2, 3, 4))
# kick, snare, hats, toms, cymbals, hand percussion of General MIDI
_KIT = (36, 38, 42, 46, 41, 45, 48, 49, 51, 37, 39, 54, 56, 60, 61, 62, 64, 69, 75)


@dataclass(frozen=True)
class Event:
    """Describe a MIDI message at a time."""

    time_s: float
    message: bytes


@dataclass(frozen=True)
class Note:
    """Describe one note of a channel."""

    onset_s: float
    offset_s: float
    channel: int
    pitch: int
    velocity: int


def note_events(notes: Iterable[Note]) -> list[Event]:
    """Return what turns notes on and off."""
    events = []
    for note in notes:
        events.append(Event(note.onset_s, bytes([0x90 | note.channel, note.pitch, note.velocity])))
        events.append(Event(note.offset_s, bytes([0x80 | note.channel, note.pitch, 0])))
    return events


def midi_file(events: Iterable[Event]) -> bytes:
    """Return events as a MIDI file of format 0; at one time they keep their order."""
    body, now = bytearray(), 0
    for event in sorted(events, key=lambda event: round(event.time_s * TICKS_PER_S)):
        tick = round(event.time_s * TICKS_PER_S)
        body += _variable_length(tick - now) + event.message
        now = tick
    body += b"\0\xff\x2f\0"  # end of track
    head = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1]) + (1000).to_bytes(2, "big")
    return head + b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)


def _variable_length(number: int) -> bytes:
    """Return a number in groups of seven bits, all but the last with the eighth bit set."""
    groups = [number & 127]
    while number := number >> 7:
        groups.append(number & 127 | 128)
    return bytes(reversed(groups))


def melody(rng: np.random.Generator, seconds: float, channel: int) -> list[Note]:
    """Return a random walk on a scale, in a register and with a tempo of its own."""
    scale, beat_s = _scale(rng, int(rng.integers(40, 80))), 60 / rng.uniform(60, 170)
    place, now, loud = int(rng.integers(0, len(scale) // 2)), 0.0, int(rng.integers(50, 110))
    notes = []
    while now < seconds - 0.2:
        length = beat_s * float(rng.choice([0.25, 0.5, 0.5, 1.0, 1.0, 1.5, 2.0]))
        if rng.random() < 0.88:  # else a rest
            end = min(now + length * rng.uniform(0.5, 1.0), seconds)
            velocity = int(np.clip(loud + rng.integers(-20, 21), 15, 127))
            notes.append(Note(now, end, channel, scale[place], velocity))
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(scale) - 1))
        now += length
    return notes


def chords(rng: np.random.Generator, seconds: float, channel: int) -> list[Note]:
    """Return a progression of triads: held, repeated or broken."""
    scale, bar_s = _scale(rng, int(rng.integers(40, 60))), 240 / rng.uniform(60, 170)
    progression = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
    parts, broken = int(rng.choice([1, 2, 4, 8])), rng.random() < 0.4
    loud, notes = int(rng.integers(45, 105)), []
    for bar in range(int(np.ceil(seconds / bar_s))):
        degree = progression[bar % 4]
        triad = [scale[(degree + step) % len(scale)] for step in (0, 2, 4)]
        for part in range(parts):
            onset = (bar + part / parts) * bar_s
            end = min(onset + 0.9 * bar_s / parts, seconds)
            played = [triad[part % 3]] if broken else triad
            for pitch in played:
                if onset < seconds - 0.1:
                    velocity = int(np.clip(loud + rng.integers(-12, 13), 15, 127))
                    notes.append(Note(onset, end, channel, pitch, velocity))
    return notes


def drums(rng: np.random.Generator, seconds: float) -> list[Note]:
    """Return a pattern of sixteen steps on some drums, again and again with small changes."""
    step_s = 15 / rng.uniform(70, 170)
    voices = [36, 38, 42, *(int(voice) for voice in rng.choice(_KIT, 3))]
    pattern = rng.random((len(voices), 16)) < rng.uniform(0.1, 0.4, (len(voices), 1))
    pattern[0, 0] = True
    notes = []
    for step in range(int(seconds / step_s)):
        for voice, hits in zip(voices, pattern, strict=True):
            if hits[step % 16] != (rng.random() < 0.03):
                onset, velocity = step * step_s, int(rng.integers(40, 120))
                notes.append(Note(onset, min(onset + 0.1, seconds), DRUMS, voice, velocity))
    return notes


def _scale(rng: np.random.Generator, tonic: int) -> list[int]:
    """Return two octaves of a random scale."""
    steps = _SCALES[rng.integers(len(_SCALES))]
    return [tonic + 12 * octave + step for octave in (0, 1) for step in steps]
