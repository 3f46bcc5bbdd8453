"""Synthetic GTSinger: phrases with a technique on some of their syllables, in its official layout.

Each phrase is sung twice, plain and with the technique, and the second is faded in where its phones
are marked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import recorded
from svuprobe.tasks.synth.techniques import breathy, vibrato
from svuprobe.tasks.synth.vocal_tract import render
from svuprobe.tasks.synth.voice import (
    CONTROL_HZ,
    VOWELS,
    Controls,
    Singer,
    Syllable,
    frame_times,
    plain_singing,
    singers,
    smooth,
)
from svuprobe.tasks.technique_detection import LABELS, SPLIT_SINGERS

SAMPLE_RATE = 16000
_SECONDS = 3.0
_SYLLABLES = 5
_LANGUAGES = {
    "ZH": "Chinese",
    "EN": "English",
    "FR": "French",
    "DE": "German",
    "IT": "Italian",
    "JA": "Japanese",
    "KO": "Korean",
    "RU": "Russian",
    "ES": "Spanish",
}
# The folder of a technique and its group in it; control groups lie in any of the folders.
_PLACES = {
    "breathy": ("Breathy", "Breathy_Group"),
    "falsetto": ("Mixed_Voice_and_Falsetto", "Falsetto_Group"),
    "glissando": ("Glissando", "Glissando_Group"),
    "mix": ("Mixed_Voice_and_Falsetto", "Mixed_Voice_Group"),
    "pharyngeal": ("Pharyngeal", "Pharyngeal_Group"),
    "vibrato": ("Vibrato", "Vibrato_Group"),
    "": ("Breathy", "Control_Group"),
}
# Splits take turns, so that a small copy has a singer of each.
SINGERS = tuple(
    singer for turn in zip_longest(*SPLIT_SINGERS.values()) for singer in turn if singer is not None
)

Row = tuple[str, str, int]  # singer, technique, number


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` phrases (default 140) as
    ``root/<language>/<singer>/<folder>/<song>/<group>/<n>.wav`` with ``<n>.json``.

    16 kHz mono PCM16 of 3 s: five syllables, of which two to four in a row are sung with the
    technique of the group, none in a control group. From 140 phrases on every singer sings each
    technique. What the techniques do is in `sung_with`; the amounts are ours. Parameters and errors
    are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("gtsinger", seed, clips, default=140, high=10_000)
    rows = []
    for number in range(header["clips"]):
        turn, place = divmod(number, len(SINGERS))
        technique = (*LABELS, "")[(turn + place) % (len(LABELS) + 1)]
        rows.append((SINGERS[place], technique, turn // (len(LABELS) + 1)))
    cast = dict(zip(sorted(SINGERS, key=_voice), singers(seed), strict=True))

    def make(row: Row) -> Recording:
        singer, technique, _ = row
        path = _path(row)

        def audio() -> Audio:
            score, held = _phrase(cast[singer], seed, path)
            return _sung(score, held, technique, cast[singer], rng_of(seed, path + " sung"))

        return Recording(path, _SECONDS, SAMPLE_RATE, audio)

    def texts() -> dict[str, str]:
        files = {}
        for row in rows:
            path = _path(row)
            words = _words(*_phrase(cast[row[0]], seed, path), row[1])
            files[path.removesuffix(".wav") + ".json"] = json.dumps(words, indent=1)
        return files

    write_corpus(root, header, rows, make, reporter=reporter, jobs=jobs, texts=texts)


def sung_with(
    technique: str, plain: Controls, score: Sequence[Syllable], singer: Singer, seed: int
) -> Controls:
    """Return a phrase all of which is sung with a technique, from how it is sung plain.

    Breathy and vibrato are those of VocalSet's copy. Falsetto has a steep source and a long open
    phase; mixed voice lies between that and a belt; a pharyngeal voice has its upper formants close
    together, a ring at 3 kHz, over a flat source; glissando takes all of a note to reach the next.
    """
    rng = np.random.default_rng(seed)
    if technique == "breathy":
        return breathy(plain, score, singer, rng)
    if technique == "vibrato":
        return vibrato(plain, score, singer, rng)
    if technique == "falsetto":
        return replace(
            plain, tilt_db_oct=plain.tilt_db_oct + 9.0, open_quotient=0.9, voice=0.8 * plain.voice
        )
    if technique == "mix":
        return replace(
            plain, tilt_db_oct=plain.tilt_db_oct - 4.0, open_quotient=singer.open_quotient - 0.1
        )
    if technique == "pharyngeal":
        ring = np.array([1.15, 1.1, 1.05, 0.85, 0.75])
        return replace(
            plain,
            formants_hz=plain.formants_hz * ring,
            tilt_db_oct=plain.tilt_db_oct - 4.0,
            open_quotient=singer.open_quotient - 0.15,
        )
    # 150 ms to either side: about the length of a syllable.
    return replace(plain, f0_hz=np.exp(smooth(np.log(plain.f0_hz), 0.15)))


def _phrase(singer: Singer, seed: int, path: str) -> tuple[list[Syllable], range]:
    """Return the syllables of a phrase and which of them are sung with its technique."""
    rng = rng_of(seed, path)
    vowels = list(VOWELS)
    times = 0.2 + 0.52 * np.arange(_SYLLABLES + 1)
    pitches = singer.low_midi + rng.integers(3, 15, _SYLLABLES)
    score = []
    for start, end, midi in zip(times, times[1:], pitches, strict=False):
        score.append(
            Syllable(float(start), float(end), float(midi), str(rng.choice(vowels)), closure=0.3)
        )
    first = int(rng.integers(0, 3))
    return score, range(first, min(first + int(rng.integers(2, 5)), _SYLLABLES))


def _sung(
    score: Sequence[Syllable],
    held: range,
    technique: str,
    singer: Singer,
    rng: np.random.Generator,
) -> Audio:
    """Sing a phrase, (n,) float32 within ±1."""
    controls = plain_singing(score, singer, _SECONDS, rng)
    seed = int(rng.integers(2**32))
    # From one seed: plain and changed, the same voice.
    audio = render(controls, singer, np.random.default_rng(seed), SAMPLE_RATE)
    if technique:
        changed = sung_with(technique, controls, score, singer, seed)
        other = render(changed, singer, np.random.default_rng(seed), SAMPLE_RATE)
        at = frame_times(_SECONDS)
        inside = (at >= score[held[0]].onset_s) & (at < score[held[-1]].offset_s)
        fade = smooth(inside.astype(float), 0.01)
        share = np.interp(
            np.arange(len(audio)) / SAMPLE_RATE, np.arange(len(fade)) / CONTROL_HZ, fade
        )
        audio = (audio + share * (other - audio)).astype(np.float32)
    return recorded(audio, rng.uniform(-6.0, -1.0), rng)


def _words(
    score: Sequence[Syllable], held: range, technique: str
) -> list[dict[str, str | float | list[str] | list[float]]]:
    """Return what the JSON file beside a phrase says: a word of one phone a syllable, and rests."""
    words = []
    ends = [0.0, *(syllable.offset_s for syllable in score)]
    spans = [(ends[0], score[0].onset_s, "<SP>", False)]
    for number, syllable in enumerate(score):
        spans.append((syllable.onset_s, syllable.offset_s, syllable.vowel, number in held))
    spans.append((ends[-1], _SECONDS, "<SP>", False))
    for start, end, phone, marked in spans:
        word: dict[str, str | float | list[str] | list[float]] = {
            "word": phone,
            "start_time": round(start, 3),
            "end_time": round(end, 3),
            "ph": [phone],
            "ph_start": [round(start, 3)],
            "ph_end": [round(end, 3)],
        }
        for label in LABELS:
            word[label] = ["1" if marked and label == technique else "0"]
        words.append(word)
    return words


def _path(row: Row) -> str:
    singer, technique, number = row
    folder, group = _PLACES[technique]
    language = _LANGUAGES[singer.split("-")[0]]
    return f"{language}/{singer}/{folder}/song/{group}/{number:04d}.wav"


def _voice(singer: str) -> tuple[int, str]:
    """Return a key that puts women's voices first, as `singers` does."""
    kinds = ("Soprano", "Alto", "Tenor", "Bass")
    return kinds.index(singer.split("-")[1]), singer
