"""Handle caches of features: their arrays, what there is, what is damaged, and what may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe._show import cut
from svuprobe._sizes import size_text
from svuprobe.api.arguments import model_name, task_name
from svuprobe.extractors import cache as caches
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, find, require_place
from svuprobe.extractors.found_again import finished_elsewhere
from svuprobe.extractors.names import slug
from svuprobe.extractors.place import Place
from svuprobe.extractors.store.opening import place_in
from svuprobe.tasks import kinds
from svuprobe.tasks.manifest import ClipList


class CachedFeatures(Mapping[str, np.ndarray]):
    """Read the features of a cache by clip id; each clip is read when it is asked for.

    At clip level an array is (windows, layers, dim), the means over each window; at frame level
    (layers, frames, dim); float32.

    Attributes
    ----------
    layer_names
        One name per layer.
    level
        ``clip`` or ``frame``.
    """

    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache
        self.layer_names: tuple[str, ...] = cache.header.layer_names
        self.level: str = cache.header.level

    def __repr__(self) -> str:
        """Return whose features they are, and how many."""
        header = self._cache.header
        return (
            f"CachedFeatures({cut(header.model, 52)}@{header.revision[:8]}:\n"
            f"    {cut(header.dataset, 34)}, {cut(header.windowing, 26)}, {self.level} level,\n"
            f"    {len(self)} clips, layers: {len(self.layer_names)} of {header.dim})"
        )

    def __getitem__(self, clip_id: str) -> np.ndarray:
        windows = [self._cache.read(row) for row in self._cache.rows_of[clip_id]]
        # float16 on disk; sums over many frames would overflow or lose digits in it.
        rows = np.concatenate(windows).astype(np.float32)  # (windows or frames, layers, dim)
        return rows if self.level == "clip" else np.ascontiguousarray(rows.transpose(1, 0, 2))

    def std(self, clip_id: str) -> np.ndarray:
        """Return the standard deviations of a clip at clip level, beside its means: (windows,
        layers, dim) float32.

        Raises ExtractError where the cache holds none.
        """
        rows = self._cache.rows_of[clip_id].tolist()
        windows = [self._cache.std[row : row + 1] for row in rows]
        return np.concatenate(windows).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cache.rows_of)

    def __len__(self) -> int:
        return len(self._cache.rows_of)

    def close(self) -> None:
        """Close the files."""
        self._cache.close()

    def __enter__(self) -> CachedFeatures:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_features(
    features: str | Path, task: str | Path | None = None, model: str | Path | None = None
) -> CachedFeatures:
    """Open a cache of features: arrays by clip id, read when they are asked for.

    Parameters
    ----------
    features
        The folder of one cache; or, with ``task`` and ``model``, the folder of all caches. Either
        may be an address in a store.
    task, model
        Whose cache, where ``features`` holds several.

    Returns
    -------
    CachedFeatures
        A mapping from clip id to float32 arrays: (windows, layers, dim) at clip level, (layers,
        frames, dim) at frame level.

    Raises
    ------
    ExtractError
        There is no such cache, there are several, or a part of it is missing or can't be read.

    Example
    -------
    >>> import svuprobe
    >>> features = svuprobe.load_features("features", "technique", "logmel")
    >>> next(iter(features.values())).shape[1:] == (len(features.layer_names), 128)
    True
    """
    place, below = place_in(features)
    folder = place.folder / below
    if task is not None and model is not None:
        place.fetch_lists()
        folder = _folder_of(place, task_name(task), model_name(model))
    place.fetch_index(folder)
    place.fetch_features(folder)
    cache = FeatureCache(folder)
    try:
        # A folder that was renamed would answer for another model or dataset.
        require_place(folder, cache.header)
    except ExtractError:
        cache.close()
        raise
    return CachedFeatures(cache)


def _folder_of(place: Place, name: str, model: str) -> Path:
    """Return the folder of the one cache of a task and a model."""
    from svuprobe.tasks import manifest

    lists, problems = manifest.find(place.folder, name)
    folders: list[Path] = []
    for clips in lists:
        level = kinds.of(clips.task).level
        unusable = place.fetch_indexes(clips.dataset, clips.task.windowing.key, level)
        problems += unusable.values()
        folders += caches_of(place.folder, clips, model)
    # A task's real and synthetic lists may lie in one folder of features.
    folders = list(dict.fromkeys(folders))
    if not folders:
        why = f" ({problems[0]})" if problems else ""
        raise ExtractError(
            f"{place}: no features of {model} for task {name}{why}; "
            f"run svuprobe extract --model {model} --task {name}"
        )
    if len(folders) > 1:
        names = " or ".join(str(folder) for folder in folders)
        raise ExtractError(
            f"{place}: {model} has {len(folders)} caches for task {name}; give one, {names}"
        )
    return folders[0]


def caches_of(
    features: Path, clips: ClipList, model: str = "*", level: str | None = None
) -> list[Path]:
    """Return the folders of the caches a task reads from, of every revision of a model, or of all
    models; of the task's own level, or of another.

    Of a checkpoint in a folder these may be caches that another path has of the same weights.
    """
    # What a cache depends on beside the model: tasks that agree in it share one.
    key = (clips.dataset, clips.task.windowing.key, level or kinds.of(clips.task).level)
    if model == "*":
        return find(features, "*", *key)
    return find(features, slug(model), *key) + finished_elsewhere(features, model, *key)


def cache_list(directory: str | Path) -> list[caches.CacheInfo]:
    """Return what there is of every cache below a folder, and whether it is complete.

    Parameters
    ----------
    directory
        A folder of caches, or of one; or the address of a store, whose features stay there.

    Returns
    -------
    list of CacheInfo
        Model, dataset, windowing, clips, hours, bytes and state of each cache.

    Raises
    ------
    ExtractError
        A plan or shard can't be read.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.cache_list("features")[0].state
    'complete'
    """
    place, below = place_in(directory)
    return list(place.caches(below))


def cache_verify(
    directory: str | Path, *, remove: bool = False, reporter: Reporter = SILENT
) -> list[caches.Damage]:
    """Read every byte of every cache below a folder; say and return what is damaged.

    Parameters
    ----------
    directory
        A folder of caches, or of one; or the address of a store, of which every byte is fetched.
    remove
        Delete damaged files: extracting again then makes these again and touches no others.
    reporter
        Is told each damage, also where the disk is full; shows a bar of the bytes.

    Returns
    -------
    list of Damage
        Path and reason of each file that is not what it was.

    Raises
    ------
    ExtractError
        No cache is there, or a file can't be deleted.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.cache_verify("features")
    []
    """
    place, below = place_in(directory, reporter)
    damages: list[caches.Damage] = []
    try:
        place.verify(below, delete=remove, tell=damages.append)
    finally:  # also where a disk is full: what is deleted is named
        for damage in damages:
            reporter.say(f"{damage.path}: {damage.reason}")
    for name, model in dict.fromkeys(place.owner(damage.path) for damage in damages):
        reporter.say(
            f"  {name}: svuprobe extract --model {model}, with the other options that made it, "
            "repairs it"
        )
    return damages


def cache_prune(
    directory: str | Path,
    *,
    model: str | Path | None = None,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> int:
    """Delete what dead processes left in the caches below a folder, or every cache of one model.

    Parameters
    ----------
    directory
        A folder of caches; or the address of a store, whose local copy is pruned, too.
    model
        Whose caches go, of every revision; None deletes no features.
    dry_run
        Say what would go, and delete nothing.
    reporter
        Is told each file or folder and its size.

    Returns
    -------
    int
        The bytes that are free now, or would be.

    Raises
    ------
    ExtractError
        There is no cache of the model, or a live process is filling it.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.cache_prune("features", dry_run=True)
    0
    """
    place, below = place_in(directory, reporter)
    if model is not None:
        name = model_name(model, reporter)
        freed = place.delete_model(slug(name), below, dry_run=dry_run)
        if freed is None:
            raise ExtractError(
                f"{directory}: no cache of {name}; svuprobe cache list says what there is"
            )
        return freed
    gone = place.prune(below, dry_run=dry_run)
    for path, size in gone.items():
        reporter.say(f"{path}: {size_text(size)}")
    return sum(gone.values())
