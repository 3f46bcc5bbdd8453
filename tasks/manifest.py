"""Keep the clips of a task as extraction saw them, so that probing never needs the dataset.

``FEATURES/tasks/<task>[.window<seconds>s][.synthetic].json``, written by ``svuprobe extract``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from svuprobe._files import holds, write_text
from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks import TABLE, dataset_id, kinds, load, own
from svuprobe.tasks.types import SPLITS, Clip, Task, TaskError


@dataclass(frozen=True)
class ClipList:
    """Hold a task, its clips and labels, and whether they are of a synthetic copy of the dataset.

    ``window_s`` is the length of windows that was asked for in place of the task's own, which the
    task has then; None for its own. ``saved_at`` is when extraction wrote the list, in seconds
    since 1970; None for one that was just made.
    """

    task: Task
    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    synthetic: bool
    saved_at: float | None = None
    window_s: float | None = None

    @property
    def dataset(self) -> str:
        """Return the name of the dataset in the cache's folder."""
        return dataset_id(self.task, self.synthetic)

    @property
    def folder(self) -> str:
        """Return the name of the task's folder in results."""
        return folder_of(self.task.name, self.synthetic, self.window_s)

    def with_window(self, window_s: float | None) -> ClipList:
        """Return the same list with windows of another length; None, or its own, change nothing."""
        if window_s is None or window_s == self.task.windowing.window_s:
            return self
        task = replace(self.task, windowing=self.task.windowing.with_window(window_s))
        return replace(self, task=task, window_s=float(window_s))

    def untouched(self, clip: Clip) -> bool:
        """Tell whether a clip's file is as it was when extraction wrote the list: no need to read
        it.
        """
        if self.saved_at is None:
            return False
        try:
            # The same file as then, as far as the system tells: reading it all would take minutes.
            status = os.stat(clip.path)
        except (OSError, ValueError):
            return False
        # Either time may lag: a copied file keeps the one, a renamed one the other.
        return max(status.st_mtime, status.st_ctime) < self.saved_at


def folder_of(task: str, synthetic: bool, window_s: float | None = None) -> str:
    """Return the name of a task's folder in results, and of its list of clips."""
    window = "" if window_s is None else f".window{window_s:g}s"
    return f"{task}{window}{'.synthetic' if synthetic else ''}"


def listed(task: Task, clips: Sequence[Clip], synthetic: bool) -> ClipList:
    """Return the list of a task's clips as they are now."""
    return ClipList(task, tuple(clips), labels_of(task, clips), synthetic)


def labels_of(task: Task, clips: Sequence[Clip]) -> tuple[str, ...]:
    """Return sorted labels: the task's own, or those its clips carry; a regression's target
    names.
    """
    if task.labels is not None:
        return task.labels
    return kinds.of(task).labels_of(task, clips)


def save(features: Path, found: ClipList, reporter: Reporter = SILENT) -> None:
    """Write the list of a task's clips, unless just this one is there.

    It may be there where nothing can be written.

    The file or folder of a task on the user's own data is kept by its path, and by the path from
    here to it, which survives moving a project as a whole. The reporter is told where the list was
    of other data until now.
    """
    task, path = found.task, features / "tasks" / f"{found.folder}.json"
    body = {
        "task": task.name,
        "version": task.version,
        "source": task.source,
        "relative_source": _relative(task.source, path.parent),
        "synthetic": found.synthetic,
        "labels": found.labels,
        "clips": [_stored(clip) for clip in found.clips],
    }
    if found.window_s is not None:
        body["window_s"] = found.window_s
    # A line for each value: two versions of a list can be compared line by line.
    text = json.dumps(body, indent=0)
    if holds(path, text):
        return
    before = _replaced(path, task)
    write_text(path, text)
    if before:
        reporter.say(
            f"{task.name}: {path} was made from {before} and is from now on of {task.source}; "
            "features that are there stay, and probe makes results again where clips or targets "
            "differ"
        )


def _replaced(path: Path, task: Task) -> str:
    """Return the name of the other own data that a task's list is of; empty where there are
    none.
    """
    if not task.source or not path.is_file():
        return ""
    try:
        body = _body(path)
    except TaskError:
        return ""  # damaged: nobody could use it
    try:
        before = _source(path, body)
    except TaskError:
        return str(body["source"])
    # By what is on the disk: a project that moved as a whole is the same under another path.
    same = before and os.path.samefile(own.path_of(before), own.path_of(task.source))
    return "" if same else before


def _stored(clip: Clip) -> dict[str, Any]:
    """Return a clip as JSON values; a fold is named where there are folds, as in older lists."""
    stored = asdict(clip)
    if not clip.fold:
        del stored["fold"]
    return stored


def _relative(source: str, folder: Path) -> str:
    """Return the path from a folder to a file; empty where there is none, as between two drives."""
    try:
        # With slashes, so that a list made on Windows is read elsewhere.
        if not source:
            return ""
        relative = os.path.relpath(own.path_of(source), folder.resolve())
        return own.at(source, Path(relative).as_posix())
    except ValueError:
        return ""


