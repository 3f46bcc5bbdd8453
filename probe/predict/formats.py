"""What is predicted, as files that other programs read: MIDI, CSV, JAMS, beat lists.

Conventions
-----------
Notes are (n, 3): onset and offset in seconds, MIDI pitch. Beats are (n,) in seconds. Times in MIDI are rounded to
its ticks, half a millisecond here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._files import write_bytes, write_text
from svuprobe._text import cell as csv_cell

if TYPE_CHECKING:
    from svuprobe.probe.predict.predict import Prediction

_TICKS, _TEMPO = 1000, 500_000  # ticks a beat, microseconds a beat: half a millisecond a tick
_VELOCITY = 90
_SHOWN = 3  # labels in a line of the table


def midi(notes: np.ndarray) -> Any:
    """A ``mido.MidiFile`` of one track with the notes of (n, 3), at 120 beats a minute."""
    import mido

    events = [
        (_tick(time), order, message, int(round(pitch)))
        for onset, offset, pitch in np.asarray(notes, dtype=float).reshape(-1, 3)
        for time, order, message in ((onset, 1, "note_on"), (max(offset, onset + 0.001), 0, "note_off"))
    ]
    file = mido.MidiFile(type=0, ticks_per_beat=_TICKS)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=_TEMPO)])
    file.tracks.append(track)
    now = 0
    for tick, _, message, pitch in sorted(events):
        track.append(mido.Message(message, note=pitch, velocity=_VELOCITY, time=tick - now))
        now = tick
    return file


def _tick(seconds: float) -> int:
    return round(seconds * _TICKS * 1e6 / _TEMPO)


def read_midi(path: Path) -> np.ndarray:
    """Notes (n, 3) of all tracks of a MIDI file, by onset."""
    import mido

    now, open_since, found = 0.0, dict[int, list[float]](), list[tuple[float, float, float]]()
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            open_since.setdefault(message.note, []).append(now)
        elif message.type in ("note_on", "note_off") and open_since.get(message.note):
            found.append((open_since[message.note].pop(0), now, message.note))
    return np.array(sorted(found), dtype=float).reshape(-1, 3)


def jams(namespace: str, data: Sequence[dict[str, Any]], duration: float, source: str) -> str:
    """A JAMS file (Humphrey et al. 2014) with one annotation.

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
    metadata = {"annotation_tools": source, "data_source": "svuprobe predict", "version": "", "corpus": ""}
    annotation = {
        "namespace": namespace,
        "data": list(data),
        "annotation_metadata": metadata | {"annotator": {}, "annotation_rules": "", "validation": "", "curator": {}},
        "sandbox": {},
        "time": 0.0,
        "duration": duration,
    }
    file_metadata = {"duration": duration, "title": "", "artist": "", "release": "", "identifiers": {}}
    body = {
        "annotations": [annotation],
        "file_metadata": file_metadata | {"jams_version": "0.3.4"},
        "sandbox": {},
    }
    return json.dumps(body, indent=1) + "\n"


def write(prediction: Prediction, stem: Path) -> list[Path]:
    """Write the files of one prediction; those written.

    Notes: ``.mid``, ``.notes.csv`` (onset_s, offset_s, midi) and ``.jams``. Beats: ``.beats`` (a time a line, as the
    beats of a task on own data are read) and ``.jams``. Labels: ``.csv``, a row a window and, with the
    scope ``file``, one for the whole.
    """
    made = {"notes": _note_files, "beats": _beat_files}.get(prediction.task.kind, _label_files)(prediction)
    paths = []
    for suffix, content in made.items():
        paths.append(stem.with_name(stem.name + suffix))
        if isinstance(content, str):
            write_text(paths[-1], content)
        else:
            buffer = io.BytesIO()
            content.save(file=buffer)
            write_bytes(paths[-1], buffer.getvalue())
    return paths


