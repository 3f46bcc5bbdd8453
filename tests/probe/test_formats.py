"""Every format and codec that libsndfile writes is read at its length; files of several sounds are
read whole.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soundfile
from test_audio import load, pitch_hz, refused, tone

from svuprobe.extractors.audio import clips as audio, links
from svuprobe.extractors.audio.clips import duration
from svuprobe.tasks.types import Clip

RATE = 8000  # what all codecs can have
# RAW has no header and SD2 keeps it in a second file; libsndfile 1.2.2 has no encoder for some, and
# reads no DWVW of its own.
UNREADABLE = ("RAW", "SD2")
NEVER = ("DWVW_12", "DWVW_16", "DWVW_24", "DWVW_N", "MPEG_LAYER_I", "MPEG_LAYER_II")
FORMATS = [form for form in soundfile.available_formats() if form not in UNREADABLE]
PAIRS = [(form, subtype) for form in FORMATS for subtype in soundfile.available_subtypes(form)]
PAIRS = [pair for pair in PAIRS if pair[1] not in NEVER and pair != ("WAV", "MPEG_LAYER_III")]
CODECS = (
    "GSM610",
    "G721_32",
    "G723_24",
    "NMS_ADPCM_16",
    "NMS_ADPCM_24",
    "NMS_ADPCM_32",
    "DPCM_8",
    "DPCM_16",
)


def written(path, form, subtype, channels, seconds=1.1):
    """Whether libsndfile can write and read a sound in a format and codec."""
    try:
        soundfile.write(
            path,
            np.stack([tone(440.0, seconds, RATE)] * channels, 1),
            RATE,
            format=form,
            subtype=subtype,
        )
        return bool(soundfile.info(path).frames)
    except (soundfile.LibsndfileError, ValueError):
        return False


@pytest.mark.parametrize(("form", "subtype"), PAIRS)
def test_what_libsndfile_reads_is_read_at_its_length_and_from_any_place(tmp_path, form, subtype):
    path = tmp_path / "sound"
    there = [channels for channels in (1, 2) if written(path, form, subtype, channels)]
    assert there
    for channels in there:
        written(path, form, subtype, channels)
        info = soundfile.info(path)
        whole = load(path, info.samplerate)
        assert len(whole) == info.frames
        assert abs(len(whole) - 1.1 * RATE) < 0.1 * RATE  # block codecs fill their last block
        assert duration(Clip("c", str(path), "train", "x", "g")) == info.frames / info.samplerate
        # XI has no rate, VOC few of them
        assert pitch_hz(whole[1000:7000], RATE) == pytest.approx(440.0, abs=2)
        begins, ends = 4000, 6000
        part = load(
            path, info.samplerate, start=begins / info.samplerate, end=ends / info.samplerate
        )
        assert len(part) == ends - begins
        np.testing.assert_allclose(part, whole[begins:ends], atol=1e-3 if form == "MP3" else 1e-6)


@pytest.mark.parametrize("subtype", CODECS)
def test_codecs_that_cannot_seek_are_among_them(subtype):
    assert any(subtype == there for _, there in PAIRS)


# -- several sounds in one file --------------------------------------------------------------------

CHAINS = [
    ("OGG", "VORBIS", 22050),
    ("OGG", "OPUS", 48000),
    ("FLAC", "PCM_16", 22050),
    ("OGG", "FLAC", 22050),
]
CHAINS = [chain for chain in CHAINS if chain[1] in soundfile.available_subtypes(chain[0])]


def sounds(folder, form, subtype, rate, seconds=(1.0, 0.5, 1.5), channels=(1, 1, 1)):
    """The bytes of some sounds, each a file."""
    made = []
    for hz, length, n in zip((440.0, 660.0, 880.0), seconds, channels, strict=True):
        path = folder / "one"
        soundfile.write(
            path, np.stack([tone(hz, length, rate)] * n, 1), rate, format=form, subtype=subtype
        )
        made.append(path.read_bytes())
    return made


@pytest.mark.parametrize("channels", [(1, 1, 1), (2, 2, 2), (1, 2, 1)])
@pytest.mark.parametrize(("form", "subtype", "rate"), CHAINS)
def test_a_chain_is_read_whole_and_from_any_place(
    tmp_path, form, subtype, rate, channels, monkeypatch
):
    parts = sounds(tmp_path, form, subtype, rate, channels=channels)
    each = []
    for part in parts:
        (tmp_path / "one").write_bytes(part)
        each.append(load(tmp_path / "one", rate))
    (tmp_path / "chain").write_bytes(b"".join(parts))
    whole = load(tmp_path / "chain", rate)
    np.testing.assert_array_equal(whole, np.concatenate(each))
    for start, end in itertools.combinations((0.0, 0.3, 1.0, 1.2, 1.5, 1.9, 3.0), 2):
        part = load(tmp_path / "chain", rate, start=start, end=end)
        np.testing.assert_allclose(part, whole[round(start * rate) : round(end * rate)], atol=1e-4)
    monkeypatch.setattr(audio, "_HELD", 1000)
    np.testing.assert_array_equal(load(tmp_path / "chain", rate), whole)
    if form == "OGG":
        assert duration(Clip("c", str(tmp_path / "chain"), "train", "x", "g")) == pytest.approx(3.0)


def test_one_ogg_stream_three_times_is_a_chain_too(tmp_path):
    first = sounds(tmp_path, "OGG", "VORBIS", 22050)[0]
    (tmp_path / "chain").write_bytes(first * 3)
    assert len(load(tmp_path / "chain", 22050)) == 3 * 22050


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize(("form", "subtype", "rate"), CHAINS)
def test_a_chain_with_a_truncated_link_is_refused(tmp_path, form, subtype, rate, cut):
    parts = sounds(tmp_path, form, subtype, rate)
    parts[cut] = parts[cut][: len(parts[cut]) * 2 // 3]
    (tmp_path / "chain").write_bytes(b"".join(parts))
    refused(tmp_path / "chain", "truncated")


def test_sounds_of_two_rates_in_one_file_are_refused(tmp_path):
    parts = [sounds(tmp_path, "OGG", "VORBIS", rate)[0] for rate in (22050, 44100)]
    (tmp_path / "chain").write_bytes(b"".join(parts))
    refused(tmp_path / "chain", "streams of 22050 and 44100 Hz", "split or convert")


def test_an_ordinary_file_is_no_chain(tmp_path):
    for form, subtype, rate in CHAINS:
        (tmp_path / "one").write_bytes(sounds(tmp_path, form, subtype, rate)[0])
        with open(tmp_path / "one", "rb", buffering=0) as raw:
            assert links.spans_of(raw) == [links.Span(0, (tmp_path / "one").stat().st_size)]
