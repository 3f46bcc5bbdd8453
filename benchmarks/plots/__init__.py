"""Draw results: PNG and SVG, or one file of a chosen form, with the numbers as CSV beside them.

scores
    A dot for each model with the 95 % interval over test groups (thin) and the spread over seeds
    (thick).
layer-weights
    Models x layers, a panel per task, as in Yamamoto 2023: the mixing weights of the weighted sum.
layer-curves
    Score of a head on each single layer, a panel per model, as MARBLE's tables have it.
data-efficiency
    Score over the share of the training set, for results of several ``--train-fraction``.

What may not be compared (another split, another protocol) never shares a picture. Every colour map
and mark is told apart in grey, too. A score that is undefined is said to be; the CSV has every
model, also where a picture has room for the best alone. Each kind of picture is a module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.benchmarks.leaderboard import model_title, task_title
from svuprobe.benchmarks.plots import curves, dots, efficiency, heatmap, saving
from svuprobe.benchmarks.plots.looks import Looks
from svuprobe.benchmarks.tables import protocol_key
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """Hold what becomes one picture: its name, results that may be compared, and how it is drawn
    and written as numbers.
    """

    name: str
    results: list[Result]
    draw: Callable[[Figure, list[Result], Looks], None]
    table: Callable[[list[Result]], Rows]


# Characters of a file's name; with a suffix and a temporary one's more, systems take 255 bytes.
_LONGEST = 120
Key = tuple[Any, ...]


def scores(results: Sequence[Result], out: Path, everyone: Sequence[Result] = ()) -> list[Path]:
    """Draw a picture per protocol: a panel per task with every model, the best at the top."""
    pictures = []
    for same in _grouped(results, _protocol):
        name = _named_group("scores", same[0], results, False)
        pictures.append(Picture(name, same, dots.draw, dots.rows))
    if not pictures:
        raise ProbeError("no result to draw scores of; run svuprobe probe first")
    return _save_all(pictures, out, everyone or results)


def layer_weights(
    results: Sequence[Result], out: Path, everyone: Sequence[Result] = ()
) -> list[Path]:
    """Draw a picture per protocol: models x layers of each task, mean mixing weights in per cent.

    Where the states were mixed unscaled, a second picture shows the weight times the RMS of what it
    weighs, which is what a layer contributes; otherwise the two are the same.
    """
    pictures, times_rms = [], []
    mixed = [r for r in results if r.layer_weights and len(r.layer_weights.softmax[0]) > 1]
    if not mixed and any(r.layer_weights is None for r in results):
        raise ProbeError(
            "no result with weights of layers to draw: heads of scikit-learn learn none; draw "
            "layer-curves, or probe with --protocol svuprobe or linear"
        )
    for same in _grouped(_some(mixed, "layer-weights"), _protocol):
        name = _named_group("layer-weights", same[0], results, False)
        draw = partial(heatmap.draw, quantity="softmax")
        pictures.append(Picture(name, same, draw, heatmap.rows))
        if any(_differs_by_rms(result) for result in same):
            name = _named_group("layer-weights-times-rms", same[0], results, False)
            draw = partial(heatmap.draw, quantity="times_rms")
            times_rms.append(Picture(name, same, draw, heatmap.rows))
    return _save_all(pictures + times_rms, out, everyone or results)


def _differs_by_rms(result: Result) -> bool:
    """Tell whether a layer's share differs by half a per cent when its size is counted in."""
    assert result.layer_weights is not None  # others have nothing to draw
    plain = np.mean(result.layer_weights.softmax, axis=0)
    sized = np.mean(result.layer_weights.times_rms, axis=0)
    return bool(np.abs(plain - sized).max() > 0.005)


def layer_curves(
    results: Sequence[Result], out: Path, everyone: Sequence[Result] = ()
) -> list[Path]:
    """Draw a picture per task and protocol: test score of a head on each layer, a panel per model.

    Front ends of one layer are horizontal lines in every panel.
    """
    layered = [result for result in results if len(result.layer_curve) > 1]
    _some(layered, "layer-curves")
    # A group of front ends alone would be a picture without any curve.
    pictures = []
    for same in _grouped(results, _task_protocol):
        if any(len(result.layer_curve) > 1 for result in same):
            name = _named_group("layer-curves", same[0], results, True)
            pictures.append(Picture(name, same, curves.draw, curves.rows))
    return _save_all(pictures, out, everyone or results)


