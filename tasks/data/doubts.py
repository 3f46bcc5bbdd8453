"""Doubt what in a task's labels is unlikely to be meant, before anything is trained; refuse
nothing.

Own data has slips that no rule forbids: two spellings of one class, times in milliseconds, notes of
two voices. A score is computed all the same, and is of something else than its reader thinks.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from svuprobe.tasks import folds, kinds
from svuprobe.tasks.folds import side_of
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.sheets import is_number
from svuprobe.tasks.types import Clip, Task

SLACK_S = 0.1  # a label may lie this much beyond its audio: annotations are rounded
_NAMED = 3


def doubts(task: Task, clips: Sequence[Clip]) -> list[str]:
    """List what looks like a slip, one sentence each without a full stop; empty where nothing
    does.
    """
    spellings = _spellings(task, clips) if task.source else ()  # published labels are as they are
    return [*spellings, *kinds.of(task).doubts(clips)]


def beyond(task: Task, clips: Sequence[Clip], seconds: Mapping[str, float]) -> str:
    """Say how many notes or beats begin after the end of their audio; empty where none does.

    Parameters
    ----------
    seconds
        How long each clip lasts, by its id; clips that are not in it do not count.
    """
    kind = kinds.of(task)
    if not isinstance(kind, FrameKind):
        return ""
    late, total, worst = 0, 0, ("", 0.0, 0.0)
    for clip in clips:
        if clip.id not in seconds:
            continue
        begins = kind.begins(clip.target)
        after = [time for time in begins if time > seconds[clip.id] + SLACK_S]
        late, total = late + len(after), total + len(begins)
        if after and max(after) > worst[1]:
            worst = clip.id, max(after), seconds[clip.id]
    if not late:
        return ""
    return (
        f"{late} of {total} {kind.name} lie beyond the end of their audio (clip {worst[0]!r} "
        f"lasts {worst[2]:g} s and has one at {worst[1]:g} s): are the times in milliseconds?"
    )


def too_long(task: Task, clips: Sequence[Clip], seconds: Mapping[str, float]) -> str:
    """Say which clips would be cut into windows and may not be; parameters as of `beyond`."""
    kind = kinds.of(task)
    return kind.too_long(task, clips, seconds) if isinstance(kind, FrameKind) else ""


def _spellings(task: Task, clips: Sequence[Clip]) -> Iterator[str]:
    """Yield labels, groups and paths that differ in what is hard to see alone."""
    if task.labels is None:
        kind = kinds.of(task)
        labels = set().union(*(kind.classes(clip.target) for clip in clips))
        for alike in _alike(labels, _letters):
            yield (
                f"labels {_listed(alike)} differ in case, blanks or marks alone: are they one "
                "class?"
            )
    sides = defaultdict(set)
    for clip in clips:
        sides[clip.group].add(side_of(clip))
    several = "folds" if folds.names(clips) else "splits"
    for alike in _alike(sides, _letters):
        if len(set().union(*(sides[group] for group in alike))) > 1:
            yield (
                f"groups {_listed(alike)} in several {several} differ in case, blanks or marks "
                "alone: are they one?"
            )
    # macOS writes names decomposed, Linux as they were typed.
    for alike in _alike(
        {clip.path for clip in clips}, lambda path: unicodedata.normalize("NFC", path)
    ):
        yield (
            f"paths {_listed(alike)} look the same (composed and decomposed letters): are they "
            "one file?"
        )


def _letters(text: str) -> str:
    """Return a text's letters and digits without their case; all of a text that has none, such as
    ``+``.

    ``C`` and ``c`` stay apart: single letters name keys, and case their mode. Numbers are alike
    where they are equal: ``1`` and ``1.0``, and neither ``-10`` and ``10`` nor ``1.5`` and ``15``.
    """
    if is_number(text):
        return f"{float(text):.12g}"
    if len(text) == 1:
        return text
    kept = "".join(
        ch for ch in unicodedata.normalize("NFKC", text).casefold() if ch.isalnum() or ch in "#+"
    )
    return kept if len(kept) > 1 else text


def _alike(texts: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Return texts that share a key, those of each key together."""
    by_key = defaultdict(list)
    for text in sorted(texts):
        by_key[key(text)].append(text)
    return [same for same in by_key.values() if len(same) > 1]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(map(ascii, texts[:_NAMED])) + more
