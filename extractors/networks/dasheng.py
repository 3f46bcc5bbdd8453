"""Dasheng: a transformer on patches of four frames of a log-mel spectrogram, all bands each.

Sources: Dinkel et al. 2024 (arXiv:2406.06992) and github.com/XiaoMi/dasheng, on PyPI as ``dasheng``
0.0.9, whose numbers these are. Both layouts of its checkpoints load: the hub's (config.json, names
below ``encoder.``) and the authors' own ``.pt`` (a dictionary of ``model`` and ``config``).

**Layers**: ``input`` is the patches with their positions; the last one has the encoder's final norm
applied, and is what the original returns. The inner ones it doesn't return; they are what leaves
its blocks.

**Frames**: 640 samples each, of four spectra around every 160th sample, whose middle is where the
grid says. Patches that aren't whole are dropped, as by the original.

**Long clips**: positions are learnt for 252 frames, 10.08 s. The spectrogram is of the whole clip;
its patches go through the blocks in pieces of 252, the last of which is shorter, and the states are
joined: all as in the original. The code beside the weights on the hub differs for clips of more
than 10.08 s: it fills the last piece with zeros, which its frames attend to, and drops that piece
where it is a whole one. It gives the same for shorter clips.

**Batches**: the spectrogram's range ends 120 dB below its loudest value. The original looks for
that in the whole batch, and its masks come after the spectrogram, so a clip's states depend on
what else is there; here the loudest value is the clip's own, and clips of one length go through
together, which is what the original computes of a clip alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.checkpoints import Source, entries_beside_weights, read_json
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.config import check_sizes, read_sizes
from svuprobe.extractors.networks.mel import LogMel

_RATE = 16_000
_RANGE_DB = 120.0
_EPS = 1e-6

# The three that are published: embed_dim, depth, num_heads, by parts of their names.
_SIZES = {
    "base": (768, 12, 12),
    "0.6b": (1280, 32, 16),
    "1.2b": (1536, 40, 24),
}

# What all published checkpoints have in common, and no other value is computed here.
_ALWAYS: Mapping[str, Any] = {
    "pooling": "mean",
    "init_values": None,
    "init_bn": True,
    "center": True,
    "f_min": 0,
    "f_max": _RATE // 2,
    "top_db": _RANGE_DB,
    "block_type": "Block",
    "attention_type": "Attention",
}


@dataclass(frozen=True)
class DashengConfig:
    """Sizes of the network, under the names of the original's arguments.

    Attributes
    ----------
    embed_dim, depth, num_heads, mlp_ratio
        Width, blocks, attention heads, and width inside the feed-forward parts over the width.
    target_length
        Frames of the spectrogram for which positions are learnt.
    patch_size, patch_stride
        Bands and frames of a patch, and from one to the next.
    n_mels, n_fft, win_size, hop_size
        Of the spectrogram: bands, samples.
    qkv_bias
        Whether queries, keys and values have biases.
    """

    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    target_length: int = 1008
    patch_size: tuple[int, int] = (64, 4)
    patch_stride: tuple[int, int] = (64, 4)
    n_mels: int = 64
    n_fft: int = 512
    win_size: int = 512
    hop_size: int = 160
    qkv_bias: bool = True

    @classmethod
    def of(cls, described: Mapping[str, Any], name: str) -> DashengConfig:
        """Read the original's arguments. Raises ExtractError for what isn't computed here."""
        config = cls(**read_sizes(cls, described, name))
        rules = {}
        for key, only in _ALWAYS.items():
            value = described.get(key, only)
            rules[f"{key} is {value!r:.40}; all published ones have {only!r}"] = value == only
        patch, stride = config.patch_size, config.patch_stride
        rules |= {
            f"embed_dim = {config.embed_dim} must be a multiple of num_heads = "
            f"{config.num_heads}": config.embed_dim % config.num_heads == 0,
            f"patch_size = {list(patch)} must begin with n_mels = {config.n_mels}": (
                patch[0] == config.n_mels
            ),
            f"patch_stride = {list(stride)} must be patch_size = {list(patch)}": stride == patch,
            f"target_length = {config.target_length} must be a patch at least": (
                config.target_length >= patch[1]
            ),
            f"win_size = {config.win_size} must be n_fft = {config.n_fft}": (
                config.win_size == config.n_fft
            ),
        }
        check_sizes(rules, name)
        return config


class Dasheng(Network):
    """Encode audio with Dasheng: patches of four mel frames and a vision transformer."""

    padded_exactly = False
    in_float32 = ("frontend", "init_bn")

    def __init__(self, config: DashengConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = dim = config.embed_dim
        bands, self.frames = config.patch_size
        self.at_once = config.target_length // self.frames
        hop = config.hop_size
        self.grid = FrameGrid(_RATE, self.frames * hop, (self.frames - 1) * hop)
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, config.depth + 1)))
        with torch.device("cpu"):
            self.frontend = LogMel(_RATE, config.n_fft, hop, bands, _RANGE_DB)
        # The number is that of the checkpoint, whose code has a list of steps here.
        self.init_bn = nn.ModuleDict({"1": nn.BatchNorm1d(bands)})
        self.patch_embed = PatchEmbedding(config)
        self.time_pos_embed = nn.Parameter(torch.randn(1, dim, 1, self.at_once) * 0.02)
        self.freq_pos_embed = nn.Parameter(torch.randn(1, dim, 1, 1) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer, of clips of one length."""
        mel = self.init_bn["1"](self.frontend(audio).transpose(1, 2)).transpose(1, 2)
        patches = self.patch_embed(mel)
        positions = (self.time_pos_embed + self.freq_pos_embed).flatten(2).transpose(1, 2)
        pieces: list[list[Tensor]] = []
        for piece in patches.split(self.at_once, dim=1):
            states = [piece + positions[:, : piece.shape[1]]]
            for block in self.blocks:
                states.append(block(states[-1]))
            states[-1] = self.norm(states[-1])
            pieces.append(states)
        return [torch.cat(layer, dim=1) for layer in zip(*pieces, strict=True)]


