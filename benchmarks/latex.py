"""Write tables of models and tasks in LaTeX, as they stand in a paper."""

from __future__ import annotations

from collections.abc import Sequence

from svuprobe.benchmarks.leaderboard import is_share, number
from svuprobe.benchmarks.tables import CellScore, Row, Table, label

_DAGGER = r"$^\dagger$"


def latex_table(several: Sequence[Table], spread: str) -> str:
    """Return one LaTeX table: a row for each model, a column for each task."""
    known = dict.fromkeys(label(row) for table in several for row in table.models())
    controls = {label(row) for table in several for row in table.models() if row.control}
    # Models first, then the controls that they have to beat.
    names = [n for n in known if n not in controls] + [n for n in known if n in controls]
    columns = [_column(table, spread) for table in several]
    lines = []
    for place, name in enumerate(names):
        if place and name in controls and names[place - 1] not in controls:
            lines.append(r"\midrule")
        cells = [column.get(name, "--") for column in columns]
        lines.append(" & ".join([escape(name), *cells]) + r" \\")
    first = several[0]
    head = [r"\textbf{Model}"]
    for table in several:
        unit = r" (\%)" if is_share(table.ranked) else ""
        head.append(rf"\shortstack{{{escape(table.title)}\\{escape(table.ranked)}{unit}}}")
    said = {
        "std": "Mean over seeds with its standard deviation.",
        "interval": r"Mean over seeds with the 95\,\% interval over groups of the test split.",
        "none": "Mean over seeds.",
    }
    synthetic = " Synthetic audio: no score of a real singer." if first.synthetic else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Protocol {escape(first.protocol)} ({first.protocol_hash}). "
            rf"{said[spread]} Bold: best of a column; $\dagger$: not told apart from it (paired "
            rf"bootstrap with Holm's correction, 5\,\%).{synthetic}}}",
            rf"\begin{{tabular}}{{l{'r' * len(several)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _column(table: Table, spread: str) -> dict[str, str]:
    """Return the cells of one task, by model."""
    cells = {}
    ranked, models = table.ranked, table.models()
    best = [row for row in models if row.rank == 1]
    letters = set("".join(row.group for row in best))
    for row in models:
        score = row.scores.get(ranked, CellScore(None))
        if score.mean is None:
            cells[label(row)] = "--"
            continue
        text = number(ranked, score.mean).replace("-", "$-$")
        if row in best:
            text = rf"\textbf{{{text}}}"
        elif letters & set(row.group):
            text += _DAGGER
        cells[label(row)] = text + _spread(ranked, row, spread)
    return cells


def _spread(ranked: str, row: Row, spread: str) -> str:
    """Return what stands behind a score; nothing where it is not known."""
    score = row.scores[ranked]
    if spread == "std" and score.std is not None:
        return rf" $\pm$ {number(ranked, score.std)}"
    if spread == "interval" and score.ci95 is not None:
        low, high = (number(ranked, end) for end in score.ci95)
        return f" [{low}, {high}]".replace("-", "$-$")
    return ""


def escape(text: str) -> str:
    """Return text as LaTeX prints it, letter for letter."""
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }  # fmt: skip
    return "".join(special.get(sign, sign) for sign in text)
