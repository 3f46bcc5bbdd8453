"""Synthetic EmoMusic, NSynth and Artist20 in their official folder layouts, marked as synthetic.

The rules that all synthetic corpora keep are in :mod:`svuprobe.tasks.synth.corpus`. Audio is mono at 16 kHz.
"""

from __future__ import annotations

import json
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets.split_lists import read
from svuprobe.tasks.synth.corpus import (
    Audio,
    begin,
    finish,
    mapped,
    new_header,
    rng_of,
    write_audio,
    write_text,
)
from svuprobe.tasks.synth.instruments import FAMILIES, Style, note, track
from svuprobe.tasks.synth.techniques import melody
from svuprobe.tasks.synth.voice import singers
from svuprobe.tasks.types import SPLITS, TaskError

SAMPLE_RATE = 16000

# EmoMusic: of every five songs, three train.
_SPLIT_PATTERN = ("train", "valid", "test", "train", "train")
EMOTION_SECONDS = 8.0  # the real ones last 45

# NSynth: two notes an octave apart of each of three, so that a pitch can be right but for its octave.
PITCHES = (40, 45, 50, 52, 57, 62)
VELOCITIES = (127, 100, 75, 50, 25)
_INSTRUMENTS = 6  # of each family: 0 to 3 in train, 4 in valid, 5 in test
SOURCES = ("acoustic", "electronic", "synthetic")
HELD_S, NOTE_S = 3.0, 4.0

# Artist20: in byte order as here; sorted without regard to case, valid and test would be other albums.
ALBUMS = ("Back_Room", "Demos", "Encore", "Zenith", "after_hours", "b-sides")
SONG_SECONDS = 10.5  # two windows of 5 s and a tail to drop
_FEWEST_SONGS, _SONGS_PER_ALBUM = 12, 12


