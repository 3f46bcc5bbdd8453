"""Play simple instruments, drums and chords: music with beats to hear, keys to name, exact pitches.

``note`` plays one note of an instrument family, ``track`` a piece in a key and a tempo with its
beats. Timbres are additive: each family has its own harmonics, envelope and noise, and each
instrument of a family varies them a little by its seed, so that a family is learnt on some of its
instruments and recognised on others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import butter, sosfilt

from svuprobe.tasks.synth.corpus import Audio

# Values of a Style that a tag can stand for: drums loud enough
# to be heard in a mean over time, levels, tempi in bpm.
DRUMS = 2.0
QUIET, MIDDLE, LOUD = 0.08, 0.25, 0.95
SLOW, MODERATE, FAST = 60.0, 110.0, 170.0


@dataclass(frozen=True)
class Timbre:
    """Say how an instrument sounds.

    Attributes
    ----------
    tilt_db
        Fall of the harmonics per octave.
    even
        Level of the even harmonics: 0 for a closed pipe.
    inharmonicity
        Stretch of the harmonics, as stiff strings and bars have.
    attack_s, decay_s
        Rise to the top, and the time in which a struck or plucked note falls by 60 dB (0: held).
    noise
        Breath or bow noise, relative to the tone.
    vibrato_cents
        Depth of a 5.5 Hz vibrato.
    """

    tilt_db: float
    even: float = 1.0
    inharmonicity: float = 0.0
    attack_s: float = 0.01
    decay_s: float = 0.0
    noise: float = 0.0
    vibrato_cents: float = 0.0


# NSynth's eleven families.
FAMILIES = {
    "bass": Timbre(14, attack_s=0.01, decay_s=2.5),
    "brass": Timbre(5, attack_s=0.06, noise=0.02),
    "flute": Timbre(18, attack_s=0.08, noise=0.12, vibrato_cents=15),
    "guitar": Timbre(8, inharmonicity=1e-4, attack_s=0.003, decay_s=3.0),
    "keyboard": Timbre(10, inharmonicity=4e-4, attack_s=0.005, decay_s=5.0),
    "mallet": Timbre(12, even=0.1, inharmonicity=2e-2, attack_s=0.002, decay_s=1.0),
    "organ": Timbre(3, even=0.8, attack_s=0.02),
    "reed": Timbre(6, even=0.12, attack_s=0.04, noise=0.04),
    "string": Timbre(7, attack_s=0.12, noise=0.05, vibrato_cents=25),
    "synth_lead": Timbre(4, even=0.0, attack_s=0.005),
    "vocal": Timbre(9, attack_s=0.07, noise=0.06, vibrato_cents=50),
}
_VOCAL_FORMANTS = ((730, 90), (1090, 110), (2440, 140))  # Peterson & Barney 1952, /a/
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
# Degrees of the chords of a bar each: (semitones above
# the tonic, triad). Both say the key by its dominant.
PROGRESSIONS = {
    "major": ((0, MAJOR), (5, MAJOR), (7, MAJOR), (0, MAJOR)),
    "minor": ((0, MINOR), (5, MINOR), (7, MAJOR), (0, MINOR)),
}


def timbre(family: str, instrument: int = 0) -> Timbre:
    """Return the timbre of one instrument of a family; another number varies it by up to a
    quarter.
    """
    base = FAMILIES[family]
    rng = np.random.default_rng([sorted(FAMILIES).index(family), instrument])
    names = ("tilt_db", "attack_s", "decay_s", "noise")
    return replace(base, **{name: getattr(base, name) * rng.uniform(0.8, 1.25) for name in names})


def note(
    family: str,
    midi: float,
    seconds: float,
    rng: np.random.Generator,
    sample_rate: int,
    *,
    instrument: int = 0,
) -> Audio:
    """Play one note, (n,) float32 with a peak of about 1; ``midi`` 69 is 440 Hz."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    made = timbre(family, instrument)
    f0 = 440 * 2 ** ((midi - 69) / 12)
    start = rng.uniform(0, 6)  # of the vibrato
    orders = np.arange(1, 41)
    stretches = orders * np.sqrt(1 + made.inharmonicity * orders**2)
    # Partials near the Nyquist rate would alias.
    below = f0 * stretches <= 0.45 * sample_rate
    orders, stretches = orders[below], stretches[below]
    levels = 10 ** (-made.tilt_db * np.log2(orders) / 20)
    levels[orders % 2 == 0] *= made.even
    if family == "vocal":
        levels *= [_vocal_tract(f0 * stretch) for stretch in stretches]
    weights = levels * np.exp(1j * rng.uniform(0, 2 * np.pi, len(orders)))
    if made.vibrato_cents:
        # Vibrato as a shift of time, the integral of the shift of pitch.
        depth = made.vibrato_cents / 1200 * np.log(2) / (2 * np.pi * 5.5)
        wobble = depth * np.sin(2 * np.pi * 5.5 * t + start)
        audio = _harmonics(2 * np.pi * f0 * (t + wobble), weights)
    else:
        # Higher partials die sooner, as on strings; exp(-6.9) is -60 dB.
        decays = 6.9 * (1 + 0.1 * orders) / made.decay_s if made.decay_s else 0.0
        audio = _steady(len(t), 2j * np.pi * f0 * stretches - decays, weights, sample_rate)
    audio /= max(np.abs(audio).max(), 1e-9)
    noise = made.noise * rng.normal(size=len(t))
    audio += noise * np.exp(-6.9 * t / made.decay_s) if made.decay_s else noise
    return (audio * _envelope(len(t), made.attack_s, sample_rate)).astype(np.float32)


