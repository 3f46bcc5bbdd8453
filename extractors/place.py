"""Say where caches are: in a folder, or in an object store with a local copy of it.

Everything reads and writes a folder. `Place` is that folder, and what it is told at the moments
where an object store (`svuprobe.extractors.store.remote.Store`) has to bring a file here first, or
to upload one. For a folder none of these does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from svuprobe._files import writing
from svuprobe._progress import SILENT, Reporter
from svuprobe._sizes import size_text
from svuprobe.extractors.cache import (
    CacheInfo,
    Damage,
    Header,
    cache_folders,
    cache_info,
    delete_cache,
    empty_folders,
    join,
    prune,
    size_of,
    tidy,
    verify,
)

WHOLE = (1, 1)  # the one part of a plan that is not dealt out


class Place:
    """Hold a folder of caches.

    Attributes
    ----------
    folder
        Where everything is read and written.
    """

    def __init__(self, folder: Path, reporter: Reporter = SILENT) -> None:
        self.folder, self.reporter = folder, reporter

    def __str__(self) -> str:
        """Return what a user calls it."""
        return str(self.folder)

    @property
    def is_there(self) -> bool:
        """Return whether there is anything to look into."""
        return self.folder.is_dir()

    # -- before something is read ----------------------------------------------------------------

    def fetch_lists(self) -> None:
        """Bring the lists of clips here, the display names, and what checkpoints in folders are
        called.
        """

    def fetch_indexes(self, dataset: str, windowing: str, level: str) -> dict[Path, str]:
        """Bring here what says which models have a cache for such windows.

        Returns a line for each cache of which that can't be used, by its folder.
        """
        return {}

    def fetch_index(self, directory: Path) -> object:
        """Bring here what says what one cache holds."""

    def fetch_features(self, directory: Path) -> None:
        """Bring a finished cache here."""

    def fetch_plans(self, header: Header) -> None:
        """Bring the plans of a cache here that is to be filled, and of others of the same
        weights.
        """

    def fetch_shards(self, directory: Path, part: tuple[int, int]) -> None:
        """Bring the shards of one part of a cache here that is to be filled."""

    def fetch_shard(self, path: Path) -> None:
        """Bring one shard here if it is finished."""

    def fetch_speed(self, directory: Path) -> None:
        """Bring here how fast a cache was filled so far."""

    # -- after something is written --------------------------------------------------------------

    def keep_lists(self) -> None:
        """Keep lists of clips and display names that were written here."""

    def keep_plans(self, directory: Path) -> bool:
        """Keep the plans of a cache; return False where another machine's plan came first and is
        here now.
        """
        return True

    def keep_shard(self, path: Path) -> None:
        """Keep a shard that was finished here."""

    def drop_shard(self, path: Path) -> None:
        """Forget a shard that was deleted here to be made again."""

    def keep_speed(self, directory: Path) -> None:
        """Keep how fast a cache was filled."""

    def close(self, directory: Path, part: tuple[int, int] = WHOLE) -> None:
        """Join what there is of a cache and delete litter, also of an earlier run that was killed
        before it could.
        """
        if any(directory.glob("shard-*.h5")) or (directory / "features.h5").exists():
            join(directory)
        tidy(directory)

    # -- what there is, and what may go -----------------------------------------------------------
    # ``below`` is the folder of one model or of one cache in it, or empty.

    def caches(self, below: str = "") -> Sequence[CacheInfo]:
        """Say what there is of every cache."""
        return [cache_info(folder) for folder in cache_folders(self.folder / below)]

    def owner(self, path: Path | str) -> tuple[str, str]:
        """Return the name of the cache that a file is of, and of the model."""
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        return folder.name, cache_info(folder).model

    def verify(
        self, below: str, *, delete: bool, tell: Callable[[Damage], object]
    ) -> Sequence[Damage]:
        """Read every byte; see `svuprobe.extractors.cache.verify`."""
        return verify(self.folder / below, delete=delete, reporter=self.reporter, tell=tell)

    def prune(self, below: str, *, dry_run: bool) -> Mapping[Any, int]:
        """Delete what dead processes left; return paths or addresses with their bytes."""
        return prune(self.folder / below, dry_run=dry_run)

    def delete_model(self, slug: str, below: str, *, dry_run: bool) -> int | None:
        """Delete every cache of a model, and tell each with its bytes before it goes.

        Returns the bytes of all; None where there is nothing of it.
        """
        directory = self.folder / below
        folders = []
        for folder in cache_folders(directory):
            if folder.parent.name.rpartition("@")[0] == slug:
                folders.append(folder)
        emptied = empty_folders(directory, slug)
        if not folders and not emptied:
            return None
        # Sizes are taken before anything goes: afterwards there is nothing to measure.
        sizes = [size_of(folder) for folder in folders]
        for folder, size in zip(folders, sizes, strict=True):
            self.reporter.say(f"{folder}: {size_text(size)}")
            if not dry_run:
                delete_cache(folder)
        if not dry_run:
            # Folders of the model that hold no cache any more.
            for folder in emptied:
                with writing(folder):
                    folder.rmdir()
        return sum(sizes)
