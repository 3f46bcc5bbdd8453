"""What the leaderboard shows, as data: one table for each task and protocol, and the models across tasks.

Results share a table only where task, version, split, protocol hash and kind of data (real or synthetic) agree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._text import code, markdown
from svuprobe.benchmarks.published import Published, published
from svuprobe.benchmarks.suite import Wanted
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result import Result, Score, defined, mean_over_seeds
from svuprobe.probe.result_file import Entry, require_unchanged
from svuprobe.probe.stats import compare
from svuprobe.probe.stats.intervals import MIN_GROUPS, RESAMPLINGS

_NAMED = 5  # models at most that a sentence names; the rest is counted


@dataclass(frozen=True)
class CellScore:
    """One score of a row; of chance and of published rows the mean alone is known.

    ``ci95`` is None, too, where one of its ends is undefined.
    """

    mean: float | None
    std: float | None = None
    ci95: tuple[float, float] | None = None

    @classmethod
    def of(cls, score: Score) -> CellScore:
        """Return the score of a result."""
        return cls(score.mean, score.std, score.interval)


@dataclass(frozen=True)
class Row:
    """A line of a table; ``kind`` is model, missing, chance or published.

    Only models have a rank, and of these only such whose ranked score is defined.
    """

    kind: str
    model: str
    scores: dict[str, CellScore]  # by metric
    rank: int | None = None
    revision: str = ""
    control: bool = False
    finetuned: bool = False
    group: str = ""  # letters: models that share one are not told apart
    best_layer: str = ""
    best_layer_score: float | None = None
    shuffled: float | None = None  # ranked metric with shuffled training labels
    source: str = ""  # of a published row
    file: str = ""  # name of the result's file without its suffix: the protocol with all that was changed in it


@dataclass(frozen=True)
class Table:
    """One task under one protocol; the first metric is the ranked one, its scores decide the order of the models.

    ``detectable`` is the smallest difference in it that this test set would tell apart in four of five cases.
    """

    task: str
    synthetic: bool
    version: int
    split_sha256: str
    protocol: str
    protocol_hash: str
    train_fraction: float
    shuffled_labels: bool
    metrics: list[str]
    detectable: float | None
    rows: list[Row]
    about: str  # this and the notes are Markdown
    notes: list[str]
    problems: list[str] = field(repr=False)  # files beside results that can't be used
    argument: str = field(repr=False)  # the task as --task takes it

    @property
    def ranked(self) -> str:
        """The metric that ranks."""
        return self.metrics[0]

    @property
    def title(self) -> str:
        """The task with its marks."""
        labels = ", training labels shuffled" if self.shuffled_labels else ""
        return self.task + (" (synthetic)" if self.synthetic else "") + part_of(self.train_fraction) + labels

    def models(self) -> list[Row]:
        """The rows of results, best first."""
        return [row for row in self.rows if row.kind == "model"]


@dataclass(frozen=True)
class Across:
    """Models x tasks under one protocol: ``scores[model][column]`` is None where there is no result.

    ``columns`` are title and ranked metric. ``missing`` are pairs of a model and a task as typed; ``suites`` are
    those that ask for one of them. ``ranks`` holds ``mean_rank``, ``borda`` and ``group`` of the models that can be
    ranked; ``about_ranks`` says over what, and how far mean ranks have to be apart. ``special`` says what was done
    to the training set.
    """

    synthetic: bool
    protocol: str
    protocol_hash: str
    special: str
    columns: list[tuple[str, str]]
    scores: dict[str, list[CellScore | None]]
    controls: list[str]
    missing: list[tuple[str, str]]
    suites: list[str]
    ranks: dict[str, dict[str, Any]]
    about_ranks: str


def build(entries: Sequence[Entry], wanted: Sequence[Wanted] = ()) -> list[Table]:
    """Every table; what a suite asks for and is not there becomes a row marked as missing."""
    shuffled = {_key(r, True) + _who(r): r for r, _ in entries if r.protocol.shuffle_labels}
    full = {_key(r, True) + _who(r) for r, _ in entries if not r.protocol.shuffle_labels}
    # A result on shuffled labels is a column beside the one on true labels; alone it is a table of its own.
    kept = [(r, p) for r, p in entries if not (r.protocol.shuffle_labels and _key(r, True) + _who(r) in full)]
    ordered = sorted(kept, key=lambda e: _key(e[0]))
    return [_table(list(same), shuffled, wanted) for _, same in groupby(ordered, key=lambda e: _key(e[0]))]


def _key(result: Result, any_labels: bool = False) -> tuple[Any, ...]:
    """What has to agree; ``any_labels`` leaves out whether training labels were shuffled."""
    protocol, same = result.protocol, result.task.comparable
    if any_labels:
        fields = {k: v for k, v in protocol.fields.items() if k not in ("name", "shuffle_labels")}
        return *same, json.dumps(fields, sort_keys=True)
    return *same, *protocol_key(protocol.name, protocol.hash)


def _who(result: Result) -> tuple[str, str]:
    return result.model.name, result.model.revision


def protocol_key(name: str, digest: str) -> tuple[Any, ...]:
    """Sorts the default protocol first."""
    return name != "svuprobe", name, digest


def part_of(fraction: float) -> str:
    """Words for a heading on a share of the training set; none for the whole of it."""
    return f", {100 * fraction:g} % of the training set" if fraction < 1 else ""


def _table(entries: list[Entry], shuffled: dict[tuple[Any, ...], Result], wanted: Sequence[Wanted]) -> Table:
    entries = sorted(entries, key=lambda e: (_descending(e[0].ranked.mean), *_who(e[0])))
    first = entries[0][0]
    metrics = [first.task.ranked, *(name for name in first.scores if name != first.task.ranked)]
    letters, detectable, notes, problems = _significance(entries)
    rows = [
        _row(None if r.ranked.mean is None else n, r, path, letter, shuffled.get(_key(r, True) + _who(r)))
        for n, ((r, path), letter) in enumerate(zip(entries, letters, strict=True), 1)
    ]
    rows += _missing(first, rows, wanted)
    rows.append(Row("chance", "chance", {m: CellScore(first.chance.get(m)) for m in metrics}))
    others = [] if first.task.synthetic else published(first.task.name, metrics)
    rows += [_published_row(p, metrics) for p in others]
    reference = first.task.reference
    return Table(
        task=first.task.name,
        synthetic=first.task.synthetic,
        version=first.task.version,
        split_sha256=first.task.split_sha256,
        protocol=first.protocol.name,
        protocol_hash=first.protocol.hash,
        train_fraction=first.protocol.train_fraction,
        shuffled_labels=first.protocol.shuffle_labels,
        metrics=metrics,
        detectable=detectable,
        rows=rows,
        about=_about(first),
        notes=[*_notes([r for r, _ in entries]), *notes, *_sources(others)],
        problems=problems,
        argument=reference.removeprefix("own data, ") if reference.startswith("own data, ") else first.task.name,
    )


def _descending(mean: float | None) -> float:
    """Sorts the largest score first, and one that is undefined last, below every negative R2."""
    return math.inf if mean is None else -mean


def _row(rank: int | None, result: Result, path: Path, letters: str, shuffled: Result | None) -> Row:
    model, best = result.model, result.best_layer
    scores = {metric: CellScore.of(score) for metric, score in result.scores.items()}
    return Row(
        kind="model",
        model=model.name,
        scores=scores,
        rank=rank,
        revision="" if model.control else model.revision[:8],
        control=model.control,
        finetuned=result.protocol.finetunes,
        group=letters,
        best_layer=best,
        best_layer_score=mean_over_seeds(result.layer_curve.get(best, ())),
        shuffled=shuffled.ranked.mean if shuffled else None,
        file=path.stem,
    )


def _missing(first: Result, rows: Sequence[Row], wanted: Sequence[Wanted]) -> list[Row]:
    here = first.task.name, first.task.synthetic, first.protocol.hash
    there = {row.model for row in rows}
    asked = sorted({w.model for w in wanted if (w.task, w.synthetic, w.hash) == here})
    return [Row("missing", model, {}) for model in asked if model not in there]


def _published_row(one: Published, metrics: Sequence[str]) -> Row:
    scores = {m: CellScore(one.scores[m]) for m in metrics if m in one.scores}
    return Row("published", one.system, scores, source=one.short)


def _sources(others: Iterable[Published]) -> list[str]:
    """Where published numbers are from and how they were made, each once."""
    lines = dict.fromkeys(
        markdown(f"{p.short} ({p.source.partition(', ')[2] or p.source}): {p.note}") for p in others
    )
    if not lines:
        return []
    caution = "Published rows are not ranked: other code, heads and learning rates, sometimes another split."
    return [f"{caution} {'; '.join(lines)}."]


def _significance(entries: Sequence[Entry]) -> tuple[list[str], float | None, list[str], list[str]]:
    """Compare the models of a table by the predictions beside their results.

    Returns
    -------
    Letters of each, what difference could be seen, notes for the table, and a line for each file that is missing
    or not what was written with its result: that model alone is compared with nothing.
    """
    letters, problems = [""] * len(entries), []
    undefined, absent, untested = [], [], 0
    chosen: dict[int, compare.JackknifeScores] = {}
    for n, (result, path) in enumerate(entries):
        if result.ranked.mean is None:
            undefined.append(result.model.name)
            continue
        try:
            if len(chosen) < compare.MOST_MODELS:
                chosen[n] = compare.read(result, path)
            else:
                require_unchanged(result, path, ".npz")
                untested += 1
        except ProbeError as error:
            problems.append(str(error))
            absent.append(result.model.name)
    notes = [f"No rank, as the score is undefined: {_listed(undefined)}."] if undefined else []
    if absent:
        notes.append(f"Not compared, as the predictions beside the result are missing or damaged: {_listed(absent)}.")
    if len(chosen) < 2:
        return letters, None, notes, problems
    if not frozenset.intersection(*(each.clips for each in chosen.values())):
        return letters, None, [*notes, "No test of differences: no test clip is in all results."], problems
    found = compare.between([entries[n] for n in chosen], list(chosen.values()))
    for n, letter in zip(chosen, found.letters, strict=True):
        letters[n] = letter
    if found.caveat and found.groups >= MIN_GROUPS:  # too few groups are said anyway
        notes.append(f"{markdown(found.caveat[0].upper() + found.caveat[1:])}.")
    if untested and found.groups >= MIN_GROUPS:
        notes.append(
            f"Differences are tested among the first {len(chosen)} models alone; the other {untested} have no "
            f"letter. Of more pairs, {RESAMPLINGS:,} resamplings could tell none apart after the correction for "
            f"their number."
        )
    return letters, defined(found.typical_detectable), notes, problems


def _listed(names: Sequence[str]) -> str:
    """``one, two and 3 more``, for Markdown."""
    shown = ", ".join(markdown(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _about(result: Result) -> str:
    """What was scored on what, and how."""
    task, protocol, test = result.task, result.protocol, result.counts.test
    clips = {split: f"{task.splits[split]:,}" for split in ("train", "valid", "test")}
    unit = "windows" if task.scored == "window" else "clips"
    groups = f"{test.groups:,} group{'s' if test.groups > 1 else ''}"
    trained = f" (heads see {100 * protocol.train_fraction:g} % of it)" if protocol.train_fraction < 1 else ""
    labels = ", **training labels shuffled**" if protocol.shuffle_labels else ""
    seeds = len(result.ranked.per_seed)
    return (
        f"{markdown(task.reference)}. Clips: {clips['train']} train{trained}, {clips['valid']} validation, "
        f"{clips['test']} test; scored on {getattr(test, unit):,} {unit} in {groups}. Protocol {code(protocol.name)} "
        f"(`{protocol.hash}`){labels}, {seeds} seed{'s' * (seeds > 1)}; split `{task.split_sha256[:8]}`, task "
        f"version {task.version}."
    )


def _notes(results: Sequence[Result]) -> list[str]:
    """What a reader has to know before believing an interval or a mean."""
    first, notes = results[0], []
    groups = first.counts.test.groups
    if groups < MIN_GROUPS:
        words = f"Only {groups} group{'s' if groups > 1 else ''} in test, under {MIN_GROUPS}"
        notes.append(f"{words}: nothing can be said about others, so no interval and no test of differences.")
    notes += _caveats(results)
    undefined = first.counts.undefined
    if undefined and not any(r.caveats for r in results):
        names = ", ".join(map(markdown, undefined))
        notes.append(f"Left out of the mean, as test has no positive or no negative: {names}.")
    if lacking := [f"{markdown(r.model.name)} {r.counts.missing}" for r in results if r.counts.missing]:
        more = f" and of {len(lacking) - _NAMED} more models" if len(lacking) > _NAMED else ""
        notes.append(f"Clips without features: {', '.join(lacking[:_NAMED])}{more}.")
    return notes


def _caveats(results: Sequence[Result]) -> list[str]:
    """What limits the scores, as the results say: once where all say it, else with the models it is said of."""
    said: dict[str, list[str]] = {}
    for result in results:
        for caveat in dict.fromkeys(result.caveats):
            said.setdefault(caveat, []).append(result.model.name)
    lines = []
    for caveat, names in said.items():
        whose = "" if len(names) == len(results) else f" ({_listed(names)})"
        lines.append(f"Caution: {markdown(caveat)}{whose}.")
    return lines


def across(tables: Sequence[Table], wanted: Sequence[Wanted] = ()) -> list[Across]:
    """Models x tasks of each protocol, with the tasks that a suite asks for and nobody has probed yet."""
    keys = {(t.synthetic, t.protocol, t.protocol_hash) for t in tables}
    keys |= {(w.synthetic, w.protocol, w.hash) for w in wanted}
    ordered = sorted(keys, key=lambda k: (k[0], *protocol_key(k[1], k[2])))
    return [_across(key, tables, wanted) for key in ordered]


def label(row: Row) -> str:
    """A model with its revision, so that two revisions of one model stay apart."""
    return f"{row.model}@{row.revision}" if row.revision else row.model


def _across(key: tuple[bool, str, str], tables: Sequence[Table], wanted: Sequence[Wanted]) -> Across:
    mine = [t for t in tables if (t.synthetic, t.protocol, t.protocol_hash) == key]
    asked = [w for w in wanted if (w.synthetic, w.protocol, w.hash) == key]
    rows = {label(row): row for t in mine for row in t.models()}
    there = {row.model for row in rows.values()}
    rows |= {w.model: Row("missing", w.model, {}, control=w.control) for w in asked if w.model not in there}
    order = sorted(rows, key=lambda name: (rows[name].control, name))
    found = [{label(row): row.scores[t.ranked] for row in t.models()} for t in mine]
    bare = sorted({(w.task, w.metric) for w in asked} - {(t.task, t.ranked) for t in mine})
    typed = [t.argument for t in mine] + [task for task, _ in bare]
    scores = {name: [column.get(name) for column in found] + [None] * len(bare) for name in order}
    missing = [
        (rows[name].model, typed[n]) for name in order for n, score in enumerate(scores[name]) if score is None
    ]
    return Across(
        *key,
        special=_special(mine),
        columns=[(t.title, t.ranked) for t in mine] + bare,
        scores=scores,
        controls=[name for name in order if rows[name].control],
        missing=missing,
        suites=sorted({w.suite for w in asked if w.model in {model for model, _ in missing}}),
        **_ranks(scores),
    )


def _special(tables: Sequence[Table]) -> str:
    """What the tables of one protocol share: a part of the training set, shuffled labels."""
    if not tables:
        return ""
    return part_of(tables[0].train_fraction) + (", training labels shuffled" if tables[0].shuffled_labels else "")


def _ranks(scores: dict[str, list[CellScore | None]]) -> dict[str, Any]:
    """Ranks in the part of a table that is complete: some tasks with all models, or all tasks with some."""
    means = [[s.mean if s else None for s in several] for several in scores.values()]
    table = np.array(means, dtype=float)  # None becomes NaN
    has = np.isfinite(table)
    tried, asked = has.any(axis=1), has.any(axis=0)
    whole = has[:, asked].all(axis=1) & tried
    n_tasks = has[tried].all(axis=0).sum()
    chosen = whole if whole.sum() * asked.sum() > tried.sum() * n_tasks else tried
    names = [name for name, one in zip(scores, chosen, strict=True) if one]
    if len(names) < 2:
        return {"ranks": {}, "about_ranks": "One model only: no ranks." if names else ""}
    found = compare.ranks(table[chosen].T)
    if not found.tasks:
        return {"ranks": {}, "about_ranks": "No task has a result of every model: no ranks."}
    rows = zip(names, found.mean_rank.tolist(), found.borda.tolist(), found.letters, strict=True)
    return {
        "ranks": {name: {"mean_rank": m, "borda": b, "group": letter} for name, m, b, letter in rows},
        "about_ranks": _about_ranks(found),
    }


def _about_ranks(found: compare.Ranks) -> str:
    over = f"Mean rank (1 is best) and Borda count (models beaten) over {found.tasks} task{'s' * (found.tasks > 1)}"
    if found.critical_difference is None or found.friedman_p is None:
        return f"{over}. {found.caveat[0].upper()}{found.caveat[1:]}."
    crowded = "" if any(found.letters) else " There are more groups than letters, so none are shown."
    return (
        f"{over}. Friedman's test that all rank alike: p = {found.friedman_p:.2g}; mean ranks further apart than "
        f"{found.critical_difference:.2f} differ (Nemenyi's critical difference, 5 %). Tasks on one dataset are not "
        f"independent, as the test takes them to be.{crowded}"
    )
