"""Turn queries and keys by angles that grow with their position (Su et al. 2021, RoFormer,
arXiv:2104.09864): attention then depends on the distance of two frames alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(frames: int, width: int, like: Tensor, base: float = 10_000.0) -> Rotation:
    """Compute cosines and sines (frames, width) of rotary positions, of the type of ``like``.

    They are computed in float32 at every call and never loaded: checkpoints that keep them outside
    their weights come with whatever lay in memory.
    """
    powers = torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width
    positions = torch.arange(frames, device=like.device, dtype=torch.float32)
    angles = positions[:, None] * (1.0 / base**powers)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotated(x: Tensor, by: Rotation) -> Tensor:
    """Rotate pairs of features, a half of the width apart, by their frame's angles."""
    cosine, sine = by
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


Rotation = tuple[Tensor, Tensor]
