"""Read numbers that papers report, to stand beside ours: other code, other heads, so never ranked.

``published_results.csv`` holds one number a line (per cent, R2 too) with the paper and the table it
was copied from. Its ablations of pre-training (Ma et al. 2023, tables 2 and 3) are of checkpoints
that nobody can get: they stay out of the leaderboard. A note that begins with "not like for like"
is of numbers that were made in ways which differ from row to row, or aren't said.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("published_results.csv")
_ABLATION = "pre-training ablation"


@dataclass(frozen=True)
class Published:
    """Hold one system of a published table: metric -> score, as a share of one."""

    task: str
    system: str
    source: str
    table: str
    note: str
    scores: dict[str, float] = field(hash=False)

    @property
    def short(self) -> str:
        """Return the paper without its number or address: ``Ma et al. 2023, Table 1``."""
        return f"{self.source.partition(', ')[0]}, {self.table}"


@functools.cache
def _all() -> tuple[Published, ...]:
    found: dict[tuple[str, ...], dict[str, float]] = {}
    with FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["note"].startswith(_ABLATION):
                key = tuple(row[name] for name in ("task", "system", "source", "table", "note"))
                found.setdefault(key, {})[_metric(row)] = float(row["value_percent"]) / 100
    systems = []
    for (task, system, source, table, note), scores in found.items():
        systems.append(Published(task, system, source, table, note, scores))
    return tuple(systems)


def _metric(row: dict[str, str]) -> str:
    """Return our name of a metric.

    Of the F measures of beats Ma et al. state 20 ms, and MARBLE's code, with which others measure,
    pools the tracks.
    """
    if row["metric"] == "f_measure":
        return "beat_f_20ms" if row["source"].startswith("Ma et al.") else "beat_f_pooled"
    return {"weighted_score": "key_weighted"}.get(row["metric"], row["metric"])


def published(task: str, metrics: Collection[str]) -> list[Published]:
    """Return systems with a number for one of a task's metrics, in the order of the file."""
    return [p for p in _all() if p.task == task and not set(metrics).isdisjoint(p.scores)]
