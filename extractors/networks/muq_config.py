"""Read what a checkpoint of MuQ's or MusicFM's says of its sizes and of its spectrogram."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.networks.config import check_sizes, read_sizes

# Of melspec_2048 over the Million Song Dataset: MuQ's config.json and MusicFM's msd_stats.json.
MSD_STATISTICS = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}

# What the originals can vary and no published checkpoint does.
_FIXED: Mapping[str, tuple[object, ...]] = {
    "label_rate": (25,),
    "hop_length": (240,),
    "n_mels": (128,),
    "hidden_act": ("swish", "silu"),
    "position_embeddings_type": ("rotary",),
}


@dataclass(frozen=True)
class MuQConfig:
    """Sizes of the network, by their names in MuQ's config.json and in its ``w2v2_config``.

    Attributes
    ----------
    conv_dim
        Channels of the convolutions.
    encoder_dim, encoder_depth
        Width and number of the blocks.
    num_attention_heads, intermediate_size, conv_depthwise_kernel_size
        Of each block; the last in frames.
    rotary_embedding_base
        Of the rotary positions.
    layer_norm_eps
        Of the layer norm after the last block.
    """

    conv_dim: int = 512
    encoder_dim: int = 1024
    encoder_depth: int = 12
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    conv_depthwise_kernel_size: int = 31
    rotary_embedding_base: float = 10_000.0
    layer_norm_eps: float = 1e-5


SIZES = MuQConfig()  # of all that are published


def described_sizes(described: Mapping[str, Any], name: str) -> MuQConfig:
    """Read the sizes from a config.json of MuQ's.

    Raises
    ------
    ExtractError
        A value that can't be, or that no published checkpoint has.
    """
    blocks = member(described, "w2v2_config", name)
    # It has sizes of parts that MuQ lacks, too, under names of MuQ's own, such as conv_dim.
    entries = {**blocks, "conv_dim": MuQConfig.conv_dim, **described}
    for key, allowed in _FIXED.items():
        value = entries.get(key, allowed[0])
        rule = f"{key} is {value!r:.40}, and only {allowed[0]!r} is known"
        check_sizes({rule: value in allowed}, name)
    config = MuQConfig(**read_sizes(MuQConfig, entries, name))
    dim, heads = config.encoder_dim, config.num_attention_heads
    kernel = config.conv_depthwise_kernel_size
    rules = {
        f"encoder_dim = {dim} must be a multiple of twice num_attention_heads = {heads}": (
            dim % (2 * heads) == 0
        ),
        f"conv_depthwise_kernel_size = {kernel} must be odd": kernel % 2 == 1,
    }
    check_sizes(rules, name)
    return config


def described_statistics(entries: Mapping[str, Any], name: str) -> tuple[float, float]:
    """Read mean and standard deviation of the decibels. Raises ExtractError for values that can't
    be.
    """
    values = []
    for key in MSD_STATISTICS:
        value: Any = entries.get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or (key.endswith("std") and value <= 0):
            raise ExtractError(f"{name}: no spectrogram has {key} = {value!r:.40}")
        values.append(float(value))
    return values[0], values[1]


def member(described: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    """Return an entry that has entries of its own; empty where it is missing."""
    value = described.get(key, {})
    if not isinstance(value, Mapping):
        check_sizes({f"{key} is {value!r:.40}": False}, name)
    entries: Mapping[str, Any] = value
    return entries
