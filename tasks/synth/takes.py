"""Make takes: the exercises of VocalSet in its techniques, and melodies with exact note labels.

A score is what is sung (`svuprobe.tasks.synth.voice.Syllable`), a take the audio of one. Pitches
are MIDI numbers; suffixes name other units (``_s``, ``_hz``, ``_cents``, ``_db``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from svuprobe.tasks.synth.techniques import TECHNIQUES, vibrated
from svuprobe.tasks.synth.vocal_tract import render
from svuprobe.tasks.synth.voice import (
    VOWELS,
    Audio,
    Singer,
    Syllable,
    frame_times,
    plain_singing,
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


def _exercise(
    name: str, vowel: str, singer: Singer, seconds: float, technique: str, rng: np.random.Generator
) -> list[Syllable]:
    """Write the score of a scale, an arpeggio, a long tone (one vowel, legato) or an excerpt."""
    steps, beats = (np.array(x) for x in EXERCISES[name])
    # A technique of a low register leaves the upper part of the range unused.
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
    """Return a syllable of random vowel and consonant: half of them hiss, the others only close."""
    return Syllable(
        float(onset_s),
        float(offset_s),
        float(midi),
        vowel=str(rng.choice(list(VOWELS))),
        closure=float(rng.uniform(0.05, 0.35)),
        burst=float(rng.uniform(0.3, 1.0) * (rng.uniform() < 0.5)),
    )


def _speech(singer: Singer, seconds: float, rng: np.random.Generator) -> list[Syllable]:
    """Write four to six syllables a second in breath groups whose pitch falls (declination)."""
    score: list[Syllable] = []
    now, left, midi = float(rng.uniform(0.08, 0.25)), 0, 0.0
    while now < seconds - 0.45:
        # A new breath: a pause, and the pitch is reset.
        if left == 0:
            left, midi = int(rng.integers(5, 11)), singer.low_midi + rng.uniform(1.0, 6.0)
            now += rng.uniform(0.15, 0.4) if score else 0.0
        end = min(now + rng.uniform(0.13, 0.26), seconds - 0.12)
        score.append(_sung(now, end, midi + rng.normal(0.0, 1.2), rng))
        now, left, midi = end, left - 1, midi - rng.uniform(0.2, 0.7)
    return [s for s in score if s.seconds > 0.1]  # the last may have no room left


def _melody_score(singer: Singer, seconds: float, rng: np.random.Generator) -> list[Syllable]:
    """Write phrases of 4 to 9 notes in a major key, legato and detached, with rests between
    them.
    """
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
        # The last note of a phrase is held.
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


# Chances of -3 to 3 steps of the scale: small steps are the commonest.
_LEAPS = (0.07, 0.14, 0.21, 0.16, 0.21, 0.14, 0.07)


def _scale(singer: Singer, rng: np.random.Generator) -> list[int]:
    """Return the notes of a random major key inside the singer's range, MIDI."""
    key = int(rng.integers(12))
    major = {0, 2, 4, 5, 7, 9, 11}
    return [m for m in range(singer.low_midi, singer.high_midi + 1) if (m - key) % 12 in major]


def perform(
    score: Sequence[Syllable],
    singer: Singer,
    technique: str,
    seconds: float,
    rng: np.random.Generator,
    sample_rate: int,
) -> Audio:
    """Sing a score with one of ``TECHNIQUES``, not normalised: (round(seconds * sample_rate),)."""
    glide_s = 0.06 if technique == "spoken" else 0.012
    controls = plain_singing(score, singer, seconds, rng, glide_s)
    return render(TECHNIQUES[technique](controls, score, singer, rng), singer, rng, sample_rate)


def recorded(audio: Audio, peak_db: float, rng: np.random.Generator) -> Audio:
    """Make the take a recording: peak at ``peak_db`` dB full scale, noise floor of -75 to -60 dB.

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
    """Make one VocalSet-like recording, float32 within +-1, (round(seconds * sample_rate),).

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
    """Sing a melody; return it with its notes ``(onset_s, offset_s, midi)``, sorted, without
    overlaps.

    The labels are the score itself: a vowel starts at its onset and is silent, or at its next
    consonant, at its offset. Notes of 0.5 s and more carry a mild vibrato.
    """
    audio, score, _ = _sung_melody(singer, seconds, rng, sample_rate)
    return audio, [(s.onset_s, s.offset_s, round(s.midi)) for s in score]


def contour(
    singer: Singer, seconds: float, times: np.ndarray, rng: np.random.Generator, sample_rate: int
) -> tuple[Audio, np.ndarray]:
    """Sing a melody as `melody` does; return it with its f0 at ``times``, Hz, 0 in rests."""
    audio, score, f0_hz = _sung_melody(singer, seconds, rng, sample_rate)
    hz = np.interp(times, frame_times(seconds), f0_hz)
    sung = np.zeros(len(times), bool)
    for syllable in score:
        sung |= (times >= syllable.onset_s) & (times < syllable.offset_s)
    return audio, np.where(sung, hz, 0.0)


def _sung_melody(
    singer: Singer, seconds: float, rng: np.random.Generator, sample_rate: int
) -> tuple[Audio, list[Syllable], np.ndarray]:
    """Return a melody, its syllables and its f0 at the times of the controls, Hz."""
    score = _melody_score(singer, seconds, rng)
    controls = plain_singing(score, singer, seconds, rng)
    held = [s for s in score if s.seconds >= 0.5]
    controls = vibrated(controls, held, singer.vibrato_hz, 0.5 * singer.vibrato_cents, rng)
    audio = recorded(render(controls, singer, rng, sample_rate), rng.uniform(-6.0, -1.0), rng)
    return audio, score, controls.f0_hz
