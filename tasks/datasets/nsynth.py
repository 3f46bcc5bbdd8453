"""NSynth (Engel et al. 2017): 305,979 notes of 1,006 instruments, 4 s at 16 kHz, 340 hours, CC BY
4.0.

Layout: ``nsynth-<train|valid|test>/examples.json`` and ``audio/<note>.wav`` (or .flac), also with a
folder ``nsynth-data`` in between. Labels come from ``examples.json``, never from the name:
``synth_lead`` has an underscore in it. Notes whose audio is absent are left out.

What to know of the official split:

* No instrument of train is in valid or test: the loader refuses a copy where one is. Valid and test
  do share instruments (``guitar_acoustic_010`` is in both), which the data's page does not rule
  out. So instruments in test are new to what was trained, but not to what was selected.
* ``synth_lead`` is believed to be in train only (not verified here): 10 classes are left to be
  recognised.
* Pitches reach beyond the page's 21-108 (https://github.com/magenta/magenta/issues/1143), and 71
  notes of ``brass_acoustic_046`` in test are noise (issue 2092). Both are kept, as everybody does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svuprobe.tasks.types import SPLITS, Clip, TaskError, Windowing

DATASET = "nsynth"
LICENCE = "CC BY 4.0"
REFERENCE = "Engel et al. 2017, NSynth, https://magenta.tensorflow.org/datasets/nsynth"
EXPECTED = {"train": 289_205, "valid": 12_678, "test": 4_096}
HOURS = 340.0

# The whole note, its decay into silence included; the
# tail rule drops the odd sample that resampling may add.
WINDOWING = Windowing(window_s=4.0, tail_s=1.0)


@dataclass(frozen=True)
class Note:
    """Describe one note of one instrument; ``id`` is its name, ``pitch`` its MIDI number."""

    id: str
    path: str
    split: str
    family: str
    instrument: str
    pitch: int


def notes(root: Path) -> list[Note]:
    """Return every note whose audio is there, by split and name."""
    base = root / "nsynth-data" if (root / "nsynth-data").is_dir() else root
    found = [note for split in SPLITS for note in _notes_of(base / f"nsynth-{split}", split)]
    seen = {note.instrument for note in found if note.split == "train"}
    for note in found:
        if note.split != "train" and note.instrument in seen:
            raise TaskError(
                f"{base}: instrument {note.instrument} is in both train and {note.split}; in "
                "NSynth no instrument of train is anywhere else: unpack the three official "
                "archives again"
            )
    return found


def _notes_of(folder: Path, split: str) -> list[Note]:
    """Return the notes of one split."""
    examples, audio = _examples(folder / "examples.json"), folder / "audio"
    if not audio.is_dir():
        raise TaskError(f"{audio}: no such folder; unpack nsynth-{split}.jsonwav.tar.gz")
    # Listed once: asking for 300,000 files one by one takes minutes on a network.
    there = {entry.name for entry in os.scandir(audio)}
    found = []
    for name, row in sorted(examples.items()):
        suffix = next((s for s in (".wav", ".flac") if name + s in there), None)
        if suffix is not None:
            labels = row["instrument_family_str"], row["instrument_str"], row["pitch"]
            found.append(Note(name, f"{audio / name}{suffix}", split, *labels))
    return found


def _examples(path: Path) -> dict[str, dict[str, Any]]:
    """Read the metadata of one split, checked for what the tasks need."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaskError(
            f"{path}: no such file; NSynth unpacks to nsynth-<train|valid|test>/examples.json"
        ) from None
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{path}: can't be read as JSON ({error}); unpack the archive again"
        ) from None
    if not isinstance(rows, dict):
        raise TaskError(
            f"{path}: not NSynth's metadata, {{note: {{...}}}}; unpack the archive again"
        )
    kinds = {"instrument_family_str": str, "instrument_str": str, "pitch": int}
    for name, row in rows.items():
        for key, kind in kinds.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                raise TaskError(
                    f"{path}: note {name!r} has no {key} of type {kind.__name__}; unpack it again"
                )
    return rows


def clips(root: Path, target: Callable[[Note], str]) -> list[Clip]:
    """Return the notes as clips with the label ``target`` takes from each; the group is the
    instrument.
    """
    return [Clip(n.id, n.path, n.split, target=target(n), group=n.instrument) for n in notes(root)]
