"""Find recordings that stand on two sides of a split, whatever they are called.

Files of one size are compared by their beginning, then by the whole: most datasets are told apart
without reading them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from svuprobe._files import sha256_of
from svuprobe.tasks.folds import side_of
from svuprobe.tasks.types import Clip

_BEGINNING = 1 << 16  # bytes
_NAMED = 3


def copies(paths: Iterable[str]) -> list[list[str]]:
    """Return files with the same bytes, those that are alike together; what can't be read is
    none.
    """
    groups = [sorted(set(paths))]
    for key in (_size, _beginning, _digest):
        groups = _parted(groups, key)
    return groups


def _parted(
    groups: Sequence[Sequence[str]], key: Callable[[str], Hashable | None]
) -> list[list[str]]:
    """Part each group by a key of its files, and leave out who is then alone."""
    paths = [path for group in groups for path in group]
    with ThreadPoolExecutor(8) as pool:
        key_of = dict(zip(paths, pool.map(key, paths), strict=True))
    parted = []
    for group in groups:
        alike = defaultdict(list)
        for path in group:
            if key_of[path] is not None:
                alike[key_of[path]].append(path)
        parted += [same for same in alike.values() if len(same) > 1]
    return parted


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return None


def _beginning(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_BEGINNING)
    except OSError:
        return None


def _digest(path: str) -> str | None:
    try:
        return sha256_of(Path(path))
    except OSError:
        return None


def leaks(clips: Sequence[Clip], short: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Say which recordings stand in two splits or folds, and what else is there twice.

    Parameters
    ----------
    short
        Writes a path for a reader.

    Returns
    -------
    leaks, doubts : list of str
        A sentence each, without a full stop.
    """
    sides = defaultdict(set)
    of_group = defaultdict(set)
    labels = defaultdict(set)
    for clip in clips:
        side = side_of(clip)
        sides[clip.path].add(side)
        of_group[clip.group].add(side)
        labels[clip.path].add(repr(clip.target))
    found, twice, contradicting = [], [], []
    for same in copies(sides):
        across = sorted(set().union(*(sides[path] for path in same)))
        names = " = ".join(short(path) for path in same[:_NAMED])
        if len(across) > 1:
            found.append(f"the same recording in {' and '.join(across)}: {names}")
        else:
            twice.append(names)
        if len(set().union(*(labels[path] for path in same))) > 1:
            contradicting.append(names)
    doubts = []
    # Elsewhere such groups are refused; disjoint_groups = false allows them.
    crossing = [group for group, own in of_group.items() if len(own) > 1]
    if crossing:
        own = " and ".join(sorted(of_group[crossing[0]]))
        doubts.append(f"{len(crossing)} groups stand on several sides ({crossing[0]!r}: {own})")
    if twice:
        doubts.append(
            f"{len(twice)} recordings are there more than once under other names ({twice[0]})"
        )
    if contradicting:
        doubts.append(
            f"{len(contradicting)} recordings are there more than once with different targets "
            f"({contradicting[0]})"
        )
    return found, doubts
