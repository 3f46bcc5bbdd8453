"""Tell what an extraction has to do and how it goes: clips, hours and room on the disk before it
begins, then a bar, and how long the rest will take.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from svuprobe._progress import Bar
from svuprobe._sizes import gib
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.context import Context
from svuprobe.extractors.jobs import Job, caches_of
from svuprobe.tasks.types import Windowing

_DISK_MARGIN = 1.02  # HDF5's own metadata, and plans
_ESTIMATE_AFTER_S = 10.0


class Estimate:
    """Move the bar, and say once how long the rest will take."""

    def __init__(self, bar: Bar, total: float, say: Callable[[str], object]) -> None:
        self._bar, self._total, self._say = bar, total, say
        self._said = False
        self._done, self._started = 0.0, time.perf_counter()

    def update(self, seconds: float) -> None:
        """Move on by some seconds of audio."""
        self._done += seconds
        self._bar.update(seconds)
        wall = time.perf_counter() - self._started
        if not self._said and wall > _ESTIMATE_AFTER_S and self._done:
            left = (self._total - self._done) * wall / self._done
            if left > _ESTIMATE_AFTER_S:
                self._say(
                    f"{self._done / wall:.1f} times real time so far; about {_duration(left)} to go"
                )
            self._said = True


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"


def announcement(jobs: Sequence[Job], seconds_of: Mapping[str, float], windowing: Windowing) -> str:
    """Return one line that says what is to be done, and how much room that takes."""
    caches = caches_of(jobs)
    clips = _clips_of(jobs)
    hours = sum(seconds_of[clip_id] for clip_id in clips) / 3600
    size = sum(job.size(seconds_of, windowing) for job in jobs)
    names = dict.fromkeys(cache.extractor.name for cache in caches)
    return (
        f"to do: {len(clips)} clips, {hours:.2f} h of audio, {caches[0].header.level} level, "
        f"through {', '.join(names)}: {gib(size)} of features ({gib(_free(caches[0].directory))} "
        "free)"
    )


def remarks(
    jobs: Sequence[Job], seconds_of: Mapping[str, float], windowing: Windowing
) -> list[str]:
    """Return a line for each model that is not used to such windows."""
    longest = max((seconds_of[clip_id] for clip_id in _clips_of(jobs)), default=0.0)
    window_s = windowing.longest_s(longest)
    lines = []
    for cache in caches_of(jobs):
        header = cache.header
        remark = Context(header.trained_s, header.at_once_s).remark(header.model, window_s)
        if remark:
            lines.append(remark)
    return lines


def refuse_full_disk(
    features: Path, jobs: Sequence[Job], seconds_of: Mapping[str, float], windowing: Windowing
) -> None:
    """Raise ExtractError where the features won't fit on their disk.

    The longest clip is named: a file whose header is wrong may be what makes it so much.
    """
    size, free = sum(job.size(seconds_of, windowing) for job in jobs), _free(features)
    if size * _DISK_MARGIN > free:
        # Lengths come from headers of files, and a broken one may promise days.
        longest = max(_clips_of(jobs), key=lambda clip_id: seconds_of[clip_id])
        raise ExtractError(
            f"{features}: the features need {gib(size)} and {gib(free)} are free; "
            f"free some space, or choose another disk with --features "
            f"(the longest clip is {longest!r} of {seconds_of[longest] / 3600:.2f} h)"
        )


def _free(folder: Path) -> int:
    """Return the free bytes where a folder is, or will be."""
    # The disk is known by a folder that is there: the nearest above.
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _clips_of(jobs: Iterable[Job]) -> list[str]:
    """Return the clips of some jobs, each once.

    One may be in several, where models lack other clips besides.
    """
    return list(dict.fromkeys(chain.from_iterable(job.clips for job in jobs)))
