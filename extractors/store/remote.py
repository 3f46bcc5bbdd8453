"""Say what travels when, between a store and its local copy.

Conventions
-----------
What the store announces is the truth (`svuprobe.extractors.store.transfer`). An index or a list of
clips that the store lacks is deleted here; shards that it lacks wait for the next extraction, which
uploads them.

Two machines that fill one cache agree by the plan, which one of them creates. The joined
``features.h5`` follows from the shards alone, so of two that join the same shards both upload the
same bytes, and who finds more shards after uploading joins again.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from svuprobe._files import write_bytes
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import Header, speed, tidy
from svuprobe.extractors.cache.checksums import recorded, remove, sidecar
from svuprobe.extractors.cache.format import folder_name, numbered
from svuprobe.extractors.cache.index import read_index
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.place import WHOLE, Place
from svuprobe.extractors.store.address import checked, local_copy
from svuprobe.extractors.store.lists import fetch_lists, keep_lists
from svuprobe.extractors.store.objects import Object, Objects, in_parallel
from svuprobe.extractors.store.transfer import Transfer

INDEX = "features.h5"


class LocalCopy(Place):
    """Hold the local copy of an object store, ``folder``.

    Errors are those of `Transfer`.
    """

    def __init__(self, address: str, reporter: Reporter = SILENT) -> None:
        self.address = checked(address)
        self.objects = Objects(self.address, reporter)
        super().__init__(local_copy(self.address), reporter)
        self.transfer = Transfer(self.objects, self.folder, reporter)

    def __str__(self) -> str:
        return self.address

    @property
    def is_there(self) -> bool:
        """Return whether there is anything to look into: only the store itself can say."""
        return True

    # -- what is there ---------------------------------------------------------------------------

    def cache_folders(self, below: str = "") -> list[str]:
        """Return the names of all caches, ``<model>@<revision>/<cache>``, or of those below one
        folder.

        Raises ExtractError where there is none below that.
        """
        names: list[str] = []
        if "/" in below:
            names = [below] if self.objects.list(below)[0] else []
        else:
            models = [below] if below else self._models()
            each = in_parallel(lambda model: self.objects.list(model)[1], models)
            for model, caches in zip(models, each, strict=True):
                names += [f"{model}/{cache}" for cache in caches]
        if below and not names:
            raise ExtractError(f"{self.objects.at(below)}: no cache there; run svuprobe extract")
        return names

    def _models(self) -> list[str]:
        return [name for name in self.objects.list("")[1] if "@" in name]

    # -- before something is read ----------------------------------------------------------------

    def fetch_lists(self) -> None:
        """Make lists of clips and display names here those of the store."""
        fetch_lists(self.objects, self.folder)
        # Checkpoints in folders are known by what their caches were made with, wherever they lay.
        moved = [name for name in self._models() if name.startswith("local-")]
        for cache in chain.from_iterable(in_parallel(self.cache_folders, moved)):
            directory = self.folder / cache
            self.transfer.fetch(directory, _plans(self.transfer.announced(directory)))

    def fetch_indexes(self, dataset: str, windowing: str, level: str) -> dict[Path, str]:
        """Bring the plans and the index of every model's cache for such windows here; delete
        indexes that the store lacks.
        """
        name = f"{dataset}-{windowing}-{level}"
        directories = [self.folder / model / name for model in self._models()]
        local = [path.parent for path in self.folder.glob(f"*@*/{name}/{INDEX}")]
        directories = list(dict.fromkeys([*directories, *local]))
        problems = {}

        def fetch(directory: Path) -> None:
            try:
                self.fetch_index(directory)
            except ExtractError as error:  # it holds up no other model
                problems[directory] = str(error)

        in_parallel(fetch, directories)
        return problems

    def fetch_index(self, directory: Path) -> dict[str, Object]:
        """Bring a cache's plans and index here; return all that the store announces of it."""
        there = self.transfer.announced(directory)
        if INDEX not in there:
            remove(directory / INDEX)
        names = [*_plans(there), *([INDEX] if INDEX in there else [])]
        try:
            self.transfer.fetch(directory, {name: there[name] for name in names})
        except ExtractError:
            remove(directory / INDEX)  # nobody reads one that the store has no more
            raise
        return there

    def fetch_features(self, directory: Path) -> None:
        """Bring the shards here that a cache's index joins, and how fast they were made.

        Raises ExtractError where one is missing or another one.
        """
        address = self.transfer.address(directory)
        if not (directory / INDEX).exists():
            raise ExtractError(f"{address}: no such cache; run svuprobe extract")
        there = self.transfer.announced(directory)
        index = read_index(directory / INDEX)
        # An older version joined by an index that says less: it is made again from all shards.
        shards = index.shards if index is not None else {}
        for name in shards:
            if name not in there:
                raise ExtractError(
                    f"{address}/{name}: a shard is missing; run svuprobe extract again"
                )
        self.transfer.fetch(directory, {name: there[name] for name in shards or _shards(there)})
        for name, shard in shards.items():
            if recorded(directory / name) != shard.sha256:
                raise ExtractError(
                    f"{address}/{name}: is another shard than {INDEX} joins; run svuprobe extract "
                    "again, which joins it"
                )
        self.fetch_speed(directory)

    def fetch_plans(self, header: Header) -> None:
        """Bring the plans of all caches of a model's weights for such windows here."""
        own = folder_name(header)
        cache = own.partition("/")[2]
        alike = [name for name in self._models() if name.endswith(f"@{header.revision[:8]}")]
        for name in dict.fromkeys([own, *(f"{model}/{cache}" for model in alike)]):
            directory = self.folder / name
            there = _plans(self.transfer.announced(directory))
            before = {path: recorded(path) for path in _files(directory, "plan-*.json")}
            self.transfer.fetch(directory, there)
            if any(recorded(path) != checksum for path, checksum in before.items()):
                self._forget_unplanned(directory)

    def fetch_shards(self, directory: Path, part: tuple[int, int]) -> None:
        """Bring the shards of one part of a plan here."""
        there, _ = self.objects.list(self.transfer.key(directory))
        for name in _shards(there):
            # Its maker was killed before it could announce it.
            if f"{name}.sha256" not in there:
                self.transfer.settle(directory / name)
        shards = _shards(self.transfer.announced(directory))
        planned = sorted(self._planned(directory))
        if shards.keys() <= set(planned):
            # As `svuprobe.extractors.jobs` deals them out: by their place in the plan.
            own = planned[part[0] - 1 :: part[1]]
            shards = {name: each for name, each in shards.items() if name in own}
        self.transfer.fetch(directory, shards)

    def fetch_shard(self, path: Path) -> None:
        """Bring a shard here that another machine has finished meanwhile."""
        self.transfer.fetch_other(path)

    # -- after something is written --------------------------------------------------------------

    def keep_lists(self) -> None:
        """Upload lists of clips and display names that differ from those of the store."""
        keep_lists(self.objects, self.folder)

    def keep_plans(self, directory: Path) -> bool:
        """Upload plans; return False where another machine's was first, which is here now."""
        ours = True
        for path in _files(directory, "plan-*.json"):
            before = recorded(path)
            self.transfer.keep(path)
            ours &= recorded(path) == before
        return ours

    def keep_shard(self, path: Path) -> None:
        """Upload a shard and then its checksum, or take the one that is there."""
        if path.exists():  # a shard whose clips all failed has no file
            self.transfer.keep(path)

    def drop_shard(self, path: Path) -> None:
        """Delete a shard in the store that was deleted here."""
        self.transfer.delete(self.transfer.key(path))

    def close(self, directory: Path, part: tuple[int, int] = WHOLE) -> None:
        """Upload what an interrupted extraction left here, then join all shards of the store.

        A part of several joins only what is whole: so the one that ends last does.
        """
        there = self.transfer.announced(directory)
        for path in (*_files(directory, "plan-*.json"), *_files(directory, "shard-*.h5")):
            if path.name not in there:
                self.transfer.keep(path)
        joined: dict[str, Object] | None = None
        while (shards := _shards(self.transfer.announced(directory))) != joined:
            waiting = self._planned(directory) - shards.keys()
            if part != WHOLE and waiting:
                self.reporter.say(
                    f"{self.transfer.address(directory)}: {len(waiting)} of its shards are not "
                    "there yet; the part that ends last joins them, or svuprobe extract without "
                    "--shard"
                )
                break
            if not self._is_joined(directory, shards):
                self.transfer.fetch(directory, shards)
                super().close(directory, part)
                self._keep_index(directory)
            joined = shards
        tidy(directory)

    def _is_joined(self, directory: Path, shards: Mapping[str, Object]) -> bool:
        """Tell whether the index in the store joins just these shards: then none has to be here."""
        try:
            there = self.fetch_index(directory)
            index = read_index(directory / INDEX) if INDEX in there else None
        except ExtractError:  # damaged: made again
            return False
        if index is None:
            return False
        checksums = self.transfer.checksums(directory, shards)
        on_store = {name: (each.size, checksums.get(name)) for name, each in shards.items()}
        return on_store == {name: (each.size, each.sha256) for name, each in index.shards.items()}

    def _keep_index(self, directory: Path) -> None:
        """Upload the joined index, unless just this one is there."""
        path = directory / INDEX
        if not path.exists():
            self.transfer.delete(self.transfer.key(path))
            return
        # Two machines may have mixed file and checksum of two indexes: both are compared.
        pair = [path, sidecar(path)]
        there = self.objects.read([self.transfer.key(each) for each in pair])
        if any(there.get(self.transfer.key(each)) != each.read_bytes() for each in pair):
            for each in pair:
                self.objects.put(each, self.transfer.key(each))

    def fetch_speed(self, directory: Path) -> None:
        """Bring here how fast a cache was filled so far."""
        path = directory / speed.NAME
        for content in self.objects.read([self.transfer.key(path)]).values():
            write_bytes(path, content)

    def keep_speed(self, directory: Path) -> None:
        """Upload how fast a cache was filled; of two machines at the same moment one is lost."""
        path = directory / speed.NAME
        self.objects.put(path, self.transfer.key(path))

    def _planned(self, directory: Path) -> set[str]:
        """Return the shards that plans name."""
        plans = map(read_plan, _files(directory, "plan-*.json"))
        return set(chain.from_iterable(plan.shards for plan in plans))

    def _forget_unplanned(self, directory: Path) -> None:
        """Delete shards here that were never uploaded, of a plan that was replaced."""
        there = self.transfer.announced(directory)
        for path in _files(directory, "shard-*.h5"):
            if path.name not in there:
                remove(path)


def _files(directory: Path, pattern: str) -> list[Path]:
    return list(numbered(directory, pattern).values())


def _plans(there: Mapping[str, Object]) -> dict[str, Object]:
    return {name: each for name, each in there.items() if name.startswith("plan-")}


def _shards(there: Mapping[str, Object]) -> dict[str, Object]:
    return {
        name: each
        for name, each in there.items()
        if name.startswith("shard-") and name.endswith(".h5")
    }
