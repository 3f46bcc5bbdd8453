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
from pathlib import Path
from statistics import median
from typing import Protocol

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks import is_synthetic, kinds
from svuprobe.tasks.data.check_report import CheckReport, SplitCount
from svuprobe.tasks.data.checksums import against_list, against_marker, short
from svuprobe.tasks.data.doubts import SLACK_S, beyond, doubts, too_long
from svuprobe.tasks.data.leaks import leaks
from svuprobe.tasks.datasets import DATASETS
from svuprobe.tasks.folds import names
from svuprobe.tasks.own.statement import first_rows, sentences
from svuprobe.tasks.types import SPLITS, Clip, Task


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
    for problem in (beyond(task, clips, known), too_long(task, clips, known)):
        problems += [problem] if problem else []
    # A file that can't be read has no length, and is named above.
    understood: tuple[str, ...] = ()
    first: list[list[str]] = []
    more: list[str] = []
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
    for split in names(clips) or SPLITS:
        own = [clip for clip in clips if _side(clip) == split]
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
            counts[_side(clip)] = counts.get(_side(clip), 0) + 1
    return dict(sorted(found.items()))


def _side(clip: Clip) -> str:
    """Return the fold of a clip, or its split."""
    return clip.fold or clip.split


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
    folds = names(clips)
    for label, counts in labels.items():
        if folds and len(counts) == 1:
            problems.append(f"{label} is in fold {next(iter(counts))} alone: unknown when tested")
        elif not folds and "train" not in counts:
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
