"""Render a voice: a glottal source and noise through moving formants.

The model is the acoustic theory of voice production (Fant 1960): a glottal flow derivative
(KLGLOTT88, Klatt & Klatt 1990) and aspiration noise pass a cascade of formants. The pulse is stored
band-limited, one wavetable per third of an octave, so nothing aliases; the formants move freely
because they are applied as gains on a short-time spectrum, which takes a few milliseconds per
second of audio.

Units and shapes are those of `svuprobe.tasks.synth.voice`.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, signal

from svuprobe.tasks.synth.voice import CONTROL_HZ, Audio, Controls, Singer, Track

TABLE_SIZE = 8192  # samples of one cycle in a wavetable


def render(controls: Controls, singer: Singer, rng: np.random.Generator, sample_rate: int) -> Audio:
    """Return the audio of a take, not normalised: (round(frames / CONTROL_HZ * sample_rate),)."""
    n = round(len(controls.f0_hz) / CONTROL_HZ * sample_rate)
    phase = _phase(controls, rng, sample_rate, n)
    source = _pulses(phase, controls, sample_rate) * _shimmer(phase, controls.shimmer, rng)
    source *= _stretch(controls.voice, sample_rate, n)
    # Air flows most while the glottis is open, so noise
    # is modulated once per cycle (Klatt & Klatt 1990).
    noise = rng.standard_normal(n, dtype=np.float32) * (1 + 0.6 * np.cos(2 * np.pi * phase))
    noise *= _stretch(controls.breath, sample_rate, n)
    audio = _vocal_tract(source, noise, controls, singer, sample_rate)
    audio += _frication(controls.burst, rng, sample_rate, n)
    return np.asarray(audio * _stretch(controls.lips, sample_rate, n), dtype=np.float32)


def _stretch(track: Track, sample_rate: int, n: int) -> Track:
    """Return a control track at the audio's sample rate, (n,), linearly interpolated."""
    # Constant tracks are common, and interpolating costs as much as the FFT.
    if np.ptp(track) == 0.0:
        return np.full(n, track[0])
    return np.interp(np.arange(n) * (CONTROL_HZ / sample_rate), np.arange(len(track)), track)


def _phase(controls: Controls, rng: np.random.Generator, sample_rate: int, n: int) -> Track:
    """Return glottal phase in cycles, (n,): the integral of f0, each cycle perturbed by the
    jitter.
    """
    step = _stretch(controls.f0_hz, sample_rate, n) / sample_rate
    cycle = np.cumsum(step).astype(np.intp)
    wobble = controls.jitter * np.clip(rng.standard_normal(cycle[-1] + 1), -2.5, 2.5)
    return np.cumsum(step * (1.0 + wobble[cycle]))


def _shimmer(phase: Track, shimmer: float, rng: np.random.Generator) -> Track:
    """Return a gain that wanders from cycle to cycle, (n,), around 1 and never negative."""
    gains = np.maximum(1.0 + shimmer * rng.standard_normal(int(phase[-1]) + 2), 0.05)
    return np.interp(phase, np.arange(len(gains)), gains)


def _pulses(phase: Track, controls: Controls, sample_rate: int) -> Track:
    """Read the glottal flow derivative from band-limited wavetables, unit RMS, (n,)."""
    # The table whose highest f0 lies above this one: none of its partials folds over.
    octave = np.log2(np.maximum(controls.f0_hz, 16.0) / 16.0)
    level = np.ceil(3 * octave + 0.5).astype(np.intp)  # half a step of head room for jitter
    first = level.min()
    tops = 16.0 * 2.0 ** (np.arange(first, level.max() + 1) / 3.0)
    tables = _wavetables(controls.open_quotient, tops, sample_rate)
    frame = (np.arange(len(phase)) * (CONTROL_HZ / sample_rate)).astype(np.intp)
    row = (level - first)[np.minimum(frame, len(level) - 1)] * (TABLE_SIZE + 1)
    position = (phase - np.floor(phase)) * TABLE_SIZE
    at = np.minimum(position.astype(np.intp), TABLE_SIZE - 1)
    between = position - np.floor(position)
    flat, at = tables.ravel(), at + row
    low = flat[at]
    return low + between * (flat[at + 1] - low)


def _wavetables(open_quotient: float, top_hz: Track, sample_rate: int) -> Track:
    """Make a cycle of KLGLOTT88's flow derivative for each highest f0, (len(top_hz), TABLE_SIZE +
    1).

    The flow is ``t^2 - t^3 / q`` while the glottis is open (``t < q``); partials that would pass 45
    % of the sample rate are left out. The last column repeats the first, for interpolation.
    """
    t = np.arange(TABLE_SIZE) / TABLE_SIZE
    derivative = np.where(t < open_quotient, 2 * t - 3 * t**2 / open_quotient, 0.0)
    spectrum = fft.rfft(derivative - derivative.mean())
    partial = np.arange(len(spectrum))
    kept = partial <= 0.45 * sample_rate / top_hz[:, None]  # (tables, partials)
    tables = fft.irfft(spectrum * kept, n=TABLE_SIZE)
    tables /= np.sqrt(np.mean(tables**2, axis=1, keepdims=True))
    return np.concatenate([tables, tables[:, :1]], axis=1)


