"""Synthetic VocalSet: twenty singers and ten techniques, in its official folder layout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import CONTEXTS, EXCERPTS, technique_clip
from svuprobe.tasks.synth.techniques import TECHNIQUES
from svuprobe.tasks.synth.voice import VOWELS, singers

SAMPLE_RATE = 44100

Take = tuple[str, str, str, str]  # singer, technique, context, vowel (or the name of an excerpt)

# VocalSet: the split of Wilkins et al. 2018; validation singers are this project's.
SPLIT_SINGERS = {
    "test": ("female2", "female8", "male3", "male5", "male10"),
    "valid": ("female9", "male9", "male11"),
    "train": (
        *("female1", "female3", "female4", "female5", "female6", "female7"),
        *("male1", "male2", "male4", "male6", "male7", "male8"),
    ),
}


# Each word is a pass over the techniques, each letter a recording from
# that split (tRain, tEst, Valid). After all of them every singer has sung
# each technique once; the first pass alone fills every split of each.
_PASSES = [
    "rev",
    "r",
    "r",
    "e",
    "r",
    "r",
    "e",
    "r",
    "r",
    "v",
    "r",
    "e",
    "r",
    "r",
    "v",
    "r",
    "e",
    "r",
]
_SPLIT_OF = {"r": "train", "e": "test", "v": "valid"}

# A duplicate and an archive's junk file, as in the real one.
QUIRKS = (
    "FULL/female2/scales/vibrato/f2_scales_vibrato_a(1).wav",
    "FULL/male1/scales/belt/._m1_scales_belt_a.wav",
)


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` recordings (default 400) as
    ``root/FULL/<singer>/<context>/<technique>/*.wav``.

    44.1 kHz mono PCM16, 3.2 to 7 s each, spread evenly over 20 singers and the 10 techniques of the
    task. As in the real one, female4's straight scales and arpeggios lack their singer's name, and
    there is a duplicate and an archive's junk file (both unreadable here: nobody may use them).
    From 30 recordings on every split holds every technique. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`; ``clips`` out of range raises TaskError.
    """
    header = new_header("vocalset", seed, clips, default=400, high=3600)
    cast = {singer.name: singer for singer in singers(seed)}

    def make(take: Take) -> Recording:
        path = _path(*take)
        rng = rng_of(seed, path)
        seconds = float(rng.uniform(3.2, 7.0))
        singer, technique, context, vowel = take
        return Recording(
            path,
            seconds,
            SAMPLE_RATE,
            lambda: technique_clip(
                cast[singer], technique, context, vowel, seconds, rng, SAMPLE_RATE
            ),
        )

    takes = list(islice(_takes(), header["clips"]))
    write_corpus(root, header, takes, make, reporter=reporter, jobs=jobs, damaged=QUIRKS)


def _takes() -> Iterator[Take]:
    """Yield every recording there can be, evenly spread however few are taken from the front."""
    for round_ in range(len(CONTEXTS) * len(VOWELS) + len(EXCERPTS)):
        shift = dict.fromkeys(_SPLIT_OF, 0)
        for letters, (i, technique) in (
            (p, t) for p in _PASSES for t in enumerate(sorted(TECHNIQUES))
        ):
            for letter in letters:
                group = SPLIT_SINGERS[_SPLIT_OF[letter]]
                # A diagonal walk: within a pass the techniques meet different singers.
                singer = group[(shift[letter] // len(TECHNIQUES) + i) % len(group)]
                shift[letter] += 1
                yield singer, technique, *_material(singer, technique, round_)


def _material(singer: str, technique: str, round_: int) -> tuple[str, str]:
    """Return context and vowel of a singer's ``round_``-th take of a technique, in an order of its
    own.

    Speech holds no vowel, so there the excerpts come first.
    """
    order = np.random.default_rng(zlib.crc32(f"{singer}/{technique}".encode()))
    exercises = [*product(CONTEXTS, VOWELS)]
    excerpts = [("excerpts", name) for name in EXCERPTS]
    blocks = [excerpts, exercises] if technique == "spoken" else [exercises + excerpts]
    return [block[i] for block in blocks for i in order.permutation(len(block))][round_]


def _path(singer: str, technique: str, context: str, vowel: str) -> str:
    """Return the relative path of a recording, named as in VocalSet 1.1."""
    short = singer.replace("female", "f").replace("male", "m")
    parts = (vowel, technique) if context == "excerpts" else (context, technique, vowel)
    misnamed = (singer, technique) == ("female4", "straight") and context in ("scales", "arpeggios")
    name = "_".join(parts if misnamed else (short, *parts))
    return f"FULL/{singer}/{context}/{technique}/{name}.wav"
