"""Read the address of an object store, and say where its local copy lies.

This imports nothing of fsspec: every command asks here whether a folder is an address.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from svuprobe.extractors.base import ExtractError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL)
# What a path makes of an address. A single letter is a drive.
_COLLAPSED = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)(.+)", re.DOTALL)
# What tools that make folders of objects, and libraries that read versions off names, take for
# something else.
_UNSAFE = re.compile(r"//|(?:^|/)\.\.?(?:/|$)|[?#]")
# A model's folder, and one of its caches.
_CACHE = re.compile(r"([^/]+://.+?)/([^/]+@[^/@]{1,8}(?:/[^/@]+)?)")
_OF_THIS_MACHINE = ("file", "local")


def is_address(features: str) -> bool:
    """Tell whether a text is an address and no folder."""
    return "://" in features


def not_features(address: str) -> str:
    """Say that an address stands where only a path can."""
    return f"{address}: give a path of this machine; only features may be in a store"


def refuse_mistyped(features: str | Path) -> None:
    """Raise ExtractError for an address that went through a path, which loses one of its
    slashes.
    """
    match = _COLLAPSED.fullmatch(str(features))
    if match and not Path(f"{match[1]}:").exists():
        raise ExtractError(
            f"{features}: no folder, and no address either; give an address of a store as text, "
            f'"{match[1]}://{match[2]}", and not as a Path'
        )


def checked(address: str) -> str:
    """Return an address without a slash at its end; ExtractError where it can be none of a
    store.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not match[2].strip("/"):
        raise ExtractError(f"{address}: no address of a store; one is s3://BUCKET/FOLDER")
    if match[1] in _OF_THIS_MACHINE:
        raise ExtractError(f"{address}: is a folder of this machine; give it as {match[2]}")
    if unsafe := _UNSAFE.search(match[2].rstrip("/")):
        raise ExtractError(
            f"{address}: {unsafe[0]!r} can't be in an address: its folders have names that are not "
            "empty, '.' or '..', without ? and #"
        )
    return address.rstrip("/")


class Inside(NamedTuple):
    """Hold the address of all caches, and the model's folder or the cache below it that is
    meant.
    """

    address: str
    below: str


def split(address: str) -> Inside:
    """Split the address of one cache, or of one model's caches, off that of all, by its name alone:
    a folder of caches may be named like it.
    """
    address = checked(address)
    match = _CACHE.fullmatch(address)
    return Inside(match[1], match[2]) if match else Inside(address, "")


def local_copy(address: str) -> Path:
    """Return the folder of a store's local copy.

    It is below ``SVUPROBE_STORE_CACHE``, or ``svuprobe/stores`` in the user's folder of caches
    (``XDG_CACHE_HOME``, or ``~/.cache``).
    """
    base = os.environ.get("SVUPROBE_STORE_CACHE")
    if not base:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        base = str(Path(caches) / "svuprobe" / "stores")
    # Two addresses may read alike once their signs are replaced.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", address)[:80]
    return Path(base).expanduser().absolute() / f"{name}-{_digest(address)}"


def _digest(address: str) -> str:
    return hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:8]
