"""Show what stands behind the scores: what models were trained on, what they cost, whose data it
is, and how to make all of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from svuprobe._files import size_text
from svuprobe._text import one_line
from svuprobe.benchmarks.report.gather import Content
from svuprobe.benchmarks.report.html import Html, join, tag
from svuprobe.benchmarks.report.task import saw_mark
from svuprobe.benchmarks.report.widgets import data_table, details, num
from svuprobe.probe import contamination
from svuprobe.probe.at_hand import dataset_card, training_of
from svuprobe.probe.commands import extract_command, train_command
from svuprobe.probe.results.naming import shown_title
from svuprobe.probe.results.result import Result

_UNKNOWN = "unknown"
_KINDS = ("holds", "may hold", "unknown")


def section(content: Content) -> Html:
    """Return training data, costs, licences and commands."""
    by_model: dict[str, list[Result]] = {}
    for result in content.results:
        by_model.setdefault(shown_title(result), []).append(result)
    models = {name: by_model[name] for name in content.looks.names if name in by_model}
    return join(
        tag(
            "section",
            tag("h2", "What models heard in training"),
            _training(models, content),
            id="training",
        ),
        tag("section", tag("h2", "Cost"), _costs(models, content), id="cost"),
        tag("section", tag("h2", "Data and licences"), _datasets(content), id="data"),
        tag("section", tag("h2", "How it was made"), _made(content), id="made"),
    )


# -- training --------------------------------------------------------------------------------------


def _training(models: dict[str, list[Result]], content: Content) -> Html:
    rows = []
    for name, results in models.items():
        known = training_of(results[0])
        if results[0].model.control:
            cells = [tag("td", "nothing: a control"), tag("td"), tag("td")]
        elif known is None:
            cells = [tag("td", "nothing is on record"), tag("td", _UNKNOWN), tag("td")]
        else:
            hours = _UNKNOWN if known.hours is None else f"{known.hours:,.0f}"
            cells = [
                tag("td", f"{known.domain}: {known.sets}"),
                tag("td", hours, class_="num", data_v=known.hours),
                tag("td", known.source),
            ]
        head = tag("th", content.looks.named(name), scope="row", class_="model")
        classes = f"row {content.looks.classes(name)}"
        rows.append(tag("tr", head, cells, tag("td", _contacts(results)), class_=classes))
    heads = ["model", "trained on", num("hours"), "source", "of the tasks' datasets"]
    legend = join(
        tag("span", "†", class_="saw"),
        " trained on its audio, ",
        tag("span", "‡", class_="saw"),
        " may have been, ",
        tag("span", "?", class_="saw"),
        " nobody says",
    )
    caption = "What is on record of each model's training"
    return join(data_table(caption, heads, rows, classes="words"), tag("p", legend, class_="said"))


def _contacts(results: Sequence[Result]) -> Html:
    """Return the datasets that a model's training has to do with, with the reason and the mark."""
    found: dict[tuple[str, str, str], None] = {}
    for result in results:
        met = contamination.of_result(result)
        if met is not None:
            found[(_KINDS.index(met.kind), result.task.dataset, met.why)] = None  # type: ignore[index]
    lines = []
    for kind, dataset, why in sorted(found):
        lines.append(tag("li", dataset, saw_mark(_KINDS[kind]), tag("small", f" {why}")))  # type: ignore[call-overload]
    return tag("ul", lines) if lines else Html("none")


# -- cost ------------------------------------------------------------------------------------------


def _costs(models: dict[str, list[Result]], content: Content) -> Html:
    caches: dict[tuple[str, str], tuple[int, float]] = {}
    for cache in content.at_hand.caches():
        size, hours = caches.get((cache.model, cache.revision), (0, 0.0))
        caches[(cache.model, cache.revision)] = size + cache.size, hours + (cache.hours or 0.0)
    ranks: dict[str, float] = {}
    for across in content.across:
        for name, ranked in across.ranks.items():
            ranks.setdefault(name, ranked.mean_rank)
    rows = []
    for name, results in models.items():
        model = results[0].model
        seconds = sum(result.timings.total_s for result in results) / len(results)
        kept = caches.get((model.name, model.revision))
        rank = ranks.get(name)
        parameters = f"{model.parameters / 1e6:,.1f} M" if model.parameters else "none"
        shape = f"{len(model.layer_names)} × {model.dim}"
        rate = _UNKNOWN if model.frame_rate is None else f"{model.frame_rate:g}"
        cells = [
            tag("th", content.looks.named(name), scope="row", class_="model"),
            tag("td", "–" if rank is None else f"{rank:.2f}", class_="num", data_v=rank),
            tag("td", parameters, class_="num", data_v=model.parameters),
            tag("td", shape, class_="num"),
            tag("td", rate, class_="num", data_v=model.frame_rate),
            tag("td", f"{seconds:.1f}", class_="num", data_v=f"{seconds:.6g}"),
            tag(
                "td",
                size_text(kept[0]) if kept else _UNKNOWN,
                class_="num",
                data_v=kept and kept[0],
            ),
        ]
        rows.append(tag("tr", cells, class_=f"row {content.looks.classes(name)}"))
    columns = (
        "mean rank",
        "parameters",
        "layers × dim",
        "frames a second",
        "probing, s a task",
        "caches",
    )
    heads = ["model", *map(num, columns)]
    caption = (
        "What each model costs, beside its mean rank over the tasks (the first table that ranks it)"
    )
    told = (
        "Probing is reading features, training heads and scoring, mean over tasks, as the results "
        "recorded it. How fast extraction is depends on the machine, and no result records it: "
        "svuprobe check-model NAME measures it."
    )
    return join(data_table(caption, heads, rows), tag("p", told, class_="said"))


