"""Show models x tasks of each protocol, with ranks over the tasks."""

from __future__ import annotations

from svuprobe.benchmarks.across import Across
from svuprobe.benchmarks.report.gather import Content
from svuprobe.benchmarks.report.html import Child, Html, join, tag
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.report.numbers import NOTHING, spread_cell
from svuprobe.benchmarks.report.prose import inline
from svuprobe.benchmarks.report.task import protocol_label, saw_mark
from svuprobe.benchmarks.report.widgets import data_table, num
from svuprobe.benchmarks.tables import windows_of

# Of more tasks, deviations stand under the scores: nine fit on a screen of 1,280 pixels.
_FEW_TASKS = 6


def section(content: Content) -> Html:
    """Return the tables across tasks, the default protocol's first."""
    several = [_one(across, content) for across in content.across]
    return tag("section", tag("h2", "Across tasks"), several, id="across")


def _one(across: Across, content: Content) -> Html:
    mark = (" (synthetic audio)" if across.synthetic else "") + windows_of(across.window_s)
    ranked = bool(across.ranks)
    grouped = any(rank.group for rank in across.ranks.values())
    heads: list[Child] = ["model"]
    for title, metric in across.columns:
        # (roc_auc has no place of its own where a line may end.)
        parts = [join(part, tag("wbr")) for part in metric.replace("_", "_ ").split()]
        heads.append(num(title, tag("small", parts)))
    heads += [num("mean rank"), num("Borda count")] * ranked + ["rank group"] * grouped
    tops = _best(across)
    rows = []
    for name, scores in across.scores.items():
        cells = [tag("th", _named(name, across, content.looks), scope="row", class_="model")]
        columns = zip(across.columns, scores, across.saw[name], tops, strict=True)
        for (_, metric), score, saw, top in columns:
            is_best = score is not None and score.mean is not None and score.mean == top
            cells.append(spread_cell(metric, score, saw_mark(saw), best=is_best))
        if ranked:
            cells += _ranks(name, across, grouped)
        rows.append(tag("tr", cells, class_=f"row {content.looks.classes(name)}".strip()))
    classes = "across many" if len(across.columns) > _FEW_TASKS else "across"
    caption = (
        f"Models on all tasks{mark}{across.special}, protocol {across.protocol_title}: test "
        "scores, mean ± standard deviation over seeds; the best of a column is bold"
    )
    about = tag("p", inline(across.about_ranks), class_="said") if across.about_ranks else None
    missing = None
    if across.missing:
        missing = tag(
            "p", f"{NOTHING}: no result yet ({len(across.missing)} of them).", class_="said"
        )
    return tag(
        "div",
        data_table(caption, heads, rows, classes=classes),
        about,
        missing,
        class_="task",
        data_protocol=protocol_label(across),
    )


def _best(across: Across) -> list[float | None]:
    """Return the best mean of each column."""
    tops: list[float | None] = []
    for column in range(len(across.columns)):
        means = [scores[column] for scores in across.scores.values()]
        known = [score.mean for score in means if score is not None and score.mean is not None]
        tops.append(max(known) if known else None)
    return tops


def _named(name: str, across: Across, looks: Looks) -> Html:
    """Return a model's name; of one that nobody has probed yet, too."""
    if looks.classes(name):
        tuned = name in across.finetuned
        badge = join(" ", tag("span", "fine-tuned", class_="badge")) if tuned else None
        return join(looks.named(name), badge)
    badge = tag("span", "control", class_="badge") if name in across.controls else None
    return join(tag("span", name, class_="name"), badge)


def _ranks(name: str, across: Across, grouped: bool) -> list[Html]:
    rank = across.ranks.get(name)
    if rank is None:
        return [tag("td", NOTHING, class_="num none")] * 2 + [tag("td")] * grouped
    cells = [
        tag("td", f"{rank.mean_rank:.2f}", class_="num", data_v=f"{rank.mean_rank:.6g}"),
        tag("td", f"{rank.borda:g}", class_="num", data_v=f"{rank.borda:g}"),
    ]
    return cells + [tag("td", rank.group, class_="letters")] * grouped
