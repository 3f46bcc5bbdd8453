"""Synthetic MedleyDB-Melody: a voice over chords, with the f0 of the voice, in its layout."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.melody import MEDLEYDB_SPLIT
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import note
from svuprobe.tasks.synth.takes import contour
from svuprobe.tasks.synth.voice import singers

SAMPLE_RATE = 16000
_HOP_S = 256 / 44100  # of the f0, as published
_SECONDS = 5.0
_CHORD_S = 1.0


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 30) as ``root/audio/<track>_MIX.wav`` with their melody.

    16 kHz mono PCM16 of 5 s, under the names of the list, splits in turns: a voice, and quiet
    chords of a guitar. The f0 is what the voice was told to sing, in
    ``root/melody2/<track>_MELODY2.csv``. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    listed = split_lists.read(MEDLEYDB_SPLIT)
    header = new_header("medleydb-melody", seed, clips, default=30, high=len(listed))
    parts = [[row for row in listed if row["split"] == part] for part in ("train", "valid", "test")]
    turns = [row["track_id"] for turn in zip_longest(*parts) for row in turn if row is not None]
    cast = singers(seed)
    times = np.arange(0, _SECONDS, _HOP_S)
    sung: dict[str, np.ndarray] = {}

    def make(track: str) -> Recording:
        path = f"audio/{track}_MIX.wav"
        rng = rng_of(seed, path)
        # Sung even where the file is there: its f0 is known only then.
        voice, sung[track] = contour(
            cast[int(rng.integers(len(cast)))], _SECONDS, times, rng, SAMPLE_RATE
        )
        return Recording(path, _SECONDS, SAMPLE_RATE, lambda: 0.7 * voice + _chords(rng))

    def texts() -> dict[str, str]:
        files = {}
        for track, hz in sung.items():
            pairs = zip(times.tolist(), hz.tolist(), strict=True)
            lines = [f"{time!r},{value:.3f}" for time, value in pairs]
            files[f"melody2/{track}_MELODY2.csv"] = "\n".join(lines)
        return dict(sorted(files.items()))

    tracks = turns[: header["clips"]]
    write_corpus(root, header, tracks, make, reporter=reporter, jobs=jobs, texts=texts)


def _chords(rng: np.random.Generator) -> np.ndarray:
    """Play a triad a second, (n,) float32."""
    out = np.zeros(round(_SECONDS * SAMPLE_RATE), np.float32)
    for start in np.arange(0, _SECONDS, _CHORD_S):
        root = 48 + int(rng.integers(12))
        for step in (0, int(rng.integers(3, 5)), 7):
            sound = note("guitar", root + step, _CHORD_S, rng, SAMPLE_RATE)
            begin = round(start * SAMPLE_RATE)
            out[begin : begin + len(sound)] += 0.03 * sound[: len(out) - begin]
    return out
