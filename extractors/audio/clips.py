"""Read clips: their samples as float32 mono at the rate each model wants, and what they are
undecoded.

A clip is decoded once and resampled once per rate. Where it is too long to be held, it is decoded
twice, in blocks: once for its length, loudness and faults, once for the windows, which come out the
same to the bit. Nothing here imports torch: it runs in worker processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import soxr

from svuprobe.extractors.audio.sound_files import SoundFile, opened, shown
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip

# Silence at the ends of a clip, where a task has it
# trimmed: frames, and decibels below the loudest.
_TRIM_FRAME_S = 0.025
_TRIM_BELOW_DB = 40.0
_FINGERPRINT_BYTES = 1 << 16
# An MP3 decodes wrongly for some frames after a seek, until its bit reservoir is full again.
_PRE_ROLL = 8192
# Headers round: a clip may end so much later than its file says.
_TOLERANCE_S = 0.1
# Samples of one clip in memory; from about 11 minutes at 44.1 kHz on, clips go through in blocks.
_HELD = 40_000_000


def load_clip(clip: Clip, sample_rate: int) -> np.ndarray:
    """Decode one clip: samples (n,) float32 mono at ``sample_rate`` Hz; channels are averaged.

    Raises ExtractError with the reason where the file is missing, truncated, can't be decoded, has
    no samples or holds values that are not finite.
    """
    samples = ClipAudio(clip, (sample_rate,))
    return np.concatenate([block[sample_rate] for block in samples.blocks()])


def load_samples(audio: np.ndarray, sample_rate: float, wanted_rate: int) -> np.ndarray:
    """Return audio in memory as `load_clip` gives a file's: (n,) float32 mono at ``wanted_rate``
    Hz.
    """
    samples = ClipAudio(Clip("audio", "audio", "test", None, ""), (wanted_rate,))
    samples.hold(mono_of(audio), sample_rate)
    (block,) = samples.blocks()
    return block[wanted_rate]


def mono_of(audio: np.ndarray) -> np.ndarray:
    """Return the mean over channels, (n,) float32."""
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2) or not np.issubdtype(audio.dtype, np.floating):
        raise ExtractError(
            f"audio of shape {audio.shape} and type {audio.dtype}: it is (samples,) or (channels, "
            "samples), floating point, full scale is 1"
        )
    # Nobody has more channels than samples: it is (samples, channels) of another library.
    if audio.ndim == 2 and len(audio) > audio.shape[1]:
        raise ExtractError(
            f"audio of shape {audio.shape} has more channels than samples: it is (channels, "
            "samples)"
        )
    return _mean(np.atleast_2d(audio).T.astype(np.float32))


def duration(clip: Clip) -> float | None:
    """Return a clip's seconds by its file's header; None where it can't be opened or does not say.

    Of an MP3 without a tag it is a guess from its size: good to 0.3 % at a constant bit rate, else
    to a factor of 2.
    """
    try:
        with opened(clip.path, checked=False) as file:
            # Headers alone: nothing is searched for truncation.
            if file.frames is None:
                return None if clip.end is None else clip.end - clip.start
            first, last = _span(clip, file)
            return max(0, last - first) / file.rate
    except ExtractError:
        return None


def identity(clip: Clip) -> str:
    """Name what a clip's features were made from: its file's content and the part of it."""
    return identity_of(clip, fingerprint(clip.path))


def identity_of(clip: Clip, content: str) -> str:
    """Name a clip, as `identity` does, whose file has the fingerprint ``content``."""
    return f"{content} {clip.start!r}-{clip.end!r}"


def fingerprint(path: str) -> str:
    """Return a cheap identity of a file's content: its size and a hash of its ends, 64 KiB each.

    It tells a cache that a clip's audio was replaced without reading whole corpora; an edit in the
    middle of a file that keeps its size goes unseen. A file that can't be read has the empty
    fingerprint.
    """
    if not os.path.isfile(path):  # opening a named pipe would hang
        return ""
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


class ClipAudio:
    """Read a clip's stretch of its file at some rates, in blocks: all in one, and kept, if it is
    short.
    """

    def __init__(
        self, clip: Clip, rates: tuple[int, ...], alive: Callable[[], None] = lambda: None
    ) -> None:
        self.clip, self.rates, self.seconds, self._alive = clip, rates, 0.0, alive
        self._kept: dict[int, np.ndarray] | None = None

    def hold(self, mono: np.ndarray, rate: float) -> None:
        """Take samples that are in memory, (n,) float32 at ``rate`` Hz, in place of the file's."""
        if not (np.isfinite(rate) and rate > 0):
            raise ExtractError(f"a sampling rate of {rate} Hz: it is a number greater than 0")
        if not np.isfinite(mono).all():
            at = int(np.flatnonzero(~np.isfinite(mono))[0]) / rate
            raise ExtractError(
                f"{self.clip.path}: samples are NaN or infinite, the first at {at:.6g} s"
            )
        self.seconds = len(mono) / rate
        self._kept = self._resampled(mono, rate)

    def blocks(self) -> Iterator[dict[int, np.ndarray]]:
        """Yield the next samples at every rate, (n,) float32 each.

        Where nothing is kept they are decoded again at each call.
        """
        if self._kept is None:
            with opened(self.clip.path) as file:
                first, last = _span(self.clip, file)
                # Counted are the samples of the file itself and those of each rate.
                if (
                    file.frames is None
                    or (last - first) * (1 + sum(self.rates) / file.rate) > _HELD
                ):
                    yield from self._streamed(file)
                    return
                self._kept = self._whole(file)
        yield self._kept

    def bounds(self, trim: bool) -> dict[int, tuple[int, int]]:
        """Return the first and last-plus-one sample at every rate, of the loud part if ``trim``."""
        meters = {rate: LoudnessMeter(rate) for rate in self.rates}
        lengths = dict.fromkeys(self.rates, 0)
        for block in self.blocks():
            for rate, meter in meters.items():
                lengths[rate] += len(block[rate])
                if trim:
                    meter.add(block[rate])
        return {
            rate: meter.loud() if trim else (0, lengths[rate]) for rate, meter in meters.items()
        }

    def _whole(self, file: SoundFile) -> dict[int, np.ndarray]:
        # The empty array serves files without any block, which can't be joined.
        return self._resampled(
            np.concatenate([*self._mono(file), np.empty(0, np.float32)]), file.rate
        )

    def _resampled(self, mono: np.ndarray, of: float) -> dict[int, np.ndarray]:
        """Return the samples at every rate; ExtractError where there are none."""
        whole = {rate: mono if rate == of else soxr.resample(mono, of, rate) for rate in self.rates}
        for rate, samples in whole.items():
            self._refuse_none(rate, len(samples))
        return whole

    def _streamed(self, file: SoundFile) -> Iterator[dict[int, np.ndarray]]:
        """Yield the samples of `_whole` to the bit, a block at a time."""
        # One rate at a time keeps its filter's state from
        # block to block: the same bits as in one go.
        resamplers = {
            rate: soxr.ResampleStream(file.rate, rate, 1)
            for rate in self.rates
            if rate != file.rate
        }
        lengths = dict.fromkeys(self.rates, 0)
        for mono, last in _with_last(self._mono(file)):
            block = {
                r: resamplers[r].resample_chunk(mono, last=last) if r in resamplers else mono
                for r in self.rates
            }
            for rate in self.rates:
                lengths[rate] += len(block[rate])
            yield block
        for rate, length in lengths.items():
            self._refuse_none(rate, length)

    def _refuse_none(self, rate: int, length: int) -> None:
        if length == 0:
            part = f"between {self.clip.start:g} s and the clip's end"
            raise ExtractError(f"{shown(self.clip.path)}: no samples {part} at {rate} Hz")

    def _mono(self, file: SoundFile) -> Iterator[np.ndarray]:
        """Yield the mean over the channels of each block, (n,) float32.

        Raises ExtractError where samples are not finite, or fewer than the header promises.
        """
        first, last = _span(self.clip, file)
        done = 0
        for block in file.blocks(first, last, pre_roll=_PRE_ROLL):
            mono = _mean(block)
            if not np.isfinite(mono).all():
                at = (first + done + int(np.flatnonzero(~np.isfinite(mono))[0])) / file.rate
                raise ExtractError(
                    f"{file.name}: samples are NaN or infinite, the first at {at:.6g} s"
                )
            done += len(mono)
            self._alive()
            yield mono
        self.seconds = done / file.rate
        _refuse_short(self.clip, file, first, done)