def read(path: Path) -> ClipList:
    """Read a saved list.

    Own data are read again, so that edited labels are never stale.

    Raises TaskError naming the file where it is damaged, of another version, or made from own data
    that are gone.
    """
    body, saved_at = _body(path), path.stat().st_mtime
    task = load(_source(path, body) or body["task"])
    if task.version != body["version"]:
        raise TaskError(
            f"{path}: of version {body['version']} of task {task.name}, this is version "
            f"{task.version}; run svuprobe extract again (features are kept)"
        )
    window_s = body.get("window_s")
    if task.source:
        return listed(task, task.clips(Path()), False).with_window(window_s)
    # JSON knows lists only; targets are tuples.
    clips = [Clip(**clip | {"target": _tuples(clip["target"])}) for clip in body["clips"]]
    found = ClipList(task, tuple(clips), tuple(body["labels"]), body["synthetic"], saved_at)
    return found.with_window(window_s)


_TYPES = {
    "task": str,
    "version": int,
    "source": str,
    "synthetic": bool,
    "labels": list,
    "clips": list,
}
_CLIP_TYPES = {
    "id": str,
    "path": str,
    "split": str,
    "group": str,
    "start": (int, float),
    "end": (int, float, type(None)),
    "target": object,
    "fold": str,
}
assert _CLIP_TYPES.keys() == {f.name for f in fields(Clip)}


def _body(path: Path) -> dict[str, Any]:
    """Read what a file holds, if it has the shape of a list."""
    again = "delete it and run svuprobe extract again (features are kept)"
    try:
        body = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise TaskError(f"{path}: can't be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: damaged ({error}); {again}") from None
    if not isinstance(body, dict) or not all(
        isinstance(body.get(key), kind) for key, kind in _TYPES.items()
    ):
        raise TaskError(f"{path}: is no list of a task's clips; {again}")
    if not _is_window(body.get("window_s")):
        raise TaskError(f"{path}: damaged (window_s {body['window_s']!r}); {again}")
    for clip in body["clips"]:
        # Checked here, once: whatever else reads clips relies on their types.
        whole = isinstance(clip, dict) and clip.keys() | {"fold"} == _CLIP_TYPES.keys()
        if not whole or not all(
            isinstance(clip[key], _CLIP_TYPES[key])  # type: ignore[arg-type]
            for key in clip
        ):
            raise TaskError(f"{path}: damaged (a clip {json.dumps(clip)[:80]}); {again}")
        if clip["split"] not in SPLITS:
            raise TaskError(f"{path}: damaged (split {clip['split']!r}); {again}")
    return body


def _is_window(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value < math.inf)


def _source(path: Path, body: dict[str, Any]) -> str:
    """Return the name of the own data a list was made from: where they were or lie from here.

    It is empty for built-in tasks.
    """
    source = str(body["source"])
    if not source or own.is_there(source):
        return source
    # A path with a null character is no file: it stands for "there is none".
    relative = str(body.get("relative_source") or "\0")
    moved = own.at(relative, path.parent / own.path_of(relative))
    if "\0" not in moved and own.is_there(moved):
        return moved
    raise TaskError(
        f"{path}: was made from {source}, which is gone; run svuprobe extract --task with the "
        f"data where they are now (features are kept), or delete {path} to forget the task"
    )


def sources(features: Path, names: Sequence[str]) -> list[str]:
    """Return what tasks are loaded by: a name of own data that extraction listed becomes the TOML
    file or folder that it was of; all others stay as they are.

    Raises TaskError naming the list whose data are gone, or that is damaged.
    """
    return [_by_list(features, name) for name in names]


def _by_list(features: Path, name: str) -> str:
    if name in TABLE or own.is_own(name):
        return name
    problem: TaskError | None = None
    # With windows of another length a task has a list more: any of them says what it is of.
    for path in sorted(features.glob("tasks/*.json")):
        if path.name.partition(".")[0] != name:
            continue
        try:
            return _source(path, _body(path)) or name
        except TaskError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return name


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def find(
    features: Path, name: str | None = None, window_s: float | None = None
) -> tuple[list[ClipList], list[str]]:
    """Find the saved lists of one task (of its real and its synthetic dataset), or of every task.

    ``window_s`` finds those whose clips were cut to such windows; None, those with the task's own.

    Returns the lists, and a line for each file that can't be used; one bad file hides no other
    task. Hidden files, such as macOS leaves on other file systems, are no lists.
    """
    if name is not None and own.is_own(name):
        task = load(name)
        return [listed(task, task.clips(Path()), False).with_window(window_s)], []
    # A task's own windows may be those asked for.
    endings = {folder_of("", synthetic) for synthetic in (False, True)}
    if window_s is not None:
        endings |= {folder_of("", synthetic, window_s) for synthetic in (False, True)}
    found, problems = [], []
    for path in sorted(features.glob("tasks/*.json")):
        task_name, dot, ending = path.name.removesuffix(".json").partition(".")
        # (Names of tasks have no dots; a hidden file has none before its first.)
        if not task_name or name not in (None, task_name) or dot + ending not in endings:
            continue
        try:
            one = read(path)
        except TaskError as error:
            problems.append(str(error))
            continue
        if window_s is None or one.task.windowing.window_s == window_s:
            found.append(one)
    return found, problems
