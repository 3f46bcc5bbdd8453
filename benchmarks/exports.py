"""Write results in the forms that papers, model cards and other benchmarks take.

``latex`` is one table of models and tasks per protocol, as it stands in a paper; ``model-index`` is
the YAML block at the top of a Hugging Face model card, ``eval-results`` the newer file in
``.eval_results/`` of a model's repository (huggingface_hub writes and checks both); ``mteb`` is one
file a result in the layout of mteb's results (Muennighoff et al. 2023, arXiv:2210.07316; `mteb`
``results/task_result.py``); ``csv`` and ``json`` are the leaderboard's own tables;
``labels`` is a CSV of every class, tag or target alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from svuprobe._errors import did_you_mean
from svuprobe._show import shown
from svuprobe._text import as_csv as csv_text
from svuprobe.benchmarks import leaderboard, tables
from svuprobe.benchmarks.across import across as across_tasks
from svuprobe.benchmarks.latex import latex_table
from svuprobe.benchmarks.leaderboard import number
from svuprobe.benchmarks.selection import ALL, Selection
from svuprobe.benchmarks.suite import Wanted
from svuprobe.benchmarks.tables import Table
from svuprobe.probe import per_label
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_file import Entry

SPREADS = ("std", "interval", "none")


@dataclass(frozen=True)
class ExportOptions:
    """Say what an export shows beside the scores.

    Attributes
    ----------
    spread
        Of ``latex``: the standard deviation over seeds, the 95 % interval over groups of the test
        split, or neither.
    hub_dataset
        Of ``eval-results``: the repository of the benchmark on the Hugging Face hub, which that
        file has to name.
    """

    spread: str = "std"
    hub_dataset: str = ""

    __repr__ = shown


def export(
    results: Path, kind: str, out: Path, options: ExportOptions, selection: Selection = ALL
) -> tuple[dict[Path, str], list[str]]:
    """Return the files of an export with their texts, and a line for each unusable result.

    Raises
    ------
    ProbeError
        There is no such format, or nothing to export.
    """
    if kind not in FORMATS:
        raise ProbeError(f"no format {kind!r}; {did_you_mean(kind, FORMATS)}")
    if options.spread not in SPREADS:
        raise ProbeError(f"spread {options.spread!r}; it is one of {', '.join(SPREADS)}")
    chosen = selection.read(results)
    if not chosen.entries:
        raise ProbeError(f"{results}: no results to export; run svuprobe probe first")
    several = tables.build(chosen.entries, chosen.wanted)
    several.sort(key=lambda table: (*_protocol(table), table.task, table.version))
    texts = FORMATS[kind](Board(chosen.entries, several, chosen.wanted), out, options)
    if not texts:
        raise ProbeError(
            f"{results}: no result goes into {kind}: it takes defined scores of models, not of "
            "controls; --format csv takes all"
        )
    unusable = [line for table in several for line in table.problems]
    return texts, [*chosen.problems, *chosen.unread, *unusable]


@dataclass(frozen=True)
class Board:
    """Hold what there is to export: results, their tables by protocol and task, and what suites
    ask for.
    """

    entries: Sequence[Entry]
    tables: Sequence[Table]
    wanted: Sequence[Wanted]


# -- of all results: one file ----------------------------------------------------------------------


def _csv(board: Board, out: Path, _: ExportOptions) -> dict[Path, str]:
    """Return a line for each score: what pandas reads at once."""
    return {out: leaderboard.as_csv(board.tables)}


def _labels(board: Board, out: Path, _: ExportOptions) -> dict[Path, str]:
    """Return a line for each label, metric and result: scores of each class, tag or target."""
    columns = [
        "task", "synthetic", "protocol", "protocol_hash", "file", "model", "revision", "control",
        "label", "metric", "mean", "std",
    ]  # fmt: skip
    lines = []
    for result, path in board.entries:
        about = {
            "task": result.task.label,
            "synthetic": result.task.synthetic,
            "protocol": result.protocol.name,
            "protocol_hash": result.protocol.hash,
            "file": path.stem,
            "model": shown_name(result),
            "revision": result.model.revision,
            "control": result.model.control,
        }
        try:
            lines += [about | row for row in per_label.rows(result, path)]
        except ProbeError:
            continue  # predictions that are missing or damaged, which the tables have named
    if not lines:
        raise ProbeError("no result here has labels that are scored one by one")
    return {out: csv_text(lines, columns)}


def _json(board: Board, out: Path, _: ExportOptions) -> dict[Path, str]:
    """Return everything in the leaderboard's tables."""
    return {out: leaderboard.as_json(board.tables, across_tasks(board.tables, board.wanted))}


def _latex(board: Board, out: Path, options: ExportOptions) -> dict[Path, str]:
    """Return a table of models and tasks for each protocol."""
    texts = []
    for _, same in groupby(board.tables, key=_protocol):
        texts.append(latex_table(list(same), options.spread))
    head = "% Written by svuprobe export --format latex; it needs \\usepackage{booktabs}.\n"
    return {out: head + "\n".join(texts)}


def _protocol(table: Table) -> tuple[Any, ...]:
    """Return what the columns of one LaTeX table agree in."""
    first, *rest = tables.protocol_key(table.protocol, table.protocol_hash)
    return (first, *rest, table.synthetic, table.train_fraction, table.shuffled_labels)


# -- of each model: one file -----------------------------------------------------------------------


