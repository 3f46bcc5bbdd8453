"""Convert recordings of Debian packages to mono 16 kHz FLAC files of 16 bits.

Nothing is cut but digital silence at both ends beyond one second. A file is left out, and its
reason told, where it is shorter than 0.2 s, silent, the same as an earlier one, or unreadable.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from svuprobe._files import writing
from svuprobe.pretrain.open_audio.packages import Package

SAMPLE_RATE = 16000
SHORTEST_S = 0.2
KEPT_SILENCE_S = 1.0
SUFFIXES = (".flac", ".gsm", ".mp3", ".oga", ".ogg", ".opus", ".raw", ".wav")
_FULL_SCALE = 32767  # as libsndfile writes floats

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Row:
    """Describe one line of the list: what lies where, how long it is, whence it comes.

    Attributes
    ----------
    path
        Relative to the folder of the list, with ``/``.
    dur_s
        Seconds.
    sha256
        Of the FLAC file.
    source
        Package, version and file, or what rendered it.
    licence
        As the package states it.
    """

    path: str
    dur_s: float
    sha256: str
    source: str
    licence: str


class Sink:
    """Take recordings: each content is written once, and what is refused has a reason.

    Parameters
    ----------
    root
        The folder of the list; files lie in ``root/audio``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: set[str] = set()
        self._paths: set[str] = set()

    def remember(self, row: Row) -> None:
        """Take note of a file that an earlier run wrote."""
        self._contents.add(row.sha256)
        self._paths.add(row.path)

    def write(self, name: str, samples: Samples, source: str, licence: str) -> Row | str:
        """Write ``audio/NAME.flac``; returns its row, or the reason why it is left out.

        Parameters
        ----------
        name
            Path without a suffix, relative to ``audio``.
        samples
            Shape (n,), 16 bits, 16 kHz.
        """
        samples = without_silence(samples)
        if len(samples) < SHORTEST_S * SAMPLE_RATE:
            return "shorter than 0.2 s" if len(samples) else "silent"
        encoded = io.BytesIO()
        sf.write(encoded, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        content = encoded.getvalue()
        digest = hashlib.sha256(content).hexdigest()  # equal samples have equal files
        if digest in self._contents:
            return "same as an earlier one"
        path = f"audio/{name}.flac"
        while path in self._paths:  # the same name with another suffix
            path = path.removesuffix(".flac") + "_.flac"
        row = Row(path, round(len(samples) / SAMPLE_RATE, 3), digest, source, licence)
        self.remember(row)
        target = self.root / path
        with writing(target):  # a part that is cut off here is made again
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return row


def without_silence(samples: Samples) -> Samples:
    """Cut what exceeds one second of zeros at either end; nothing is left of silence alone."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return samples[:0]
    kept = round(KEPT_SILENCE_S * SAMPLE_RATE)
    first = max(sounding[0] - kept, 0)
    return samples[first : sounding[-1] + 1 + kept]


def samples_of(audio: NDArray[np.float32], rate: float) -> Samples:
    """Return audio (n, channels), full scale 1, as 16-bit samples (m,) at 16 kHz.

    Channels are averaged; what exceeds full scale is cut off there.
    """
    mono = audio.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    return np.clip(np.rint(mono * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE).astype(np.int16)


def read(path: Path) -> Samples:
    """Read a sound file as 16-bit samples at 16 kHz; ValueError with the reason where it can't be.

    ``.gsm`` files have no header; they are GSM 06.10 at 8 kHz, mono, as telephones want them.
    """
    try:
        if path.suffix == ".gsm":
            audio, rate = sf.read(
                path,
                dtype="float32",
                always_2d=True,
                format="RAW",
                subtype="GSM610",
                samplerate=8000,
                channels=1,
            )
        elif path.suffix == ".raw":  # of Sphinx: 16 bits, 16 kHz, mono
            audio, rate = sf.read(
                path,
                dtype="float32",
                always_2d=True,
                format="RAW",
                subtype="PCM_16",
                samplerate=SAMPLE_RATE,
                channels=1,
            )
        else:
            audio, rate = sf.read(path, dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError, ValueError) as error:
        raise ValueError(str(error).rpartition(": ")[2]) from None
    if not len(audio):
        raise ValueError("no samples")
    if not np.isfinite(audio).all():
        raise ValueError("holds values that are not finite")
    return samples_of(audio, rate)


def sound_files(package: Package, unpacked: Path) -> Iterator[Path]:
    """Yield what is taken of a package that was unpacked, sorted."""
    for path in sorted((unpacked / package.folder).rglob("*")):
        inside = path.relative_to(unpacked / package.folder).as_posix()
        is_sound = path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
        if is_sound and package.takes(inside):
            yield path


def convert(package: Package, unpacked: Path, sink: Sink) -> Iterator[Row | str]:
    """Convert the recordings of a package; yields rows, and lines on what is left out."""
    for path in sound_files(package, unpacked):
        inside = path.relative_to(unpacked / package.folder)
        source = f"{package.name} {package.version}: {inside.as_posix()}"
        try:
            samples = read(path)
        except ValueError as error:
            yield f"{source}: {error}"
            continue
        name = f"{package.name}/{inside.with_suffix('').as_posix()}"
        row = sink.write(name, samples, source, package.licence_of(inside.as_posix()))
        yield row if isinstance(row, Row) else f"{source}: {row}"
