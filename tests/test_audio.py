"""Decoding, on tones whose pitch and length are known and on files that are broken in every usual way."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svuprobe.extractors.audio import fingerprint, load_clip, trim_silence
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip

RATE = 22050
FORMATS = [name for name in ("wav", "flac", "ogg", "mp3") if name.upper() in soundfile.available_formats()]


def tone(hz: float = 440.0, seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def saved(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def load(path: Path, rate: int = RATE, start: float = 0.0, end: float | None = None) -> np.ndarray:
    return load_clip(Clip("c", str(path), "train", "x", "g", start, end), rate)


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


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.1, 0.5), (0.2, 0.5), (0.4, 0.9), (0.7, 0.8)])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_the_same_samples_as_in_the_whole(tmp_path, suffix, start, end):
    rate = 44100
    path = saved(tmp_path / f"a.{suffix}", tone(440.0, 1.0, rate), rate)
    part, whole = load(path, rate, start, end), load(path, rate)
    np.testing.assert_allclose(part, whole[round(start * rate) : round(end * rate)], atol=1e-4)


def test_parts_side_by_side_make_the_whole(tmp_path):
    path = saved(tmp_path / "a.flac", tone())
    cuts = [0.0, 0.1, 0.33333, 0.33343, 0.7, None]
    parts = [load(path, RATE, start, end) for start, end in zip(cuts, cuts[1:], strict=False)]
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


# What is refused


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_number(tmp_path, bad, channels):
    samples = np.stack([tone()] * channels, axis=1)
    samples[[5, 70, 900], 0] = bad
    path = saved(tmp_path / "a.wav", samples, subtype="FLOAT")
    refused(path, "3 samples are NaN or infinite")


def test_channels_of_opposite_infinity_are_refused_without_a_warning(tmp_path):
    samples = np.stack([tone()] * 2, axis=1)
    samples[5] = np.inf, -np.inf
    refused(saved(tmp_path / "a.wav", samples, subtype="FLOAT"), "1 samples are NaN or infinite")


def _folder(path: Path) -> None:
    path.mkdir()


def _header_only(path: Path) -> None:
    saved(path, np.zeros(0))


def _half(path: Path) -> None:
    saved(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


UNREADABLE = [
    ("none.wav", lambda path: None, "no such file"),
    ("no/such/folder/a.wav", lambda path: None, "no such file"),
    ("folder.wav", _folder, "no such file"),
    ("empty.wav", Path.touch, "can't be decoded (Format not recognised)"),
    ("text.wav", lambda path: path.write_text("not audio\n" * 99), "can't be decoded (Format not recognised)"),
    ("text.flac", lambda path: path.write_text("not audio\n" * 99), "can't be decoded"),
    ("header.wav", _header_only, "no samples between 0 s and the clip's end"),
    ("header.flac", _header_only, ""),
    ("stump.wav", lambda path: path.write_bytes(b"RIFF\x24\x00\x00\x00WAVE"), "can't be decoded"),
    ("half.flac", _half, "can't be decoded"),
    ("half.wav", _half, ""),
    ("headerless.raw", lambda path: path.write_bytes(bytes(999)), "can't be decoded"),
]


@pytest.mark.parametrize("rate", [RATE, 16000])
@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, name, make, reason, rate):
    make(tmp_path / name)
    refused(tmp_path / name, reason, rate=rate)


# Silence


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize(("before", "after"), [(0.5, 0.5), (0.313, 1.777), (0.0, 0.4), (0.4, 0.0), (0.01, 0.01)])
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
