"""Verify that every byte of a cache is as it was written, and delete what is not.

Checksums lie beside the files and not in HDF5's own ``fletcher32``: ``sha256sum -c`` then checks a
cache without svuprobe, a truncated or swapped file is found too, and nothing is computed where
training reads features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from svuprobe._files import sha256_of
from svuprobe._progress import SILENT, Reporter
from svuprobe._show import shown
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import reading, recorded, remove
from svuprobe.extractors.cache.format import Header, misplaced, numbered, plain
from svuprobe.extractors.cache.index import index_of_shards, join, read_index, shards_on_disk
from svuprobe.extractors.cache.manage import cache_folders, prune_cache, size_of
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.cache.shards import content_of, read_shard

Each = Callable[[int], object]  # told the bytes that were read


@dataclass(frozen=True)
class Damage:
    """Name a file that is not what it was, or not what belongs there, and why.

    ``path`` is an address where it lies in a store.
    """

    path: Path | str
    reason: str

    __repr__ = shown


def verify(
    directory: Path,
    *,
    delete: bool = False,
    reporter: Reporter = SILENT,
    tell: Callable[[Damage], object] = lambda damage: None,
) -> list[Damage]:
    """Read every byte of every cache; return what is wrong, in the order of the files.

    Parameters
    ----------
    delete
        Delete what is damaged and join what is left, so that ``svuprobe extract`` makes it again
        and nothing else.
    reporter
        Shows a bar of the bytes.
    tell
        Called with each damage before anything is deleted, so that it is known where the system
        then refuses.

    Raises
    ------
    ExtractError
        No cache is there, or a file can't be deleted.
    """
    folders = cache_folders(directory)
    if not folders:
        raise ExtractError(f"{directory}: no cache there; svuprobe extract makes one")
    with reporter.bar(sum(map(size_of, folders)), "verify", "B", scaled=True) as bar:
        damages: list[Damage] = []
        for folder in folders:
            damages += _verify_one(folder, bar.update, delete, tell)
        return damages


def _verify_one(
    folder: Path, each: Each, delete: bool, tell: Callable[[Damage], object]
) -> list[Damage]:
    damages = list(_examine(folder, each))
    # An index over a damaged shard is no second damage.
    damages += _examine_joined(folder, each, {Path(damage.path).name for damage in damages})
    for damage in damages:
        tell(damage)
    if delete:  # also what another that was killed at it has left to do
        for path in {Path(damage.path) for damage in damages} - {folder}:
            remove(path)
        prune_cache(folder, dry_run=False)
        join(folder)
    return damages


def _examine(folder: Path, each: Each) -> Iterator[Damage]:
    """Yield what is wrong with plans and shards.

    The first good one says what the others must have been made with.
    """
    truth: Header | None = None
    owner: dict[str, Path] = {}
    planned: dict[str, list[str]] = {}
    for path in (
        *numbered(folder, "plan-*.json").values(),
        *numbered(folder, "shard-*.h5").values(),
    ):
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
        # A damaged shard owns no clip, so that a good copy of one isn't called a second.
        if reason:
            yield Damage(path, reason)
        else:
            owner |= dict.fromkeys(clips, path)
    if truth is not None and (reason := misplaced(folder, truth)):
        yield Damage(folder, reason)


def _checksum(path: Path, each: Each) -> str:
    """Say why a file is not what was written; empty where it is."""
    promised = recorded(path)
    try:
        checksum = sha256_of(path, each)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if not promised:
        return "has no checksum beside it"
    return "" if checksum == promised else "is not what was written: its checksum differs"


def _content(path: Path) -> str:
    """Say why a shard's rows and features are not those its digest is of; empty where they are.

    The checksum of the file says the same, unless somebody made that again too.
    """
    with reading(path), h5py.File(path) as file:
        same = content_of(file) == plain(file.attrs["sha256"])
    return "" if same else "its rows or features were changed: they are not what its digest is of"


def _unplanned(clips: dict[str, str], planned: list[str] | None) -> str:
    """Say why a shard is not the one of its name; empty where it is, or where its plan was lost."""
    others = sorted(clips.keys() - set(planned)) if planned is not None else []
    return f"holds clip {others[0]!r}, which the plan does not give it" if others else ""


def _difference(truth: Header, header: Header) -> str:
    """Say in what a file was made otherwise than the cache."""
    for name, mine in truth.determining().items():
        theirs = header.determining()[name]
        if mine != theirs:
            return f"was made with {name} = {theirs!r}, the cache with {mine!r}"
    return ""


def _twice(clips: dict[str, str], owner: dict[str, Path]) -> str:
    """Say which clip another shard holds, too."""
    both = sorted(clips.keys() & owner.keys())
    return f"holds clip {both[0]!r}, as {owner[both[0]].name} does" if both else ""


def _examine_joined(folder: Path, each: Each, known: set[str]) -> Iterator[Damage]:
    """Yield what is wrong with ``features.h5``; shards that it does not join yet are no damage."""
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
        yield Damage(
            path,
            "was joined by a version whose index could be damaged; it is made again from the "
            "shards",
        )
        return
    joined = {name: (shard.size, shard.sha256) for name, shard in index.shards.items()}
    on_disk = shards_on_disk(folder)
    for name in sorted(joined.keys() - on_disk.keys()):
        yield Damage(folder / name, "is missing, though features.h5 joins it")
    others = sorted(
        name for name in joined.keys() & on_disk.keys() - known if joined[name] != on_disk[name]
    )
    if others:
        yield Damage(path, f"joins another {others[0]} than the one there")
    # Only where all shards are good does a difference lie in the index.
    elif (
        joined.keys() == on_disk.keys()
        and not known
        and index.digest != index_of_shards(folder).digest
    ):
        yield Damage(path, "its index is not that of the shards")
