"""Render notes and short pieces of music by FluidSynth from General MIDI soundfonts of Debian.

Everything follows from a seed: a plan of slots, one MIDI file for each block of slots, and the
audio between a slot's start and end. Programs of FluidR3 that a test hears are never played.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from svuprobe.pretrain.open_audio import midi
from svuprobe.pretrain.open_audio.packages import OpenAudioError
from svuprobe.pretrain.open_audio.recordings import Row, Samples, Sink, samples_of

SEED = 20261128
RENDERED_HZ = 32000
# The instruments whose notes validate and test the task `families` (`benchmarks.real_audio`), by
# their programs in FluidR3, counted from 0.
TESTED = frozenset(
    (1, 4, 12, 13, 16, 17, 19, 25, 26, 33, 34, 41, 42, 53, 54, 57, 58, 66, 68, 72, 75, 81, 82, 84)
)
# Programs that play a recording of a tested one, as FluidR3's tables say, and the leads beside
# 81, 82 and 84, which no ear tells apart from them.
LIKE_TESTED = frozenset((0, 3, 7, 24, 80, 83, 87, 99, 101, 102))
# Velocities at which the tests' notes were played.
TESTED_VELOCITIES = (50, 100)
_EFFECTS = 120  # programs from here on are noises: sea, birds, helicopter
_RELEASE_S = 0.8
_FADE_S = 0.05  # of what still sounds at a slot's end
_KITS = (0, 8, 16, 24, 25, 32, 40)  # standard, room, power, electronic, TR-808, jazz, brush


@dataclass(frozen=True)
class Font:
    """Describe a soundfont: its package's name, its file in that package, what is not played."""

    package: str
    file: str
    licence: str
    left_out: frozenset[int]

    @property
    def programs(self) -> list[int]:
        """Return the programs that may be played."""
        return [program for program in range(_EFFECTS) if program not in self.left_out]


FONTS = (
    Font("fluid-soundfont-gm", "FluidR3_GM.sf2", "MIT", TESTED | LIKE_TESTED),
    Font("timgm6mb-soundfont", "TimGM6mb.sf2", "GPL-2", frozenset()),
)


@dataclass(frozen=True)
class Slot:
    """Describe a stretch of a rendering that becomes one file.

    Attributes
    ----------
    name
        Of the file.
    seconds
        How long it is; the notes end before.
    programs
        Channel -> program.
    notes
        Times count from the slot's start.
    peak_db
        Of the file, relative to full scale.
    says
        What it is, in words.
    """

    name: str
    seconds: float
    programs: dict[int, int]
    notes: list[midi.Note]
    peak_db: float
    says: str


def single_notes(font: Font, count: int) -> list[Slot]:
    """Return a plan of ``count`` notes: each program in turn; pitch, velocity, length at random."""
    rng = np.random.default_rng([SEED, 1, *font.package.encode()])
    slots = []
    for n in range(count):
        program = font.programs[n % len(font.programs)]
        pitch, velocity = int(rng.integers(30, 97)), int(rng.integers(25, 128))
        if velocity in TESTED_VELOCITIES:
            velocity += 1
        held = float(rng.uniform(0.4, 3.0))
        slots.append(
            Slot(
                f"note_{n:05d}_program_{program:03d}_pitch_{pitch}_velocity_{velocity}",
                held + _RELEASE_S,
                {0: program},
                [midi.Note(0.0, held, 0, pitch, velocity)],
                float(rng.uniform(-20.0, -1.0)),
                f"program {program}, pitch {pitch}, velocity {velocity}, {held:.2f} s",
            )
        )
    return slots


