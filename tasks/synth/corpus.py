"""Write a synthetic corpus: its folder, its marker, its files, side by side and reproducibly.

Conventions
-----------
Every file has its own generator, seeded with ``(seed, crc32 of its path)``: the same seed gives the
same bytes whatever the order, the number of files or of threads. ``SYNTHETIC.json`` in the folder
of the dataset says so to people and to ``svuprobe data check``. It is written first with
``"complete": false`` and last with ``"complete": true``, so three kinds of folder can be told
apart: ours and finished (nothing to do), ours and interrupted (go on), and anybody else's (never
touched). Files are renamed into place when whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from svuprobe._files import leftovers, write_bytes
from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.types import TaskError

Audio = NDArray[np.float32]


VERSION = 2  # rises whenever the same seed would give other bytes
MARKER = "SYNTHETIC.json"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Recording:
    """Describe one file of audio that is to be written.

    Attributes
    ----------
    path, seconds
        Below the folder of the dataset, and how long it is.
    render
        Returns the audio; called only where a file is not there yet, as after an interruption.
    beside
        Paths of files that ``render`` writes, too.
    """

    path: str
    seconds: float
    sample_rate: int
    render: Callable[[], Audio]
    beside: tuple[str, ...] = ()


def write_corpus(
    root: Path,
    header: dict[str, Any],
    rows: Sequence[T],
    make: Callable[[T], Recording],
    *,
    reporter: Reporter = SILENT,
    jobs: int | None = None,
    damaged: Sequence[str] = (),
    texts: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Write a synthetic corpus, unless it is there and whole.

    Parameters
    ----------
    root
        Folder of the dataset; new, empty, or holding an earlier run with the same ``header``.
    rows, make
        What there is to record, and how a row becomes a file; called in threads, in any order.
    jobs
        Threads; by default one per processor. The bytes do not depend on it.
    damaged
        Paths of files that promise audio and hold none, as every large corpus has some.
    texts
        Returns what else lies in the folder, by its path; called when all audio is written.

    Raises
    ------
    TaskError
        The folder holds something else.
    """
    if not begin(root, header):
        return

    def write(row: T) -> Recording:
        recording = make(row)
        if not all((root / path).exists() for path in (recording.path, *recording.beside)):
            write_audio(root / recording.path, recording.render(), recording.sample_rate)
        return recording

    recordings = mapped(write, rows, reporter, f"{header['dataset']} (synthetic)", jobs)
    for path in damaged:
        write_damaged(root / path, header["seed"])
    written = texts()
    for path, text in written.items():
        write_text(root / path, text)
    others = [*damaged, *written]
    # In a fixed order, since the marker lists the files.
    for recording in recordings:
        others += recording.beside
    finish(
        root, header, {recording.path: recording.seconds for recording in recordings}, extra=others
    )


def new_header(
    dataset: str, seed: int, clips: int | None, *, default: int, high: int
) -> dict[str, Any]:
    """Return what identifies a corpus: two with equal headers are equal byte by byte."""
    clips = default if clips is None else clips
    if not 3 <= clips <= high:  # three: one for each split
        raise TaskError(
            f"--clips {clips}: synthetic {dataset} has 3 to {high} clips (default {default})"
        )
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


def begin(root: Path, header: dict[str, Any]) -> bool:
    """Claim the folder; return False if the corpus is already there, whole.

    Raises
    ------
    TaskError
        The folder is not ours to fill.
    """
    marker = root / MARKER
    if not marker.exists():
        if is_taken(root, marker):
            raise TaskError(
                f"{root} is not empty and has no {MARKER}: it may be real data and is never "
                "overwritten; choose another --out or move it away"
            )
        write_text(marker, json.dumps({**header, "complete": False}, indent=1))
        return True
    found = read_marker(marker)
    for key, wanted in header.items():
        if found.get(key) != wanted:
            raise TaskError(
                f"{root} holds a synthetic corpus with {key}={found.get(key)!r}, asked for "
                f"{wanted!r}: delete the folder or choose another --out"
            )
    files = found.get("files", {})
    # A marker that says "complete" over files that are gone is an interrupted corpus again.
    return not (found.get("complete") is True and all((root / path).is_file() for path in files))


def is_taken(root: Path, marker: Path) -> bool:
    """Tell whether a folder without its marker holds anybody's files; an unfinished marker is
    nobody's.
    """
    if not root.exists():
        return False
    return not root.is_dir() or bool({*root.iterdir()} - {*leftovers(marker)})


def read_marker(path: Path) -> dict[str, Any]:
    """Return the content of a marker file: ``files`` are SHA-256 by path below its folder."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    files = found.get("files", {}) if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or not isinstance(files, dict)
        or any("\0" in path for path in files)
    ):
        raise TaskError(f"{path} can't be read as JSON: delete the folder or choose another --out")
    return found


def finish(
    root: Path, header: dict[str, Any], seconds: dict[str, float], extra: Sequence[str] = ()
) -> None:
    """Write the final marker: durations summed, every file with its SHA-256."""
    files = {
        path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in [*extra, *seconds]
    }
    # Milliseconds: sums in another order differ in the last digits.
    total = round(sum(seconds.values()), 3)
    marker = {**header, "complete": True, "seconds": total, "files": dict(sorted(files.items()))}
    write_text(root / MARKER, json.dumps(marker, indent=1))


def mapped(
    make: Callable[[T], R],
    todo: Sequence[T],
    reporter: Reporter,
    description: str,
    jobs: int | None,
) -> list[R]:
    """Return ``make`` over ``todo`` in order, made in threads.

    NumPy and the FFT release the interpreter's lock.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        try:
            return list(reporter.watch(pool.map(make, todo), description, len(todo)))
        except BaseException:  # Ctrl-C included: do not finish the queue first
            pool.shutdown(wait=True, cancel_futures=True)
            raise


# crc32, since Python's own hash of a text is another in each process.
def rng_of(seed: int, path: str) -> np.random.Generator:
    """Return the generator of one file: of its seed and path alone."""
    # By path, so that a file is the same in a corpus of another size.
    return np.random.default_rng([seed, zlib.crc32(path.encode())])


def write_audio(path: Path, audio: Audio, sample_rate: int) -> None:
    """Write an audio file of 16 bits (or an MP3), by its suffix, whole or not at all."""
    write_bytes(path, encoded(audio, sample_rate, path.suffix[1:].upper()))


def encoded(audio: Audio, sample_rate: int, form: str) -> bytes:
    """Return the bytes of an audio file, whose form is ``FLAC``, ``MP3``, ``OGG`` or ``WAV``."""
    into = io.BytesIO()  # libsndfile's own errors of writing have no number
    subtype = None if form in ("MP3", "OGG") else "PCM_16"
    sf.write(into, audio, sample_rate, subtype=subtype, format=form)
    return into.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a text file that ends with a newline, whole or not at all."""
    write_bytes(path, f"{text}\n".encode())


def write_damaged(path: Path, seed: int) -> None:
    """Write a file that promises audio and holds none, as every large corpus has some."""
    write_bytes(path, b"RIFF\x00\x00\x00\x00 damaged " + rng_of(seed, path.name).bytes(64))
