"""Draw a pre-training: losses and what else was watched, over the hours of audio seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from svuprobe._files import replacing
from svuprobe._text import picture
from svuprobe.benchmarks.plots import layout, style
from svuprobe.benchmarks.plots.looks import COLOURS, DASHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOT_DRAWN = {"step", "hours", "seconds", "learning rate", "gradient norm"}


def save_training_curve(rows: Sequence[Mapping[str, float]], path: Path, name: str) -> None:
    """Draw the curve of a training as PNG, losses above and shares below.

    Parameters
    ----------
    rows
        Of the curve, with ``hours`` of audio seen and what was watched.
    path
        File to write.
    name
        Of the recipe.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style.STYLE), replacing(path) as temporary:
        figure = Figure()
        draw(figure, rows, name)
        figure.savefig(temporary, format="png", dpi=150)


def draw(figure: Figure, rows: Sequence[Mapping[str, float]], name: str) -> None:
    """Draw a panel of losses and one of everything that is watched beside them."""
    figure.set_size_inches(7.5, 6.0)
    watched = [key for key in (rows[0] if rows else {}) if key not in _NOT_DRAWN]
    panels = {
        "loss": [key for key in watched if key.startswith("loss")],
        "share of masked frames, or deviation": [k for k in watched if not k.startswith("loss")],
    }
    hours = [row["hours"] for row in rows]
    for axes, (label, keys) in zip(figure.subplots(2, sharex=True), panels.items(), strict=True):
        for number, key in enumerate(keys):
            axes.plot(
                hours,
                [row[key] for row in rows],
                color=COLOURS[number % len(COLOURS)],
                ls=DASHES[number % len(DASHES)],
                label=picture(key),
            )
        axes.set_ylabel(label)
        if keys:
            axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("hours of audio seen")
    layout.headline(figure, f"Pre-training {picture(name)}")
