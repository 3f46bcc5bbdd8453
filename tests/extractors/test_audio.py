"""Decoding, on tones whose pitch and length are known and on files that are broken in every usual
way.
"""

from __future__ import annotations

import os
import shutil
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svuprobe.extractors.audio import clips as audio, sound_files as files
from svuprobe.extractors.audio.clips import (
    LoudnessMeter,
    duration,
    fingerprint,
    identity,
    load_clip,
)
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window, cut
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip, Windowing

RATE = 22050
FORMATS = [
    name for name in ("wav", "flac", "ogg", "mp3") if name.upper() in soundfile.available_formats()
]


def tone(
    hz: float = 440.0, seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5
) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def saved(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def clip_of(path: Path, start: float = 0.0, end: float | None = None) -> Clip:
    return Clip("c", str(path), "train", "x", "g", start, end)


def load(path: Path, rate: int = RATE, start: float = 0.0, end: float | None = None) -> np.ndarray:
    return load_clip(clip_of(path, start, end), rate)


def noise(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), channels))


def pitch_hz(samples: np.ndarray, rate: int) -> float:
    """Frequency of the highest peak of the spectrum, between bins by a parabola."""
    level = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) + 1e-12)
    k = int(level.argmax())
    a, b, c = level[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / len(samples)


def refused(path: Path, *parts: str, **part_of_file: float) -> None:
    """Loading raises one line that begins with the path and has every part."""
    with pytest.raises(ExtractError) as error:
        load(path, **part_of_file)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


# What comes out


@pytest.mark.parametrize("target", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("source", [8000, 16000, 22050, 44100, 48000])
def test_resampling_keeps_pitch_and_duration(tmp_path, source, target):
    samples = load(saved(tmp_path / "a.wav", tone(440.0, 1.5, source), source), target)
    assert abs(len(samples) - 1.5 * target) <= 1
    assert pitch_hz(samples, target) == pytest.approx(440.0, abs=0.5)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)


def test_what_the_new_rate_cannot_hold_is_filtered_out_not_folded_back(tmp_path):
    samples = load(saved(tmp_path / "a.wav", tone(10000.0, 1.0, 44100), 44100), 16000)
    assert np.abs(samples[1000:-1000]).max() < 1e-3


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_samples_are_float32_in_one_piece(tmp_path, rate):
    samples = load(saved(tmp_path / "a.wav", np.stack([tone(), tone()], axis=1)), rate)
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert samples.flags.c_contiguous


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_channels_are_averaged(tmp_path, rate):
    left, right = tone(440.0), tone(660.0)
    stereo = load(saved(tmp_path / "s.wav", np.stack([left, right], axis=1), subtype="FLOAT"), rate)
    mono = load(saved(tmp_path / "m.wav", (left + right) / 2, subtype="FLOAT"), rate)
    np.testing.assert_allclose(stereo, mono, atol=1e-6)
    silent = load(saved(tmp_path / "o.wav", np.stack([left, -left], axis=1), subtype="FLOAT"), rate)
    assert np.abs(silent).max() < 1e-6


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_full_scale_is_1_whatever_the_sample_format(tmp_path, subtype):
    samples = load(saved(tmp_path / "a.wav", tone(), subtype=subtype))
    np.testing.assert_allclose(samples, tone(), atol=0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_usual_format_is_read(tmp_path, suffix):
    samples = load(saved(tmp_path / f"a.{suffix}", tone(440.0, 1.0)))
    assert len(samples) == RATE
    assert pitch_hz(samples, RATE) == pytest.approx(440.0, abs=0.5)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


# Parts


@pytest.mark.parametrize(
    ("start", "end", "first", "stop"),
    [
        (0.0, None, 0, 22050),
        (0.25, None, 5512, 22050),
        (0.0, 0.1, 0, 2205),
        (0.2, 0.5, 4410, 11025),
        (0.50001, 0.6, 11025, 13230),
        (0.5, 1.0, 11025, 22050),
    ],
)
def test_a_part_is_cut_at_the_samples_of_the_file(tmp_path, start, end, first, stop):
    ramp = np.arange(RATE) / (1 << 15)
    samples = load(saved(tmp_path / "a.wav", ramp, subtype="PCM_16"), RATE, start, end)
    np.testing.assert_array_equal(samples, ramp[first:stop].astype(np.float32))


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 0.5), (0.1, 0.5), (0.2, 0.5), (0.4, 0.9), (0.7, 0.8)]
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_the_same_samples_as_in_the_whole(tmp_path, suffix, start, end):
    rate = 44100
    path = saved(tmp_path / f"a.{suffix}", tone(440.0, 1.0, rate), rate)
    part, whole = load(path, rate, start, end), load(path, rate)
    np.testing.assert_allclose(part, whole[round(start * rate) : round(end * rate)], atol=1e-4)


