"""Hold what is predicted of one file: `svuprobe.probe.predict` fills it in, a kind writes and draws
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from svuprobe._show import shown
from svuprobe.tasks.types import Task


@dataclass(frozen=True)
class Prediction:
    """Hold what is predicted of one file.

    Attributes
    ----------
    seconds
        Length of the audio.
    start_s, end_s
        (W,) of the windows of clip-level tasks.
    window_outputs
        (W, C) probabilities, or values of a regression.
    outputs
        (C,) of the file: of the mean of its windows' logits.
    ranking
        Each label with its probability or value, the likeliest first; of a regression in the task's
        order.
    events
        What was found in time: notes (n, 3), onset and offset in seconds and MIDI pitch; beats (n,)
        in seconds.
    frame_times, activation, activation_name
        (F,) each, of frame-level tasks: the probability of an onset or of a beat, or what else the
        name says.
    failure
        Why there is nothing.
    name
        Its path below the folder that was asked about; None for the file's own name.
    """

    path: Path
    task: Task
    seconds: float = 0.0
    start_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    end_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    window_outputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    outputs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    ranking: tuple[tuple[str, float], ...] = ()
    events: np.ndarray = field(default_factory=lambda: np.zeros(0))
    frame_times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    activation: np.ndarray = field(default_factory=lambda: np.zeros(0))
    activation_name: str = ""
    failure: str = ""
    name: Path | None = None

    __repr__ = shown
