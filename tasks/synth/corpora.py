"""Synthetic corpora in the official folder layouts of VocalSet and MIR-ST500, marked as synthetic.

Conventions
-----------
Every file has its own generator, seeded with ``(seed, crc32 of its path)``: the same seed gives the same
bytes whatever the order, the number of files or of threads. ``SYNTHETIC.json`` in the folder of the dataset
says so to people and to ``svuprobe data check``. It is written first with ``"complete": false`` and last with
``"complete": true``, so three kinds of folder can be told apart: ours and finished (nothing to do), ours
and interrupted (go on), and anybody else's (never touched). Files are renamed into place when whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile as sf

from svuprobe.tasks.synth.techniques import CONTEXTS, EXCERPTS, TECHNIQUES, Note, melody, technique_clip
from svuprobe.tasks.synth.voice import VOWELS, Audio, singers
from svuprobe.tasks.types import TaskError

VERSION = 1  # rises whenever the same seed would give other bytes
SAMPLE_RATE = 44100
MARKER = "SYNTHETIC.json"

Take = tuple[str, str, str, str]  # singer, technique, context, vowel (or the name of an excerpt)
T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]

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

# MIR-ST500: first and last song of each split; validation songs are this project's, from the official train.
SONGS = {"train": (1, 360), "valid": (361, 400), "test": (401, 500)}
SONG_SECONDS = (18.0, 22.0)


def vocalset(
    root: Path, clips: int | None, seed: int, progress: Progress | None = None, *, jobs: int | None = None
) -> None:
    """Write ``clips`` recordings (default 400) as ``root/FULL/<singer>/<context>/<technique>/*.wav``.

    44.1 kHz mono PCM16, 3.2 to 7 s each, spread evenly over 20 singers and the 10 techniques of the task.
    From 30 recordings on every split holds every technique.

    Parameters
    ----------
    root
        Folder of the dataset; new, empty, or holding an earlier run with the same parameters.
    progress
        Called as ``progress(iterable, total, description)``, e.g. a wrapper of tqdm.
    jobs
        Threads; by default one per processor. The bytes do not depend on it.

    Raises
    ------
    TaskError
        The folder holds something else, or ``clips`` is out of range.
    """
    header = _header("vocalset", seed, clips, default=400, high=3600)
    if not _begin(root, header):
        return
    cast = {singer.name: singer for singer in singers(seed)}

    def make(take: Take) -> tuple[str, float]:
        path = _vocalset_path(*take)
        rng = _rng(seed, path)
        seconds = float(rng.uniform(3.2, 7.0))
        if not (root / path).exists():
            _write_wav(root / path, technique_clip(cast[take[0]], *take[1:], seconds, rng, SAMPLE_RATE))
        return path, seconds

    made = _mapped(make, list(islice(_takes(), header["clips"])), progress, "vocalset (synthetic)", jobs)
    _finish(root, header, dict(made))


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
    return f"FULL/{singer}/{context}/{technique}/{'_'.join((short, *parts))}.wav"


def mir_st500(
    root: Path, clips: int | None, seed: int, progress: Progress | None = None, *, jobs: int | None = None
) -> None:
    """Write ``clips`` songs (default 24) as ``root/<train|test>/<id>/Vocal.wav`` with their notes.

    44.1 kHz mono PCM16 of about 20 s, one singer per song, no accompaniment: what separated vocals are
    meant to be. The notes are in ``root/MIR-ST500_corrected.json``, ``{"<id>": [[onset_s, offset_s, midi],
    ...]}``. Ids lie in the official ranges: train 1-360, validation 361-400 (in ``train/``), test 401-500.
    Parameters and errors are those of ``vocalset``.
    """
    header = _header("mir-st500", seed, clips, default=24, high=500)
    if not _begin(root, header):
        return
    cast = singers(seed)

    def make(song: int) -> tuple[str, float, list[Note]]:
        path = f"{'test' if song >= SONGS['test'][0] else 'train'}/{song}/Vocal.wav"
        rng = _rng(seed, path)
        seconds = float(rng.uniform(*SONG_SECONDS))
        audio, notes = melody(cast[rng.integers(len(cast))], seconds, rng, SAMPLE_RATE)
        _write_wav(root / path, audio)
        return path, seconds, notes

    ids = _song_ids(header["clips"])
    made = _mapped(make, ids, progress, "mir-st500 (synthetic)", jobs)
    notes = {str(song): notes for song, (_, _, notes) in zip(ids, made, strict=True)}
    _write_text(root / "MIR-ST500_corrected.json", json.dumps(notes))
    _finish(root, header, {path: seconds for path, seconds, _ in made}, extra=["MIR-ST500_corrected.json"])


def _song_ids(clips: int) -> list[int]:
    """Ids spread over the official ranges: a quarter test, a sixth validation, the rest train, none empty."""
    test = min(max(round(clips / 4), 1), 100)
    valid = min(max(round(clips / 6), 1), 40)
    sizes = {"train": clips - test - valid, "valid": valid, "test": test}
    return [
        int(song) for split, (first, last) in SONGS.items() for song in np.linspace(first, last, sizes[split]).round()
    ]


# ---------------------------------------------------------------- folders, files, threads


def _header(dataset: str, seed: int, clips: int | None, *, default: int, high: int) -> dict[str, Any]:
    """What identifies a corpus: two with equal headers are equal byte by byte."""
    clips = default if clips is None else clips
    if not 3 <= clips <= high:  # three: one for each split
        raise TaskError(f"--clips {clips}: synthetic {dataset} has 3 to {high} clips (default {default})")
    if seed < 0:
        raise TaskError(f"--seed {seed}: a seed is 0 or more")
    return {
        "synthetic": True,
        "dataset": dataset,
        "generator": "svuprobe.tasks.synth",
        "version": VERSION,
        "seed": seed,
        "clips": clips,
    }


def _begin(root: Path, header: dict[str, Any]) -> bool:
    """Claim the folder; False if the corpus is already there, whole.

    Raises
    ------
    TaskError
        The folder is not ours to fill.
    """
    marker = root / MARKER
    if not marker.exists():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise TaskError(
                f"{root} is not empty and has no {MARKER}: it may be real data and is never overwritten; "
                "choose another --out or move it away"
            )
        root.mkdir(parents=True, exist_ok=True)
        _write_text(marker, json.dumps({**header, "complete": False}, indent=1))
        return True
    found = _marker(marker)
    for key, wanted in header.items():
        if found.get(key) != wanted:
            raise TaskError(
                f"{root} holds a synthetic corpus with {key}={found.get(key)!r}, asked for {wanted!r}: "
                "delete the folder or choose another --out"
            )
    files = found.get("files", {})
    return not (found.get("complete") is True and all((root / path).is_file() for path in files))


def _marker(path: Path) -> dict[str, Any]:
    """The content of a marker file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TaskError(f"{path} can't be read as JSON: delete the folder or choose another --out")
    return found


def _finish(root: Path, header: dict[str, Any], seconds: dict[str, float], extra: Sequence[str] = ()) -> None:
    """Write the final marker: durations summed, every file with its SHA-256."""
    files = {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in [*extra, *seconds]}
    total = round(sum(seconds.values()), 3)
    marker = {**header, "complete": True, "seconds": total, "files": dict(sorted(files.items()))}
    _write_text(root / MARKER, json.dumps(marker, indent=1))


def _mapped(
    make: Callable[[T], R], todo: Sequence[T], progress: Progress | None, description: str, jobs: int | None
) -> list[R]:
    """``make`` over ``todo`` in threads (NumPy and the FFT release the interpreter's lock), in order."""
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        try:
            made = pool.map(make, todo)
            return list(progress(made, len(todo), description) if progress else made)
        except BaseException:  # Ctrl-C included: do not finish the queue first
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _rng(seed: int, path: str) -> np.random.Generator:
    """The generator of one file."""
    return np.random.default_rng([seed, zlib.crc32(path.encode())])


def _write_wav(path: Path, audio: Audio) -> None:
    """16-bit WAV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    sf.write(part, audio, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    os.replace(part, path)


def _write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)