def test_parts_side_by_side_make_the_whole(tmp_path):
    path = saved(tmp_path / "a.flac", tone())
    cuts = [0.0, 0.1, 0.33333, 0.33343, 0.7, None]
    parts = [load(path, RATE, start, end) for start, end in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), load(path))


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_a_part_is_resampled_after_it_is_cut(tmp_path, rate):
    path = saved(tmp_path / "a.wav", np.concatenate([tone(440.0), tone(880.0)]))
    part = load(path, rate, 1.0, 1.5)
    assert abs(len(part) - 0.5 * rate) <= 1
    assert pitch_hz(part, rate) == pytest.approx(880.0, abs=1.0)


@pytest.mark.parametrize("rate", [RATE, 16000])
@pytest.mark.parametrize("start", [1.0, 1.5, 3600.0])
def test_a_part_after_the_end_of_the_file_is_refused(tmp_path, start, rate):
    path = saved(tmp_path / "a.wav", tone())
    refused(path, f"no samples between {start:g} s", rate=rate, start=start)


def test_a_part_that_ends_long_after_the_file_is_refused(tmp_path):
    refused(saved(tmp_path / "a.wav", tone()), start=0.5, end=60.0)


# What lies, but not about the audio


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.flac", "a.wav", "a.ogg", "a.raw", "a.vox", "a.m4a", "a"]
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_is_decoded_by_its_content_whatever_its_name(tmp_path, suffix, name):
    saved(tmp_path / f"right.{suffix}", tone())
    shutil.copy(
        tmp_path / f"right.{suffix}",
        tmp_path / "wrong" if name == "a" else tmp_path / f"wrong{name}",
    )
    wrong = next(tmp_path.glob("wrong*"))
    np.testing.assert_array_equal(load(wrong), load(tmp_path / f"right.{suffix}"))


@pytest.mark.parametrize("channels", range(1, 9))
def test_up_to_eight_channels_are_averaged(tmp_path, channels):
    loud = np.zeros((RATE, channels))
    loud[:, -1] = tone()
    samples = load(saved(tmp_path / "a.wav", loud, subtype="FLOAT"))
    np.testing.assert_allclose(samples, tone() / channels, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 32000, 88200, 96000, 176400, 192000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_rates_from_8_to_192_khz(tmp_path, suffix, rate):
    samples = load(saved(tmp_path / f"a.{suffix}", tone(440.0, 1.0, rate), rate), 16000)
    assert abs(len(samples) - 16000) <= 1
    assert pitch_hz(samples, 16000) == pytest.approx(440.0, abs=0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.aiff", {}),
        ("a.au", {}),
        ("a.caf", {}),
        ("a.wav", {"format": "WAVEX"}),
        ("a.wav", {"format": "RF64"}),
        ("a.w64", {"format": "W64"}),
        ("a.ogg", {"subtype": "OPUS"}),
        ("a.wav", {"subtype": "ULAW"}),
        ("a.wav", {"subtype": "MS_ADPCM"}),
        ("a.caf", {"subtype": "ALAC_16"}),
    ],
)
def test_rarer_containers_and_codecs(tmp_path, name, options):
    rate = 24000
    soundfile.write(tmp_path / name, tone(440.0, 1.0, rate), rate, **options)
    samples = load(tmp_path / name, rate)
    assert len(samples) == pytest.approx(rate, abs=1024)  # ADPCM comes in blocks
    assert pitch_hz(samples, rate) == pytest.approx(440.0, abs=0.5)


