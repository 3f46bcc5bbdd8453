"""Synthetic MIR-ST500: songs of one voice with their notes, in its official folder layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import Note, melody
from svuprobe.tasks.synth.voice import singers

SAMPLE_RATE = 44100
NOTES = "MIR-ST500_corrected.json"

# First and last song of each split; validation songs are this project's, from the official train.
SONGS = {"train": (1, 360), "valid": (361, 400), "test": (401, 500)}
SONG_SECONDS = (18.0, 22.0)


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 24) as ``root/<train|test>/<id>/Vocal.wav`` with their notes.

    44.1 kHz mono PCM16 of about 20 s, one singer per song, no accompaniment: what separated vocals
    are meant to be. The notes are in ``root/MIR-ST500_corrected.json``, ``{"<id>": [[onset_s,
    offset_s, midi], ...]}``. Ids lie in the official ranges: train 1-360, validation 361-400 (in
    ``train/``), test 401-500. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("mir-st500", seed, clips, default=24, high=500)
    cast = singers(seed)
    notes_of: dict[int, list[Note]] = {}

    def make(song: int) -> Recording:
        path = f"{'test' if song >= SONGS['test'][0] else 'train'}/{song}/Vocal.wav"
        rng = rng_of(seed, path)
        seconds = float(rng.uniform(*SONG_SECONDS))
        # Sung even where the file is there: its notes are known only then.
        audio, notes_of[song] = melody(cast[rng.integers(len(cast))], seconds, rng, SAMPLE_RATE)
        return Recording(path, seconds, SAMPLE_RATE, lambda: audio)

    songs = _song_ids(header["clips"])

    def texts() -> dict[str, str]:
        return {NOTES: json.dumps({str(song): notes_of[song] for song in songs})}

    write_corpus(root, header, songs, make, reporter=reporter, jobs=jobs, texts=texts)


def _song_ids(clips: int) -> list[int]:
    """Return ids spread over the official ranges: a quarter test, a sixth validation, none
    empty.
    """
    test = min(max(round(clips / 4), 1), 100)
    valid = min(max(round(clips / 6), 1), 40)
    sizes = {"train": clips - test - valid, "valid": valid, "test": test}
    return [
        int(song)
        for split, (first, last) in SONGS.items()
        for song in np.linspace(first, last, sizes[split]).round()
    ]
