"""Make clips of the rows of own data."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from svuprobe.tasks import folds, kinds
from svuprobe.tasks.kinds.annotations import JAMS, clip_values
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.own import splits
from svuprobe.tasks.own.listing import Listing, Row
from svuprobe.tasks.sheets import LATEST_S, Cell, Numbers, can_be_stored, normal
from svuprobe.tasks.types import Clip, Task, TaskError


def clips_of(listing: Listing, task: Task, spec: Mapping[str, Any]) -> list[Clip]:
    """Return the clips of a listing, each with its split or fold.

    Parameters
    ----------
    spec
        Keys of the TOML file: ``split_seed``, ``folds``, ``group_pattern`` and ``namespace`` are
        used.

    Raises
    ------
    TaskError
        A row is wrong, rows don't go together, or the clips can't be split.
    """
    if not listing.rows:
        raise TaskError(f"{listing.place}: no clips in it, only a header")
    kind = kinds.of(task).reading(spec)
    seed, n_folds = spec.get("split_seed", 0), spec.get("folds", 0)
    read = _Rows(listing, task, spec)
    clips = [read.clip(row) for row in listing.rows]
    places = [row.where for row in listing.rows]
    kind.check_targets(listing.place, places, [clip.target for clip in clips], task.labels or ())
    splits.refuse_two_meanings(listing.place, [row.cells.get("split", "") for row in listing.rows])
    if n_folds or any(clip.fold for clip in clips):
        return _in_folds(listing.place, clips, task, seed, n_folds)
    return splits.complete(listing.place, clips, task, seed)


def _in_folds(place: Path, clips: list[Clip], task: Task, seed: int, n_folds: int) -> list[Clip]:
    """Return clips in the folds of their column, or dealt out to ``n_folds``."""
    if any(clip.split for clip in clips):
        raise TaskError(
            f"{place}: clips have a split and folds; with folds every clip is tested once, so "
            "leave out one of the two"
        )
    if n_folds and any(clip.fold for clip in clips):
        raise TaskError(
            f"{place}: has a column fold, and the TOML says folds = {n_folds}; leave out one of "
            "the two"
        )
    if n_folds:
        return folds.dealt(clips, task, n_folds, seed)
    folds.check(task, clips)
    return [replace(clip, split="test") for clip in clips]


class _Rows:
    """Make clips of rows; a file of events is read once, however many name it."""

    def __init__(self, listing: Listing, task: Task, spec: Mapping[str, Any]) -> None:
        self.listing, self.task = listing, task
        self.kind = kinds.of(task).reading(spec)
        self.namespace = spec.get("namespace", "")
        self.group = re.compile(spec["group_pattern"]) if "group_pattern" in spec else None
        self.numbers = _numbers(listing, self.kind)  # of each list
        self.events: dict[Path, Sequence[Any]] = {}

    def clip(self, row: Row) -> Clip:
        """Return the clip of a row. Raises TaskError where a cell is wrong."""
        where, cells = row.where, row.cells
        for name, text in cells.items():
            if not can_be_stored(text):
                # A locale without UTF-8 makes such of every letter beyond ASCII.
                utf8 = sys.getfilesystemencoding() == "utf-8"
                advice = "rename it" if utf8 else "run it again with PYTHONUTF8=1"
                raise TaskError(
                    f"{where}: {name} {ascii(text)[:80]} has bytes that are not UTF-8, as names in "
                    f"old archives, or a null character; {advice}"
                )
        for needed in ("path", "target"):
            if not cells[needed] and not (needed == "target" and self.kind.may_be_empty):
                raise TaskError(f"{where}: {needed} is empty")
        start = self._time(row, "start", cells.get("start") or "0")
        end = self._time(row, "end", cells["end"]) if cells.get("end") else None
        if end is not None and end <= start:
            raise TaskError(f"{where}: start {start:g} s, end {end} s; 0 <= start < end")
        # Parts of one file need ids that differ.
        part = ""
        if start or end is not None:
            part = f"#{start:.10g}-{'' if end is None else f'{end:.10g}'}"
        return Clip(
            id=cells.get("id") or cells["path"] + part,
            path=str(self.listing.base / cells["path"]),
            split=splits.named(where, cells.get("split", "")),
            target=self._target(row, cells["target"], start, end),
            group=self._group(where, cells),
            start=start,
            end=end,
            fold=normal(cells.get("fold", "")),
        )

    def _time(self, row: Row, name: str, text: str) -> float:
        return self.numbers[row.table].read(Cell(row.where, text), name, 0.0, LATEST_S, " s")

    def _group(self, where: str, cells: Mapping[str, str]) -> str:
        if self.group is None:
            return normal(cells.get("group", "")) or cells["path"]
        if cells.get("group"):
            raise TaskError(
                f"{where}: has a group, {cells['group']!r}, and the TOML a group_pattern; leave "
                "out one of the two"
            )
        match = self.group.search(cells["path"])
        if not match or not normal(match[1] or ""):
            raise TaskError(
                f"{where}: group_pattern = {self.group.pattern!r} finds no group in the path "
                f"{cells['path']!r}"
            )
        return normal(match[1])

    def _target(self, row: Row, text: str, start: float, end: float | None) -> Any:
        where, path = row.where, self.listing.base / text
        if isinstance(self.kind, ClipKind):
            if text.lower().endswith(JAMS):
                values = clip_values(path, self.kind.namespaces, self.namespace)
                text, where = self.kind.cell_of(str(path), values), str(path)
            return self.kind.parse(
                Cell(where, text), self.numbers[row.table], self.task.labels or ()
            )
        assert isinstance(self.kind, FrameKind)
        written = self.kind.of_cell(where, text)
        if written is not None:
            return written
        # Many clips may be parts of one recording: its events are read once.
        if path not in self.events:
            self.events[path] = self.kind.events(path, self.namespace)
        return self.kind.cut(self.events[path], start, math.inf if end is None else end)


def _numbers(listing: Listing, kind: Kind) -> dict[str, Numbers]:
    """Return the reader of each list's numbers: times, and targets that are numbers."""
    separators: dict[str, str] = {}
    cells_of: dict[str, list[Cell]] = {}
    for row in listing.rows:
        separators[row.table] = row.separator
        cells = cells_of.setdefault(row.table, [])
        target = row.cells["target"]
        # (Numbers in a file of annotations are no cells of this one.)
        of_target = () if target.lower().endswith(JAMS) else kind.numbers_in(target)
        for text in (row.cells.get("start", ""), row.cells.get("end", ""), *of_target):
            cells.append(Cell(row.where, text))
    return {name: Numbers(separators[name], cells) for name, cells in cells_of.items()}
