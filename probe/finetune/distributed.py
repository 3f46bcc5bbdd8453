"""What a network runs on: one device, or one of several processes that share out each batch."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svuprobe.probe.finetune.data import Outputs, Recordings
from svuprobe.probe.finetune.network import Batch, Network
from svuprobe.probe.protocol import ProbeError


class Distributed:
    """This process among those that ``accelerate launch`` started; alone it is the first of one.

    Gradients are summed over all of them once a step, outputs of an evaluation gathered; there is
    no wrapper around the network, so what trains may change from stage to stage.
    """

    def __init__(self) -> None:
        self.rank, self.world, self.device = 0, 1, ""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import PartialState
            except ImportError:
                raise ProbeError(
                    "several processes need the package accelerate: pip install accelerate"
                ) from None
            state = PartialState(cpu=not torch.cuda.is_available())
            self.rank, self.world, self.device = (
                state.process_index,
                state.num_processes,
                str(state.device),
            )

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            torch.distributed.barrier()

    def sum(self, values: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        if self.world == 1:
            return
        flat = torch.cat([v.reshape(-1) for v in values])
        torch.distributed.all_reduce(flat)
        for value, summed in zip(values, flat.split([v.numel() for v in values]), strict=True):
            value.copy_(summed.view_as(value))

    def gather(self, mine: Outputs) -> Outputs:
        """Return the entries of all processes."""
        if self.world == 1:
            return mine
        gathered: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(gathered, mine)
        outputs: Outputs = {}
        for part in gathered:
            outputs |= part
        return outputs


@dataclass(frozen=True)
class Runtime:
    """What a network runs on.

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
