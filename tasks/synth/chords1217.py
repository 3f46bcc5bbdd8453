"""Synthetic Chords1217: songs of a few chords, in the layout in which MARBLE distributes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.chords import LISTS, list_of
from svuprobe.tasks.kinds.chord_labels import CLASSES
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import note

SAMPLE_RATE = 16000
_SECONDS = 1.0  # of a chord
_CHORDS = 8
_FAMILIES = ("keyboard", "guitar", "organ", "string")
# Semitones above the root, by quality.
_TONES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "7": (0, 4, 7, 10),
}
# What a song is made of: each quality as often as popular songs have it, about.
_SHARES = {"maj": 0.5, "min": 0.25, "maj7": 0.07, "min7": 0.08, "7": 0.1}
_ROOTS = tuple(name.split(":")[0] for name in CLASSES[1:13])

Chord = tuple[float, float, str]


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 60) as ``root/audio/<id>.flac`` with the lists of the splits.

    16 kHz mono of 9 s: silence (``N``) for a second, then eight chords of a second by one
    instrument, with a bass on the root. Three of five songs are for training. Parameters and errors
    are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("chords1217", seed, clips, default=60, high=1217)
    songs = list(range(header["clips"]))
    chords_of: dict[int, list[Chord]] = {}

    def make(song: int) -> Recording:
        path = f"audio/{_name(song)}.flac"
        rng = rng_of(seed, path)
        chords_of[song] = _score(rng)  # known even where the file is there
        seconds = chords_of[song][-1][1]
        return Recording(path, seconds, SAMPLE_RATE, lambda: _played(chords_of[song], seconds, rng))

    def texts() -> dict[str, str]:
        lines: dict[str, list[str]] = {list_of(split): [] for split in LISTS}
        for song in songs:
            labels = [
                {"start_time": start, "end_time": end, "chord_str": name}
                for start, end, name in chords_of[song]
            ]
            about = {"audio_path": f"data/Chords1217/audio/{_name(song)}.flac", "label": labels}
            lines[list_of(split_of(song))].append(json.dumps(about) + "\n")
        return {name: "".join(part) for name, part in lines.items()}

    write_corpus(root, header, songs, make, reporter=reporter, jobs=jobs, texts=texts)


def split_of(song: int) -> str:
    """Return the split of a song by its number."""
    return ("train", "valid", "test", "train", "train")[song % 5]


def _name(song: int) -> str:
    return f"TR{song:04d}"


def _score(rng: np.random.Generator) -> list[Chord]:
    """Return the chords of a song; neighbours differ."""
    score: list[Chord] = [(0.0, _SECONDS, "N")]
    while len(score) <= _CHORDS:
        quality = rng.choice(list(_SHARES), p=list(_SHARES.values()))
        label = f"{rng.choice(_ROOTS)}:{quality}"
        if label != score[-1][2]:
            start = score[-1][1]
            score.append((start, start + _SECONDS, label))
    return score


def _played(chords: list[Chord], seconds: float, rng: np.random.Generator) -> Audio:
    """Play chords, (n,) float32 within ±1."""
    family = str(rng.choice(_FAMILIES))
    out = 1e-4 * rng.normal(size=round(seconds * SAMPLE_RATE))
    for start, end, label in chords:
        if label == "N":
            continue
        root, quality = label.split(":")
        pitch = _ROOTS.index(root)
        begin = round(start * SAMPLE_RATE)
        # Pitches stay within an octave, so that the chord is heard and not the register.
        for name, midi, level in (
            ("bass", 36 + pitch, 0.4),
            *((family, 60 + (pitch + step) % 12, 0.3) for step in _TONES[quality]),
        ):
            sound = note(name, midi, end - start, rng, SAMPLE_RATE)
            out[begin : begin + len(sound)] += level * sound[: len(out) - begin]
    return (0.5 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)
