"""Decoding: one file, or a stretch of it, as float32 mono at the rate a model wants."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip

_TRIM_FRAME_S = 0.025
_TRIM_BELOW_DB = 40.0
_FINGERPRINT_BYTES = 1 << 16
_PRE_ROLL = 8192
_END_TOLERANCE_S = 0.1


def load_clip(clip: Clip, sample_rate: int) -> np.ndarray:
    """Samples of one clip, (n,) float32 mono at ``sample_rate`` Hz; channels are averaged.

    Raises ExtractError with the reason where the file is missing, can't be decoded, is empty or holds
    values that are not finite.
    """
    import soxr

    samples, rate = _read(clip)
    bad = ~np.isfinite(samples).all(axis=1)
    if bad.any():
        raise ExtractError(f"{clip.path}: {np.count_nonzero(bad)} samples are NaN or infinite")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    if mono.size == 0:
        raise ExtractError(f"{clip.path}: no samples between {clip.start:g} s and the clip's end")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _read(clip: Clip) -> tuple[np.ndarray, int]:
    """(samples, channels) float32 and the file's own rate."""
    import soundfile

    if not Path(clip.path).is_file():
        raise ExtractError(f"{clip.path}: no such file")
    try:
        with soundfile.SoundFile(clip.path) as file:
            _refuse_truncated(clip.path, file.extra_info)
            rate, length = file.samplerate, file.frames
            first, last = round(clip.start * rate), length if clip.end is None else round(clip.end * rate)
            if last > length + _END_TOLERANCE_S * rate:
                raise ExtractError(f"{clip.path}: lasts {length / rate:g} s, the clip ends at {clip.end:g} s")
            # An MP3 decodes wrongly for some frames after a seek, until its bit reservoir is full again.
            before = min(first, length, _PRE_ROLL)
            file.seek(min(first, length) - before)
            return file.read(max(0, last - first) + before, dtype="float32", always_2d=True)[before:], rate
    except (soundfile.LibsndfileError, OSError, TypeError) as error:  # TypeError: headerless, as *.raw
        reason = getattr(error, "error_string", None) or str(error)
        raise ExtractError(f"{clip.path}: can't be decoded ({reason.strip().rstrip('.')})") from None


def _refuse_truncated(path: str, log: str) -> None:
    """libsndfile reads what is there of a truncated file and only notes it in its log.

    Programs that write to a pipe promise 2 GiB or more, not knowing the length; that is no truncation.
    """
    for promised, found in re.findall(r": (\d+) \(should be (\d+)\)", log):
        if int(found) < int(promised) < 0x7FFFF000:
            raise ExtractError(f"{path}: truncated, {found} of {promised} bytes are there")


def trim_silence(samples: np.ndarray, sample_rate: int) -> tuple[int, int]:
    """First and last-plus-one sample of what is louder than the loudest 25 ms frame minus 40 dB.

    A silent clip is returned whole. MARBLE's voice activity detector trims the start only.
    """
    size = max(1, round(_TRIM_FRAME_S * sample_rate))
    padded = np.pad(samples, (0, -len(samples) % size))
    power = np.square(padded.reshape(-1, size), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-_TRIM_BELOW_DB / 10))
    if loud.size == 0:
        return 0, len(samples)
    return int(loud[0]) * size, min(int(loud[-1] + 1) * size, len(samples))


def fingerprint(path: str) -> str:
    """A cheap identity of a file's content: its size and a hash of its first and last 64 KiB.

    It tells a cache that a clip's audio was replaced without reading whole corpora; an edit in the middle
    of a file that keeps its size goes unseen. A file that can't be read has the empty fingerprint.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest = hashlib.blake2b(file.read(_FINGERPRINT_BYTES), digest_size=8)
            file.seek(max(0, size - _FINGERPRINT_BYTES))
            digest.update(file.read(_FINGERPRINT_BYTES))
    except OSError:
        return ""
    return f"{size}-{digest.hexdigest()}"
