"""Mel bands, cepstra and semitones against Kaldi's rules written out, and other implementations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pretraining import note

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.networks.kaldi import MelBank, kaldi_frames
from svuprobe.pretrain.spectra import Mfcc, Semitones, deltas

GOLDEN = Path(__file__).parents[1] / "data" / "torchaudio_mfcc.npz"
RATE = 16_000


def chirp():
    """A quarter of a second that rises from 300 Hz and dies away, over a steady 2.5 kHz."""
    t = np.arange(4000) / RATE
    rising = 0.4 * np.sin(2 * np.pi * (300 + 900 * t) * t) * np.exp(-3 * t)
    return (rising + 0.1 * np.cos(2 * np.pi * 2500 * t)).astype(np.float32)


def mel(hertz):
    return 1127 * np.log(1 + hertz / 700)


def log_mel_by_rule(audio, bands):
    """Kaldi's log mel energies of one recording, frame by frame in float64."""
    audio = np.asarray(audio, np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    edges = mel(20.0) + (mel(8000.0) - mel(20.0)) * np.arange(bands + 2) / (bands + 1)
    rows = []
    for start in range(0, len(audio) - 399, 160):
        frame = audio[start : start + 400]
        frame = frame - frame.mean()
        emphasised = frame.copy()
        emphasised[1:] -= 0.97 * frame[:-1]
        emphasised[0] -= 0.97 * frame[0]
        padded = np.zeros(512)
        padded[:400] = emphasised * hann**0.85
        power = np.abs(np.fft.rfft(padded)) ** 2
        row = []
        for band in range(bands):
            left, centre, right = edges[band : band + 3]
            energy = 0.0
            for bin_ in range(256):  # Kaldi leaves out the last one
                at = mel(bin_ * 16_000 / 512)
                if left < at < right:
                    side = (at - left) / (centre - left), (right - at) / (right - centre)
                    energy += min(side) * power[bin_]
            row.append(np.log(max(energy, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)


def mfcc_by_rule(audio, coefficients):
    """Cepstra of 23 mel bands by an orthonormal cosine transform, lifted by 22."""
    energies = log_mel_by_rule(audio, 23)
    columns = []
    for k in range(coefficients):
        basis = np.cos(np.pi / 23 * (np.arange(23) + 0.5) * k) * np.sqrt((2 if k else 1) / 23)
        columns.append((energies @ basis) * (1 + 11 * np.sin(np.pi * k / 22)))
    return np.stack(columns, axis=1)


def slopes_by_rule(values):
    """The regression over two frames on either side; ends are repeated."""
    rows = []
    for at in range(len(values)):
        total = 0
        for n in (1, 2):
            total += n * (values[min(at + n, len(values) - 1)] - values[max(at - n, 0)])
        rows.append(total / 10)
    return np.array(rows)


@pytest.mark.parametrize("bands", [23, 80])
def test_mel_bands_are_kaldis(bands):
    ours = MelBank(bands)(torch.from_numpy(chirp())[None])[0].numpy()
    assert ours == pytest.approx(log_mel_by_rule(chirp(), bands), abs=2e-3)


@pytest.mark.parametrize("coefficients", [13, 20])
def test_cepstra_and_their_differences_follow_kaldis_rules(coefficients):
    cepstra = mfcc_by_rule(chirp(), coefficients)
    first = slopes_by_rule(cepstra)
    wanted = np.concatenate([cepstra, first, slopes_by_rule(first)], axis=1)
    ours = Mfcc(coefficients)(torch.from_numpy(chirp())[None])[0].numpy()
    assert ours == pytest.approx(wanted, abs=5e-3, rel=1e-4)


@pytest.mark.parametrize(("coefficients", "name"), [(13, "mfcc39"), (20, "mfcc60")])
def test_cepstra_are_those_that_torchaudio_gives_to_hubert(coefficients, name):
    ours = Mfcc(coefficients)(torch.from_numpy(chirp())[None])[0].numpy()
    with np.load(GOLDEN) as golden:
        assert ours == pytest.approx(golden[name], abs=5e-3, rel=1e-4)


def test_mel_bands_are_those_of_transformers():
    from transformers import SeamlessM4TFeatureExtractor

    extract = SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=1)
    hiss = np.random.default_rng(0).normal(0, 0.01, 4000)  # so no band is empty but for rounding
    audio = (chirp() + hiss).astype(np.float32)
    made = extract(audio, sampling_rate=RATE, do_normalize_per_mel_bins=False, padding=False)
    theirs = made["input_features"][0]
    ours = MelBank(80, 2.0**15)(torch.from_numpy(audio)[None])[0].numpy()
    assert ours.shape == theirs.shape
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_differences_are_slopes_inside_and_librosas_there():
    import librosa

    line = torch.arange(20.0)[:, None] * torch.tensor([1.0, -3.0])
    assert torch.allclose(deltas(line)[2:-2], torch.tensor([1.0, -3.0]))
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    # librosa fits a line at the ends instead of repeating the last frame.
    theirs = librosa.feature.delta(values, width=5, axis=0)
    assert deltas(torch.from_numpy(values)).numpy()[2:-2] == pytest.approx(theirs[2:-2], abs=1e-5)


@pytest.mark.parametrize("samples", [400, 559, 560, 719, 720, 1000, 16_000])
def test_frames_are_where_kaldi_has_them(samples):
    audio = torch.from_numpy(np.random.default_rng(0).normal(size=(2, samples)).astype("f4"))
    assert MelBank(23)(audio).shape == (2, kaldi_frames(samples), 23)
    assert kaldi_frames(samples) == FrameGrid(RATE, 160, 400).n_frames(samples)
    assert kaldi_frames(399) == 0


def test_every_second_cepstrum_and_every_semitone_frame_is_a_frame_of_hubert():
    grid = FrameGrid(RATE, 320, 400)
    for samples in (640, 720, 1000, 5000, 16_123):
        audio = torch.zeros(1, samples)
        assert Mfcc()(audio)[:, ::2].shape[1] == grid.n_frames(samples)
        assert Semitones()(audio).shape[1] == grid.n_frames(samples)


def test_clips_of_a_batch_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    audio = torch.from_numpy(rng.normal(size=(3, 6000)).astype(np.float32))
    for compute in (MelBank(80), Mfcc(), Semitones()):
        alone = torch.cat([compute(clip[None]) for clip in audio])
        assert torch.allclose(compute(audio), alone, atol=1e-4)


# Semitones


@pytest.mark.parametrize("band", [0, 5, 12, 25, 36, 47, 60, 71])
def test_a_sine_falls_into_the_band_of_its_semitone(band):
    hz = 55 * 2 ** (band / 12)
    bands = Semitones()(torch.from_numpy(note(hz, 1.0, harmonics=1))[None])[0]
    middle = bands[10:-20]
    assert (middle.argmax(dim=1) == band).all()
    # Below A3 the spectrum is coarser than a semitone, and the neighbours answer too.
    if band >= 36:
        assert (middle[:, band] > 0.8).all()


def test_a_note_answers_in_its_octaves():
    bands = Semitones()(torch.from_numpy(note(220.0, 1.0, harmonics=4))[None])[0][20]
    assert set(bands.argsort(descending=True)[:3].tolist()) <= {24, 36, 43, 48}


def test_how_loud_a_note_is_does_not_matter():
    audio = torch.from_numpy(note(330.0, 0.6))[None]
    loud, soft = Semitones()(audio)[:, 5:-15], Semitones()(audio / 30)[:, 5:-15]
    assert torch.allclose(loud, soft, atol=0.1)
    cosine = torch.nn.functional.cosine_similarity(loud, soft, dim=-1)
    assert cosine.min() > 0.9999


def test_bands_have_length_one_and_silence_zero():
    audio = torch.from_numpy(note(440.0, 0.6))[None]
    assert Semitones()(audio).norm(dim=-1)[:, 5:-15].numpy() == pytest.approx(1.0, abs=0.02)
    silent = Semitones()(torch.zeros(1, 8000))
    assert silent.abs().max() == 0
    hiss = 1e-5 * torch.from_numpy(np.random.default_rng(0).normal(size=(1, 8000)))
    assert Semitones()(hiss.float()).norm(dim=-1).max() < 0.1


def test_a_semitone_frame_is_centred_where_the_network_looks():
    """A click at the middle of frame 20 is seen most by frame 20."""
    audio = torch.zeros(1, 16_000)
    audio[0, 320 * 20 + 200] = 1.0
    semitones = Semitones()
    cut = torch.nn.functional.pad(audio, (4096 // 2 - 200, 4096)).unfold(-1, 4096, 320)[0]
    wanted = torch.fft.rfft(cut[:48] * semitones.window).abs().square() @ semitones.bank
    assert wanted.sum(dim=-1).argmax() == 20
    lengths = wanted.sqrt().norm(dim=-1)
    bands = semitones(audio)[0][:48]
    assert torch.allclose(bands, wanted.sqrt() / (lengths[:, None] + 1e-3), atol=1e-5)
    assert bands.norm(dim=-1)[10:31].flip(0).numpy() == pytest.approx(
        bands.norm(dim=-1)[10:31].numpy(), abs=1e-3
    )
