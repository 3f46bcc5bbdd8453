"""The leaderboard as Markdown, CSV and JSON: from result files and the predictions beside them, nothing else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from svuprobe.benchmarks import suite, tables
from svuprobe.benchmarks.suite import Wanted
from svuprobe.benchmarks.tables import Across, Entry, Row, Table, label
from svuprobe.probe.result import Result

HEAD = """\
# Leaderboard

<!-- Written by `svuprobe leaderboard`. Do not edit: `svuprobe leaderboard --check` fails if you do. -->

How to read it. *Score*: mean over seeds of the weighted-sum head (of the only layer of a hand-made front end; of the
best layer on validation where the protocol ranks that), at the learning rate chosen on validation. *± seeds*:
standard deviation over seeds. *95 % interval*: jackknife over the groups of the test split (singers, songs,
recordings: the unit that may not cross splits), so it says how far the score depends on who is in the test set.
*Group*: models that share a letter are not told apart (paired bootstrap on the same test clips and over seeds, Holm's
correction over all pairs of the table, 5 %). *Best layer*: the single layer whose own head scores best *on
validation*, with its test score. *Selectivity*: score minus the score of heads trained on shuffled labels. Rows
marked *control* are random weights or hand-made features: a pretrained model has learnt something useful for the task
only as far as it beats them. Rows in italics have no rank. The same as CSV and JSON lies beside this file.
"""
SYNTHETIC = "**Synthetic audio**: these scores say that the chain works, nothing about any real singer."
_NOTHING = "–"


def files(results: Path, out: Path) -> dict[Path, str]:
    """What ``out`` (Markdown) and the CSV and JSON beside it have to hold."""
    entries, wanted = tables.read(results), suite.read_wanted(results)
    several = tables.build(entries, wanted)
    across = tables.across(several, wanted)
    return {
        out: markdown(several, across),
        out.with_suffix(".csv"): as_csv(several),
        out.with_suffix(".json"): as_json(several, across),
    }


def render(entries: Sequence[Entry], wanted: Sequence[Wanted] = ()) -> str:
    """The Markdown of results with their paths."""
    several = tables.build(entries, wanted)
    return markdown(several, tables.across(several, wanted))


def markdown(several: Sequence[Table], across: Sequence[Across]) -> str:
    """The whole file."""
    if not several and not across:
        return HEAD + "\nNo results yet: run `svuprobe probe`.\n"
    return "\n".join([HEAD, *map(_across_text, across), *map(_table_text, several)])


def task_title(result: Result) -> str:
    """Name of a task, with a mark where its data are synthetic."""
    return result.task["name"] + (" (synthetic)" if result.task["synthetic"] else "")


def model_title(result: Result) -> str:
    """Name of a model with its mark as a control; two revisions of one model stay apart."""
    model = result.model
    return f"{model['name']} (control)" if model["control"] else f"{model['name']}@{model['revision'][:8]}"


def number(metric: str, value: float | None) -> str:
    """A score as the tables print it: per cent with one decimal, or plain with three."""
    if value is None:
        return _NOTHING
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3f}"


def is_share(metric: str) -> bool:
    """Whether a metric is a share of something, which is shown in per cent; R2 and errors are not."""
    return not metric.startswith(("r2", "mae"))


def _mean_std(metric: str, score: dict[str, Any] | None) -> str:
    if score is None:
        return _NOTHING
    spread = f" ± {number(metric, score['std'])}" if "std" in score else ""
    return number(metric, score["mean"]) + spread


def _interval(metric: str, score: dict[str, Any]) -> str:
    ends = score.get("ci95")
    return f"{number(metric, ends[0])} to {number(metric, ends[1])}" if ends else _NOTHING


def _name(row: Row) -> str:
    if row.kind == "published":
        return f"*{row.model} (published, {row.source})*"
    if row.kind == "chance":
        return "*chance*"
    marks = (" *(fine-tuned)*" if row.finetuned else "") + (" *(control)*" if row.control else "")
    return label(row) + marks


def _table_text(table: Table) -> str:
    """One task under one protocol."""
    ranked, models = table.ranked, table.models()
    # Columns that no model has anything in are left out.
    grouped = any(row.group for row in models)
    layered = any(row.best_layer for row in models)
    shuffled = any(row.shuffled is not None for row in models)
    head = ["", "model", f"**{ranked}**", "± seeds", "95 % interval"]
    head += ["group"] * grouped + ["best layer"] * layered + ["selectivity"] * shuffled + table.metrics[1:]
    lines = []
    for row in table.rows:
        score = row.scores.get(ranked, {"mean": None})
        is_model = row.kind in ("model", "missing")
        cells = [row.rank or "", _name(row), number(ranked, score["mean"])]
        cells += [number(ranked, score.get("std")), _interval(ranked, score)] if is_model else ["", ""]
        cells += [row.group] * grouped + [_best_layer(ranked, row)] * layered + [_selectivity(ranked, row)] * shuffled
        lines.append(cells + [_mean_std(m, row.scores.get(m)) for m in table.metrics[1:]])
    text = [f"## {table.title}: {ranked}", *([SYNTHETIC] if table.synthetic else []), table.about]
    text += [tabulate(lines, head, tablefmt="pipe", disable_numparse=True)]
    if table.detectable is not None:
        points = number(ranked, table.detectable) + (" points" if is_share(ranked) else "")
        text.append(
            f"Minimum detectable difference: {points}. A true difference of this size between two of these models is "
            "found with 80 % power (5 % level; median over pairs)."
        )
    return "\n\n".join(text + table.notes) + "\n"


def _best_layer(ranked: str, row: Row) -> str:
    if row.kind != "model":
        return ""
    return f"{row.best_layer} ({number(ranked, row.best_layer_score)})" if row.best_layer else _NOTHING


def _selectivity(ranked: str, row: Row) -> str:
    if row.kind != "model":
        return ""
    return _NOTHING if row.shuffled is None else number(ranked, row.scores[ranked]["mean"] - row.shuffled)


def _across_text(across: Across) -> str:
    """Models x tasks under one protocol."""
    mark = " (synthetic)" if across.synthetic else ""
    grouped = any(rank["group"] for rank in across.ranks.values())
    head = ["model"] + [f"{title}<br>{metric}" for title, metric in across.columns]
    head += ["mean rank", "Borda"] * bool(across.ranks) + ["rank group"] * grouped
    rows = [
        [name + (" *(control)*" if name in across.controls else "")]
        + [_mean_std(metric, score) for (_, metric), score in zip(across.columns, scores, strict=True)]
        + _rank_cells(across.ranks.get(name), grouped) * bool(across.ranks)
        for name, scores in across.scores.items()
    ]
    text = [f"## Across tasks{mark}: protocol `{across.protocol}` (`{across.protocol_hash}`)"]
    text.append(tabulate(rows, head, tablefmt="pipe", disable_numparse=True))
    text += [across.about_ranks] if across.about_ranks else []
    text += [_to_run(across)] if across.missing else []
    return "\n\n".join(text) + "\n"


def _rank_cells(rank: dict[str, Any] | None, grouped: bool) -> list[str]:
    if rank is None:
        return [_NOTHING, _NOTHING] + [""] * grouped
    return [f"{rank['mean_rank']:.2f}", f"{rank['borda']:g}"] + [rank["group"]] * grouped


def _to_run(across: Across) -> str:
    """What the gaps of a table need."""
    if across.suites:
        commands = [f"`svuprobe run {name} --data DATA --out OUT`" for name in across.suites]
        return f"{_NOTHING}: no result yet; {' and '.join(commands)} makes it."
    models, typed = (dict.fromkeys(pair[n] for pair in across.missing) for n in (0, 1))
    words = " ".join([*(f"--task {name}" for name in typed), *(f"--model {name}" for name in models)])
    return (
        f"{_NOTHING}: no result yet; `svuprobe extract {words} --data DATA` and "
        f"`svuprobe probe {words} --protocol {across.protocol}` make it."
    )


def as_csv(several: Sequence[Table]) -> str:
    """One line for each score: table, row, metric."""
    out = io.StringIO()
    names = [
        "task", "synthetic", "version", "split_sha256", "protocol", "protocol_hash", "train_fraction", "kind", "rank",
        "model", "revision", "control", "finetuned", "group", "source", "metric", "ranked", "mean", "std",
        "ci95_low", "ci95_high",
    ]  # fmt: skip
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for table in several:
        for row in table.rows:
            for metric, score in (row.scores or {table.ranked: {"mean": None}}).items():
                low, high = score.get("ci95") or (None, None)
                values = {"mean": score["mean"], "std": score.get("std"), "ci95_low": low, "ci95_high": high}
                line = vars(table) | vars(row) | {"metric": metric, "ranked": metric == table.ranked}
                writer.writerow(line | {name: _rounded(value) for name, value in values.items()})
    return out.getvalue()


def as_json(several: Sequence[Table], across: Sequence[Across]) -> str:
    """Everything in the tables, as numbers."""
    body = {"tables": [asdict(t) for t in several], "across": [asdict(a) for a in across]}
    return json.dumps(_rounded(body), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    """Six significant digits: nobody needs more, and the last ones differ between machines."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
