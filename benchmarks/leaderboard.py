"""Write the leaderboard as Markdown, CSV and JSON, from results and the predictions beside them."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from svuprobe._text import as_csv as csv_text, code, markdown as escaped, prose
from svuprobe.benchmarks import tables
from svuprobe.benchmarks.across import Across, ModelRank, across as across_tasks
from svuprobe.benchmarks.selection import ALL, Selection
from svuprobe.benchmarks.suite import Wanted
from svuprobe.benchmarks.tables import CellScore, Row, Table, label, windows_of
from svuprobe.probe.contamination import MARKS
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import shown_title, without_folders
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_file import Entry

_WRITTEN = (
    "<!-- Written by `svuprobe leaderboard`. "
    "Do not edit: `svuprobe leaderboard --check` fails if you do. -->"
)
HOW_TO_READ = """
How to read it. *Score*: mean over seeds of the weighted-sum head (of the only layer of a hand-made
front end; of the best layer on validation where the protocol ranks that), at the learning rate
chosen on validation. *± seeds*: standard deviation over seeds. *95 % interval*: jackknife over the
groups of the test split (singers, songs, recordings: the unit that may not cross splits), so it
says how far the score depends on who is in the test set. *Group*: models that share a letter are
not told apart (paired bootstrap on the same test clips and over seeds, Holm's correction over all
pairs that are tested, 5 %). *Best layer*: the single layer whose own head scores best *on
validation*, with its test score. *Selectivity*: score minus the score of heads trained on shuffled
labels. Rows marked *control* are random weights or hand-made features: a pretrained model has
learnt something useful for the task only as far as it beats them. Rows in italics have no rank.
Beside a score, † says that the model was trained on audio of this dataset, ‡ that it may have been,
and ? that nobody says what it was trained on.
"""
_BESIDE = "The same as CSV and JSON lies beside this file."
# Filled to 118 columns, as the leaderboards that are kept were written.
HEAD = f"# Leaderboard\n\n{_WRITTEN}\n\n{textwrap.fill(f'{HOW_TO_READ.strip()} {_BESIDE}', 118)}\n"
SYNTHETIC = (
    "**Synthetic audio**: these scores say that the chain works, nothing about any real singer."
)
ABOUT = "about.md"  # in the folder of results: what the reader of all its tables has to know
_NOTHING = "–"
_OF_EXTRACTION = ["times_real_time", "machine", "cache_bytes"]
_MOST_WORDS = 40  # of a command that a reader is told


def files(
    results: Path, out: Path, selection: Selection = ALL
) -> tuple[dict[Path, str], list[str]]:
    """Make the leaderboard of a folder of results, or of some of them.

    Returns
    -------
    What ``out`` (Markdown) and the CSV and JSON beside it have to hold, and a line for each file of
    results that could not be used; everything else is in the tables.
    """
    chosen = selection.read(results)
    about = about_of(results)
    several = tables.build(chosen.entries, chosen.wanted)
    across = across_tasks(several, chosen.wanted)
    texts = {
        out: markdown(several, across, about),
        out.with_suffix(".csv"): as_csv(several),
        out.with_suffix(".json"): as_json(several, across),
    }
    unusable = [line for table in several for line in table.problems]
    return texts, [*chosen.problems, *chosen.unread, *unusable]


def render(entries: Sequence[Entry], wanted: Sequence[Wanted] = ()) -> str:
    """Return the Markdown of results with their paths."""
    several = tables.build(entries, wanted)
    return markdown(several, across_tasks(several, wanted))


def about_of(results: Path) -> str:
    """Return what the folder's ``about.md`` says of its results; empty where there is none."""
    path = results / ABOUT
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(
            f"{path}: can't be read as UTF-8 text ({error}); mend or delete it"
        ) from None


def markdown(several: Sequence[Table], across: Sequence[Across], about: str = "") -> str:
    """Return the whole file; ``about`` stands above the tables."""
    head = f"{HEAD}\n{prose(about)}\n" if about else HEAD
    return "\n".join([head, *map(_across_text, across), *map(_table_text, several)])


def task_title(result: Result) -> str:
    """Return the name of a task, with a mark where its data are synthetic or its windows others."""
    task = result.task
    return task.name + (" (synthetic)" if task.synthetic else "") + windows_of(task.window_s)


def model_title(result: Result) -> str:
    """Return a model's name with its mark as a control; two revisions of one model stay apart.

    A model in a folder that svuprobe pre-trained is named by its recipe, wherever the folder lies.
    """
    return shown_title(result) + (" (control)" if result.model.control else "")


