"""Say where sequences of symbols do not fit clips: their windows, their frames, the alphabet.

Parameters throughout: clips with tuples of symbols as targets, and the seconds or frames of each by
its id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from svuprobe.tasks.kinds.base import named_some
from svuprobe.tasks.types import Clip, Task


def too_long(task: Task, clips: Sequence[Clip], seconds: Mapping[str, float]) -> str:
    """Say which clips would be cut into windows; empty where none would."""
    cut = []
    for clip in clips:
        if len(task.windowing.spans(round(1000 * seconds.get(clip.id, 0.0)), 1000)) > 1:
            cut.append(clip.id)
    if not cut:
        return ""
    longest = max(cut, key=lambda name: seconds[name])
    return (
        f"{len(cut)} of {len(clips)} clips are longer than a window, and symbols have no times to "
        f"cut them by; the longest, {longest!r}, takes window_s = {math.ceil(seconds[longest])}"
    )


def unfit(clips: Sequence[Clip], frames: Mapping[str, int]) -> str:
    """Say that no clip has as many frames as it takes to spell it; empty where one has."""
    if not clips or len(_crowded(clips, frames)) < len(clips):
        return ""
    first = clips[0]
    return (
        f"every clip has more symbols than frames (as {first.id!r}, {len(first.target)} and "
        f"{frames[first.id]}), so none can be spelt; choose a model with more frames a second"
    )


def too_short(split: str, clips: Sequence[Clip], frames: Mapping[str, int]) -> Iterator[str]:
    """Say how many clips of a split have too few frames."""
    crowded = _crowded(clips, frames)
    if crowded:
        yield (
            f"{len(crowded)} of {len(clips)} {split} clips have more symbols than frames (as "
            f"{crowded[0].id!r}): they can't be spelt, and teach nothing"
        )


def _crowded(clips: Sequence[Clip], frames: Mapping[str, int]) -> list[Clip]:
    """Return the clips that have fewer frames than it takes to spell them."""
    from svuprobe.tasks.kinds import ctc

    return [clip for clip in clips if ctc.frames_needed(clip.target) > frames[clip.id]]


def unknown(split: str, clips: Sequence[Clip], alphabet: Sequence[str]) -> Iterator[str]:
    """Say which symbols of a split are not in the alphabet, and how many errors they are."""
    known = set(alphabet)
    found: dict[str, int] = {}
    for clip in clips:
        for symbol in clip.target:
            if symbol not in known:
                found[symbol] = found.get(symbol, 0) + 1
    if found:
        total = sum(found.values())
        errors = "1 error" if total == 1 else f"{total} errors"
        yield (
            f"symbols {named_some(sorted(found))} of {split} clips are in no training clip: "
            f"{errors} whatever a model hears"
        )