def _model_index(board: Board, out: Path, _: ExportOptions) -> dict[Path, str]:
    """Return the metadata of a model card for each model."""
    from huggingface_hub import EvalResult, ModelCardData

    texts = {}
    for name, same in _by_model(board.entries):
        scores = []
        for result in same:
            for metric, score in result.scores.items():
                if score.mean is None:
                    continue  # undefined, which no card has a word for
                scores.append(
                    EvalResult(
                        task_type="audio-classification" if result.task.labels else "other",
                        task_name=result.task.label,
                        dataset_type=result.task.dataset,
                        dataset_name=_dataset_name(result),
                        # Scores of one dataset are told apart by this alone.
                        dataset_config=result.task.label,
                        dataset_split="test",
                        metric_type=metric,
                        metric_name=_metric_name(result, metric),
                        metric_value=round(score.mean, 6),
                        metric_args={"svuprobe": _setup(result)},
                    )
                )
        card = ModelCardData(model_name=name, eval_results=scores)
        texts[out / f"{_file_name(name)}.md"] = f"---\n{card.to_yaml()}\n---\n"
    return texts


def _eval_results(board: Board, out: Path, options: ExportOptions) -> dict[Path, str]:
    """Return a file of ``.eval_results/`` for each model: the ranked metric of each task."""
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        raise ProbeError(
            "eval-results needs a newer huggingface_hub: pip install --upgrade huggingface_hub, "
            "or use --format model-index"
        ) from None
    if options.hub_dataset.count("/") != 1 or not all(options.hub_dataset.split("/")):
        raise ProbeError(
            f"hub dataset {options.hub_dataset!r}: eval-results names the repository of the "
            "benchmark on the Hugging Face hub; give --hub-dataset ORG/NAME"
        )
    texts = {}
    for name, same in _by_model(board.entries):
        rows = []
        for result in same:
            if result.ranked.mean is not None:
                rows.append(
                    EvalResultEntry(
                        dataset_id=options.hub_dataset,
                        task_id=result.task.label,
                        value=round(result.ranked.mean, 6),
                        date=result.date,
                        notes=f"{result.task.ranked}, {_setup(result)}",
                    )
                )
        text = yaml.safe_dump(eval_result_entries_to_yaml(rows), sort_keys=False)
        texts[out / _file_name(name) / ".eval_results" / "svuprobe.yaml"] = text
    return texts


def _by_model(entries: Sequence[Entry]) -> list[tuple[str, list[Result]]]:
    """Return the results of each model by its name: cards are of models, not of controls.

    A model in a folder that svuprobe pre-trained goes by its recipe, as in leaderboards.
    """
    models: dict[tuple[str, str], list[Result]] = {}
    for result, _ in entries:
        if not result.protocol.shuffle_labels and not result.model.control:
            name = shown_name(result)
            models.setdefault((name, result.model.revision), []).append(result)
    several = len({name for name, _ in models}) < len(models)
    named = []
    for (name, revision), same in sorted(models.items()):
        named.append((f"{name}@{revision[:8]}" if several else name, same))
    return named


def _file_name(model: str) -> str:
    """Return the name of a model's file or folder."""
    return re.sub(r"[^\w.@-]+", "-", model).strip("-.")


def _dataset_name(result: Result) -> str:
    return result.task.dataset + (" (synthetic)" if result.task.synthetic else "")


def _metric_name(result: Result, metric: str) -> str:
    """Return a metric with its uncertainty, which these files have no field for."""
    score = result.scores[metric]
    parts = [metric]
    if score.std is not None:
        parts.append(f"± {number(metric, score.std)} over {len(score.per_seed)} seeds")
    if score.interval is not None:
        low, high = score.interval
        parts.append(f"95 % interval {number(metric, low)} to {number(metric, high)}")
    return ", ".join(parts)


def _setup(result: Result) -> str:
    """Return how a score came about: protocol, revision of the model, share of the training set."""
    words = [f"protocol {result.protocol.name} ({result.protocol.hash})"]
    words.append(f"revision {result.model.revision}")
    if result.protocol.train_fraction < 1:
        words.append(f"{100 * result.protocol.train_fraction:g} % of the training set")
    return ", ".join(words)


# -- of each result: one file ----------------------------------------------------------------------


def _mteb(board: Board, out: Path, _: ExportOptions) -> dict[Path, str]:
    """Return a file a result: folders of model and revision, as mteb has them."""
    from svuprobe import __version__

    texts = {}
    for result, path in board.entries:
        if result.ranked.mean is None or result.protocol.shuffle_labels:
            continue
        scores: dict[str, Any] = {
            # What mteb itself needs of a score, then each of ours with its spread.
            "hf_subset": "default",
            "languages": ["zxx-Zxxx"],  # ISO 639: no linguistic content
            "main_score": result.ranked.mean,
            "svuprobe_version": result.environment.get("svuprobe", __version__),
        }
        for metric, score in result.scores.items():
            scores[metric] = score.mean
            if score.std is not None:
                scores[f"{metric}_std"] = score.std
            if score.interval is not None:
                scores[f"{metric}_ci95"] = list(score.interval)
        body = {
            "dataset_revision": result.task.split_sha256,
            "task_name": result.task.label,
            # mteb reads a version of its own here, or null where it did not make the file.
            "mteb_version": None,
            "scores": {"test": [scores]},
            "evaluation_time": result.timings.total_s,
            "kg_co2_emissions": None,
            "date": result.date,
        }
        file = f"{result.task.label}{'.synthetic' * result.task.synthetic}.{path.stem}.json"
        name = shown_name(result)
        folder = out / _file_name(name) / result.model.revision
        texts[folder / file] = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return texts


Export = Callable[[Board, Path, ExportOptions], dict[Path, str]]
FORMATS: dict[str, Export] = {
    "csv": _csv,
    "labels": _labels,
    "latex": _latex,
    "json": _json,
    "mteb": _mteb,
    "model-index": _model_index,
    "eval-results": _eval_results,
}