class PatchEmbedding(nn.Module):
    """Map four frames with all their bands to one patch, linearly."""

    def __init__(self, config: DashengConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, config.embed_dim, config.patch_size, config.patch_stride)

    def forward(self, mel: Tensor) -> Tensor:
        """Compute (batch, patches, dim) of (batch, frames, bands); frames left over are dropped."""
        weight = self.proj.weight  # (dim, 1, bands, frames)
        frames = weight.shape[-1]
        patches = mel.unfold(1, frames, frames).flatten(2).to(weight.dtype)
        return functional.linear(patches, weight.flatten(1), self.proj.bias)


class Block(nn.Module):
    """Attention and a feed-forward part, each after a norm and added to what it was given."""

    def __init__(self, config: DashengConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, config.num_heads, config.qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = FeedForward(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class Attention(nn.Module):
    """Attention of every frame to every frame of its piece."""

    def __init__(self, dim: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, dim / heads)
        attended = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear maps."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, inner), nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


# -- checkpoints -----------------------------------------------------------------------------------


def recognise(source: Source) -> Mapping[str, Any] | None:
    """Return the original's arguments, from config.json or from what lies beside the weights.

    On the hub, ``name`` says the sizes and ``encoder_kwargs`` repeats them. In a ``.pt`` the
    authors' functions override its ``config`` by what the file is called.
    """
    path = source.find_if_known("config.json")
    if path is not None:
        fields = read_json(path, source.name)
        if fields.get("model_type") != "dasheng":
            return None
        inner = fields.get("encoder_kwargs")
        repeated = inner if isinstance(inner, Mapping) else {}
        return {**_sizes_of(str(fields.get("name"))), **repeated, **fields}
    config = entries_beside_weights(source).get("config")
    if not isinstance(config, Mapping) or not {"patch_size", "target_length"} & set(config):
        return None
    named = [file for file in source.names() if "dasheng" in file.lower()]
    return {**config, **_sizes_of(named[0])} if named else dict(config)


def _sizes_of(name: str) -> dict[str, int]:
    """Return the sizes of a model that is called dasheng-0.6B, dasheng_06b.pt or alike."""
    match = re.search(r"dasheng[-_](base|0\.?6b|1\.?2b)", name.lower())
    if match is None:
        return {}
    size = match[1].replace("06", "0.6").replace("12", "1.2")
    return dict(zip(("embed_dim", "depth", "num_heads"), _SIZES[size], strict=True))


ARCHITECTURE = Architecture(
    family="dasheng",
    recognise=recognise,
    build=lambda described, name: Dasheng(DashengConfig.of(described, name)),
    prefixes=("encoder.",),  # of the hub's class
    unneeded=(
        Unneeded(
            r"front_end\.0\.(spectrogram\.window|mel_scale\.fb)",
            "window and filters of the spectrogram, which are computed",
        ),
    ),
)
