"""Pool the frames of a window before heads see them: their maximum, or the first of them."""

from __future__ import annotations

import numpy as np
import torch

from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.splits import Rows


def pool(frames: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool the frames (F, L, D) of a window by ``max`` or ``first``, (1, L, D)."""
    return frames[:1] if pooling == "first" else frames.amax(dim=0, keepdim=True)


class PooledFrames(ClipFeatures):
    """Hold the pooled windows of a frame-level cache, for a task of labels of whole windows.

    Frames are read window by window, so no more of them than one window's is ever in memory.
    """

    def _read(self, splits: dict[str, Rows], memory: int | None) -> dict[str, torch.Tensor]:
        features, length = self.cache.features, self.cache.n_frames
        pooling = self.protocol.pooling
        read = {}
        for split, rows in splits.items():
            pooled = np.empty((len(rows.row), *features.shape[1:]), np.float16)
            for place, row in enumerate(rows.row.tolist()):
                n = 1 if pooling == "first" else int(length[row])
                frames = np.empty((n, *features.shape[1:]), np.float16)
                features.read_into(frames, int(self.cache.offset[row]))
                pooled[place] = pool(torch.from_numpy(frames), pooling)[0]
            read[split] = torch.from_numpy(pooled).to(self.device)
        return read
