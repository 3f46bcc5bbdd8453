"""Draw a map of features: windows as points in two dimensions, coloured by what a task asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import picture
from svuprobe.benchmarks.plots import layout
from svuprobe.benchmarks.plots.looks import COLOURS, MARKERS
from svuprobe.benchmarks.projection import Projection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from svuprobe.tasks.kinds.colouring import Colouring

MOST_MODELS = 24
_MOST_COLOURINGS = 4  # panels of a model: of more tags, the most frequent
_MOST_CLASSES = 14  # colours with marks that an eye tells apart; the rest are grey
_SIDE = 3.4  # inches of a panel
_OTHERS = "0.8"
_SCALE = "cividis"  # the same to all colour vision, and in grey
_NAME = 28  # characters of a class


@dataclass(frozen=True)
class Points:
    """Hold the points of one model.

    Attributes
    ----------
    model
        What it is called.
    layer
        Which layer, in words.
    projection
        Where its N windows lie.
    clip
        (N,) the clip that each window is of, by its number.
    """

    model: str
    layer: str
    projection: Projection
    clip: np.ndarray


@dataclass(frozen=True)
class Map:
    """Hold what one picture shows.

    Attributes
    ----------
    models
        The points of each model.
    colourings
        What clips are coloured by.
    title, note
        Of the whole picture, and the sentence below it.
    """

    models: Sequence[Points]
    colourings: Sequence[Colouring]
    title: str
    note: str


def draw(figure: Figure, shown: Map) -> None:
    """Draw a panel for each model and what it is coloured by."""
    colourings = [_reduced(colouring, shown) for colouring in shown.colourings[:_MOST_COLOURINGS]]
    titles = [_titles(points, colourings) for points in shown.models]
    several = len(colourings) > 1
    panels = len(shown.models) * len(colourings)
    columns = len(colourings) if several else min(4, panels)
    scales = any(not colouring.classes for colouring in colourings)
    width = _SIDE + 0.7 * scales
    words = [title for of_model in titles for title in of_model]
    height = _SIDE + layout.title_height(words, _SIDE - 0.4)
    axes = iter(layout.grid(figure, panels, columns, width, height))
    for points, of_model in zip(shown.models, titles, strict=True):
        for colouring, title in zip(colourings, of_model, strict=True):
            panel = next(axes)
            _points(panel, points, colouring)
            _axes(panel, points.projection)
            layout.panel_title(panel, title, _SIDE - 0.4)
    entries = dict(_legend_entries(colourings))
    if entries:
        layout.legend(figure, entries, shown.note)
    else:
        layout.footnote(figure, shown.note)
    layout.headline(figure, shown.title + _left_out(shown))


def _left_out(shown: Map) -> str:
    several = len(shown.colourings)
    if several <= _MOST_COLOURINGS:
        return ""
    return f"; the {_MOST_COLOURINGS} most frequent of {several} tags"


def _titles(points: Points, colourings: Sequence[Colouring]) -> list[str]:
    """Return the titles of the panels of a model."""
    titles = []
    for colouring in colourings:
        lines = [points.model, points.layer]
        # The name of the only value stands at its scale.
        if colouring.title and colouring.classes:
            lines.append(picture(colouring.title))
        titles.append("\n".join(lines))
    return titles


def _reduced(colouring: Colouring, shown: Map) -> Colouring:
    """Return a colouring that a picture has colours for.

    Many classes that are numbers become a scale; of others the most frequent keep their names.
    """
    if len(colouring.classes) <= _MOST_CLASSES:
        return colouring
    numbers = _as_numbers(colouring.classes)
    if numbers is not None:
        return replace(colouring, title="label", values=numbers[colouring.values], classes=())
    clips = np.concatenate([points.clip for points in shown.models])
    counts = np.bincount(colouring.values[clips], minlength=len(colouring.classes))
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CLASSES])
    number = np.full(len(colouring.classes), len(kept))
    number[kept] = np.arange(len(kept))
    rest = f"{len(colouring.classes) - len(kept)} other classes"
    names = [*(colouring.classes[n] for n in kept), rest]
    return replace(colouring, values=number[colouring.values], classes=tuple(names))


def _as_numbers(names: Sequence[str]) -> np.ndarray | None:
    """Return names that are all numbers as such."""
    try:
        return np.array([float(name) for name in names], np.float32)
    except ValueError:
        return None


def _looks(colouring: Colouring) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and look of each class; those without a name of their own are grey."""
    tag = colouring.classes == ("without", "with")
    for n, name in enumerate(colouring.classes):
        if n == _MOST_CLASSES or (tag and n == 0):
            yield name, {"color": _OTHERS, "marker": "."}
        else:
            place = n - tag
            marker = MARKERS[place // len(COLOURS) % len(MARKERS)]
            yield name, {"color": COLOURS[place % len(COLOURS)], "marker": marker}


def _points(axes: Axes, points: Points, colouring: Colouring) -> None:
    """Draw the points of a panel."""
    x, y = points.projection.places.T
    values = colouring.values[points.clip]
    size = float(np.clip(6000 / len(values), 5, 28))
    if not colouring.classes:
        scale = axes.scatter(x, y, s=size, c=values, cmap=_SCALE, lw=0)
        bar = axes.figure.colorbar(scale, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label(picture(colouring.title))
        bar.outline.set_visible(False)
        return
    looks = list(_looks(colouring))
    # Grey points first: they are the ground.
    order = sorted(range(len(looks)), key=lambda n: looks[n][1]["color"] != _OTHERS)
    for n in order:
        of_class = values == n
        axes.scatter(x[of_class], y[of_class], s=size, alpha=0.8, lw=0, **looks[n][1])


def _axes(axes: Axes, projection: Projection) -> None:
    """Say what the axes mean: shares of the variance, or nothing."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color="0.8")
    axes.set_aspect("equal", adjustable="datalim")
    if projection.shares is not None:
        across, up = (f"{100 * share:.0f} % of the variance" for share in projection.shares)
        axes.set_xlabel(across, fontsize=layout.LABEL)
        axes.set_ylabel(up, fontsize=layout.LABEL)


def _legend_entries(
    colourings: Sequence[Colouring],
) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Yield the legend's entries: classes, once, as all tags share them."""
    for colouring in colourings:
        for name, look in _looks(colouring):
            shown = picture(name, _NAME)
            yield name, (shown, look | {"ls": "", "ms": 7 if look["marker"] != "." else 9})
