"""Refuse workers that would compute something else, or see other folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svuprobe.cluster.addresses import ClusterError


def require_same(worker: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Raise ClusterError where a worker has other versions than the process that plans."""
    for name, here in versions.items():
        there = worker["versions"].get(name, "")
        if there != here:
            raise ClusterError(
                f"worker on {worker['host']}: has {name} {there or 'not at all'}, and this process "
                f"has {here}; a cluster needs one environment: start its workers from this one"
            )


def require_alike(workers: Mapping[str, Mapping[str, Any]], device: str) -> None:
    """Raise ClusterError where workers lack the device, see other files, or compute in different
    numbers.
    """
    dtypes: dict[str, str] = {}
    for worker in workers.values():
        for path in worker["unseen"]:
            raise ClusterError(
                f"worker on {worker['host']}: does not see {path} as it is here; workers need the "
                "same folders under the same names, as on a network's disk"
            )
        if device not in worker["dtype"]:
            raise ClusterError(
                f"worker on {worker['host']}: has the label gpu and torch finds no GPU there; "
                "start it without the label, or mend its CUDA"
            )
        dtypes.setdefault(worker["dtype"][device], worker["host"])
    if len(dtypes) > 1:
        which = ", ".join(f"{dtype} on {host}" for dtype, host in dtypes.items())
        raise ClusterError(
            f"workers multiply different numbers fast ({which}), so results would depend on which "
            "of them did what; start workers on machines of one kind"
        )
