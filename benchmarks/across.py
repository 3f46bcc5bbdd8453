"""Put models x tasks of one protocol in a table, with ranks over the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from svuprobe.benchmarks.suite import Wanted
from svuprobe.benchmarks.tables import (
    CellScore,
    Row,
    Table,
    label,
    part_of,
    pooled_by,
    protocol_key,
)
from svuprobe.probe.stats.ranks import Ranks, ranks

# Synthetic, protocol, its hash, windows.
Key = tuple[bool, str, str, float | None]


@dataclass(frozen=True)
class ModelRank:
    """Hold a model's mean rank over the tasks (1 is best), the models it beats, its group's
    letters.
    """

    mean_rank: float
    borda: float
    group: str


@dataclass(frozen=True)
class Across:
    """Hold models x tasks under one protocol.

    Attributes
    ----------
    window_s
        Of the windows that were asked for in place of the tasks' own; None for those.
    changes
        What options changed in the preset.
    special
        What was done to the training set.
    columns
        Title and ranked metric of each task.
    scores
        Of each model by its label, one for each column; None where there is no result.
    saw
        The same, of what its training and the column's dataset have in common (`Row.saw`).
    missing
        Pairs of a model and a task as typed.
    suites
        Those that ask for one of the missing pairs.
    ranks
        Of the models that can be ranked.
    about_ranks
        Over what, and how far mean ranks have to be apart.
    """

    synthetic: bool
    protocol: str
    protocol_hash: str
    window_s: float | None
    changes: str
    special: str
    columns: list[tuple[str, str]]
    scores: dict[str, list[CellScore | None]]
    saw: dict[str, list[str]]
    controls: list[str]
    finetuned: list[str]
    missing: list[tuple[str, str]]
    suites: list[str]
    ranks: dict[str, ModelRank]
    about_ranks: str

    @property
    def protocol_title(self) -> str:
        """Return the protocol with what options changed in it."""
        return ", ".join(filter(None, [self.protocol, self.changes]))


def across(tables: Sequence[Table], wanted: Sequence[Wanted] = ()) -> list[Across]:
    """Return models x tasks of each protocol with several tasks, with what a suite asks for and
    nobody has probed yet.
    """
    # Suites ask for the tasks' own windows.
    keys: set[tuple[bool, str, str, float | None]] = {_key(table) for table in tables}
    keys |= {(one.synthetic, one.protocol, one.hash, None) for one in wanted}
    # Real recordings come before synthetic ones, the default protocol before the others.
    ordered = sorted(
        keys, key=lambda key: (key[0], *protocol_key(key[1], key[2]), key[3] is not None, key[3])
    )
    several = [_across(key, tables, wanted) for key in ordered]
    # One task stands in its own table, and here it would say the same again.
    return [each for each in several if len(each.columns) > 1 or each.missing]


def _key(table: Table) -> Key:
    """Return what the tables that stand side by side share."""
    return table.synthetic, table.protocol, table.protocol_hash, table.window_s


def _across(key: Key, tables: Sequence[Table], wanted: Sequence[Wanted]) -> Across:
    mine = [table for table in tables if _key(table) == key]
    asked = [w for w in wanted if (w.synthetic, w.protocol, w.hash, None) == key]
    rows = _rows(mine, asked)
    columns = [(t.title, t.ranked) for t in mine]
    typed = [t.argument for t in mine]
    # Tasks that a suite asks for and that have no table yet: columns without a score.
    bare = sorted({(w.task, w.metric) for w in asked} - {(t.task, t.ranked) for t in mine})
    for task, metric in bare:
        columns.append((task, metric))
        typed.append(task)
    scores = _scores(rows, mine, len(columns))
    missing = []
    for name, of_tasks in scores.items():
        for task, score in zip(typed, of_tasks, strict=True):
            if score is None:
                missing.append((rows[name].model, task))
    # A suite is named only if it would fill a gap.
    lacking = {model for model, _ in missing}
    model_ranks, about_ranks = _ranks(scores)
    return Across(
        *key,
        changes=mine[0].changes if mine else "",
        special=_special(mine),
        columns=columns,
        scores=scores,
        saw=_saw(rows, mine, len(columns)),
        controls=[name for name, row in rows.items() if row.control],
        finetuned=[name for name, row in rows.items() if row.finetuned],
        missing=missing,
        suites=sorted({w.suite for w in asked if w.model in lacking}),
        ranks=model_ranks,
        about_ranks=about_ranks,
    )


def _rows(tables: Sequence[Table], asked: Sequence[Wanted]) -> dict[str, Row]:
    """Return a row for each model by its label, models before controls, with those asked for and
    missing.
    """
    rows: dict[str, Row] = {}
    for table in tables:
        for row in table.models():
            rows[label(row)] = row
    with_results = {row.model for row in rows.values()}
    for w in asked:
        if w.model not in with_results:
            row = Row("missing", w.model, {}, control=w.control, display=w.display)
            rows[label(row)] = row
    return dict(sorted(rows.items(), key=lambda item: (item[1].control, item[0])))


def _scores(
    rows: dict[str, Row], tables: Sequence[Table], n_columns: int
) -> dict[str, list[CellScore | None]]:
    """Return each model's ranked scores, None where it has no result; columns beyond tables are
    empty.
    """
    scores: dict[str, list[CellScore | None]] = {name: [None] * n_columns for name in rows}
    for column, table in enumerate(tables):
        for row in table.models():
            scores[label(row)][column] = row.scores[table.ranked]
    return scores


def _saw(rows: dict[str, Row], tables: Sequence[Table], n_columns: int) -> dict[str, list[str]]:
    """Return what each model's training has in common with the dataset of each column."""
    saw = {name: [""] * n_columns for name in rows}
    for column, table in enumerate(tables):
        for row in table.models():
            saw[label(row)][column] = row.saw
    return saw


