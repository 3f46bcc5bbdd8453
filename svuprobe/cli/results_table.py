"""Show results as a short table: best first per task, with what has to stand beside a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from svuprobe._edge import one_line
from svuprobe.benchmarks.leaderboard import is_share, number
from svuprobe.benchmarks.tables import Row, Table, label
from svuprobe.cli.table import Column, lay_out, line_of, styled

_UNKNOWN = "–"
MOST_ROWS = 12  # of a task: the leaderboard has all
_COLUMNS = (
    Column("", right=True),
    Column("model", least=10),
    Column("score"),
    Column("95 % interval", dropped=3),
    Column("group", dropped=2),
    Column("best layer", dropped=4),
)
_LEGEND = (
    "± over seeds; interval over groups of the test set; models that share a letter are not told "
    "apart; best layer on validation"
)


def lines(tables: Sequence[Table], width: int | None) -> list[str]:
    """Return the table of several tasks; nothing where there are no results.

    Parameters
    ----------
    width
        Columns of the terminal; None for any.
    """
    rows: list[list[str]] = []
    revisions: dict[str, set[str]] = {}
    for table in tables:
        for row in _shown(table):
            revisions.setdefault(row.model, set()).add(row.revision)
    # Of each block of rows its heading, and how each row looks.
    blocks: list[tuple[str, list[dict[str, Any]]]] = []
    for table in tables:
        looks = []
        for row in _shown(table):
            rows.append(_cells(table, row, len(revisions[row.model]) > 1))
            looks.append(_look(row))
        blocks.append((_heading(table), looks))
    if not rows:
        return []
    kept, widths, cells = lay_out(_COLUMNS, rows, width)
    columns = [_COLUMNS[place] for place in kept]
    text = ["", styled(line_of([c.head for c in columns], columns, widths), dim=True)]
    done = 0
    for (heading, looks), table in zip(blocks, tables, strict=True):
        text += [styled(each, bold=True) for each in _wrapped(heading, width)]
        for look in looks:
            text.append(styled(line_of(cells[done], columns, widths), **look))
            done += 1
        more = len(table.models()) - MOST_ROWS
        if more > 0:
            text.append(f"    and {more} more, which svuprobe leaderboard shows")
    legend = _LEGEND
    if any(row.control for table in tables for row in _shown(table)):
        legend += "; * a control: random weights, or features made by hand"
    if any(_UNKNOWN in row for row in rows):
        legend += f"; {_UNKNOWN} test groups too few, or too alike, for an interval"
    text += [styled(each, dim=True) for each in _wrapped(legend, width)]
    return text


def _shown(table: Table) -> list[Row]:
    """Return the best models of a table, and what guessing scores."""
    chance = [row for row in table.rows if row.kind == "chance"]
    return [*table.models()[:MOST_ROWS], *chance]


def _heading(table: Table) -> str:
    files = dict.fromkeys(row.file for row in table.models())
    unit = " in %" if is_share(table.ranked) else ""
    return one_line(f"{table.title}: {table.ranked}{unit}, protocol {', '.join(files)}")


def _cells(table: Table, row: Row, several: bool) -> list[str]:
    """Return the cells of a row; ``several`` revisions of its model are told apart."""
    ranked = table.ranked
    score = row.scores.get(ranked)
    if row.kind == "chance" or score is None:
        mean = number(ranked, score.mean if score else None)
        return ["", "chance", mean, "", "", ""]
    text = "undefined" if score.mean is None else number(ranked, score.mean)
    if score.std is not None:
        text += f" ± {number(ranked, score.std)}"
    interval = _UNKNOWN
    if score.ci95:
        interval = f"{number(ranked, score.ci95[0])} to {number(ranked, score.ci95[1])}"
    best = ""
    if row.best_layer:
        best = f"{row.best_layer} ({number(ranked, row.best_layer_score)})"
    place = "" if row.rank is None else str(row.rank)
    return [place, _name(row, several), text, interval, row.group, best]


def _name(row: Row, several: bool) -> str:
    """Return a model's name; the mark of a control stands first, where no cut takes it."""
    name = label(row) if several else label(replace(row, revision=""))
    name = f"* {name}" if row.control else name
    return f"{name} (fine-tuned)" if row.finetuned else name


def _look(row: Row) -> dict[str, Any]:
    if row.control or row.kind == "chance":
        return {"dim": True}
    return {"fg": "green"} if row.rank == 1 else {}


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    import textwrap

    return textwrap.wrap(text, max(width, 20), subsequent_indent="  ")
