"""The clips of a task as extraction saw them, so that probing never needs the dataset.

``FEATURES/tasks/<task>[.synthetic].json``, written by ``svuprobe extract``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from svuprobe._files import write_text
from svuprobe.tasks import dataset_id, load
from svuprobe.tasks.types import Clip, Task, TaskError


@dataclass(frozen=True)
class ClipList:
    """A task, its clips, its labels, and whether they are of a synthetic copy of the dataset."""

    task: Task
    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    synthetic: bool

    @property
    def dataset(self) -> str:
        """Name of the dataset in the cache's folder."""
        return dataset_id(self.task, self.synthetic)


def labels_of(task: Task, clips: Sequence[Clip]) -> tuple[str, ...]:
    """Sorted labels: the task's own, or those its clips carry; names of the targets for regression."""
    if task.labels is not None:
        return task.labels
    if task.kind == "multiclass":
        return tuple(sorted({clip.target for clip in clips}))
    if task.kind == "multilabel":
        return tuple(sorted({tag for clip in clips for tag in clip.target}))
    if task.kind == "regression":
        size = len(clips[0].target)
        return ("target",) if size == 1 else tuple(f"target{n}" for n in range(size))
    return ()


def save(features: Path, task: Task, clips: Sequence[Clip], synthetic: bool) -> ClipList:
    """Write the list of a task's clips and return it."""
    found = ClipList(task, tuple(clips), labels_of(task, clips), synthetic)
    body = {
        "task": task.name,
        "version": task.version,
        "source": task.source,
        "synthetic": synthetic,
        "labels": found.labels,
        "clips": [asdict(clip) for clip in clips],
    }
    path = features / "tasks" / f"{task.name}{'.synthetic' if synthetic else ''}.json"
    write_text(path, json.dumps(body, indent=0))
    return found


def read(path: Path) -> ClipList:
    """A saved list. For own data the TOML and CSV are read again, so that edited labels are never stale."""
    body = json.loads(path.read_text(encoding="utf-8"))
    task = load(body["source"] or body["task"])
    if task.version != body["version"]:
        raise TaskError(
            f"{path}: of version {body['version']} of task {task.name}, this is version {task.version}; "
            f"run svuprobe extract again (features are kept)"
        )
    if task.source:
        clips = task.clips(Path())
        return ClipList(task, tuple(clips), labels_of(task, clips), False)
    clips = [Clip(**clip | {"target": _tuples(clip["target"])}) for clip in body["clips"]]
    return ClipList(task, tuple(clips), tuple(body["labels"]), body["synthetic"])


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def find(features: Path, name: str | None = None) -> list[ClipList]:
    """Saved lists of one task (of its real and its synthetic dataset), or of every task."""
    if name is not None and name.endswith(".toml"):
        task = load(name)
        clips = task.clips(Path())
        return [ClipList(task, tuple(clips), labels_of(task, clips), False)]
    pattern = "*" if name is None else name
    paths = sorted({*features.glob(f"tasks/{pattern}.json"), *features.glob(f"tasks/{pattern}.synthetic.json")})
    return [read(path) for path in paths]
