"""Write files of a cache, with their checksum beside them.

A file is written under a temporary name, synced and renamed (`svuprobe._files`). Its checksum, as
``sha256sum`` writes it, lies in ``<file>.sha256`` and takes its name first; a file that is replaced
is removed before. So no file stands beside the checksum of another, whatever is killed when.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from svuprobe._files import sha256_of, sync, writing
from svuprobe.extractors.base import ExtractError

# What h5py and json raise on damaged files.
_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in one line what goes wrong while ``path``, a file of a cache, is read."""
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
    """Stand for the temporary file behind an HDF5 file being written, which will be called
    ``path``.

    HDF5 must not see a write fail: it can't close the file then, and crashes when the process ends.
    So the first error is kept for :meth:`check`, and what HDF5 writes after it is thrown away.
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
        """Do as any file does."""
        return self._raw.seek(offset, whence)

    def write(self, data: Any) -> int:
        """Write all of it, or nothing more after the first error."""
        view = memoryview(data).cast("B")
        self._try(lambda: self._write_all(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length: HDF5 does when it closes the file."""
        self._try(lambda: self._raw.truncate(size))
        return size or 0

    def close(self) -> None:
        """Do as any file does."""
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


def sidecar(path: Path) -> Path:
    """Return where the checksum of a file lies."""
    return path.with_name(f"{path.name}.sha256")


def recorded(path: Path) -> str:
    """Read the checksum in a file's sidecar; empty where there is none."""
    try:
        return sidecar(path).read_bytes()[:64].decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its checksum and its name; both are durable then."""
    checksum = temporary.with_name(f"{temporary.name}.sha256")
    with writing(path):
        # A killed process leaves at most a checksum
        # without a file, never one beside another's file.
        try:
            checksum.write_text(f"{sha256_of(temporary)}  {path.name}\n", encoding="utf-8")
            sync(temporary)
            sync(checksum)
            path.unlink(missing_ok=True)
            os.replace(checksum, sidecar(path))
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            checksum.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file and then its checksum."""
    with writing(path):
        path.unlink(missing_ok=True)
        sidecar(path).unlink(missing_ok=True)
