"""Keep lists of clips and display names the same in a store and in its local copy.

They are small and change, so they have no checksums: each is read as a whole and compared.
"""

from __future__ import annotations

import os
from pathlib import Path

from svuprobe._files import write_bytes, writing
from svuprobe.extractors.store.objects import Object, Objects

_FOLDER = "tasks"  # of the lists, in the folder of all caches
_BESIDE = "display-names.json"


def fetch_lists(objects: Objects, folder: Path) -> None:
    """Bring lists here that differ, and delete those that the store lacks.

    A list keeps the time when it was uploaded: that of its file says from when on clips that
    changed are other ones.
    """
    there, _ = objects.list(_FOLDER)
    there = {f"{_FOLDER}/{name}": each for name, each in there.items() if name.endswith(".json")}
    wanted = [*(key for key, each in there.items() if not _is_here(folder / key, each)), _BESIDE]
    contents = objects.read(wanted)
    for path in _here(folder):
        key = path.relative_to(folder).as_posix()
        if key not in there and key not in contents:
            with writing(path):
                path.unlink(missing_ok=True)
    for key, content in contents.items():
        path = folder / key
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)
        written_at = there[key].written_at if key in there else None
        if written_at is not None:
            os.utime(path, (written_at, written_at))


def keep_lists(objects: Objects, folder: Path) -> None:
    """Upload the lists that differ from those in the store."""
    paths = {path.relative_to(folder).as_posix(): path for path in _here(folder)}
    there = objects.read(list(paths))
    for key, path in paths.items():
        if there.get(key) != path.read_bytes():
            objects.put(path, key)


def _here(folder: Path) -> list[Path]:
    return [*sorted((folder / _FOLDER).glob("*.json")), *folder.glob(_BESIDE)]


def _is_here(path: Path, there: Object) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    same_time = there.written_at is not None and status.st_mtime == there.written_at
    return same_time and status.st_size == there.size
