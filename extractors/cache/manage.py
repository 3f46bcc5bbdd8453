"""What caches there are, whether every byte of them is as it was written, and what may go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from svuprobe._files import abandoned, busy, leftovers, lock_of, locked, sha256_of, sweep, writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import reading, recorded, remove, sidecar
from svuprobe.extractors.cache.features import join, misplaced
from svuprobe.extractors.cache.index import from_shards, joins, read as read_index, shards_there
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.cache.shards import Header, content_of, numbered, plain, read_shard

_OURS = re.compile(r"(plan-\d{5,}\.json|shard-\d{5,}\.h5|features\.h5|plan)(\.tmp-.+|\.lock|\.sha256)?")
_LITTER = re.compile(r"(.+)(\.tmp-.+|\.lock)")
_OF_TASKS = re.compile(r"(.+\.json)(\.tmp-\w+-\d+|\.lock)")  # beside the lists of clips
Each = Callable[[int], object]


def folders(directory: Path) -> list[Path]:
    """Caches in a folder of features, in the folder of one model, or the one cache that a folder is."""
    if not directory.is_dir():
        raise ExtractError(f"{directory}: no such folder; caches are where svuprobe extract --features put them")
    below = sorted([directory, *directory.glob("*"), *directory.glob("*/*")])
    return [folder for folder in below if folder.is_dir() and _ours(folder)]


def _ours(folder: Path) -> dict[Path, list[Path]]:
    """Every file of a cache, by the file that it is, or belongs to."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _OURS.fullmatch(path.name):
            found.setdefault(folder / match[1], []).append(path)
    return found


def size_of(folder: Path) -> int:
    """Bytes of a cache."""
    return sum(path.stat().st_size for paths in _ours(folder).values() for path in paths)


# -- list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """One cache: what it was made with and how much of it there is.

    ``hours`` of audio are those of its clips, None where a plan was lost. ``state`` is ``complete`` or says what
    is not.
    """

    directory: Path
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


def look(folder: Path) -> Kept:
    """What there is of one cache; nothing is hashed."""
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
    return Kept(
        folder,
        *((header.model, header.revision, header.dataset) if header else (folder.parent.name, "", "")),
        *((header.windowing, header.level, header.dtype) if header else (folder.name, "", "")),
        clips=len(done),
        missing=missing,
        hours=sum(seconds[i] for i in done) / 3600 if done <= seconds.keys() else None,
        size=size_of(folder),
        state=_state(missing, damaged, _is_joined(folder)),
    )


def _is_joined(folder: Path) -> bool:
    return joins(folder / "features.h5", shards_there(folder))


def _state(missing: int, damaged: int, is_joined: bool) -> str:
    words = [f"{missing} clips missing"] * bool(missing) + [f"{damaged} files damaged"] * bool(damaged)
    return ", ".join(words) or ("complete" if is_joined else "not joined")


# -- verify -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was, or not what belongs there, and why."""

    path: Path
    reason: str


def verify(
    directory: Path,
    *,
    delete: bool = False,
    reporter: Reporter = SILENT,
    tell: Callable[[Damage], object] = lambda damage: None,
) -> list[Damage]:
    """Read every byte of every cache; what is wrong, in the order of the files.

    Parameters
    ----------
    delete
        Delete what is damaged and join what is left, so that ``svuprobe extract`` makes it again and nothing else.
    reporter
        Shows a bar of the bytes.
    tell
        Called with each damage before anything is deleted, so that it is known where the system then refuses.

    Raises
    ------
    ExtractError
        No cache is there, or a file can't be deleted.
    """
    found = folders(directory)
    if not found:
        raise ExtractError(f"{directory}: no cache there; svuprobe extract makes one")
    with reporter.bar(sum(map(size_of, found)), "verify", "B", scaled=True) as bar:
        return [damage for folder in found for damage in _verify_one(folder, bar.update, delete, tell)]


