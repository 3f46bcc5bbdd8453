"""Use models on arrays, and try whether a model keeps its contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from svuprobe._run_options import RunOptions
from svuprobe._show import cut
from svuprobe.api.arguments import model_name
from svuprobe.extractors import check_model as checking
from svuprobe.extractors.audio import ClipEnd, Window, cut_samples
from svuprobe.extractors.base import ExtractError, Extractor, FrameGrid
from svuprobe.extractors.batching import DTYPES, finite_features, input_spec, native_dtype
from svuprobe.extractors.loading import load as load_extractor
from svuprobe.tasks.types import Windowing


class LoadedModel:
    """Run a frozen model that takes audio as an array and gives every layer as one.

    Attributes
    ----------
    extractor
        What extraction runs: it takes batches of tensors at its own rate.
    name, revision, sample_rate, dim
        As in the catalogue; audio at another rate is resampled.
    layer_names
        One name per layer.
    """

    def __init__(self, extractor: Extractor, device: str, dtype: str) -> None:
        self.extractor, self._device = extractor, device
        self.name, self.revision = extractor.name, extractor.revision
        self.sample_rate, self.dim = extractor.sample_rate, extractor.dim
        self.layer_names: tuple[str, ...] = tuple(extractor.layer_names)
        extractor.to(device, DTYPES[dtype])

    def __repr__(self) -> str:
        """Return what it is and gives, in a line or two."""
        return (
            f"LoadedModel({cut(self.name, 56)}@{self.revision[:8]}:\n"
            f"    layers: {len(self.layer_names)} of {self.dim}, {self.sample_rate:g} Hz, "
            f"on {self._device})"
        )

    def __call__(
        self, audio: np.ndarray, sr: float, *, window_s: float | None = None
    ) -> np.ndarray:
        """Return the features of every layer of one clip, as extraction caches them at frame level.

        Parameters
        ----------
        audio
            (samples,) or (channels, samples), floating point, full scale is 1; channels are
            averaged.
        sr
            Sampling rate of the audio, Hz.
        window_s
            Seconds of the windows that the model sees, as a task's windowing has them; frames of
            consecutive windows join without a seam. None takes the clip whole, or in equal parts
            where it lasts over a minute.

        Returns
        -------
        numpy.ndarray
            (layers, frames, dim) float32, rounded to float16 as caches are; `frame_times` says when
            each frame is.

        Raises
        ------
        ExtractError
            The audio is no such array, holds values that are not finite or so large that its
            features are not, or is shorter than a frame.
        """
        spec = input_spec(self.extractor, "frame")
        parts = []
        with torch.inference_mode():
            for piece in cut_samples(audio, sr, [spec], Windowing(window_s)):
                if isinstance(piece, Window):
                    states, frames = finite_features(
                        self.extractor, [piece.samples], "frame", self._device
                    )
                    parts.append(states[0, : frames[0]].cpu().numpy())  # (frames, layers, dim)
                elif isinstance(piece, ClipEnd) and piece.failure:
                    raise ExtractError(piece.failure)
        # Rounded to float16 on the way, so that they are what a cache would hold.
        features = np.concatenate(parts).transpose(1, 0, 2)  # (layers, frames, dim)
        return np.ascontiguousarray(features, dtype=np.float32)

    def frame_times(self, n_frames: int) -> np.ndarray:
        """Return the centres of the first ``n_frames`` frames: seconds, (n_frames,) float64."""
        return FrameGrid.of(self.extractor).centres(n_frames)


def load_model(model: str | Path, *, options: RunOptions | None = None) -> LoadedModel:
    """Load a frozen model that takes audio as arrays.

    Parameters
    ----------
    model
        Its name: of the catalogue, ``hf:``, ``random:``, ``py:`` or ``hear:``; or the path of a
        checkpoint. Weights are downloaded once.
    options
        ``device`` and ``dtype`` are used; ``auto`` is what extraction takes on the device.

    Returns
    -------
    LoadedModel
        Call it with audio and its sampling rate: (layers, frames, dim).

    Raises
    ------
    ExtractError
        The model is unknown, can't be downloaded, or its weights are not what they should be.

    Example
    -------
    >>> import numpy as np, svuprobe
    >>> layers = svuprobe.load_model("logmel")(np.sin(np.arange(44100) / 16), 44100)
    >>> layers.shape[0], layers.shape[2]
    (1, 128)
    """
    options = options or RunOptions()
    extractor = load_extractor(model_name(model, options.reporter))
    dtype = options.dtype
    if dtype == "auto":
        dtype = native_dtype(options.runs_on)
    # Front ends without weights compute in float32 everywhere, as in extraction.
    return LoadedModel(extractor, options.runs_on, dtype if extractor.parameters else "float32")


def check_model(model: str | Path, *, options: RunOptions | None = None) -> checking.ModelReport:
    """Try what an extractor's contract promises on a model; say what was seen and how fast it was.

    Parameters
    ----------
    model
        Its name, as `load_model` takes it.
    options
        ``device``, ``dtype`` (``auto`` is float32) and ``reporter`` are used.

    Returns
    -------
    ModelReport
        ``ok`` where everything was kept.

    Raises
    ------
    ExtractError
        The model can't be loaded.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.check_model("logmel").ok
    True
    """
    options = options or RunOptions()
    dtype = "float32" if options.dtype == "auto" else options.dtype
    extractor = load_extractor(model_name(model, options.reporter))
    report = checking.check(extractor, options.runs_on, dtype)
    for line in report.lines():
        options.reporter.say(line)
    return report
