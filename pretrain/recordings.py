"""Keep the recordings of a training: found, decoded once, and stored as 16-bit samples.

``run/audio.i16`` holds the samples of all recordings one after the other, mono at the recipe's
rate, and ``run/audio.jsonl`` says which lie where. Crops are then read from anywhere at no cost and
nothing but the batch is held in memory; an hour takes 115 MB at 16 kHz. Samples of a 16-bit file at
that rate are its own; what was resampled is rounded to 16 bits, and what exceeds full scale is cut
off there.

Decoding that was interrupted goes on after the last recording that that file names.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr

from svuprobe._files import sha256_of, write_text, writing
from svuprobe._progress import Reporter
from svuprobe.extractors.audio import ClipEnd, Decoders, InputSpec, Window, shown
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.tasks.types import Clip, Windowing

SUFFIXES = (".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
_FULL_SCALE = 32768
# Decoders overshoot full scale a little; integers that were written as floating point do by far.
_MOST_PEAK = 4.0
_SAVED_EVERY = 200  # recordings: as much is decoded again after an interruption, at most
_NAMED = 5  # files in a message


@dataclass(frozen=True)
class Recording:
    """Describe one recording, or a copy of it at another speed, among the samples of all.

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
    """Return the sound files of folders and manifests, each once.

    A folder is searched with all below it, in the order of names. A manifest is a CSV file with a
    column ``path``, or a text file with one path a line; paths are relative to the manifest.

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
        try:
            if "path" not in (table.fieldnames or ()):
                raise PretrainError(f"{manifest}: a manifest has a column named path")
            names = [row["path"] or "" for row in table]
        except csv.Error as error:
            raise PretrainError(f"{manifest}: no CSV ({error})") from None
    else:
        names = lines
    for name in names:
        if "\0" in name:  # what no file's name can have in it
            raise PretrainError(f"{manifest}: {name[:60]!r} is no name of a file")
        if name.strip():
            yield manifest.parent / name.strip()


class Recordings:
    """Hold the decoded recordings of a training, read from their file."""

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
        """Return a digest over what was decoded from which files, wherever they lie.

        Their order counts: crops and targets name a recording by its place.
        """
        described = [(r.digest, r.speed, r.samples) for r in self.recordings]
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
    index, samples = folder / "audio.jsonl", folder / "audio.i16"
    head = {"sample_rate": sample_rate, "speeds": list(speeds), "files": digest_of(files)}
    known, problems = _usable(index, samples, head)
    done = {r.path for r in known} | problems.keys()
    left = [file for file in files if str(file) not in done]
    if left:
        with writing(samples):
            folder.mkdir(parents=True, exist_ok=True)
            # What was half written when an earlier run ended is written over.
            write_text(index, _index_text(head, known, problems))
            with samples.open("r+b" if known else "wb") as out, index.open("ab") as lines:
                out.truncate(2 * sum(r.samples for r in known))
                out.seek(0, os.SEEK_END)
                writer = _Writer(out, lines, sample_rate, speeds, known, problems)
                clips = _decoded(left, sample_rate, decoders)
                for path, audio, failure in reporter.watch(clips, "decode", len(left)):
                    writer.add(path, audio, failure)
                writer.flush()
    if not known:
        some = "; ".join(_lines_of(problems)[:_NAMED])
        raise PretrainError(f"none of {len(files)} sound files can be read: {some}")
    return Recordings(samples, sample_rate, known), _lines_of(problems)


def _lines_of(problems: Mapping[str, str]) -> list[str]:
    """Return a line for each file that can't be read."""
    return [f"{path}: {reason}" for path, reason in problems.items()]


def digest_of(files: Sequence[Path]) -> str:
    """Return a digest over path, size and time of files: what has changed is decoded again."""
    digest = hashlib.sha256()
    for file in files:
        try:
            about = file.stat()
            size, changed = about.st_size, about.st_mtime_ns
        except OSError:
            size = changed = -1
        digest.update(f"{file}\0{size}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _index_text(
    head: Mapping[str, Any], known: Sequence[Recording], problems: Mapping[str, str]
) -> str:
    """Return the index: a line that says of which files it is, and one for each of them."""
    lines = [json.dumps(head)]
    lines += [json.dumps({"recording": asdict(recording)}) for recording in known]
    lines += [_problem_line(path, reason) for path, reason in problems.items()]
    return "\n".join(lines) + "\n"


