"""Collect what the leaderboard shows of each task under each protocol, as data.

Results share a table only where task, version, split, protocol hash and kind of data (real or
synthetic) agree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from svuprobe.benchmarks import table_notes
from svuprobe.benchmarks.published import Published, published
from svuprobe.benchmarks.significance import compare_models
from svuprobe.benchmarks.suite import Wanted
from svuprobe.probe import contamination
from svuprobe.probe.commands import changes
from svuprobe.probe.results.naming import pretrained_by, without_folders
from svuprobe.probe.results.result import ProtocolInfo, Result
from svuprobe.probe.results.result_file import Entry
from svuprobe.probe.results.score import Score, mean_over_seeds
from svuprobe.probe.results.varying import varying_metrics

Key = tuple[Any, ...]


@dataclass(frozen=True)
class CellScore:
    """Hold one score of a row; of chance and of published rows the mean alone is known.

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
    """Hold a line of a table; ``kind`` is model, missing, chance or published.

    Only models have a rank, and of these only such whose ranked score is defined.
    """

    kind: str
    model: str
    scores: dict[str, CellScore]  # by metric
    rank: int | None = None
    revision: str = ""
    control: bool = False
    display: str = ""  # what it is called in place of model and revision
    finetuned: bool = False
    group: str = ""  # letters: models that share one are not told apart
    best_layer: str = ""
    best_layer_score: float | None = None
    shuffled: float | None = None  # ranked metric with shuffled training labels
    recipe: str = ""  # of a model in a folder that svuprobe pre-trained
    source: str = ""  # of a published row
    # holds, may hold or unknown: what the model was trained on and this dataset; empty for nothing.
    saw: str = ""
    # Name of the result's file without its suffix: the protocol with all that was changed in it.
    file: str = ""
    parameters: int | None = None
    # What extraction took, where the cache said so; speeds of one machine alone can be compared.
    times_real_time: float | None = None
    machine: str = ""
    cache_bytes: int | None = None


@dataclass(frozen=True)
class Table:
    """Hold one task under one protocol; the first metric is ranked, and decides the order of
    models.

    ``detectable`` is the smallest difference in it that this test set would tell apart in four of
    five cases.
    """

    task: str
    synthetic: bool
    version: int
    split_sha256: str
    protocol: str
    protocol_hash: str
    changes: str  # what options changed in the preset
    window_s: float | None  # asked for in place of the task's own
    train_fraction: float
    shuffled_labels: bool
    pooling: str
    metrics: list[str]
    detectable: float | None
    rows: list[Row]
    about: str  # this and the notes are Markdown
    notes: list[str]
    problems: list[str] = field(repr=False)  # files beside results that can't be used
    argument: str = field(repr=False)  # the task as --task takes it

    @property
    def ranked(self) -> str:
        """Return the metric that ranks."""
        return self.metrics[0]

    @property
    def protocol_title(self) -> str:
        """Return the protocol with what options changed in it."""
        return ", ".join(filter(None, [self.protocol, self.changes]))

    @property
    def title(self) -> str:
        """Return the task with its marks."""
        labels = ", training labels shuffled" if self.shuffled_labels else ""
        return (
            self.task
            + (" (synthetic)" if self.synthetic else "")
            + pooled_by(self.pooling)
            + windows_of(self.window_s)
            + part_of(self.train_fraction)
            + labels
        )

    def models(self) -> list[Row]:
        """Return the rows of results, best first."""
        return [row for row in self.rows if row.kind == "model"]


def build(entries: Sequence[Entry], wanted: Sequence[Wanted] = ()) -> list[Table]:
    """Return every table; what a suite asks for and is not there becomes a row marked as
    missing.
    """
    shuffled = {}
    for result, _ in entries:
        if result.protocol.shuffle_labels:
            shuffled[_model_key(result)] = result
    protocols = list({result.protocol.hash: result.protocol for result, _ in entries}.values())
    return [_table(same, shuffled, wanted, protocols) for same in grouped(entries)]


