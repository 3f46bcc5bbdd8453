"""Synthetic MagnaTagATune: what a tag says is heard, in its official folder layout and under real
clips' names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks import tagging
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import DRUMS, FAST, LOUD, MIDDLE, QUIET, SLOW, Style, track
from svuprobe.tasks.types import SPLITS

SAMPLE_RATE = 16000
DAMAGED = "mp3/6/damaged-0-29.mp3"
SECONDS = 4.0
# Splits in turn. Validation and test are large, so that few clips are enough for each tag.
_TURNS = (*("train", "valid", "test") * 3, "train")

_VOICES = (
    *(
        "choir",
        "choral",
        "female",
        "female vocal",
        "female voice",
        "male",
        "male vocal",
        "male voice",
        "man",
    ),
    *("opera", "singing", "vocal", "vocals", "voice", "woman"),
)
# What of the Style -> tag -> how. Synonyms share a
# sound, women and men too; the other tags have none.
HEARD: dict[str, dict[str, Any]] = {
    "chords": {"guitar": "guitar", "harp": "mallet", "piano": "keyboard"},
    "melody": {
        **{
            "cello": "string",
            "flute": "flute",
            "strings": "string",
            "synth": "synth_lead",
            "violin": "string",
        },
        **dict.fromkeys(_VOICES, "vocal"),
    },
    "drums": dict.fromkeys(("beat", "beats", "dance", "drums", "metal", "rock", "techno"), DRUMS),
    "bpm": {"fast": FAST, "slow": SLOW},
    "level": {"loud": LOUD, "quiet": QUIET, "soft": QUIET},
}
AUDIBLE = tuple(sorted(tag for table in HEARD.values() for tag in table))


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` clips (default 90) of the official list as ``root/mp3/<0-f>/*.mp3``.

    16 kHz mono MP3 of 4 s (the recordings last 29 s). Names, splits and tags are those of real
    clips, chosen so that the tags can be heard together: those in ``AUDIBLE`` sound, the others are
    as in the list. One file is damaged; as with the three of the real set, the list does not name
    it. Parameters and errors are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("magnatagatune", seed, clips, default=90, high=1000)

    def make(row: dict[str, str]) -> Recording:
        path = f"mp3/{row['mp3_path']}"

        def render() -> Audio:
            rng = rng_of(seed, path)
            return track(style_of(tagging.tags_of(row), rng), SECONDS, rng, SAMPLE_RATE)[0]

        return Recording(path, SECONDS, SAMPLE_RATE, render)

    write_corpus(
        root,
        header,
        chosen_rows(header["clips"]),
        make,
        reporter=reporter,
        jobs=jobs,
        damaged=[DAMAGED],
    )


def style_of(tags: Sequence[str], rng: np.random.Generator) -> Style:
    """Return what the tags sound like.

    An organ on its own, at a middle tempo and level, where they do not say.
    """
    said = {part: values.pop() for part, values in _heard(tags).items() if values}
    tonic, mode, bpm = (
        int(rng.integers(12)),
        str(rng.choice(["major", "minor"])),
        float(rng.uniform(100, 120)),
    )
    return replace(Style(tonic, mode, bpm, chords="organ", drums=0.0, level=MIDDLE), **said)


def _heard(tags: Sequence[str]) -> dict[str, set[Any]]:
    """Return what the tags ask of each part of a style: one thing, none, or several in
    contradiction.
    """
    return {part: {table[tag] for tag in tags if tag in table} for part, table in HEARD.items()}


def chosen_rows(clips: int) -> list[dict[str, str]]:
    """Return rows of the official list; more of them begin with the same ones."""
    walks = {split: _rarest_first(split) for split in SPLITS}
    return [next(walks[split]) for split in islice(cycle(_TURNS), clips)]


def _rarest_first(split: str) -> Iterator[dict[str, str]]:
    """Yield clips of a split, next always the one whose tags were rarest so far.

    Every tenth has none of the 50.
    """
    rows, has = _hearable(split)
    weight = np.array([4.0 if label in AUDIBLE else 1.0 for label in tagging.TASK.labels or ()])
    free, seen = np.ones(len(rows), dtype=bool), np.zeros(has.shape[1])
    for n in count():
        wanted = free & (has.any(axis=1) == (n % 10 != 9))
        # A tag that was seen n times weighs 1 / (1 + n)^3: unseen ones come first.
        chosen = int(np.where(wanted, has @ (weight / (1 + seen) ** 3), -1.0).argmax())
        free[chosen] = False
        seen += has[chosen]
        yield rows[chosen]


@cache
def _hearable(split: str) -> tuple[list[dict[str, str]], np.ndarray]:
    """Return a split's rows whose tags do not contradict each other, and their tags as (N, 50)
    0/1.
    """
    kept, has = [], []
    for row in split_lists.read(tagging.LIST):
        if row["split"] != split:
            continue
        tags = tagging.tags_of(row)
        # One sound for each part of a style: nothing is both fast and slow.
        if max(map(len, _heard(tags).values())) <= 1:
            kept.append(row)
            has.append([label in tags for label in tagging.TASK.labels or ()])
    return kept, np.array(has)
