"""Collect what the page shows: each table with the results that it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svuprobe.benchmarks import leaderboard, tables
from svuprobe.benchmarks.across import Across, across as across_tasks
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.selection import Selection
from svuprobe.benchmarks.tables import Table
from svuprobe.probe.at_hand import AtHand
from svuprobe.probe.clip_answers import ClipAnswer, clip_answers
from svuprobe.probe.per_label import confusion_matrix, per_label
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import shown_title
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_file import Entry
from svuprobe.probe.results.score import Score

# Models of a task at most whose predictions are shown: the best, and the best controls.
MOST_REVIEWED = 12


@dataclass(frozen=True)
class Reviewed:
    """Hold what one model answered on the test split.

    ``confusion`` is (0, 0) of kinds without classes of which one is right.
    """

    result: Result
    labels: dict[str, dict[str, Score]]
    confusion: Any
    answers: list[ClipAnswer]


@dataclass(frozen=True)
class TaskPart:
    """Hold one task under one protocol.

    Attributes
    ----------
    id
        Of its section on the page.
    entries
        The results of the table's models, in its order.
    shares
        Of each model its results over shares of the training set, the smallest first; empty where
        there is one share alone.
    reviewed
        What the best models answered.
    """

    id: str
    table: Table
    entries: list[Entry]
    shares: list[list[Result]] = field(default_factory=list)
    reviewed: list[Reviewed] = field(default_factory=list)

    @property
    def results(self) -> list[Result]:
        """Return the results of the table's models, best first."""
        return [result for result, _ in self.entries]


@dataclass(frozen=True)
class Content:
    """Hold everything on the page.

    ``problems`` are of files that could not be used; ``about`` is Markdown.
    """

    parts: list[TaskPart]
    across: list[Across]
    looks: Looks
    about: str
    problems: list[str]
    at_hand: AtHand

    @property
    def results(self) -> list[Result]:
        """Return every result in a table."""
        return [result for part in self.parts for result in part.results]


def gather(results: Path, at_hand: AtHand, selection: Selection) -> Content:
    """Read a folder of results, with the predictions of the best models of each task."""
    chosen = selection.read(results)
    entries, wanted = chosen.entries, chosen.wanted
    several = tables.build(entries, wanted)
    shares = _shares(chosen.results)
    parts = []
    ids: set[str] = set()
    for table, same in zip(several, tables.grouped(entries), strict=True):
        mine = shares.get(id(same[0][0]), [])
        parts.append(TaskPart(_id_of(table, ids), table, same, mine, _reviewed(same)))
    # The default protocol and real recordings first, as in the tables across tasks.
    parts.sort(key=lambda part: _order(part.table))
    return Content(
        parts,
        across_tasks(several, wanted),
        Looks(chosen.results, chosen.everyone),
        leaderboard.about_of(results),
        [*chosen.problems, *chosen.unread, *(line for table in several for line in table.problems)],
        at_hand,
    )


def _order(table: Table) -> tuple[Any, ...]:
    protocol = tables.protocol_key(table.protocol, table.protocol_hash)
    return table.synthetic, table.train_fraction < 1, table.task, *protocol


def _id_of(table: Table, ids: set[str]) -> str:
    """Return an id that no other section has."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{table.title} {table.protocol}".lower()).strip("-")
    chosen = f"task-{words[:60]}"
    number = 2
    while chosen in ids:
        chosen = f"task-{words[:60]}-{number}"
        number += 1
    ids.add(chosen)
    return chosen


def _shares(results: Sequence[Result]) -> dict[int, list[list[Result]]]:
    """Return, by the identity of each result at the largest share, all models over the shares."""
    groups: dict[Any, dict[str, list[Result]]] = {}
    for result in results:
        if result.protocol.shuffle_labels:
            continue
        fields = dict(result.protocol.fields)
        for name in ("name", "train_fraction"):
            fields.pop(name, None)
        key = *result.task.comparable, json.dumps(fields, sort_keys=True)
        groups.setdefault(key, {}).setdefault(shown_title(result), []).append(result)
    found: dict[int, list[list[Result]]] = {}
    for by_model in groups.values():
        fractions = {r.protocol.train_fraction for same in by_model.values() for r in same}
        if len(fractions) < 2:
            continue
        several = []
        for same in by_model.values():
            several.append(sorted(same, key=lambda r: r.protocol.train_fraction))
        for same in several:
            # The section of the largest share shows the curve, whichever model is its best.
            if same[-1].protocol.train_fraction == max(fractions):
                found[id(same[-1])] = several
    return found


def _reviewed(entries: Sequence[Entry]) -> list[Reviewed]:
    """Return what the best models answered; one without usable predictions is left out, and named
    among the problems of its table.
    """
    scored = [entry for entry in entries if entry[0].ranked.mean is not None]
    best = scored[:MOST_REVIEWED]
    if len(scored) > MOST_REVIEWED and not any(result.model.control for result, _ in best):
        best[-1:] = [entry for entry in scored if entry[0].model.control][:1] or best[-1:]
    found = []
    for result, path in best:
        try:
            answers = clip_answers(result, path)
            found.append(
                Reviewed(result, per_label(result, path), confusion_matrix(result, path), answers)
            )
        except ProbeError:
            continue
    return found