def number(metric: str, value: float | None) -> str:
    """Return a score as the tables print it: per cent with one decimal, or plain with three."""
    if value is None:
        return _NOTHING
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3f}"


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share, which is shown in per cent; R2, errors and correlations are
    not.
    """
    return not metric.startswith(("r2", "mae", "rmse", "pearson", "spearman", "system_"))


def _mean_std(metric: str, score: CellScore | None) -> str:
    if score is None:
        return _NOTHING
    known = score.mean is not None and score.std is not None  # one seed says nothing of a deviation
    std = f" ± {number(metric, score.std)}" if known else ""
    return number(metric, score.mean) + std


def _interval(metric: str, score: CellScore) -> str:
    ends = score.ci95
    return f"{number(metric, ends[0])} to {number(metric, ends[1])}" if ends else _NOTHING


def _marked(cell: str, saw: str) -> str:
    """Return a score with the mark of what the model was trained on."""
    return f"{cell} {MARKS[saw]}" if saw and cell != _NOTHING else cell


def _name(row: Row) -> str:
    if row.kind == "published":
        return f"*{escaped(row.model)} (published, {escaped(row.source)})*"
    if row.kind == "chance":
        return "*chance*"
    marks = (" *(fine-tuned)*" if row.finetuned else "") + (" *(control)*" if row.control else "")
    return escaped(label(row)) + marks


def _table_text(table: Table) -> str:
    """Return the Markdown of one task under one protocol."""
    ranked, models = table.ranked, table.models()
    # Columns that no model has anything in are left out.
    grouped = any(row.group for row in models)
    layered = any(row.best_layer for row in models)
    shuffled = any(row.shuffled is not None for row in models)
    head = ["", "model", "", "± seeds", "95 % interval"]
    head[2] = f"**{escaped(ranked)}**"
    others = [escaped(name) for name in table.metrics[1:]]
    head += ["group"] * grouped + ["best layer"] * layered + ["selectivity"] * shuffled + others
    lines = []
    for row in table.rows:
        score = row.scores.get(ranked, CellScore(None))
        # A model that is missing has empty cells, not those of chance or of a paper.
        is_model = row.kind in ("model", "missing")
        cells = [row.rank or "", _name(row), _marked(number(ranked, score.mean), row.saw)]
        cells += [number(ranked, score.std), _interval(ranked, score)] if is_model else ["", ""]
        cells += (
            [row.group] * grouped
            + [_best_layer(ranked, row)] * layered
            + [_selectivity(ranked, row)] * shuffled
        )
        lines.append(cells + [_mean_std(m, row.scores.get(m)) for m in table.metrics[1:]])
    text = [f"## {escaped(table.title)}: {escaped(ranked)}"]
    text += [SYNTHETIC] if table.synthetic else []
    # Numbers are formatted already: tabulate would turn 71.30 into 71.3.
    text += [table.about, tabulate(lines, head, tablefmt="pipe", disable_numparse=True)]
    if table.detectable is not None:
        points = number(ranked, table.detectable) + (" points" if is_share(ranked) else "")
        text.append(
            f"Minimum detectable difference: {points}. A true difference of this size between two "
            "of these models is found with 80 % power (5 % level; median over pairs)."
        )
    return "\n\n".join(text + table.notes) + "\n"


def _best_layer(ranked: str, row: Row) -> str:
    if row.kind != "model":
        return ""
    if not row.best_layer:
        return _NOTHING
    return f"{escaped(row.best_layer)} ({number(ranked, row.best_layer_score)})"


def _selectivity(ranked: str, row: Row) -> str:
    if row.kind != "model":
        return ""
    mean = row.scores[ranked].mean
    return _NOTHING if row.shuffled is None or mean is None else number(ranked, mean - row.shuffled)


def _across_text(across: Across) -> str:
    """Return the Markdown of models x tasks under one protocol."""
    mark = (" (synthetic)" if across.synthetic else "") + windows_of(across.window_s)
    grouped = any(rank.group for rank in across.ranks.values())
    head = ["model"]
    # Pipe tables have no line breaks of their own, but HTML's.
    head += [f"{escaped(title)}<br>{escaped(metric)}" for title, metric in across.columns]
    head += ["mean rank", "Borda"] * bool(across.ranks) + ["rank group"] * grouped
    rows = []
    for name, scores in across.scores.items():
        tuned = " *(fine-tuned)*" if name in across.finetuned else ""
        control = " *(control)*" if name in across.controls else ""
        cells = [escaped(name) + tuned + control]
        for (_, metric), score, saw in zip(across.columns, scores, across.saw[name], strict=True):
            cells.append(_marked(_mean_std(metric, score), saw))
        if across.ranks:
            cells += _rank_cells(across.ranks.get(name), grouped)
        rows.append(cells)
    text = [
        f"## Across tasks{mark}{across.special}: protocol {code(across.protocol)} "
        f"(`{across.protocol_hash}`)" + f" with {escaped(across.changes)}" * bool(across.changes)
    ]
    text.append(tabulate(rows, head, tablefmt="pipe", disable_numparse=True))
    text += [across.about_ranks] if across.about_ranks else []
    text += [_to_run(across)] if across.missing else []
    return "\n\n".join(text) + "\n"


def _rank_cells(rank: ModelRank | None, grouped: bool) -> list[str]:
    if rank is None:
        return [_NOTHING, _NOTHING] + [""] * grouped
    return [f"{rank.mean_rank:.2f}", f"{rank.borda:g}"] + [rank.group] * grouped


def _to_run(across: Across) -> str:
    """Return the commands that would fill the gaps of a table."""
    if across.suites:
        # One command makes everything; the two below are for results that no suite asks for.
        commands = []
        for name in across.suites:
            commands.append(code(f"svuprobe run {shlex.quote(name)} --data DATA --out OUT"))
        return f"{_NOTHING}: no result yet; {' and '.join(commands)} makes it."
    models, typed = (list(dict.fromkeys(names)) for names in zip(*across.missing, strict=True))
    # More words are no help to a reader; the two commands alone say what to look up.
    if len(models) + len(typed) > _MOST_WORDS:
        return f"{_NOTHING}: no result yet; `svuprobe extract` and `svuprobe probe` make it."
    words = " ".join([_option("--task", typed), _option("--model", models)])
    if across.window_s is not None:
        words += f" --window {across.window_s:g}"
    extract = code(f"svuprobe extract {words} --data DATA")
    probe = code(f"svuprobe probe {words} --protocol {shlex.quote(across.protocol)}")
    return f"{_NOTHING}: no result yet; {extract} and {probe} make it."


def _option(name: str, values: Sequence[str]) -> str:
    return " ".join(f"{name} {shlex.quote(value)}" for value in values)


def as_csv(several: Sequence[Table]) -> str:
    """Return one line for each score: table, row, metric."""
    columns = [
        "task", "synthetic", "version", "split_sha256", "protocol", "protocol_hash", "file",
        "window_s", "train_fraction", "shuffled_labels", "kind", "rank", "model", "revision",
        "control",
        "finetuned", "saw", "group", "source", "metric", "ranked", "mean", "std", "ci95_low",
        "ci95_high", "mean_shuffled", "parameters",
    ]  # fmt: skip
    # Older results do not say what extraction took.
    if any(row.machine for table in several for row in table.rows):
        columns += _OF_EXTRACTION
    # Most models go by their own names.
    if any(row.display for table in several for row in table.rows):
        columns.insert(columns.index("revision"), "display")
    lines = []
    for table in several:
        for row in table.rows:
            # A model that is missing has a line, too, without a score.
            for metric, score in (row.scores or {table.ranked: CellScore(None)}).items():
                name = {"model": without_folders(row.model)}
                score_columns = _csv_score(table, row, metric, score)
                lines.append(vars(table) | vars(row) | name | score_columns)
    return csv_text(lines, columns)


def _csv_score(table: Table, row: Row, metric: str, score: CellScore) -> dict[str, Any]:
    low, high = score.ci95 or (None, None)
    ranked = metric == table.ranked
    values = {"mean": score.mean, "std": score.std, "ci95_low": low, "ci95_high": high}
    # Of heads trained on shuffled labels; only the ranked metric of those is kept.
    values["mean_shuffled"] = row.shuffled if ranked else None
    return {"metric": metric, "ranked": ranked} | _rounded(values)


def as_json(several: Sequence[Table], across: Sequence[Across]) -> str:
    """Return everything in the tables, as numbers."""
    body = {"tables": list(map(asdict, several)), "across": list(map(asdict, across))}
    for table in body["tables"]:
        del table["problems"]  # of the files on this machine
        for row in table["rows"]:
            row["model"] = without_folders(row["model"])
            if not row["display"]:  # most models go by their own names
                del row["display"]
            if row["kind"] != "model":
                del row["parameters"]
            if not row["machine"]:
                for name in _OF_EXTRACTION:
                    del row[name]
            # Of chance and of published systems a mean is all that is known.
            if row["kind"] != "model":
                for metric, score in row["scores"].items():
                    row["scores"][metric] = {"mean": score["mean"]}
    return json.dumps(_rounded(body), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    """Round to six significant digits: nobody needs more, and the last ones differ between
    machines.
    """
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
