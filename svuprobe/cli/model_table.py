"""Write the catalogue for a terminal of 80 columns: models in groups, with what each heard."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from svuprobe._edge import one_line
from svuprobe.extractors import names
from svuprobe.extractors.base import ModelCard
from svuprobe.extractors.hops import frame_rate
from svuprobe.extractors.training_data import (
    HOLDS,
    MARKS,
    MAY_HOLD,
    UNCHECKED,
    UNKNOWN,
    meaning,
    of_card,
    of_catalogue,
)
from svuprobe.extractors.training_table import TrainingData

WIDTH = 80
# In the order of the listing.
_HANDMADE, _BARE = "made by hand", "without weights"
GROUPS = ("speech", "music", "general audio", "codecs", _HANDMADE, _BARE, "others")
_HEAD = ("", "size", "layers x dim", "kHz", "frames/s", "licence")
_WIDTHS = (21, 6, 12, 5, 8)
_LEGEND = (
    'Layers count what enters the first block. The hours are the authors\' own; "at once" is the '
    'longest stretch that training saw. "Holds" and "may hold" name the datasets of tasks '
    "(svuprobe tasks) whose audio is, or may be, in the training data; of any other they hold "
    "nothing. Of entries marked unchecked the source was not at hand. --json adds all sources, "
    "repositories and references."
)


def rows(cards: Sequence[ModelCard]) -> list[dict[str, Any]]:
    """Return everything that is known of models without loading them, for JSON."""
    several = []
    for card in cards:
        data = of_card(card)
        several.append(
            asdict(card)
            | {
                "group": group_of(card, data),
                "control": names.is_control(card.name),
                "frame_rate": frame_rate(card),
                "training_data": None if data is None else asdict(data),
            }
        )
    return several


def without(
    cards: Sequence[ModelCard], datasets: Sequence[str]
) -> tuple[list[ModelCard], list[str]]:
    """Return the models whose training is known to have heard none of some datasets, and lines
    that name the others, by mark and meaning.
    """
    clean = []
    why: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        met = {dataset: of_catalogue(card, dataset) for dataset in datasets}
        found = {dataset: each.kind for dataset, each in met.items() if each is not None}
        if not found:
            clean.append(card)
        for dataset, kind in found.items():
            why.setdefault((kind, dataset), []).append(card.name)
    lines = [f"{len(clean)} of {len(cards)} models. Left out:"]
    for kind in (HOLDS, MAY_HOLD, UNKNOWN, UNCHECKED):
        for dataset in datasets:
            if them := why.get((kind, dataset)):
                said = f"{MARKS[kind]} {meaning(kind, dataset)}: {', '.join(them)}"
                lines += textwrap.wrap(said, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return clean, lines


def group_of(card: ModelCard, data: TrainingData | None) -> str:
    """Return under which heading a model stands."""
    if card.family == "handmade":
        return _HANDMADE
    if data is not None:
        return data.domain
    return "others" if card.hub else _BARE


def lines(cards: Sequence[ModelCard]) -> Iterator[str]:
    """Yield the table, of lines of at most `WIDTH` columns."""
    groups: dict[str, list[ModelCard]] = {name: [] for name in GROUPS}
    for card in cards:
        groups[group_of(card, of_card(card))].append(card)
    for name, inside in groups.items():
        if inside:
            yield from _columns((name.upper(), *_HEAD[1:]))
            for card in inside:
                yield from _model(card)
            yield ""
    yield from textwrap.wrap(_LEGEND, WIDTH)
    yield ""
    yield from textwrap.wrap(f"Also {names.OTHER_FORMS}.", WIDTH, break_on_hyphens=False)


def _model(card: ModelCard) -> Iterator[str]:
    rate = frame_rate(card)
    yield from _columns(
        (
            card.name,
            _size(card.parameters),
            f"{card.layers} x {card.dim}",
            f"{card.sample_rate / 1000:g}",
            "" if rate is None else f"{rate:.3g}",
            card.licence,
        )
    )
    data = of_card(card)
    if data is not None:
        for text in _trained_on(data):
            yield from textwrap.wrap(
                one_line(text), WIDTH, initial_indent="    ", subsequent_indent="      "
            )


def _columns(cells: Sequence[str]) -> Iterator[str]:
    """Yield a row; its last cell goes on below itself where it is long."""
    *fixed, last = map(one_line, cells)
    name, *numbers = zip(fixed, _WIDTHS, strict=True)
    left = f"{name[0]:<{name[1]}}" + "".join(f" {text:>{width}}" for text, width in numbers) + "  "
    room = WIDTH - len(left)
    first, *others = textwrap.wrap(last, room, break_on_hyphens=False) or [""]
    yield f"{left}{first}".rstrip()
    for other in others:
        yield " " * len(left) + other


def _size(parameters: int | None) -> str:
    if not parameters:
        return "-"
    if parameters >= 1e9:
        return f"{parameters / 1e9:.2g} B"
    return f"{parameters / 1e6:.3g} M"


def _trained_on(data: TrainingData) -> Iterator[str]:
    """Yield what a model heard, and what it has to do with the datasets of tasks."""
    hours = "unknown hours" if data.hours is None else f"{data.hours:,g} h"
    at_once = "" if data.crop_s is None else f"; {data.crop_s:g} s at once"
    if data.read and not data.crop_read:
        at_once += ", that unchecked"
    unchecked = "" if data.read else " (unchecked)"
    yield f"trained on {hours}: {data.sets}{at_once}{unchecked}"
    if data.holds:
        yield f"holds {', '.join(data.holds)}"
    if not data.published:
        yield "may hold any, as its authors don't list it"
    elif data.may_hold:
        yield f"may hold {', '.join(data.may_hold)}"
