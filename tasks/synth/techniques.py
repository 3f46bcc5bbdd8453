"""What is sung and how: the ten techniques of VocalSet, its exercises, and melodies with exact note
labels.

Conventions
-----------
``plain_singing`` turns a score into ``Controls``; each technique is one function that takes these
and changes what sets it apart. The acoustic signatures follow the VocalSet paper (Wilkins et al.
2018) and the sources named in each function; where no measurement was at hand, the amounts are ours
and it says so. Pitches are MIDI numbers; suffixes name other units (``_s``, ``_hz``, ``_cents``,
``_db``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from svuprobe.tasks.synth.voice import (
    CONTROL_HZ,
    VOWELS,
    Audio,
    Controls,
    Singer,
    Syllable,
    Track,
    plain_singing,
    render,
    smooth,
    wander,
)

# Steps in semitones above the lowest note and lengths in beats; lengths are stretched to the clip.
EXERCISES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "arpeggios": ((0, 4, 7, 12, 7, 4, 0), (1, 1, 1, 1, 1, 1, 2)),
    "long_tones": ((0,), (1,)),
    "scales": ((0, 2, 4, 5, 7, 5, 4, 2, 0), (1, 1, 1, 1, 1, 1, 1, 1, 2)),
    # "Row, row, row your boat, gently down the stream" (traditional); the other two are lines of
    # our own that stand in for the two arias of VocalSet.
    "row": ((0, 0, 0, 2, 4, 4, 2, 4, 5, 7), (3, 3, 2, 1, 3, 2, 1, 2, 1, 6)),
    "caro": ((7, 7, 5, 4, 9, 7, 5, 4, 2), (3, 1, 2, 2, 3, 1, 1, 1, 4)),
    "dona": ((5, 0, 9, 7, 0, 10, 9, 7, 5), (2, 1, 3, 2, 1, 3, 1, 2, 3)),
}
Note = tuple[float, float, int]  # onset_s, offset_s, midi
CONTEXTS = ("arpeggios", "long_tones", "scales")
EXCERPTS = ("caro", "dona", "row")

# Where in the singer's range a technique is sung (0
# low, 1 high) and how loud its recordings peak, dB FS.
REGISTER = {
    "belt": (0.5, 1.0),
    "vocal_fry": (0.0, 0.3),
    "lip_trill": (0.1, 0.7),
    "inhaled": (0.3, 1.0),
}
PEAK_DB = {
    "belt": -2.0,
    "breathy": -11.0,
    "vocal_fry": -11.0,
    "inhaled": -11.0,
    "lip_trill": -9.0,
    "spoken": -9.0,
}


def bend(controls: Controls, cents: Track) -> Controls:
    """f0 moved by a track of cents."""
    return replace(controls, f0_hz=controls.f0_hz * 2.0 ** (cents / 1200.0))


def _clock(n: int, rate_hz: Track | float, rng: np.random.Generator, spread: float = 0.03) -> Track:
    """Phase in cycles of something periodic at about ``rate_hz``, its rate wandering by
    ``spread``.
    """
    rate = rate_hz * (1.0 + spread * wander(n, 2.0, rng))
    return rng.uniform() + np.cumsum(np.maximum(rate, 0.0)) / CONTROL_HZ


def _vibrated(
    c: Controls, score: Sequence[Syllable], rate_hz: float, cents: float, rng: np.random.Generator
) -> Controls:
    """Vibrato of peak deviation ``cents`` that grows over the first 0.2 s of each note."""
    t = np.arange(len(c.f0_hz)) / CONTROL_HZ
    depth = np.zeros_like(t)
    for s in score:
        rise = min(0.2, 0.5 * s.seconds)
        depth += np.clip((t - s.onset_s) / rise, 0, 1) * ((t >= s.onset_s) & (t < s.offset_s))
    wave = smooth(depth, 0.02) * np.sin(2 * np.pi * _clock(len(t), rate_hz, rng))
    louder = 10 ** (cents / 100.0 * wave / 20)  # intensity moves with f0 by about 1 dB
    return replace(bend(c, cents * wave), voice=c.voice * louder)


# -- the ten techniques ----------------------------------------------------------------------------


def vibrato(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """f0 modulated at 5 to 7 Hz by 50 to 120 cents (Sundberg 1987, 1994)."""
    rate = float(np.clip(singer.vibrato_hz * rng.uniform(0.95, 1.05), 5.1, 6.9))
    extent = float(np.clip(singer.vibrato_cents * rng.uniform(0.85, 1.15), 50.0, 120.0))
    return _vibrated(c, score, rate, extent, rng)


def straight(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """No deliberate vibrato; what remains stays under 6 cents."""
    return _vibrated(c, score, singer.vibrato_hz, float(rng.uniform(0.0, 6.0)), rng)


def trill(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Alternates with the pitch a semitone or a tone above, 5 to 8 times a second."""
    step = 100.0 * rng.integers(1, 3)
    wave = np.sin(2 * np.pi * _clock(len(c.f0_hz), rng.uniform(5.0, 7.5), rng))
    return bend(c, step * (0.5 + 0.5 * np.tanh(2.5 * wave) / np.tanh(2.5)))