def _mean(block: np.ndarray) -> np.ndarray:
    """Average (n, channels) to (n,), column by column: ten times as fast as a mean over an axis of
    2.
    """
    mono = block[:, 0].copy()
    # Values that are not finite are found and named by the caller.
    with np.errstate(all="ignore"):
        for channel in block.T[1:]:
            mono += channel
        mono /= block.shape[1]
    return mono


def _span(clip: Clip, file: SoundFile) -> tuple[int, int]:
    """Return the first and last-plus-one frame of a clip."""
    first = round(clip.start * file.rate)
    end = None if clip.end is None else round(clip.end * file.rate)
    if file.frames is None:
        # No length is known: a clip without an end goes on to the last block.
        return first, 1 << 62 if end is None else end
    if end is not None and end > file.frames + _TOLERANCE_S * file.rate:
        raise ExtractError(
            f"{file.name}: lasts {file.frames / file.rate:g} s, the clip ends at {clip.end:g} s"
        )
    return min(first, file.frames), file.frames if end is None else min(end, file.frames)


def _refuse_short(clip: Clip, file: SoundFile, first: int, done: int) -> None:
    _, last = _span(clip, file)
    # Neither the file nor the clip says how long it is.
    if file.frames is None and clip.end is None:
        return
    missing = (last - first - done) / file.rate
    # Formats of exact length may lack nothing; an MP3 may lack an encoder's padding.
    if missing > (0 if file.exact and file.frames is not None else _TOLERANCE_S):
        raise ExtractError(
            f"{file.name}: truncated or damaged, {missing:g} s are missing before "
            f"{last / file.rate:g} s"
        )


