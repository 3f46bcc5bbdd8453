"""Synthetic GTZAN: ten genres with beats, in its official folder layout and under the names of its
list.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.synth.corpus import (
    Audio,
    Recording,
    new_header,
    rng_of,
    write_corpus,
    write_text,
)
from svuprobe.tasks.synth.instruments import Style, track
from svuprobe.tasks.synth.selection import Row, spread

DAMAGED = "genres/jazz/jazz.00033.wav"
SAMPLE_RATE = 22050
SECONDS = 7.5
# The usual length of a real file, 30.013 s: one window of 30 s, not two.
FIRST_SECONDS = 661_794 / SAMPLE_RATE

# Who plays a genre (chords, melody), drums, swing, lowest and highest tempo.
_GENRES: dict[str, tuple[str, str, float, float, tuple[int, int]]] = {
    "blues": ("guitar", "reed", 0.35, 0.17, (85, 100)),
    "classical": ("string", "flute", 0.0, 0.0, (85, 115)),
    "country": ("guitar", "string", 0.3, 0.0, (100, 130)),
    "disco": ("string", "synth_lead", 0.9, 0.0, (115, 130)),
    "hiphop": ("", "vocal", 1.2, 0.1, (85, 105)),
    "jazz": ("keyboard", "brass", 0.25, 0.17, (120, 160)),
    "metal": ("synth_lead", "synth_lead", 1.0, 0.0, (140, 170)),
    "pop": ("keyboard", "vocal", 0.5, 0.0, (100, 125)),
    "reggae": ("organ", "vocal", 0.4, 0.1, (80, 95)),
    "rock": ("guitar", "vocal", 0.8, 0.0, (115, 145)),
}


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` tracks (default 90) as ``root/genres/<genre>/<genre>.NNNNN.wav`` with their
    beats.

    22.05 kHz mono PCM16 of 7.5 s; the first lasts 30.013 s, as the real ones. Genres differ in
    instruments, drums and tempo. One file is damaged, under a number that the fault-filtered list
    leaves out (the real one, jazz.00054, is on the list: extraction names it). Beats are in
    ``root/beats/<track>.beats``, with the place in the bar as their second column. From 30 tracks
    on every split holds every genre. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    rows = split_lists.read("gtzan_fault_filtered.tsv")
    header = new_header("gtzan", seed, clips, default=90, high=len(rows))
    chosen = spread(rows, "genre", header["clips"])

    def make(row: Row) -> Recording:
        path, beats_path = (
            f"genres/{row['genre']}/{row['track']}.wav",
            f"beats/{row['track']}.beats",
        )
        seconds = FIRST_SECONDS if row is chosen[0] else SECONDS

        def render() -> Audio:
            rng = rng_of(seed, path)
            audio, beats = track(genre_style(row["genre"], rng), seconds, rng, SAMPLE_RATE)
            write_text(
                root / beats_path, "\n".join(f"{time}\t{n % 4 + 1}" for n, time in enumerate(beats))
            )
            return audio

        return Recording(path, seconds, SAMPLE_RATE, render, beside=(beats_path,))

    write_corpus(root, header, chosen, make, reporter=reporter, jobs=jobs, damaged=[DAMAGED])


def genre_style(genre: str, rng: np.random.Generator) -> Style:
    """Return a piece of a genre, in any key."""
    chords, melody, drums, swing, (low, high) = _GENRES[genre]
    return Style(
        tonic=int(rng.integers(12)),
        mode=str(rng.choice(["major", "minor"])),
        bpm=float(rng.uniform(low, high)),
        chords=chords,
        melody=melody,
        drums=drums * float(rng.uniform(0.8, 1.2)),
        level=0.8 if genre in ("metal", "disco", "hiphop") else 0.5,
        swing=swing,
    )
