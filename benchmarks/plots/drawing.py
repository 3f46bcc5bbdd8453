"""How each kind of picture is drawn; `svuprobe.benchmarks.plots` says which results share one.

A picture with more models than it has room for shows the best, and says so. Layers stand under their own names:
``input`` and the numbers of blocks for a transformer.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._text import FONT, picture
from svuprobe.benchmarks.leaderboard import is_share, model_title, task_title
from svuprobe.benchmarks.tables import part_of
from svuprobe.probe.result import Result, Score, both_ends, mean_over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": FONT,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "svuprobe",
    "figure.constrained_layout.use": True,
}
QUANTITIES = {"softmax": "weights", "times_rms": "weights × RMS of what they weigh"}
# Okabe & Ito's colours: told apart with any colour vision; line styles and markers tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX"
_DASHES = ((7, 3), (1, 2), (7, 2, 1, 2), (3, 3))
# As many as stay readable, and are drawn in seconds.
_MOST_ROWS, _MOST_PANELS, _MOST_FLAT, _MOST_LINES, _MOST_TICKS = 60, 24, 8, 14, 30
_MOST_NUMBERS = 2000  # in the cells of a picture of weights
Look = dict[str, tuple[str, dict[str, Any]]]


# -- what all pictures share --------------------------------------------------------------------------------


def _title(result: Result) -> str:
    return picture(model_title(result))


def _mean(result: Result) -> float:
    """The ranked score; NaN where it is undefined, which is drawn as nothing."""
    return math.nan if result.ranked.mean is None else result.ranked.mean


def _best(results: Iterable[Result]) -> list[Result]:
    """Best first, and what is undefined last."""
    return sorted(results, key=lambda r: math.inf if math.isnan(_mean(r)) else -_mean(r))


def _left_out(several: int, drawn: int) -> str:
    return f"; the best {drawn} of {several} models, the others are in the CSV" if several > drawn else ""


def _comparable(result: Result) -> tuple[Any, ...]:
    return result.task.comparable


def _by_task(results: Sequence[Result]) -> list[list[Result]]:
    return [list(same) for _, same in groupby(sorted(results, key=_comparable), key=_comparable)]


def _unit(metric: str) -> tuple[float, str]:
    """Factor and label of an axis: per cent where the leaderboard has per cent."""
    return (100.0, f"{picture(metric)} (%)") if is_share(metric) else (1.0, picture(metric))


def _told(result: Result, of_part: bool = True) -> str:
    """Protocol, seeds and share of the training set, for a title."""
    seeds = len(result.ranked.per_seed)
    part = part_of(result.protocol.train_fraction) if of_part else ""
    synthetic = ", synthetic audio" if result.task.synthetic else ""
    return f"protocol {picture(result.protocol.name)}, {seeds} seed{'s' * (seeds > 1)}{part}{synthetic}"


def _grid(figure: Figure, n: int, columns: int, width: float, height: float, **options: Any) -> list[Axes]:
    """``n`` panels in rows of up to ``columns``, each ``width`` x ``height`` inches; titles and legends extra."""
    columns = min(columns, n)
    rows = -(-n // columns)
    figure.set_size_inches(max(columns * width, 6.0), rows * height + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in panels[n:]:
        empty.set_visible(False)
    return list(panels[:n])


def _headline(figure: Figure, text: str) -> None:
    """Title of the whole picture, on as many lines as its width needs."""
    figure.suptitle(textwrap.fill(text, int(figure.get_figwidth() / 0.095)), fontsize=11)


def _wider(titles: Iterable[str]) -> float:
    """Inches that long names take beside an axis, beyond those of common ones."""
    return 0.09 * max(0, max(map(len, titles)) - 20)


def _interval(axes: Axes, score: Score, at: float, factor: float, colour: str, vertical: bool = True) -> None:
    """The 95 % interval as a thin line with caps, the spread over seeds as a thick one, where there are any."""
    mean, std = score.mean, score.std
    if mean is None:
        return
    line, across = (axes.vlines, "_") if vertical else (axes.hlines, "|")
    if std is not None:
        line(at, factor * (mean - std), factor * (mean + std), colors=colour, lw=6, alpha=0.35)
    if score.interval is not None:
        ends = factor * np.array(score.interval)
        line(at, ends[0], ends[1], colors=colour, lw=1.2)
        places = ([at, at], ends) if vertical else (ends, [at, at])
        axes.plot(*places, across, color=colour, ms=7)


def _legend(figure: Figure, items: Look) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=text, **look) for text, look in items.values()]
    figure.legend(handles=handles, frameon=False, ncols=3, loc="outside lower center", fontsize=9)


def _chance(result: Result) -> float | None:
    return result.chance[result.task.ranked]


# -- scores -------------------------------------------------------------------------------------------------


def scores(figure: Figure, results: list[Result]) -> None:
    """Draw a panel per task with every model, the best at the top."""
    tasks = [_best(same) for same in _by_task(results)]
    shown = [same[:_MOST_ROWS] for same in tasks]
    most = max(map(len, shown))
    width = 5.4 + _wider(_title(r) for r in results)
    for axes, same, everyone in zip(
        _grid(figure, len(tasks), 2, width, 0.7 + 0.32 * most), shown, tasks, strict=True
    ):
        factor, label = _unit(same[0].task.ranked)
        for at, result in enumerate(same[::-1]):
            _score(axes, result, at, factor)
        if (chance := _chance(same[0])) is not None:
            axes.axvline(factor * chance, color="0.5", lw=1, ls="--", zorder=0)
        axes.set_yticks(range(len(same)), [_title(r) for r in same[::-1]])
        axes.set_ylim(-0.6, len(same) - 0.4)
        few = "" if any(r.ranked.ci95 for r in same) else "  (too few test groups for intervals)"
        part = f"  (best {len(same)} of {len(everyone)}; the others are in the CSV)" * (len(everyone) > len(same))
        axes.set_title(picture(task_title(same[0])) + few + part, loc="left", fontsize=10)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.9", lw=0.8)
        axes.set_axisbelow(True)
    _headline(figure, f"Scores: {_told(results[0])}")
    _legend(figure, _of_scores(results))


def _score(axes: Axes, result: Result, at: float, factor: float) -> None:
    """One model at its height; in words where its score is undefined."""
    if math.isnan(_mean(result)):
        there = axes.get_yaxis_transform()
        axes.text(0.01, at, "undefined", transform=there, va="center", fontsize=9, color="0.35")
        return
    _interval(axes, result.ranked, at, factor, _COLOURS[0], vertical=False)
    face = "white" if result.model.control else _COLOURS[0]
    axes.plot(factor * _mean(result), at, "o", color=_COLOURS[0], mfc=face, ms=6)


def _of_scores(results: list[Result]) -> Look:
    """The legend's entries, of what is drawn alone."""
    items: Look = {}
    if any(r.ranked.ci95 for r in results):
        items["thin"] = "95 % interval over test groups", {"color": _COLOURS[0], "lw": 1.2}
    if any(r.ranked.std is not None for r in results):
        items["thick"] = "± std over seeds", {"color": _COLOURS[0], "lw": 6, "alpha": 0.35}
    dot: dict[str, Any] = {"color": _COLOURS[0], "ls": "", "marker": "o"}
    items["model"] = "model", dot
    items["control"] = "control", dot | {"mfc": "white"}
    items["chance"] = "chance", {"color": "0.5", "lw": 1, "ls": "--"}
    return items


