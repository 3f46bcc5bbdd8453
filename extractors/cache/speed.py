"""Keep how fast a cache was filled, beside it: ``speed.json``.

It says of each machine how much audio went through the model there and how long that took: the
forward passes alone, without decoding and writing, and of what was computed, not of clips that were
cached already. No feature depends on it, so nothing else of a cache does: it has no checksum, and a
file that can't be read counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from svuprobe._files import locked, write_text, writing

NAME = "speed.json"


@dataclass(frozen=True)
class Speed:
    """Hold what a model took for some audio, on one machine.

    Attributes
    ----------
    device
        The name of the processor or GPU.
    threads
        Of a CPU, that products of matrices were computed by; 0 of a GPU.
    dtype
        The number format of the weights.
    compiled
        Whether the model was compiled.
    audio_s
        Seconds of audio in the windows; where these overlap, seconds count in each.
    wall_s, cpu_s
        Seconds that passed, and that all cores of the process worked meanwhile.
    """

    device: str
    threads: int
    dtype: str
    compiled: bool
    audio_s: float
    wall_s: float
    cpu_s: float

    @property
    def machine(self) -> tuple[str, int, str, bool]:
        """Return what seconds may be added up of."""
        return self.device, self.threads, self.dtype, self.compiled

    def __add__(self, other: Speed) -> Speed:
        return replace(
            self,
            audio_s=self.audio_s + other.audio_s,
            wall_s=self.wall_s + other.wall_s,
            cpu_s=self.cpu_s + other.cpu_s,
        )


def read(directory: Path) -> list[Speed]:
    """Return how fast a cache was filled, the machine that did most of it first."""
    try:
        rows = json.loads((directory / NAME).read_text(encoding="utf-8"))
        known = [Speed(**row) for row in rows]
        return sorted(known, key=lambda speed: -speed.audio_s)
    except (OSError, ValueError, TypeError):
        return []


def add(directory: Path, speed: Speed) -> None:
    """Add what one extraction took to what is known of a cache; several processes may do so at
    once.
    """
    path = directory / NAME
    with writing(path), locked(path, wait=True):
        write_text(path, _text(together([*read(directory), speed])))


def together(speeds: Sequence[Speed]) -> list[Speed]:
    """Add up what was done on one machine, the one that did most first."""
    sums: dict[tuple[str, int, str, bool], Speed] = {}
    for speed in speeds:
        known = sums.get(speed.machine)
        sums[speed.machine] = speed if known is None else known + speed
    return sorted(sums.values(), key=lambda speed: -speed.audio_s)


def _text(speeds: Sequence[Speed]) -> str:
    return json.dumps([asdict(speed) for speed in speeds], indent=1) + "\n"
