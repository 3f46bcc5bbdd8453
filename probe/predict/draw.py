"""A picture of a prediction: the audio, and over the same seconds what was found in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe._files import replacing
from svuprobe._text import picture
from svuprobe.extractors.audio import load_clip
from svuprobe.probe.predict.predict import Prediction
from svuprobe.tasks.types import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RATE = 16000
_LONGEST_S = 60.0  # of audio in a picture; more is not legible
_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
_INK, _SOFT = "#1b3a5c", "#9db4c9"
_CLASSES = 12


def draw(prediction: Prediction, path: Path) -> Path:
    """Write a PNG of the first minute: log-mel spectrogram above, notes, beats or class probabilities below."""
    from matplotlib.figure import Figure

    seconds = min(prediction.seconds, _LONGEST_S)
    figure = Figure(figsize=(max(7.0, min(14.0, seconds / 3)), 5.2), dpi=130, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    _spectrogram(above, prediction, seconds)
    {"notes": _notes, "beats": _beats}.get(prediction.task.kind, _labels)(below, prediction, seconds)
    below.set_xlim(0, seconds)
    below.set_xlabel("time (s)")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    shown = f"first {seconds:.0f} s of {prediction.seconds:.0f} s" if prediction.seconds > seconds else ""
    title = "   ".join(filter(None, (prediction.path.name, prediction.task.name, shown)))
    above.set_title(picture(title), loc="left")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _spectrogram(axes: Axes, prediction: Prediction, seconds: float) -> None:
    import librosa

    samples = load_clip(Clip("", str(prediction.path), "test", None, "", 0.0, seconds), _RATE)
    hop = max(160, len(samples) // 4000)
    mel = librosa.feature.melspectrogram(y=samples, sr=_RATE, n_fft=1024, hop_length=hop, n_mels=80, fmax=8000)
    power = librosa.power_to_db(mel, ref=np.max, top_db=70)
    extent = (0.0, len(samples) / _RATE, 0.0, 80.0)
    axes.imshow(power, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    hertz = [125, 250, 500, 1000, 2000, 4000]
    bands = librosa.mel_frequencies(n_mels=80, fmax=8000)
    axes.set_yticks(
        np.interp(hertz, bands, np.arange(80) + 0.5), [f"{h if h < 1000 else f'{h // 1000}k'}" for h in hertz]
    )
    axes.set_ylabel("Hz")


def _notes(axes: Axes, prediction: Prediction, seconds: float) -> None:
    notes = prediction.notes[prediction.notes[:, 0] < seconds] if len(prediction.notes) else prediction.notes
    low, high = (notes[:, 2].min() - 2, notes[:, 2].max() + 2) if len(notes) else (57.0, 71.0)
    for pitch in range(int(low), int(high) + 1):
        axes.axhline(pitch, color="#d8dee5", lw=0.5, zorder=0)
    if len(notes):
        axes.barh(
            notes[:, 2],
            notes[:, 1] - notes[:, 0],
            left=notes[:, 0],
            height=0.8,
            color=_INK,
            edgecolor="white",
            lw=0.4,
        )
    shown = (0, 2, 4, 5, 7, 9, 11) if high - low < 13 else (0, 4, 7) if high - low < 25 else (0, 7)
    ticks = [p for p in range(int(low), int(high) + 1) if p % 12 in shown]
    axes.set_yticks(ticks, [f"{_NAMES[p % 12]}{p // 12 - 1}" for p in ticks])
    axes.set_ylim(low, high + 0.5)
    axes.set_ylabel(f"notes ({len(notes)})")
    _curve(axes, prediction, top=3)


def _beats(axes: Axes, prediction: Prediction, seconds: float) -> None:
    beats = prediction.beats[prediction.beats < seconds]
    axes.vlines(beats, 0, 1, color=_INK, lw=1.2)
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    tempo = f", {60 / np.median(np.diff(beats)):.0f} a minute" if len(beats) > 2 else ""
    axes.set_ylabel(f"beats ({len(beats)}{tempo})")
    _curve(axes, prediction, top=1.02)


def _curve(axes: Axes, prediction: Prediction, top: float) -> None:
    """The network's own probability, faint, on an axis of its own."""
    other: Any = axes.twinx()
    other.plot(prediction.frame_times, prediction.activation, color="#c8553d", lw=0.7, alpha=0.7)
    other.set_ylim(0, top)
    other.set_yticks([0, 1])
    other.set_ylabel(prediction.activation_name, color="#c8553d")
    other.spines[["top"]].set_visible(False)


def _labels(axes: Axes, prediction: Prediction, seconds: float) -> None:
    """Classes x windows as a heatmap, the likeliest classes of the file on top."""
    labels = list(prediction.task.labels or ())
    order = np.argsort(-prediction.outputs)[:_CLASSES]
    if prediction.task.kind == "regression":
        centres = (prediction.start_s + prediction.end_s) / 2
        for n in order:
            axes.plot(centres, prediction.window_outputs[:, n], "o-", ms=3, label=picture(labels[n]))
        axes.legend(frameon=False)
        axes.set_ylabel("value")
        return
    edges = np.append(prediction.start_s, prediction.end_s[-1])
    values = prediction.window_outputs[:, order].T
    mesh = axes.pcolormesh(edges, np.arange(len(order) + 1), values, cmap="cividis", vmin=0, vmax=1)
    if len(prediction.start_s) * len(order) <= 120:
        for row, line in enumerate(values):
            for (a, b), value in zip(zip(edges[:-1], edges[1:], strict=True), line, strict=True):
                colour = "black" if value > 0.55 else "white"
                axes.text(
                    (a + b) / 2, row + 0.5, f"{100 * value:.0f}", ha="center", va="center", color=colour, size=8
                )
    texts = [f"{picture(labels[n])} {100 * prediction.outputs[n]:.0f} %" for n in order]
    axes.set_yticks(np.arange(len(order)) + 0.5, texts)
    axes.invert_yaxis()
    axes.figure.colorbar(mesh, ax=axes, label="probability", pad=0.01)
