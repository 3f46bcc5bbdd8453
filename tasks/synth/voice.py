"""A small source-filter singing voice: who sings (``Singer``), what is done (``Controls``),
``render``.

Conventions
-----------
Control tracks hold one value per 1 / ``CONTROL_HZ`` seconds; audio is mono float32 at
``sample_rate`` Hz. Frequencies are in Hz, pitches in MIDI numbers (69 = 440 Hz, fractions allowed),
times in seconds. Amplitudes are linear, relative to a glottal source of unit RMS. Nothing here
reads or writes a file.

The model is the acoustic theory of voice production (Fant 1960): a glottal flow derivative
(KLGLOTT88, Klatt & Klatt 1990) and aspiration noise pass a cascade of formants. The pulse is stored
band-limited, one wavetable per third of an octave, so nothing aliases; the formants move freely
because they are applied as gains on a short-time spectrum, which takes a few milliseconds per
second of audio.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, signal
from scipy.ndimage import gaussian_filter1d

Audio = NDArray[np.float32]
Track = NDArray[np.float64]

CONTROL_HZ = 500
TABLE_SIZE = 8192

# F1-F3 of adult men, Hz (Peterson & Barney 1952: "father" a, "head" e, "heed" i, "hawed" o, "who'd"
# u); F4 and F5 of a neutral 17.5 cm tube. Other vocal tracts scale all five.
VOWELS: dict[str, tuple[float, float, float, float, float]] = {
    "a": (730, 1090, 2440, 3400, 4500),
    "e": (530, 1840, 2480, 3500, 4500),
    "i": (270, 2290, 3010, 3600, 4500),
    "o": (570, 840, 2410, 3300, 4500),
    "u": (300, 870, 2240, 3300, 4500),
}


@dataclass(frozen=True)
class Singer:
    """A virtual singer: the habits that stay the same from one recording to the next.

    ``tract`` multiplies the formants of ``VOWELS`` (1 = average man; shorter tracts are larger).
    ``tilt_db_oct`` is the fall of the source above 600 Hz on top of the pulse's own, dB per octave.
    ``vibrato_cents`` is the peak deviation. ``jitter`` and ``shimmer`` are standard deviations of
    period and amplitude from cycle to cycle, relative. ``breath`` is the noise beside a source of
    unit RMS. ``ring_db`` is the singer's formant near 3 kHz (Sundberg 1974), ``upper`` scales F4
    and F5 alone, ``air_db`` is a lift or cut above 5 kHz, ``marks`` are (Hz, dB) of narrow peaks
    and dips that side cavities such as the piriform sinuses leave (Dang & Honda 1997). The
    comfortable range is ``low_midi`` to ``high_midi``.
    """

    name: str
    tract: float
    upper: float
    low_midi: int
    high_midi: int
    tilt_db_oct: float
    open_quotient: float
    vibrato_hz: float
    vibrato_cents: float
    jitter: float
    shimmer: float
    breath: float
    ring_db: float
    air_db: float
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Controls:
    """Everything ``render`` needs: tracks at ``CONTROL_HZ``, shape (frames,), and constants of a
    take.

    ``voice`` and ``breath`` scale source and aspiration, ``burst`` the frication of consonants,
    ``lips`` all that leaves the mouth; ``formants_hz`` has shape (frames, 5). ``muffle_hz`` is the
    corner of a second-order low-pass behind the lips.
    """

    f0_hz: Track
    voice: Track
    breath: Track
    burst: Track
    lips: Track
    formants_hz: Track
    tilt_db_oct: float
    open_quotient: float
    jitter: float
    shimmer: float
    muffle_hz: float = 1e5


@dataclass(frozen=True)
class Syllable:
    """One note on one vowel. ``closure`` is how much of the voice a consonant leaves before it (1:
    none), ``burst`` the strength of its noise.
    """

    onset_s: float
    offset_s: float
    midi: float
    vowel: str
    closure: float = 0.7
    burst: float = 0.0

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.offset_s - self.onset_s


def singers(seed: int) -> tuple[Singer, ...]:
    """The twenty singers of one seed, named as in VocalSet: ``female1``-``female9``,
    ``male1``-``male11``.
    """
    names = [f"female{i}" for i in range(1, 10)] + [f"male{i}" for i in range(1, 12)]
    return tuple(
        _singer(name, np.random.default_rng([seed, zlib.crc32(name.encode())])) for name in names
    )


def _singer(name: str, rng: np.random.Generator) -> Singer:
    """Draw one singer; women's formants lie 17 % higher on average (Peterson & Barney 1952; Fant
    1966).
    """
    female = name.startswith("female")
    low = int(rng.integers(55, 61) if female else rng.integers(40, 49))
    return Singer(
        name=name,
        tract=float((1.17 if female else 1.0) * rng.uniform(0.93, 1.07)),
        upper=float(rng.uniform(0.88, 1.12)),
        low_midi=low,
        high_midi=low + 20,
        tilt_db_oct=float(rng.uniform(1.0, 5.0)),
        open_quotient=float(rng.uniform(0.5, 0.7)),
        vibrato_hz=float(rng.uniform(5.2, 6.6)),  # Sundberg 1987: 5.5 to 6.5 Hz in trained singers
        vibrato_cents=float(rng.uniform(60.0, 105.0)),
        jitter=float(rng.uniform(0.002, 0.006)),
        shimmer=float(rng.uniform(0.01, 0.05)),
        breath=float(10 ** rng.uniform(-1.7, -0.9)),
        ring_db=float(rng.uniform(0.0, 6.0) if female else rng.uniform(2.0, 12.0)),
        air_db=float(rng.uniform(-5.0, 5.0)),
        marks=tuple(
            (
                float(rng.uniform(low, 1.6 * low)),
                float(rng.choice([-1, 1]) * rng.uniform(5.0, 10.0)),
            )
            for low in (1000.0, 1700.0, 2900.0, 4800.0)
        ),
    )


def midi_to_hz(midi: Track | float) -> Track:
    """Equal temperament, A4 = 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(midi, dtype=np.float64) - 69.0) / 12.0))


