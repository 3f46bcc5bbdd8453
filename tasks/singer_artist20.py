"""Singer identification on Artist20 (Ellis 2007): 20 artists, six albums each, 1,413 songs, 96.8
hours.

Layout: ``<artist>/<album>/<NN-title>.mp3``, or the same below ``mp3s-32k`` as distributed; or
separated vocals as .wav in the same tree. One kind of file or the other: a tree that mixes them is
refused, and features of vocals and of full mixes belong in different feature folders.

Split (Yamamoto 2023): an artist's albums sorted by name in byte order (capitals before small
letters), 0-3 train, 4 validation, 5 test. Ellis's own cuts and Hsieh et al.'s shuffled 4:1:1 are
others, so their numbers do not compare. Labels are the sorted names of the artists' folders.

Windows of 5.0 s, of which an incomplete last one is dropped, and those whose RMS is under 0.01 (-40
dB), as the paper's filter for passages without a voice; extraction says how many. Deviations from
the released code: it drops the last window even where it is complete, and by a scaling error its
threshold is a true RMS of 7.2e-4, which drops digital silence only and so scores more windows in
which nobody sings: ``singer-artist20-released`` has that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

SUFFIXES = (".mp3", ".wav")
SPLIT_OF_ALBUM = ("train", "train", "train", "train", "valid", "test")


def songs(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield artists and the paths of their songs, both in byte order."""
    base = root / "mp3s-32k" if (root / "mp3s-32k").is_dir() else root
    paths = [
        p
        for p in base.glob("*/*/*")
        if p.suffix.lower() in SUFFIXES and not p.name.startswith("._")
    ]
    kinds = {p.suffix.lower() for p in paths}
    if len(kinds) > 1:
        raise TaskError(
            f"{base}: both .mp3 and .wav in it; keep full mixes and separated vocals in two folders"
        )
    paths.sort(key=lambda p: [os.fsencode(part) for part in p.relative_to(base).parts])
    for artist, found in groupby(paths, key=lambda p: p.parts[-3]):
        yield artist, list(found)


def clips(root: Path) -> list[Clip]:
    """Return every song; the group is the album."""
    found = []
    for artist, paths in songs(root):
        # In byte order, as the paths are.
        albums = list(dict.fromkeys(p.parent.name for p in paths))
        if len(albums) != len(SPLIT_OF_ALBUM):
            raise TaskError(
                f"{paths[0].parents[1]}: {len(albums)} albums with songs in them, Artist20 has 6 "
                "of each artist and their order decides the split; complete or remove this artist"
            )
        split_of = dict(zip(albums, SPLIT_OF_ALBUM, strict=True))
        for path in paths:
            album = path.parent.name
            song = f"{artist}/{album}/{path.stem}"
            found.append(
                Clip(song, str(path), split_of[album], target=artist, group=f"{artist}/{album}")
            )
    return found


TASK = Task(
    name="singer-artist20",
    dataset="artist20",
    kind="multiclass",
    metrics=("macro_f1", "accuracy", "balanced_accuracy", "top2", "top3"),
    scored="window",
    clips=clips,
    windowing=Windowing(window_s=5.0, tail_s=5.0, min_rms=0.01),
    licence="commercial recordings, not distributed here; a copy of one's own is needed",
    reference="Ellis 2007, Classifying Music Audio with Timbral and Chroma Features, "
    "http://labrosa.ee.columbia.edu/projects/artistid/",
    hours=96.8,
)

RELEASED = replace(
    TASK, name="singer-artist20-released", windowing=Windowing(5.0, tail_s=5.0, min_rms=7.2e-4)
)
