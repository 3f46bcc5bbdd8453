"""Synthetic singing in the official folder layouts of VocalSet and MIR-ST500, marked as synthetic.

The rules that all synthetic corpora keep are in :mod:`svuprobe.tasks.synth.corpus`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
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
from svuprobe.tasks.synth.techniques import CONTEXTS, EXCERPTS, TECHNIQUES, Note, melody, technique_clip
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


# Each word is a pass over the techniques, each letter a recording from that split (tRain, tEst, Valid). After
# all of them every singer has sung each technique once; the first pass alone fills every split of each.
_PASSES = ["rev", "r", "r", "e", "r", "r", "e", "r", "r", "v", "r", "e", "r", "r", "v", "r", "e", "r"]


_SPLIT_OF = {"r": "train", "e": "test", "v": "valid"}


QUIRKS = (
    "FULL/female2/scales/vibrato/f2_scales_vibrato_a(1).wav",
    "FULL/male1/scales/belt/._m1_scales_belt_a.wav",
)

# MIR-ST500: first and last song of each split; validation songs are this project's, from the official train.
SONGS = {"train": (1, 360), "valid": (361, 400), "test": (401, 500)}


SONG_SECONDS = (18.0, 22.0)


def vocalset(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` recordings (default 400) as ``root/FULL/<singer>/<context>/<technique>/*.wav``.

    44.1 kHz mono PCM16, 3.2 to 7 s each, spread evenly over 20 singers and the 10 techniques of the task. As in the
    real one, female4's straight scales and arpeggios lack their singer's name, and there is a duplicate and an
    archive's junk file (both unreadable here: nobody may use them).
    From 30 recordings on every split holds every technique.

    Parameters
    ----------
    root
        Folder of the dataset; new, empty, or holding an earlier run with the same parameters.
    reporter
        Shows a bar of the recordings.
    jobs
        Threads; by default one per processor. The bytes do not depend on it.

    Raises
    ------
    TaskError
        The folder holds something else, or ``clips`` is out of range.
    """
    header = new_header("vocalset", seed, clips, default=400, high=3600)
    if not begin(root, header):
        return
    cast = {singer.name: singer for singer in singers(seed)}

    def make(take: Take) -> tuple[str, float]:
        path = _vocalset_path(*take)
        rng = rng_of(seed, path)
        seconds = float(rng.uniform(3.2, 7.0))
        if not (root / path).exists():
            write_audio(root / path, technique_clip(cast[take[0]], *take[1:], seconds, rng, SAMPLE_RATE), SAMPLE_RATE)
        return path, seconds

    made = mapped(make, list(islice(_takes(), header["clips"])), reporter, "vocalset (synthetic)", jobs)
    for path in QUIRKS:
        write_damaged(root / path, seed)
    finish(root, header, dict(made), extra=QUIRKS)


def _takes() -> Iterator[Take]:
    """Every recording there can be, evenly spread however few are taken from the front."""
    for round_ in range(len(CONTEXTS) * len(VOWELS) + len(EXCERPTS)):
        shift = dict.fromkeys(_SPLIT_OF, 0)
        for letters, (i, technique) in ((p, t) for p in _PASSES for t in enumerate(sorted(TECHNIQUES))):
            for letter in letters:
                group = SPLIT_SINGERS[_SPLIT_OF[letter]]
                # A diagonal walk: within a pass the techniques meet different singers.
                singer = group[(shift[letter] // len(TECHNIQUES) + i) % len(group)]
                shift[letter] += 1
                yield singer, technique, *_material(singer, technique, round_)


def _material(singer: str, technique: str, round_: int) -> tuple[str, str]:
    """Context and vowel of a singer's ``round_``-th recording of a technique: all 18 in its own order.

    Speech holds no vowel, so there the excerpts come first.
    """
    order = np.random.default_rng(zlib.crc32(f"{singer}/{technique}".encode()))
    exercises = [*product(CONTEXTS, VOWELS)]
    excerpts = [("excerpts", name) for name in EXCERPTS]
    blocks = [excerpts, exercises] if technique == "spoken" else [exercises + excerpts]
    return [block[i] for block in blocks for i in order.permutation(len(block))][round_]


def _vocalset_path(singer: str, technique: str, context: str, vowel: str) -> str:
    """Relative path of a recording, named as in VocalSet 1.1."""
    short = singer.replace("female", "f").replace("male", "m")
    parts = (vowel, technique) if context == "excerpts" else (context, technique, vowel)
    misnamed = (singer, technique) == ("female4", "straight") and context in ("scales", "arpeggios")
    return f"FULL/{singer}/{context}/{technique}/{'_'.join(parts if misnamed else (short, *parts))}.wav"


def mir_st500(
    root: Path, clips: int | None, seed: int, reporter: Reporter = SILENT, *, jobs: int | None = None
) -> None:
    """Write ``clips`` songs (default 24) as ``root/<train|test>/<id>/Vocal.wav`` with their notes.

    44.1 kHz mono PCM16 of about 20 s, one singer per song, no accompaniment: what separated vocals are
    meant to be. The notes are in ``root/MIR-ST500_corrected.json``, ``{"<id>": [[onset_s, offset_s, midi],
    ...]}``. Ids lie in the official ranges: train 1-360, validation 361-400 (in ``train/``), test 401-500.
    Parameters and errors are those of ``vocalset``.
    """
    header = new_header("mir-st500", seed, clips, default=24, high=500)
    if not begin(root, header):
        return
    cast = singers(seed)

    def make(song: int) -> tuple[str, float, list[Note]]:
        path = f"{'test' if song >= SONGS['test'][0] else 'train'}/{song}/Vocal.wav"
        rng = rng_of(seed, path)
        seconds = float(rng.uniform(*SONG_SECONDS))
        audio, notes = melody(cast[rng.integers(len(cast))], seconds, rng, SAMPLE_RATE)
        write_audio(root / path, audio, SAMPLE_RATE)
        return path, seconds, notes

    ids = _song_ids(header["clips"])
    made = mapped(make, ids, reporter, "mir-st500 (synthetic)", jobs)
    notes = {str(song): notes for song, (_, _, notes) in zip(ids, made, strict=True)}
    write_text(root / "MIR-ST500_corrected.json", json.dumps(notes))
    finish(root, header, {path: seconds for path, seconds, _ in made}, extra=["MIR-ST500_corrected.json"])


def _song_ids(clips: int) -> list[int]:
    """Ids spread over the official ranges: a quarter test, a sixth validation, the rest train, none empty."""
    test = min(max(round(clips / 4), 1), 100)
    valid = min(max(round(clips / 6), 1), 40)
    sizes = {"train": clips - test - valid, "valid": valid, "test": test}
    return [
        int(song) for split, (first, last) in SONGS.items() for song in np.linspace(first, last, sizes[split]).round()
    ]