def formants(vowels: str, singer: Singer) -> Track:
    """Formant frequencies of each vowel of a string, Hz, shape (len(vowels), 5)."""
    scale = singer.tract * np.array([1.0, 1.0, 1.0, singer.upper, singer.upper])
    return np.array([VOWELS[v] for v in vowels]) * scale


def frame_times(seconds: float) -> Track:
    """Times of the control frames, s."""
    return np.arange(round(seconds * CONTROL_HZ)) / CONTROL_HZ


def smooth(track: Track, sigma_s: float) -> Track:
    """A track blurred along time by a Gaussian of ``sigma_s`` seconds."""
    return np.asarray(gaussian_filter1d(track, sigma_s * CONTROL_HZ, axis=0, mode="nearest"))


def wander(n: int, hz: float, rng: np.random.Generator) -> Track:
    """Slow random movement of unit standard deviation with most of its energy below ``hz``, shape
    (n,).
    """
    knots = rng.standard_normal(max(int(n / CONTROL_HZ * 2 * hz) + 3, 4))
    return np.interp(np.arange(n), np.linspace(0, n, len(knots)), knots) * 1.2


def _current(score: Sequence[Syllable], t: Track) -> NDArray[np.intp]:
    """Index of the syllable that shapes each frame; a rest is shared in the middle."""
    borders = [(a.offset_s + b.onset_s) / 2 for a, b in zip(score, score[1:], strict=False)]
    return np.searchsorted(np.array(borders), t, side="right")


def _pitch(score: Sequence[Syllable], t: Track, glide_s: float, rng: np.random.Generator) -> Track:
    """Pitch in MIDI: steps joined by short glides, each a little out of tune, scooped from below.

    Intonation errors (6 cents), drift (4 cents) and scoops (10-50 cents, over after 30 ms) are
    ours: small enough that a note is never in doubt.
    """
    goal = np.array([s.midi for s in score]) + 0.06 * rng.standard_normal(len(score)).clip(-2, 2)
    pitch = smooth(goal[_current(score, t)], glide_s)
    for syllable, depth in zip(score, rng.uniform(0.1, 0.5, len(score)), strict=True):
        since = t - syllable.onset_s
        pitch -= depth * np.exp(-np.maximum(since, 0) / 0.010) * (since >= 0)
    return pitch + 0.04 * wander(len(t), 1.5, rng)


