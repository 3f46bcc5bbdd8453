"""Find the files of audio that a user names: one by one, by folder, or by pattern."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from svuprobe.extractors.base import ExtractError
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.recordings import SUFFIXES, find_audio

_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class AudioFile:
    """Hold a file of audio.

    Attributes
    ----------
    name
        Its path below the folder, or below the fixed part of the pattern, that named it; with that
        folder's name where several were named.
    """

    path: Path
    name: Path


def audio_files(places: str | Path | Sequence[str | Path]) -> list[AudioFile]:
    """Return the files that are named, in their order.

    Parameters
    ----------
    places
        Files; folders, of which all sound files are taken, also those in folders below; or
        patterns with ``*``, ``?`` and ``**``, such as ``songs/*.wav``.

    Raises
    ------
    ExtractError
        A folder without a sound file, a pattern that matches nothing, or nothing is named.
    """
    several = [places] if isinstance(places, (str, Path)) else list(places)
    found: list[AudioFile] = []
    for place in map(Path, several):
        for path, root in _within(place):
            name = path.relative_to(root)
            # Like names in several folders are told apart by those of the folders.
            if len(several) > 1 and path != place:
                name = root.name / name
            found.append(AudioFile(path, name))
    if not found:
        raise ExtractError("there is no audio: name files, folders or patterns")
    return found


def _within(place: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file of a place, and the folder that its name is relative to."""
    if place.is_dir():
        for path in _inside(place):
            yield path, place
    elif place.exists() or not _PATTERN.search(str(place)):
        # One that is not there is said when it is read, so that it holds up no other.
        yield place, place.parent
    else:
        root = Path(*itertools.takewhile(lambda part: not _PATTERN.search(part), place.parts))
        matched = sorted(map(Path, glob.glob(str(place), recursive=True)))
        if not matched:
            raise ExtractError(f"{place}: no file matches; in quotes a pattern has *, ? and **")
        for path in matched:
            # Of a folder that matches, all that is in it.
            for each in _inside(path) if path.is_dir() else [path]:
                yield each, root


def _inside(folder: Path) -> list[Path]:
    """Return the sound files of a folder and those below."""
    try:
        return find_audio([folder])
    except PretrainError:
        raise ExtractError(
            f"{folder}: no sound file there; known are {', '.join(SUFFIXES)}"
        ) from None
