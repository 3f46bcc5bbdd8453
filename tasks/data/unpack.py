"""Unpack archives that nobody vouches for: below one folder, and within bounds.

Not by `shutil.unpack_archive`: its ``filter`` is for tars alone, and of neither kind does it bound
what an archive inflates to, refuse a name that is given twice, or cut leading folders.
"""

from __future__ import annotations

import functools
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from svuprobe._files import writing
from svuprobe._system_errors import is_systems_word
from svuprobe.tasks.data.download import BLOCK, size
from svuprobe.tasks.types import TaskError

MOST_INFLATED = 50  # times the size of its archive; sound is compressed about twofold
ALWAYS_ALLOWED = 1 << 30  # bytes that an archive may unpack to however small it is

# No control characters, and none that make a terminal show another name.
_NAMEABLE = re.compile("[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*")
_LONGEST_NAME = 255  # bytes, on every file system in use


class DamagedArchive(TaskError):
    """Report an archive that will never unpack, or must not."""


Member = tuple[str, bool, int, Callable[[], IO[bytes]]]  # name, is a folder, bytes, opens it


def unpack(archive: Path, folder: Path, strip: int = 0) -> None:
    """Unpack a zip or tar below a folder and nowhere else.

    Absolute paths, ``..``, links, devices and encrypted members are refused, and so is an archive
    that inflates more than 50-fold, or has a name with control characters, one that no file can
    have, or one twice (in other letters too, where the folder takes them for the same).
    ``__MACOSX`` is left out. The first ``strip`` folders of every path are cut.

    Raises
    ------
    DamagedArchive
        It is damaged or not safe; some of it may have been unpacked into ``folder``.
    FileError, TaskError
        It can't be written, as where the disk is full.
    """
    members = _zip(archive) if archive.suffix == ".zip" else _tar(archive)
    limit = max(ALWAYS_ALLOWED, MOST_INFLATED * size(archive))
    try:
        for name, is_folder, n_bytes, opened in members:
            parts = _safe(name, archive)[strip:]
            # What macOS puts into its zips beside the files.
            if not parts or parts[0] == "__MACOSX":
                continue
            limit -= n_bytes
            if limit < 0:
                raise DamagedArchive(
                    f"{archive.name}: would unpack to far more than its size; refused"
                )
            if n_bytes > shutil.disk_usage(folder).free:
                raise TaskError(f"{folder}: the disk is full; make room and run this again")
            try:
                _write(folder.joinpath(*parts), is_folder, opened)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise DamagedArchive(
                    f"{archive.name}: two of its members are called {name!r}; refused"
                ) from None
    except OSError as error:
        if is_systems_word(error):
            with writing(folder):
                raise
        raise _damaged(archive, error) from None
    except _DAMAGE as error:
        raise _damaged(archive, error) from None


# What Python's readers of archives raise of bytes that are none.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError, LookupError),
)


def _damaged(archive: Path, error: Exception) -> DamagedArchive:
    return DamagedArchive(f"{archive.name}: damaged ({error}); it was removed: run this again")


def _write(path: Path, is_folder: bool, opened: Callable[[], IO[bytes]]) -> None:
    (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder:
        with opened() as source, path.open("xb") as out:  # "x": never over another member
            shutil.copyfileobj(source, out, BLOCK)


def _safe(name: str, archive: Path) -> tuple[str, ...]:
    """Return the parts of a member's path; refuse one that would lie outside the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name.partition("/")[0]:
        raise DamagedArchive(
            f"{archive.name}: its member {name!r} would lie outside the folder; refused"
        )
    if not _NAMEABLE.fullmatch(name) or any(
        len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts
    ):
        raise DamagedArchive(
            f"{archive.name}: its member {name[:80]!r} has a name that no file may have; refused"
        )
    return path.parts


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # The upper half of the attributes is a Unix mode, 0 where a zip was made elsewhere.
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
                raise DamagedArchive(
                    f"{path.name}: its member {info.filename!r} is a link or encrypted; refused"
                )
            yield (
                info.filename,
                info.is_dir(),
                info.file_size,
                functools.partial(archive.open, info),
            )


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:  # a stream: a gzip is read once
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise DamagedArchive(
                    f"{path.name}: its member {info.name!r} is a link or a device; refused"
                )
            yield info.name, info.isdir(), info.size, functools.partial(_extracted, archive, info)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # only of what is no file
    return file
