"""Say which part of a larger model's checkpoint is the audio encoder's.

A language model that hears is many gigabytes, of which the encoder is a few hundred megabytes: the
index of its shards says where those lie, and no other file is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from svuprobe.extractors.checkpoints.files import read_json
from svuprobe.extractors.checkpoints.source import Source

# model_type in config.json -> the part of the names that the encoder's weights have
_PARTS = {
    "audioflamingo3": "audio_tower",
    "clap": "audio_model",
    "musicflamingo": "audio_tower",
    "qwen2_audio": "audio_tower",
}


def part_of(source: Source) -> str | None:
    """Return what is in the names of the encoder's weights; None where all are read."""
    path = source.find("config.json")
    model_type = read_json(path, source.name).get("model_type") if path is not None else None
    return _PARTS.get(model_type) if isinstance(model_type, str) else None


def belongs(key: str, part: str | None) -> bool:
    """Say whether a weight of this name is the encoder's."""
    return part is None or part in key.split(".")


def shards_with(weight_map: Mapping[str, str], part: str | None) -> Iterable[str]:
    """Return the files that hold weights of a part, by name; all files where none is named so."""
    files = {file for key, file in weight_map.items() if belongs(key, part)}
    return sorted(files or set(weight_map.values()))
