"""Files that are whole or absent, with their checksum beside them, whoever is killed when.

A file is written under a temporary name, ``<file>.tmp-<process>``, synced and renamed. Its checksum, as
``sha256sum`` writes it, lies in ``<file>.sha256`` and takes its name first; a file that is replaced is removed
before. So no file stands beside the checksum of another, whatever is killed when.

A process that writes a file holds ``<file>.lock``. A dead process's lock frees itself, and whoever locks the file
next deletes what was left of it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError

if sys.platform != "win32":
    import fcntl

_BLOCK = 4 << 20
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "make it writable or choose another folder",
    errno.EPERM: "make it writable or choose another folder",
    errno.EROFS: "make it writable or choose another folder",
}
# What h5py and json raise on damaged files.
_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """One line of what the system says while ``path`` is written: a full disk, a read-only folder."""
    try:
        yield
    except OSError as error:
        raise ExtractError(
            f"{path}: can't be written ({error.strerror or error}); what was finished before is kept: "
            f"{_ADVICE.get(error.errno or 0, 'mend that')}, then run the same command again"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """One line of what goes wrong while ``path``, a file of a cache, is read."""
    try:
        yield
    except PermissionError as error:
        raise ExtractError(f"{path}: can't be read ({error.strerror}); make it readable") from error
    except _DAMAGE as error:
        raise ExtractError(
            f"{path}: damaged ({error}); run svuprobe cache verify {path.parent} --remove, "
            f"then svuprobe extract again"
        ) from error


class Sink(io.RawIOBase):
    """The temporary file behind an HDF5 file that is being written, and will be called ``path``.

    HDF5 must not see a write fail: it can't close the file then, and crashes when the process ends. So the first
    error is kept for :meth:`check`, and what HDF5 writes after it is thrown away.
    """

    def __init__(self, temporary: Path, path: Path) -> None:
        self._path = path
        self._error: OSError | None = None
        with writing(path):
            self._raw = open(temporary, "w+b", buffering=0)  # noqa: SIM115

    def check(self) -> None:
        """Raise ExtractError if anything could not be written."""
        if self._error is not None:
            with writing(self._path):
                raise self._error

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, with zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        n = self._raw.readinto(view) or 0
        view[n:] = bytes(len(view) - n)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._raw.seek(offset, whence)

    def write(self, data: Any) -> int:
        """Write all of it, or nothing more after the first error."""
        view = memoryview(data).cast("B")
        self._try(lambda: self._write_all(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """HDF5 gives the file its length when it closes it."""
        self._try(lambda: self._raw.truncate(size))
        return size or 0

    def close(self) -> None:
        """As of any file."""
        self._raw.close()
        super().close()

    def _write_all(self, view: memoryview) -> None:
        while view:
            view = view[self._raw.write(view) :]

    def _try(self, action: Callable[[], object]) -> None:
        if self._error is None:
            try:
                action()
            except OSError as error:
                self._error = error


# -- whole or absent ----------------------------------------------------------------------------------------


def temporary_for(path: Path) -> Path:
    """Where this process writes ``path`` before it is whole."""
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def leftovers(path: Path) -> list[Path]:
    """Temporary files of ``path``, of any process."""
    return sorted(path.parent.glob(f"{path.name}.tmp-*"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_and_rename(temporary: Path, path: Path) -> None:
    """Make ``temporary`` durable and put it in the place of ``path`` in one step."""
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    temporary = temporary_for(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text)
            sync_and_rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def sidecar(path: Path) -> Path:
    """The checksum of a file."""
    return path.with_name(f"{path.name}.sha256")


def recorded(path: Path) -> str:
    """The checksum in a file's sidecar, empty where there is none."""
    try:
        return sidecar(path).read_bytes()[:64].decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def sha256_of(path: Path, each: Callable[[int], object] = lambda n: None) -> str:
    """SHA-256 of a file, hexadecimal; ``each`` is told how many bytes were read."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(block):
            digest.update(block[:n])
            each(n)
    return digest.hexdigest()


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its checksum and its name; both are durable then."""
    checksum = temporary.with_name(f"{temporary.name}.sha256")
    with writing(path):
        try:
            checksum.write_text(f"{sha256_of(temporary)}  {path.name}\n")
            _sync(temporary)
            _sync(checksum)
            path.unlink(missing_ok=True)
            os.replace(checksum, sidecar(path))
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            checksum.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file and then its checksum."""
    with writing(path):
        path.unlink(missing_ok=True)
        sidecar(path).unlink(missing_ok=True)


# -- one writer ---------------------------------------------------------------------------------------------


def lock_of(path: Path) -> Path:
    """The lock file of ``path``."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold ``<path>.lock``: True, or False at once where another live process holds it and ``wait`` is not set.

    What a dead process left of the file is deleted then. Everybody gets the lock where the system or the
    filesystem has none.
    """
    if sys.platform == "win32":
        yield True
        return
    lock = lock_of(path)
    descriptor = _open_locked(lock, path, wait)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        lock.unlink(missing_ok=True)  # while it is held: so it is never another's
        os.close(descriptor)


def _open_locked(lock: Path, path: Path, wait: bool) -> int | None:
    """The descriptor of a locked file; None where another process holds it."""
    while True:
        with writing(path):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a filesystem without locks
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        if _is(descriptor, lock):
            with writing(path):
                for left in leftovers(path):
                    left.unlink(missing_ok=True)
            return descriptor
        os.close(descriptor)  # its last holder has unlinked it since


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def busy(path: Path) -> bool:
    """Whether a live process holds the lock of ``path``; leaves everything as it is."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(lock_of(path), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
