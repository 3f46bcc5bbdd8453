"""Open the place where caches are: a folder, or a store by its address."""

from __future__ import annotations

from pathlib import Path

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.address import is_address, refuse_mistyped, split


def place_of(features: str | Path, reporter: Reporter = SILENT) -> Place:
    """Return where caches are: a folder, or a store by its address.

    Raises ExtractError for an address that is none of a store, or whose package is not installed.
    Of a folder nothing is looked at, and nothing is imported for it.
    """
    if isinstance(features, str) and is_address(features):
        from svuprobe.extractors.store.manage import Store

        return Store(features, reporter)
    refuse_mistyped(features)
    return Place(Path(features), reporter)


def place_in(directory: str | Path, reporter: Reporter = SILENT) -> tuple[Place, str]:
    """Return where caches are, and which folder there is meant: of one model, or of one cache.

    Of a folder on the disk that is empty: it is meant itself. Errors are those of `place_of`.
    """
    if isinstance(directory, str) and is_address(directory):
        from svuprobe.extractors.store.manage import Store

        address, below = split(directory)
        whole = Store(directory, reporter)
        # A folder named as a model's is, someone@home, holds all caches where models are in it.
        if not below or whole.cache_folders():
            return whole, ""
        return Store(address, reporter), below
    return place_of(directory, reporter), ""
