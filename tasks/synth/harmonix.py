"""Synthetic Harmonix Set: songs of short sections, in the layout of its repository.

Each function has instruments of its own: that a section is a chorus can be heard in the chorus.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.structure import METADATA, SEGMENTS, SONGS, function_of
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.instruments import drum, note

SAMPLE_RATE = 16000
_SECTION_S = (1.0, 1.6)
_BEAT_S = 0.25


@dataclass(frozen=True)
class _Sound:
    """Say what plays in a section: a chord's family, a bass, a drum on each beat, how loud."""

    family: str
    midi: int
    bass: bool
    drum: str
    level: float


_SOUNDS = {
    "intro": _Sound("keyboard", 72, bass=False, drum="", level=0.3),
    "verse": _Sound("guitar", 57, bass=True, drum="hat", level=0.4),
    "chorus": _Sound("organ", 64, bass=True, drum="snare", level=0.9),
    "bridge": _Sound("string", 60, bass=False, drum="kick", level=0.5),
    "inst": _Sound("brass", 76, bass=True, drum="kick", level=0.7),
    "outro": _Sound("flute", 79, bass=False, drum="", level=0.25),
    "silence": _Sound("", 0, bass=False, drum="", level=0.0),
}
# Labels as annotators wrote them; the task makes seven classes of them.
_FORMS = (
    ("silence", "intro", "verse", "prechorus", "chorus", "bridge", "solo", "chorus2", "outro"),
    ("intro", "verse1", "chorus", "verse2", "chorus", "inst", "bridge", "altchorus", "outro"),
    ("fadein", "verse", "chorus", "instrumental", "verse", "transition", "chorus", "outro"),
    ("intro", "verse", "chorus", "gtr", "bridge", "chorus", "outro2", "silence"),
)

Section = tuple[float, str]  # where it begins, s, and its label


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` songs (default 24) as ``root/audio/<File>.flac`` with their sections.

    16 kHz mono of eight or nine sections of 1 to 1.6 s; two songs an artist. Parameters and errors
    are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("harmonix", seed, clips, default=24, high=SONGS)
    songs = list(range(header["clips"]))

    def make(song: int) -> Recording:
        rng = rng_of(seed, _name(song))
        sections = _sections(song, rng)
        path = f"audio/{_name(song)}.flac"
        seconds = sections[-1][0]
        return Recording(path, seconds, SAMPLE_RATE, lambda: _played(sections, rng))

    def texts() -> dict[str, str]:
        rows = ["File,Title,Artist,Release,Duration,BPM,Ratio Bars in 4,Time Signature,Genre"]
        files = {}
        for song in songs:
            sections = _sections(song, rng_of(seed, _name(song)))
            lines = [f"{start} {label}" for start, label in sections]
            files[f"{SEGMENTS}/{_name(song)}.txt"] = "\n".join(lines)
            rows.append(
                f"{_name(song)},Song {song + 1},Artist {song // 2 + 1},none,"
                f"{sections[-1][0]},240,100.0,4|4,none"
            )
        return files | {METADATA: "\n".join(rows)}

    write_corpus(root, header, songs, make, reporter=reporter, jobs=jobs, texts=texts)


def _name(song: int) -> str:
    return f"{song + 1:04d}_song"


def _sections(song: int, rng: np.random.Generator) -> list[Section]:
    """Return the sections of a song; the last is ``end``."""
    begins: list[Section] = []
    now = 0.0
    for label in _FORMS[song % len(_FORMS)]:
        begins.append((now, label))
        now = round(now + rng.uniform(*_SECTION_S), 3)
    return [*begins, (now, "end")]


def _played(sections: list[Section], rng: np.random.Generator) -> Audio:
    """Play a song, (n,) float32 within ±1."""
    out = 1e-4 * rng.normal(size=round(sections[-1][0] * SAMPLE_RATE))
    key = int(rng.integers(-3, 4))
    for (start, label), (end, _) in zip(sections, sections[1:], strict=False):
        sound = _SOUNDS[function_of(label)]
        if not sound.level:
            continue
        parts = [(start, note(sound.family, sound.midi + key + step, end - start, rng, SAMPLE_RATE))
                 for step in (0, 4, 7)]  # fmt: skip
        if sound.bass:
            parts.append((start, note("bass", 36 + key, end - start, rng, SAMPLE_RATE)))
        if sound.drum:
            for beat in np.arange(start, end, _BEAT_S):
                parts.append((float(beat), drum(sound.drum, rng, SAMPLE_RATE)))
        for at, played in parts:
            begin = round(at * SAMPLE_RATE)
            stop = min(begin + len(played), round(end * SAMPLE_RATE), len(out))
            out[begin:stop] += 0.2 * sound.level * played[: stop - begin]
    return (0.8 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)
