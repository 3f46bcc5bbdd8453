"""List the networks that svuprobe computes with its own code: the table, and nothing else.

To add one, add its module here: it has an ``ARCHITECTURE``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported when a model is loaded, and not before
    from svuprobe.extractors.networks.base import Architecture

# family -> module
_MODULES = {
    "audio-tower": "svuprobe.extractors.networks.audio_tower",
    "beats-encoder": "svuprobe.extractors.networks.beats",
    "clap": "svuprobe.extractors.networks.clap",
    "codec": "svuprobe.extractors.networks.codec",
    "dasheng": "svuprobe.extractors.networks.dasheng",
    "mel-conformer": "svuprobe.extractors.networks.mel_conformer",
    "mert2": "svuprobe.extractors.networks.mert2",
    "muq": "svuprobe.extractors.networks.muq",
    "musicfm": "svuprobe.extractors.networks.musicfm",
    "omar-rq": "svuprobe.extractors.networks.omar_rq",
}

FAMILIES = tuple(_MODULES)


def architecture_of(family: str) -> Architecture:
    """Return the architecture of a family of `FAMILIES`."""
    found: Architecture = import_module(_MODULES[family]).ARCHITECTURE
    return found
