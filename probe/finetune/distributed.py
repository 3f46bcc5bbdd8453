"""Run a network on one device, or on one of several processes that share out each batch."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from svuprobe._distributed import Distributed
from svuprobe.probe.finetune.data import Outputs, Recordings
from svuprobe.probe.finetune.network import Batch, Network


@dataclass(frozen=True)
class Runtime:
    """Say what a network runs on.

    Attributes
    ----------
    device, dtype
        ``bfloat16`` is autocast: weights stay float32.
    accumulate
        Parts that a batch is computed in, for a GPU that can't hold it; the gradient is that of the
        whole batch.
    processes
        This one among those that share the work.
    """

    device: str = "cpu"
    dtype: str = "float32"
    accumulate: int = 1
    processes: Distributed = field(default_factory=Distributed)

    def run(self, network: Network, batch: Batch) -> Tensor:
        """Return a network's outputs for a batch on its device, float32."""
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            return network(batch.audio, batch.lengths).float()

    @torch.no_grad()
    def logits(self, network: Network, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return what a network answers in ``eval``, regressions in their own units.

        (C,) of each window (samples,) at clip level, (frames, C) at frame level.
        """
        network.eval()
        outputs = (
            self.run(network, Batch.of(windows).to(self.device)) * network.spread + network.offset
        )
        rows = list(outputs.cpu().numpy())
        if not network.by_frame:
            return rows
        return [
            row[: network.n_frames(len(samples))]
            for row, samples in zip(rows, windows, strict=True)
        ]

    def outputs(self, network: Network, recordings: Recordings, rows: np.ndarray) -> Outputs:
        """Return `logits` of some windows by row, in batches of like length, shared out over all
        processes.
        """
        order = sorted(rows.tolist(), key=lambda row: (-recordings.lengths[row], row))
        size = max(1, network.plan.batch_size // self.accumulate)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        outputs: Outputs = {}
        for batch in batches[self.processes.rank :: self.processes.world]:
            windows = [recordings.window(row) for row in batch]
            outputs |= dict(zip(batch, self.logits(network, windows), strict=True))
        return self.processes.gather(outputs)

    def peak_memory_mib(self) -> float:
        """Return the most memory that was held, MiB: of the GPU, else of the process."""
        if self.device.startswith("cuda"):
            return float(torch.cuda.max_memory_allocated(self.device)) / 2**20
        per_mib = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib
