"""Simple instruments: pitch is exact, families differ, keys are harmonic, beats are where they are
said to be.
"""

import numpy as np
import pytest

from svuprobe.tasks.synth.instruments import FAMILIES, Style, _harmonics, _steady, note, track

RATE = 16000


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("midi", [45, 60, 76])
def test_a_note_has_the_pitch_it_is_asked_for(family, midi):
    audio = note(family, midi, 1.0, rng(), RATE)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 8 * RATE))
    f0 = 440 * 2 ** ((midi - 69) / 12)
    # As in NSynth, vibrato and stretched partials apart: the
    # strongest bin within a quarter tone of f0 stands out.
    near = spectrum[round(8 * f0 * 2 ** (-1 / 24)) : round(8 * f0 * 2 ** (1 / 24)) + 1]
    below = spectrum[round(8 * f0 * 0.6) : round(8 * f0 * 0.8)]
    assert near.max() > 8 * below.max()
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() < 2


def test_partials_are_the_sum_of_their_sines():
    time = np.arange(1000) / RATE
    levels, starts = np.array([1.0, 0.5, 0.25]), np.array([0.1, 2.0, 4.0])
    weights, orders = levels * np.exp(1j * starts), np.arange(1, 4)
    phase = 2 * np.pi * 440 * time + np.sin(30 * time)
    sines = levels * np.sin(np.outer(phase, orders) + starts)
    assert np.allclose(_harmonics(phase, weights), sines.sum(1), atol=1e-12)
    hz, decays = np.array([440.0, 881.0, 1325.5]), np.array([5.0, 8.0, 0.0])
    fading = levels * np.exp(-np.outer(time, decays))
    fading *= np.sin(2 * np.pi * np.outer(time, hz) + starts)
    made = _steady(len(time), 2j * np.pi * hz - decays, weights, RATE)
    assert np.allclose(made, fading.sum(1), atol=1e-12)


def test_families_differ_more_than_their_instruments():
    def spectrum(family, instrument):
        audio = note(family, 60, 1.0, rng(instrument), RATE, instrument=instrument)
        power = np.abs(np.fft.rfft(audio[:RATE].reshape(-1, 500), axis=1)) ** 2
        return np.log(power.mean(0) + 1e-6)

    made = {f: np.stack([spectrum(f, i) for i in range(4)]) for f in FAMILIES}
    within = np.mean([np.linalg.norm(m - m.mean(0), axis=1).mean() for m in made.values()])
    centres = np.stack([m.mean(0) for m in made.values()])
    apart = [np.linalg.norm(a - b) for n, a in enumerate(centres) for b in centres[:n]]
    assert np.median(apart) > 2 * within


@pytest.mark.parametrize(
    ("tonic", "mode"), [(0, "major"), (9, "minor"), (6, "major"), (3, "minor")]
)
def test_a_track_is_in_its_key(tonic, mode):
    audio, _ = track(Style(tonic=tonic, mode=mode, drums=0.0), 12.0, rng(), RATE)
    spectrum = np.abs(np.fft.rfft(audio))
    midi = np.arange(48, 84)
    bins = (440 * 2 ** ((midi - 69) / 12) * len(audio) / RATE).round().astype(int)
    energy = np.array([spectrum[b - 8 : b + 9].max() for b in bins])
    chroma = np.array([energy[(midi - tonic) % 12 == c].sum() for c in range(12)])
    third, other = (4, 3) if mode == "major" else (3, 4)
    assert chroma[third] > 1.3 * chroma[other]
    assert chroma[[0, 5, 7]].min() > np.median(chroma)


@pytest.mark.parametrize("bpm", [70, 128])
def test_beats_are_heard_where_they_are_said_to_be(bpm):
    audio, beats = track(Style(bpm=bpm), 10.0, rng(1), RATE)
    assert np.allclose(np.diff(beats), 60 / bpm, atol=2e-4)
    power = np.square(audio).reshape(-1, 160).mean(1)  # 10 ms
    rise = np.maximum(0, np.diff(np.log(power + 1e-6)))
    at = [rise[max(0, round(b * 100) - 3) : round(b * 100) + 2].max() for b in beats[:-1]]
    assert np.median(at) > 4 * np.mean(rise)


def test_the_same_seed_plays_the_same_notes():
    first, second, other = (track(Style(melody="flute"), 3.0, rng(s), RATE)[0] for s in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.abs(first).max() <= 0.5 + 1e-6
