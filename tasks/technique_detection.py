"""Singing techniques in time on GTSinger (Zhang et al. 2024): six of them, marked phone by phone.

Layout: as the authors distribute it, ``<language>/<singer>/<folder>/<song>/<group>/<n>.wav`` with
``<n>.json`` beside it: a list of words with ``ph_start`` and ``ph_end``, in s, of their phones and,
under ``mix``, ``falsetto``, ``breathy``, ``pharyngeal``, ``vibrato`` and ``glissando``, ``"1"``
where a phone is sung so. Phones that touch are one segment of a technique. Groups that practise a
technique and control groups are both there, as phones of either have marks; those of
``Paired_Speech_Group`` are speech and left out.

The authors give no split by singer: their recogniser is tested on songs of singers that it heard in
training. Here singers are apart, ten, four and six of the twenty (`SPLIT_SINGERS`): the six sing in
six languages, each of which a training singer has too, and in four kinds of voice. So few test
singers make wide intervals; they are honest.

What differs from the authors: they count phones whose marks are right, given where phones begin and
end; here no phone is given. Ranked is the F1 of time, as a segment's limits are those of phones,
which nobody marked for the technique's sake.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

SPLIT_SINGERS = {
    "train": (
        *("ZH-Alto-1", "EN-Alto-1", "FR-Soprano-1", "DE-Tenor-1", "IT-Bass-1", "IT-Soprano-1"),
        *("JA-Tenor-1", "KO-Soprano-1", "RU-Alto-1", "ES-Soprano-1"),
    ),
    "valid": ("EN-Tenor-1", "IT-Bass-2", "JA-Soprano-1", "KO-Tenor-1"),
    "test": (
        *("DE-Soprano-1", "EN-Alto-2", "ES-Bass-1"),
        *("FR-Tenor-1", "KO-Soprano-2", "ZH-Tenor-1"),
    ),
}
LABELS = ("breathy", "falsetto", "glissando", "mix", "pharyngeal", "vibrato")
SPEECH = "Paired_Speech_Group"
_SPELT = {"breathy": "breathe"}  # as the authors' own script writes it
_TOUCHING_S = 1e-3  # times have three decimals

Segments = tuple[tuple[float, float, str], ...]


def split_of(singer: str) -> str:
    """Return the split of one of the twenty singers. Raises TaskError for any other name."""
    for split, singers in SPLIT_SINGERS.items():
        if singer in singers:
            return split
    known = sum(len(singers) for singers in SPLIT_SINGERS.values())
    raise TaskError(
        f"{singer!r} is none of GTSinger's {known} singers, whose names are as EN-Alto-1; "
        "move that folder elsewhere"
    )


def clips(root: Path) -> list[Clip]:
    """Return the sung phrases whose audio and marks are there; the group is the singer."""
    found = []
    for path in sorted(root.glob("*/*/*/*/*/*.wav")):
        singer, *_, group = path.relative_to(root).parts[1:-1]
        marks = path.with_suffix(".json")
        if group != SPEECH and marks.is_file():
            name = path.relative_to(root).with_suffix("").as_posix().split("/", 1)[1]
            found.append(Clip(name, str(path), split_of(singer), read(marks), group=singer))
    return found


def read(path: Path) -> Segments:
    """Return the segments of one phrase, by start. Raises TaskError for what is no such file."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        found: list[tuple[float, float, str]] = []
        for label in LABELS:
            found += _runs(words, label)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TaskError(
            f"{path}: not GTSinger's list of words with ph_start, ph_end and a mark of each "
            f"technique for each phone ({error!r})"
        ) from None
    return tuple(sorted(found))


def _runs(words: list[dict[str, Any]], label: str) -> list[tuple[float, float, str]]:
    """Return the segments of one technique: phones that touch are one."""
    spans: list[list[float]] = []
    for word in words:
        marks = word[label] if label in word else word[_SPELT.get(label, label)]
        for start, end, mark in zip(word["ph_start"], word["ph_end"], marks, strict=True):
            if str(mark).strip() not in ("0", "1", ""):
                raise ValueError(f"{label} is marked {mark!r}; marks are 0 and 1")
            if str(mark).strip() != "1" or not start < end:
                continue
            if spans and start <= spans[-1][1] + _TOUCHING_S:
                spans[-1][1] = float(end)
            else:
                spans.append([float(start), float(end)])
    return [(start, end, label) for start, end in spans]


TASK = Task(
    name="technique-detection",
    dataset="gtsinger",
    kind="segments",
    labels=LABELS,
    metrics=("overlap_f", "segment_f", "event_f"),
    clips=clips,
    windowing=Windowing(window_s=10.0),
    licence="CC BY-NC-SA 4.0",
    reference="Zhang et al. 2024, GTSinger, arXiv:2409.13832, https://github.com/GTSinger/GTSinger",
    hours=80.6,
)
