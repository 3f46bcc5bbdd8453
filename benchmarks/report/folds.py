"""Show what each fold of a cross-validation gave alone, beside the score of all clips as one."""

from __future__ import annotations

from svuprobe.benchmarks.leaderboard import is_share
from svuprobe.benchmarks.report.gather import TaskPart
from svuprobe.benchmarks.report.html import Html, tag
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.report.numbers import NOTHING, in_words, score_of_seeds, spread_cell
from svuprobe.benchmarks.report.widgets import data_table, num
from svuprobe.probe.results.naming import shown_title
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_folds import FoldInfo

_ABOUT = (
    "The score above is of all clips as one, and its interval over the groups of all folds: each "
    "clip was tested once. Training sets of two folds overlap, so how far folds lie apart is no "
    "standard error."
)


def section(part: TaskPart, looks: Looks) -> Html | None:
    """Return models x folds; None of a single split."""
    results = [result for result in part.results if result.folds]
    if not results:
        return None
    metric = part.table.ranked
    rows = []
    for result in results:
        name = shown_title(result)
        cells = [_cell(metric, result, fold) for fold in result.folds or ()]
        head = tag("th", looks.named(name), scope="row", class_="model")
        rows.append(tag("tr", head, cells, class_=f"row {looks.classes(name)}"))
    heads = [num(f"fold {fold.name}", tag("small", _size(fold))) for fold in results[0].folds or ()]
    unit = " in per cent" if is_share(metric) else ""
    caption = f"{metric} of each fold's own test clips{unit}, mean ± standard deviation over seeds"
    return tag(
        "section",
        tag("h3", "Folds"),
        data_table(caption, ["model", *heads], rows, walk=True),
        tag("p", _ABOUT, class_="said"),
        class_="sub",
    )


def _size(fold: FoldInfo) -> str:
    clips, groups = fold.test.clips, fold.test.groups
    return f"{clips:,} clip{'s' * (clips != 1)}, {groups:,} group{'s' * (groups != 1)}"


def _cell(metric: str, result: Result, fold: FoldInfo) -> Html:
    """Return a fold's score; the pointer is told what validation chose there."""
    score = score_of_seeds(fold.scores.get(metric, ()))
    if score.mean is None:
        return tag("td", NOTHING, class_="num none")
    chosen = fold.selected.head
    words = [f"fold {fold.name}: {in_words(metric, score)}"]
    if len(result.model.layer_names) > 1:
        words.append("weighted sum" if chosen.layer == "sum" else chosen.layer)
    if chosen.setting is not None:
        words.append(chosen.setting)
    elif chosen.learning_rate is not None:
        words.append(f"learning rate {chosen.learning_rate:g}")
    return spread_cell(metric, score, tip=", ".join(words))
