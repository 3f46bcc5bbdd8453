"""Show what each layer of each model is worth: curves of single layers, and mixing weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from svuprobe.benchmarks.leaderboard import number
from svuprobe.benchmarks.report import charts
from svuprobe.benchmarks.report.gather import TaskPart
from svuprobe.benchmarks.report.html import Html, join, tag
from svuprobe.benchmarks.report.looks import Looks
from svuprobe.benchmarks.report.numbers import cell, exact, in_words, layer_score
from svuprobe.benchmarks.report.widgets import data_table, details, num
from svuprobe.benchmarks.tables import CellScore
from svuprobe.probe.results.naming import shown_title
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_layers import LayerWeights

MOST_PANELS = 12
_MOST_TICKS = 9
_SHADES = 9  # of a table's cells, `.h1` to `.h9` in the style sheet


def section(part: TaskPart, looks: Looks) -> Html | None:
    """Return curves and weights of the models with several layers; None where there is none."""
    layered = [result for result in part.results if len(result.layer_curve) > 1]
    mixed = []
    for result in part.results:
        weights = result.layer_weights  # None of heads that weigh no layers
        if weights is not None and len(weights.softmax[0]) > 1:
            mixed.append((result, weights))
    if not layered and not mixed:
        return None
    return tag(
        "section",
        tag("h3", "Layers"),
        _curves(part, layered, looks) if layered else None,
        _weights(mixed, looks) if mixed else None,
        class_="sub",
    )


# -- curves ----------------------------------------------------------------------------------------


def _curves(part: TaskPart, layered: Sequence[Result], looks: Looks) -> Html:
    shown = layered[:MOST_PANELS]
    end = max(len(result.model.layer_names) for result in shown)
    values = []
    for result in shown:
        for name in result.model.layer_names:
            score = layer_score(result, name)
            values += _reach(score)
        values += _reach(CellScore.of(result.ranked))
    metric = part.table.ranked
    chance = part.results[0].chance[metric]
    scale = charts.score_scale(metric, values, chance)
    panels = []
    for result in shown:
        others = [_line(other, scale, end) for other in shown if other is not result]
        panels.append(_panel(result, scale, end, others, chance, looks))
    words = (
        f"Test {metric} of a head on each single layer (dots, with the spread over "
        "seeds and the 95 % interval behind them) and of the weighted sum of all layers (at the "
        f"right). The ring is the layer that is best on validation{_in_folds(part)}; grey are the "
        "other models"
    )
    if scale.holds(chance):
        words += ", dashes are chance."
    else:
        words += f"; chance, {number(metric, chance)}, is off the axis."
    if len(layered) > len(shown):
        words += f" The best {len(shown)} of {len(layered)} models are drawn; all are in the table."
    return join(
        tag("p", words, class_="said"),
        tag("div", panels, class_="panels"),
        details("Scores of each layer", _score_table(layered, looks)),
    )


def _in_folds(part: TaskPart) -> str:
    """Return that validation is a mean over folds, where there are any."""
    return " in the mean over folds" if part.results[0].task.folds else ""


def _reach(score: CellScore) -> list[float]:
    """Return the ends of what is drawn of a score."""
    if score.mean is None:
        return []
    std = score.std or 0.0
    return [score.mean - std, score.mean + std, *(score.ci95 or ())]


def _x(place: float, end: int) -> float:
    """Return where a layer stands; the weighted sum is at ``end`` and a bit."""
    room = charts.WIDTH - charts.RIGHT - charts.LEFT
    return round(charts.LEFT + room * (place + 0.5) / (end + 1.4), 1)


def _line(result: Result, scale: charts.Scale, end: int) -> Html:
    points = []
    for n, name in enumerate(result.model.layer_names):
        mean = layer_score(result, name).mean
        if mean is not None:
            points.append((_x(n, end), scale(mean)))
    return charts.path(points, class_="other") if points else Html("")


def _panel(
    result: Result,
    scale: charts.Scale,
    end: int,
    others: Sequence[Html],
    chance: float | None,
    looks: Looks,
) -> Html:
    metric, name = result.task.ranked, shown_title(result)
    parts: list[Html] = []
    if chance is not None and scale.holds(chance):
        y = scale(chance)
        parts.append(
            charts.path([(charts.LEFT, y), (charts.WIDTH - charts.RIGHT, y)], class_="chance")
        )
    parts += others
    line, low, high, marks = [], [], [], []
    for n, layer in enumerate(result.model.layer_names):
        score = layer_score(result, layer)
        if score.mean is None:
            continue
        at = (_x(n, end), scale(score.mean))
        line.append(at)
        if score.ci95 is not None:
            low.append((at[0], scale(score.ci95[0])))
            high.append((at[0], scale(score.ci95[1])))
        if score.std:
            ends = scale(score.mean - score.std), scale(score.mean + score.std)
            marks.append(charts.path([(at[0], ends[0]), (at[0], ends[1])], class_="bar"))
        if layer == result.best_layer:
            marks.append(tag("circle", cx=at[0], cy=at[1], r=7.5, class_="ring"))
        told = f"{layer}: {in_words(metric, score)}"
        marks.append(charts.point(at, looks.mark(name), told))
    parts.append(charts.band(low, high, class_="band") if len(low) > 1 else Html(""))
    parts.append(charts.path(line, class_="line") if line else Html(""))
    parts += marks
    parts.append(_sum(result, scale, end, looks))
    label = f"Layer curve of {name}, {metric}"
    drawing = charts.panel(
        label,
        charts.y_axis(metric, scale),
        charts.x_axis(_layer_places(result, end), "layer"),
        tag("g", parts, class_=looks.classes(name)),
    )
    return charts.figure(looks.named(name), drawing, label, f"{looks.classes(name)} row")


def _sum(result: Result, scale: charts.Scale, end: int, looks: Looks) -> Html:
    """Return the mark of the weighted sum, with its interval."""
    score = CellScore.of(result.ranked)
    if score.mean is None:
        return Html("")
    x = _x(end + 0.4, end)
    parts = []
    if score.ci95 is not None:
        ends = scale(score.ci95[0]), scale(score.ci95[1])
        parts.append(charts.path([(x, ends[0]), (x, ends[1])], class_="line"))
    head = result.selected.head.layer
    words = "weighted sum" if head == "sum" else f"ranked: {head}"
    told = f"{words}: {in_words(result.task.ranked, score)}"
    return join(*parts, charts.point((x, scale(score.mean)), looks.mark(shown_title(result)), told))


def _layer_places(result: Result, end: int) -> list[tuple[float, str]]:
    """Return the numbers of layers at the axis, as many as there is room for, and the sum."""
    count = len(result.model.layer_names)
    step = max(1, -(-end // _MOST_TICKS))
    places = [(_x(n, end), str(n)) for n in range(0, count, step)]
    return [*places, (_x(end + 0.4, end), "sum")]


def _score_table(layered: Sequence[Result], looks: Looks) -> Html:
    """Return models x layers, each with the score of its own head."""
    most = max(len(result.model.layer_names) for result in layered)
    rows = []
    for result in layered:
        name, metric = shown_title(result), result.task.ranked
        cells = []
        for layer in result.model.layer_names:
            score = layer_score(result, layer)
            chosen = "best" if layer == result.best_layer else ""
            told = f"{layer}: {in_words(metric, score)}"
            cells.append(cell(metric, score.mean, data_tip=told, class_=chosen))
        cells += [tag("td")] * (most - len(cells))
        rows.append(tag("tr", _row_head(name, looks), cells, class_=f"row {looks.classes(name)}"))
    caption = "Test score of a head on each single layer; bold is the best on validation"
    return data_table(caption, ["model", *(num(str(n)) for n in range(most))], rows, walk=True)


# -- weights ---------------------------------------------------------------------------------------


def _weights(mixed: Sequence[tuple[Result, LayerWeights]], looks: Looks) -> Html:
    """Return models x layers as a table whose cells are shaded by what the sum weighs."""
    shares = [np.mean(weights.softmax, axis=0) for _, weights in mixed]
    most = max(map(len, shares))
    top = max(float(each.max()) for each in shares)
    rows = []
    for (result, weights), each in zip(mixed, shares, strict=True):
        name = shown_title(result)
        sized = np.mean(weights.times_rms, axis=0)
        cells = []
        for n, layer in enumerate(result.model.layer_names):
            share = float(each[n])
            shade = min(_SHADES, int(_SHADES * share / top + 0.5))
            told = f"{layer}: weight {exact(share)}"
            if abs(float(sized[n]) - share) > 0.0005:
                told += f", times the layer's size {exact(float(sized[n]))}"
            attributes = {"class_": f"num h{shade}", "data_v": exact(share), "data_tip": told}
            cells.append(tag("td", f"{100 * share:.1f}", **attributes))
        cells += [tag("td")] * (most - len(cells))
        rows.append(tag("tr", _row_head(name, looks), cells, class_=f"row {looks.classes(name)}"))
    caption = (
        "What the weighted sum weighs each layer by, in per cent, mean over seeds"
        f"{' and folds' if mixed[0][0].task.folds else ''}; a weight says what the head mixes, not "
        "how good the layer is by itself"
    )
    table = data_table(
        caption, ["model", *(num(str(n)) for n in range(most))], rows, walk=True, classes="heat"
    )
    return join(tag("h4", "Layer weights"), table)


def _row_head(name: str, looks: Looks) -> Html:
    return tag("th", looks.named(name), scope="row", class_="model")


# -- shares of the training set --------------------------------------------------------------------


def efficiency(part: TaskPart, looks: Looks) -> Html | None:
    """Return scores over shares of the training set; None where there is one share alone."""
    if not part.shares:
        return None
    metric = part.table.ranked
    results = [result for same in part.shares for result in same]
    values = [end for result in results for end in _reach(CellScore.of(result.ranked))]
    fractions = sorted({result.protocol.train_fraction for result in results})
    scale = charts.score_scale(metric, values)
    room = charts.WIDTH - charts.RIGHT - 14
    across = charts.Scale(fractions[0], fractions[-1], charts.LEFT + 14, room, log=True)
    by_score = sorted(part.shares, key=lambda same: -(same[-1].ranked.mean or 0.0))
    drawn = [_share_line(same, across, scale, looks) for same in by_score[:MOST_PANELS]]
    rows = []
    for same in by_score:
        name = shown_title(same[0])
        known = {result.protocol.train_fraction: result for result in same}
        cells = []
        for fraction in fractions:
            found = known.get(fraction)
            score = CellScore.of(found.ranked) if found else CellScore(None)
            cells.append(cell(metric, score.mean, data_tip=in_words(metric, score)))
        rows.append(tag("tr", _row_head(name, looks), cells, class_=f"row {looks.classes(name)}"))
    label = f"{metric} over the share of the training set"
    places = [(across(fraction), f"{100 * fraction:g} %") for fraction in fractions]
    axis = charts.x_axis(places, "share of the training set")
    drawing = charts.panel(label, charts.y_axis(metric, scale), axis, drawn)
    heads = ["model", *(num(f"{100 * fraction:g} %") for fraction in fractions)]
    caption = f"Test {metric} by the share of the {number_of_clips(part)} training clips"
    return tag(
        "section",
        tag("h3", "Data efficiency"),
        tag(
            "div",
            charts.figure(f"Test {metric}, 95 % intervals", drawing, label),
            data_table(caption, heads, rows, walk=True),
            class_="beside",
        ),
        class_="sub",
    )


def number_of_clips(part: TaskPart) -> str:
    """Return how many clips there are to train on."""
    return f"{part.results[0].task.splits['train']:,}"


def _share_line(
    same: Sequence[Result], across: charts.Scale, scale: charts.Scale, looks: Looks
) -> Html:
    """Return one model over the shares."""
    name = shown_title(same[0])
    points, marks = [], []
    for result in same:
        score = CellScore.of(result.ranked)
        if score.mean is None:
            continue
        at = (across(result.protocol.train_fraction), scale(score.mean))
        points.append(at)
        if score.ci95 is not None:
            ends = scale(score.ci95[0]), scale(score.ci95[1])
            marks.append(charts.path([(at[0], ends[0]), (at[0], ends[1])], class_="bar"))
        share = f"{100 * result.protocol.train_fraction:g} %"
        told = f"{name}, {share}: {in_words(result.task.ranked, score)}"
        marks.append(charts.point(at, looks.mark(name), told))
    line = charts.path(points, class_="line") if points else None
    return tag("g", line, marks, class_=f"row {looks.classes(name)}")
