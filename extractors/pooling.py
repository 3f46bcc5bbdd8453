"""Pool the frames of a window at clip level: which statistics there are, and the deviation.

The mean is what the papers read. The population standard deviation of each feature over the same
frames says how much it moves, which a mean can't: vibrato, a melody, a beat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a cache is read, listed and checked without torch
    from torch import Tensor

# What a clip-level cache holds of a window (`svuprobe.extractors.cache.format.Header.pooling`).
MEAN_STD, OWN = "mean_std", "own"


def pooling_of(extractor: Any, level: str) -> str:
    """Return what a cache of a model holds of each window: `MEAN_STD`; or `OWN`, where the model
    makes an embedding of the whole window itself, which has no deviation; empty at frame level.
    """
    if level != "clip":
        return ""
    return MEAN_STD if getattr(extractor, "pooled", None) is None else OWN


def deviation(frames: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the population standard deviation of each feature over the frames of each clip.

    Parameters
    ----------
    frames
        (clips, frames, dim) of any floating type; the first frame of each clip is its own.
    valid
        (clips, frames), true for a clip's own frames; None where all are.

    Returns
    -------
    Tensor
        (clips, dim) float32, never negative; 0 for a feature that is constant, and of one frame.
    """
    import torch

    if valid is None and frames.device.type == "cpu":
        # Clip by clip, so that what is made on the way stays in the caches of the core.
        return torch.cat([_deviation(clip[None], None) for clip in frames])
    return _deviation(frames, valid)


def _deviation(frames: Tensor, valid: Tensor | None) -> Tensor:
    import torch

    # Twice centred: less the first frame a constant is 0 to the last bit, which less its mean it
    # need not be; and then less the mean of what is left, as the mean of squares less the square of
    # the mean would lose a small deviation of large values, or end below 0.
    away = frames.float()
    away = away - away[:, :1]
    if valid is None:
        away -= away.mean(dim=1, keepdim=True)
        return away.square_().mean(dim=1).sqrt_()
    own = valid[..., None]
    count = own.sum(dim=1, keepdim=True)
    away = torch.where(own, away, 0.0)
    away = torch.where(own, away - away.sum(dim=1, keepdim=True) / count, 0.0)
    return (away.square().sum(dim=1) / count[:, 0]).sqrt()
