"""Check that a dataset is whole: its clips against official numbers, its files for what decodes.

Only heads of files are read, side by side, so even 300,000 files take minutes. A synthetic copy is
compared with its ``SYNTHETIC.json`` instead of the official numbers, and a dataset that lists
checksums, as the one that comes with svuprobe, with those too. Of own data it is said what was
understood of them, and which recordings stand on two sides of a split.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

from tabulate import tabulate

from svuprobe._progress import SILENT, Reporter
from svuprobe._text import one_line
from svuprobe.tasks import is_synthetic, kinds
from svuprobe.tasks.data.checksums import against_list, against_marker, short
from svuprobe.tasks.data.doubts import SLACK_S, beyond, doubts
from svuprobe.tasks.data.leaks import leaks
from svuprobe.tasks.datasets import DATASETS
from svuprobe.tasks.own.statement import first_rows, sentences
from svuprobe.tasks.types import SPLITS, Clip, Task

MOST_LABELS = 24  # more than these are summed up in one line


class Head(Protocol):
    """Describe what the head of a sound file says; ``problem`` is empty where it can be read."""

    @property
    def seconds(self) -> float:
        """Return the length of the audio, in seconds."""

    @property
    def form(self) -> str:
        """Return the format in words, e.g. ``WAV 44100 Hz mono``."""

    @property
    def problem(self) -> str:
        """Return why the file can't be read."""


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

    ``labels`` counts clips per label and split (empty for regression, notes and beats).
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
        columns = ["split", "clips", *["official"] * official, "groups", "hours"]
        columns += [self.task.kind] * events
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
                rows.append([label, *(counts.get(split, 0) for split in SPLITS)])
            return [*tabulate(rows, ["label", *SPLITS], disable_numparse=True).splitlines(), ""]
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
            lines.append(
                f"clips      {' to '.join(ends)}, half of them under {self.median_s:.2f} s"
            )
        return lines


def check(
    task: Task,
    root: Path,
    clips: Sequence[Clip],
    heads: Callable[[Sequence[str]], Iterable[Head]],
    reporter: Reporter = SILENT,
    *,
    thorough: bool = False,
    jobs: int | None = None,
) -> CheckReport:
    """Compare a task's clips with the official numbers, and read the header of each of their files.

    Parameters
    ----------
    clips
        As :func:`svuprobe.tasks.find_clips` returns them.
    heads
        Reads the heads of files, in order (`svuprobe.extractors.audio.decoders.Decoders.heads`).
    reporter
        Shows a bar of the files.
    thorough
        Also compare the SHA-256 of every file of a synthetic copy.
    jobs
        Threads; by default one per processor.
    """
    synthetic = not task.source and is_synthetic(root)
    paths = list(dict.fromkeys(clip.path for clip in clips))
    # Each file once, whatever the number of clips that are parts of it.
    read = reporter.watch(heads(paths), f"{task.dataset}: headers", len(paths))
    headers = dict(zip(paths, read, strict=True))
    seconds = {clip.id: _seconds(clip, headers[clip.path]) for clip in clips}
    labels = _labels(task, clips)
    problems = []
    # Files first, each once, though many clips may be parts of it.
    for path, header in headers.items():
        if header.problem:
            problems.append(f"{short(path, root)}: {header.problem}")
    for clip in clips:
        if overrun := _overrun(clip, headers[clip.path]):
            problems.append(overrun)
    if synthetic:
        problems += against_marker(root, paths, reporter, thorough, jobs)
    else:
        problems += _against_official(task, clips, labels)
        problems += against_list(task, root, paths, reporter, jobs)
    # The length of a file that can't be read is unknown: no label lies beyond it.
    known = {clip.id: seconds[clip.id] for clip in clips if not headers[clip.path].problem}
    problems += [late] if (late := beyond(task, clips, known)) else []
    # A file that can't be read has no length, and is named above.
    understood, first, more = (), [], []
    if task.source:
        understood, first = tuple(sentences(task, clips)), first_rows(task, clips)
        across, more = leaks(clips, lambda path: short(path, _common(paths)))
        problems += across
    lengths = sorted((s, name) for name, s in seconds.items() if s > 0)
    return CheckReport(
        task=task,
        root=root,
        synthetic=synthetic,
        splits=_splits(task, clips, seconds, synthetic),
        labels=labels,
        forms=Counter(header.form for header in headers.values() if header.form),
        shortest=lengths[0] if lengths else None,
        longest=lengths[-1] if lengths else None,
        median_s=median(length for length, _ in lengths) if lengths else 0.0,
        problems=tuple(problems),
        doubts=(*doubts(task, clips), *more),
        understood=understood,
        first=first,
    )