def _gate(score: Sequence[Syllable], t: Track, rng: np.random.Generator) -> Track:
    """Loudness of the voice: 0 in rests, down to ``closure`` between legato syllables, near 1 on
    vowels.
    """
    points = [(0.0, 0.0)]
    for i, s in enumerate(score):
        after = score[i + 1] if i + 1 < len(score) else None
        tied = i > 0 and s.onset_s - score[i - 1].offset_s < 1e-6
        level = 10 ** (rng.uniform(-2.0, 2.0) / 20)
        attack, release = min(0.03, 0.25 * s.seconds), min(0.05, 0.3 * s.seconds)
        end = after.closure if after and after.onset_s - s.offset_s < 1e-6 else 0.0
        points += [(s.onset_s, s.closure if tied else 0.0), (s.onset_s + attack, level)]
        points += [(s.offset_s - release, level), (s.offset_s, end)]
    times, levels = np.array(points).T
    return np.maximum(smooth(np.interp(t, times, levels), 0.003), 0.0)


def _bursts(score: Sequence[Syllable], t: Track) -> Track:
    """Consonant noise: a puff of about 20 ms that ends where the vowel begins."""
    track = np.zeros_like(t)
    for s in score:
        track += s.burst * np.exp(-(((t - s.onset_s + 0.008) / 0.009) ** 2))
    return track


def plain_singing(
    score: Sequence[Syllable],
    singer: Singer,
    seconds: float,
    rng: np.random.Generator,
    glide_s: float = 0.012,
) -> Controls:
    """Plain, straight singing of a score, ``seconds`` long."""
    t = frame_times(seconds)
    gate = _gate(score, t, rng)
    effort = 10 ** (1.0 * wander(len(t), 0.7, rng) / 20)  # about 1 dB of slow change of loudness
    shape = formants("".join(s.vowel for s in score), singer)[_current(score, t)]
    return Controls(
        f0_hz=midi_to_hz(_pitch(score, t, glide_s, rng)),
        voice=gate * effort,
        breath=singer.breath * gate,
        burst=_bursts(score, t),
        lips=np.ones_like(t),
        formants_hz=smooth(shape, 0.02) if len({s.vowel for s in score}) > 1 else shape,
        tilt_db_oct=singer.tilt_db_oct + float(rng.uniform(-0.7, 0.7)),
        open_quotient=singer.open_quotient,
        jitter=singer.jitter,
        shimmer=singer.shimmer,
    )


def render(controls: Controls, singer: Singer, rng: np.random.Generator, sample_rate: int) -> Audio:
    """Audio of a take, not normalised: shape (round(frames / CONTROL_HZ * sample_rate),)."""
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
    """A control track at the audio's sample rate, shape (n,), linearly interpolated."""
    if np.ptp(track) == 0.0:
        return np.full(n, track[0])
    return np.interp(np.arange(n) * (CONTROL_HZ / sample_rate), np.arange(len(track)), track)


def _phase(controls: Controls, rng: np.random.Generator, sample_rate: int, n: int) -> Track:
    """Glottal phase in cycles, shape (n,): the integral of f0, each cycle perturbed by the
    jitter.
    """
    step = _stretch(controls.f0_hz, sample_rate, n) / sample_rate
    cycle = np.cumsum(step).astype(np.intp)
    wobble = controls.jitter * np.clip(rng.standard_normal(cycle[-1] + 1), -2.5, 2.5)
    return np.cumsum(step * (1.0 + wobble[cycle]))


def _shimmer(phase: Track, shimmer: float, rng: np.random.Generator) -> Track:
    """Gain that wanders from cycle to cycle, shape (n,), around 1 and never negative."""
    gains = np.maximum(1.0 + shimmer * rng.standard_normal(int(phase[-1]) + 2), 0.05)
    return np.interp(phase, np.arange(len(gains)), gains)


def _pulses(phase: Track, controls: Controls, sample_rate: int) -> Track:
    """Glottal flow derivative read from band-limited wavetables, unit RMS, shape (n,)."""
    octave = np.log2(np.maximum(controls.f0_hz, 16.0) / 16.0)
    level = np.ceil(3 * octave + 0.5).astype(np.intp)  # half a step of head room for jitter
    first = level.min()
    tops = 16.0 * 2.0 ** (np.arange(first, level.max() + 1) / 3.0)
    tables = _wavetables(controls.open_quotient, tops, sample_rate)
    frame = (np.arange(len(phase)) * (CONTROL_HZ / sample_rate)).astype(np.intp)
    row = (level - first)[np.minimum(frame, len(level) - 1)] * (TABLE_SIZE + 1)
    position = (phase % 1.0) * TABLE_SIZE
    at = position.astype(np.intp)
    flat, at = tables.ravel(), np.minimum(at, TABLE_SIZE - 1) + row
    return flat[at] + (position % 1.0) * (flat[at + 1] - flat[at])


