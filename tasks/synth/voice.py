"""Say who sings (``Singer``) and what is done (``Controls``); `vocal_tract` makes it sound.

Conventions
-----------
Control tracks hold one value per 1 / ``CONTROL_HZ`` seconds; audio is mono float32 at
``sample_rate`` Hz. Frequencies are in Hz, pitches in MIDI numbers (69 = 440 Hz, fractions allowed),
times in seconds. Amplitudes are linear, relative to a glottal source of unit RMS. Nothing here
reads or writes a file.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Audio = NDArray[np.float32]
Track = NDArray[np.float64]

CONTROL_HZ = 500


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
    """Describe a virtual singer: the habits that stay the same from one recording to the next.

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
    """Hold everything ``render`` needs: tracks at ``CONTROL_HZ``, (frames,), and a take's
    constants.

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
    """Describe one note on one vowel.

    ``closure`` is how much of the voice a consonant leaves before it (1: none), ``burst`` the
    strength of its noise.
    """

    onset_s: float
    offset_s: float
    midi: float
    vowel: str
    closure: float = 0.7
    burst: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the duration, s."""
        return self.offset_s - self.onset_s


def singers(seed: int) -> tuple[Singer, ...]:
    """Return the twenty singers of one seed, named as in VocalSet: ``female1``-``9``,
    ``male1``-``11``.
    """
    names = [f"female{i}" for i in range(1, 10)] + [f"male{i}" for i in range(1, 12)]
    return tuple(
        # Each singer is drawn from a generator of their own, whoever is drawn before.
        _singer(name, np.random.default_rng([seed, zlib.crc32(name.encode())]))
        for name in names
    )


def _singer(name: str, rng: np.random.Generator) -> Singer:
    """Draw one singer.

    Women's formants lie 17 % higher on average (Peterson & Barney 1952; Fant 1966).
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
    """Return Hz in equal temperament, A4 = 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(midi, dtype=np.float64) - 69.0) / 12.0))


def formants(vowels: str, singer: Singer) -> Track:
    """Return the formant frequencies of each vowel of a string, Hz, (len(vowels), 5)."""
    # F1 to F3 make the vowel; F4 and F5 are a singer's own.
    scale = singer.tract * np.array([1.0, 1.0, 1.0, singer.upper, singer.upper])
    return np.array([VOWELS[v] for v in vowels]) * scale


def frame_times(seconds: float) -> Track:
    """Return the times of the control frames, s."""
    return np.arange(round(seconds * CONTROL_HZ)) / CONTROL_HZ


def smooth(track: Track, sigma_s: float) -> Track:
    """Blur a track along time by a Gaussian of ``sigma_s`` seconds."""
    return np.asarray(gaussian_filter1d(track, sigma_s * CONTROL_HZ, axis=0, mode="nearest"))


def wander(n: int, hz: float, rng: np.random.Generator) -> Track:
    """Draw a slow random movement of unit standard deviation, mostly below ``hz``, (n,)."""
    knots = rng.standard_normal(max(int(n / CONTROL_HZ * 2 * hz) + 3, 4))
    # Interpolation between knots takes some of the deviation away: 1.2 brings it back.
    return np.interp(np.arange(n), np.linspace(0, n, len(knots)), knots) * 1.2


def _current(score: Sequence[Syllable], t: Track) -> NDArray[np.intp]:
    """Return the syllable that shapes each frame, (frames,); a rest is shared in the middle."""
    # The mouth is ready for the next vowel before it sounds.
    borders = [(a.offset_s + b.onset_s) / 2 for a, b in zip(score, score[1:], strict=False)]
    return np.searchsorted(np.array(borders), t, side="right")


def _pitch(score: Sequence[Syllable], t: Track, glide_s: float, rng: np.random.Generator) -> Track:
    """Return the pitch in MIDI: steps joined by short glides, a little out of tune, scooped from
    below.

    Intonation errors (6 cents), drift (4 cents) and scoops (10-50 cents, over after 30 ms) are
    ours: small enough that a note is never in doubt.
    """
    goal = np.array([s.midi for s in score]) + 0.06 * rng.standard_normal(len(score)).clip(-2, 2)
    # A step that is blurred is a glide, as long as the blur.
    pitch = smooth(goal[_current(score, t)], glide_s)
    for syllable, depth in zip(score, rng.uniform(0.1, 0.5, len(score)), strict=True):
        since = t - syllable.onset_s
        pitch -= depth * np.exp(-np.maximum(since, 0) / 0.010) * (since >= 0)
    return pitch + 0.04 * wander(len(t), 1.5, rng)


def _gate(score: Sequence[Syllable], t: Track, rng: np.random.Generator) -> Track:
    """Return the loudness of the voice: 0 in rests, ``closure`` between legato syllables, near 1 on
    vowels.
    """
    points = [(0.0, 0.0)]
    # Corners of the envelope in the order of time; lines between them are blurred below.
    for i, s in enumerate(score):
        after = score[i + 1] if i + 1 < len(score) else None
        # Legato: the voice goes on through the consonant.
        tied = i > 0 and s.onset_s - score[i - 1].offset_s < 1e-6
        # No two notes are equally loud: 2 dB up or down.
        level = 10 ** (rng.uniform(-2.0, 2.0) / 20)
        attack, release = min(0.03, 0.25 * s.seconds), min(0.05, 0.3 * s.seconds)
        end = after.closure if after and after.onset_s - s.offset_s < 1e-6 else 0.0
        points += [(s.onset_s, s.closure if tied else 0.0), (s.onset_s + attack, level)]
        points += [(s.offset_s - release, level), (s.offset_s, end)]
    times, levels = np.array(points).T
    return np.maximum(smooth(np.interp(t, times, levels), 0.003), 0.0)


def _bursts(score: Sequence[Syllable], t: Track) -> Track:
    """Return consonant noise: a puff of about 20 ms that ends where the vowel begins."""
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
    """Sing a score plain and straight, ``seconds`` long."""
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