def _verify_one(folder: Path, each: Each, delete: bool, tell: Callable[[Damage], object]) -> list[Damage]:
    damages = list(_examine(folder, each))
    damages += _examine_joined(folder, each, {damage.path.name for damage in damages})
    for damage in damages:
        tell(damage)
    if delete:  # also what another that was killed at it has left to do
        for path in {damage.path for damage in damages} - {folder}:
            remove(path)
        _prune_one(folder, dry_run=False)
        join(folder)
    return damages


def _examine(folder: Path, each: Each) -> Iterator[Damage]:
    """What is wrong with plans and shards. The first good one says what the others must have been made with."""
    truth: Header | None = None
    owner: dict[str, Path] = {}
    planned: dict[str, list[str]] = {}
    for path in (*numbered(folder, "plan-*.json").values(), *numbered(folder, "shard-*.h5").values()):
        clips: dict[str, str] = {}
        reason = _checksum(path, each)
        if not reason:
            try:
                if path.suffix == ".h5":
                    header, clips = read_shard(path)
                    reason = _content(path) or _unplanned(clips, planned.get(path.name))
                else:
                    header, shards, _ = read_plan(path)
                    planned |= shards
                truth = truth or header
                reason = reason or _difference(truth, header) or _twice(clips, owner)
            except ExtractError as error:
                reason = str(error)
        if reason:
            yield Damage(path, reason)
        else:
            owner |= dict.fromkeys(clips, path)
    if truth is not None and (reason := misplaced(folder, truth)):
        yield Damage(folder, reason)


def _checksum(path: Path, each: Each) -> str:
    """Why a file is not what was written; empty where it is."""
    promised = recorded(path)
    try:
        found = sha256_of(path, each)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if not promised:
        return "has no checksum beside it"
    return "" if found == promised else "is not what was written: its checksum differs"


def _content(path: Path) -> str:
    """Why a shard's rows and features are not those that its digest is of; empty where they are.

    The checksum of the file says the same, unless somebody made that again too.
    """
    with reading(path), h5py.File(path) as file:
        same = content_of(file) == plain(file.attrs["sha256"])
    return "" if same else "its rows or features were changed: they are not what its digest is of"


def _unplanned(clips: dict[str, str], planned: list[str] | None) -> str:
    """Why a shard is not the one of its name; empty where it is, or where its plan was lost."""
    others = sorted(clips.keys() - set(planned)) if planned is not None else []
    return f"holds clip {others[0]!r}, which the plan does not give it" if others else ""


def _difference(truth: Header, header: Header) -> str:
    for name, mine in truth.attributes().items():
        theirs = header.attributes()[name]
        if mine != theirs:
            return f"was made with {name} = {theirs!r}, the cache with {mine!r}"
    return ""


def _twice(clips: dict[str, str], owner: dict[str, Path]) -> str:
    both = sorted(clips.keys() & owner.keys())
    return f"holds clip {both[0]!r}, as {owner[both[0]].name} does" if both else ""


def _examine_joined(folder: Path, each: Each, known: set[str]) -> Iterator[Damage]:
    """What is wrong with ``features.h5``, beside damaged shards. Those that it does not join yet are no damage."""
    path = folder / "features.h5"
    if not path.exists():
        return
    # It is the one file that is ever replaced: perhaps just now, so a second look decides.
    reason = _checksum(path, each) and _checksum(path, each)
    if reason:
        yield Damage(path, reason)
        return
    try:
        index = read_index(path)
    except ExtractError as error:
        yield Damage(path, str(error))
        return
    if index is None:
        yield Damage(path, "was joined by a version whose index could be damaged; it is made again from the shards")
        return
    joined = {name: (source.size, source.sha256) for name, source in index.sources.items()}
    there = shards_there(folder)
    for name in sorted(joined.keys() - there.keys()):
        yield Damage(folder / name, "is missing, though features.h5 joins it")
    others = sorted(name for name in joined.keys() & there.keys() - known if joined[name] != there[name])
    if others:
        yield Damage(path, f"joins another {others[0]} than the one there")
    elif joined.keys() == there.keys() and not known and index.digest != from_shards(folder).digest:
        yield Damage(path, "its index is not that of the shards")


