"""Synthetic NSynth: single notes of eleven families, in its official folder layout."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import FAMILIES, note
from svuprobe.tasks.types import SPLITS

SAMPLE_RATE = 16000
# Two notes an octave apart of each of three, so that a pitch can be right but for its octave.
PITCHES = (40, 45, 50, 52, 57, 62)
VELOCITIES = (127, 100, 75, 50, 25)
_INSTRUMENTS = 6  # of each family: 0 to 3 in train, 4 in valid, 5 in test
SOURCES = ("acoustic", "electronic", "synthetic")
HELD_S, NOTE_S = 3.0, 4.0


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` notes (default 198) as ``root/nsynth-<split>/audio/*.wav`` with their
    ``examples.json``.

    16-bit wav of 4 s: held for 3 s, then silent. Each of the 11 families has four instruments in
    train and one of its own in valid and in test; 66 notes are one of each of these. Every split
    holds the same six pitches. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    rows = _notes()
    header = new_header("nsynth", seed, clips, default=198, high=len(rows))
    rows = rows[: header["clips"]]

    def make(item: tuple[str, dict[str, Any]]) -> Recording:
        split, row = item
        path = f"nsynth-{split}/audio/{row['note_str']}.wav"
        return Recording(path, NOTE_S, SAMPLE_RATE, lambda: _played(row, rng_of(seed, path)))

    def texts() -> dict[str, str]:
        examples: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        for split, row in rows:
            examples[split][row["note_str"]] = row
        return {
            f"nsynth-{split}/examples.json": json.dumps(examples[split], indent=1)
            for split in SPLITS
        }

    write_corpus(root, header, rows, make, reporter=reporter, jobs=jobs, texts=texts)


def _played(row: dict[str, Any], rng: np.random.Generator) -> Audio:
    """Play a note of ``examples.json``, over a noise floor of -80 dB."""
    number = int(row["instrument_str"][-3:])
    audio = 1e-4 * rng.standard_normal(round(NOTE_S * SAMPLE_RATE))
    tone = note(
        row["instrument_family_str"], row["pitch"], HELD_S, rng, SAMPLE_RATE, instrument=number
    )
    audio[: len(tone)] += (0.2 + 0.6 * row["velocity"] / 127) * tone / np.abs(tone).max()
    return audio.astype(np.float32)


def _notes() -> list[tuple[str, dict[str, Any]]]:
    """Return every note there can be with its split, evenly spread however few are taken from the
    front.
    """
    passes = [[("train", 0), ("valid", 4), ("test", 5)], [("train", 1), ("train", 2), ("train", 3)]]
    return [
        (
            split,
            _metadata(family, number, PITCHES[(turn + number + index) % len(PITCHES)], velocity),
        )
        for velocity, turn, instruments in product(VELOCITIES, range(len(PITCHES)), passes)
        for index, family in enumerate(sorted(FAMILIES))
        for split, number in instruments
    ]


def _metadata(family: str, number: int, pitch: int, velocity: int) -> dict[str, Any]:
    """Return an entry of ``examples.json`` with the official keys."""
    families = sorted(FAMILIES)
    source = (number + families.index(family)) % len(SOURCES) if family != "synth_lead" else 2
    instrument = f"{family}_{SOURCES[source]}_{number:03d}"
    place = families.index(family) * _INSTRUMENTS + number
    return {
        "note": (place * 128 + pitch) * 128 + velocity,
        "note_str": f"{instrument}-{pitch:03d}-{velocity:03d}",
        "instrument": place,
        "instrument_str": instrument,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": SAMPLE_RATE,
        "qualities": [0] * 10,
        "qualities_str": [],
        "instrument_family": families.index(family),
        "instrument_family_str": family,
        "instrument_source": source,
        "instrument_source_str": SOURCES[source],
    }
