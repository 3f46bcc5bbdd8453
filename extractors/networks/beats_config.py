"""Read what a checkpoint of BEATs or OpenBEATs says of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.networks.config import check_sizes, read_sizes

BANDS = 128  # of the spectrogram

# What all published checkpoints have in common, and no other value is computed here.
_ALWAYS = {
    "activation_fn": "gelu",
    "conv_bias": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
}


@dataclass(frozen=True)
class BeatsConfig:
    """Hold what a checkpoint's ``cfg`` says of the architecture; defaults are those of BEATs' code.

    Attributes
    ----------
    input_patch_size, embed_dim
        Frames and bands of a patch, and width of its embedding.
    encoder_layers, encoder_embed_dim, encoder_ffn_embed_dim, encoder_attention_heads
        Blocks, their width, the width inside their feed-forward parts, and heads.
    conv_pos, conv_pos_groups
        Patches that the positional convolution sees, and its groups of channels.
    num_buckets, max_distance
        Of the position bias: distances up to a quarter of the buckets have one each, farther ones
        share them, and all beyond ``max_distance`` patches share the last.
    layer_norm_first, deep_norm
        Whether norms come before the parts of a block; whether residual connections are scaled.
    fbank_mean, fbank_std
        Of log energies; the deviation counts twice.
    """

    input_patch_size: int = 16
    embed_dim: int = 512
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 1280
    layer_norm_first: bool = False
    deep_norm: bool = False
    fbank_mean: float = 15.41663
    fbank_std: float = 6.55582

    @classmethod
    def of(cls, described: Mapping[str, Any], name: str) -> BeatsConfig:
        """Read a ``cfg``. Raises ExtractError for what can't be, or what isn't computed here."""
        for key, only in _ALWAYS.items():
            # The code's own defaults have no position bias, and nobody trained without one.
            value = described.get(key, only)
            if value != only:
                raise ExtractError(
                    f"{name}: cfg describes a BEATs that svuprobe doesn't compute: {key} is "
                    f"{value!r:.40}; all published ones have {only!r}"
                )
        config = cls(**read_sizes(cls, described, name, "cfg"))
        rules = {
            "encoder_embed_dim must be a multiple of encoder_attention_heads": (
                config.encoder_embed_dim % config.encoder_attention_heads == 0
            ),
            "encoder_embed_dim must be a multiple of conv_pos_groups": (
                config.encoder_embed_dim % config.conv_pos_groups == 0
            ),
            f"input_patch_size must be at most {BANDS}": config.input_patch_size <= BANDS,
            "num_buckets must be a multiple of 4": config.num_buckets % 4 == 0,
            "max_distance must be above a quarter of num_buckets": (
                config.max_distance > config.num_buckets // 4
            ),
            "deep_norm and layer_norm_first exclude each other": (
                not (config.deep_norm and config.layer_norm_first)
            ),
        }
        check_sizes(rules, name, "cfg")
        return config
