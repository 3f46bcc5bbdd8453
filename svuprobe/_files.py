"""Write files that are whole or absent, whoever is killed when.

A file is written under a temporary name beside its own, ``<file>.tmp-<host>-<process>``, synced and
renamed. What a killed process left under such a name is deleted by the next one that writes the
same file.

A process that needs a file for itself for longer holds ``<file>.lock``. A dead process's lock frees
itself. The library filelock locks as well, but not what callers rest on: what a killed writer left
is deleted under the lock, it can be asked whether a lock is held, and a filesystem without locks
holds nobody up (filelock falls back on marker files there, which a killed process leaves for good).

Text is UTF-8 with ``\\n`` at the ends of lines on every system, so that a file is the same wherever
it was written.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from svuprobe._errors import FileError
from svuprobe._system_errors import advice

if sys.platform != "win32":
    import fcntl
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BLOCK = 4 << 20
# After so long nobody is still writing a temporary file of another machine.
_LONG_DEAD_S = 7 * 24 * 3600.0


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while ``path`` is written into one line, a FileError."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: can't be written ({error.strerror or error}); what was finished before is "
            f"kept: {advice(error)}, then run the same command again"
        ) from error


# -- whole or absent -------------------------------------------------------------------------------


# Processes of several machines may write to one disk, and their numbers may be the same.
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "localhost"


def temporary_for(path: Path) -> Path:
    """Return where this process writes ``path`` before it is whole."""
    return path.with_name(f"{path.name}.tmp-{_host()}-{os.getpid()}")


def leftovers(path: Path) -> list[Path]:
    """Find the temporary files of ``path``, of any process."""
    if not path.parent.is_dir():
        return []
    start = f"{path.name}.tmp-"
    # Not by glob: a name may hold brackets and stars.
    return sorted(each for each in path.parent.iterdir() if each.name.startswith(start))


def abandoned(temporary: Path) -> bool:
    """Tell whether no process can still be writing a temporary file: its own is gone, or it is very
    old.
    """
    match = re.search(r"\.tmp-(\w+)-(\d+)", temporary.name)
    if match and match[1] == _host() and sys.platform != "win32":
        try:
            # Signal 0 is sent to nobody, but says whether there is anybody.
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # another user's process lives
            return False
        return False
    try:
        return time.time() - temporary.stat().st_mtime > _LONG_DEAD_S
    except FileNotFoundError:
        return False


def clear_abandoned(path: Path) -> None:
    """Delete what killed processes left of ``path``."""
    for left in leftovers(path):
        if abandoned(left):
            delete_leftover(left)


def delete_leftover(left: Path) -> None:
    """Delete a temporary file, or a temporary folder with what it holds."""
    if left.is_dir():
        shutil.rmtree(left)
    else:
        left.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path``, called after it, that goes away afterwards; those of
    killed processes go first. Raises FileError where none can be made.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(path)
        folder = TemporaryDirectory(prefix=f"{temporary_for(path).name}-", dir=path.parent)
    with folder as name:
        yield Path(name)


def holds(path: Path, text: str) -> bool:
    """Tell whether a text file is there and says just this; delete what killed processes left of
    it.

    For files that are written again only where they change, also where nothing can be written.
    """
    sweep(path)
    try:
        return path.read_bytes() == text.encode("utf-8")
    except OSError:
        return False


def sweep(path: Path) -> None:
    """Delete what killed processes left of ``path``: temporary files, and a lock that nobody
    holds.
    """
    with suppress(OSError, FileError):  # a read-only folder: it stays, and does no harm
        clear_abandoned(path)
        if lock_of(path).exists():
            with locked(path, wait=False):
                pass


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power loss."""
    # Some systems sync a file only through a descriptor that may write.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_and_rename(temporary: Path, path: Path) -> None:
    """Make ``temporary`` durable and put it in the place of ``path`` in one step."""
    # The content before the name: else a power loss leaves the name of an empty file.
    sync(temporary)
    os.replace(temporary, path)
    # A rename is durable when its folder is.
    sync(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it takes ``path``'s place when the block ends without
    error.

    The folder is made where it is missing. A link is followed, so the file that it names is what is
    replaced. An error of the system is one line, and nothing half-written stays.

    Raises
    ------
    FileError
        The system refuses, or ``path`` is a device, a pipe or a folder.
    """
    with writing(path):
        refuse_special(path)  # before the links of /dev/stdout are followed to no file at all
        # A rename onto a link would replace the link and leave the file it names as it was.
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(path)
        temporary = temporary_for(path)
        try:
            yield temporary
            sync_and_rename(temporary, path)
        finally:
            # (Renamed away, if all went well.)
            temporary.unlink(missing_ok=True)


def refuse_special(path: Path) -> None:
    """Raise FileError where ``path`` is no regular file: replacing a device would destroy it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise FileError(f"{path}: is {what}, and a file is written there; choose another name")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step; FileError where that can't be."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step; FileError where that can't be."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def sha256_of(path: Path, each: Callable[[int], object] = lambda n: None) -> str:
    """Compute the SHA-256 of a file, hexadecimal; ``each`` is told how many bytes were read."""
    # One buffer for the whole file: reading into it makes no objects.
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(block):
            digest.update(block[:n])
            each(n)
    return digest.hexdigest()


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a TOML file says; ValueError where it is no TOML.

    A number of more than 4300 digits is no number for Python, and what is nested deeper than its
    stack no table. A mark of UTF-8 at the start, as editors on Windows write it, is nothing.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise ValueError(str(error)) from None


# -- one writer ------------------------------------------------------------------------------------


def lock_of(path: Path) -> Path:
    """Return the lock file of ``path``."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold ``<path>.lock``: give True, or False at once where another process holds it, unless
    ``wait``.

    What a dead process left of the file is deleted then. Everybody gets the lock where the system
    or the filesystem has none.
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
        try:
            lock.unlink(missing_ok=True)  # while it is held: so it is never another's
        finally:
            os.close(descriptor)


def _open_locked(lock: Path, path: Path, wait: bool) -> int | None:
    """Return the descriptor of a locked file; None where another process holds it."""
    while True:
        with writing(path):
            descriptor, was_there = _open_lock(lock)
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
        # Between opening and locking, the holder may have deleted the file: then this is another
        # one.
        if _is(descriptor, lock):
            if was_there:  # who was killed has left its lock too: else nobody has to look
                try:
                    with writing(path):
                        for left in leftovers(path):
                            left.unlink(missing_ok=True)
                except BaseException:
                    os.close(descriptor)
                    raise
            return descriptor
        os.close(descriptor)  # its last holder has unlinked it since


def _open_lock(lock: Path) -> tuple[int, bool]:
    """Open a lock file; say whether it was there before."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), False
    except FileExistsError:
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), True


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def busy(path: Path) -> bool:
    """Tell whether a live process holds the lock of ``path``; leave everything as it is."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(lock_of(path), os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: two that ask at a time don't take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