def phrases(font: Font, count: int) -> list[Slot]:
    """Return a plan of ``count`` phrases of 6 to 12 s: melodies, chords, drums or all of them."""
    rng = np.random.default_rng([SEED, 2, *font.package.encode()])
    slots = []
    for n in range(count):
        seconds = float(rng.uniform(5.0, 11.0))
        what = ("melody", "melody", "chords", "band", "drums", "duet")[n % 6]
        programs, notes = {}, []
        if what in ("melody", "band", "duet"):
            notes += midi.melody(rng, seconds, 0)
            programs[0] = int(rng.choice(font.programs))
        if what in ("chords", "band"):
            notes += midi.chords(rng, seconds, 1)
            programs[1] = int(rng.choice(font.programs))
        if what == "duet":
            notes += midi.melody(rng, seconds, 2)
            programs[2] = int(rng.choice(font.programs))
        if what in ("drums", "band"):
            notes += midi.drums(rng, seconds)
            programs[midi.DRUMS] = int(rng.choice(_KITS))
        played = [p for channel, p in programs.items() if channel != midi.DRUMS]
        says = what + (f", programs {' '.join(map(str, played))}" if played else "")
        name = f"phrase_{n:05d}_{what}"
        peak_db = float(rng.uniform(-12.0, -1.0))
        slots.append(Slot(name, seconds + _RELEASE_S, programs, notes, peak_db, says))
    return slots


def block_events(slots: list[Slot]) -> list[midi.Event]:
    """Return the MIDI events of slots one after the other; each starts and ends in silence."""
    events, start = [], 0.0
    for slot in slots:
        for channel, program in slot.programs.items():
            events.append(midi.Event(start, bytes([0xC0 | channel, program])))
        for event in midi.note_events(slot.notes):
            events.append(midi.Event(start + 0.01 + event.time_s, event.message))
        start += slot.seconds
        for channel in slot.programs:  # all sound off
            events.append(midi.Event(start - 0.01, bytes([0xB0 | channel, 120, 0])))
    # what comes last keeps the rendering going until the last slot's end
    events.append(midi.Event(start + 0.2, bytes([0xB0, 7, 100])))
    return events


def render(font: Path, slots: list[Slot], *, wet: bool) -> Iterator[tuple[Slot, Samples]]:
    """Yield each slot with its samples at 16 kHz; ``wet`` adds reverberation and chorus.

    Raises OpenAudioError where FluidSynth is missing or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        score, audio = Path(folder) / "block.mid", Path(folder) / "block.wav"
        score.write_bytes(midi.midi_file(block_events(slots)))
        effects = "1" if wet else "0"
        command = ["fluidsynth", "-n", "-i", "-q", "-r", str(RENDERED_HZ), "-R", effects]
        command += ["-C", effects, "-O", "float", "-T", "wav", "-F", str(audio)]
        # else the machine's own soundfont plays where this one can't be read
        command += ["-o", "synth.default-soundfont="]
        try:
            said = subprocess.run([*command, str(font), str(score)], capture_output=True).stderr
        except FileNotFoundError:
            raise OpenAudioError(
                "fluidsynth isn't on this machine: it renders the notes; apt-get install "
                "fluidsynth (conda and Homebrew have it too)"
            ) from None
        rendered = np.zeros((0, 2), np.float32)
        if audio.exists():
            rendered, _ = sf.read(audio, dtype="float32", always_2d=True)
        if not rendered.any():  # a font that it can't read is no failure to it
            reason = " ".join(said.decode(errors="replace").split())
            raise OpenAudioError(f"fluidsynth can't render {font.name} ({reason})")
    start = 0.0
    for slot in slots:
        first, last = round(start * RENDERED_HZ), round((start + slot.seconds) * RENDERED_HZ)
        piece = rendered[first:last].copy()
        fade = min(round(_FADE_S * RENDERED_HZ), len(piece))
        piece[len(piece) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
        loudest = float(np.abs(piece.mean(axis=1)).max(initial=0.0))
        scale = 10 ** (slot.peak_db / 20) / loudest if loudest > 1e-4 else 0.0
        yield slot, samples_of(piece * np.float32(scale), RENDERED_HZ)
        start += slot.seconds


def write(
    font: Font, version: str, path: Path, slots: list[Slot], sink: Sink
) -> Iterator[Row | str]:
    """Render a plan in blocks, every other one with effects; yields rows, and what is left out."""
    size = 40 if len(slots[0].notes) == 1 else 12
    for number, first in enumerate(range(0, len(slots), size)):
        for slot, samples in render(path, slots[first : first + size], wet=number % 2 == 1):
            source = f"fluidsynth, {font.package} {version}: {slot.says}"
            row = sink.write(f"{font.package}/{slot.name}", samples, source, font.licence)
            yield row if isinstance(row, Row) else f"{source}: {row}"
