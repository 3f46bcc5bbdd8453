"""The recordings of a training: found, decoded once, and kept as 16-bit samples.

``run/audio.i16`` holds the samples of all recordings one after the other, mono at the recipe's
rate, and ``run/audio.json`` says which lie where. Crops are then read from anywhere at no cost and
nothing but the batch is held in memory; an hour takes 115 MB at 16 kHz. Samples of a 16-bit file at
that rate are its own; what was resampled is rounded to 16 bits, and what exceeds full scale is cut
off there.

Decoding that was interrupted goes on after the last recording that the JSON file names.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from svuprobe._files import sha256_of, write_text, writing
from svuprobe._progress import Reporter
from svuprobe.extractors.audio import ClipEnd, Decoders, InputSpec, Window, shown
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.tasks.types import Clip, Windowing

SUFFIXES = (".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
_FULL_SCALE = 32767
_SAVED_EVERY = 200  # recordings: as much is decoded again after an interruption, at most
_NAMED = 5  # files in a message


@dataclass(frozen=True)
class Recording:
    """One recording, or a copy of it at another speed, among the samples of all.

    Attributes
    ----------
    path
        Of the file, as it was found.
    digest
        SHA-256 of the file.
    speed
        How many times as fast as the file it is.
    start, samples
        Where its samples begin, and how many there are.
    mean, std
        Of its samples; full scale is 1.
    """

    path: str
    digest: str
    speed: float
    start: int
    samples: int
    mean: float
    std: float


def find_audio(places: Sequence[Path]) -> list[Path]:
    """Return the sound files of folders and manifests, sorted, each once.

    A folder is searched with all below it. A manifest is a CSV file with a column ``path``, or a
    text file with one path a line; paths are relative to the manifest.

    Raises
    ------
    PretrainError
        A place is not there, is no manifest, or there is no sound file at all.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
            found |= dict.fromkeys(p for p in inside if p.is_file() and not p.name.startswith("."))
        elif place.suffix.lower() in SUFFIXES and place.is_file():
            found[place] = None
        else:
            found |= dict.fromkeys(_listed(place))
    if not found:
        names = ", ".join(str(place) for place in places)
        raise PretrainError(f"{names}: no sound file there; known are {', '.join(SUFFIXES)}")
    return list(found)