# -- weights of layers --------------------------------------------------------------------------------------


def _ticks(names: Sequence[str]) -> list[str]:
    """Layers under their own names; blocks of a transformer as numbers."""
    found = []
    for name in names:
        block = re.fullmatch(r"block0*(\d+)", name)
        found.append(block[1] if block else picture(name, 14))
    return found


def _set_layers(
    axes: Axes, labels: Sequence[str], most: int = _MOST_TICKS, end: int = 0, more: Sequence[Any] = ()
) -> None:
    """Set ticks of layers, thinned where there are many, slanted where the names are long.

    The axis reaches to layer ``end``, if that is more than there are; ``more`` is one tick more, place and name.
    """
    step = max(1, -(-max(len(labels), end) // most))
    places, names = [*range(0, len(labels), step)], [*labels[::step]]
    if more:
        places, names = [*places, more[0]], [*names, more[1]]
    long = _are_long(labels)
    axes.set_xticks(places, names, rotation=45 if long else 0, ha="right" if long else "center")


def _are_long(labels: Sequence[str]) -> bool:
    """Whether ticks have to be slanted, which takes more height."""
    return max(map(len, labels)) > 5


def _axis_of(layers: Sequence[str]) -> str:
    """What the axis of layers says: of a transformer what its first number is."""
    if layers[0] == "input" and all(re.fullmatch(r"block\d+", name) for name in layers[1:]):
        return "layer (input of the first block, then block outputs)"
    return "layer"


def weights(figure: Figure, results: list[Result], quantity: str) -> None:
    """Draw models x layers for each task.

    Every panel has the same rows, so that a model is found at one height; what is not there stays white.
    """
    tasks = _by_task(results)
    titles = [title for _, title in sorted({(r.model.control, _title(r)) for r in results})]
    several, titles = len(titles), titles[:_MOST_ROWS]
    longest = max((r.model.layer_names for r in results), key=len)
    # One axis for all: where models name their layers otherwise, by number.
    alike = all(r.model.layer_names == longest[: len(r.model.layer_names)] for r in results)
    labels = _ticks(longest) if alike else [str(n) for n in range(len(longest))]
    words = _axis_of(longest) if alike else "layer, counted from 0: models name theirs otherwise, see the CSV"
    top = max(1e-12, *(float(np.mean(getattr(r.layer_weights, quantity), axis=0).max()) for r in results))
    columns = 1 if len(tasks) < 4 else 2
    # A panel is as wide as its layers, and at least as its title.
    title = max(len(picture(task_title(r))) for r in results)
    width = (
        max(0.37 * len(longest), 0.085 * title)
        + (2.6 if columns == 1 else 1.3)
        + _wider(titles)
        + 0.8 * _are_long(labels)
    )
    numbers = len(tasks) * len(titles) * len(longest) <= _MOST_NUMBERS
    height = 0.75 + 0.3 * len(titles) + 0.8 * _are_long(labels)
    panels = _grid(figure, len(tasks), columns, width, height, sharex=True, sharey=True)
    for axes, same in zip(panels, tasks, strict=True):
        table = np.full((len(titles), len(longest)), np.nan)
        for r in same:
            if _title(r) not in titles:
                continue
            share, row = np.mean(getattr(r.layer_weights, quantity), axis=0), titles.index(_title(r))
            table[row, : len(share)] = share
            _weights_row(axes, r, row, share if numbers else [], top)
        image = axes.imshow(table, cmap=single_hue(), vmin=0, vmax=top, aspect="auto")
        axes.set_title(picture(task_title(same[0])), loc="left", fontsize=10)
        _set_layers(axes, labels)
        axes.set_yticks(range(len(titles)), titles)
        axes.tick_params(length=0, labelbottom=True)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label("%")
    bar.outline.set_visible(False)
    part = f"; {len(titles)} of {several} models, the others are in the CSV" * (several > len(titles))
    _headline(figure, f"Layer {QUANTITIES[quantity]} in per cent: {_told(results[0])}{part}")
    figure.supxlabel(f"{words}; framed: best single layer on validation", fontsize=9)


def _weights_row(axes: Axes, result: Result, row: int, share: Iterable[float], top: float) -> None:
    """Numbers of one model, and a frame around the layer whose own head is best on validation."""
    from matplotlib.patches import Rectangle

    for n, value in enumerate(share):
        colour = "white" if value > 0.45 * top else "black"
        axes.text(n, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    if best := result.best_layer:  # none where single layers had no heads of their own, as in fine-tuning
        corner = result.model.layer_names.index(best) - 0.46, row - 0.46
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=_COLOURS[1], lw=1.8, zorder=3))


def single_hue() -> ListedColormap:
    """Blues whose lightness falls evenly from 0.98 to 0.3 (Ottosson's OKLab), so that they survive greyscale."""
    from matplotlib.colors import ListedColormap

    t = np.linspace(0, 1, 256)
    lightness, chroma, hue = 0.98 - 0.68 * t, 0.14 * np.sin(np.pi * (0.04 + 0.78 * t)), np.deg2rad(252)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = np.clip(to_rgb @ (to_lms @ np.stack([lightness, a, b])) ** 3, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ListedColormap(encoded.T, name="svuprobe")


# -- curves over layers -------------------------------------------------------------------------------------


def curves(figure: Figure, results: list[Result]) -> None:
    """Draw a panel per model of several layers; front ends of one layer are lines in each panel."""
    everyone = [r for r in results if len(r.layer_curve) > 1]
    several = _in_order(everyone, _best(everyone)[:_MOST_PANELS])
    alone = [r for r in results if len(r.layer_curve) < 2 and not math.isnan(_mean(r))]
    flat = _in_order(alone, _best(alone)[:_MOST_FLAT])
    factor, label = _unit(results[0].task.ranked)
    end = max(len(r.model.layer_names) for r in several)
    columns = min(3, len(several))
    panels = _grid(figure, len(several), 3, 8.0 if columns == 1 else 4.6, 3.4, sharey=True)
    grey = [((0, _DASHES[n % len(_DASHES)]), r) for n, r in enumerate(flat)]
    for n, (axes, result) in enumerate(zip(panels, several, strict=True)):
        for other in several:
            if other is not result:
                axes.plot(factor * _curve_of(other)[0], color="0.75", lw=1, zorder=1)
        for dashes, one in grey:
            axes.axhline(factor * _mean(one), color="0.3", ls=dashes, lw=1.3, zorder=1)
        if (chance := _chance(results[0])) is not None:
            axes.axhline(factor * chance, color="0.85", lw=4, zorder=0)
        _curve(axes, result, factor, end)
        most = 20 if columns < 3 else 10 if end < 20 else 7
        _set_layers(axes, _ticks(result.model.layer_names), most, end, (_sum_at(end), "sum"))
        axes.set_xlim(-0.6, _sum_at(end) + 0.6)
        axes.set_title(_title(result), loc="left", fontsize=10)
        if n % columns == 0:
            axes.set_ylabel(f"test {label}")
        if n + columns >= len(several):
            axes.set_xlabel("single layer; weighted sum")
    part = _left_out(len(everyone), len(several))
    _headline(figure, f"Layer curves, {picture(task_title(results[0]))}: {_told(results[0])}{part}")
    _legend(figure, _of_curves(several, grey))


def _in_order(results: Sequence[Result], chosen: Sequence[Result]) -> list[Result]:
    """Those that were chosen, in the order of all."""
    ids = {id(r) for r in chosen}
    return [r for r in results if id(r) in ids]


def _of_curves(several: Sequence[Result], grey: Sequence[tuple[Any, Result]]) -> Look:
    """The legend's entries."""
    items: Look = {
        "curve": ("single layer ± std over seeds", {"color": _COLOURS[0], "marker": "o", "ms": 4}),
        "best": ("best on validation", {"color": _COLOURS[1], "ls": "", "marker": "o", "mfc": "none", "ms": 10}),
        "sum": ("weighted sum", {"color": _COLOURS[0], "ls": "", "marker": "s"}),
        "interval": ("95 % interval", {"color": _COLOURS[0], "lw": 7, "alpha": 0.2}),
    }
    if len(several) > 1:
        items["other"] = "the other models", {"color": "0.75", "lw": 1}
    for n, (dashes, one) in enumerate(grey):
        items[f"flat{n}"] = _title(one), {"color": "0.3", "ls": dashes}
    return items | {"chance": ("chance", {"color": "0.85", "lw": 4})}


def _sum_at(end: int) -> float:
    """Where the weighted sum stands, beyond the last layer."""
    return 1.08 * end - 0.5


def _curve_of(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std over seeds at each layer of the model: (L,) each, NaN where there is none."""
    mean, std = np.full((2, len(result.model.layer_names)), np.nan)
    for n, name in enumerate(result.model.layer_names):
        values = result.layer_curve.get(name, ())
        known = mean_over_seeds(values)
        if known is not None:
            mean[n] = known
            std[n] = np.std(np.array(values, dtype=float), ddof=1) if len(values) > 1 else np.nan
    return mean, std


def _curve(axes: Axes, result: Result, factor: float, end: int) -> None:
    """One model in its panel."""
    mean, std = _curve_of(result)
    names, place, colour = result.model.layer_names, np.arange(len(mean)), _COLOURS[0]
    if any(result.layer_ci95.values()):
        ends = np.array([both_ends(result.layer_ci95.get(name)) or (np.nan, np.nan) for name in names], dtype=float)
        axes.fill_between(place, *(factor * ends.T), color=colour, alpha=0.2, lw=0)
    axes.errorbar(
        place, factor * mean, factor * std, color=colour, marker="o", ms=4, capsize=2, lw=1.5, elinewidth=1.2
    )
    if best := result.best_layer:
        at = names.index(best)
        axes.plot(at, factor * mean[at], "o", mec=_COLOURS[1], mfc="none", ms=10, mew=1.6)
    if math.isnan(_mean(result)):
        axes.text(0.98, 0.04, "sum: undefined", transform=axes.transAxes, ha="right", fontsize=9, color="0.35")
    _interval(axes, result.ranked, _sum_at(end), factor, colour)
    axes.plot(_sum_at(end), factor * _mean(result), "s", color=colour, ms=6)


# -- shares of the training set -----------------------------------------------------------------------------


def efficiency(figure: Figure, results: list[Result]) -> None:
    """Draw a line per model over the shares of the training set."""
    figure.set_size_inches(7.5, 5.2)
    axes = figure.subplots()
    factor, label = _unit(results[0].task.ranked)
    key: Callable[[Result], Any] = lambda r: (r.model.control, model_title(r))  # noqa: E731
    everyone = [
        sorted(same, key=lambda r: r.protocol.train_fraction)
        for _, same in groupby(sorted(results, key=key), key=key)
    ]
    chosen = _best(same[-1] for same in everyone)[:_MOST_LINES]
    models = [same for same in everyone if any(same[-1] is one for one in chosen)]
    for n, same in enumerate(models):
        aside = 1.05 ** (n - (len(models) - 1) / 2)  # intervals side by side
        _line(axes, n, same, [100 * aside * r.protocol.train_fraction for r in same], factor)
    if (chance := _chance(results[0])) is not None:
        axes.axhline(factor * chance, color="0.85", lw=4, zorder=0, label="chance")
    fractions = sorted({r.protocol.train_fraction for r in results})
    axes.set_xscale("log")
    axes.set_xticks([100 * f for f in fractions], [f"{100 * f:g} %" for f in fractions])
    axes.minorticks_off()
    clips = results[0].task.splits["train"]
    axes.set_xlabel(f"share of the training set ({clips:,} clips); thin: 95 % interval, thick: ± std over seeds")
    axes.set_ylabel(f"test {label}")
    figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside lower center")
    told = f"Data efficiency, {picture(task_title(results[0]))}: {_told(results[0], of_part=False)}"
    if len(models) < len(everyone):
        told += f"; the best {len(models)} of {len(everyone)} models, the others are in the CSV"
    _headline(figure, told)


def _line(axes: Axes, n: int, same: Sequence[Result], place: Sequence[float], factor: float) -> None:
    """One model over the shares."""
    look: dict[str, Any] = {"color": _COLOURS[n % len(_COLOURS)], "ls": _LINES[n % len(_LINES)], "lw": 1.5}
    face = "white" if same[0].model.control else look["color"]
    marker = _MARKERS[n % len(_MARKERS)]
    mean = [factor * _mean(r) for r in same]
    axes.plot(place, mean, marker=marker, ms=5, mfc=face, label=_title(same[0]), zorder=3, **look)
    for at, result in zip(place, same, strict=True):
        _interval(axes, result.ranked, at, factor, look["color"])
