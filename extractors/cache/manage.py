"""Say what caches there are, how much room they take, and what may go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from svuprobe._files import abandoned, busy, leftovers, lock_of, locked, sweep, writing
from svuprobe._show import shown
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import sidecar
from svuprobe.extractors.cache.format import Header, numbered
from svuprobe.extractors.cache.index import joins_shards, shards_on_disk
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.cache.shards import read_shard

# What svuprobe itself writes into a cache; anything else in the folder is left alone.
_OURS = re.compile(
    r"(plan-\d{5,}\.json|shard-\d{5,}\.h5|features\.h5|plan|speed\.json)"
    r"(\.tmp-.+|\.lock|\.sha256)?"
)
_LITTER = re.compile(r"(.+)(\.tmp-.+|\.lock)")
_OF_TASKS = re.compile(r"(.+\.json)(\.tmp-\w+-\d+|\.lock)")  # beside the lists of clips


def cache_folders(directory: Path) -> list[Path]:
    """Return the caches in a folder of features, in the folder of one model, or the one cache that
    a folder is.
    """
    if not directory.is_dir():
        raise ExtractError(
            f"{directory}: no such folder; caches are where svuprobe extract --features put them"
        )
    below = sorted([directory, *directory.glob("*"), *directory.glob("*/*")])
    return [folder for folder in below if folder.is_dir() and _ours(folder)]


def _ours(folder: Path) -> dict[Path, list[Path]]:
    """Return every file of a cache, by the file that it is, or belongs to."""
    files: dict[Path, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _OURS.fullmatch(path.name):
            files.setdefault(folder / match[1], []).append(path)
    return files


def _files_in(folder: Path) -> list[Path]:
    """Return every file of a cache."""
    return list(chain.from_iterable(_ours(folder).values()))


def size_of(folder: Path) -> int:
    """Return the bytes of a cache."""
    return sum(path.stat().st_size for path in _files_in(folder))


@dataclass(frozen=True)
class CacheInfo:
    """Describe one cache: what it was made with and how much of it there is.

    ``hours`` of audio are those of its clips, None where a plan was lost. ``state`` is ``complete``
    or says what is not. ``directory`` is a folder, or an address of a store.
    """

    directory: Path | str
    model: str
    revision: str
    dataset: str
    windowing: str
    level: str
    dtype: str
    clips: int
    missing: int
    hours: float | None
    size: int
    state: str

    __repr__ = shown


def cache_info(folder: Path) -> CacheInfo:
    """Say what there is of one cache; nothing is hashed."""
    # Any plan or shard that can be read says what the cache was made with.
    header: Header | None = None
    planned: set[str] = set()
    done: set[str] = set()
    seconds: dict[str, float] = {}
    damaged = 0
    for path in numbered(folder, "plan-*.json").values():
        try:
            header, shards, lasting = read_plan(path)
            planned.update(*shards.values())
            seconds |= lasting
        except ExtractError:
            damaged += 1
    for path in numbered(folder, "shard-*.h5").values():
        try:
            made_with, clips = read_shard(path)
            header = header or made_with
            done |= clips.keys()
        except ExtractError:
            damaged += 1
    missing = len(planned - done)
    return CacheInfo(
        folder,
        # Where nothing can be read, the folder's names are all that is known.
        *(
            (header.model, header.revision, header.dataset)
            if header
            else (folder.parent.name, "", "")
        ),
        *((header.windowing, header.level, header.dtype) if header else (folder.name, "", "")),
        clips=len(done),
        missing=missing,
        hours=sum(seconds[i] for i in done) / 3600 if done <= seconds.keys() else None,
        size=size_of(folder),
        state=_state(missing, damaged, _is_joined(folder)),
    )


def _is_joined(folder: Path) -> bool:
    return joins_shards(folder / "features.h5", shards_on_disk(folder))


def _state(missing: int, damaged: int, is_joined: bool) -> str:
    words = []
    if missing:
        words.append(f"{missing} clips missing")
    if damaged:
        words.append(f"{damaged} files damaged")
    return ", ".join(words) or ("complete" if is_joined else "not joined")


def prune(directory: Path, *, dry_run: bool = False) -> dict[Path, int]:
    """Delete what dead processes left: temporary files, locks, and checksums without their file.

    Returns what was deleted, or would be, with its bytes.
    """
    gone: dict[Path, int] = {}
    for folder in cache_folders(directory):
        gone |= prune_cache(folder, dry_run)
        if not dry_run and folder != directory and not any(folder.iterdir()):
            with writing(folder):
                folder.rmdir()
    return gone | _prune_lists(directory / "tasks", dry_run)


def prune_cache(folder: Path, dry_run: bool) -> dict[Path, int]:
    """Do as `prune`, of one cache."""
    gone: dict[Path, int] = {}
    for path, files in _ours(folder).items():
        # Plans are written under one lock, all else under its own.
        guard = folder / "plan" if path.name.startswith("plan-") else path
        stale = {} if busy(guard) else _stale(path, files, lock_of(guard))
        if stale and not dry_run:
            with locked(guard, wait=False) as mine, writing(path):
                if mine:  # else a process has begun it in the meantime
                    _unlink(stale)
        gone |= stale
    return gone


def _prune_lists(folder: Path, dry_run: bool) -> dict[Path, int]:
    """Do as `prune`, of the lists of clips.

    Nobody holds a lock while writing one: the process in a temporary name tells.
    """
    gone: dict[Path, int] = {}
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for path in _owners(folder, names, _OF_TASKS):
        stale = {left: left.stat().st_size for left in leftovers(path) if abandoned(left)}
        if lock_of(path).exists() and not busy(path):
            stale[lock_of(path)] = lock_of(path).stat().st_size
        if not dry_run:
            with writing(path):
                _unlink(stale)
        gone |= stale
    return gone


def _owners(folder: Path, names: Iterable[str], pattern: re.Pattern[str]) -> list[Path]:
    """Return the files that temporary files and locks, by their names, were made for."""
    owners: dict[Path, None] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            owners[folder / match[1]] = None
    return list(owners)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Delete what killed processes left of one cache, as far as that can be done; live ones lose
    nothing.
    """
    for path in _owners(folder, (path.name for path in _files_in(folder)), _LITTER):
        sweep(path)