def trillo(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """One pitch repeated from the throat, 5 Hz and faster (Caccini 1602): the glottis almost
    closes.

    f0 sags towards each closure and some air escapes; both are usual in the recordings, the amounts
    ours.
    """
    t = np.arange(len(c.f0_hz)) / CONTROL_HZ
    longest = max(score, key=lambda s: s.seconds)
    ramp = np.clip((t - longest.onset_s) / longest.seconds, 0, 1) ** 1.5
    rate = rng.uniform(4.8, 6.0) + rng.uniform(1.5, 4.0) * ramp
    turn = _clock(len(t), rate, rng) % 1.0
    # Fast attack, slower decay.
    opened = np.exp(-(((turn - 0.4) / np.where(turn < 0.4, 0.14, 0.24)) ** 2))
    c = bend(c, -rng.uniform(20.0, 60.0) * (1 - opened))
    aspirated = c.breath * (opened + rng.uniform(1.0, 4.0) * (1 - opened))
    return replace(c, voice=c.voice * (0.02 + 0.98 * opened), breath=aspirated)


def lip_trill(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Lips flutter at 20 to 30 Hz over the voice, dull and bubbling (Titze 2006; Maxfield et al.
    2015).

    Nearly closed lips lower all formants and let little above 1 kHz out.
    """
    turn = _clock(len(c.f0_hz), rng.uniform(21.5, 28.5), rng, spread=0.015)
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * turn)
    puff = rng.uniform(0.1, 0.25) * (c.voice > 0.1) * opened**3
    lower = np.array([0.75, 0.8, 0.92, 0.97, 1.0])
    return replace(
        bend(c, 12.0 * (opened - 0.5)),
        lips=0.1 + 0.9 * opened**1.3,
        breath=c.breath + puff,
        formants_hz=c.formants_hz * lower,
        tilt_db_oct=c.tilt_db_oct + 1.0,
        muffle_hz=float(rng.uniform(700.0, 1600.0)),
    )


def vocal_fry(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Separate pulses, irregular and below 70 Hz, from a glottis open only shortly (Blomgren et al.
    1998).
    """
    n = len(c.f0_hz)
    rate = rng.uniform(28.0, 48.0) * 2.0 ** (0.2 * wander(n, 1.5, rng))
    return replace(
        c,
        f0_hz=np.clip(rate, 18.0, 58.0),
        voice=0.7 * c.voice,
        breath=c.breath * rng.uniform(1.0, 2.5),
        open_quotient=float(rng.uniform(0.25, 0.4)),
        jitter=0.08,
        shimmer=0.25,
    )


def breathy(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Loose closure: much aspiration, a steep source, a long open phase (Klatt & Klatt 1990)."""
    c = _vibrated(c, score, singer.vibrato_hz, singer.vibrato_cents * rng.uniform(0.0, 0.5), rng)
    return replace(
        c,
        breath=c.breath + c.voice * 10 ** rng.uniform(-0.45, 0.05),
        tilt_db_oct=c.tilt_db_oct + float(rng.uniform(4.0, 7.0)),
        open_quotient=min(singer.open_quotient + 0.2, 0.9),
    )


def belt(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Loud chest voice: short open phase, flat source, F1 raised to the 2nd partial (Björkner
    2008).
    """
    c = _vibrated(c, score, singer.vibrato_hz, singer.vibrato_cents * rng.uniform(0.0, 0.8), rng)
    shape = c.formants_hz.copy()
    shape[:, 0] *= float(rng.uniform(1.1, 1.35))
    return replace(
        c,
        formants_hz=shape,
        breath=0.5 * c.breath,
        tilt_db_oct=c.tilt_db_oct - float(rng.uniform(2.0, 4.5)),
        open_quotient=singer.open_quotient - 0.15,
    )


def inhaled(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Voice on the breath in: rough, noisy, unsteady in pitch (Eklund 2008); the amounts are
    ours.
    """
    n = len(c.f0_hz)
    c = bend(c, rng.uniform(30.0, 70.0) * wander(n, 4.0, rng))
    unsteady = np.clip(1.0 + 0.35 * wander(n, 8.0, rng), 0.1, 2.0)
    return replace(
        c,
        voice=c.voice * unsteady,
        breath=c.breath + (c.voice + 0.1 * (c.voice > 0.02)) * 10 ** rng.uniform(-0.2, 0.35),
        formants_hz=c.formants_hz * float(rng.uniform(1.02, 1.1)),
        tilt_db_oct=c.tilt_db_oct + float(rng.uniform(0.5, 3.0)),
        jitter=float(rng.uniform(0.02, 0.05)),
        shimmer=0.2,
    )


def spoken(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Speech over a score of ``_speech``: the pitch glides through every syllable instead of
    holding it.
    """
    t = np.arange(len(c.f0_hz)) / CONTROL_HZ
    cents = np.zeros_like(t)
    for s in score:
        inside = (t >= s.onset_s) & (t < s.offset_s)
        cents += inside * rng.normal(-60.0, 160.0) * ((t - s.onset_s) / s.seconds - 0.5)
    return replace(bend(c, smooth(cents, 0.02)), jitter=2 * c.jitter)


Technique = Callable[[Controls, Sequence[Syllable], Singer, np.random.Generator], Controls]
TECHNIQUES: dict[str, Technique] = {
    f.__name__: f
    for f in (
        belt,
        breathy,
        inhaled,
        lip_trill,
        spoken,
        straight,
        trill,
        trillo,
        vibrato,
        vocal_fry,
    )
}


# -- scores ----------------------------------------------------------------------------------------


def _exercise(
    name: str, vowel: str, singer: Singer, seconds: float, technique: str, rng: np.random.Generator
) -> list[Syllable]:
    """The score of a scale, an arpeggio, a long tone (legato, one vowel) or an excerpt
    (syllables).
    """
    steps, beats = (np.array(x) for x in EXERCISES[name])
    room = max(singer.high_midi - singer.low_midi - int(steps.max()), 0)
    lowest = singer.low_midi + round(room * rng.uniform(*REGISTER.get(technique, (0.0, 0.9))))
    start, stop = rng.uniform(0.08, 0.25), seconds - rng.uniform(0.1, 0.3)
    times = start + (stop - start) * np.concatenate([[0.0], np.cumsum(beats) / beats.sum()])
    if name in EXCERPTS:
        return [
            _sung(a, b, lowest + s, rng) for a, b, s in zip(times, times[1:], steps, strict=False)
        ]
    return [
        Syllable(a, b, float(lowest + s), vowel, closure=float(rng.uniform(0.6, 1.0)))
        for a, b, s in zip(times, times[1:], steps, strict=False)
    ]


def _sung(onset_s: float, offset_s: float, midi: float, rng: np.random.Generator) -> Syllable:
    """A syllable of random vowel and consonant: half of the consonants hiss, the others only
    close.
    """
    return Syllable(
        float(onset_s),
        float(offset_s),
        float(midi),
        vowel=str(rng.choice(list(VOWELS))),
        closure=float(rng.uniform(0.05, 0.35)),
        burst=float(rng.uniform(0.3, 1.0) * (rng.uniform() < 0.5)),
    )


def _speech(singer: Singer, seconds: float, rng: np.random.Generator) -> list[Syllable]:
    """Four to six syllables a second in breath groups whose pitch falls by some semitones
    (declination).
    """
    score: list[Syllable] = []
    now, left, midi = float(rng.uniform(0.08, 0.25)), 0, 0.0
    while now < seconds - 0.45:
        if left == 0:
            left, midi = int(rng.integers(5, 11)), singer.low_midi + rng.uniform(1.0, 6.0)
            now += rng.uniform(0.15, 0.4) if score else 0.0
        end = min(now + rng.uniform(0.13, 0.26), seconds - 0.12)
        score.append(_sung(now, end, midi + rng.normal(0.0, 1.2), rng))
        now, left, midi = end, left - 1, midi - rng.uniform(0.2, 0.7)
    return [s for s in score if s.seconds > 0.1]  # the last may have no room left


def _melody_score(singer: Singer, seconds: float, rng: np.random.Generator) -> list[Syllable]:
    """Phrases of 4 to 9 notes in a major key, legato and detached, with rests between them."""
    scale = _scale(singer, rng)
    score: list[Syllable] = []
    now, left, at = float(rng.uniform(0.3, 0.8)), 0, len(scale) // 2
    beat = rng.uniform(0.24, 0.36)
    while now < seconds - 0.6:
        if left == 0:
            left = int(rng.integers(4, 10))
            now += rng.uniform(0.3, 1.0) if score else 0.0
        left -= 1
        at = int(np.clip(at + rng.choice([-3, -2, -1, 0, 1, 2, 3], p=_LEAPS), 0, len(scale) - 1))
        beats = rng.choice([0.75, 1, 1.5, 2, 4], p=[0.15, 0.4, 0.15, 0.2, 0.1]) * (
            2 if left == 0 else 1
        )
        end = min(now + beats * beat, seconds - 0.15)
        gap = rng.uniform(0.05, 0.12) if rng.uniform() < 0.3 else 0.0  # detached, else legato
        syllable = _sung(now, end - gap, scale[at], rng)
        melisma = score and rng.uniform() < 0.12 and score[-1].midi != syllable.midi
        if melisma:
            syllable = replace(syllable, vowel=score[-1].vowel, closure=0.7, burst=0.0)
        score.append(syllable)
        now = end
    return [s for s in score if s.seconds > 0.1]  # as in _speech


_LEAPS = (0.07, 0.14, 0.21, 0.16, 0.21, 0.14, 0.07)


def _scale(singer: Singer, rng: np.random.Generator) -> list[int]:
    """Notes of a random major key inside the singer's range, MIDI."""
    key = int(rng.integers(12))
    major = {0, 2, 4, 5, 7, 9, 11}
    return [m for m in range(singer.low_midi, singer.high_midi + 1) if (m - key) % 12 in major]


# -- takes -----------------------------------------------------------------------------------------


def perform(
    score: Sequence[Syllable],
    singer: Singer,
    technique: str,
    seconds: float,
    rng: np.random.Generator,
    sample_rate: int,
) -> Audio:
    """A score sung with one of ``TECHNIQUES``, not normalised: shape (round(seconds *
    sample_rate),).
    """
    glide_s = 0.06 if technique == "spoken" else 0.012
    controls = plain_singing(score, singer, seconds, rng, glide_s)
    return render(TECHNIQUES[technique](controls, score, singer, rng), singer, rng, sample_rate)


def recorded(audio: Audio, peak_db: float, rng: np.random.Generator) -> Audio:
    """The take as a recording: peak at ``peak_db`` dB full scale over a noise floor of -75 to -60
    dB.

    The noise falls with frequency like a room's; it is what remains in the silence at both ends.
    """
    floor = 10 ** (rng.uniform(-75.0, -60.0) / 20)
    noise = rng.standard_normal(len(audio), dtype=np.float32)
    noise[1:] += 0.7 * noise[:-1]
    scaled = audio * (10 ** (min(peak_db, -0.5) / 20) / max(float(np.abs(audio).max()), 1e-9))
    return np.asarray(np.clip(scaled + floor * noise, -1.0, 1.0), dtype=np.float32)


def technique_clip(
    singer: Singer,
    technique: str,
    context: str,
    vowel: str,
    seconds: float,
    rng: np.random.Generator,
    sample_rate: int,
) -> Audio:
    """One VocalSet-like recording, float32 within +-1, shape (round(seconds * sample_rate),).

    Parameters
    ----------
    technique
        A key of ``TECHNIQUES``; ``spoken`` speaks whatever the context.
    context
        One of ``CONTEXTS``, or ``excerpts``.
    vowel
        One of a e i o u; for ``excerpts``, which has many, the melody: caro, dona or row.
    """
    if technique == "spoken":
        score = _speech(singer, seconds, rng)
    else:
        name = vowel if context == "excerpts" else context
        score = _exercise(name, vowel, singer, seconds, technique, rng)
    audio = perform(score, singer, technique, seconds, rng, sample_rate)
    return recorded(audio, PEAK_DB.get(technique, -6.0) + rng.uniform(-6.0, 3.0), rng)


def melody(
    singer: Singer, seconds: float, rng: np.random.Generator, sample_rate: int
) -> tuple[Audio, list[Note]]:
    """A sung melody and its notes ``(onset_s, offset_s, midi)``, sorted and free of overlaps.

    The labels are the score itself: a vowel starts at its onset and is silent, or at its next
    consonant, at its offset. Notes of 0.5 s and more carry a mild vibrato.
    """
    score = _melody_score(singer, seconds, rng)
    controls = plain_singing(score, singer, seconds, rng)
    held = [s for s in score if s.seconds >= 0.5]
    controls = _vibrated(controls, held, singer.vibrato_hz, 0.5 * singer.vibrato_cents, rng)
    audio = recorded(render(controls, singer, rng, sample_rate), rng.uniform(-6.0, -1.0), rng)
    return audio, [(s.onset_s, s.offset_s, round(s.midi)) for s in score]