# -- prune --------------------------------------------------------------------------------------------------


def prune(directory: Path, *, dry_run: bool = False) -> dict[Path, int]:
    """Delete what dead processes left: temporary files, locks, and checksums without their file.

    Returns what was deleted, or would be, with its bytes.
    """
    gone: dict[Path, int] = {}
    for folder in folders(directory):
        gone |= _prune_one(folder, dry_run)
        if not dry_run and folder != directory and not any(folder.iterdir()):
            with writing(folder):
                folder.rmdir()
    return gone | _prune_lists(directory / "tasks", dry_run)


def _prune_one(folder: Path, dry_run: bool) -> dict[Path, int]:
    """As `prune`, of one cache."""
    gone: dict[Path, int] = {}
    for path in _ours(folder):
        guard = folder / "plan" if path.suffix == ".json" else path
        stale = {} if busy(guard) else _stale(path, lock_of(guard))
        if stale and not dry_run:
            with locked(guard, wait=False) as mine, writing(path):
                for left in stale if mine else ():
                    left.unlink(missing_ok=True)
        gone |= stale
    return gone


def _prune_lists(folder: Path, dry_run: bool) -> dict[Path, int]:
    """As `prune`, of the lists of clips. Nobody holds a lock while writing one: the process in a name tells."""
    gone: dict[Path, int] = {}
    matches = map(_OF_TASKS.fullmatch, sorted(p.name for p in folder.iterdir())) if folder.is_dir() else ()
    for path in dict.fromkeys(folder / match[1] for match in matches if match):
        stale = {left: left.stat().st_size for left in leftovers(path) if abandoned(left)}
        if lock_of(path).exists() and not busy(path):
            stale[lock_of(path)] = lock_of(path).stat().st_size
        with writing(path):
            for left in () if dry_run else stale:
                left.unlink(missing_ok=True)
        gone |= stale
    return gone


def tidy(folder: Path) -> None:
    """Delete what killed processes left of one cache, as far as that can be done; live ones lose nothing."""
    matches = map(_LITTER.fullmatch, (p.name for paths in _ours(folder).values() for p in paths))
    for path in dict.fromkeys(folder / match[1] for match in matches if match):
        sweep(path)


def _stale(path: Path, lock: Path) -> dict[Path, int]:
    """What is left over of a file that no live process is at."""
    found = [p for p in (*leftovers(path), lock) if p.exists()]
    if sidecar(path).exists() and not path.exists():
        found.append(sidecar(path))
    return {p: p.stat().st_size for p in found}


def delete(folder: Path) -> None:
    """Delete a cache, and the folders that held it where nothing else is in them.

    Raises ExtractError where a live process is filling it.
    """
    files = _ours(folder)
    at_work = next((path for path in files if busy(path)), None)
    if at_work is not None:
        raise ExtractError(f"{at_work}: is being written by another process; end that or wait for it")
    with writing(folder):
        for path in (path for paths in files.values() for path in paths):
            path.unlink(missing_ok=True)
        for empty in (folder, folder.parent):
            if not any(empty.iterdir()):
                empty.rmdir()


def emptied(directory: Path, model: str) -> list[Path]:
    """Folders of a model with no file in them, as a killed `delete` leaves them; inner ones first."""
    tops = [top for top in directory.glob(f"{model}@*") if not any(p.is_file() for p in top.rglob("*"))]
    return [path for top in tops for path in (*sorted(top.rglob("*"), reverse=True), top) if path.is_dir()]


def size_text(size: int) -> str:
    """``1.5 GiB``."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"