def _problem_line(path: str, reason: str) -> str:
    """Return the index's line of a file that can't be read."""
    return json.dumps({"path": path, "problem": reason})


def _usable(
    index: Path, samples: Path, head: Mapping[str, Any]
) -> tuple[list[Recording], dict[str, str]]:
    """Return what an earlier run decoded of the same files; nothing where it was of others."""
    of, known, problems = read_index(index)
    if of != head or not samples.is_file():
        return [], {}
    there = samples.stat().st_size // 2
    known = [r for r in known if r.start + r.samples <= there]
    # The copies of a recording at several speeds are there together or not at all.
    whole = len(known) - len(known) % len(head["speeds"])
    return known[:whole], problems


def read_index(index: Path) -> tuple[dict[str, Any], list[Recording], dict[str, str]]:
    """Return of which files an index is, what was decoded, and which of them can't be read, with
    the reason; all of it empty where there is none.
    """
    known: list[Recording] = []
    problems: dict[str, str] = {}
    try:
        first, *lines = index.read_text(encoding="utf-8").splitlines()
        head = dict(json.loads(first))
    except (OSError, ValueError, TypeError):
        return {}, [], {}
    for line in lines:
        try:
            described = json.loads(line)
        except ValueError:
            break  # the line that was being written when that run ended
        if "problem" in described:
            problems[described["path"]] = described["problem"]
            continue
        known.append(Recording(**described["recording"]))
    return head, known, problems


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


def _as_integers(audio: np.ndarray) -> np.ndarray:
    """Return samples (n,) as they are kept, 16 bits each."""
    scaled = np.rint(audio * _FULL_SCALE)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")


def _useless(audio: np.ndarray) -> str | None:
    """Say why nothing can be learnt from samples (n,) that were read without fault, if so."""
    kept = _as_integers(audio)  # what is softer than 16 bits can hold is silent
    if not kept.any():
        return "silent from beginning to end"
    peak = float(np.abs(audio).max())
    if peak > _MOST_PEAK:
        return (
            f"samples reach {peak:.3g}, and full scale is 1, where they would be cut off; write "
            "the file again, scaled"
        )
    return "one constant value from beginning to end" if kept.min() == kept.max() else None


class _Writer:
    """Append recordings to the file of samples, and to the lists of what there is."""

    def __init__(
        self,
        out: BinaryIO,
        index: BinaryIO,
        sample_rate: int,
        speeds: Iterable[float],
        known: list[Recording],
        problems: dict[str, str],
    ) -> None:
        self.out, self.index = out, index
        self.sample_rate, self.speeds = sample_rate, tuple(speeds)
        self.known, self.problems = known, problems
        self._waiting: list[str] = []  # lines of the index whose samples may not be on disk yet

    def add(self, path: str, audio: np.ndarray, failure: str | None) -> None:
        """Write a recording at every speed, or note why there is none."""
        failure = failure or _useless(audio)
        if failure is not None:
            self.problems[path] = failure.removeprefix(f"{shown(path)}: ")
            self._waiting.append(_problem_line(path, self.problems[path]))
        else:
            digest = sha256_of(Path(path))
            for speed in self.speeds:
                copy = audio
                if speed != 1:
                    # To play faster is to read samples as if they had come at a higher rate.
                    copy = soxr.resample(audio, self.sample_rate * speed, self.sample_rate)
                self._append(path, digest, speed, copy)
        if len(self._waiting) >= _SAVED_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring samples to the disk, and then the lines that name them."""
        self.out.flush()
        os.fsync(self.out.fileno())
        for line in self._waiting:
            self.index.write(line.encode() + b"\n")
        self.index.flush()
        os.fsync(self.index.fileno())
        self._waiting.clear()

    def _append(self, path: str, digest: str, speed: float, audio: np.ndarray) -> None:
        """Write the samples (n,) of one recording."""
        rounded = _as_integers(audio)
        scaled = rounded.astype(np.float64) / _FULL_SCALE
        start = self.known[-1].start + self.known[-1].samples if self.known else 0
        self.out.write(rounded.tobytes())
        mean, std = float(scaled.mean()), float(scaled.std())
        recording = Recording(path, digest, speed, start, len(rounded), mean, std)
        self.known.append(recording)
        self._waiting.append(json.dumps({"recording": asdict(recording)}))
