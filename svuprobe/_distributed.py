"""Train one network in several processes: who is who, and sums over all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor

from svuprobe._errors import OptionError

# torch gives up after 10 minutes on a GPU and 30 on a CPU.
_LONGEST_WAIT = timedelta(days=30)


class Distributed:
    """Stand for this process among those of ``accelerate launch``; alone it is the first of one.

    Gradients are summed over all of them once a step, outputs of an evaluation gathered; there is
    no wrapper around the network, so what trains may change from stage to stage.
    """

    def __init__(self) -> None:
        self.rank, self.world, self.device = 0, 1, ""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import PartialState
            except ImportError:
                raise OptionError(
                    "several processes need the package accelerate: pip install accelerate"
                ) from None
            state = PartialState(cpu=not torch.cuda.is_available())
            self.rank, self.world = state.process_index, state.num_processes
            # Several processes on a CPU are all on "cpu"; accelerate numbers them.
            self.device = "cpu" if state.device.type == "cpu" else str(state.device)

    @property
    def first(self) -> bool:
        """Return whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here, however long one of them takes: the first may decode
        and cluster for hours. Where one has died, the others end.
        """
        if self.world > 1:
            torch.distributed.barrier(group=_patient())

    def sum(self, values: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        if self.world == 1:
            return
        flat = torch.cat([v.reshape(-1) for v in values])
        torch.distributed.all_reduce(flat)
        sizes = [v.numel() for v in values]
        for value, summed in zip(values, flat.split(sizes), strict=True):
            value.copy_(summed.view_as(value))

    def gather(self, mine: dict[int, Any]) -> dict[int, Any]:
        """Return the entries of all processes."""
        if self.world == 1:
            return mine
        gathered: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(gathered, mine)
        everything: dict[int, Any] = {}
        for part in gathered:
            everything |= part
        return everything


@cache
def _patient() -> Any:
    """Return the group of all processes that waits long; gloo notices at once where one dies."""
    return torch.distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
