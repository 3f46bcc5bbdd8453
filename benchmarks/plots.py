"""Pictures of results: PNG and SVG, with the numbers as CSV beside them.

scores
    A dot for each model with the 95 % interval over test groups (thin) and the spread over seeds (thick).
layer-weights
    Models x layers, a panel per task, as in Yamamoto 2023: the mixing weights of the weighted sum.
layer-curves
    Score of a head on each single layer, a panel per model, as MARBLE's tables have it.
data-efficiency
    Score over the share of the training set, for results of several ``--train-fraction``.

What may not be compared (another split, another protocol) never shares a picture. Every colour map and mark is
told apart in grey, too.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._files import replacing
from svuprobe.benchmarks.leaderboard import is_share, model_title, task_title
from svuprobe.benchmarks.tables import is_shuffled, protocol_key, train_fraction
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "svuprobe",
    "figure.constrained_layout.use": True,
}
# Okabe & Ito's colours: told apart with any colour vision; line styles and markers tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX"
_DASHES = ((7, 3), (1, 2), (7, 2, 1, 2), (3, 3))
Key = tuple[Any, ...]
Rows = list[dict[str, Any]]


def scores(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per protocol: a panel per task with every model, the best at the top."""
    groups = [(_named_group("scores", g[0], results, False), g) for g in _grouped(results, _protocol)]
    return _pictures(groups, out, _scores_figure, _scores_rows)


