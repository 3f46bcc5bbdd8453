"""Synthetic music with tags in the folder layouts of MagnaTagATune and MTG-Jamendo, marked as synthetic.

What a tag says is heard: the instrument, whether there are drums, the tempo, the loudness. The rules that all
synthetic corpora keep are in :mod:`svuprobe.tasks.synth.corpus`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, count, cycle, islice, product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks import tagging
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.datasets.mtg_jamendo import HEADER, SPLIT_NAMES, SUBSETS
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
from svuprobe.tasks.types import SPLITS

SAMPLE_RATE = 16000  # MagnaTagATune's
MTAT_DAMAGED = "mp3/6/damaged-0-29.mp3"
MTAT_SECONDS = 4.0
MTG_SECONDS, MTG_LONG_SECONDS = 6.0, 32.0  # the long ones have a second window
DRUMS = 2.0  # loud enough to be heard in a mean over time
QUIET, MIDDLE, LOUD = 0.08, 0.25, 0.95
SLOW, MODERATE, FAST = 60.0, 110.0, 170.0
# Splits in turn. Validation and test of MagnaTagATune are large, so that few clips are enough for each tag.
_MTAT_TURNS = (*("train", "valid", "test") * 3, "train")
_MTG_TURNS = ("train", "valid", "train", "test")

T = TypeVar("T")

# ---------------------------------------------------------------- MagnaTagATune

_VOICES = (
    *("choir", "choral", "female", "female vocal", "female voice", "male", "male vocal", "male voice", "man"),
    *("opera", "singing", "vocal", "vocals", "voice", "woman"),
)
# What of the Style -> tag -> how. Synonyms share a sound, women and men too; the other tags have none.
MTAT_HEARD: dict[str, dict[str, Any]] = {
    "chords": {"guitar": "guitar", "harp": "mallet", "piano": "keyboard"},
    "melody": {
        **{"cello": "string", "flute": "flute", "strings": "string", "synth": "synth_lead", "violin": "string"},
        **dict.fromkeys(_VOICES, "vocal"),
    },
    "drums": dict.fromkeys(("beat", "beats", "dance", "drums", "metal", "rock", "techno"), DRUMS),
    "bpm": {"fast": FAST, "slow": SLOW},
    "level": {"loud": LOUD, "quiet": QUIET, "soft": QUIET},
}
MTAT_AUDIBLE = tuple(sorted(tag for table in MTAT_HEARD.values() for tag in table))


def magnatagatune(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` clips (default 90) of the official list as ``root/mp3/<0-f>/*.mp3``.

    16 kHz mono MP3 of 4 s (the recordings last 29 s). Names, splits and tags are those of real clips, chosen so
    that the tags can be heard together: MTAT_AUDIBLE sound, the others are as in the list. One file is damaged; as
    with the three of the real set, the list does not name it. Parameters and errors are those of
    :func:`svuprobe.tasks.synth.corpora.vocalset`.
    """
    header = new_header("magnatagatune", seed, clips, default=90, high=1000)
    if not begin(root, header):
        return

    def make(row: dict[str, str]) -> tuple[str, float]:
        path = f"mp3/{row['mp3_path']}"
        rng = rng_of(seed, path)
        if not (root / path).exists():
            style = mtat_style(tagging.tags_of(row), rng)
            write_audio(root / path, track(style, MTAT_SECONDS, rng, SAMPLE_RATE)[0], SAMPLE_RATE)
        return path, MTAT_SECONDS

    made = mapped(make, mtat_rows(header["clips"]), reporter, "magnatagatune (synthetic)", jobs)
    write_damaged(root / MTAT_DAMAGED, seed)
    finish(root, header, dict(made), extra=[MTAT_DAMAGED])


