"""Write notes and times as files that other programs read: MIDI and JAMS."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

_TICKS, _TEMPO = 1000, 500_000  # ticks a beat, microseconds a beat: half a millisecond a tick
# Nothing is known of how loud a note is.
_VELOCITY = 90


def midi(notes: np.ndarray) -> bytes:
    """Return a MIDI file of one track with the notes (n, 3), at 120 beats a minute.

    Notes are onset and offset in seconds and MIDI pitch. Times are rounded to ticks, half a
    millisecond.
    """
    import mido

    events = []
    for onset, offset, pitch in np.asarray(notes, dtype=float).reshape(-1, 3):
        number = int(round(pitch))
        events.append((_tick(onset), 1, "note_on", number))
        # An end comes first among events of one tick, and no note may be empty.
        events.append((_tick(max(offset, onset + 0.001)), 0, "note_off", number))
    file = mido.MidiFile(type=0, ticks_per_beat=_TICKS)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=_TEMPO)])
    file.tracks.append(track)
    now = 0
    # A note ends before the next begins in the same tick.
    for tick, _, message, pitch in sorted(events):
        track.append(mido.Message(message, note=pitch, velocity=_VELOCITY, time=tick - now))
        now = tick
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _tick(seconds: float) -> int:
    return round(seconds * _TICKS * 1e6 / _TEMPO)


def jams(namespace: str, data: Sequence[dict[str, Any]], duration: float, source: str) -> str:
    """Return a JAMS file (Humphrey et al. 2014) with one annotation.

    Written by hand: one annotation is a few keys, and a package for it one more to install.

    Parameters
    ----------
    namespace
        ``note_midi``, ``beat``, ``tag_open``.
    data
        ``time``, ``duration``, ``value`` and ``confidence`` of each observation.
    duration
        Of the audio, seconds.
    source
        What made the annotation.
    """
    metadata = {
        "annotation_tools": source,
        "data_source": "svuprobe predict",
        "version": "",
        "corpus": "",
    }
    people = {"annotator": {}, "annotation_rules": "", "validation": "", "curator": {}}
    annotation = {
        "namespace": namespace,
        "data": list(data),
        "annotation_metadata": metadata | people,
        "sandbox": {},
        "time": 0.0,
        "duration": duration,
    }
    file_metadata = {
        "duration": duration,
        "title": "",
        "artist": "",
        "release": "",
        "identifiers": {},
    }
    body = {
        "annotations": [annotation],
        "file_metadata": file_metadata | {"jams_version": "0.3.4"},
        "sandbox": {},
    }
    return json.dumps(body, indent=1) + "\n"
