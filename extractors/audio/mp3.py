"""Measure how long an MP3 really is.

An MP3 is a run of frames; a tag in the first one (Xing, Info or VBRI) may say how many follow. Two
things go wrong unseen. Of a truncated file a decoder returns what is there. And where the tag is
missing or too small (two files joined), libsndfile takes a length from the first frame's size and
reads no further: of a file with a variable bit rate that can be half. So the frames are counted
here.

Headers: ISO 11172-3 and 13818-3, layer III; tags: the LAME project's "mp3infotag" revision 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

_KBPS = {  # of layer III by the version's lowest bit: 1 is MPEG 1, 0 is MPEG 2 and 2.5
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Hz, by version: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5.
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SAME = 0xFFFE0C00  # the bits that all headers of a file share: sync, version, layer, sample rate
_RESYNC = 1024  # bytes of rubbish between frames that mpg123 skips
LARGEST = 1441  # bytes of a frame


@dataclass(frozen=True)
class Frames:
    """Say where the frames of an MP3 are (``start``, ``stop`` in bytes), how many, and samples in
    each.

    ``promised`` is the tag's count, None without a tag; ``partial`` says that the file ends within
    a frame, ``interrupted`` that there are more behind rubbish at ``stop`` that a decoder does not
    get over.
    """

    start: int
    stop: int
    count: int
    samples: int
    promised: int | None
    partial: bool
    interrupted: bool

    @property
    def truncated(self) -> bool:
        """Return whether frames are missing.

        Some encoders count the tag's own frame, so one may be, unless the file is cut within one.
        """
        return self.promised is not None and self.count < self.promised - (not self.partial)

    @property
    def outgrown(self) -> bool:
        """Return whether libsndfile would not find the end: no tag, or more frames than it says."""
        return self.promised is None or self.count > self.promised + 1


def is_mp3(head: bytes) -> bool:
    """Return whether a file that begins so may be an MP3.

    A FLAC, too, can begin with an ID3 tag.
    """
    return head[:3] == b"ID3" or _size(head, 0) > 0


def untagged(data: Any) -> bool:
    """Return whether an MP3's bytes (or mmap) have no tag with a count: only `scan` tells its
    length.
    """
    at = _next(data, 0, 1 << 16, 0)
    return at is not None and _promised(data, at) is None


def scan(data: Any) -> Frames | None:
    """Count the frames of an MP3's bytes (or their mmap); None where there are none of layer
    III.
    """
    at = _next(data, 0, 1 << 16, 0)
    if at is None:
        return None
    like, promised = _header(data, at), _promised(data, at)
    # The frame that holds the tag has no sound: it is not counted.
    start = stop = at if promised is None else at + _size(data, at)
    count, partial = 0, False
    while not partial and (here := _next(data, stop, _RESYNC, like)) is not None:
        after = here + _size(data, here)
        partial = after > len(data)
        if not partial:
            count, stop = count + 1, after
    # Frames beyond what a decoder skips would be lost without a word.
    more = not partial and _next(data, stop, len(data), like) is not None
    return Frames(start, stop, count, 1152 if like >> 19 & 1 else 576, promised, partial, more)


def _header(data: Any, at: int) -> int:
    return int(struct.unpack_from(">I", data, at)[0]) if 0 <= at <= len(data) - 4 else 0


def _size(data: Any, at: int) -> int:
    """Return the bytes of the layer III frame whose header is at ``at``, 0 where there is none."""
    # ISO 11172-3, 2.4.2.3: sync (11 bits), version,
    # layer, protection, bit rate, sampling rate, padding.
    header = _header(data, at)
    version, layer, kbps, rate = (
        header >> 19 & 3,
        header >> 17 & 3,
        header >> 12 & 15,
        header >> 10 & 3,
    )
    # Reserved values, a free format and other layers than III.
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or kbps in (0, 15) or rate == 3:
        return 0
    slots = 144000 if version == 3 else 72000
    return slots * _KBPS[version & 1][kbps] // _RATES[version][rate] + (header >> 9 & 1)


def _next(data: Any, at: int, within: int, like: int) -> int | None:
    """Find the next frame, ID3 tags skipped.

    After rubbish a frame counts only where another, or the end, follows it.
    """
    # An ID3v2 tag has its length in four bytes of 7 bits, without its header and footer.
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        a, b, c, d = data[at + 6 : at + 10]
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[at + 5] & 0x10 else 0)
    here, end = at - 1, min(at + within, len(data))
    while (here := data.find(b"\xff", here + 1, end)) >= 0:
        header, size = _header(data, here), _size(data, here)
        if not size or (like and (header ^ like) & _SAME):
            continue
        # Eleven set bits occur within frames too; where the last one ended, they are a header.
        if (
            (here == at and like)
            or here + size == len(data)
            or not (_header(data, here + size) ^ header) & _SAME
        ):
            return int(here)
    return None


def _side_info(header: int) -> int:
    # Bytes of side information: 17 or 32 in MPEG 1, 9 or 17 in MPEG 2.
    mono = header >> 6 & 3 == 3
    return (17 if mono else 32) if header >> 19 & 1 else (9 if mono else 17)


def _promised(data: Any, at: int) -> int | None:
    """Return the frames that the tag in the frame at ``at`` promises; None without a tag or a
    count.
    """
    beside = at + 4 + _side_info(_header(data, at))
    for place in (beside, beside + 2):  # a checksum may come first
        if data[place : place + 4] in (b"Xing", b"Info"):
            return _header(data, place + 8) if _header(data, place + 4) & 1 else None
    # Fraunhofer's tag lies 32 bytes behind the header, whatever the side information.
    return _header(data, at + 50) if data[at + 36 : at + 40] == b"VBRI" else None
