"""Recordings made up for tests."""

import numpy as np
import soundfile

from svuprobe.tasks.types import Clip


def corpus(folder, n=70, seconds=(0.4, 2.5), seed=0):
    """``n`` clips of noise of random lengths, the same ones for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(n):
        path = folder / f"clip {i}.wav"
        soundfile.write(path, 0.1 * rng.normal(size=int(16000 * rng.uniform(*seconds))), 16000)
        clips.append(Clip(f"clip{i}", str(path), "train", "x", "g"))
    return clips