def layer_weights(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per protocol: models x layers for each task, mean over seeds of the mixing weights in per cent.

    Where the states were mixed unscaled, a second picture shows the weight times the RMS of what it weighs, which is
    what a layer contributes; otherwise the two are the same.
    """
    groups, times = [], []
    mixed = [r for r in results if len(r.layer_weights["softmax"][0]) > 1]
    for same in _grouped(_some(mixed, "layer-weights"), _protocol):
        groups.append((_named_group("layer-weights", same[0], results, False), same))
        weights = [[np.array(r.layer_weights[key]) for key in _QUANTITIES] for r in same]
        if any(np.abs(plain - sized).max() > 0.005 for plain, sized in weights):
            times.append((_named_group("layer-weights-times-rms", same[0], results, False), same))
    written = _pictures(groups, out, lambda f, g: _weights_figure(f, g, "softmax"), _weights_rows)
    return written + _pictures(times, out, lambda f, g: _weights_figure(f, g, "times_rms"), _weights_rows)


def layer_curves(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per task and protocol: the test score of a head on each single layer, a panel per model.

    Front ends of one layer are horizontal lines in every panel.
    """
    _some([r for r in results if len(r.layer_curve) > 1], "layer-curves")
    groups = [
        (_named_group("layer-curves", g[0], results, True), g)
        for g in _grouped(results, _task_protocol)
        if any(len(r.layer_curve) > 1 for r in g)
    ]
    return _pictures(groups, out, _curves_figure, _curves_rows)


def data_efficiency(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per task and protocol: score over the share of the training set, a line per model."""
    several = [g for g in _grouped(results, _any_fraction) if len({train_fraction(r) for r in g}) > 1]
    if not several:
        raise ProbeError(
            "no results with several shares of a training set; run svuprobe probe --train-fraction 0.05 and more"
        )
    whole = [max(g, key=train_fraction) for g in several]  # one protocol for each group
    groups = [(_named_group("data-efficiency", r, whole, True), g) for r, g in zip(whole, several, strict=True)]
    return _pictures(groups, out, _efficiency_figure, _efficiency_rows)


KINDS: dict[str, Callable[[Sequence[Result], Path], list[Path]]] = {
    "scores": scores,
    "layer-weights": layer_weights,
    "layer-curves": layer_curves,
    "data-efficiency": data_efficiency,
}


def _some(results: list[Result], what: str) -> list[Result]:
    if not results:
        raise ProbeError(f"no result with more than one layer to draw {what} of; probe a transformer first")
    return results


def _grouped(results: Sequence[Result], key: Callable[[Result], Key]) -> Iterator[list[Result]]:
    """Groups whose key agrees, models before controls; heads trained on shuffled labels are in no picture."""
    drawn = sorted((r for r in results if not is_shuffled(r)), key=key)
    for _, group in groupby(drawn, key=key):
        yield sorted(group, key=lambda r: (r.model["control"], model_title(r)))


def _protocol(result: Result) -> Key:
    return result.task["synthetic"], *protocol_key(result.protocol["name"], result.protocol["hash"])


def _task(result: Result) -> Key:
    task = result.task
    return task["synthetic"], task["name"], task["version"], task["split_sha256"], task["target_sha256"]


def _task_protocol(result: Result) -> Key:
    return *_task(result), *protocol_key(result.protocol["name"], result.protocol["hash"])


def _any_fraction(result: Result) -> Key:
    fields = {k: v for k, v in result.protocol["fields"].items() if k not in ("name", "train_fraction")}
    return *_task(result), json.dumps(fields, sort_keys=True)


def _named_group(kind: str, result: Result, results: Sequence[Result], of_task: bool) -> str:
    """``scores-svuprobe``, ``layer-curves-technique-linear``, with as much more as it takes to tell groups apart."""
    task, protocol = result.task, result.protocol
    parts = [kind, *[task["name"]] * of_task, protocol["name"]]
    if len({r.protocol["hash"] for r in results if r.protocol["name"] == protocol["name"]}) > 1:
        parts.append(protocol["hash"][:8])
    if of_task and len({_task(r) for r in results if task_title(r) == task_title(result)}) > 1:
        parts.append(f"v{task['version']}-{task['split_sha256'][:8]}-{task['target_sha256'][:8]}")
    return "-".join(parts + ["synthetic"] * task["synthetic"])


def _pictures(
    groups: Sequence[tuple[str, list[Result]]],
    out: Path,
    draw: Callable[[Figure, list[Result]], None],
    table: Callable[[list[Result]], Rows],
) -> list[Path]:
    import matplotlib
    from matplotlib.figure import Figure

    written = []
    with matplotlib.rc_context(_STYLE):
        for name, same in groups:
            figure = Figure()
            draw(figure, same)
            written += _save(figure, out / name, table(same))
    return written


def _save(figure: Figure, stem: Path, rows: Rows) -> list[Path]:
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg", ".csv")]
    with replacing(paths[0]) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    with replacing(paths[1]) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    with replacing(paths[2]) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return paths


def _unit(metric: str) -> tuple[float, str]:
    """Factor and label of an axis: per cent where the leaderboard has per cent."""
    return (100.0, f"{metric} (%)") if is_share(metric) else (1.0, metric)


def _short(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("block").lstrip("0") if name.startswith("block") else name for name in names]


def _told(result: Result) -> str:
    """Protocol and seeds, for a title."""
    seeds = result.protocol["fields"]["seeds"]
    return f"protocol {result.protocol['name']}, {seeds} seed{'s' * (seeds > 1)}" + (
        ", synthetic audio" if result.task["synthetic"] else ""
    )


def _grid(figure: Figure, n: int, columns: int, width: float, height: float, **options: Any) -> list[Axes]:
    """``n`` panels in rows of up to ``columns``, each ``width`` x ``height`` inches; titles and legends extra."""
    columns = min(columns, n)
    rows = -(-n // columns)
    figure.set_size_inches(columns * width, rows * height + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in panels[n:]:
        empty.set_visible(False)
    return list(panels[:n])


def _interval(
    axes: Axes, score: dict[str, Any], at: float, factor: float, colour: str, vertical: bool = True
) -> None:
    """The 95 % interval as a thin line with caps, the spread over seeds as a thick one."""
    mean, std = factor * score["mean"], factor * score["std"]
    line, across = (axes.vlines, "_") if vertical else (axes.hlines, "|")
    line(at, mean - std, mean + std, colors=colour, lw=6, alpha=0.35)
    if score["ci95"] is not None:
        ends = factor * np.array(score["ci95"])
        line(at, ends[0], ends[1], colors=colour, lw=1.2)
        places = ([at, at], ends) if vertical else (ends, [at, at])
        axes.plot(*places, across, color=colour, ms=7)


def _scores_figure(figure: Figure, results: list[Result]) -> None:
    tasks = list(_grouped(results, _task))
    most = max(map(len, tasks))
    for axes, same in zip(_grid(figure, len(tasks), 2, 5.4, 0.7 + 0.32 * most), tasks, strict=True):
        ranked = same[0].task["ranked"]
        factor, label = _unit(ranked)
        order = sorted(same, key=lambda r: r.ranked["mean"] or 0.0)
        for at, result in enumerate(order):
            _interval(axes, result.ranked, at, factor, _COLOURS[0], vertical=False)
            face = "white" if result.model["control"] else _COLOURS[0]
            axes.plot(factor * result.ranked["mean"], at, "o", color=_COLOURS[0], mfc=face, ms=6)
        axes.axvline(factor * same[0].chance[ranked], color="0.5", lw=1, ls="--", zorder=0)
        axes.set_yticks(range(len(order)), [model_title(r) for r in order])
        axes.set_ylim(-0.6, len(order) - 0.4)
        few = "" if any(r.ranked["ci95"] for r in same) else "  (too few test groups for intervals)"
        axes.set_title(task_title(same[0]) + few, loc="left", fontsize=10)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.9", lw=0.8)
        axes.set_axisbelow(True)
    figure.suptitle(f"Scores: {_told(results[0])}", fontsize=11)
    _legend(
        figure,
        {
            "thin": ("95 % interval over test groups", {"color": _COLOURS[0], "lw": 1.2}),
            "thick": ("± std over seeds", {"color": _COLOURS[0], "lw": 6, "alpha": 0.35}),
            "model": ("model", {"color": _COLOURS[0], "ls": "", "marker": "o"}),
            "control": ("control", {"color": _COLOURS[0], "ls": "", "marker": "o", "mfc": "white"}),
            "chance": ("chance", {"color": "0.5", "lw": 1, "ls": "--"}),
        },
    )


def _legend(figure: Figure, items: dict[str, tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=text, **look) for text, look in items.values()]
    figure.legend(handles=handles, frameon=False, ncols=3, loc="outside lower center", fontsize=9)


def _scores_rows(results: list[Result]) -> Rows:
    rows = []
    for r in results:
        low, high = r.ranked["ci95"] or (None, None)
        rows.append(
            _named(r)
            | {"metric": r.task["ranked"], "mean": r.ranked["mean"], "std": r.ranked["std"]}
            | {"ci95_low": low, "ci95_high": high, "chance": r.chance[r.task["ranked"]]}
        )
    return rows


def _named(result: Result) -> dict[str, Any]:
    return {"task": task_title(result), "model": result.model["name"], "revision": result.model["revision"]}


_QUANTITIES = {"softmax": "weights", "times_rms": "weights × RMS of what they weigh"}


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


def _weights_figure(figure: Figure, results: list[Result], quantity: str) -> None:
    """Every panel has the same rows, so that a model is found at one height; what is not there stays white."""
    tasks = list(_grouped(results, _task))
    models = sorted({(r.model["control"], model_title(r)) for r in results})
    titles = [title for _, title in models]
    longest = max((r.model["layer_names"] for r in results), key=len)
    top = max(np.mean(r.layer_weights[quantity], axis=0).max() for r in results)
    columns = 1 if len(tasks) < 4 else 2
    width = 0.37 * len(longest) + (2.6 if columns == 1 else 1.3)
    panels = _grid(figure, len(tasks), columns, width, 0.55 + 0.3 * len(models), sharex=True, sharey=True)
    for axes, same in zip(panels, tasks, strict=True):
        table = np.full((len(models), len(longest)), np.nan)
        for r in same:
            share = np.mean(r.layer_weights[quantity], axis=0)
            row = titles.index(model_title(r))
            table[row, : len(share)] = share
            _weights_row(axes, r, row, share, top)
        image = axes.imshow(table, cmap=single_hue(), vmin=0, vmax=top, aspect="auto")
        axes.set_title(task_title(same[0]), loc="left", fontsize=10)
        axes.set_xticks(range(len(longest)), _short(longest))
        axes.set_yticks(range(len(titles)), titles)
        axes.tick_params(length=0, labelbottom=True)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label("%")
    bar.outline.set_visible(False)
    figure.suptitle(f"Layer {_QUANTITIES[quantity]} in per cent: {_told(results[0])}", fontsize=11)
    figure.supxlabel(
        "layer (input of the first block, then block outputs); framed: best single layer on validation", fontsize=9
    )


def _weights_row(axes: Axes, result: Result, row: int, share: np.ndarray, top: float) -> None:
    """Numbers of one model, and a frame around the layer whose own head is best on validation."""
    from matplotlib.patches import Rectangle

    for n, value in enumerate(share):
        colour = "white" if value > 0.45 * top else "black"
        axes.text(n, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    if len(result.selected["layers"]) > 1:  # not where single layers had no heads of their own, as in fine-tuning
        best = result.model["layer_names"].index(_best_layer(result))
        corner = best - 0.46, row - 0.46
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=_COLOURS[1], lw=1.8, zorder=3))


def _best_layer(result: Result) -> str:
    layers = result.selected["layers"]
    return str(max(layers, key=lambda name: layers[name]["valid"]))


def _weights_rows(results: list[Result]) -> Rows:
    return [
        _named(r)
        | {"seed": seed, "layer": name, "weight": w, "times_rms": t}
        | {"drop": r.layer_drop[name][seed] if name in r.layer_drop else None}  # leaving this layer out
        for r in results
        for seed, (ws, ts) in enumerate(zip(*(r.layer_weights[key] for key in _QUANTITIES), strict=True))
        for name, w, t in zip(r.model["layer_names"], ws, ts, strict=True)
    ]


def _curves_figure(figure: Figure, results: list[Result]) -> None:
    several = [r for r in results if len(r.layer_curve) > 1]
    flat = [r for r in results if len(r.layer_curve) < 2]
    ranked = results[0].task["ranked"]
    factor, label = _unit(ranked)
    end = max(len(r.layer_curve) for r in several)
    names = _short(list(max(several, key=lambda r: len(r.layer_curve)).layer_curve))
    columns = min(3, len(several))
    panels = _grid(figure, len(several), 3, 8.0 if columns == 1 else 4.6, 3.4, sharex=True, sharey=True)
    grey = [((0, _DASHES[n % len(_DASHES)]), r) for n, r in enumerate(flat)]
    for n, (axes, result) in enumerate(zip(panels, several, strict=True)):
        for other in several:
            if other is not result:
                axes.plot(factor * np.mean(list(other.layer_curve.values()), axis=1), color="0.75", lw=1, zorder=1)
        for dashes, one in grey:
            axes.axhline(factor * one.ranked["mean"], color="0.3", ls=dashes, lw=1.3, zorder=1)
        axes.axhline(factor * results[0].chance[ranked], color="0.85", lw=4, zorder=0)
        _curve(axes, result, factor, end)
        step = 1 if columns < 3 and end < 20 else 2 if end < 20 else 4
        axes.set_xticks([*range(0, end, step), _sum_at(end)], [*names[::step], "sum"])
        axes.tick_params(labelbottom=True)
        axes.set_title(model_title(result), loc="left", fontsize=10)
        if n % columns == 0:
            axes.set_ylabel(f"test {label}")
        if n + columns >= len(several):
            axes.set_xlabel("single layer; weighted sum")
    figure.suptitle(f"Layer curves, {task_title(results[0])}: {_told(results[0])}", fontsize=11)
    items: dict[str, tuple[str, dict[str, Any]]] = {
        "curve": ("single layer ± std over seeds", {"color": _COLOURS[0], "marker": "o", "ms": 4}),
        "best": ("best on validation", {"color": _COLOURS[1], "ls": "", "marker": "o", "mfc": "none", "ms": 10}),
        "sum": ("weighted sum", {"color": _COLOURS[0], "ls": "", "marker": "s"}),
        "interval": ("95 % interval", {"color": _COLOURS[0], "lw": 7, "alpha": 0.2}),
        "other": ("the other models", {"color": "0.75", "lw": 1}),
    }
    if len(several) == 1:
        del items["other"]
    items |= {one.model["name"]: (model_title(one), {"color": "0.3", "ls": dashes}) for dashes, one in grey}
    _legend(figure, items | {"chance": ("chance", {"color": "0.85", "lw": 4})})


def _sum_at(end: int) -> float:
    """Where the weighted sum stands, beyond the last layer."""
    return 1.08 * end - 0.5


def _curve(axes: Axes, result: Result, factor: float, end: int) -> None:
    """One model in its panel."""
    values = factor * np.array(list(result.layer_curve.values()), dtype=float)  # (L, S)
    mean, place = values.mean(axis=1), np.arange(len(values))
    spread = values.std(axis=1, ddof=1 if values.shape[1] > 1 else 0)
    colour, best = _COLOURS[0], list(result.layer_curve).index(_best_layer(result))
    if any(result.layer_ci95.values()):
        ends = [result.layer_ci95[name] or (np.nan, np.nan) for name in result.layer_curve]
        axes.fill_between(place, *(factor * np.array(ends, dtype=float).T), color=colour, alpha=0.2, lw=0)
    axes.errorbar(place, mean, spread, color=colour, marker="o", ms=4, capsize=2, lw=1.5, elinewidth=1.2)
    axes.plot(best, mean[best], "o", mec=_COLOURS[1], mfc="none", ms=10, mew=1.6)
    _interval(axes, result.ranked, _sum_at(end), factor, colour)
    axes.plot(_sum_at(end), factor * result.ranked["mean"], "s", color=colour, ms=6)


def _curves_rows(results: list[Result]) -> Rows:
    rows = []
    for r in results:
        for name, several in r.layer_curve.items():
            low, high = r.layer_ci95.get(name) or (None, None)
            for seed, score in enumerate(several):
                row = {"layer": name, "seed": seed, r.task["ranked"]: score, "ci95_low": low, "ci95_high": high}
                rows.append(_named(r) | row)
    return rows


def _efficiency_figure(figure: Figure, results: list[Result]) -> None:
    figure.set_size_inches(7.5, 5.2)
    axes = figure.subplots()
    ranked = results[0].task["ranked"]
    factor, label = _unit(ranked)
    models = [list(same) for _, same in groupby(results, key=lambda r: (r.model["control"], model_title(r)))]
    for n, same in enumerate(models):
        same = sorted(same, key=train_fraction)
        aside = 1.05 ** (n - (len(models) - 1) / 2)  # intervals side by side
        place = [100 * aside * train_fraction(r) for r in same]
        look: dict[str, Any] = {"color": _COLOURS[n % len(_COLOURS)], "ls": _LINES[n % len(_LINES)], "lw": 1.5}
        face = "white" if same[0].model["control"] else look["color"]
        mean = [factor * r.ranked["mean"] for r in same]
        axes.plot(
            place,
            mean,
            marker=_MARKERS[n % len(_MARKERS)],
            ms=5,
            mfc=face,
            label=model_title(same[0]),
            zorder=3,
            **look,
        )
        for at, result in zip(place, same, strict=True):
            _interval(axes, result.ranked, at, factor, look["color"])
    axes.axhline(factor * results[0].chance[ranked], color="0.85", lw=4, zorder=0, label="chance")
    fractions = sorted({train_fraction(r) for r in results})
    axes.set_xscale("log")
    axes.set_xticks([100 * f for f in fractions], [f"{100 * f:g} %" for f in fractions])
    axes.minorticks_off()
    clips = results[0].task["splits"]["train"]
    axes.set_xlabel(f"share of the training set ({clips:,} clips); thin: 95 % interval, thick: ± std over seeds")
    axes.set_ylabel(f"test {label}")
    figure.legend(frameon=False, fontsize=9, ncols=3, loc="outside lower center")
    axes.set_title(f"Data efficiency, {task_title(results[0])}: {_told(results[0])}", fontsize=11)


def _efficiency_rows(results: list[Result]) -> Rows:
    fractions = {id(r): {"train_fraction": train_fraction(r)} for r in results}
    return [fractions[id(r)] | row for r, row in zip(results, _scores_rows(results), strict=True)]