@pytest.mark.parametrize(
    "name",
    [
        "a b.wav",
        "ünï-日本.wav",
        "new\nline.wav",
        "tab\t'\".wav",
        os.fsdecode(b"latin-\xe9.wav"),
        "-rf.wav",
    ],
)
def test_any_name_is_read_and_told_on_one_line(tmp_path, name):
    path = tmp_path / name
    path.touch()
    with pytest.raises(ExtractError) as error:
        load(path)
    assert str(error.value).isprintable()
    assert "is empty" in str(error.value)
    soundfile.write(tmp_path / "plain.wav", tone(), RATE)
    (tmp_path / "plain.wav").rename(path)
    assert len(load(path)) == RATE
    assert fingerprint(str(path)) != ""


def _with_sizes(path: Path, riff: int, data: int) -> Path:
    """A WAV whose header has other sizes."""
    saved(path, tone(), subtype="PCM_16")
    body = bytearray(path.read_bytes())
    struct.pack_into("<I", body, 4, riff)
    struct.pack_into("<I", body, 40, data)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0, 44100), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFFFFF), (9999999, 44100)],
)
def test_a_wav_whose_sizes_were_not_known_or_wrong_as_a_whole_is_read(tmp_path, riff, data):
    assert len(load(_with_sizes(tmp_path / "a.wav", riff, data))) == RATE


def test_a_wav_that_says_wrongly_how_many_bytes_a_second_has_is_read(tmp_path):
    path = saved(tmp_path / "a.wav", tone(), subtype="PCM_16")
    body = bytearray(path.read_bytes())
    struct.pack_into("<I", body, 28, 999_999)
    path.write_bytes(body)
    assert len(load(path)) == RATE


def test_a_flac_that_does_not_say_its_length_is_read_to_its_end(tmp_path):
    path = saved(tmp_path / "a.flac", tone())
    whole, part = load(path), load(path, start=0.2, end=0.7)
    body = bytearray(path.read_bytes())
    body[21] &= 0xF0
    body[22:26] = bytes(4)  # the last 36 bits of STREAMINFO's 8 bytes from 18 on
    path.write_bytes(body)
    np.testing.assert_array_equal(load(path), whole)
    np.testing.assert_array_equal(load(path, start=0.2, end=0.7), part)
    assert duration(clip_of(path)) is None
    refused(path, "are missing before 60 s", end=60.0)


# MP3 and its tag