def _harmonics(phase: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Add up the harmonics of a moving tone, (n,).

    Harmonic ``k`` is the ``k``-th power of the first as a complex number, so the sum is a
    polynomial, evaluated by Horner's rule: one multiplication a harmonic in place of a sine.

    Parameters
    ----------
    phase
        (n,) of the first harmonic, radians.
    weights
        (harmonics,) complex: level and starting phase of each.
    """
    first = np.exp(1j * phase)
    total = np.zeros_like(first)
    for weight in weights[::-1]:
        total += weight
        total *= first
    return total.imag


def _steady(n: int, rates: np.ndarray, weights: np.ndarray, sample_rate: int) -> np.ndarray:
    """Add up partials that keep their pitch while they decay, (n,).

    Such a partial is ``exp(rate * time)``, and that of a sum of times is a product: that of the
    time at which a block begins and that of the time within it. So all partials are one product of
    two small matrices.

    Parameters
    ----------
    rates
        (partials,) complex, per second: less the decay, and 2 pi times the frequency in Hz.
    weights
        (partials,) complex: level and starting phase of each.
    """
    block = 256  # samples; near the root of n the two matrices are smallest
    begins = np.arange(0, n, block) / sample_rate
    within = np.arange(block) / sample_rate
    starts = weights * np.exp(begins[:, None] * rates)  # (blocks, partials)
    return (starts @ np.exp(rates[:, None] * within)).imag.ravel()[:n]


def _vocal_tract(frequency: float) -> float:
    return 0.05 + sum(1 / (1 + ((frequency - f) / b) ** 2) for f, b in _VOCAL_FORMANTS)


def _envelope(n: int, attack_s: float, sample_rate: int) -> np.ndarray:
    """Return a raised-cosine attack and a release of 20 ms, as gain (n,)."""
    gain = np.ones(n)
    for size, part in ((attack_s, slice(None)), (0.02, slice(None, None, -1))):
        k = min(max(1, round(size * sample_rate)), n)
        gain[part][:k] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(k) + 0.5) / k)
    return gain


def drum(kind: str, rng: np.random.Generator, sample_rate: int) -> Audio:
    """Play a ``kick``, ``snare`` or ``hat``, (n,) float32."""
    seconds, decay = {"kick": (0.25, 25.0), "snare": (0.18, 30.0), "hat": (0.06, 90.0)}[kind]
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = rng.normal(size=len(t))
    if kind == "kick":
        # A kick falls in pitch as its skin relaxes.
        body = np.sin(2 * np.pi * (50 * t + 6 * (1 - np.exp(-30 * t))))
    else:
        edge = 6000 if kind == "hat" else 1500
        high = sosfilt(
            butter(2, min(edge, 0.4 * sample_rate), "high", fs=sample_rate, output="sos"), noise
        )
        body = 0.4 * high + (0.5 * np.sin(2 * np.pi * 190 * t) if kind == "snare" else 0)
    return (body * np.exp(-decay * t)).astype(np.float32)


@dataclass(frozen=True)
class Style:
    """Describe a piece: key, tempo and who plays.

    ``tonic`` is a pitch class (0 is C), ``mode`` ``major`` or ``minor``; ``chords`` and ``melody``
    are families, or empty for none; ``drums`` is their level, 0 for none; ``level`` the loudness of
    the whole; ``swing`` delays every second quaver by that share of a beat.
    """

    tonic: int = 0
    mode: str = "major"
    bpm: float = 120.0
    chords: str = "keyboard"
    melody: str = ""
    drums: float = 0.6
    level: float = 0.5
    swing: float = 0.0


def track(
    style: Style, seconds: float, rng: np.random.Generator, sample_rate: int
) -> tuple[Audio, list[float]]:
    """Play a piece of ``seconds`` in a style: (n,) float32 within ±1, and the times of its beats in
    s.

    Four beats a bar, a chord a bar, the bass on every beat; kick on one and three, snare on two and
    four.
    """
    out = np.zeros(round(seconds * sample_rate), dtype=np.float64)
    beat_s = 60 / style.bpm
    first = float(rng.uniform(0, beat_s))
    beats = np.arange(first, seconds, beat_s)
    chords = PROGRESSIONS[style.mode]
    hits = {kind: drum(kind, rng, sample_rate) for kind in ("kick", "snare", "hat")}
    played: dict[tuple[str, int, float], Audio] = {}

    def play(family: str, midi: int, length: float) -> Audio:  # each note is made once
        key = family, midi, length
        if key not in played:
            played[key] = note(family, midi, length, rng, sample_rate)
        return played[key]

    for n, time in enumerate(beats):
        root, triad = chords[n // 4 % len(chords)]
        # Pitches stay within an octave, so that the key is heard and not the register.
        bass = 36 + (style.tonic + root) % 12
        _add(out, time, 0.5 * play("bass", bass, beat_s), sample_rate)
        if n % 4 == 0 and style.chords:
            for step in triad:
                tone = play(style.chords, 60 + (style.tonic + root + step) % 12, 4 * beat_s)
                _add(out, time, 0.3 * tone, sample_rate)
        if style.melody:
            pitch = 72 + (style.tonic + root + triad[int(rng.integers(3))]) % 12
            _add(out, time, 0.4 * play(style.melody, pitch, beat_s), sample_rate)
        if style.drums:
            _add(out, time, style.drums * hits["kick" if n % 2 == 0 else "snare"], sample_rate)
            _add(
                out,
                time + (0.5 + style.swing) * beat_s,
                0.5 * style.drums * hits["hat"],
                sample_rate,
            )
    # No recording is digitally silent between its notes.
    out += 1e-4 * rng.normal(size=len(out))
    return (style.level * out / max(np.abs(out).max(), 1e-9)).astype(np.float32), beats.round(
        4
    ).tolist()


def _add(out: np.ndarray, time: float, sound: np.ndarray, sample_rate: int) -> None:
    start = round(time * sample_rate)
    n = min(len(sound), len(out) - start)
    if n > 0:
        out[start : start + n] += sound[:n]