def _special(tables: Sequence[Table]) -> str:
    """Return what the tables of one protocol share: another pooling than the mean, a part of the
    training set, shuffled labels.
    """
    if not tables:
        return ""
    first = tables[0]
    labels = ", training labels shuffled" if first.shuffled_labels else ""
    return pooled_by(first.pooling) + part_of(first.train_fraction) + labels


def _ranks(scores: dict[str, list[CellScore | None]]) -> tuple[dict[str, ModelRank], str]:
    """Return ranks in the part of a table that is complete, and words on them.

    It is the larger of two parts: some tasks with all models, or all tasks with some models.
    """
    means = []
    for of_tasks in scores.values():
        means.append([score.mean if score else None for score in of_tasks])
    table = np.array(means, dtype=float)  # (models, tasks); None becomes NaN
    # Undefined scores are none at all: they say nothing of a rank.
    has = np.isfinite(table)
    # Models without any score and tasks that nobody has tried say nothing of what is complete.
    tried, asked = has.any(axis=1), has.any(axis=0)
    whole = has[:, asked].all(axis=1) & tried
    n_shared_tasks = has[tried].all(axis=0).sum()
    # By the number of cells that the ranks would stand on.
    chosen = whole if whole.sum() * asked.sum() > tried.sum() * n_shared_tasks else tried
    names = np.array(list(scores), dtype=object)[chosen]
    if len(names) < 2:
        return {}, "One model only: no ranks." if len(names) else ""
    # Of one model at most there is nothing to rank; `ranks` takes tasks x models.
    over_tasks = ranks(table[chosen].T)
    if not over_tasks.tasks:
        return {}, "No task has a result of every model: no ranks."
    model_ranks = {}
    for n, name in enumerate(names):
        model_ranks[name] = ModelRank(
            mean_rank=float(over_tasks.mean_rank[n]),
            borda=float(over_tasks.borda[n]),
            group=over_tasks.letters[n],
        )
    return model_ranks, _about_ranks(over_tasks)


def _about_ranks(found: Ranks) -> str:
    over = (
        f"Mean rank (1 is best) and Borda count (models beaten) over {found.tasks} "
        f"task{'s' * (found.tasks > 1)}"
    )
    # Too few tasks or models for the test: why is the caveat.
    if found.critical_difference is None or found.friedman_p is None:
        return f"{over}. {found.caveat[0].upper()}{found.caveat[1:]}."
    crowded = (
        "" if any(found.letters) else " There are more groups than letters, so none are shown."
    )
    return (
        f"{over}. Friedman's test that all rank alike: p = {found.friedman_p:.2g}; mean ranks "
        f"further apart than {found.critical_difference:.2f} differ (Nemenyi's critical "
        "difference, 5 %). Tasks on one dataset are not independent, as the test takes them to "
        f"be.{crowded}"
    )