def mtat_style(tags: Sequence[str], rng: np.random.Generator) -> Style:
    """What the tags sound like; an organ on its own, at a middle tempo and level, where they do not say."""
    said = {part: values.pop() for part, values in _heard(tags).items() if values}
    tonic, mode, bpm = int(rng.integers(12)), str(rng.choice(["major", "minor"])), float(rng.uniform(100, 120))
    return replace(Style(tonic, mode, bpm, chords="organ", drums=0.0, level=MIDDLE), **said)


def _heard(tags: Sequence[str]) -> dict[str, set[Any]]:
    """What the tags ask of each part of a style: one thing, none, or several that contradict each other."""
    return {part: {table[tag] for tag in tags if tag in table} for part, table in MTAT_HEARD.items()}


def mtat_rows(clips: int) -> list[dict[str, str]]:
    """Rows of the official list; more of them begin with the same ones."""
    walks = {split: _rarest_first(split) for split in SPLITS}
    return [next(walks[split]) for split in islice(cycle(_MTAT_TURNS), clips)]


def _rarest_first(split: str) -> Iterator[dict[str, str]]:
    """Clips of a split, next always the one whose tags were rarest so far; every tenth has none of the 50."""
    rows, has = _hearable(split)
    weight = np.array([4.0 if label in MTAT_AUDIBLE else 1.0 for label in tagging.TASK.labels or ()])
    free, seen = np.ones(len(rows), dtype=bool), np.zeros(has.shape[1])
    for n in count():
        wanted = free & (has.any(axis=1) == (n % 10 != 9))
        chosen = int(np.where(wanted, has @ (weight / (1 + seen) ** 3), -1.0).argmax())
        free[chosen] = False
        seen += has[chosen]
        yield rows[chosen]


@cache
def _hearable(split: str) -> tuple[list[dict[str, str]], np.ndarray]:
    """Rows of a split whose tags do not contradict each other, and their tags as (N, 50) 0/1."""
    rows = [row for row in split_lists.read(tagging.LIST) if row["split"] == split]
    tags = [tagging.tags_of(row) for row in rows]
    kept = [n for n, own in enumerate(tags) if max(map(len, _heard(own).values())) <= 1]
    has = np.array([[label in tags[n] for label in tagging.TASK.labels or ()] for n in kept])
    return [rows[n] for n in kept], has


# ---------------------------------------------------------------- MTG-Jamendo

