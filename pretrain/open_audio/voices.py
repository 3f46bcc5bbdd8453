"""Sing and speak without singers or speakers: our own singing voice, eSpeak NG and Flite."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile as sf

from svuprobe.pretrain.open_audio.packages import OpenAudioError
from svuprobe.pretrain.open_audio.recordings import SAMPLE_RATE, Row, Samples, Sink, samples_of
from svuprobe.tasks.synth.takes import CONTEXTS, melody, technique_clip
from svuprobe.tasks.synth.techniques import TECHNIQUES
from svuprobe.tasks.synth.voice import singers

SEED = 20261128
_LANGUAGES = (
    "af bg bn ca cs cy da de el en-gb en-us en-gb-scotland eo es es-419 et eu fa fi fr-fr ga hi "
    "hr hu id is it ka ko lt lv mk ms nb nl pl pt pt-br ro ru sk sl sq sr sv sw ta tr uk vi cmn"
)
_VARIANTS = "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 croak klatt klatt2 klatt4"
_FLITE = ("awb", "kal16", "rms", "slt")
_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve twenty hundred thousand "
    "yes no up down left right stop go red green blue yellow black white house water bread music "
    "song voice singer morning evening monday friday january october north south alpha bravo "
    "charlie delta echo foxtrot hotel india juliet kilo lima november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey zulu please thank you good night where are we going"
)


def sung(seconds: float, sink: Sink) -> Iterator[Row | str]:
    """Sing techniques and melodies by the synthetic singers of a seed that no dataset uses."""
    rng = np.random.default_rng([SEED, 3])
    choir, done, n = singers(SEED), 0.0, 0
    techniques = sorted(set(TECHNIQUES) - {"spoken"})
    while done < seconds:
        singer, length = choir[n % len(choir)], float(rng.uniform(3.0, 9.0))
        if n % 3 == 0:
            audio, _ = melody(singer, length, rng, SAMPLE_RATE)
            what = "melody"
        else:
            technique = str(rng.choice(techniques))
            context, vowel = str(rng.choice(CONTEXTS)), str(rng.choice(list("aeiou")))
            audio = technique_clip(singer, technique, context, vowel, length, rng, SAMPLE_RATE)
            what = f"{technique} {context} {vowel}"
        name = f"svuprobe-singing/{n:05d}_{singer.name}_{what.replace(' ', '_')}"
        source = f"svuprobe.tasks.synth, seed {SEED}: {singer.name} {what}"
        row = sink.write(name, samples_of(audio[:, None], SAMPLE_RATE), source, "Apache-2.0")
        yield row if isinstance(row, Row) else f"{source}: {row}"
        done, n = done + length, n + 1


@dataclass(frozen=True)
class Utterance:
    """Describe what a speech synthesiser is asked for: its command but the output, and a name."""

    program: str
    name: str
    options: tuple[str, ...]
    text: str
    licence: str


def utterances(count: int) -> list[Utterance]:
    """Return a plan of ``count`` utterances: numbers in every language, words in English."""
    rng = np.random.default_rng([SEED, 4])
    languages, variants, plan = _LANGUAGES.split(), _VARIANTS.split(), []
    for n in range(count):
        if n % 5 == 4:
            plan.append(_of_flite(n, rng))
        else:
            plan.append(_of_espeak(n, languages[n % len(languages)], variants, rng))
    return plan


def _of_flite(n: int, rng: np.random.Generator) -> Utterance:
    """Return English words in one of Flite's voices, faster or slower."""
    voice, text = _FLITE[n // 5 % len(_FLITE)], _english(rng)
    stretch = f"{rng.uniform(0.8, 1.4):.2f}"
    options = ("-voice", voice, "--setf", f"duration_stretch={stretch}")
    return Utterance("flite", f"flite/{n:05d}_{voice}", options, text, "BSD")


def _of_espeak(n: int, language: str, variants: list[str], rng: np.random.Generator) -> Utterance:
    """Return numbers in a language, or words in English, by a voice, speed and pitch of chance."""
    voice = f"{language}+{rng.choice(variants)}"
    speed, pitch = int(rng.integers(110, 230)), int(rng.integers(10, 91))
    english = language.startswith("en") or rng.random() < 0.1
    text = _english(rng) if english else _numbers(rng)
    options = ("-v", voice, "-s", str(speed), "-p", str(pitch))
    return Utterance("espeak-ng", f"espeak-ng/{n:05d}_{voice}", options, text, "GPL-3+")


def _numbers(rng: np.random.Generator) -> str:
    """Return one to three numbers, as digits: the synthesiser knows their names."""
    highest = int(rng.choice([10, 10, 100, 2000]))
    return ", ".join(str(rng.integers(highest)) for _ in range(rng.integers(1, 4)))


def _english(rng: np.random.Generator) -> str:
    """Return one to four words."""
    return " ".join(str(word) for word in rng.choice(_WORDS.split(), rng.integers(1, 5)))


def say(utterance: Utterance) -> Samples:
    """Speak at 16 kHz; OpenAudioError where the synthesiser is missing or fails."""
    command = [utterance.program, *utterance.options]
    if utterance.program == "flite":
        command += ["-t", utterance.text, "-o", "/dev/stdout"]
    else:
        command += ["--stdout", utterance.text]
    try:
        wav = subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise OpenAudioError(
            f"{utterance.program} isn't on this machine: it speaks; apt-get install espeak-ng flite"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise OpenAudioError(f"{' '.join(command)}: {reason}") from None
    # on a pipe the header's length is not filled in: libsndfile reads what there is
    audio, rate = sf.read(io.BytesIO(wav), dtype="float32", always_2d=True)
    return samples_of(audio, rate)


def spoken(count: int, sink: Sink) -> Iterator[Row | str]:
    """Speak a plan; yields rows, and what is left out."""
    for utterance in utterances(count):
        command = " ".join((utterance.program, *utterance.options))
        source = f"{command}: {utterance.text}"
        row = sink.write(utterance.name, say(utterance), source, utterance.licence)
        yield row if isinstance(row, Row) else f"{source}: {row}"