def _common(paths: Sequence[str]) -> Path:
    """Return the folder that all files lie in; the current one where drives differ."""
    try:
        return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    except ValueError:
        return Path()


def _seconds(clip: Clip, head: Head) -> float:
    # The whole file, or as much of the part as there is.
    end = head.seconds if clip.end is None else min(clip.end, head.seconds)
    return max(end - clip.start, 0.0)


def _overrun(clip: Clip, head: Head) -> str:
    """Say what is wrong with the start and end of a clip; empty where nothing is."""
    last = clip.start if clip.end is None else clip.end
    if head.problem or (last <= head.seconds + SLACK_S and clip.start < head.seconds):
        return ""
    return (
        f"clip {clip.id}: {clip.start:g} s to {last:g} s lies outside its file of "
        f"{head.seconds:.2f} s"
    )


def _splits(
    task: Task, clips: Sequence[Clip], seconds: Mapping[str, float], synthetic: bool
) -> dict[str, SplitCount]:
    found = {}
    for split in SPLITS:
        own = [clip for clip in clips if clip.split == split]
        found[split] = SplitCount(
            clips=len(own),
            groups=len({clip.group for clip in own}),
            hours=sum(seconds[clip.id] for clip in own) / 3600,
            events=sum(len(clip.target) for clip in own) if kinds.of(task).level == "frame" else 0,
            official=None if synthetic else task.expected.get(split),
        )
    return found


def _labels(task: Task, clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
    """Count clips per label and split, the task's own labels first even if no clip has them."""
    kind = kinds.of(task)
    if not kind.has_classes:
        return {}
    # Labels of the task that no clip has are just what a reader looks for.
    found: dict[str, dict[str, int]] = {label: {} for label in task.labels or ()}
    for clip in clips:
        for label in kind.classes(clip.target):
            counts = found.setdefault(label, {})
            counts[clip.split] = counts.get(clip.split, 0) + 1
    return dict(sorted(found.items()))


def _against_official(
    task: Task, clips: Sequence[Clip], labels: Mapping[str, Mapping[str, int]]
) -> list[str]:
    found = Counter(clip.split for clip in clips)
    problems = []
    for split, official in task.expected.items():
        if found[split] != official:
            problems.append(
                f"{split}: {found[split]:,} clips found, {official:,} are official "
                f"({found[split] - official:+,})"
            )
    if task.expected:  # the numbers tell, and some official splits do hold unseen labels
        return problems
    for label, counts in labels.items():
        if "train" not in counts:
            problems.append(f"no training clip of {label}")
    return problems


def absent(task: Task, root: Path) -> list[str]:
    """Say where the folder of a dataset is not there: what it is, where to get it, what to type
    next.
    """
    next_ = f"svuprobe data synth --task {task.name} --out {root.parent}"
    card = DATASETS.get(task.dataset)
    if card is None:
        return [
            f"{root}: no such folder",
            f"  {task.reference} ({task.licence}); a synthetic copy: {next_}",
        ]
    lines = [
        f"{root}: no such folder",
        f"  {'what':10}{card.title}",
        f"  {'size':10}{card.size}",
        f"  {'licence':10}{card.licence}",
    ]
    if card.homepage:
        lines.append(f"  {'homepage':10}{card.homepage}")
    lines.append(f"  {'get it':10}{card.getting}")
    if card.embedded:
        return lines
    lines.append(f"  {'folder':10}{root} (or anywhere, with --data {task.dataset}=PATH)")
    if card.archives:
        lines.append(
            f"  {'download':10}svuprobe data prepare --task {task.name} --data {root.parent}"
        )
    return [*lines, f"  {'synthetic':10}{next_}"]
