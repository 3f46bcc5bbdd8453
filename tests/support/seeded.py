"""Make weights and audio that are the same in every environment, from seeds and names alone.

Nothing of svuprobe is imported: the scripts below ``tests/data/networks`` run where the original
packages are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Draw weights of some shapes, float32, each by its name.

    Scales are those at which every part of a network counts: products keep the size of their input,
    norms scale by about one, biases are small but not zero.
    """
    drawn = {}
    for name, shape in shapes.items():
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = generator.standard_normal(shape)
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 0
        if name.endswith("running_var"):
            values = 0.5 + values**2
        elif name.endswith("bias") or name.endswith("running_mean"):
            values = values / 5
        elif fan_in > 0 and not name.endswith("weight_g"):
            values = values / np.sqrt(fan_in)
        else:
            values = 1 + values / 5
        drawn[name] = np.asarray(values, np.float32)
    return drawn


def audio(samples: int, seed: int = 0, rate: int = 16_000) -> np.ndarray:
    """Make a clip (samples,) float32: two gliding tones that swell, and noise far below them."""
    generator = np.random.default_rng([seed, 1])
    time = np.arange(samples) / rate
    tone = np.sin(2 * np.pi * (220 + 90 * time) * time) + 0.4 * np.sin(2 * np.pi * 1370 * time)
    clip = 0.1 * tone * (1.2 + np.sin(5 * time)) + 0.01 * generator.standard_normal(samples)
    return clip.astype(np.float32)
