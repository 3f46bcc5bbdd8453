"""Synthetic Artist20: singers without accompaniment, in its official folder layout."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import melody
from svuprobe.tasks.synth.voice import singers
from svuprobe.tasks.types import TaskError

SAMPLE_RATE = 16000
# In byte order as here; sorted without regard to case, valid and test would be other albums.
ALBUMS = ("Back_Room", "Demos", "Encore", "Zenith", "after_hours", "b-sides")
SONG_SECONDS = 10.5  # two windows of 5 s and a tail to drop
_FEWEST_SONGS, _SONGS_PER_ALBUM = 12, 12


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 120) as ``root/<artist>/<album>/<NN-title>.mp3``, 10.5 s each.

    Each artist is one singer without accompaniment and has six albums, as the split asks for: up to
    20 artists, fewer where the songs do not suffice. Names are made up. Parameters and errors are
    those of `svuprobe.tasks.synth.corpus.write_corpus`, but for fewer than 12 songs: two artists of
    six albums is the least there is to tell apart.
    """
    header = new_header(
        "artist20", seed, clips, default=120, high=20 * len(ALBUMS) * _SONGS_PER_ALBUM
    )
    if header["clips"] < _FEWEST_SONGS:
        raise TaskError(
            f"--clips {clips}: synthetic artist20 has at least {_FEWEST_SONGS}, six albums of "
            "each of two artists"
        )
    cast = singers(seed)

    def make(item: tuple[int, str]) -> Recording:
        artist, path = item
        return Recording(
            path,
            SONG_SECONDS,
            SAMPLE_RATE,
            lambda: melody(cast[artist], SONG_SECONDS, rng_of(seed, path), SAMPLE_RATE)[0],
        )

    write_corpus(root, header, _discography(header["clips"]), make, reporter=reporter, jobs=jobs)


def _discography(clips: int) -> list[tuple[int, str]]:
    """Return artists by number with the paths of their songs: each album's first song, then the
    second.
    """
    artists = min(20, clips // len(ALBUMS))
    everything = (
        (artist, f"artist{artist + 1:02d}/{album}/{song:02d}-Song_{song}.mp3")
        for song in range(1, clips + 1)
        for album in ALBUMS
        for artist in range(artists)
    )
    return list(islice(everything, clips))
