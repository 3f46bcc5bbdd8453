"""Put the page together: one HTML file with its style sheet and its script inside."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from svuprobe.benchmarks.leaderboard import HOW_TO_READ
from svuprobe.benchmarks.report import background, overall, task
from svuprobe.benchmarks.report.audio import Audio
from svuprobe.benchmarks.report.gather import Content
from svuprobe.benchmarks.report.html import Html, join, raw, tag
from svuprobe.benchmarks.report.looks import symbols
from svuprobe.benchmarks.report.prose import blocks, inline
from svuprobe.benchmarks.report.widgets import details

MARKER = "<!-- Written by svuprobe report. Do not edit: it is written over. -->"
_CHOICES = (("", "all models"), ("pretrained", "without controls"), ("control", "controls"))


def page(content: Content, audio: Audio) -> str:
    """Return the whole page; what `audio` has to copy is known afterwards."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("title", "svuprobe report"),
        raw(style, "style"),
    )
    sections = [task.section(part, content, audio) for part in content.parts]
    main = tag(
        "main",
        _summary(content),
        _problems(content.problems),
        overall.section(content) if content.across else None,
        sections,
        background.section(content) if content.parts else None,
        id="main",
    )
    body = tag(
        "body",
        symbols(),
        tag("a", "Skip to the results", href="#main", class_="skip"),
        _header(content),
        tag("div", _contents(content), main, class_="columns"),
        tag("div", role="status", id="told", class_="tip", aria_live="polite", hidden=True),
        raw(script, "script"),
    )
    return f'<!doctype html>\n{MARKER}\n<html lang="en">{head}{body}</html>\n'


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the policy: our script and style by their digests, audio of the disk, no network."""
    digests = []
    for source in (script, style):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        digests.append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {digests[0]}; style-src {digests[1]}; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _header(content: Content) -> Html:
    """Return the bar at the top: filters, which need the script, and the button for the colours."""
    protocols = dict.fromkeys(task.protocol_label(part.table) for part in content.parts)
    options = [tag("option", words, value=value) for value, words in _CHOICES]
    several = [tag("option", "all protocols", value="")]
    several += [tag("option", name, value=name) for name in protocols]
    name = tag("input", type="search", id="by-name", placeholder="part of a name")
    filters = tag(
        "form",
        tag("label", "Model", name, for_="by-name"),
        tag("label", "Kind", tag("select", options, id="by-kind"), for_="by-kind"),
        tag("label", "Protocol", tag("select", several, id="by-protocol"), for_="by-protocol"),
        tag("output", id="shown", for_="by-name by-kind by-protocol"),
        id="filters",
        hidden=True,
        role="search",
        aria_label="Filter models and protocols",
    )
    button = tag("button", "Dark", type="button", id="scheme", hidden=True)
    return tag("header", tag("p", "svuprobe", class_="brand"), filters, button)


def _contents(content: Content) -> Html:
    """Return the links to all sections."""
    links = [("across", "Across tasks")] if content.across else []
    several = []
    names: dict[str, int] = {}
    for part in content.parts:
        names[part.table.title] = names.get(part.table.title, 0) + 1
    for part in content.parts:
        words = part.table.title
        if names[words] > 1:
            words = f"{words}, {part.table.protocol_title}"
        protocol = task.protocol_label(part.table)
        several.append(
            tag("li", tag("a", words, href=f"#{part.id}"), class_="task", data_protocol=protocol)
        )
    ends = [
        ("training", "Training data"),
        ("cost", "Cost"),
        ("data", "Data and licences"),
        ("made", "How it was made"),
    ]
    last = ends if content.parts else []
    listed = [tag("li", tag("a", words, href=f"#{where}")) for where, words in links]
    listed += several
    listed += [tag("li", tag("a", words, href=f"#{where}")) for where, words in last]
    return tag("nav", details("Contents", tag("ul", listed), open_=True), aria_label="Contents")


def _summary(content: Content) -> Html:
    """Return the title, what there is, and how to read it."""
    results = content.results
    models = {result.model.name for result in results}
    tasks = {(result.task.name, result.task.synthetic) for result in results}
    said = "No results yet."  # of what a suite asks for
    if results:
        dates = sorted(result.date[:10] for result in results)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        said = (
            f"{_count(len(results), 'result')} of {_count(len(models), 'model')} on "
            f"{_count(len(tasks), 'task')}, {when}."
        )
    about = tag("div", blocks(content.about), class_="about") if content.about else None
    how = join(*[tag("p", inline(" ".join(HOW_TO_READ.split())), class_="said")])
    return join(
        tag("h1", "Frozen audio models, compared"),
        tag("p", said, class_="lead"),
        about,
        details("How to read the numbers", how),
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _problems(problems: list[str]) -> Html | None:
    """Return what could not be used; everything else is on the page."""
    if not problems:
        return None
    words = f"{_count(len(problems), 'file')} could not be used; everything else is here."
    return tag(
        "section",
        tag("h2", "Left out"),
        tag("p", words),
        tag("ul", [tag("li", problem) for problem in problems]),
        class_="warning",
        id="left-out",
    )
