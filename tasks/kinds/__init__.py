"""Hold the kinds of task: each is one object in one file, and one line in ``TABLE``.

A task names its kind, as TOML and JSON files do; `of` gives the object. What depends on the kind is
a method of it: how targets become numbers, the loss and its gradient, how outputs become a
prediction, what is scored, and how a prediction is written and drawn. Nothing outside this folder
asks which kind a task has.

Clips with labels or values derive from `svuprobe.tasks.kinds.clips.ClipKind`, events in time from
`svuprobe.tasks.kinds.frames.FrameKind`; `svuprobe.tasks.kinds.base.Kind` is what both have in
common. Their modules import torch and mir_eval where these are used: a list of tasks needs the
names of metrics, and no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from svuprobe.tasks.kinds.base import Kind
    from svuprobe.tasks.types import Task

# Name -> "module:object", loaded when asked for.
TABLE = {
    "multiclass": "svuprobe.tasks.kinds.multiclass:MULTICLASS",
    "multilabel": "svuprobe.tasks.kinds.multilabel:MULTILABEL",
    "regression": "svuprobe.tasks.kinds.regression:REGRESSION",
    "notes": "svuprobe.tasks.kinds.notes:NOTES",
    "beats": "svuprobe.tasks.kinds.beats:BEATS",
    "melody": "svuprobe.tasks.kinds.melody:MELODY",
    "chords": "svuprobe.tasks.kinds.chords:CHORDS",
    "segments": "svuprobe.tasks.kinds.segments:SEGMENTS",
    "structure": "svuprobe.tasks.kinds.structure:STRUCTURE",
    "sequence": "svuprobe.tasks.kinds.sequence:SEQUENCE",
}


def named(name: str) -> Kind:
    """Return the kind of a name in ``TABLE``; another raises KeyError."""
    module, _, attribute = TABLE[name].partition(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind


def of(task: Task, labels: Sequence[str] | None = None) -> Kind:
    """Return the kind of a task; of one whose labels are found in its data, with these."""
    return named(task.kind).with_labels(tuple(labels if labels is not None else task.labels or ()))
