"""Synthetic MTG-Jamendo: what a tag says is heard, in its official folder layout with lists of its
own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, product
from pathlib import Path
from typing import TypeVar

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.datasets.mtg_jamendo import HEADER, SPLIT_NAMES, SUBSETS
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import (
    DRUMS,
    FAST,
    LOUD,
    MIDDLE,
    MODERATE,
    QUIET,
    SLOW,
    Style,
    track,
)

SAMPLE_RATE = 16000
SECONDS, LONG_SECONDS = 6.0, 32.0  # the long ones have a second window
_TURNS = ("train", "valid", "train", "test")  # splits in turn

T = TypeVar("T")

CHORDS = {
    "keyboard": ("genre---classical", "instrument---piano"),
    "mallet": ("genre---world", "instrument---bell"),
    "organ": ("genre---reggae", "instrument---organ"),
    "reed": ("genre---jazz", "instrument---clarinet"),
}
MELODY = {
    "flute": ("genre---folk", "instrument---flute"),
    "string": ("genre---orchestral", "instrument---violin"),
    "synth_lead": ("genre---electronic", "instrument---synthesizer"),
    "vocal": ("genre---pop", "instrument---voice"),
}
MOODS: dict[str, Callable[[Style], bool]] = {
    "mood/theme---calm": lambda s: s.level == QUIET and not s.drums,
    "mood/theme---energetic": lambda s: s.bpm == FAST and s.drums > 0,
    "mood/theme---fast": lambda s: s.bpm == FAST,
    "mood/theme---heavy": lambda s: s.level == LOUD and s.drums > 0,
    "mood/theme---powerful": lambda s: s.level == LOUD,
    "mood/theme---relaxing": lambda s: s.bpm == SLOW and not s.drums,
    "mood/theme---slow": lambda s: s.bpm == SLOW,
    "mood/theme---soft": lambda s: s.level == QUIET,
}
# Those of the tags above that are among the 50 most frequent of the recordings.
TOP = {
    *(
        f"genre---{name}"
        for name in ("ambient", "classical", "dance", "electronic", "folk", "jazz")
    ),
    *(f"genre---{name}" for name in ("orchestral", "pop", "reggae", "world")),
    *(f"instrument---{name}" for name in ("drums", "piano", "synthesizer", "violin", "voice")),
    *("mood/theme---energetic", "mood/theme---relaxing"),
}
_LISTS = "mtg-jamendo-dataset/data/splits/split-0"
# Drums, tempo and level. The first two have all moods between them; two of the others have none.
_FEELS = [(0.0, SLOW, QUIET), (DRUMS, FAST, LOUD)]
for _feel in product((0.0, DRUMS), (SLOW, MODERATE, FAST), (QUIET, MIDDLE, LOUD)):
    if _feel not in _FEELS:
        _FEELS.append(_feel)


@dataclass(frozen=True)
class _Track:
    number: int
    artist: int
    split: str
    seconds: float
    style: Style

    @property
    def path(self) -> str:
        return f"{self.number % 100:02d}/{self.number}"


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` tracks (default 72) as ``root/audio-low/<NN>/<id>.low.mp3`` with the lists of
    split-0.

    16 kHz mono MP3 of 6 s, every ninth of 32 s. The lists,
    ``root/mtg-jamendo-dataset/data/splits/split-0/*.tsv`` with CRLF, hold only tags that are heard,
    8 to 18 for each of the four tasks; from 16 tracks on each split of each list has all of them.
    Two tracks share an artist. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("mtg-jamendo", seed, clips, default=72, high=2000)
    tracks = _tracks(header["clips"], seed)

    def make(piece: _Track) -> Recording:
        path = f"audio-low/{piece.path}.low.mp3"
        return Recording(
            path,
            piece.seconds,
            SAMPLE_RATE,
            lambda: track(piece.style, piece.seconds, rng_of(seed, path), SAMPLE_RATE)[0],
        )

    def texts() -> dict[str, str]:
        lists = {}
        for subset in SUBSETS:
            for name, split in SPLIT_NAMES.items():
                lists[f"{_LISTS}/autotagging_{subset}-{name}.tsv"] = _list(tracks, subset, split)
        return lists

    write_corpus(root, header, tracks, make, reporter=reporter, jobs=jobs, texts=texts)


def _tracks(clips: int, seed: int) -> list[_Track]:
    """Return tracks that walk over the splits; more of them begin with the same ones."""
    styles = {}
    # Each split walks through all pieces on its own, so that each has every tag.
    for n, split in enumerate(SPLIT_NAMES.values()):
        styles[split] = _styles(np.random.default_rng([seed, n]))
    done: dict[str, int] = defaultdict(int)
    made = []
    for n, split in zip(range(clips), cycle(_TURNS), strict=False):
        # Two tracks of a split share an artist, whose number no other split has.
        artist = len(SPLIT_NAMES) * (done[split] // 2) + list(styles).index(split)
        seconds = LONG_SECONDS if n % 9 == 8 else SECONDS
        made.append(_Track(1000 + 137 * n, artist, split, seconds, next(styles[split])))
        done[split] += 1
    return made


def _styles(rng: np.random.Generator) -> Iterator[Style]:
    """Yield pieces without end: each four have all chords and all melodies, the first two all
    moods.
    """
    feels = chain(_FEELS[:2], _dealt(_FEELS, rng))
    for chords, melody, (drums, bpm, level) in zip(
        _dealt(list(CHORDS), rng), _dealt(list(MELODY), rng), feels, strict=False
    ):
        tonic, mode = int(rng.integers(12)), str(rng.choice(["major", "minor"]))
        yield Style(tonic, mode, bpm, chords, melody, drums, level)


def _dealt(values: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """Yield the values in one random order after the other."""
    while True:
        for place in rng.permutation(len(values)):
            yield values[place]


def tags_of(style: Style) -> list[str]:
    """Return the sorted tags of a piece, with their categories."""
    beat = ("genre---dance", "instrument---drums") if style.drums else ("genre---ambient",)
    moods = [mood for mood, holds in MOODS.items() if holds(style)]
    return sorted([*CHORDS[style.chords], *MELODY[style.melody], *beat, *moods])


def _list(tracks: Sequence[_Track], subset: str, split: str) -> str:
    """Return a list of split-0, CRLF at each line's end but the last, whose LF ``write_text``
    adds.
    """
    lines = ["\t".join(HEADER)]
    for made in tracks:
        tags = [tag for tag in tags_of(made.style) if tag.startswith(SUBSETS[subset])]
        if subset == "top50tags":
            tags = [tag for tag in tags if tag in TOP]
        # A track without a tag of the list is not in it, as in the official ones.
        if made.split == split and tags:
            ids = (
                f"track_{made.number:07d}",
                f"artist_{made.artist:06d}",
                f"album_{made.artist:06d}",
            )
            lines.append("\t".join((*ids, f"{made.path}.mp3", f"{made.seconds:.1f}", *tags)))
    return "\r\n".join(lines) + "\r"
