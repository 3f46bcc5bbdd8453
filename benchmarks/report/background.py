"""Show what stands behind the scores: what models were trained on, what they cost, whose data it
is, and how to make all of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from svuprobe._sizes import size_text
from svuprobe._text import one_line
from svuprobe.benchmarks.report.gather import Content
from svuprobe.benchmarks.report.html import Html, join, tag
from svuprobe.benchmarks.report.task import saw_mark
from svuprobe.benchmarks.report.widgets import data_table, details, num
from svuprobe.probe import contamination
from svuprobe.probe.at_hand import built_in, dataset_card, training_of
from svuprobe.probe.commands import extract_command, toml_line, train_command
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
    ranks: dict[str, float] = {}
    for across in content.across:
        for name, ranked in across.ranks.items():
            ranks.setdefault(name, ranked.mean_rank)
    sizes = _cache_sizes(content)
    speeds = {name: _speeds(results) for name, results in models.items()}
    machines = {machine for of_model in speeds.values() for machine in of_model}
    rows = []
    for name, results in models.items():
        model = results[0].model
        seconds = sum(result.timings.total_s for result in results) / len(results)
        parameters = f"{model.parameters / 1e6:,.1f} M" if model.parameters else "none"
        shape = f"{len(model.layer_names)} × {model.dim}"
        rate, rank = model.frame_rate, ranks.get(name)
        size = sizes.get((model.name, model.revision)) or _sizes_told(results)
        cells = [
            _number("–" if rank is None else f"{rank:.2f}", rank),
            _number(parameters, model.parameters),
            tag("td", shape, class_="num"),
            _number(_UNKNOWN if rate is None else f"{rate:g}", rate),
        ]
        if machines:
            cells.append(_speed_cell(speeds[name], len(machines) > 1))
        cells += [
            _number(f"{seconds:.1f}", f"{seconds:.6g}"),
            _number(size_text(size) if size else "–", size or None),
        ]
        head = tag("th", content.looks.named(name), scope="row", class_="model")
        rows.append(tag("tr", head, cells, class_=f"row {content.looks.classes(name)}"))
    heads = [num(words) for words in ("mean rank", "parameters", "layers × dim", "frames a second")]
    # Speeds of several machines stand in no order, so their column is not one to sort by.
    if machines:
        heads.append(num("times real time", sortable=len(machines) == 1))
    heads += [num("probing, s a task"), num("caches")]
    caption = (
        "What each model costs, beside its mean rank over the tasks (the first table that ranks it)"
    )
    table = data_table(caption, ["model", *heads], rows)
    return join(table, tag("p", _about_costs(sorted(machines)), class_="said"))


def _number(words: str, value: Any) -> Html:
    """Return the cell of a number, which is sorted by its value."""
    return tag("td", words, class_="num", data_v=value)


def _cache_sizes(content: Content) -> dict[tuple[str, str], int]:
    """Return the bytes of all caches that are here, by model and revision."""
    sizes: dict[tuple[str, str], int] = {}
    for cache in content.at_hand.caches():
        key = cache.model, cache.revision
        sizes[key] = sizes.get(key, 0) + cache.size
    return sizes


def _sizes_told(results: Sequence[Result]) -> int:
    """Return the bytes of a model's caches as its results tell them, each cache counted once."""
    told: dict[tuple[str, str, float], int] = {}
    for result in results:
        took = result.timings.extraction
        if took is not None:
            told[(result.task.dataset, result.task.windowing, took.audio_s)] = took.cache_bytes
    return sum(told.values())


def _speeds(results: Sequence[Result]) -> dict[str, float]:
    """Return how many times real time a model ran, by machine: over all of its caches there."""
    sums: dict[str, dict[tuple[float, float], None]] = {}
    for result in results:
        took = result.timings.extraction
        if took is not None and took.wall_s > 0:
            # Tasks that share a cache tell the same of it: it counts once.
            sums.setdefault(took.machine, {})[(took.audio_s, took.wall_s)] = None
    speeds = {}
    for machine, caches in sums.items():
        audio_s, wall_s = (sum(values) for values in zip(*caches, strict=True))
        speeds[machine] = audio_s / wall_s
    return speeds


def _speed_cell(speeds: dict[str, float], several: bool) -> Html:
    """Return how fast a model ran, with each machine where there are several."""
    if not speeds:
        return _number("–", None)
    if not several:
        ((machine, speed),) = speeds.items()
        words = f"{machine}: {speed:.4g} times real time"
        return tag("td", _factor(speed), class_="num", data_v=f"{speed:.6g}", data_tip=words)
    lines = [join(_factor(speeds[m]), " ", tag("small", m)) for m in sorted(speeds)]
    return tag("td", [tag("div", line) for line in lines], class_="num")


def _factor(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"


def _about_costs(machines: Sequence[str]) -> str:
    told = (
        "Probing is reading features, training heads and scoring, mean over tasks, as the results "
        "recorded it. "
    )
    if not machines:
        return told + (
            "How fast extraction is depends on the machine, and no result here records it: "
            "svuprobe check-model NAME measures it."
        )
    told += (
        "Times real time are the seconds of audio for each second of the forward passes, without "
        "decoding and writing, as extraction measured it"
    )
    if len(machines) == 1:
        return f"{told} on {machines[0]}; a short extraction is mostly start-up."
    return f"{told}; speeds of different machines can't be compared."


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
            "These make the results again, where DATA is the folder that holds the datasets."
            + _of_own(content),
            class_="said",
        ),
        _commands(content),
        tag("h3", "Versions and machines"),
        _environments(content.results),
    )


def _of_own(content: Content) -> str:
    """Return how tasks on data of one's own are named in commands, where there are any."""
    names = dict.fromkeys(r.task.name for r in content.results if not built_in(r.task))
    if not names:
        return ""
    return (
        f" On data of one's own ({', '.join(names)}) extract takes the TOML file or folder:PATH "
        "in place of the task's name, and needs no --data."
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
            tag("li", tag("code", toml_line(key, value)))
            for key, value in first.protocol.fields.items()
        ]
        blocks.append(
            join(
                tag("h4", f"Protocol {first.protocol.name} ({first.protocol.hash})"),
                code,
                tag("p", f"Set in {_where(first)}: {'; '.join(others)}.") if others else None,
                details("Every field of the protocol", tag("ul", fields, class_="fields")),
            )
        )
    return join(blocks)


def _where(result: Result) -> str:
    """Return where a field is set that has no option."""
    return "Python" if result.protocol.finetunes else "a TOML file"


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
