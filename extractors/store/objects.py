"""Speak to an object store through fsspec: list, read, create, replace and delete objects.

Whatever the store, its library or the network refuses is one line, an ExtractError. What the local
disk refuses is a FileError. Nothing is remembered of what is there: other machines write, too.
A store that does not answer is asked again by its library, for minutes: that is said meanwhile.
"""

from __future__ import annotations

import errno
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from svuprobe._files import writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.base import ExtractError

# What only the disk here says; the others may be the store's words, too.
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE}
_KEPT = "what is finished is kept: then run the same command again"
# Times of an object, by the names that filesystems give them.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


# Seconds after which it is said that a request is still on its way, and between two such lines.
_LONG_S = 30.0
# Requests that are on their way at a time.
_AT_ONCE = 8

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Object(NamedTuple):
    """Hold the bytes of an object and when it was written, in seconds since 1970, if that is
    known.
    """

    size: int
    written_at: float | None


class Objects:
    """Hold the connection to a store.

    Names of objects are relative to the address, with slashes.

    Raises
    ------
    ExtractError
        The package that knows such addresses is not installed, or refuses this one.
    """

    def __init__(self, address: str, reporter: Reporter = SILENT) -> None:
        self.address, self.reporter = address, reporter
        self._said_at = -_LONG_S
        try:
            import fsspec

            # Listings that are remembered would hide what other machines upload.
            self._fs, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except ImportError as error:
            raise ExtractError(f"{address}: {_missing(address, error)}") from None
        except Exception as error:
            raise ExtractError(f"{address}: can't be opened ({_words(error)})") from error
        self._root = self._root.rstrip("/")
        put = getattr(self._fs, "_put_file", self._fs.put_file)
        self._creates = "mode" in inspect.signature(put).parameters

    def at(self, name: str) -> str:
        """Return the address of an object."""
        return f"{self.address}/{name}" if name else self.address

    def list(self, folder: str) -> tuple[dict[str, Object], list[str]]:
        """Return the objects in a folder by their last names, and the folders in it; none where
        there is no such folder.

        Raises ExtractError also where the bucket is not there.
        """
        path = self._path(folder)
        with self._speaking(folder):
            try:
                found = self._fs.ls(path, detail=True)
            except FileNotFoundError as error:
                # An empty folder is none at all. That there is no
                # bucket is what the server says, and so has a cause.
                if error.__cause__ is not None:
                    raise
                return {}, []
        objects, folders = {}, []
        for each in found:
            full = str(each["name"]).rstrip("/")
            name = full.rpartition("/")[2]
            if each["type"] == "directory":
                folders.append(name)
            elif full != path:  # some stores keep an empty object of a folder's name
                objects[name] = Object(int(each["size"] or 0), _written_at(each))
        return objects, sorted(folders)

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read small objects, without those that are not there."""
        # Each by its own name: a call for several would take brackets and stars for patterns.
        contents = zip(names, in_parallel(self._read, names), strict=True)
        return {name: content for name, content in contents if content is not None}

    def _read(self, name: str) -> bytes | None:
        with self._speaking(name):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Return the bytes of an object; None where it is not there."""
        with self._speaking(name):
            try:
                return int(self._fs.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def get(self, name: str, path: Path) -> bool:
        """Write an object to a file here; return False where it is not there."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # what the disk refuses is told from what the store does
        with writing(path), self._speaking(name):
            try:
                self._fs.get_file(self._path(name), str(path))
            except FileNotFoundError:
                return False
        return True

    def create(self, path: Path, name: str) -> bool:
        """Upload a file as a new object; return False where there is one of that name.

        Two at a time can't both create it where the filesystem has a conditional write. The others
        are asked before.
        """
        with self._speaking(name):
            try:
                if self._creates:
                    self._fs.put_file(str(path), self._path(name), mode="create")
                elif self._fs.exists(self._path(name)):
                    return False
                else:
                    self._fs.put_file(str(path), self._path(name))
            except FileExistsError:
                return False
        return True

    def put(self, path: Path, name: str) -> None:
        """Upload a file in the place of whatever is there."""
        with self._speaking(name):
            self._fs.put_file(str(path), self._path(name))

    def write(self, text: str, name: str) -> None:
        """Write a small object in the place of whatever is there."""
        with self._speaking(name):
            self._fs.pipe_file(self._path(name), text.encode("utf-8"))

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._speaking(name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError as error:
                if error.__cause__ is not None and "bucket" in str(error).lower():
                    raise

    def delete_folder(self, name: str) -> None:
        """Delete an empty folder, in stores that have such."""
        with suppress(OSError, NotImplementedError):
            self._fs.rmdir(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _speaking(self, name: str) -> Iterator[None]:
        """Turn what goes wrong with a store into one line; a mistake of the program keeps its
        traceback.
        """
        waiting = threading.Timer(_LONG_S, self._tell, [name, time.monotonic()])
        waiting.daemon = True
        waiting.start()
        try:
            yield
        except ExtractError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            # Libraries of stores raise errors of their own; Python's own are bugs, but for
            # what the system says.
            known = isinstance(error, (OSError, NotImplementedError, TimeoutError))
            if not known and type(error).__module__ == "builtins":
                raise
            raise ExtractError(f"{self.at(name)}: {_what(error)}") from error
        finally:
            waiting.cancel()

    def _tell(self, name: str, since: float) -> None:
        """Say that a request takes long; once for all that are on their way."""
        now = time.monotonic()
        if now - self._said_at < _LONG_S:
            return
        self._said_at = now
        self.reporter.say(
            f"{self.at(name)}: on its way for {now - since:.0f} s; waiting for the store"
        )


def in_parallel(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Call a function with each of some items, a few at a time; after an error begin no more."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _what(error: Exception) -> str:
    """Say what went wrong, and what to do."""
    words = _words(error)
    advice = "see whether the address is right and the store can be reached"
    for kind, does, told in _KINDS:
        if kind(error):
            return f"{does} ({words}); {told}; {_KEPT}"
    return f"the store refuses ({words}); {advice}; {_KEPT}"


def _named(*names: str) -> Callable[[Exception], bool]:
    """Return a test for errors of a library, which need not be installed."""
    return lambda error: any(name in type(error).__name__ for name in names)


_KINDS: tuple[tuple[Callable[[Exception], bool], str, str], ...] = (
    (
        _named("Credential", "TokenRetrieval", "SSOToken", "Unauthorized", "DefaultCredentials"),
        "has no credentials",
        "log in to the store, as with aws configure",
    ),
    (
        lambda error: isinstance(error, PermissionError),
        "may not be read or written",
        "see whether your credentials are of this store and region, and may do so",
    ),
    (
        lambda error: isinstance(error, FileNotFoundError),
        "is not there",
        "make the bucket, or mend the address",
    ),
    (
        lambda error: isinstance(error, NotImplementedError),
        "can't be done there",
        "choose a store that can be written",
    ),
    (
        lambda error: (
            isinstance(error, (ConnectionError, TimeoutError))
            or _named("Connect", "Endpoint", "Timeout")(error)
        ),
        "can't be reached",
        "see whether the network and the endpoint are right",
    ),
)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _missing(address: str, error: ImportError) -> str:
    """Say which package to install."""
    protocol = address.partition("://")[0]
    if protocol in ("s3", "s3a"):
        return "s3fs is not installed; run pip install 's3fs>=2024.10', or svuprobe[store]"
    return f"its package is not installed ({_words(error)}); install that, then run this again"


def _written_at(found: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        value = found.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return None