def _note_files(prediction: Prediction) -> dict[str, Any]:
    notes = prediction.notes
    rows = [f"{onset:.3f},{offset:.3f},{pitch:.0f}" for onset, offset, pitch in notes]
    data = [
        {"time": float(a), "duration": float(b - a), "value": float(pitch), "confidence": None}
        for a, b, pitch in notes
    ]
    return {
        ".mid": midi(notes),
        ".notes.csv": "\n".join(["onset_s,offset_s,midi", *rows]) + "\n",
        ".jams": jams("note_midi", data, prediction.seconds, prediction.task.name),
    }


def _beat_files(prediction: Prediction) -> dict[str, Any]:
    beats = prediction.beats.tolist()
    data = [{"time": beat, "duration": 0.0, "value": None, "confidence": None} for beat in beats]
    return {
        ".beats": "".join(f"{beat:.3f}\n" for beat in beats),
        ".jams": jams("beat", data, prediction.seconds, prediction.task.name),
    }


def _label_files(prediction: Prediction) -> dict[str, Any]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["scope", "start_s", "end_s", *map(csv_cell, prediction.task.labels or ())])
    spans = zip(prediction.start_s, prediction.end_s, prediction.window_outputs, strict=True)
    windows = [("window", *span) for span in spans]
    for scope, start, end, values in [*windows, ("file", 0.0, prediction.seconds, prediction.outputs)]:
        writer.writerow([scope, f"{start:.3f}", f"{end:.3f}", *(f"{value:.4f}" for value in values)])
    return {".csv": buffer.getvalue()}


def summary(predictions: Sequence[Prediction], style: str) -> str:
    """All predictions as one ``table``, ``json`` or ``csv``, ending with a newline but for the table."""
    rows = [row for prediction in predictions for row in _rows(prediction)]
    if style == "json":
        return json.dumps(rows, indent=1) + "\n"
    if style == "csv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["path"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
        return buffer.getvalue()
    from tabulate import tabulate

    return tabulate([_line(prediction) for prediction in predictions], _head(predictions[0]), disable_numparse=True)


def _rows(prediction: Prediction) -> list[dict[str, Any]]:
    """What there is to say of a file: a row a note, a beat or a label."""
    path = str(prediction.path)
    if prediction.task.kind == "notes":
        return [
            {"path": path, "onset_s": round(a, 4), "offset_s": round(b, 4), "midi": int(pitch)}
            for a, b, pitch in prediction.notes.tolist()
        ]
    if prediction.task.kind == "beats":
        return [{"path": path, "beat_s": round(beat, 4)} for beat in prediction.beats.tolist()]
    name = "value" if prediction.task.kind == "regression" else "probability"
    return [{"path": path, "label": label, name: round(value, 6)} for label, value in prediction.ranking()]


def _head(prediction: Prediction) -> list[str]:
    many = {"notes": ["notes", "lowest", "highest"], "beats": ["beats", "a minute"]}
    return ["file", "seconds", *many.get(prediction.task.kind, [prediction.task.name])]


def _line(prediction: Prediction) -> list[str]:
    """One line of the table a file."""
    start = [str(prediction.path), f"{prediction.seconds:.1f}"]
    if prediction.task.kind == "notes":
        pitches = prediction.notes[:, 2]
        ends = [f"{pitches.min():.0f}", f"{pitches.max():.0f}"] if len(pitches) else ["–", "–"]
        return [*start, str(len(pitches)), *ends]
    if prediction.task.kind == "beats":
        gaps = np.diff(prediction.beats)
        return [*start, str(len(prediction.beats)), f"{60 / np.median(gaps):.1f}" if len(gaps) else "–"]
    if prediction.task.kind == "regression":
        return [*start, ", ".join(f"{label} {value:.3f}" for label, value in prediction.ranking())]
    return [*start, ", ".join(f"{label} {100 * value:.1f} %" for label, value in prediction.ranking()[:_SHOWN])]