def mp3(
    path: Path, mode: str, seconds: float = 3.0, rate: int = 44100, channels: int = 2
) -> tuple[bytes, bytes]:
    """The frame with the tag, and the frames after it; half noise, half silence, so that frames
    differ in size.
    """
    samples = noise(seconds, rate, channels)
    samples[len(samples) // 2 :] = 0
    with soundfile.SoundFile(
        path, "w", rate, channels, bitrate_mode=mode, compression_level=0.5
    ) as file:
        file.write(samples)
    body = path.read_bytes()
    first = body.index(body[:2], 4)
    assert b"Xing" in body[:first] or b"Info" in body[:first]
    return body[:first], body[first:]


@pytest.mark.parametrize(
    ("rate", "channels"), [(44100, 2), (48000, 1), (32000, 2), (22050, 1), (16000, 2), (8000, 1)]
)
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_tag_is_read_to_its_end(tmp_path, mode, rate, channels):
    path = tmp_path / "a.mp3"
    _, frames = mp3(path, mode, 3.0, rate, channels)
    whole = load(path, rate)
    for rubbish in (b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(50_000)):
        path.write_bytes(frames + rubbish)
        untagged = load(path, rate)
        # Without the tag the encoder's and decoder's delay is not known, so it stays.
        delay = np.argmax([np.vdot(untagged[d : d + 4000], whole[:4000]) for d in range(2500)])
        assert len(untagged) % 576 == 0
        assert len(untagged) >= len(whole) + delay
        np.testing.assert_allclose(untagged[delay : delay + len(whole)], whole, atol=1e-6)


def test_two_mp3s_joined_are_read_to_their_end(tmp_path):
    path = tmp_path / "a.mp3"
    tag, frames = mp3(path, "VARIABLE")
    path.write_bytes(tag + frames + tag + frames)
    assert 6.0 < len(load(path, 44100)) / 44100 < 6.2


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("lost", [1, 500, 3000, 20000])
def test_a_truncated_mp3_is_refused_by_its_tag(tmp_path, lost, mode):
    path = tmp_path / "a.mp3"
    tag, frames = mp3(path, mode)
    path.write_bytes((tag + frames)[:-lost])
    refused(path, "truncated", "MP3 frames are there", rate=44100)


@pytest.mark.parametrize("tagged", [True, False])
def test_an_mp3_with_rubbish_in_it_is_refused(tmp_path, tagged):
    path = tmp_path / "a.mp3"
    tag, frames = mp3(path, "CONSTANT")
    path.write_bytes(tag * tagged + frames[:20000] + bytes(5000) + frames[20000:])
    refused(path, "damaged, no MP3 frame begins at byte", rate=44100)


def test_an_mp3_with_an_id3_tag_and_a_cover_is_whole(tmp_path):
    path = tmp_path / "a.mp3"
    tag, frames = mp3(path, "VARIABLE")
    whole = load(path, 44100)
    cover = np.random.default_rng(0).bytes(70_000).replace(b"\xff", b"\xfe")
    size = bytes(len(cover) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x04\x00\x00" + size + cover + tag + frames + b"TAG" + bytes(125))
    np.testing.assert_array_equal(load(path, 44100), whole)


# What is refused


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_the_time_of_the_first(tmp_path, bad, channels):
    samples = np.stack([tone()] * channels, axis=1)
    samples[[11025, 12000, 13000], 0] = bad
    path = saved(tmp_path / "a.wav", samples, subtype="FLOAT")
    refused(path, "NaN or infinite, the first at 0.5 s")
    refused(path, "the first at 0.5 s", start=0.3)
    assert len(load(path, start=0.6)) == len(tone()) - round(0.6 * RATE)


def test_channels_of_opposite_infinity_are_refused_without_a_warning(tmp_path):
    samples = np.stack([tone()] * 2, axis=1)
    samples[5] = np.inf, -np.inf
    refused(
        saved(tmp_path / "a.wav", samples, subtype="FLOAT"), "NaN or infinite, the first at 0.00022"
    )


def test_doubles_beyond_single_precision_are_refused(tmp_path):
    refused(
        saved(tmp_path / "a.wav", np.full(10, 1e300), subtype="DOUBLE"),
        "NaN or infinite, the first at 0 s",
    )


CUT = [
    ("wav", {}, "truncated"),
    ("wav", {"format": "WAVEX"}, "truncated"),
    ("wav", {"format": "RF64"}, "truncated"),
    ("wav", {"subtype": "FLOAT"}, "truncated"),
    ("w64", {"format": "W64"}, "truncated"),
    ("aiff", {}, "truncated"),
    ("au", {}, "truncated"),
    ("flac", {}, "truncated or damaged"),
    ("ogg", {}, "truncated, its OGG stream has no end"),
    ("ogg", {"subtype": "OPUS"}, "truncated, its OGG stream has no end"),
]


@pytest.mark.parametrize(
    "cut_at", [lambda n: n // 2, lambda n: n - 1, lambda n: n - 3000], ids=["half", "1", "3000"]
)
@pytest.mark.parametrize(("suffix", "options", "reason"), CUT)
def test_a_truncated_file_is_refused(tmp_path, suffix, options, reason, cut_at):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(2.0, 24000, 2), 24000, **options)
    body = path.read_bytes()
    path.write_bytes(body[: cut_at(len(body))])
    refused(path, reason, rate=24000)


def _header_only(path: Path) -> None:
    saved(path, np.zeros(0))


def _a_rate_of(hz: int):
    def write(path: Path) -> None:
        saved(path, tone(), subtype="PCM_16")
        body = bytearray(path.read_bytes())
        struct.pack_into("<I", body, 24, hz)
        path.write_bytes(body)

    return write


def _loop(path: Path) -> None:
    path.symlink_to(path)


RUBBISH = np.random.default_rng(1).bytes(20_000)
CONVERT = "convert others (M4A, AAC, WMA) first, e.g. with ffmpeg to FLAC"
UNREADABLE = [
    ("none.wav", lambda path: None, "no such file"),
    ("no/such/folder/a.wav", lambda path: None, "no such file"),
    ("folder.wav", Path.mkdir, "is a folder, not a file"),
    (
        "dangling.wav",
        lambda path: path.symlink_to("nowhere.wav"),
        "links to a file that does not exist",
    ),
    ("loop.wav", _loop, "can't be read"),
    ("pipe.wav", os.mkfifo, "is a device or pipe, not a file"),
    ("device.wav", lambda path: path.symlink_to("/dev/zero"), "is a device or pipe, not a file"),
    ("empty.wav", Path.touch, "is empty (0 bytes)"),
    ("empty.mp3", Path.touch, "is empty (0 bytes)"),
    (
        "text.wav",
        lambda path: path.write_text("not audio\n" * 99),
        "can't be decoded (format not recognised)",
    ),
    ("text.flac", lambda path: path.write_text("not audio\n" * 99), "can't be decoded"),
    ("header.wav", _header_only, "no samples between 0 s and the clip's end"),
    (
        "no size.wav",
        lambda path: _with_sizes(path, 0, 0),
        "no samples between 0 s and the clip's end",
    ),
    ("header.flac", _header_only, ""),
    ("header.ogg", _header_only, "no samples between 0 s and the clip's end"),
    ("header.mp3", _header_only, ""),
    ("stump.wav", lambda path: path.write_bytes(b"RIFF\x24\x00\x00\x00WAVE"), "can't be decoded"),
    ("one byte.wav", lambda path: path.write_bytes(b"R"), "can't be decoded"),
    ("music.m4a", lambda path: path.write_bytes(b"\0\0\0\x20ftypM4A " + RUBBISH), CONVERT),
    ("music.aac", lambda path: path.write_bytes(b"\xff\xf1\x50\x80" + RUBBISH), CONVERT),
    ("music.wma", lambda path: path.write_bytes(b"\x30\x26\xb2\x75" + RUBBISH), CONVERT),
    ("headerless.raw", lambda path: path.write_bytes(bytes(999)), "can't be decoded"),
    ("rubbish.vox", lambda path: path.write_bytes(RUBBISH), CONVERT),
    ("rubbish.gsm", lambda path: path.write_bytes(RUBBISH), CONVERT),
    ("rubbish.mp3", lambda path: path.write_bytes(b"\xff\xfb\x90\x44" + RUBBISH), ""),
    ("slow.wav", _a_rate_of(1), "its header says 1 Hz"),
    ("fast.wav", _a_rate_of(2_000_000_000), "its header says 2000000000 Hz"),
]


@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, name, make, reason):
    make(tmp_path / name)
    refused(tmp_path / name, reason)


@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_a_file_that_cannot_be_read_fails_its_clip_alone(tmp_path, name, make, reason):
    make(tmp_path / name)
    end = only(cut(clip_of(tmp_path / name), [InputSpec(16000)], Windowing()))
    assert end.failure.startswith(f"{tmp_path / name}: ")
    assert reason in end.failure


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named_with_the_reason(tmp_path):
    path = saved(tmp_path / "a.wav", tone())
    path.chmod(0)
    refused(path, "can't be read (Permission denied)")
    assert fingerprint(str(path)) == ""


def test_a_path_with_a_null_character_is_refused():
    end = only(cut(Clip("c", "a\0b.wav", "train", "x", "g"), [InputSpec(16000)], Windowing()))
    assert end.failure == "'a\\x00b.wav': can't be read (embedded null byte)"


# Windows


def only(pieces) -> ClipEnd:
    (end,) = pieces
    return end


def windows_of(
    path: Path, specs: list[InputSpec], windowing: Windowing, **part: float
) -> tuple[list[Window], ClipEnd]:
    *windows, end = cut(clip_of(path, **part), specs, windowing)
    assert isinstance(end, ClipEnd)
    assert all(isinstance(w, Window) for w in windows)
    return windows, end


def same(one: list[Window], other: list[Window]) -> None:
    """The same windows within each spec."""
    assert {w.spec for w in one} == {w.spec for w in other}
    for spec in {w.spec for w in one}:
        for a, b in zip(
            [w for w in one if w.spec == spec], [w for w in other if w.spec == spec], strict=True
        ):
            assert (a.number, a.start_s) == (b.number, b.start_s)
            np.testing.assert_array_equal(a.samples, b.samples)


def test_windows_are_the_pieces_of_the_clip(tmp_path):
    path = saved(tmp_path / "a.wav", tone(440.0, 3.5))
    whole = load(path, 16000)
    windows, end = windows_of(path, [InputSpec(16000)], Windowing(1.0))
    assert [w.start_s for w in windows] == [0.0, 1.0, 2.0, 3.0]
    np.testing.assert_array_equal(np.concatenate([w.samples for w in windows]), whole)
    assert end == ClipEnd(3.5, 0, None)
    assert {w.identity for w in windows} == {identity(clip_of(path))}


def test_a_window_for_frames_sees_what_its_last_frame_sees(tmp_path):
    path = saved(tmp_path / "a.wav", tone(440.0, 2.5))
    whole = np.pad(load(path, 16000), (0, 80))
    windows, _ = windows_of(path, [InputSpec(16000, 320, 80)], Windowing(1.0))
    for w, (a, b) in zip(windows, [(0, 16000), (16000, 32000), (32000, 40000)], strict=True):
        np.testing.assert_array_equal(w.samples, whole[a : b + 80])


def test_a_window_shorter_than_a_hop_is_left_out_at_frame_level_only(tmp_path):
    path = saved(tmp_path / "a.wav", tone(440.0, 1.01, 16000), 16000)
    windows, _ = windows_of(path, [InputSpec(16000, 320, 80), InputSpec(16000)], Windowing(1.0))
    assert [w.number for w in windows if w.spec.hop] == [0]
    assert [w.number for w in windows if not w.spec.hop] == [0, 1]


def test_silent_windows_are_left_out_and_counted(tmp_path):
    path = saved(
        tmp_path / "a.wav", np.concatenate([tone(), np.zeros(RATE), tone(), np.zeros(RATE)])
    )
    windows, end = windows_of(
        path, [InputSpec(16000), InputSpec(24000)], Windowing(1.0, min_rms=1e-3)
    )
    assert [w.number for w in windows if w.spec.sample_rate == 16000] == [0, 2]
    assert (end.quiet, end.failure) == (2, None)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.full(RATE, 0.25)], ids=["silence", "DC"])