# -- data ------------------------------------------------------------------------------------------


def _datasets(content: Content) -> Html:
    tasks: dict[tuple[str, bool], dict[str, Result]] = {}
    for result in content.results:
        key = result.task.dataset, result.task.synthetic
        tasks.setdefault(key, {})[result.task.name] = result
    rows = []
    for (dataset, synthetic), by_task in sorted(tasks.items()):
        card = dataset_card(dataset)
        licences = dict.fromkeys(one_line(result.task.licence) for result in by_task.values())
        references = dict.fromkeys(one_line(result.task.reference) for result in by_task.values())
        words = card.title if card else dataset
        home = card.homepage if card and card.homepage.startswith("https://") else ""
        rows.append(
            tag(
                "tr",
                tag(
                    "th",
                    tag("a", words, href=home, rel="noreferrer") if home else words,
                    scope="row",
                ),
                tag("td", ", ".join(sorted(by_task))),
                tag("td", "synthetic copy: made by svuprobe" if synthetic else "; ".join(licences)),
                tag("td", "; ".join(references)),
            )
        )
    heads = ["dataset", "tasks", "licence", "reference"]
    return data_table(
        "The datasets of all tasks, with their licences", heads, rows, classes="words"
    )


# -- commands, versions, machines ------------------------------------------------------------------


def _made(content: Content) -> Html:
    return join(
        tag("h3", "Commands"),
        tag(
            "p",
            "These make the results again, where DATA is the folder that holds the datasets.",
            class_="said",
        ),
        _commands(content),
        tag("h3", "Versions and machines"),
        _environments(content.results),
    )


def _commands(content: Content) -> Html:
    parts = sorted(content.parts, key=lambda part: _setup(part.results[0]))
    blocks = []
    for _, several in groupby(parts, key=lambda part: _setup(part.results[0])):
        same = list(several)
        tasks = list(dict.fromkeys(part.table.argument for part in same))
        results = [result for part in same for result in part.results]
        models = list(dict.fromkeys(result.model.name for result in results))
        first = results[0]
        command, others = train_command(tasks, models, first.task.window_s, first.protocol)
        lines = [command]
        if not first.protocol.finetunes:
            lines.insert(0, extract_command(tasks, models, first.task.window_s))
        code = [tag("pre", tag("code", line)) for line in lines]
        fields = [
            tag("li", tag("code", f"{key} = {value}"))
            for key, value in first.protocol.fields.items()
        ]
        blocks.append(
            join(
                tag("h4", f"Protocol {first.protocol.name} ({first.protocol.hash})"),
                code,
                tag("p", f"Set in a TOML file: {'; '.join(others)}.") if others else None,
                details("Every field of the protocol", tag("ul", fields, class_="fields")),
            )
        )
    return join(blocks)


def _setup(result: Result) -> tuple[str, str, float]:
    return result.protocol.name, result.protocol.hash, result.task.window_s or 0.0


def _environments(results: Sequence[Result]) -> Html:
    """Return the distinct environments of the results, with how many each made."""
    counts: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for result in results:
        counts.setdefault(tuple(result.environment.items()), []).append(result.date)
    rows = []
    for environment, dates in sorted(counts.items(), key=lambda item: -len(item[1])):
        words = ", ".join(f"{name} {value}" for name, value in environment)
        first, last = min(dates)[:10], max(dates)[:10]
        when = first if first == last else f"{first} to {last}"
        cells = [tag("td", words), tag("td", str(len(dates)), class_="num"), tag("td", when)]
        rows.append(tag("tr", cells))
    caption = "What the results were computed with, as they recorded it"
    return data_table(
        caption, ["versions and device", num("results"), "dates"], rows, classes="words"
    )
