"""Find what results were made from, as far as it is still at hand: clips, caches, cards of models
and datasets.

A result says what it was made from by digests; here the thing itself is looked up, and used only
where it agrees with them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import CacheInfo
from svuprobe.extractors.place import Place
from svuprobe.extractors.training_data import training_data
from svuprobe.extractors.training_table import TrainingData
from svuprobe.probe.assemble import digests
from svuprobe.probe.results.result import Result, TaskInfo
from svuprobe.tasks import TABLE, find_clips, is_synthetic, load, manifest
from svuprobe.tasks.datasets import DATASETS, Dataset, embedded_folder
from svuprobe.tasks.types import Clip as Clip, TaskError

FolderOf = Callable[[str], Path]
# What browsers play as it is; anything else is decoded and written as FLAC.
_PLAYED = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"}
_MOST_BYTES = 20 << 20  # of a file that is copied whole
_MOST_S = 60.0  # of an excerpt
_RATE = 44100


@dataclass(frozen=True)
class AtHand:
    """Look up what lies beside results.

    Attributes
    ----------
    features
        Where caches are, with the lists of clips; None where there are none.
    folder_of
        Gives the folder of a dataset by its name; None where no data are at hand.
    problems
        A line for each folder of data that is there and can't be used.
    """

    features: Place | None = None
    folder_of: FolderOf | None = None
    problems: list[str] = field(default_factory=list)
    _clips: dict[tuple[str, str], dict[str, Clip]] = field(default_factory=dict, repr=False)

    def clips(self, task: TaskInfo) -> dict[str, Clip]:
        """Return the clips of a task by id: those that its result was made from, or none.

        Lists that extraction wrote come first, then the folders of data, then recordings that come
        with svuprobe. What has another split or other targets is not used.
        """
        key = task.split_sha256, task.target_sha256
        if key not in self._clips:
            self._clips[key] = self._find(task)
        return self._clips[key]

    def _find(self, task: TaskInfo) -> dict[str, Clip]:
        for find in (self._listed, self._in_data):
            clips = find(task)
            found = digests(clips) if clips else {}
            agrees = found.get("split_sha256") == task.split_sha256
            if agrees and found.get("target_sha256") == task.target_sha256:
                return {clip.id: clip for clip in clips}
        return {}

    def _listed(self, task: TaskInfo) -> list[Clip]:
        """Return the clips that extraction listed."""
        if self.features is None or not self.features.is_there:
            return []
        lists, _ = manifest.find(self.features.folder, task.name, task.window_s)
        for each in lists:
            if each.synthetic == task.synthetic:
                return list(each.clips)
        return []

    def _in_data(self, task: TaskInfo) -> list[Clip]:
        """Return the clips of a built-in task in its dataset's folder."""
        if task.name not in TABLE:
            return []
        folder = self.folder_of(task.dataset) if self.folder_of else embedded_folder(task.dataset)
        if folder is None or not folder.is_dir() or is_synthetic(folder) != task.synthetic:
            return []
        try:
            return find_clips(load(task.name), folder)
        except TaskError as error:
            self.problems.append(str(error))
            return []

    def caches(self) -> list[CacheInfo]:
        """Return what caches there are; none where there is no folder of them."""
        if self.features is None or not self.features.is_there:
            return []
        try:
            return list(self.features.caches())
        except (ExtractError, OSError):  # another process is at work there: sizes are no result
            return []


def training_of(result: Result) -> TrainingData | None:
    """Return what is on record of a model's training; None for controls and where nothing is."""
    if result.model.control or result.model.name.startswith("hf:/"):
        return None
    return training_data(result.model.name)


def built_in(task: TaskInfo) -> bool:
    """Tell whether svuprobe has a task of this name; the others are on data of the user's own."""
    return task.name in TABLE


def dataset_card(name: str) -> Dataset | None:
    """Return the card of a dataset; None of data of the user's own."""
    return DATASETS.get(name)


# -- excerpts --------------------------------------------------------------------------------------


def excerpt_name(clip: Clip) -> str:
    """Return the name of a clip's copy: another as soon as the file or the stretch is another."""
    status = os.stat(clip.path)
    told = f"{os.path.realpath(clip.path)}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(f"{told}\0{clip.start}\0{clip.end}".encode()).hexdigest()
    return f"{digest[:16]}{Path(clip.path).suffix.lower() if _as_it_is(clip) else '.flac'}"


def _as_it_is(clip: Clip) -> bool:
    """Tell whether a browser plays the clip's file, and nothing but the clip is in it."""
    path = Path(clip.path)
    whole = clip.start == 0 and clip.end is None
    return whole and path.suffix.lower() in _PLAYED and path.stat().st_size <= _MOST_BYTES


def write_excerpt(clip: Clip, path: Path) -> None:
    """Write a clip's audio to ``path``: the file itself, or a minute of it at most as FLAC.

    Raises
    ------
    ExtractError
        The audio can't be decoded.
    """
    if _as_it_is(clip):
        shutil.copyfile(clip.path, path)
        return
    import soundfile

    from svuprobe.extractors.audio.clips import load_clip

    end = clip.start + _MOST_S if clip.end is None else min(clip.end, clip.start + _MOST_S)
    try:
        samples = load_clip(replace(clip, end=end), _RATE)
    except ExtractError:
        samples = load_clip(clip, _RATE)[: round(_MOST_S * _RATE)]  # a file shorter than a minute
    soundfile.write(path, samples.clip(-1, 1), _RATE, format="FLAC")