@pytest.mark.parametrize("trim", [False, True])
def test_silence_and_a_constant_are_audio(tmp_path, samples, trim):
    path = saved(tmp_path / "a.wav", samples)
    (window,), end = windows_of(path, [InputSpec(RATE)], Windowing(trim=trim))
    np.testing.assert_array_equal(window.samples, samples.astype(np.float32))
    assert end.failure is None


def test_a_silent_clip_fails_where_only_loud_windows_are_wanted(tmp_path):
    path = saved(tmp_path / "a.wav", np.zeros(RATE))
    end = only(cut(clip_of(path), [InputSpec(16000)], Windowing(0.25, min_rms=1e-3)))
    assert end == ClipEnd(1.0, 4, f"{path}: no window is long and loud enough to be kept")


@pytest.mark.parametrize("n", [1, 2, 100, 399])
def test_a_clip_of_a_few_samples_is_passed_on_for_the_model_to_judge(tmp_path, n):
    path = saved(tmp_path / "a.wav", tone()[1 : n + 1], 16000)
    (window,), end = windows_of(path, [InputSpec(16000)], Windowing(3.0))
    assert (len(window.samples), end.failure) == (n, None)
    end = only(cut(clip_of(path), [InputSpec(16000, 400, 0)], Windowing(3.0)))
    assert "no window is long and loud enough" in end.failure


