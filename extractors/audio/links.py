"""Read sound files that are several, one after the other: chained OGG streams, and joined FLAC
files.

libsndfile reads the first and says nothing of the others; here they are one sound. OGG calls each a
link of a chain (RFC 3533, section 4): recordings of internet radio are chains, with a link for each
song. A link begins with pages that say so, which may be several where streams are interleaved, as
sound and pictures.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
import soundfile

# As the first of a stream begins: version 0, its flag, no samples yet.
_OGG_PAGE = b"OggS\x00\x02" + bytes(8)
_OGG_HEADER = 27  # bytes, before the lengths of the segments
# How the head of a FLAC file's first block goes on.
_STREAMINFO = b"\x00\x00\x00\x22", b"\x80\x00\x00\x22"


class LinkError(Exception):
    """Report a link that makes the whole unreadable; the message is the reason."""


class Reader(soundfile.SoundFile):
    """Read as soundfile does, but never seek after a read.

    soundfile seeks after each read, to where it is, which makes an MP3 lose its bit reservoir.
    """

    def seekable(self) -> bool:
        return False

    @property
    def can_seek(self) -> bool:
        """Return whether libsndfile can seek.

        In GSM 6.10, G.72x, NMS ADPCM and DPCM each sample needs all before it.
        """
        return bool(super().seekable())


@dataclass(frozen=True)
class Span:
    """Mark bytes of a file, from ``start`` to ``stop``."""

    start: int
    stop: int


def spans_of(raw: FileIO) -> list[Span]:
    """Find the sounds of an OGG or FLAC file, by reading all of it; none in files of other
    formats.
    """
    raw.seek(0)
    magic = raw.read(4)
    raw.seek(0)
    if magic not in (b"OggS", b"fLaC"):
        return []
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = list(_ogg_starts(data) if magic == b"OggS" else _flac_starts(data))
        return [Span(a, b) for a, b in pairwise([*starts, len(data)])]


def _ogg_starts(data: Any) -> Iterator[int]:
    at = beginning = -1  # where the next page is, if all pages so far were first ones
    while (at := data.find(_OGG_PAGE, at + 1)) >= 0:
        # A first page that follows a first page is of the same link: its streams are interleaved.
        if at != beginning:
            yield at
        # The header's last byte counts the segments; their lengths follow it (RFC 3533, section 6).
        segments = data[at + _OGG_HEADER - 1] if at + _OGG_HEADER <= len(data) else 0
        beginning = (
            at + _OGG_HEADER + segments + sum(data[at + _OGG_HEADER : at + _OGG_HEADER + segments])
        )


def _flac_starts(data: Any) -> Iterator[int]:
    at = 0
    yield at
    while (at := data.find(b"fLaC", at + 1)) >= 0:
        # The four letters may occur in the audio too; only before STREAMINFO do they begin a file.
        if data[at + 4 : at + 8] in _STREAMINFO:
            yield at


class _Part(io.RawIOBase):
    """Show a span of a file as a file.

    ``raw`` is shared, so each reading goes to its own place first.
    """

    def __init__(self, raw: FileIO, span: Span) -> None:
        self._raw, self._span, self._at = raw, span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._at,
            io.SEEK_END: self._span.stop - self._span.start,
        }[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        left = max(0, self._span.stop - self._span.start - self._at)
        self._raw.seek(self._span.start + self._at)
        n = self._raw.readinto(view[: min(len(view), left)]) or 0
        self._at += n
        return n


class Chain:
    """Read several sounds of one rate as one; a reading ends where one of them does.

    A context manager.
    """

    can_seek = True

    def __init__(self, raw: FileIO, spans: list[Span]) -> None:
        """Open each once for its length. Raises LinkError where they do not go together."""
        self._raw, self._spans, self._open = raw, spans, -1
        self._sound: Reader | None = None
        self._first = [0]  # frame of each sound, and behind the last
        for number in range(len(spans)):
            sound = self._sound_of(number)
            if number == 0:
                self.samplerate, self.channels, self.format = (
                    sound.samplerate,
                    sound.channels,
                    sound.format,
                )
            if sound.samplerate != self.samplerate:
                raise LinkError(
                    f"has streams of {self.samplerate} and {sound.samplerate} Hz one after the "
                    "other, which are not one sound; split or convert it, e.g. with ffmpeg to "
                    "FLAC"
                )
            self._first.append(self._first[-1] + sound.frames)
        self.frames, self.extra_info = self._first[-1], ""
        self._at = 0

    def __enter__(self) -> Chain:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._sound is not None:
            self._sound.close()

    def _sound_of(self, number: int) -> Reader:
        if self._sound is None or self._open != number:
            if self._sound is not None:
                self._sound.close()
            self._sound, self._open = Reader(_Part(self._raw, self._spans[number])), number
        return self._sound

    def seek(self, frame: int) -> None:
        """Go to a frame of the whole."""
        self._at = frame
        number = self._number()
        if number is not None:
            self._sound_of(number).seek(frame - self._first[number])

    def _number(self) -> int | None:
        """Return the number of the sound that holds the next frame; None at the end."""
        return next((n for n in range(len(self._spans)) if self._at < self._first[n + 1]), None)

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> np.ndarray:
        """Return the next frames, (n, channels): fewer where a sound ends, none after the last."""
        number = self._number()
        if number is None:
            return np.empty((0, self.channels), dtype)
        # A sound that was opened anew stands at its start.
        new = number != self._open
        sound = self._sound_of(number)
        if new:
            sound.seek(self._at - self._first[number])
        block = sound.read(
            min(frames, self._first[number + 1] - self._at), dtype=dtype, always_2d=always_2d
        )
        self._at += len(block)
        return np.asarray(block)