def grouped(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the results of each table, best first, in the order of `build`."""
    with_true_labels = set()
    for result, _ in entries:
        if not result.protocol.shuffle_labels:
            with_true_labels.add(_model_key(result))
    # A result on shuffled labels is a column beside the
    # one on true labels; alone it is a table of its own.
    of_tables = []
    for result, path in entries:
        if not result.protocol.shuffle_labels or _model_key(result) not in with_true_labels:
            of_tables.append((result, path))
    of_tables.sort(key=lambda entry: table_key(entry[0]))
    groups = []
    for _, same in groupby(of_tables, key=lambda entry: table_key(entry[0])):
        groups.append(sorted(same, key=_best_first))
    return groups


def _best_first(entry: Entry) -> tuple[Any, ...]:
    """Return a sort key; names break ties, so that a table is the same whatever order files were
    found in.
    """
    result = entry[0]
    return _descending(result.ranked.mean), *_name_and_revision(result)


def table_key(result: Result) -> Key:
    """Return what has to agree in one table."""
    return *result.task.comparable, *protocol_key(result.protocol.name, result.protocol.hash)


def _model_key(result: Result) -> Key:
    """Return what a result on shuffled labels shares with one on true labels of the same model."""
    fields = dict(result.protocol.fields)
    for name in ("name", "shuffle_labels"):
        fields.pop(name, None)
    return *result.task.comparable, json.dumps(fields, sort_keys=True), *_name_and_revision(result)


def _name_and_revision(result: Result) -> tuple[str, str]:
    return result.model.name, result.model.revision


def protocol_key(name: str, digest: str) -> tuple[Any, ...]:
    """Return a sort key that puts the default protocol first."""
    return name != "svuprobe", name, digest


def windows_of(window_s: float | None) -> str:
    """Word windows that were asked for in place of a task's own; none for those."""
    return "" if window_s is None else f", windows of {window_s:g} s"


def part_of(fraction: float) -> str:
    """Word a share of the training set for a heading; none for the whole of it."""
    return f", {100 * fraction:g} % of the training set" if fraction < 1 else ""


def pooled_by(pooling: str) -> str:
    """Word what heads read of the frames of a window for a heading; none for the mean."""
    words = {
        "mean": "",
        "mean_std": ", mean and deviation",
        "max": ", maximum of frames",
        "first": ", first frame",
        "attention": ", attention",
    }
    return words[pooling]


def _table(
    entries: list[Entry],
    shuffled: dict[Key, Result],
    wanted: Sequence[Wanted],
    protocols: Sequence[ProtocolInfo],
) -> Table:
    results = [result for result, _ in entries]
    first, task = results[0], results[0].task
    # Results of an older svuprobe may lack some that are scored beside the task's own.
    names = dict.fromkeys(name for result in results for name in varying_metrics(result))
    metrics = [task.ranked, *(name for name in names if name != task.ranked)]
    chance = {name: value for result in results for name, value in result.chance.items()}
    significance = compare_models(entries)
    rows = []
    for rank, ((result, path), letters) in enumerate(
        zip(entries, significance.letters, strict=True), start=1
    ):
        control = shuffled.get(_model_key(result))
        rows.append(
            _row(None if result.ranked.mean is None else rank, result, path, letters, control)
        )
    rows += _missing(first, rows, wanted)
    rows.append(
        Row("chance", "chance", {metric: CellScore(chance.get(metric)) for metric in metrics})
    )
    # A paper's number beside synthetic data would compare nothing.
    papers = [] if task.synthetic else published(task.name, metrics)
    rows += [_published_row(paper, metrics, task.dataset) for paper in papers]
    # A task of one's own is typed as the TOML file that its reference names.
    own_data = task.reference.startswith("own data, ")
    return Table(
        task=task.name,
        synthetic=task.synthetic,
        version=task.version,
        split_sha256=task.split_sha256,
        protocol=first.protocol.name,
        protocol_hash=first.protocol.hash,
        changes=changes(first.protocol, among=protocols),
        window_s=task.window_s,
        train_fraction=first.protocol.train_fraction,
        shuffled_labels=first.protocol.shuffle_labels,
        pooling=first.protocol.pooling,
        metrics=metrics,
        detectable=significance.detectable,
        rows=rows,
        about=table_notes.about(first, protocols),
        notes=[
            *table_notes.of_results(results),
            *significance.notes,
            *table_notes.of_contacts(results),
            *table_notes.of_published(papers),
        ],
        problems=significance.problems,
        argument=task.reference.removeprefix("own data, ") if own_data else task.name,
    )


def _descending(mean: float | None) -> float:
    """Return a key that sorts the largest score first, an undefined one below every negative R2."""
    return math.inf if mean is None else -mean


def _row(
    rank: int | None, result: Result, path: Path, letters: str, shuffled: Result | None
) -> Row:
    model, best = result.model, result.best_layer
    met = contamination.of_result(result)
    scores = {metric: CellScore.of(score) for metric, score in result.scores.items()}
    return Row(
        kind="model",
        model=model.name,
        scores=scores,
        rank=rank,
        # A control has no revision that a reader would look up.
        revision="" if model.control else model.revision[:8],
        recipe=pretrained_by(result) or "",
        control=model.control,
        display=model.display or "",
        finetuned=result.protocol.finetunes,
        group=letters,
        best_layer=best,
        best_layer_score=mean_over_seeds(result.layer_curve.get(best, ())),
        shuffled=shuffled.ranked.mean if shuffled else None,
        saw=met.kind if met else "",
        file=path.stem,
        parameters=model.parameters,
        **_cost(result),
    )


def _cost(result: Result) -> dict[str, Any]:
    """Return the fields of a row that say what extraction took; none where it is not known."""
    took = result.timings.extraction
    if took is None:
        return {}
    return {
        "times_real_time": took.times_real_time,
        "machine": took.machine,
        "cache_bytes": took.cache_bytes,
    }


def _missing(first: Result, rows: Sequence[Row], wanted: Sequence[Wanted]) -> list[Row]:
    here = first.task.name, first.task.synthetic, first.protocol.hash
    # Any revision fills the gap: a suite asks for models by name.
    there = {row.model for row in rows}
    # Suites ask for the tasks' own windows.
    if first.task.window_s is not None:
        return []
    asked = {w.model: w for w in wanted if (w.task, w.synthetic, w.hash) == here}
    missing = []
    for model, one in sorted(asked.items()):
        if model not in there:
            missing.append(Row("missing", model, {}, display=one.display))
    return missing


def _published_row(one: Published, metrics: Sequence[str], dataset: str) -> Row:
    scores = {m: CellScore(one.scores[m]) for m in metrics if m in one.scores}
    met = contamination.of_system(one.system, dataset)
    return Row("published", one.system, scores, source=one.short, saw=met.kind if met else "")


def label(row: Row) -> str:
    """Return what a model is called, with its revision, so that two of one model stay apart."""
    if row.display:
        return row.display
    name = f"pretrained:{row.recipe}" if row.recipe else without_folders(row.model)
    return f"{name}@{row.revision}" if row.revision else name