def test_less_than_one_sample_at_the_model_s_rate_is_refused(tmp_path):
    end = only(
        cut(
            clip_of(saved(tmp_path / "a.wav", tone()[1:2], 192000)), [InputSpec(16000)], Windowing()
        )
    )
    assert "no samples between 0 s and the clip's end at 16000 Hz" in end.failure


def test_windows_are_void_where_the_clip_fails_later(tmp_path):
    samples = tone(440.0, 3.0)
    samples[-1] = np.nan
    end = only(
        cut(
            clip_of(saved(tmp_path / "a.wav", samples, subtype="FLOAT")),
            [InputSpec(16000)],
            Windowing(1.0),
        )
    )
    assert "NaN or infinite" in end.failure


# Long files


SPECS = [InputSpec(16000), InputSpec(24000, 320, 80), InputSpec(16000, 320, 5000), InputSpec(22050)]


@pytest.fixture
def in_blocks(monkeypatch):
    """Every clip counts as long, and goes through in blocks of about 0.1 s."""

    def long() -> None:
        monkeypatch.setattr(audio, "_HELD", 0)
        monkeypatch.setattr(files, "_BLOCK", 4999)

    return long


@pytest.mark.parametrize("part", [{}, {"start": 0.4}, {"start": 0.33, "end": 2.71}])
@pytest.mark.parametrize(
    "windowing",
    [Windowing(0.7), Windowing(0.7, 0.5, trim=True, min_rms=0.05), Windowing()],
    ids=str,
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_long_clip_gives_the_windows_of_a_short_one(tmp_path, in_blocks, suffix, windowing, part):
    quiet = np.zeros((9000, 2))
    sound = np.concatenate(
        [quiet, noise(1.2, 44100, 2), quiet, quiet, quiet, quiet, noise(1.2, 44100, 2), quiet]
    )
    path = saved(tmp_path / f"a.{suffix}", sound, 44100)
    at_once, end = windows_of(path, SPECS, windowing, **part)
    in_blocks()
    blocks = list(audio.ClipAudio(clip_of(path, **part), (16000, 22050)).blocks())
    assert len(blocks) > 5
    windows, end_in_blocks = windows_of(path, SPECS, windowing, **part)
    same(windows, at_once)
    assert end_in_blocks == end
    assert end.failure is None


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_resampling_in_blocks_is_resampling_at_once_to_the_bit(tmp_path, in_blocks, rate):
    path = saved(tmp_path / "a.wav", noise(0.613, rate), rate, "FLOAT")
    at_once = {target: load(path, target) for target in (16000, 24000, 44100)}
    in_blocks()
    for target, samples in at_once.items():
        np.testing.assert_array_equal(load(path, target), samples)


@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_a_long_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path, in_blocks, name, make, reason
):
    make(tmp_path / name)
    in_blocks()
    refused(tmp_path / name, reason, rate=16000)