def data_efficiency(
    results: Sequence[Result], out: Path, everyone: Sequence[Result] = ()
) -> list[Path]:
    """Draw a picture per task and protocol: score over the share of training, a line per model."""
    several = []
    for same in _grouped(results, _any_fraction):
        if len(set(map(_train_fraction, same))) > 1:
            several.append(same)
    if not several:
        raise ProbeError(
            "no results with several shares of a training set; run svuprobe probe "
            "--train-fraction 0.05 and more"
        )
    # A group has a protocol for each share; it is named by that of the largest.
    whole = [max(same, key=_train_fraction) for same in several]
    pictures = []
    for largest, same in zip(whole, several, strict=True):
        name = _named_group("data-efficiency", largest, whole, True)
        pictures.append(Picture(name, same, efficiency.draw, efficiency.rows))
    return _save_all(pictures, out, everyone or results)


# Each is given results, where to write, and all results of the folder: a model has one look in it.
KINDS: dict[str, Callable[[Sequence[Result], Path, Sequence[Result]], list[Path]]] = {
    "scores": scores,
    "layer-weights": layer_weights,
    "layer-curves": layer_curves,
    "data-efficiency": data_efficiency,
}


def _train_fraction(result: Result) -> float:
    return result.protocol.train_fraction


def _some(results: list[Result], what: str) -> list[Result]:
    if not results:
        raise ProbeError(
            f"no result with more than one layer to draw {what} of; probe a transformer first"
        )
    return results


def _grouped(results: Sequence[Result], key: Callable[[Result], Key]) -> Iterator[list[Result]]:
    """Yield groups whose key agrees, models before controls, without heads of shuffled labels."""
    drawn = sorted((r for r in results if not r.protocol.shuffle_labels), key=key)
    for _, group in groupby(drawn, key=key):
        # The same order in every picture, so that a model is found at one place.
        yield sorted(group, key=lambda r: (r.model.control, model_title(r)))


def _protocol(result: Result) -> Key:
    return result.task.synthetic, *protocol_key(result.protocol.name, result.protocol.hash)


def _task_protocol(result: Result) -> Key:
    return *result.task.comparable, *protocol_key(result.protocol.name, result.protocol.hash)


def _any_fraction(result: Result) -> Key:
    fields = dict(result.protocol.fields)
    for name in ("name", "train_fraction"):
        fields.pop(name, None)
    return *result.task.comparable, json.dumps(fields, sort_keys=True)


def _named_group(kind: str, result: Result, results: Sequence[Result], of_task: bool) -> str:
    """Return ``layer-curves-technique-linear`` with as much more as tells groups apart."""
    task, protocol = result.task, result.protocol
    parts = [kind, *[task.name] * of_task, protocol.name]
    if of_task and task.window_s is not None:
        parts.append(f"window{task.window_s:g}s")
    # A protocol that was changed by options keeps its name: only its hash tells.
    if len({r.protocol.hash for r in results if r.protocol.name == protocol.name}) > 1:
        parts.append(protocol.hash[:8])
    if (
        of_task
        and len({r.task.comparable for r in results if task_title(r) == task_title(result)}) > 1
    ):
        parts.append(f"v{task.version}-{task.split_sha256[:8]}-{task.target_sha256[:8]}")
    return _file_name("-".join(parts + ["synthetic"] * task.synthetic))


def _file_name(name: str) -> str:
    """Return a name that every system takes; what had to be changed is told apart by a digest."""
    plain = re.sub(r"[^\w.+-]+", "-", name)[:_LONGEST]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _save_all(pictures: Sequence[Picture], out: Path, everyone: Sequence[Result]) -> list[Path]:
    """Write pictures into a folder, or the only one as the file that was named."""
    drawn = [result for picture in pictures for result in picture.results]
    looks = Looks(drawn, everyone)
    one_file = saving.is_file_name(out)
    if one_file and len(pictures) > 1:
        names = ", ".join(picture.name for picture in pictures)
        raise ProbeError(
            f"{out}: one file, but there are {len(pictures)} pictures ({names}); name a folder"
        )
    written: list[Path] = []
    for picture in pictures:
        stem = out / picture.name
        # Groups that differ in what the name does not say.
        while not one_file and stem.with_name(f"{stem.name}.png") in written:
            stem = stem.with_name(f"{stem.name}-more")

        def draw(figure: Figure, picture: Picture = picture) -> None:
            picture.draw(figure, picture.results, looks)

        rows = picture.table(picture.results)
        written += saving.save(draw, out if one_file else stem, rows, one_file=one_file)
    return written