MTG_CHORDS = {
    "keyboard": ("genre---classical", "instrument---piano"),
    "mallet": ("genre---world", "instrument---bell"),
    "organ": ("genre---reggae", "instrument---organ"),
    "reed": ("genre---jazz", "instrument---clarinet"),
}
MTG_MELODY = {
    "flute": ("genre---folk", "instrument---flute"),
    "string": ("genre---orchestral", "instrument---violin"),
    "synth_lead": ("genre---electronic", "instrument---synthesizer"),
    "vocal": ("genre---pop", "instrument---voice"),
}
MTG_MOODS: dict[str, Callable[[Style], bool]] = {
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
MTG_TOP = {
    *(f"genre---{name}" for name in ("ambient", "classical", "dance", "electronic", "folk", "jazz")),
    *(f"genre---{name}" for name in ("orchestral", "pop", "reggae", "world")),
    *(f"instrument---{name}" for name in ("drums", "piano", "synthesizer", "violin", "voice")),
    *("mood/theme---energetic", "mood/theme---relaxing"),
}
_LISTS = "mtg-jamendo-dataset/data/splits/split-0"
# Drums, tempo and level. The first two have all moods between them; two of the others have none.
_FEELS = [(0.0, SLOW, QUIET), (DRUMS, FAST, LOUD)]
_FEELS += [f for f in product((0.0, DRUMS), (SLOW, MODERATE, FAST), (QUIET, MIDDLE, LOUD)) if f not in _FEELS]


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


def mtg_jamendo(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` tracks (default 72) as ``root/audio-low/<NN>/<id>.low.mp3`` with the lists of split-0.

    16 kHz mono MP3 of 6 s, every ninth of 32 s. The lists, ``root/mtg-jamendo-dataset/data/splits/split-0/*.tsv``
    with CRLF, hold only tags that are heard, 8 to 18 for each of the four tasks; from 16 tracks on each split of
    each list has all of them. Two tracks share an artist. Parameters and errors are those of
    :func:`svuprobe.tasks.synth.corpora.vocalset`.
    """
    header = new_header("mtg-jamendo", seed, clips, default=72, high=2000)
    if not begin(root, header):
        return

    def make(made: _Track) -> tuple[str, float]:
        path = f"audio-low/{made.path}.low.mp3"
        if not (root / path).exists():
            audio, _ = track(made.style, made.seconds, rng_of(seed, path), SAMPLE_RATE)
            write_audio(root / path, audio, SAMPLE_RATE)
        return path, made.seconds

    tracks = _tracks(header["clips"], seed)
    lists = {
        f"{_LISTS}/autotagging_{subset}-{name}.tsv": (subset, name) for subset in SUBSETS for name in SPLIT_NAMES
    }
    for path, (subset, name) in lists.items():
        write_text(root / path, _list(tracks, subset, SPLIT_NAMES[name]))
    written = mapped(make, tracks, reporter, "mtg-jamendo (synthetic)", jobs)
    finish(root, header, dict(written), extra=list(lists))


def _tracks(clips: int, seed: int) -> list[_Track]:
    """Tracks that walk over the splits; more of them begin with the same ones."""
    styles = {split: _styles(np.random.default_rng([seed, n])) for n, split in enumerate(SPLIT_NAMES.values())}
    done: dict[str, int] = defaultdict(int)
    made = []
    for n, split in zip(range(clips), cycle(_MTG_TURNS), strict=False):
        artist = len(SPLIT_NAMES) * (done[split] // 2) + list(styles).index(split)
        seconds = MTG_LONG_SECONDS if n % 9 == 8 else MTG_SECONDS
        made.append(_Track(1000 + 137 * n, artist, split, seconds, next(styles[split])))
        done[split] += 1
    return made


def _styles(rng: np.random.Generator) -> Iterator[Style]:
    """Pieces without end: each four have all chords and all melodies, the first two all moods."""
    feels = chain(_FEELS[:2], _dealt(_FEELS, rng))
    for chords, melody, (drums, bpm, level) in zip(
        _dealt(list(MTG_CHORDS), rng), _dealt(list(MTG_MELODY), rng), feels, strict=False
    ):
        tonic, mode = int(rng.integers(12)), str(rng.choice(["major", "minor"]))
        yield Style(tonic, mode, bpm, chords, melody, drums, level)


def _dealt(values: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """The values in one random order after the other."""
    while True:
        yield from (values[i] for i in rng.permutation(len(values)))


def mtg_tags(style: Style) -> list[str]:
    """Sorted tags of a piece, with their categories."""
    beat = ("genre---dance", "instrument---drums") if style.drums else ("genre---ambient",)
    moods = [mood for mood, holds in MTG_MOODS.items() if holds(style)]
    return sorted([*MTG_CHORDS[style.chords], *MTG_MELODY[style.melody], *beat, *moods])


def _list(tracks: Sequence[_Track], subset: str, split: str) -> str:
    """A list of split-0, CRLF at each line's end but the last (the LF of which ``write_text`` adds)."""
    lines = ["\t".join(HEADER)]
    for made in tracks:
        tags = [tag for tag in mtg_tags(made.style) if tag in MTG_TOP or subset != "top50tags"]
        tags = [tag for tag in tags if tag.startswith(SUBSETS[subset])]
        if made.split == split and tags:
            ids = f"track_{made.number:07d}", f"artist_{made.artist:06d}", f"album_{made.artist:06d}"
            lines.append("\t".join((*ids, f"{made.path}.mp3", f"{made.seconds:.1f}", *tags)))
    return "\r\n".join(lines) + "\r"
