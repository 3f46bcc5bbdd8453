"""Pictures of which layer carries a task: PNG and SVG, with the numbers as CSV beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.benchmarks.leaderboard import model_title, task_title
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "svuprobe",
    "figure.constrained_layout.use": True,
}
# Okabe & Ito's colours: told apart with any colour vision; the line styles tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")


def layer_weights(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per task and protocol: a panel per model with the mixing weight of each layer.

    Bars are the softmax weights, mean over seeds with their standard deviation; points the weight times the RMS
    of what it weighs, which is what a layer contributes. A dashed line marks equal weights.
    """
    return _pictures(results, out, "layer-weights", _weights_figure, _weights_rows)


def layer_curves(results: Sequence[Result], out: Path) -> list[Path]:
    """One picture per task and protocol: the test score of a head on each single layer, one line per model.

    Bands are the standard deviation over seeds; the square at the right is the weighted sum with the 95 %
    interval over test groups; dashed grey lines are front ends of one layer, the thick one is chance.
    """
    return _pictures(results, out, "layer-curves", _curves_figure, _curves_rows)


def _pictures(results: Sequence[Result], out: Path, name: str, draw: Any, table: Any) -> list[Path]:
    import matplotlib
    from matplotlib.figure import Figure

    several = [r for r in results if len(r.layer_curve) > 1]
    if not several:
        raise ProbeError(f"no result with more than one layer to draw {name} of; probe a transformer first")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(_STYLE):
        for _, group in groupby(sorted(results, key=_group_key), key=_group_key):
            same = sorted(group, key=model_title)
            if not any(len(r.layer_curve) > 1 for r in same):
                continue
            figure = Figure()
            draw(figure, same)
            written += _save(figure, out / _file_name(same[0], results, name), table(same))
    return written


def _group_key(result: Result) -> tuple[Any, ...]:
    task = result.task
    protocol = result.protocol
    return task["synthetic"], task["name"], task["split_sha256"], protocol["name"], protocol["hash"]


def _file_name(result: Result, results: Sequence[Result], name: str) -> str:
    """``technique-layer-weights``, with as much more as it takes to tell it from other groups."""
    task = result.task["name"] + ("-synthetic" if result.task["synthetic"] else "")
    same = {_group_key(r) for r in results if task_title(r) == task_title(result)}
    key = _group_key(result)
    extra = f"-{key[3]}-{key[4][:8]}-{key[2][:8]}" if len(same) > 1 else ""
    return f"{task}{extra}-{name}"


def _save(figure: Figure, stem: Path, rows: list[dict[str, Any]]) -> list[Path]:
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg", ".csv")]
    figure.savefig(paths[0], dpi=150)
    figure.savefig(paths[1], metadata={"Date": None})
    with paths[2].open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return paths


def _short(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("block").lstrip("0") if name.startswith("block") else name for name in names]


def _heading(result: Result) -> str:
    seeds = result.protocol["fields"]["seeds"]
    return f"{task_title(result)}, protocol {result.protocol['name']}, {seeds} seeds"


def _plain_title(result: Result) -> str:
    return model_title(result).replace("*", "")


def _weights_figure(figure: Figure, results: list[Result]) -> None:
    several = [r for r in results if len(r.layer_curve) > 1]
    figure.set_size_inches(7, 1 + 2.2 * len(several))
    panels = figure.subplots(len(several), 1, squeeze=False)[:, 0]
    for axes, result in zip(panels, several, strict=True):
        _weights_panel(axes, result)
    panels[-1].set_xlabel("layer (input of the first block, then block outputs)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=3, loc="outside lower center", fontsize=9)
    figure.suptitle(f"Layer weights: {_heading(results[0])}", fontsize=11)


def _weights_panel(axes: Axes, result: Result) -> None:
    names = _short(result.model["layer_names"])
    weight, times = (np.array(result.layer_weights[k]) for k in ("softmax", "times_rms"))
    place = np.arange(len(names))
    spread = weight.std(axis=0, ddof=1) if len(weight) > 1 else None
    axes.bar(place, weight.mean(axis=0), yerr=spread, color=_COLOURS[5], capsize=2, label="weight ± std over seeds")
    axes.plot(place, times.mean(axis=0), "o", color=_COLOURS[1], ms=4, label="weight × RMS")
    axes.axhline(1 / len(names), color="0.4", lw=0.8, ls="--", label="equal weights")
    axes.set_xticks(place, names)
    axes.set_ylim(0)
    axes.set_ylabel("weight")
    axes.set_title(_plain_title(result), loc="left", fontsize=10)


def _curves_figure(figure: Figure, results: list[Result]) -> None:
    figure.set_size_inches(7.5, 4.5)
    axes = figure.subplots()
    several = [r for r in results if len(r.layer_curve) > 1]
    widest = max(several, key=lambda r: len(r.layer_curve))
    end = len(widest.layer_curve)
    for n, result in enumerate(several):
        _curve(axes, result, _COLOURS[n % len(_COLOURS)], _LINES[n % len(_LINES)], end + 0.25 * n)
    flat = [r for r in results if len(r.layer_curve) == 1]
    for n, result in enumerate(flat):
        dashes = (0, (1 + 3 * (n // 2), 1.5 + n))
        axes.axhline(result.ranked["mean"], color="0.3", ls=dashes, lw=1.3, label=_plain_title(result))
    chance = results[0].chance[results[0].task["ranked"]]
    axes.axhline(chance, color="0.7", lw=3, zorder=0, label="chance")
    axes.set_xticks([*range(end), end + 0.25 * (len(several) - 1) / 2], [*_short(list(widest.layer_curve)), "sum"])
    axes.set_xlabel("single layer, and the weighted sum with its 95 % interval")
    axes.set_ylabel(f"test {results[0].task['ranked']}")
    figure.legend(frameon=False, fontsize=9, ncols=3, loc="outside lower center")
    axes.set_title(f"Layer curves: {_heading(results[0])}", fontsize=11)


def _curve(axes: Axes, result: Result, colour: str, line: str, end: float) -> None:
    scores = np.array(list(result.layer_curve.values()), dtype=float)  # (L, S)
    mean, spread = scores.mean(axis=1), scores.std(axis=1, ddof=1 if scores.shape[1] > 1 else 0)
    place = np.arange(len(mean))
    axes.plot(place, mean, color=colour, ls=line, marker="o", ms=3, label=_plain_title(result))
    axes.fill_between(place, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
    axes.plot(end, result.ranked["mean"], "s", color=colour)
    if result.ranked["ci95"] is not None:
        axes.plot([end, end], result.ranked["ci95"], color=colour, lw=1.5)


def _weights_rows(results: list[Result]) -> list[dict[str, Any]]:
    return [
        {
            "task": task_title(r),
            "model": r.model["name"],
            "seed": seed,
            "layer": name,
            "weight": w,
            "times_rms": t,
        }
        for r in results
        for seed, (ws, ts) in enumerate(zip(r.layer_weights["softmax"], r.layer_weights["times_rms"], strict=True))
        for name, w, t in zip(r.model["layer_names"], ws, ts, strict=True)
    ]


def _curves_rows(results: list[Result]) -> list[dict[str, Any]]:
    return [
        {
            "task": task_title(r),
            "model": r.model["name"],
            "layer": name,
            "seed": seed,
            r.task["ranked"]: score,
        }
        for r in results
        for name, scores in r.layer_curve.items()
        for seed, score in enumerate(scores)
    ]
