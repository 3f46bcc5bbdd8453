"""Show scores of each label, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from svuprobe.benchmarks.leaderboard import is_share
from svuprobe.benchmarks.report.gather import Reviewed, TaskPart
from svuprobe.benchmarks.report.html import Child, Html, join, tag
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.report.numbers import cell
from svuprobe.benchmarks.report.widgets import data_table, details, num
from svuprobe.probe.results.naming import shown_title

MOST_LABELS = 60
MOST_CLASSES = 24  # of a matrix; of more the commonest mistakes are listed
_MOST_CONFUSED = 20
_SHADES = 9


def section(part: TaskPart, looks: Looks) -> Html | None:
    """Return the scores of each label and the confusions; None where there is no label."""
    reviewed = [each for each in part.reviewed if each.labels]
    if not reviewed:
        return None
    matrices = [each for each in reviewed if each.confusion.size]
    return tag(
        "section",
        tag("h3", "By label"),
        _labels(reviewed, looks),
        tag("div", [_confusions(each) for each in _best_and_control(matrices)], class_="beside"),
        class_="sub",
    )


def _best_and_control(reviewed: Sequence[Reviewed]) -> list[Reviewed]:
    """Return the best model and, if that is none itself, the best control."""
    chosen = list(reviewed[:1])
    if chosen and not chosen[0].result.model.control:
        chosen += [each for each in reviewed if each.result.model.control][:1]
    return chosen


# -- scores of labels ------------------------------------------------------------------------------


def _labels(reviewed: Sequence[Reviewed], looks: Looks) -> Html:
    """Return labels x models, of the metric that tells most of a label."""
    best = reviewed[0]
    metric = _metric_of(best)
    labels = list(best.labels)
    told = ""
    if len(labels) > MOST_LABELS:
        hardest = sorted(labels, key=lambda label: _mean(best, label, metric))[:MOST_LABELS]
        labels = [label for label in labels if label in hardest]
        told = f"; the {MOST_LABELS} of {len(best.labels)} that the best model finds hardest"
    counted = "support" in best.labels[labels[0]]
    heads: list[Child] = ["label", *[num("in test")] * counted]
    for each in reviewed:
        name = shown_title(each.result)
        classes = f"row {looks.classes(name)}"
        heads.append(tag("th", looks.named(name), scope="col", class_=f"num {classes}"))
    rows = []
    for label in labels:
        cells = [tag("th", label, scope="row")]
        if counted:
            support = best.labels[label]["support"].mean or 0
            cells.append(tag("td", f"{support:g}", class_="num", data_v=f"{support:g}"))
        for each in reviewed:
            score = each.labels[label][metric] if label in each.labels else None
            mean = None if score is None else score.mean
            classes = f"row {looks.classes(shown_title(each.result))}"
            cells.append(_shaded(metric, mean, classes))
        rows.append(tag("tr", cells))
    unit = " in per cent" if is_share(metric) else ""
    where = "over all folds" if best.result.task.folds else "on test"
    caption = f"{metric} of each label {where}{unit}, mean over seeds{told}"
    return data_table(caption, heads, rows, classes="heat", walk=True)


def _metric_of(reviewed: Reviewed) -> str:
    """Return F1 where there is one, else the first metric of a label."""
    known = next(iter(reviewed.labels.values()))
    return "f1" if "f1" in known else next(iter(known))


def _mean(reviewed: Reviewed, label: str, metric: str) -> float:
    mean = reviewed.labels[label][metric].mean
    return np.inf if mean is None else mean


def _shaded(metric: str, mean: float | None, classes: str) -> Html:
    if mean is None:
        return tag("td", "–", class_=f"num none {classes}")
    shade = round(_SHADES * min(1.0, max(0.0, mean))) if is_share(metric) else 0
    return cell(metric, mean, class_=f"h{shade} {classes}")


# -- confusions ------------------------------------------------------------------------------------


def _confusions(reviewed: Reviewed) -> Html:
    name, labels = shown_title(reviewed.result), reviewed.result.task.labels
    unit = "windows" if reviewed.result.task.scored == "window" else "clips"
    summary = f"Confusions of {name}"
    if len(labels) > MOST_CLASSES:
        return details(summary, _commonest(reviewed, unit))
    counts = reviewed.confusion
    rows = []
    for truth, label in enumerate(labels):
        total = float(counts[truth].sum())
        cells = []
        for answer, other in enumerate(labels):
            count = float(counts[truth, answer])
            shade = round(_SHADES * count / total) if total else 0
            told = f"{label} answered as {other}: {count:.6g} {unit}"
            shown = "" if count == 0 else f"{count:.1f}".removesuffix(".0")
            right = " right" if truth == answer else ""
            cells.append(tag("td", shown, class_=f"num h{shade}{right}", data_tip=told))
        rows.append(tag("tr", tag("th", label, scope="row"), cells))
    folds = "over all folds, " if reviewed.result.task.folds else ""
    caption = f"{name}: test {unit} of each class (rows) by what they are answered as (columns)"
    heads = ["class", *labels]
    table = data_table(
        f"{caption}, {folds}mean over seeds",
        heads,
        rows,
        classes="heat matrix",
        sorts=False,
        walk=True,
    )
    return details(summary, table, open_=True)


def _commonest(reviewed: Reviewed, unit: str) -> Html:
    """Return the commonest mistakes, of more classes than a matrix has room for."""
    counts, labels = reviewed.confusion.copy(), reviewed.result.task.labels
    np.fill_diagonal(counts, 0)
    rows = []
    for place in np.argsort(-counts, axis=None, kind="stable")[:_MOST_CONFUSED]:
        truth, answer = np.unravel_index(place, counts.shape)
        count = float(counts[truth, answer])
        if count > 0:
            number = tag(
                "td", f"{count:.1f}".removesuffix(".0"), class_="num", data_v=f"{count:.6g}"
            )
            rows.append(tag("tr", tag("td", labels[truth]), tag("td", labels[answer]), number))
    caption = (
        f"{shown_title(reviewed.result)}: the commonest mistakes among {len(labels)} classes, "
        f"{unit}, mean over seeds"
    )
    return join(data_table(caption, ["class", "answered as", num(unit)], rows))
