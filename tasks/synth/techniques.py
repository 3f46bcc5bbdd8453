"""Sing the ten techniques of VocalSet: each is one function that changes what sets it apart.

Conventions
-----------
``plain_singing`` turns a score into ``Controls``, which each technique takes and changes. The
acoustic signatures follow the VocalSet paper (Wilkins et al. 2018) and the sources named in each
function; where no measurement was at hand, the amounts are ours and it says so. Pitches are MIDI
numbers; suffixes name other units (``_s``, ``_hz``, ``_cents``, ``_db``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from svuprobe.tasks.synth.voice import (
    CONTROL_HZ,
    Controls,
    Singer,
    Syllable,
    Track,
    smooth,
    wander,
)


def bend(controls: Controls, cents: Track) -> Controls:
    """Move f0 by a track of cents."""
    return replace(controls, f0_hz=controls.f0_hz * 2.0 ** (cents / 1200.0))


def _clock(n: int, rate_hz: Track | float, rng: np.random.Generator, spread: float = 0.03) -> Track:
    """Return the phase in cycles of what repeats at about ``rate_hz``, whose rate wanders by
    ``spread``.
    """
    rate = rate_hz * (1.0 + spread * wander(n, 2.0, rng))
    # Integrated: a phase of rate times time would jump where the rate wanders.
    return rng.uniform() + np.cumsum(np.maximum(rate, 0.0)) / CONTROL_HZ


def vibrated(
    c: Controls, score: Sequence[Syllable], rate_hz: float, cents: float, rng: np.random.Generator
) -> Controls:
    """Add vibrato of peak deviation ``cents`` that grows over the first 0.2 s of each note."""
    t = np.arange(len(c.f0_hz)) / CONTROL_HZ
    depth = np.zeros_like(t)
    for s in score:
        rise = min(0.2, 0.5 * s.seconds)
        depth += np.clip((t - s.onset_s) / rise, 0, 1) * ((t >= s.onset_s) & (t < s.offset_s))
    # Smoothed, or the end of a note would be a click in the pitch.
    wave = smooth(depth, 0.02) * np.sin(2 * np.pi * _clock(len(t), rate_hz, rng))
    louder = 10 ** (cents / 100.0 * wave / 20)  # intensity moves with f0 by about 1 dB
    return replace(bend(c, cents * wave), voice=c.voice * louder)


def vibrato(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Modulate f0 at 5 to 7 Hz by 50 to 120 cents (Sundberg 1987, 1994)."""
    # A singer's own rate, which differs little from one recording to the next.
    rate = float(np.clip(singer.vibrato_hz * rng.uniform(0.95, 1.05), 5.1, 6.9))
    extent = float(np.clip(singer.vibrato_cents * rng.uniform(0.85, 1.15), 50.0, 120.0))
    return vibrated(c, score, rate, extent, rng)


def straight(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Sing without deliberate vibrato; what remains stays under 6 cents."""
    return vibrated(c, score, singer.vibrato_hz, float(rng.uniform(0.0, 6.0)), rng)


def trill(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Alternate with the pitch a semitone or a tone above, 5 to 8 times a second."""
    step = 100.0 * rng.integers(1, 3)
    wave = np.sin(2 * np.pi * _clock(len(c.f0_hz), rng.uniform(5.0, 7.5), rng))
    # The tanh squares the wave: a trill stays on each of its pitches.
    return bend(c, step * (0.5 + 0.5 * np.tanh(2.5 * wave) / np.tanh(2.5)))


def trillo(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Repeat one pitch from the throat, 5 Hz and faster (Caccini 1602): the glottis almost closes.

    f0 sags towards each closure and some air escapes; both are usual in the recordings, the amounts
    ours.
    """
    t = np.arange(len(c.f0_hz)) / CONTROL_HZ
    # A trillo speeds up over the note it is sung on.
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
    """Flutter the lips at 20 to 30 Hz over the voice, dull and bubbling (Titze 2006; Maxfield
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
    """Sing separate pulses, irregular and below 70 Hz, the glottis open shortly (Blomgren et al.
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
    """Close the glottis loosely: aspiration, a steep source, a long open phase (Klatt & Klatt
    1990).
    """
    c = vibrated(c, score, singer.vibrato_hz, singer.vibrato_cents * rng.uniform(0.0, 0.5), rng)
    return replace(
        c,
        breath=c.breath + c.voice * 10 ** rng.uniform(-0.45, 0.05),
        tilt_db_oct=c.tilt_db_oct + float(rng.uniform(4.0, 7.0)),
        open_quotient=min(singer.open_quotient + 0.2, 0.9),
    )


def belt(
    c: Controls, score: Sequence[Syllable], singer: Singer, rng: np.random.Generator
) -> Controls:
    """Sing in a loud chest voice: short open phase, flat source, F1 at the 2nd partial (Björkner
    2008).
    """
    c = vibrated(c, score, singer.vibrato_hz, singer.vibrato_cents * rng.uniform(0.0, 0.8), rng)
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
    """Sing on the breath in: rough, noisy, unsteady in pitch (Eklund 2008); the amounts are
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
    """Speak a score of ``_speech``: the pitch glides through every syllable instead of holding
    it.
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
