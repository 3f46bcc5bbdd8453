"""Show one task under one protocol: its scores first, then what lies behind them."""

from __future__ import annotations

from svuprobe.benchmarks.across import Across
from svuprobe.benchmarks.leaderboard import SYNTHETIC, is_share, number
from svuprobe.benchmarks.report import answers, clips, folds, forest, layers
from svuprobe.benchmarks.report.audio import Audio
from svuprobe.benchmarks.report.gather import Content, TaskPart
from svuprobe.benchmarks.report.html import Child, Html, join, tag
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.report.numbers import NOTHING, cell, spread_cell
from svuprobe.benchmarks.report.prose import inline
from svuprobe.benchmarks.report.widgets import data_table, num
from svuprobe.benchmarks.tables import CellScore, Row, Table, label
from svuprobe.probe.contamination import MARKS, meaning


def section(part: TaskPart, content: Content, audio: Audio) -> Html:
    """Return the section of a task."""
    table, looks = part.table, content.looks
    return tag(
        "section",
        tag("h2", heading(table)),
        tag("p", inline(SYNTHETIC), class_="warning") if table.synthetic else None,
        tag("p", inline(table.about), class_="said"),
        _scores(table, looks),
        _notes(table),
        folds.section(part, looks),
        layers.section(part, looks),
        layers.efficiency(part, looks),
        answers.section(part, looks),
        clips.section(part, content, audio),
        id=part.id,
        class_="task",
        data_protocol=protocol_label(table),
    )


def heading(table: Table) -> Html:
    """Return a task with its metric and protocol."""
    return join(
        table.title,
        " ",
        tag("span", f"{table.ranked}, protocol {table.protocol_title}", class_="of"),
    )


def protocol_label(table: Table | Across) -> str:
    """Return a protocol as the filter names it: with its changes and its hash, as a name of one's
    own may stand for two.
    """
    return f"{table.protocol_title} ({table.protocol_hash[:8]})"


def saw_mark(saw: str) -> Html | None:
    """Return the mark of what a model was trained on, with its meaning for the pointer."""
    if not saw:
        return None
    return tag("abbr", f" {MARKS[saw]}", title=meaning(saw), class_="saw")


def _scores(table: Table, looks: Looks) -> Html:
    ranked, models = table.ranked, table.models()
    grouped = any(row.group for row in models)
    layered = any(row.best_layer for row in models)
    shuffled = any(row.shuffled is not None for row in models)
    scores = [row.scores.get(ranked, CellScore(None)) for row in models]
    chance = next((row.scores[ranked].mean for row in table.rows if row.kind == "chance"), None)
    scale = forest.scale_of(ranked, scores, chance)
    heads: list[Child] = [num("rank"), "model", num(ranked), num("± seeds"), num("95 % interval")]
    if scale is not None:
        heads.append(tag("th", _ends(ranked, scale.low, scale.high), scope="col", class_="nosort"))
    heads += ["group"] * grouped + [num("best layer")] * layered
    heads += [num("selectivity")] * shuffled + [num(metric) for metric in table.metrics[1:]]
    rows = []
    for row in table.rows:
        score = row.scores.get(ranked, CellScore(None))
        cells = [
            tag("td", row.rank or "", class_="num", data_v=row.rank),
            _model(row, looks),
            cell(ranked, score.mean, saw_mark(row.saw), class_="main"),
        ]
        cells += _spreads(ranked, score, row.kind)
        if scale is not None:
            shape = looks.mark(label(row)) if row.kind == "model" else "dot"
            drawn = forest.drawn(score, scale, looks.classes(label(row)), shape, chance)
            cells.append(tag("td", drawn if row.kind != "missing" else "", class_="drawn"))
        cells += [tag("td", row.group, class_="letters")] * grouped
        cells += [_best_layer(ranked, row)] * layered
        cells += [_selectivity(ranked, row)] * shuffled
        cells += [spread_cell(metric, row.scores.get(metric)) for metric in table.metrics[1:]]
        rows.append(tag("tr", cells, class_=f"row {row.kind} {looks.classes(label(row))}".strip()))
    caption = f"{table.title}: {ranked}{' in per cent' if is_share(ranked) else ''}, best first"
    return data_table(caption, heads, rows, classes="scores")


def _ends(metric: str, low: float, high: float) -> Html:
    """Return the heading of the drawn column: what its ends are."""
    return join(
        tag("span", number(metric, low)),
        tag("span", "spread and interval", class_="hidden"),
        tag("span", number(metric, high), class_="high"),
    )


def _model(row: Row, looks: Looks) -> Html:
    """Return the cell of a row's name."""
    if row.kind == "chance":
        words: Child = "chance"
    elif row.kind == "published":
        words = join(tag("span", row.model, class_="name"), tag("small", f" {row.source}"))
    elif row.kind == "missing":
        words = join(
            tag("span", row.model, class_="name"), " ", tag("span", "no result", class_="badge")
        )
    else:
        tuned = [" ", tag("span", "fine-tuned", class_="badge")] if row.finetuned else None
        words = join(looks.named(label(row)), tuned)
    return tag("th", words, scope="row", class_="model")


def _spreads(metric: str, score: CellScore, kind: str) -> list[Html]:
    """Return the cells of the spread over seeds and of the interval; of models alone."""
    if kind != "model":
        return [tag("td"), tag("td")]
    if score.ci95 is None:
        interval = tag("td", NOTHING, class_="num none")
    else:
        ends = f"{number(metric, score.ci95[0])} to {number(metric, score.ci95[1])}"
        interval = tag("td", ends, class_="num", data_v=f"{score.ci95[0]:.6g}")
    return [cell(metric, score.std), interval]


def _best_layer(metric: str, row: Row) -> Html:
    if row.kind != "model" or not row.best_layer:
        return tag("td", NOTHING if row.kind == "model" else "", class_="none")
    shown = f"{row.best_layer} ({number(metric, row.best_layer_score)})"
    return tag("td", shown, class_="num")


def _selectivity(metric: str, row: Row) -> Html:
    if row.kind != "model":
        return tag("td")
    mean = row.scores[metric].mean
    known = row.shuffled is not None and mean is not None
    return cell(metric, mean - row.shuffled if known else None)  # type: ignore[operator]


def _notes(table: Table) -> Html:
    """Return what a reader has to know before believing a number."""
    notes = list(table.notes)
    if any(row.group for row in table.rows):
        notes.insert(
            0,
            "Models that share a letter are not told apart (paired bootstrap on the same test "
            "clips and over seeds, Holm's correction, 5 %).",
        )
    if table.detectable is not None:
        points = number(table.ranked, table.detectable) + (
            " points" if is_share(table.ranked) else ""
        )
        notes.append(
            f"Minimum detectable difference: {points}. A true difference of this size between two "
            "of these models is found with 80 % power (5 % level; median over pairs)."
        )
    return (
        tag("ul", [tag("li", inline(note)) for note in notes], class_="notes")
        if notes
        else Html("")
    )