def _with_last(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield each block, and whether it is the last."""
    held = next(blocks, None)
    while held is not None:
        following = next(blocks, None)
        yield held, following is None
        held = following


@dataclass
class LoudnessMeter:
    """Measure length and loudness of samples that come in blocks, to tell silence at either end.

    MARBLE's voice activity detector trims the start only.
    """

    sample_rate: int
    samples: int = 0
    _power: list[np.ndarray] = field(default_factory=list)
    _rest: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def _size(self) -> int:
        return max(1, round(_TRIM_FRAME_S * self.sample_rate))

    def add(self, block: np.ndarray) -> None:
        """Take the next samples, (n,) float32."""
        self.samples += len(block)
        joined = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(joined) - len(joined) % self._size
        self._measure(joined[:whole])
        self._rest = joined[whole:].copy()

    def loud(self) -> tuple[int, int]:
        """Return the first and last-plus-one sample of what is within 40 dB of the loudest 25 ms.

        Of a silent clip that is all of it.
        """
        # The last frame is not whole: zeros fill it.
        if len(self._rest):
            self._measure(np.pad(self._rest, (0, self._size - len(self._rest))))
            self._rest = self._rest[:0]
        power = np.concatenate(self._power)
        loud = np.flatnonzero(power > power.max() * 10 ** (-_TRIM_BELOW_DB / 10))
        if loud.size == 0:
            return 0, self.samples
        return int(loud[0]) * self._size, min(int(loud[-1] + 1) * self._size, self.samples)

    def _measure(self, frames: np.ndarray) -> None:
        self._power.append(np.square(frames.reshape(-1, self._size), dtype=np.float64).mean(axis=1))