def emomusic(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` songs (default 60) as ``root/clips_45seconds/<id>.mp3``, 8 s each.

    Ids are EmoMusic's, without leading zeros, and the music follows their published targets: arousal is heard in
    tempo, loudness and drums, valence in mode and brightness. Parameters and errors are those of ``vocalset``.
    """
    header = new_header("emomusic", seed, clips, default=60, high=len(read("emomusic.tsv")))
    if not begin(root, header):
        return

    def make(row: dict[str, str]) -> tuple[str, float]:
        path = f"clips_45seconds/{int(row['song_id'])}.mp3"
        if not (root / path).exists():
            audio = mood(float(row["arousal"]), float(row["valence"]), EMOTION_SECONDS, rng_of(seed, path))
            write_audio(root / path, audio, SAMPLE_RATE)
        return path, EMOTION_SECONDS

    made = mapped(make, _songs(header["clips"]), reporter, "emomusic (synthetic)", jobs)
    finish(root, header, dict(made))


def mood(arousal: float, valence: float, seconds: float, rng: np.random.Generator) -> Audio:
    """Music of an arousal and a valence, both about standard normal; (n,) float32 within ±1."""
    style = Style(
        tonic=int(rng.integers(12)),
        mode="major" if valence > 0 else "minor",
        bpm=float(np.clip(105 + 25 * arousal, 50, 170)),
        chords=str(rng.choice(["guitar", "keyboard"])),
        drums=float(np.clip(0.35 + 0.25 * arousal, 0, 1)),
        level=1.0,
    )
    audio, _ = track(style, seconds, rng, SAMPLE_RATE)
    # Brightness: 3 dB more per octave for each unit of valence; loudness: 4 dB for each unit of arousal.
    hz = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    tilted = np.fft.irfft(np.fft.rfft(audio) * (np.maximum(hz, 50) / 500) ** (valence / 2), len(audio))
    level = 10 ** ((4 * arousal - 28) / 20) / max(float(np.sqrt(np.mean(tilted**2))), 1e-9)
    return np.clip(level * tilted, -1, 1).astype(np.float32)


def _songs(clips: int) -> list[dict[str, str]]:
    """Rows of the official list, three train, one valid and one test of every five while they last."""
    left = {split: iter([r for r in read("emomusic.tsv") if r["split"] == split]) for split in SPLITS}
    turns = (next(left[split], None) for _ in range(744) for split in _SPLIT_PATTERN)
    return list(islice((row for row in turns if row is not None), clips))


def nsynth(root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None) -> None:
    """Write ``clips`` notes (default 198) as ``root/nsynth-<split>/audio/*.wav`` with their ``examples.json``.

    16-bit wav of 4 s: held for 3 s, then silent. Each of the 11 families has four instruments in train and one of
    its own in valid and in test; 66 notes are one of each of these. Every split holds the same six pitches.
    Parameters and errors are those of ``vocalset``.
    """
    rows = _notes()
    header = new_header("nsynth", seed, clips, default=198, high=len(rows))
    if not begin(root, header):
        return
    rows = rows[: header["clips"]]

    def make(item: tuple[str, dict[str, Any]]) -> tuple[str, float]:
        split, row = item
        path = f"nsynth-{split}/audio/{row['note_str']}.wav"
        if not (root / path).exists():
            write_audio(root / path, _played(row, rng_of(seed, path)), SAMPLE_RATE)
        return path, NOTE_S

    made = mapped(make, rows, reporter, "nsynth (synthetic)", jobs)
    for split in SPLITS:
        examples = {row["note_str"]: row for s, row in rows if s == split}
        write_text(root / f"nsynth-{split}/examples.json", json.dumps(examples, indent=1))
    finish(root, header, dict(made), extra=[f"nsynth-{split}/examples.json" for split in SPLITS])


def _played(row: dict[str, Any], rng: np.random.Generator) -> Audio:
    """A note of ``examples.json``, over a noise floor of -80 dB."""
    number = int(row["instrument_str"][-3:])
    audio = 1e-4 * rng.standard_normal(round(NOTE_S * SAMPLE_RATE))
    tone = note(row["instrument_family_str"], row["pitch"], HELD_S, rng, SAMPLE_RATE, instrument=number)
    audio[: len(tone)] += (0.2 + 0.6 * row["velocity"] / 127) * tone / np.abs(tone).max()
    return audio.astype(np.float32)


def _notes() -> list[tuple[str, dict[str, Any]]]:
    """Every note there can be with its split, evenly spread however few are taken from the front."""
    passes = [[("train", 0), ("valid", 4), ("test", 5)], [("train", 1), ("train", 2), ("train", 3)]]
    return [
        (split, _metadata(family, number, PITCHES[(turn + number + index) % len(PITCHES)], velocity))
        for velocity, turn, instruments in product(VELOCITIES, range(len(PITCHES)), passes)
        for index, family in enumerate(sorted(FAMILIES))
        for split, number in instruments
    ]


def _metadata(family: str, number: int, pitch: int, velocity: int) -> dict[str, Any]:
    """An entry of ``examples.json`` with the official keys."""
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


def artist20(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` songs (default 120) as ``root/<artist>/<album>/<NN-title>.mp3``, 10.5 s each.

    Each artist is one singer without accompaniment and has six albums, as the split asks for: up to 20 artists,
    fewer where the songs do not suffice. Names are made up. Parameters and errors are those of ``vocalset``,
    but for fewer than 12 songs: two artists of six albums is the least there is to tell apart.
    """
    header = new_header("artist20", seed, clips, default=120, high=20 * len(ALBUMS) * _SONGS_PER_ALBUM)
    if header["clips"] < _FEWEST_SONGS:
        raise TaskError(
            f"--clips {clips}: synthetic artist20 has at least {_FEWEST_SONGS}, six albums of each of two artists"
        )
    if not begin(root, header):
        return
    cast = singers(seed)

    def make(item: tuple[int, str]) -> tuple[str, float]:
        artist, path = item
        if not (root / path).exists():
            audio, _ = melody(cast[artist], SONG_SECONDS, rng_of(seed, path), SAMPLE_RATE)
            write_audio(root / path, audio, SAMPLE_RATE)
        return path, SONG_SECONDS

    made = mapped(make, _discography(header["clips"]), reporter, "artist20 (synthetic)", jobs)
    finish(root, header, dict(made))


def _discography(clips: int) -> list[tuple[int, str]]:
    """Artists by number and the paths of their songs: the first song of every album, then the second."""
    artists = min(20, clips // len(ALBUMS))
    everything = (
        (artist, f"artist{artist + 1:02d}/{album}/{song:02d}-Song_{song}.mp3")
        for song in range(1, clips + 1)
        for album in ALBUMS
        for artist in range(artists)
    )
    return list(islice(everything, clips))
