"""List, verify and prune the caches of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from svuprobe._files import abandoned, delete_leftover, leftovers, temporary_folder, writing
from svuprobe._sizes import size_text
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import CacheInfo, Damage, delete_cache, prune, verify
from svuprobe.extractors.cache.checksums import recorded, remove, sidecar
from svuprobe.extractors.cache.format import Header, numbered
from svuprobe.extractors.cache.index import read_index
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.store.objects import in_parallel
from svuprobe.extractors.store.remote import INDEX, LocalCopy

_COPY = "verify"  # begins the names of copies that are read whole


class Store(LocalCopy):
    """Hold an object store, with the local copy that everything is read from and written to."""

    def caches(self, below: str = "") -> Sequence[CacheInfo]:
        """Say what there is of every cache, from plans and indexes."""
        return [self._info(name) for name in self.cache_folders(below)]

    def owner(self, path: Path | str) -> tuple[str, str]:
        """Return the name of the cache that an object is of, and of the model."""
        model, cache = str(path).removeprefix(f"{self.address}/").split("/")[:2]
        return cache, self._info(f"{model}/{cache}").model

    def verify(
        self, below: str, *, delete: bool, tell: Callable[[Damage], object]
    ) -> Sequence[Damage]:
        """Read every byte of the store, and do with each cache what
        `svuprobe.extractors.cache.verify` does.

        Each cache is copied beside the local copy as it is, one at a time. What is deleted or
        joined there is deleted and joined in the store then.

        Raises ExtractError where no cache is there.
        """
        names = self.cache_folders(below)
        if not names:
            raise ExtractError(
                f"{self.objects.at(below)}: no cache there; svuprobe extract makes one"
            )
        damages: list[Damage] = []
        for name in names:
            with self._copied(name) as folder:
                before = {path.name: recorded(path) for path in folder.iterdir()}
                for damage in verify(folder, delete=delete, reporter=self.reporter):
                    inside = Path(damage.path).relative_to(folder.parent.parent).as_posix()
                    damages.append(Damage(self.objects.at(inside), damage.reason))
                    tell(damages[-1])
                if delete:
                    self._keep_what_is_left(name, folder, before)
        return damages

    def prune(self, below: str, *, dry_run: bool) -> Mapping[Any, int]:
        """Delete checksums without their file, and what dead processes left in the local copy."""
        gone: dict[Any, int] = {}
        for name in self.cache_folders(below):
            objects, _ = self.objects.list(name)
            for each in objects:
                if each.endswith(".sha256") and each.removesuffix(".sha256") not in objects:
                    gone[self.objects.at(f"{name}/{each}")] = objects[each].size
                    if not dry_run:
                        self.objects.delete(f"{name}/{each}")
        if not self.folder.is_dir():
            return gone
        return gone | self._prune_copies(dry_run) | prune(self.folder, dry_run=dry_run)

    def _prune_copies(self, dry_run: bool) -> dict[Any, int]:
        """Delete the copies of caches that a killed `verify` left, and return their bytes."""
        gone = {}
        for left in filter(abandoned, leftovers(self.folder / _COPY)):
            gone[left] = sum(path.stat().st_size for path in left.rglob("*") if path.is_file())
            if not dry_run:
                with writing(left):
                    delete_leftover(left)
        return gone

    def delete_model(self, slug: str, below: str, *, dry_run: bool) -> int | None:
        """Delete every cache of a model, of every revision, in the store and in the local copy.

        Returns the bytes in the store; None where there is nothing of it.

        Raises ExtractError where a process here is filling one; others can't be seen.
        """
        freed: int | None = None
        for name in self.cache_folders(below):
            if name.partition("/")[0].rpartition("@")[0] != slug:
                continue
            objects, _ = self.objects.list(name)
            size = sum(each.size for each in objects.values())
            self.reporter.say(f"{self.objects.at(name)}: {size_text(size)}")
            freed = (freed or 0) + size
            if not dry_run:
                if (self.folder / name).is_dir():
                    delete_cache(self.folder / name)
                # The index first: so nobody finds a cache that is half gone.
                for each in sorted(objects, key=lambda each: not each.startswith(INDEX)):
                    self.objects.delete(f"{name}/{each}")
                for folder in (name, name.partition("/")[0]):
                    self.objects.delete_folder(folder)
        return freed

    def _info(self, name: str) -> CacheInfo:
        directory = self.folder / name
        objects, _ = self.objects.list(name)
        damaged = 0
        try:
            there = self.fetch_index(directory)
        except ExtractError:
            there, damaged = self.transfer.announced(directory), 1
        header: Header | None = None
        planned: dict[str, list[str]] = {}
        seconds: dict[str, float] = {}
        for path in numbered(directory, "plan-*.json").values():
            if path.name not in there:
                continue
            plan = read_plan(path)
            header, planned, seconds = plan.header, planned | plan.shards, seconds | plan.seconds
        shards = {each: there[each].size for each in there if each.startswith("shard-")}
        index = read_index(directory / INDEX) if (directory / INDEX).exists() else None
        joined = {} if index is None else {each: shard.size for each, shard in index.shards.items()}
        if index is not None and joined == shards:
            header, done = index.header, set(index.columns["clip_id"].tolist())
        else:
            # Of shards that no index knows only their plan is here.
            done = set(chain.from_iterable(planned.get(each, ()) for each in shards))
        missing = len(set(chain.from_iterable(planned.values())) - done)
        words = [f"{missing} clips missing"] if missing else []
        words += [f"{damaged} files damaged"] if damaged else []
        model, _, cache = name.partition("/")
        return CacheInfo(
            self.objects.at(name),
            *((header.model, header.revision, header.dataset) if header else (model, "", "")),
            *((header.windowing, header.level, header.dtype) if header else (cache, "", "")),
            clips=len(done),
            missing=missing,
            hours=sum(seconds[i] for i in done) / 3600 if done <= seconds.keys() else None,
            size=sum(each.size for each in objects.values()),
            state=", ".join(words) or ("complete" if shards and joined == shards else "not joined"),
        )

    @contextmanager
    def _copied(self, name: str) -> Iterator[Path]:
        """Give a copy of a cache as it is in the store, under the names that it has there."""
        with temporary_folder(self.folder / _COPY) as top:
            folder = top / name
            folder.mkdir(parents=True)
            objects, _ = self.objects.list(name)
            files = [each for each in objects if not each.endswith(".sha256")]
            in_parallel(lambda each: self.objects.get(f"{name}/{each}", folder / each), files)
            # Checksums afterwards: a shard is uploaded before its own.
            for each in files:
                key = f"{name}/{each}.sha256"
                for content in self.objects.read([key]).values():
                    sidecar(folder / each).write_bytes(content)
            yield folder

    def _keep_what_is_left(self, name: str, folder: Path, before: dict[str, str]) -> None:
        """Delete in the store what was deleted in a copy of a cache, and upload the index if it was
        made again.
        """
        for file in before:
            if not file.endswith(".sha256") and not (folder / file).exists():
                self.transfer.delete(f"{name}/{file}")
                if (self.folder / name / file).exists():
                    remove(self.folder / name / file)
        index = folder / INDEX
        if index.exists() and recorded(index) != before.get(INDEX, ""):
            self.objects.put(index, f"{name}/{INDEX}")
            self.objects.put(sidecar(index), f"{name}/{INDEX}.sha256")