def _vocal_tract(
    source: Track, noise: Track, controls: Controls, singer: Singer, sample_rate: int
) -> NDArray[np.float32]:
    """Pass source and aspiration through tilt, moving formants and the mouth, (n,)."""
    # The power of two nearest 23 ms: short enough for formants that move.
    size = 1 << round(np.log2(0.023 * sample_rate))
    hop = size // 4
    hz = fft.rfftfreq(size, 1.0 / sample_rate)
    # 12.04 dB an octave is a second-order slope; the exponent scales it.
    tilt = (1.0 + (hz / 600.0) ** 2) ** (-controls.tilt_db_oct / 12.04)
    aspiration = hz / (hz + 700.0)
    spectra = _stft(source, size, hop) * tilt.astype(np.float32)  # (frames, bins)
    spectra += _stft(noise, size, hop) * aspiration.astype(np.float32)
    # Frame k is centred on sample k * hop (the signal is padded by half a frame).
    at = np.minimum(
        np.arange(len(spectra)) * hop / sample_rate * CONTROL_HZ, len(controls.f0_hz) - 1
    )
    spectra *= _formant_gain(_tuned(controls)[at.astype(np.intp)], hz)
    spectra *= (_fixed_gain(singer, hz) / (1.0 + (hz / controls.muffle_hz) ** 2)).astype(np.float32)
    return _istft(spectra, size, hop, len(source))


def _tuned(controls: Controls) -> Track:
    """Return formants, (frames, 5), with F1 never below the pitch: sopranos open the jaw (Sundberg
    1975).
    """
    tuned = controls.formants_hz.copy()
    tuned[:, 0] = np.maximum(tuned[:, 0], controls.f0_hz)
    tuned[:, 1] = np.maximum(tuned[:, 1], tuned[:, 0] + 150.0)
    return tuned


def bandwidth_hz(formant_hz: Track) -> Track:
    """Return bandwidth by formant frequency: a fit to tracts (Fant 1972), and 30 Hz lost at the
    glottis.
    """
    k = np.asarray(formant_hz) / 500.0
    return 15.0 / k**2 + 20.0 * np.sqrt(k) + 5.0 * k**2 + 30.0


def _resonance(formant_hz: Track, hz: Track) -> NDArray[np.float32]:
    """Return the magnitude of one resonance with unit gain at 0 Hz; formants broadcast over
    frequencies.
    """
    f2, h2 = np.float32(formant_hz**2), np.float32(hz**2)
    b2 = np.float32(bandwidth_hz(formant_hz) ** 2)
    return f2 / np.sqrt((f2 - h2) ** 2 + b2 * h2)


def _formant_gain(formants_hz: Track, hz: Track) -> NDArray[np.float32]:
    """Return the gain of the moving formants, (frames, bins) from (frames, 5) and (bins,)."""
    gain = np.ones((len(formants_hz), len(hz)), dtype=np.float32)
    for track in formants_hz.T:
        # A formant that stands still needs one row, and most do.
        constant = np.ptp(track) == 0.0
        gain *= _resonance(track[:1, None] if constant else track[:, None], hz)
    return gain


def _fixed_gain(singer: Singer, hz: Track) -> Track:
    """Return gain that never moves, (bins,): higher resonances, singer's formant, air band."""
    gain = np.ones_like(hz)
    # Without them a cascade of five would lose 60 dB per octave above F5.
    for order in range(6, 13):
        gain *= _resonance(np.array(singer.tract * singer.upper * 1000.0 * (order - 0.5)), hz)
    ring = singer.ring_db * np.exp(-(((hz - 2900.0 * np.sqrt(singer.tract)) / 450.0) ** 2))
    air = singer.air_db / (1.0 + np.exp(-(hz - 5000.0) / 600.0))
    marks = sum(
        db * np.exp(-((np.log2(np.maximum(hz, 1.0) / at) / 0.12) ** 2)) for at, db in singer.marks
    )
    return np.asarray(gain * 10.0 ** ((ring + air + marks) / 20.0))


def _frication(burst: Track, rng: np.random.Generator, sample_rate: int, n: int) -> Track | float:
    """Make the noise of consonants, 2 to 7 kHz, (n,).

    It is made at the teeth and so past the formants.
    """
    if not burst.any():
        return 0.0
    band = [2000.0, min(7000.0, 0.45 * sample_rate)]
    sos = signal.butter(1, band, "bandpass", fs=sample_rate, output="sos")
    noise = rng.standard_normal(n, dtype=np.float32) * _stretch(burst, sample_rate, n)
    return np.asarray(signal.sosfilt(sos, noise))


def _stft(audio: Track, size: int, hop: int) -> NDArray[np.complex64]:
    """Return short-time spectra, (frames, size

    2 + 1); frame k is centred on sample k * hop.
    """
    padded = np.pad(audio.astype(np.float32), (size // 2, size + hop))
    frames = sliding_window_view(padded, size)[::hop] * _window(size)
    return np.asarray(fft.rfft(frames, axis=1))


def _istft(spectra: NDArray[np.complex64], size: int, hop: int, n: int) -> NDArray[np.float32]:
    """Add up overlapping frames, the inverse of ``_stft`` (four frames overlap), (n,)."""
    frames = fft.irfft(spectra, n=size, axis=1) * (_window(size) / np.float32(1.5))
    out = np.zeros((len(frames) + 3) * hop, dtype=np.float32)
    for k in range(4):
        out[k * hop : (k + len(frames)) * hop] += frames[:, k * hop : (k + 1) * hop].ravel()
    return out[size // 2 : size // 2 + n]


def _window(size: int) -> NDArray[np.float32]:
    """Return a periodic Hann window; its squares at a quarter hop add up to 1.5."""
    return np.asarray(signal.get_window("hann", size), dtype=np.float32)
