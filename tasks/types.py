"""Define the nouns of a task: a clip, how clips are cut into windows, and what is asked of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from svuprobe._errors import UserError
from svuprobe._show import shown

SPLITS = ("train", "valid", "test")
_LONGEST_S = 60.0  # of a clip taken whole: attention over hours of audio fits no memory


class TaskError(UserError):
    """Report a mistake in a task's name, its dataset or its files, in one line for the user."""


@dataclass(frozen=True)
class Clip:
    """Name one labelled stretch of audio.

    ``target`` depends on the kind of the task, whose file in `svuprobe.tasks.kinds` says what it
    is. ``group`` is the unit that may not cross splits and that intervals take as one: singer,
    artist, album, song. ``end`` is None for the end of the file; times are in seconds. ``fold``
    names the fold of a clip where a task is scored by cross-validation (`svuprobe.tasks.folds`),
    and is empty elsewhere; ``split`` is ``test`` then, since every clip is tested once.
    """

    id: str
    path: str
    split: str
    target: Any
    group: str
    start: float = 0.0
    end: float | None = None
    fold: str = ""


@dataclass(frozen=True)
class Windowing:
    """Say how a clip becomes the windows an extractor sees.

    ``window_s=None`` takes a clip whole, or in equal parts where it lasts more than a minute.
    Otherwise windows do not overlap; the rest at the end is kept, at its own length, if it lasts at
    least ``tail_s``; the first window is always kept, so no clip vanishes. ``trim`` cuts silence at
    both ends first; windows whose RMS is under ``min_rms`` (full scale is 1) are dropped.
    """

    window_s: float | None = None
    tail_s: float = 0.0
    trim: bool = False
    min_rms: float = 0.0

    @property
    def key(self) -> str:
        """Return this windowing's part of a cache's folder name, e.g. ``3s-tail1s-trim``."""
        parts = ["whole" if self.window_s is None else f"{self.window_s:g}s"]
        if self.tail_s:
            parts.append(f"tail{self.tail_s:g}s")
        if self.trim:
            parts.append("trim")
        if self.min_rms:
            parts.append(f"rms{self.min_rms:g}")
        return "-".join(parts)

    def with_window(self, window_s: float) -> Windowing:
        """Return the same with windows of another length; no rest has to be longer than they."""
        return replace(self, window_s=window_s, tail_s=min(self.tail_s, window_s))

    def longest_s(self, clip_s: float) -> float:
        """Return how long the longest window of clips of up to ``clip_s`` seconds is."""
        if self.window_s is not None:
            return min(self.window_s, clip_s)
        return clip_s / max(1, math.ceil(clip_s / _LONGEST_S))

    def spans(self, n_samples: int, sample_rate: int) -> list[tuple[int, int]]:
        """Return start and stop sample of every window of a clip of ``n_samples`` at
        ``sample_rate`` Hz.

        Integer samples decide, so a 30.013 s file cut into 30 s windows with ``tail_s=1`` gives one
        window.
        """
        if self.window_s is None:
            # In equal parts, so that no short rest is left at the end.
            parts = max(1, -(-n_samples // round(_LONGEST_S * sample_rate)))
            ends = [n_samples * part // parts for part in range(parts + 1)]
            return list(zip(ends[:-1], ends[1:], strict=True))
        size, tail = round(self.window_s * sample_rate), round(self.tail_s * sample_rate)
        starts = range(0, max(n_samples, 1), size)
        return [
            (a, min(a + size, n_samples))
            for a in starts
            if a == 0 or min(size, n_samples - a) >= max(min(tail, size), 1)
        ]


@dataclass(frozen=True)
class Task:
    """Say what is asked of a dataset: plain data and one function that finds its clips.

    ``clips(root)`` takes the folder of the dataset and returns every clip with its split and
    target. ``labels`` are sorted; None means they are found in the data (the sorted labels of its
    clips). ``metrics`` names them with the ranked one first. ``scored`` says whether clip-level
    scores count each window or each clip (the mean of its windows' logits). ``version`` rises when
    any score could change.
    """

    name: str
    dataset: str
    kind: str  # of svuprobe.tasks.kinds, whose `of` gives the object
    metrics: tuple[str, ...]
    clips: Callable[[Path], list[Clip]]
    windowing: Windowing
    licence: str
    reference: str
    version: int = 1
    labels: tuple[str, ...] | None = None
    scored: str = "clip"  # or "window"
    class_weight_alpha: float = 0.0  # cross-entropy weights 1 / n^alpha, normalised to mean 1
    disjoint_groups: bool = True
    beat_decoder: str = "dbn"  # or "peaks", plain peak picking
    source: str = ""  # the TOML file of a task on the user's own data
    # Official clips per split, where they are known.
    expected: Mapping[str, int] = field(default_factory=dict)
    hours: float = 0.0  # of audio in the whole dataset, about; 0 where unknown

    __repr__ = shown


def natural_key(text: str) -> list[Any]:
    """Return a sort key under which ``male2`` comes before ``male10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]