def _stale(path: Path, files: Iterable[Path], lock: Path) -> dict[Path, int]:
    """Return what is left over of a file that no live process is at, with its bytes.

    ``files`` are those that there are of it.
    """
    start = f"{path.name}.tmp-"
    stale = [each for each in (*files, lock) if each.name.startswith(start) or each == lock]
    if sidecar(path) in files and not path.exists():
        stale.append(sidecar(path))
    sizes = {}
    for each in stale:
        with suppress(FileNotFoundError):  # its process may have ended well meanwhile
            sizes[each] = each.stat().st_size
    return sizes


def delete_cache(folder: Path) -> None:
    """Delete a cache, and the folders that held it where nothing else is in them.

    Raises ExtractError where a live process is filling it.
    """
    for path in _ours(folder):
        if busy(path):
            raise ExtractError(
                f"{path}: is being written by another process; end that or wait for it"
            )
    with writing(folder):
        _unlink(_files_in(folder))
        for empty in (folder, folder.parent):
            if not any(empty.iterdir()):
                empty.rmdir()


def empty_folders(directory: Path, model: str) -> list[Path]:
    """Return a model's folders without a file, as a killed `delete_cache` leaves them; inner ones
    first.
    """
    empty: list[Path] = []
    for top in directory.glob(f"{model}@*"):
        below = sorted(top.rglob("*"), reverse=True)
        if not any(path.is_file() for path in below):
            empty += filter(Path.is_dir, (*below, top))
    return empty