def test_a_long_clip_fails_before_its_first_window(tmp_path, in_blocks):
    samples = tone(440.0, 3.0)
    samples[-1] = np.nan
    path = saved(tmp_path / "a.wav", samples, subtype="FLOAT")
    in_blocks()
    end = only(cut(clip_of(path), [InputSpec(16000)], Windowing(1.0)))
    assert "NaN or infinite, the first at 2.9999" in end.failure


def test_a_file_that_changes_while_it_is_decoded_fails_its_clip(tmp_path, in_blocks):
    path = saved(tmp_path / "a.wav", tone(440.0, 3.0))
    in_blocks()
    pieces = cut(clip_of(path), [InputSpec(16000)], Windowing(1.0))
    blocks = audio.ClipAudio.blocks

    def shorter(self):
        yield from blocks(self)
        saved(path, tone(440.0, 2.0))

    audio.ClipAudio.blocks = shorter
    try:
        *_, end = pieces
    finally:
        audio.ClipAudio.blocks = blocks
    assert "changed while it was decoded" in end.failure


# Durations


@pytest.mark.parametrize(
    "part", [{}, {"start": 0.4}, {"start": 0.33, "end": 0.9}, {"end": 1.05}, {"start": 5.0}]
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_duration_is_what_decoding_gives(tmp_path, suffix, part):
    path = saved(tmp_path / f"a.{suffix}", tone(440.0, 1.0, 44100), 44100)
    end = list(cut(clip_of(path, **part), [InputSpec(44100)], Windowing()))[-1]
    assert duration(clip_of(path, **part)) == pytest.approx(end.seconds, abs=1e-9)


@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_no_file_without_audio_has_a_duration(tmp_path, name, make, reason):
    make(tmp_path / name)
    assert not duration(clip_of(tmp_path / name))


# Silence


def trim_silence(samples: np.ndarray, rate: int) -> tuple[int, int]:
    """First and last-plus-one sample of what is not silence."""
    meter = LoudnessMeter(rate)
    meter.add(samples)
    return meter.loud()


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize(
    ("before", "after"), [(0.5, 0.5), (0.313, 1.777), (0.0, 0.4), (0.4, 0.0), (0.01, 0.01)]
)
@pytest.mark.parametrize("floor", [0.0, 1e-4])
def test_silence_at_both_ends_is_cut_to_a_frame(rate, before, after, floor):
    frame = 0.025 * rate
    noise = np.random.default_rng(0).normal(0, floor, round((before + after + 1.0) * rate) + 2)
    a, b = round(before * rate), round(before * rate) + rate
    noise[a:b] += tone(440.0, 1.0, rate)
    samples = noise[: b + round(after * rate)].astype(np.float32)
    first, last = trim_silence(samples, rate)
    assert 0 <= a - first <= frame
    assert 0 <= last - b <= frame
    assert last <= len(samples)


def test_a_pause_within_a_clip_is_kept():
    pause = np.zeros(RATE)
    assert trim_silence(np.concatenate([tone(), pause, tone()]), RATE) == (0, 3 * RATE)


@pytest.mark.parametrize(("db", "kept"), [(-35.0, True), (-45.0, False)])
def test_what_is_40_db_below_the_loudest_frame_is_silence(db, kept):
    quiet = tone(amplitude=0.5 * 10 ** (db / 20))
    first, _ = trim_silence(np.concatenate([quiet, tone()]), RATE)
    assert (first == 0) == kept


@pytest.mark.parametrize("gain", [1e-4, 1.0, 1e4])
def test_loudness_does_not_change_what_is_silence(gain):
    samples = np.concatenate([np.zeros(RATE), tone(), np.zeros(RATE)])
    assert trim_silence(samples * gain, RATE) == trim_silence(samples, RATE)


@pytest.mark.parametrize("n", [1, 100, RATE])
def test_a_silent_clip_is_returned_whole(n):
    assert trim_silence(np.zeros(n, np.float32), RATE) == (0, n)


@pytest.mark.parametrize("n", [1, 551, 700])
def test_a_clip_of_about_a_frame_is_returned_whole(n):
    assert trim_silence(tone(440.0, 1.0)[1 : n + 1], RATE) == (0, n)


# Fingerprints

SIZES = [1, 1000, 1 << 16, (1 << 16) + 1, 100_000, 1 << 17, 300_000]


def content(n: int) -> bytes:
    return np.random.default_rng(0).bytes(n)


@pytest.mark.parametrize("n", SIZES)
def test_a_copy_has_the_same_fingerprint(tmp_path, n):
    (tmp_path / "a.wav").write_bytes(content(n))
    shutil.copy(tmp_path / "a.wav", tmp_path / "b.flac")
    assert fingerprint(str(tmp_path / "a.wav")) == fingerprint(str(tmp_path / "b.flac")) != ""


@pytest.mark.parametrize("n", SIZES)
def test_another_start_end_or_size_is_another_fingerprint(tmp_path, n):
    body = content(n)
    flipped_first, flipped_last = bytes([body[0] ^ 1]) + body[1:], body[:-1] + bytes([body[-1] ^ 1])
    versions = {body, flipped_first, flipped_last, body + b"\0", b"\0" + body, body[:-1], bytes(n)}
    marks = set()
    for version in versions:
        (tmp_path / "a.wav").write_bytes(version)
        marks.add(fingerprint(str(tmp_path / "a.wav")))
    assert len(marks) == len(versions)
    assert "" not in marks


def test_a_file_that_cannot_be_read_has_the_empty_fingerprint(tmp_path):
    assert fingerprint(str(tmp_path / "none.wav")) == ""
    assert fingerprint(str(tmp_path)) == ""


def test_a_named_pipe_has_the_empty_fingerprint_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint(str(tmp_path / "pipe")) == ""
