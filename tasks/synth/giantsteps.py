"""Synthetic GiantSteps: pieces in all keys, in its official folder layout and under the names of
its lists.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.key import FOLDERS, TONICS
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import Style, track
from svuprobe.tasks.synth.selection import Row, spread

SAMPLE_RATE = 16000
SECONDS = 4.0
FIRST_SECONDS = 61.0  # one song of two windows
_CHORDS = ("keyboard", "synth_lead")


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 216) as
    ``root/giantsteps-{mtg-key,key}-dataset/audio/<id>.LOFI.mp3``.

    16 kHz mono of 4 s; the first lasts 61 s, so that one song has two windows. Ids in the second
    folder are padded with zeros, as in the real one. From 72 songs on every split holds every key.
    Parameters and errors are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    rows = split_lists.read("giantsteps_key.tsv")
    header = new_header("giantsteps", seed, clips, default=216, high=len(rows))
    chosen = spread(rows, "key", header["clips"])

    def make(row: Row) -> Recording:
        name = row["beatport_id"].zfill(7) if row["split"] == "test" else row["beatport_id"]
        path = f"{FOLDERS[row['split']]}/audio/{name}.LOFI.mp3"
        seconds = FIRST_SECONDS if row is chosen[0] else SECONDS

        def render() -> Audio:
            rng = rng_of(seed, path)
            return track(key_style(row["key"], rng), seconds, rng, SAMPLE_RATE)[0]

        return Recording(path, seconds, SAMPLE_RATE, render)

    write_corpus(root, header, chosen, make, reporter=reporter, jobs=jobs)


def key_style(key: str, rng: np.random.Generator) -> Style:
    """Return a fast piece in a key, without a melody."""
    tonic, mode = key.split()
    chords = str(rng.choice(_CHORDS))
    drums = float(rng.uniform(0.1, 0.3))
    return Style(
        TONICS.index(tonic), mode, bpm=float(rng.uniform(215, 240)), chords=chords, drums=drums
    )
