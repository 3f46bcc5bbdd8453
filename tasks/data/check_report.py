"""Hold what a check of a dataset found, and write it for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from svuprobe._text import one_line
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.spelling import shown
from svuprobe.tasks.types import Task

MOST_LABELS = 24  # more than these are summed up in one line


@dataclass(frozen=True)
class SplitCount:
    """Count one split as found; ``events`` are notes or beats, ``official`` is None where
    unknown.
    """

    clips: int
    groups: int
    hours: float
    events: int
    official: int | None


@dataclass(frozen=True)
class CheckReport:
    """Hold what :func:`check` found; ``ok`` where nothing is missing, damaged or contradictory.

    ``splits`` are folds where clips have them. ``labels`` counts clips per label and split (empty
    for regression, notes and beats).
    ``shortest`` and ``longest`` are ``(seconds, clip id)``, ``median_s`` is of the clips whose
    length is known. ``doubts`` are sentences on what is there and may not be meant. ``understood``
    are sentences on what was read of own data, ``first`` their first rows with a header.
    """

    task: Task
    root: Path
    synthetic: bool
    splits: Mapping[str, SplitCount]
    labels: Mapping[str, Mapping[str, int]]
    forms: Mapping[str, int]
    shortest: tuple[float, str] | None = None
    longest: tuple[float, str] | None = None
    median_s: float = 0.0
    problems: tuple[str, ...] = field(default=())
    doubts: tuple[str, ...] = field(default=())
    understood: tuple[str, ...] = field(default=())
    first: Sequence[Sequence[str]] = ()

    @property
    def ok(self) -> bool:
        """Return whether there is no problem."""
        return not self.problems

    @property
    def hours(self) -> float:
        """Return the hours of audio in all clips."""
        return sum(split.hours for split in self.splits.values())

    def lines(self, most: int = 20) -> list[str]:
        """Return the report for a terminal; of the problems the first ``most``."""
        copy = " (a synthetic copy)" if self.synthetic else ""
        lines = [self._title(copy), ""]
        if self.understood:
            lines += [*self.understood, ""]
            rows, header = self.first[1:], self.first[0]
            table = tabulate([map(one_line, row) for row in rows], header, disable_numparse=True)
            lines += [*table.splitlines(), ""]
        lines += [*self._split_lines(), "", *self._label_lines(), *self._file_lines(), ""]
        lines += [f"note: {doubt}" for doubt in self.doubts]
        if self.ok:
            notes = ", but see the notes" if self.doubts else ""
            return [*lines, f"whole: nothing is missing or damaged{notes}"]
        lines.append(f"problems: {len(self.problems)}")
        lines += [f"  {problem}" for problem in self.problems[:most]]
        # Of a dataset that is half there every clip is a problem: a terminal has no room for all.
        if len(self.problems) > most:
            lines.append(f"  ... and {len(self.problems) - most} more")
        return lines

    def _title(self, copy: str) -> str:
        # Own data lie where they are described, not in a folder of datasets.
        if self.task.source:
            return f"{self.task.name} ({self.task.source})"
        return f"{self.task.name} on {self.task.dataset}{copy} in {self.root}"

    def _split_lines(self) -> list[str]:
        events = kinds.of(self.task).level == "frame"
        # Columns that have nothing to say are left out: times an empty list.
        official = any(split.official is not None for split in self.splits.values())
        folds = "train" not in self.splits
        columns = [
            "fold" if folds else "split",
            "clips",
            *["official"] * official,
            "groups",
            "hours",
        ]
        columns += [kinds.of(self.task).events_name] * events
        rows = []
        for name, split in self.splits.items():
            row = [name, split.clips, *[split.official] * official, split.groups]
            rows.append([*row, f"{split.hours:.2f}", *[split.events] * events])
        table = tabulate(
            rows, columns, disable_numparse=True, colalign=["left", *["right"] * (len(columns) - 1)]
        )
        return table.splitlines()

    def _label_lines(self) -> list[str]:
        if not self.labels:
            return []
        if len(self.labels) <= MOST_LABELS:
            rows = []
            for label, counts in self.labels.items():
                rows.append([shown(label), *(counts.get(split, 0) for split in self.splits)])
            header = ["label", *self.splits]
            return [*tabulate(rows, header, disable_numparse=True).splitlines(), ""]
        # Too many for a table: only the rarest and the commonest are shown.
        totals = {label: sum(counts.values()) for label, counts in self.labels.items()}
        ranked = sorted(totals, key=totals.__getitem__)
        least, most = ranked[0], ranked[-1]
        ends = f"{least} ({totals[least]}) to {most} ({totals[most]})"
        return [f"labels     {len(ranked)}, from {ends} clips"]

    def _file_lines(self) -> list[str]:
        commonest_first = sorted(self.forms.items(), key=lambda item: -item[1])
        forms = [f"{count:,} x {form}" for form, count in commonest_first]
        lines = [f"files      {', '.join(forms) or 'none that can be read'}"]
        about = (
            f" of about {self.task.hours:,.1f} h of the whole dataset" if self.task.hours else ""
        )
        length = f"{self.hours:.2f} h" if self.hours >= 0.1 else f"{self.hours * 3600:.1f} s"
        lines.append(f"audio      {length}{about if not self.synthetic else ''}")
        if self.shortest and self.longest:
            ends = (f"{seconds:.2f} s ({name})" for seconds, name in (self.shortest, self.longest))
            lines.append(f"clips      {' to '.join(ends)}, median {self.median_s:.2f} s")
        return lines
