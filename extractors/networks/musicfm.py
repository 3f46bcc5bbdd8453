"""MusicFM (Won et al. 2024, arXiv:2311.03318): MuQ's network, in checkpoints without a config.json.

A repository or folder holds weights, ``pretrained_msd.pt`` or ``pretrained_fma.pt``, and mean and
deviation of the decibels beside them, ``msd_stats.json`` or ``fma_stats.json``. The two models
differ in both. Sizes are constants of its code, github.com/minzwon/musicfm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints import Source, read_json
from svuprobe.extractors.networks.base import Architecture
from svuprobe.extractors.networks.muq import UNNEEDED, MuQ
from svuprobe.extractors.networks.muq_config import SIZES, described_statistics

# weights -> statistics
FILES = {"pretrained_msd.pt": "msd_stats.json", "pretrained_fma.pt": "fma_stats.json"}


def _recognise(source: Source) -> Mapping[str, Any] | None:
    """Recognise a checkpoint by its statistics, where there is no config.json."""
    if source.find_if_known("config.json") is not None:
        return None
    statistics = _statistics_file(source)
    path = None if statistics is None else source.find(statistics)
    return None if path is None else read_json(path, source.name)


def _statistics_file(source: Source) -> str | None:
    """Choose the statistics that belong to the weights; None where it is no such checkpoint."""
    present = [file for file in FILES.values() if source.find(file) is not None]
    if not present:
        return None
    weights = [file for file in FILES if file in source.names()]
    if len(weights) == 1:
        needed = FILES[weights[0]]
        if needed not in present:
            raise ExtractError(
                f"{source.name}: the weights {weights[0]} need {needed}, which isn't there"
            )
        return needed
    if len(present) > 1:
        raise ExtractError(
            f"{source.name}: {' and '.join(present)} belong to two models; leave one of them, "
            f"beside its weights, or name the file of weights, such as {next(iter(FILES))}"
        )
    return present[0]  # of weights under a name of your own


def _build(described: Mapping[str, Any], name: str) -> MuQ:
    """Make the network with a checkpoint's statistics."""
    return MuQ(SIZES, described_statistics(described, name))


ARCHITECTURE = Architecture(
    family="musicfm",
    recognise=_recognise,
    build=_build,
    prefixes=("model.",),
    unneeded=UNNEEDED,
)
