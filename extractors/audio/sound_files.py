"""Open sound files: by content whatever they are called, at their true length, refused if
truncated.

libsndfile reads what is there of a truncated file. What gives it away: in WAV, AIFF and their kin
the size that the header promises; in FLAC a lost sync or missing samples; in OGG the last page's
end-of-stream bit; in MP3 the tag with the count of frames. An MP3 without that tag, and rare
formats (VOC, NIST, IRCAM, CAF, headers of pipes), promise nothing that is looked for: there a cut
goes unseen unless a clip's ``end`` lies beyond it. Of files that hold several sounds one after the
other all are read (`svuprobe.extractors.audio.links`).
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO

import numpy as np
import soundfile

from svuprobe.extractors.audio import mp3
from svuprobe.extractors.audio.links import Chain, LinkError, Reader, Span, spans_of
from svuprobe.extractors.base import ExtractError

_BLOCK = 1 << 20  # values decoded at once
# Hz; outside, a header is nonsense, and resampling would make any length of it
_RATES = 1_000, 1_000_000
_OGG_PAGE = 65_307  # bytes of the largest
_UNRECOGNISED = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_CHUNKS = "data|SSND|Data Size|Riff size|riff"  # of WAV, AIFF, AU, RF64 and W64
_CONVERT = (
    "WAV, FLAC, OGG, MP3 and AIFF are read, convert others (M4A, AAC, WMA) first, e.g. with "
    "ffmpeg to FLAC"
)
_DENSEST = 8192  # frames in a byte: a FLAC of silence has 4,700, an OGG 2,000
_UNKNOWN = 1 << 62  # libsndfile says 2 ** 63 - 1 frames where a FLAC's header has no length


def shown(path: str) -> str:
    """Return a path as part of one line: quoted and escaped where it has newlines or bytes of no
    text.
    """
    return path if path.isprintable() else repr(path)


@dataclass
class SoundFile:
    """Hold a file being decoded; ``frames`` is None where only decoding tells.

    ``exact`` says that all of them must be there.
    """

    name: str
    rate: int
    frames: int | None
    exact: bool
    sound: Reader | Chain

    def blocks(self, first: int, last: int | None, *, pre_roll: int = 0) -> Iterator[np.ndarray]:
        """Yield the samples of each block from frame ``first`` to ``last`` (the end), (n, channels)
        float32.

        ``pre_roll`` frames before them are decoded too and dropped.
        """
        size = max(1, _BLOCK // self.sound.channels)
        at = max(0, first - pre_roll) if self.sound.can_seek else 0
        if self.sound.can_seek:
            self.sound.seek(at)
        # Where the codec can't seek, this decodes from the start.
        while at < first:
            before = len(self.sound.read(min(size, first - at), dtype="float32", always_2d=True))
            if not before:
                return
            at += before
        left = _UNKNOWN if last is None else last - first
        while left > 0:
            block = self.sound.read(min(size, left), dtype="float32", always_2d=True)
            if not len(block):
                return
            left -= len(block)
            yield block


@contextmanager
def opened(path: str, *, checked: bool = True, measured: bool = False) -> Iterator[SoundFile]:
    """Open a file for decoding, ``checked`` for truncation; else only headers are read.

    An MP3 whose header has no length is read as a whole too where it is to be ``measured``.

    Raises ExtractError with the reason where it can't be opened, is truncated, or can't be decoded
    on the way.
    """
    name = shown(path)
    _refuse_no_file(path, name)
    where = "can't be decoded"
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb", buffering=0))
            size = os.fstat(raw.fileno()).st_size
            # What a file promises is looked for first, because
            # libsndfile reads what is there and is content.
            chain = _chain(name, raw, checked)
            frames = _mp3_frames(name, raw, checked, measured)
            if frames is not None and frames.outgrown:
                raw = _extended(
                    raw, frames, stack.enter_context(tempfile.TemporaryFile(buffering=0))
                )
            # By its number, else libsndfile guesses a format
            # from the name of what it does not recognise.
            sound = stack.enter_context(
                Chain(raw, chain) if chain else Reader(raw.fileno(), closefd=False)
            )
            _refuse_truncated(name, sound.extra_info)
            if not _RATES[0] <= sound.samplerate <= _RATES[1]:
                raise ExtractError(
                    f"{name}: its header says {sound.samplerate} Hz; 1 to 1000 kHz is what is read"
                )
            # Formats that know no length answer the largest number there is.
            length = sound.frames if sound.frames < _UNKNOWN else None
            if frames is not None and frames.outgrown:
                length = frames.count * frames.samples
            if length is not None and length > _DENSEST * size:
                raise ExtractError(
                    f"{name}: damaged, its header promises {length} samples in a file of {size} "
                    "bytes"
                )
            # From here on, errors are of decoding and not of the header.
            where = "is truncated or damaged"
            yield SoundFile(name, sound.samplerate, length, sound.format != "MP3", sound)
    except LinkError as error:
        raise ExtractError(f"{name}: {error}") from None
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".").removeprefix("Error : ")
        # It is: libsndfile took it for an MP3.
        if error.code == _UNRECOGNISED or "not a regular file" in reason:
            raise ExtractError(
                f"{name}: can't be decoded (format not recognised); {_CONVERT}"
            ) from None
        raise ExtractError(f"{name}: {where} ({reason})") from None
    except OSError as error:
        raise ExtractError(f"{name}: can't be read ({error.strerror or error})") from None


@dataclass(frozen=True)
class FileHead:
    """Hold what the head of a sound file says; ``problem`` is empty where it can be read."""

    seconds: float = 0.0
    form: str = ""  # e.g. "WAV 44100 Hz mono"
    problem: str = ""


def head_of(path: str) -> FileHead:
    """Return a sound file's length and form, or why there is none; an MP3 without its length is
    measured.
    """
    try:
        with opened(path, checked=False, measured=True) as file:
            if file.frames == 0:
                return FileHead(problem="holds no audio (0 frames)")
            channels = {1: "mono", 2: "stereo"}.get(
                file.sound.channels, f"{file.sound.channels} channels"
            )
            form = f"{file.sound.format} {file.rate} Hz {channels}"
            return FileHead((file.frames or 0) / file.rate, form)
    except ExtractError as error:
        return FileHead(problem=str(error).removeprefix(f"{shown(path)}: "))


def _refuse_no_file(path: str, name: str) -> None:
    """Refuse what is no file, before it is opened: opening a named pipe would wait for a writer for
    ever.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        reason = "links to a file that does not exist" if os.path.islink(path) else "no such file"
        raise ExtractError(f"{name}: {reason}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise ExtractError(
            f"{name}: can't be read ({getattr(error, 'strerror', None) or error})"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ExtractError(
            f"{name}: is a {'folder' if stat.S_ISDIR(status.st_mode) else 'device or pipe'}, not "
            "a file"
        )
    if status.st_size == 0:
        raise ExtractError(f"{name}: is empty (0 bytes)")


def _refuse_endless(name: str, raw: FileIO, start: int, stop: int) -> None:
    """Refuse an OGG stream whose last page isn't whole, or doesn't say that it is the last."""
    page = _tail(raw, start, stop)
    page = page[page.rfind(b"OggS") :]  # without one, the file ends in rubbish: its last byte
    segments = page[27 : 27 + page[26]] if len(page) > 27 else b""
    if page[:4] == b"OggS" and not (
        # Flag 4 of the last page says that it ends the stream (RFC 3533, section 6).
        segments and page[5] & 4 and len(page) >= 27 + len(segments) + sum(segments)
    ):
        raise ExtractError(f"{name}: truncated, its OGG stream has no end")


def _tail(raw: FileIO, start: int, stop: int) -> bytes:
    """Return what holds the last page of an OGG stream."""
    begins = max(start, stop - _OGG_PAGE)
    raw.seek(begins)
    return raw.read(stop - begins)


def _chain(name: str, raw: FileIO, checked: bool) -> list[Span]:
    """Find the sounds of a file that holds several; none where it is one.

    Only a check reads all of the file for that.
    """
    size = os.fstat(raw.fileno()).st_size
    raw.seek(0)
    first = raw.read(_OGG_PAGE)
    ogg = first[:4] == b"OggS"
    last = _tail(raw, 0, size)
    # A stream's serial number lies 14 bytes into its
    # pages; a chain ends with another than it began.
    serial = (at := last.rfind(b"OggS")) + 14
    spans = (
        spans_of(raw)
        if checked or (ogg and at >= 0 and first[14:18] != last[serial : serial + 4])
        else []
    )
    for span in (spans or [Span(0, size)]) if ogg else []:
        _refuse_endless(name, raw, span.start, span.stop)
    raw.seek(0)
    return spans if len(spans) > 1 else []


def _mp3_frames(name: str, raw: FileIO, checked: bool, measured: bool) -> mp3.Frames | None:
    head = raw.read(10)
    raw.seek(0)
    # Counting frames reads the whole file: only where its length is needed.
    if not mp3.is_mp3(head) or not (checked or measured):
        return None
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        frames = mp3.scan(data) if checked or mp3.untagged(data) else None
    if frames is not None and frames.interrupted:
        raise ExtractError(
            f"{name}: damaged, no MP3 frame begins at byte {frames.stop}, but more follow"
        )
    if frames is not None and frames.truncated:
        raise ExtractError(
            f"{name}: truncated, {frames.count} of {frames.promised} MP3 frames are there"
        )
    return frames


def _extended(raw: FileIO, frames: mp3.Frames, copy: FileIO) -> FileIO:
    """Copy an MP3's frames, with room after them that libsndfile's guess of a length does not
    exceed.
    """
    raw.seek(frames.start)
    for at in range(frames.start, frames.stop, _BLOCK):
        copy.write(raw.read(min(_BLOCK, frames.stop - at)))
    # A hole in the file: it takes no room on disk.
    copy.truncate((frames.count + 2) * mp3.LARGEST)
    copy.seek(0)
    return copy


def _refuse_truncated(name: str, log: str) -> None:
    """Refuse a file that is shorter than its header says, which libsndfile only notes in its log.

    The size of a RIFF or FORM as a whole does not count, nor does a rate of bytes: programs get
    them wrong, and the audio needs its own chunk alone. (RF64 and W64 are checked as a whole only.)
    Programs that write to a pipe promise 2 GiB or more, not knowing the length; that is no
    truncation.
    """
    for promised, present in re.findall(
        rf"^\s*(?:{_CHUNKS})\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE
    ):
        if int(present) < int(promised) < 0x7FFFF000:
            raise ExtractError(f"{name}: truncated, {present} of {promised} bytes are there")