def _listed(manifest: Path) -> Iterator[Path]:
    """Yield the files that a manifest names."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise PretrainError(
            f"{manifest}: neither a folder of audio nor a manifest that can be read ({reason})"
        ) from None
    lines = text.splitlines()
    if manifest.suffix.lower() == ".csv":
        table = csv.DictReader(lines)
        if "path" not in (table.fieldnames or ()):
            raise PretrainError(f"{manifest}: a manifest has a column named path")
        names = [row["path"] or "" for row in table]
    else:
        names = lines
    for name in names:
        if name.strip():
            yield manifest.parent / name.strip()


class Recordings:
    """The decoded recordings of a training, read from their file."""

    def __init__(self, samples: Path, sample_rate: int, recordings: Sequence[Recording]) -> None:
        self.sample_rate, self.recordings = sample_rate, tuple(recordings)
        self._samples = np.memmap(samples, np.int16, "r")

    @property
    def hours(self) -> float:
        """Return the hours of audio, copies at other speeds not counted."""
        whole = sum(r.samples * r.speed for r in self.recordings)
        return whole / len({r.speed for r in self.recordings}) / self.sample_rate / 3600

    @property
    def digest(self) -> str:
        """Return a digest over what was decoded from which files, wherever they lie."""
        import hashlib

        described = sorted((r.digest, r.speed, r.samples) for r in self.recordings)
        return hashlib.sha256(json.dumps([self.sample_rate, described]).encode()).hexdigest()

    def read(self, recording: Recording, offset: int = 0, samples: int | None = None) -> np.ndarray:
        """Return samples of a recording from an offset on: (n,) float32, full scale is 1."""
        n = recording.samples - offset if samples is None else samples
        first = recording.start + offset
        return self._samples[first : first + n].astype(np.float32) / _FULL_SCALE


def decode(
    files: Sequence[Path],
    folder: Path,
    *,
    sample_rate: int,
    speeds: Sequence[float],
    decoders: Decoders,
    reporter: Reporter,
) -> tuple[Recordings, list[str]]:
    """Decode files into ``folder``, or take what is there of the same files.

    Returns
    -------
    recordings, problems
        Those that can be read, and a line for each file that can't.

    Raises
    ------
    PretrainError
        No file can be read.
    """
    index, samples = folder / "audio.json", folder / "audio.i16"
    wanted = {"sample_rate": sample_rate, "speeds": list(speeds), "files": _identities(files)}
    known, problems = _read_index(index, samples, wanted)
    done = {r.path for r in known} | {line.partition(": ")[0] for line in problems}
    left = [file for file in files if str(file) not in done]
    if left:
        with writing(samples):
            folder.mkdir(parents=True, exist_ok=True)
            with samples.open("r+b" if known else "wb") as out:
                out.truncate(2 * sum(r.samples for r in known))
                out.seek(0, os.SEEK_END)
                writer = _Writer(out, sample_rate, speeds, known, problems)
                clips = reporter.watch(_decoded(left, sample_rate, decoders), "decode", len(left))
                for number, (path, audio, failure) in enumerate(clips, 1):
                    writer.add(path, audio, failure)
                    if number % _SAVED_EVERY == 0 or number == len(left):
                        out.flush()
                        os.fsync(out.fileno())
                        write_text(index, _index_text(wanted, known, problems))
    if not known:
        some = "; ".join(problems[:_NAMED])
        raise PretrainError(f"none of {len(files)} sound files can be read: {some}")
    return Recordings(samples, sample_rate, known), problems


def _identities(files: Sequence[Path]) -> list[list[str | int]]:
    """Name files by their path, size and time: what has changed since is decoded again."""
    identities: list[list[str | int]] = []
    for file in files:
        try:
            about = file.stat()
            identities.append([str(file), about.st_size, about.st_mtime_ns])
        except OSError:
            identities.append([str(file), -1, -1])
    return identities


def _index_text(wanted: dict[str, object], known: list[Recording], problems: list[str]) -> str:
    """Return what is written of the recordings so far."""
    described = {**wanted, "recordings": [asdict(r) for r in known], "problems": problems}
    return json.dumps(described) + "\n"


def _read_index(
    index: Path, samples: Path, wanted: dict[str, object]
) -> tuple[list[Recording], list[str]]:
    """Return what an earlier run decoded of the same files; nothing where it was of others."""
    try:
        described = json.loads(index.read_text(encoding="utf-8"))
        if any(described[key] != value for key, value in wanted.items()):
            return [], []
        known = [Recording(**each) for each in described["recordings"]]
        if samples.stat().st_size < 2 * sum(r.samples for r in known):
            return [], []
        return known, list(described["problems"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], []


def _decoded(
    files: Sequence[Path], sample_rate: int, decoders: Decoders
) -> Iterator[tuple[str, np.ndarray, str | None]]:
    """Yield each file's path, samples (n,) float32 and, where it can't be read, why."""
    clips = [Clip(str(file), str(file), "train", None, "") for file in files]
    spec = InputSpec(sample_rate)
    parts: list[np.ndarray] = []
    for clip, piece in decoders.windows(((clip, [spec]) for clip in clips), Windowing()):
        if isinstance(piece, Window):
            parts.append(piece.samples)
            continue
        assert isinstance(piece, ClipEnd)
        audio = np.concatenate(parts) if parts else np.empty(0, np.float32)
        parts = []
        yield clip.path, audio, piece.failure


class _Writer:
    """Append recordings to the file of samples, and to the lists of what there is."""

    def __init__(
        self,
        out: BinaryIO,
        sample_rate: int,
        speeds: Iterable[float],
        known: list[Recording],
        problems: list[str],
    ) -> None:
        self.out, self.sample_rate, self.speeds = out, sample_rate, tuple(speeds)
        self.known, self.problems = known, problems

    def add(self, path: str, audio: np.ndarray, failure: str | None) -> None:
        """Write a recording at every speed, or note why there is none."""
        if failure is None and not audio.any():
            failure = f"{shown(path)}: silent from beginning to end"
        if failure is not None:
            # The path comes first in the line, so that the file is known when the run goes on.
            reason = failure.removeprefix(f"{shown(path)}: ")
            self.problems.append(f"{path}: {reason}")
            return
        digest = sha256_of(Path(path))
        for speed in self.speeds:
            copy = audio
            if speed != 1:
                # To play faster is to read the samples as if they had come at a higher rate.
                copy = soxr.resample(audio, self.sample_rate * speed, self.sample_rate)
            self._append(path, digest, speed, copy)

    def _append(self, path: str, digest: str, speed: float, audio: np.ndarray) -> None:
        """Write the samples (n,) of one recording."""
        rounded = np.clip(np.rint(audio * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE).astype("<i2")
        scaled = rounded.astype(np.float64) / _FULL_SCALE
        start = self.known[-1].start + self.known[-1].samples if self.known else 0
        self.out.write(rounded.tobytes())
        self.known.append(
            Recording(
                path,
                digest,
                speed,
                start,
                len(rounded),
                float(scaled.mean()),
                float(scaled.std()),
            )
        )
