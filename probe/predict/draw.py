"""Draw a prediction: the audio, and over the same seconds what was found in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from svuprobe._files import replacing
from svuprobe._text import picture
from svuprobe.extractors.audio import load_clip
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RATE = 16000
_LONGEST_S = 60.0  # of audio in a picture; more is not legible


def draw(prediction: Prediction, path: Path) -> Path:
    """Write a PNG of the first minute: log-mel spectrogram above, events or class probabilities
    below.
    """
    from matplotlib.figure import Figure

    seconds = min(prediction.seconds, _LONGEST_S)
    figure = Figure(figsize=(max(7.0, min(14.0, seconds / 3)), 5.2), dpi=130, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    _spectrogram(above, prediction, seconds)
    kinds.of(prediction.task).draw(below, prediction, seconds)
    below.set_xlim(0, seconds)
    below.set_xlabel("time (s)")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    shown = (
        f"first {seconds:.0f} s of {prediction.seconds:.0f} s"
        if prediction.seconds > seconds
        else ""
    )
    title = "   ".join(filter(None, (prediction.path.name, prediction.task.name, shown)))
    above.set_title(picture(title), loc="left")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _spectrogram(axes: Axes, prediction: Prediction, seconds: float) -> None:
    import librosa

    samples = load_clip(Clip("", str(prediction.path), "test", None, "", 0.0, seconds), _RATE)
    # At most some 4,000 columns: more than a picture has pixels.
    hop = max(160, len(samples) // 4000)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=_RATE, n_fft=1024, hop_length=hop, n_mels=80, fmax=8000
    )
    power = librosa.power_to_db(mel, ref=np.max, top_db=70)
    extent = (0.0, len(samples) / _RATE, 0.0, 80.0)
    axes.imshow(
        power, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest"
    )
    hertz = [125, 250, 500, 1000, 2000, 4000]
    bands = librosa.mel_frequencies(n_mels=80, fmax=8000)
    axes.set_yticks(
        np.interp(hertz, bands, np.arange(80) + 0.5),
        [f"{h if h < 1000 else f'{h // 1000}k'}" for h in hertz],
    )
    axes.set_ylabel("Hz")
