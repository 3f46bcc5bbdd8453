"""Say what is asked of frozen features: datasets, splits, targets, decoders and metrics.

A new task is one file that makes a :class:`~svuprobe.tasks.types.Task` and one line in ``TABLE``; a
task on your own data is a TOML file or a folder (see :mod:`svuprobe.tasks.own`).
"""

from __future__ import annotations

import importlib
from pathlib import Path

from svuprobe._errors import did_you_mean
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

__all__ = [
    "TABLE",
    "Clip",
    "Task",
    "TaskError",
    "Windowing",
    "check_name",
    "dataset_id",
    "find_clips",
    "load",
]

# Name -> "module:object", loaded when asked for.
TABLE = {
    "technique": "svuprobe.tasks.technique:TASK",
    "technique-marble": "svuprobe.tasks.technique:MARBLE",
    "singer": "svuprobe.tasks.singer:TASK",
    "transcription": "svuprobe.tasks.transcription:TASK",
    "genre": "svuprobe.tasks.genre:TASK",
    "beat": "svuprobe.tasks.beat:TASK",
    "key": "svuprobe.tasks.key:TASK",
    "emotion": "svuprobe.tasks.emotion:TASK",
    "instrument": "svuprobe.tasks.instrument:TASK",
    "pitch": "svuprobe.tasks.pitch:TASK",
    "singer-artist20": "svuprobe.tasks.singer_artist20:TASK",
    "singer-artist20-released": "svuprobe.tasks.singer_artist20:RELEASED",
    "singer-cross-technique": "svuprobe.tasks.singer_cross_technique:TASK",
    "tagging": "svuprobe.tasks.tagging:TASK",
    "mtg-instrument": "svuprobe.tasks.mtg_jamendo:INSTRUMENT",
    "mtg-moodtheme": "svuprobe.tasks.mtg_jamendo:MOODTHEME",
    "mtg-genre": "svuprobe.tasks.mtg_jamendo:GENRE",
    "mtg-top50": "svuprobe.tasks.mtg_jamendo:TOP50",
    "melody": "svuprobe.tasks.melody:TASK",
    "melody-medleydb": "svuprobe.tasks.melody:MEDLEYDB",
    "chords": "svuprobe.tasks.chords:TASK",
    "technique-detection": "svuprobe.tasks.technique_detection:TASK",
    "structure": "svuprobe.tasks.structure:TASK",
    "singing-quality": "svuprobe.tasks.singing_quality:TASK",
    "starter-digits": "svuprobe.tasks.starter:DIGITS",
    "starter-family": "svuprobe.tasks.starter:FAMILY",
    "starter-pitch": "svuprobe.tasks.starter:PITCH",
    "starter-pitch-height": "svuprobe.tasks.starter:HEIGHT",
}


def check_name(name: str) -> None:
    """Raise TaskError, with the close matches, for what is neither in the table nor own data."""
    if name in TABLE:
        return
    from svuprobe.tasks import own

    if own.is_own(name):
        return
    if Path(name).is_dir():
        raise TaskError(f"unknown task {name!r}; of the folder that is there: folder:{name}")
    if Path(f"{name}.toml").is_file():
        raise TaskError(f"unknown task {name!r}; of the file that is there: {name}.toml")
    hint = did_you_mean(name, sorted(TABLE), most=3, alike=0.5)
    raise TaskError(
        f"unknown task {name!r}: {hint} (your own data: a path to a .toml file, or "
        "folder:PATH; see svuprobe tasks)"
    )


def load(name: str) -> Task:
    """Return the task of that name, or the one that a TOML file or a folder describes."""
    from svuprobe.tasks import own

    check_name(name)
    if own.is_own(name):
        return own.load(name)
    module, attribute = TABLE[name].split(":")
    task: Task = getattr(importlib.import_module(module), attribute)
    return task


def is_synthetic(root: Path) -> bool:
    """Tell whether a dataset folder was written by ``svuprobe data synth``."""
    return (root / "SYNTHETIC.json").is_file()


def dataset_id(task: Task, synthetic: bool) -> str:
    """Return a dataset's name in caches and results.

    A synthetic copy never shares one with the real recordings.
    """
    return f"{task.dataset}.synthetic" if synthetic else task.dataset


def _how_to_get(task: Task, root: Path) -> str:
    """Say what puts the dataset of a task where it was looked for."""
    from svuprobe.tasks.datasets import embedded_folder

    if embedded_folder(task.dataset):
        return f"{task.dataset} comes with svuprobe: leave out --data {task.dataset}={root}"
    return (
        f"put {task.dataset} there, point --data {task.dataset}=PATH at it, "
        f"or make a synthetic copy: svuprobe data synth --task {task.name} --out {root.parent}"
    )


def _is_whole(root: Path) -> bool:
    from svuprobe.tasks.synth.corpus import MARKER, read_marker

    # Copies of versions that kept no such entry count as whole.
    return read_marker(root / MARKER).get("complete", True) is True


def find_clips(task: Task, root: Path) -> list[Clip]:
    """Find every clip of a task under its dataset's folder (ignored for a task on the user's own
    data).

    Raises TaskError where the folder is absent, unfinished or holds no clip, and where ids repeat
    or a group that must not cross splits or folds does.
    """
    if not task.source and not root.is_dir():
        raise TaskError(f"{root}: no such folder; {_how_to_get(task, root)}")
    if not task.source and is_synthetic(root) and not _is_whole(root):
        raise TaskError(f"{root}: its synthesis was interrupted; run svuprobe data synth again")
    clips = task.clips(root)
    if not clips:
        raise TaskError(
            f"{root}: no clip of {task.dataset} found in its official layout ({task.reference})"
        )
    _check(task, clips)
    return clips


def _check(task: Task, clips: list[Clip]) -> None:
    from svuprobe.tasks import folds

    ids: set[str] = set()
    split_of: dict[str, str] = {}
    for clip in clips:
        if clip.id in ids:
            raise TaskError(
                f"task {task.name}: clip id {clip.id!r} occurs twice; ids must be unique"
            )
        ids.add(clip.id)
        # The first clip of a group says which split all of it is in.
        other = split_of.setdefault(clip.group, clip.split)
        if task.disjoint_groups and other != clip.split:
            raise TaskError(
                f"task {task.name}: group {clip.group!r} is in both {other} and {clip.split}; "
                f"a group may not cross splits"
            )
    folds.check(task, clips)
