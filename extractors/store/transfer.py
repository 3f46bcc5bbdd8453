"""Carry files of caches with their checksums from a store to its local copy, and the other way.

A file counts as there once its checksum lies beside it, and one that is here with the same checksum
and size does not travel again. What is fetched has its checksum compared before it takes its name.
A file is uploaded before its checksum, which announces it, and is created and never replaced: where
one is there already it is taken, and what was made here goes. If that has no checksum yet, its
maker is a moment late or was killed: it is looked into, and gets the checksum of what it holds,
which is the one that its maker would write.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from svuprobe._files import busy, locked, sha256_of, temporary_for, writing
from svuprobe._progress import Reporter
from svuprobe._sizes import gib
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache.checksums import publish, recorded, sidecar
from svuprobe.extractors.store.objects import Object, Objects, in_parallel
from svuprobe.extractors.store.whole import is_whole

_AGAIN_S = 1.0  # before a second look at what is just being replaced
_TRIES = 3  # to create an object that others create and delete


class Transfer:
    """Hold a store and the folder of its local copy; every path is of a file in that folder.

    Raises
    ------
    ExtractError
        What the store or the network refuses, or what was corrupted.
    FileError
        What the disk here refuses.
    """

    def __init__(self, objects: Objects, folder: Path, reporter: Reporter) -> None:
        self.objects, self.folder, self.reporter = objects, folder, reporter

    def key(self, path: Path) -> str:
        """Return the name of the object that a file is."""
        return path.relative_to(self.folder).as_posix()

    def address(self, path: Path) -> str:
        """Return the address of the object that a file is."""
        return self.objects.at(self.key(path))

    def announced(self, directory: Path) -> dict[str, Object]:
        """Return the files of a cache in the store that have their checksum beside them."""
        there, _ = self.objects.list(self.key(directory))
        return {name: each for name, each in there.items() if f"{name}.sha256" in there}

    def fetch(self, directory: Path, files: Mapping[str, Object]) -> None:
        """Bring files of a cache here that lack or differ."""
        checksums = self.checksums(directory, files)
        lacking = []
        for name, there in files.items():
            if not _is_here(directory / name, there, checksums.get(name, "")):
                lacking.append(name)
        if not lacking:
            return
        size = sum(files[name].size for name in lacking)
        self._refuse_full_disk(size)
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        with self.reporter.bar(size, f"fetch {directory.parent.name}", "B", scaled=True) as bar:

            def fetch(name: str) -> None:
                self._fetch_one(directory / name, files[name], checksums.get(name, ""))
                bar.update(files[name].size)

            in_parallel(fetch, lacking)

    def fetch_other(self, path: Path) -> None:
        """Bring one file here if another is announced than the one here."""
        said = self.checksums(path.parent, [path.name])
        # Who is at it here uploads it, and finds out then.
        if said and said[path.name] != recorded(path) and not busy(path):
            size = self.objects.size(self.key(path))
            if size is not None:
                self.fetch(path.parent, {path.name: Object(size, None)})

    def keep(self, path: Path) -> None:
        """Create a file in the store, and then its checksum; or take the one that is there."""
        key = self.key(path)
        for _ in range(_TRIES):
            said = self.checksums(path.parent, [path.name]).get(path.name, "")
            if said == recorded(path) and self.objects.size(key) == path.stat().st_size:
                return
            if self.objects.create(path, key):
                self.objects.put(sidecar(path), f"{key}.sha256")
                return
            if self.settle(path):
                return
        raise ExtractError(
            f"{self.address(path)}: another machine deletes it again and again; end that, then run "
            "the same command again"
        )

    def settle(self, path: Path) -> bool:
        """Take the object that is there under the name of a file, if it is whole; else put the file
        in its place, or delete it where there is no file.

        Returns False where it is gone.
        """
        key = self.key(path)
        said = self.checksums(path.parent, [path.name]).get(path.name, "")
        own = recorded(path) if path.exists() else ""
        temporary = temporary_for(path)
        try:
            if not self.objects.get(key, temporary):
                return False
            with writing(path):
                found = sha256_of(temporary)
            if found in (said, own) or is_whole(temporary):
                if found != said:
                    self.objects.write(f"{found}  {path.name}\n", f"{key}.sha256")
                if found != own:
                    publish(temporary, path)
            elif own:  # half of a file, of a store that shows what was begun, or a damaged one
                self.objects.put(path, key)
                self.objects.put(sidecar(path), f"{key}.sha256")
            else:
                self.delete(key)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def delete(self, key: str) -> None:
        """Delete an object and then its checksum, which announces nothing without it."""
        self.objects.delete(key)
        self.objects.delete(f"{key}.sha256")

    def _fetch_one(self, path: Path, there: Object, checksum: str) -> None:
        """Fetch a file, unless another process has done so meanwhile."""
        # The lock keeps others from taking what is half here for what a dead process left.
        with locked(path, wait=True):
            if not _is_here(path, there, checksum):
                self._replace(path, checksum)

    def _replace(self, path: Path, checksum: str) -> None:
        """Fetch a file; look twice, as it may just be replaced in the store."""
        temporary, key = temporary_for(path), self.key(path)
        try:
            for again in (True, False):
                is_there = self.objects.get(key, temporary)
                with writing(path):
                    if is_there and sha256_of(temporary) == checksum:
                        publish(temporary, path)
                        return
                if again:
                    time.sleep(_AGAIN_S)
                    checksum = self.checksums(path.parent, [path.name]).get(path.name, "")
        finally:
            temporary.unlink(missing_ok=True)
        if not is_there:
            raise ExtractError(
                f"{self.address(path)}: was deleted meanwhile; run svuprobe extract again, then "
                "the same command"
            )
        raise ExtractError(
            f"{self.address(path)}: is not what was uploaded: its checksum differs; run svuprobe "
            f"cache verify {self.objects.address} --remove, then svuprobe extract again"
        )

    def checksums(self, directory: Path, names: Iterable[str]) -> dict[str, str]:
        """Return the checksums that files of a cache have in the store, without those that have
        none.
        """
        keys = {f"{self.key(directory / name)}.sha256": name for name in names}
        read = self.objects.read(list(keys))
        return {keys[key]: text[:64].decode("ascii", "replace") for key, text in read.items()}

    def _refuse_full_disk(self, size: int) -> None:
        """Raise ExtractError where what is to be fetched won't fit on the disk of the local
        copy.
        """
        there = self.folder
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        if size > free:
            raise ExtractError(
                f"{self.folder}: {gib(size)} of {self.objects.address} are needed here and "
                f"{gib(free)} are free; free some space, or choose another disk with "
                "SVUPROBE_STORE_CACHE"
            )


def _is_here(path: Path, there: Object, checksum: str) -> bool:
    try:
        same = path.stat().st_size == there.size
    except FileNotFoundError:
        return False
    return same and bool(checksum) and recorded(path) == checksum
