"""Synthetic EmoMusic: songs whose arousal and valence are heard, in its official folder layout."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets.split_lists import read
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import Style, track
from svuprobe.tasks.types import SPLITS

SAMPLE_RATE = 16000
SECONDS = 8.0  # the real ones last 45
_SPLIT_PATTERN = ("train", "valid", "test", "train", "train")  # of every five songs, three train


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 60) as ``root/clips_45seconds/<id>.mp3``, 8 s each.

    Ids are EmoMusic's, without leading zeros, and the music follows their published targets:
    arousal is heard in tempo, loudness and drums, valence in mode and brightness. Parameters and
    errors are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("emomusic", seed, clips, default=60, high=len(read("emomusic.tsv")))

    def make(row: dict[str, str]) -> Recording:
        path = f"clips_45seconds/{int(row['song_id'])}.mp3"
        arousal, valence = float(row["arousal"]), float(row["valence"])
        return Recording(
            path, SECONDS, SAMPLE_RATE, lambda: mood(arousal, valence, SECONDS, rng_of(seed, path))
        )

    write_corpus(root, header, _songs(header["clips"]), make, reporter=reporter, jobs=jobs)


def mood(arousal: float, valence: float, seconds: float, rng: np.random.Generator) -> Audio:
    """Make music of an arousal and a valence, both about standard normal; (n,) float32 within
    ±1.
    """
    style = Style(
        tonic=int(rng.integers(12)),
        mode="major" if valence > 0 else "minor",
        bpm=float(np.clip(105 + 25 * arousal, 50, 170)),
        chords=str(rng.choice(["guitar", "keyboard"])),
        drums=float(np.clip(0.35 + 0.25 * arousal, 0, 1)),
        level=1.0,
    )
    audio, _ = track(style, seconds, rng, SAMPLE_RATE)
    # Brightness: 3 dB more per octave for each unit of
    # valence; loudness: 4 dB for each unit of arousal.
    hz = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    tilted = np.fft.irfft(
        np.fft.rfft(audio) * (np.maximum(hz, 50) / 500) ** (valence / 2), len(audio)
    )
    # Never louder than full scale: a loud, excited song is clipped below.
    level = 10 ** ((4 * arousal - 28) / 20) / max(float(np.sqrt(np.mean(tilted**2))), 1e-9)
    return np.clip(level * tilted, -1, 1).astype(np.float32)


def _songs(clips: int) -> list[dict[str, str]]:
    """Return rows of the official list, of every five three train, one valid, one test, while they
    last.
    """
    left = {
        split: iter([r for r in read("emomusic.tsv") if r["split"] == split]) for split in SPLITS
    }
    turns = (next(left[split], None) for _ in range(744) for split in _SPLIT_PATTERN)
    return list(islice((row for row in turns if row is not None), clips))
