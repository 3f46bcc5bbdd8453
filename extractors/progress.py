"""Tell how extraction goes: a bar, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from svuprobe._progress import Bar

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