def _wavetables(open_quotient: float, top_hz: Track, sample_rate: int) -> Track:
    """One cycle of KLGLOTT88's flow derivative for each highest f0, shape (len(top_hz), TABLE_SIZE
    + 1).

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
    """Source and aspiration through tilt, moving formants and the mouth, shape (n,)."""
    size = 1 << round(np.log2(0.023 * sample_rate))
    hop = size // 4
    hz = fft.rfftfreq(size, 1.0 / sample_rate)
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
    """Formants, shape (frames, 5), with F1 never below the pitch: sopranos open the jaw (Sundberg
    1975).
    """
    tuned = controls.formants_hz.copy()
    tuned[:, 0] = np.maximum(tuned[:, 0], controls.f0_hz)
    tuned[:, 1] = np.maximum(tuned[:, 1], tuned[:, 0] + 150.0)
    return tuned


def bandwidth_hz(formant_hz: Track) -> Track:
    """Formant bandwidth by frequency: a fit to measured tracts (Fant 1972), and 30 Hz lost at the
    glottis.
    """
    k = np.asarray(formant_hz) / 500.0
    return 15.0 / k**2 + 20.0 * np.sqrt(k) + 5.0 * k**2 + 30.0


def _resonance(formant_hz: Track, hz: Track) -> NDArray[np.float32]:
    """Magnitude of one resonance with unit gain at 0 Hz; broadcasts formants against
    frequencies.
    """
    f2, h2 = np.float32(formant_hz**2), np.float32(hz**2)
    b2 = np.float32(bandwidth_hz(formant_hz) ** 2)
    return f2 / np.sqrt((f2 - h2) ** 2 + b2 * h2)


def _formant_gain(formants_hz: Track, hz: Track) -> NDArray[np.float32]:
    """Gain of the moving formants, shape (frames, bins) from (frames, 5) and (bins,)."""
    gain = np.ones((len(formants_hz), len(hz)), dtype=np.float32)
    for track in formants_hz.T:
        constant = np.ptp(track) == 0.0
        gain *= _resonance(track[:1, None] if constant else track[:, None], hz)
    return gain


def _fixed_gain(singer: Singer, hz: Track) -> Track:
    """Gain that never moves, shape (bins,): the tube's higher resonances, singer's formant, air
    band.
    """
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
    """Noise of consonants, 2 to 7 kHz, made at the teeth and so past the formants; shape (n,)."""
    if not burst.any():
        return 0.0
    band = [2000.0, min(7000.0, 0.45 * sample_rate)]
    sos = signal.butter(1, band, "bandpass", fs=sample_rate, output="sos")
    noise = rng.standard_normal(n, dtype=np.float32) * _stretch(burst, sample_rate, n)
    return np.asarray(signal.sosfilt(sos, noise))


def _stft(audio: Track, size: int, hop: int) -> NDArray[np.complex64]:
    """Short-time spectra, shape (frames, size // 2 + 1); frame k is centred on sample k * hop."""
    padded = np.pad(audio.astype(np.float32), (size // 2, size + hop))
    frames = sliding_window_view(padded, size)[::hop] * _window(size)
    return np.asarray(fft.rfft(frames, axis=1))


def _istft(spectra: NDArray[np.complex64], size: int, hop: int, n: int) -> NDArray[np.float32]:
    """Weighted overlap-add, the inverse of ``_stft`` (four frames overlap); shape (n,)."""
    frames = fft.irfft(spectra, n=size, axis=1) * (_window(size) / np.float32(1.5))
    out = np.zeros((len(frames) + 3) * hop, dtype=np.float32)
    for k in range(4):
        out[k * hop : (k + len(frames)) * hop] += frames[:, k * hop : (k + 1) * hop].ravel()
    return out[size // 2 : size // 2 + n]


def _window(size: int) -> NDArray[np.float32]:
    """Periodic Hann window; its squares at a quarter hop add up to 1.5."""
    return np.asarray(signal.get_window("hann", size), dtype=np.float32)
