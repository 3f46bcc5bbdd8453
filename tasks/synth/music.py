"""Synthetic music in the folder layouts of GTZAN and GiantSteps, marked as synthetic.

Names are those of the official lists, so the official splits apply. The rules that all synthetic corpora keep are in
:mod:`svuprobe.tasks.synth.corpus`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.key import FOLDERS, TONICS
from svuprobe.tasks.synth.corpus import (
    begin,
    finish,
    mapped,
    new_header,
    rng_of,
    write_audio,
    write_damaged,
    write_text,
)
from svuprobe.tasks.synth.instruments import Style, track

Row = dict[str, str]

# After one clip of each class in each split: so many more in a round.
SHARES = {"train": 4, "valid": 1, "test": 1}

GTZAN_DAMAGED = "genres/jazz/jazz.00033.wav"
GTZAN_RATE = 22050
GTZAN_SECONDS = 7.5
GTZAN_FIRST = 661_794 / GTZAN_RATE  # the usual length of a real file, 30.013 s: one window of 30 s, not two

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

KEY_RATE = 16000
KEY_SECONDS = 4.0
KEY_FIRST = 61.0  # one song of two windows
_KEY_CHORDS = ("keyboard", "synth_lead")


def spread(rows: Sequence[Row], label: str, clips: int) -> list[Row]:
    """``clips`` rows of an official list, evenly: one of each label and split first, then rounds of ``SHARES``.

    A longer selection begins with the shorter one.
    """
    seen: Counter[tuple[str, str]] = Counter()
    order = []
    for row in rows:
        cell = row[label], row["split"]
        order.append((seen[cell] / SHARES[row["split"]], *cell, row))
        seen[cell] += 1
    return [row for *_, row in sorted(order, key=lambda place: place[:3])[:clips]]


def genre_style(genre: str, rng: np.random.Generator) -> Style:
    """A piece of a genre, in any key."""
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


def gtzan(root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None) -> None:
    """Write ``clips`` tracks (default 90) as ``root/genres/<genre>/<genre>.NNNNN.wav`` with their beats.

    22.05 kHz mono PCM16 of 7.5 s; the first lasts 30.013 s, as the real ones. Genres differ in instruments, drums and
    tempo. One file is damaged, under a number that the fault-filtered list leaves out (the real one, jazz.00054, is
    on the list: extraction names it). Beats are in ``root/beats/<track>.beats``, with the place in the bar as their
    second column. From 30 tracks
    on every split holds every genre. Parameters and errors are those of
    :func:`svuprobe.tasks.synth.corpora.vocalset`.
    """
    rows = split_lists.read("gtzan_fault_filtered.tsv")
    header = new_header("gtzan", seed, clips, default=90, high=len(rows))
    if not begin(root, header):
        return
    chosen = spread(rows, "genre", header["clips"])

    def make(row: Row) -> tuple[str, str, float]:
        path, beats = f"genres/{row['genre']}/{row['track']}.wav", f"beats/{row['track']}.beats"
        seconds = GTZAN_FIRST if row is chosen[0] else GTZAN_SECONDS
        if not ((root / path).exists() and (root / beats).exists()):
            rng = rng_of(seed, path)
            audio, times = track(genre_style(row["genre"], rng), seconds, rng, GTZAN_RATE)
            write_text(root / beats, "\n".join(f"{time}\t{n % 4 + 1}" for n, time in enumerate(times)))
            write_audio(root / path, audio, GTZAN_RATE)
        return path, beats, seconds

    made = mapped(make, chosen, reporter, "gtzan (synthetic)", jobs)
    write_damaged(root / GTZAN_DAMAGED, seed)
    extra = [GTZAN_DAMAGED, *(beats for _, beats, _ in made)]
    finish(root, header, {path: seconds for path, _, seconds in made}, extra=extra)


def key_style(key: str, rng: np.random.Generator) -> Style:
    """A fast piece in a key, without a melody."""
    tonic, mode = key.split()
    chords = str(rng.choice(_KEY_CHORDS))
    drums = float(rng.uniform(0.1, 0.3))
    return Style(TONICS.index(tonic), mode, bpm=float(rng.uniform(215, 240)), chords=chords, drums=drums)


def giantsteps(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` songs (default 216) as ``root/giantsteps-{mtg-key,key}-dataset/audio/<id>.LOFI.mp3``.

    16 kHz mono of 4 s; the first lasts 61 s, so that one song has two windows. Ids in the second folder are padded
    with zeros, as in the real one. From 72 songs on every split holds every key. Parameters and errors are those of
    :func:`svuprobe.tasks.synth.corpora.vocalset`.
    """
    rows = split_lists.read("giantsteps_key.tsv")
    header = new_header("giantsteps", seed, clips, default=216, high=len(rows))
    if not begin(root, header):
        return
    chosen = spread(rows, "key", header["clips"])

    def make(row: Row) -> tuple[str, float]:
        name = row["beatport_id"].zfill(7) if row["split"] == "test" else row["beatport_id"]
        path = f"{FOLDERS[row['split']]}/audio/{name}.LOFI.mp3"
        seconds = KEY_FIRST if row is chosen[0] else KEY_SECONDS
        if not (root / path).exists():
            rng = rng_of(seed, path)
            audio, _ = track(key_style(row["key"], rng), seconds, rng, KEY_RATE)
            write_audio(root / path, audio, KEY_RATE)
        return path, seconds

    finish(root, header, dict(mapped(make, chosen, reporter, "giantsteps (synthetic)", jobs)))
