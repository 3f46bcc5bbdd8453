"""Ask for notes: melodies of one voice, as `svuprobe.tasks.kinds.transcription` transcribes
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.tasks.kinds import transcription
from svuprobe.tasks.kinds.annotations import (
    JAMS,
    MIDI,
    Observation,
    checked,
    midi_of,
    read_midi,
)
from svuprobe.tasks.kinds.answers import Mark
from svuprobe.tasks.kinds.base import Problem, softmax_less_hot
from svuprobe.tasks.kinds.formats import jams, midi
from svuprobe.tasks.kinds.frames import INK, FrameKind
from svuprobe.tasks.kinds.pitch_names import WHITE_KEYS, pitch_name, white_key
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import LATEST_S, NAMED_BY, Cell, Numbers, columns_of_numbers, read_text
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_FRAME_S = 0.02  # of most models: a shorter note ends in the frame after it began
# Pitch classes that an axis names.
_TRIAD, _FIFTH = (0, 4, 7), (0, 7)


class Notes(FrameKind):
    """Take tuples of ``(onset_s, offset_s, midi)`` as targets.

    Rasterised, they are (F, 4) int16; estimates are (n, 3).
    """

    name = "notes"
    metrics = transcription.METRICS
    window_s = 5.0
    activation_name = "P(onset)"
    namespaces = ("note_midi", "note_hz")
    sidecars = (JAMS, *MIDI, ".notes.csv")

    # -- own data ----------------------------------------------------------------------------------

    def suits(self, cells: Sequence[str]) -> bool:
        """Tell whether all cells name MIDI files."""
        return bool(cells) and all(cell.lower().endswith(MIDI) for cell in cells)

    def read(self, path: Path) -> tuple[tuple[float, float, float], ...]:
        """Read the notes of a file ``onset_s,offset_s,midi``, by onset; a header line is
        skipped.
        """
        return _ordered(_of_table(path))

    def of_jams(
        self, path: Path, observations: Sequence[Observation]
    ) -> tuple[tuple[float, float, float], ...]:
        """Return the notes of an annotation; values of ``note_hz`` are frequencies."""
        notes = []
        for where, onset, duration, value in observations:
            if where.endswith("_hz"):
                # From the lowest to the highest MIDI number.
                pitch = midi_of(checked(where, "frequency", value, 8.1757, 12543.9))
            else:
                pitch = checked(where, "MIDI number", value, 0.0, 127.0)
            notes.append((where, onset, onset + duration, pitch))
        return _ordered(notes)

    def of_midi(self, path: Path) -> tuple[tuple[float, float, float], ...]:
        """Return the notes of a MIDI file."""
        return _ordered(read_midi(path))

    def cut(
        self, events: Sequence[Any], start: float, end: float
    ) -> tuple[tuple[float, float, float], ...]:
        """Return the notes that begin from ``start`` to ``end``; one that lasts longer ends
        there.
        """
        return tuple(
            (on - start, min(off, end) - start, midi)
            for on, off, midi in events
            if start <= on < end
        )

    # -- targets and loss --------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return 20: onset, silence, octave and pitch class."""
        return transcription.N_OUTPUTS

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return the onsets."""
        return [note[0] for note in target]

    def doubts(self, clips: Sequence[Clip]) -> Iterator[str]:
        """Say how many notes the kind can't hold: its labels are of one voice, in four octaves."""
        odd = Counter[str]()
        for clip in clips:
            odd.update(transcription.irregular(clip.target, _FRAME_S))
        total = sum(len(clip.target) for clip in clips)
        if odd["overlapping"]:
            yield (
                f"{odd['overlapping']} of {total} notes begin while another sounds: this kind "
                "holds one voice, so the earlier note ends there for the heads, and scores count "
                "its end, or the note, as missed"
            )
        if odd["out_of_range"]:
            yield (
                f"{odd['out_of_range']} of {total} notes lie outside C2 to B5 (MIDI 36 to 83): "
                "heads can't name them, and scores count them as missed"
            )
        if odd["shorter_than_frame"]:
            yield (
                f"{odd['shorter_than_frame']} of {total} notes last less than {_FRAME_S:g} s, "
                "less than a frame"
            )

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return onset, silence, octave and pitch class of each frame, (F, 4) int16."""
        return transcription.rasterise(target, times)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the sum of the four losses, mean over frames."""
        return transcription.loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return sigmoid or softmax less the label, an onset by its weight, over frames."""
        gradient = outputs.new_empty(outputs.shape)
        # Outputs: onset, silence, five octaves, thirteen pitch classes.
        gradient[:2] = outputs[:2].sigmoid().sub_(targets[:, :2].T[:, None])
        gradient[0] *= 1 + (transcription.ONSET_WEIGHT - 1) * targets[:, 0]
        gradient[2:7] = softmax_less_hot(outputs[2:7], targets[:, 2])
        gradient[7:] = softmax_less_hot(outputs[7:], targets[:, 3])
        return gradient.div_(len(targets))

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return onset, whose frames weigh 15, silence, octave and pitch class."""
        onset, silence, octave, pitch_class = targets.T.astype(np.int64)
        heavy = np.where(onset > 0, transcription.ONSET_WEIGHT, 1.0)
        return [
            Problem(slice(0, 1), "tag", onset, heavy),
            Problem(slice(1, 2), "tag", silence),
            Problem(slice(2, 7), "classes", octave),
            Problem(slice(7, 20), "classes", pitch_class),
        ]

    # -- decoding and scores -----------------------------------------------------------------------

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the notes (n, 3) of each head, by the published decoder."""
        return [transcription.decode(head.numpy(), times) for head in logits]

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip."""
        return transcription.score(np.array(reference, dtype=float).reshape(-1, 3), estimate)

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return no notes, (0, 3)."""
        return np.zeros((0, 3))

    def marks(self, events: Sequence[Any] | np.ndarray) -> list[Mark]:
        """Return onset, offset and pitch of each note, MIDI."""
        return [(float(on), float(off), float(pitch)) for on, off, pitch in events]

    def height_name(self, height: int) -> str:
        """Return a pitch as musicians write it, ``C4`` for MIDI 60; only of white keys."""
        return white_key(height)

    # -- predictions -------------------------------------------------------------------------------

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.mid``, ``.notes.csv`` (onset_s, offset_s, midi) and ``.jams``."""
        lines, data = ["onset_s,offset_s,midi"], []
        for onset, offset, pitch in prediction.events.tolist():
            lines.append(f"{onset:.3f},{offset:.3f},{pitch:.0f}")
            data.append(
                {"time": onset, "duration": offset - onset, "value": pitch, "confidence": None}
            )
        return {
            ".mid": midi(prediction.events),
            ".notes.csv": "\n".join(lines) + "\n",
            ".jams": jams("note_midi", data, prediction.seconds, prediction.task.name),
        }

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a note."""
        return [
            {"onset_s": round(onset, 4), "offset_s": round(offset, 4), "midi": int(pitch)}
            for onset, offset, pitch in prediction.events.tolist()
        ]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how many, and their range in MIDI numbers."""
        return ["notes", "lowest", "highest"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return how many notes there are, the lowest and the highest pitch."""
        if not len(prediction.events):
            return ["0", "–", "–"]
        pitches = prediction.events[:, 2]
        return [str(len(pitches)), f"{pitches.min():.0f}", f"{pitches.max():.0f}"]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a piano roll, with the probability of an onset below it."""
        notes = prediction.events.reshape(-1, 3)
        notes = notes[notes[:, 0] < seconds]
        low, high = 57.0, 71.0  # of an empty roll: an octave around middle C
        if len(notes):
            low, high = notes[:, 2].min() - 2, notes[:, 2].max() + 2
        for pitch in range(int(low), int(high) + 1):
            axes.axhline(pitch, color="#d8dee5", lw=0.5, zorder=0)
        if len(notes):
            onset, offset, midi_number = notes.T
            axes.barh(midi_number, offset - onset, 0.8, onset, color=INK, edgecolor="white", lw=0.4)
        # The more octaves an axis shows, the fewer of its pitches it names.
        shown = WHITE_KEYS if high - low < 13 else _TRIAD if high - low < 25 else _FIFTH
        ticks = [pitch for pitch in range(int(low), int(high) + 1) if pitch % 12 in shown]
        axes.set_yticks(ticks, [pitch_name(pitch) for pitch in ticks])
        axes.set_ylim(low, high + 0.5)
        axes.set_ylabel(f"notes ({len(notes)})")
        self.draw_activation(axes, prediction, top=3)


def _of_table(path: Path) -> list[tuple[str, float, float, float]]:
    """Read ``onset_s,offset_s,midi`` a line: where, onset and offset in seconds, MIDI number."""
    separator, rows = columns_of_numbers(path, read_text(path, NAMED_BY), "onset_s")
    for number, cells in rows:
        if len(cells) != 3:
            hint = (
                "; a decimal comma needs columns separated by ; or tabs" if separator == "," else ""
            )
            raise TaskError(
                f"{path}:{number}: {len(cells)} fields; a note is onset_s,offset_s,midi{hint}"
            )
    placed = [Cell(f"{path}:{number}", text) for number, cells in rows for text in cells]
    numbers = Numbers(separator, placed)
    notes = []
    for on, off, pitch in zip(placed[::3], placed[1::3], placed[2::3], strict=True):
        onset = numbers.read(on, "note", 0.0, LATEST_S, " s")
        offset = numbers.read(off, "note", 0.0, LATEST_S, " s")
        midi_number = numbers.read(pitch, "MIDI number (69 is 440 Hz) of a note", 0.0, 127.0)
        notes.append((on.where, onset, offset, midi_number))
    return notes


def _ordered(
    notes: Sequence[tuple[str, float, float, float]],
) -> tuple[tuple[float, float, float], ...]:
    """Return notes by onset. Raises TaskError where one does not last, with its place."""
    for where, onset, offset, _ in notes:
        if offset <= onset:
            raise TaskError(f"{where}: offset {offset:g} s is not after onset {onset:g} s")
    return tuple(sorted((onset, offset, pitch) for _, onset, offset, pitch in notes))


NOTES = Notes()
