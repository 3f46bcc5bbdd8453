"""MERT-v2: a log-mel spectrogram, twelve ConvNeXt-V2 blocks that make it four times shorter, and
conformer blocks.

Sources: the cards of m-a-p/MERT-v2-30s and m-a-p/MERT-v2-FullSong and the code beside their
weights; Woo et al. 2023 (ConvNeXt V2, arXiv:2301.00808); Gulati et al. 2020 (Conformer,
arXiv:2005.08100). The two checkpoints are one architecture: FullSong was trained on from 30s with
songs of 30 to 360 s, and its config.json differs in ``variant`` and ``context_seconds`` alone.

**Layers** are what leaves each conformer block; there is no input state. What the model's card
calls L1 or ``hidden_states[0]`` is ``block01`` here.

**Frames**: 960 samples each, ``samples // 960`` of them, as of convolutions of that width. Frame
``i`` is made of the spectrogram's frames ``4 i`` to ``4 i + 3``, whose middle is at sample
``960 i + 360``, 5 ms before what `FrameGrid` says; the original drops the spectrogram's last frame,
and a grid with both its number of frames and its centres doesn't exist.

**Batches**: response normalisation divides by a norm over all frames, so no padding can be masked:
clips of one length go through together.

**Spectrogram**: mean and deviation of each band are weights of the checkpoint; window and filters
are computed, and are bit for bit those that the checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded, by_model_type
from svuprobe.extractors.networks.config import check_sizes, read_sizes
from svuprobe.extractors.networks.mel import LogMel
from svuprobe.extractors.networks.rotary import Rotation, rotated, rotation

_STRIDES = (1, 2, 2)  # of the three stages, in frames of the spectrogram
_SHORTENED = 4
_LEAST_DEVIATION = 1e-5
# Until a checkpoint's come: mean and deviation of such decibels of music, as MuQ's configuration
# has them (Zhu et al. 2025, arXiv:2501.01108), whose spectrogram is the same.
_MEAN, _DEVIATION = 6.768444971712967, 18.417922652295623


@dataclass(frozen=True)
class Mert2Config:
    """Sizes of the network, under the names that config.json gives them.

    Attributes
    ----------
    hidden_size, intermediate_size, num_hidden_layers, num_attention_heads
        Width of the conformer blocks and inside their feed-forward parts; blocks; heads.
    num_mel_bins, sampling_rate, n_fft, win_length, hop_length
        Of the spectrogram: bands, Hz, samples.
    subsampling_channels, subsampling_depths
        Width of each stage of ConvNeXt blocks, and how many it has.
    conv_depthwise_kernel_size
        Frames that the convolution of a conformer block sees.
    rotary_embedding_base, layer_norm_eps, subsampling_layer_norm_eps, initializer_range
        Of rotary positions, of norms, and the deviation of initial weights.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_mel_bins: int = 128
    sampling_rate: int = 24_000
    n_fft: int = 2048
    win_length: int = 2048
    hop_length: int = 240
    subsampling_channels: tuple[int, ...] = (128, 512, 1024)
    subsampling_depths: tuple[int, ...] = (3, 4, 5)
    conv_depthwise_kernel_size: int = 31
    rotary_embedding_base: float = 10_000.0
    layer_norm_eps: float = 1e-5
    subsampling_layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    @classmethod
    def of(cls, described: Mapping[str, Any], name: str) -> Mert2Config:
        """Read a config.json. Raises ExtractError for one that the original refuses, too."""
        config = cls(**read_sizes(cls, described, name))
        channels, kernel = config.subsampling_channels, config.conv_depthwise_kernel_size
        width, heads = config.hidden_size, config.num_attention_heads
        rules = {
            f"hidden_size = {width} must be a multiple of twice num_attention_heads = {heads}": (
                width % (2 * heads) == 0
            ),
            f"subsampling_channels = {list(channels)} must begin with num_mel_bins = "
            f"{config.num_mel_bins} and end with hidden_size = {width}": (
                (channels[0], channels[-1]) == (config.num_mel_bins, width)
            ),
            f"conv_depthwise_kernel_size = {kernel} must be odd": kernel % 2 == 1,
            f"win_length = {config.win_length} must be n_fft = {config.n_fft}": (
                config.win_length == config.n_fft
            ),
        }
        check_sizes(rules, name)
        return config


class Mert2(Network):
    """Encode audio with MERT-v2: two stages of ConvNeXt-V2 blocks and a conformer."""

    padded_exactly = False
    in_float32 = ("frontend", "feature_extractor")

    def __init__(self, config: Mert2Config) -> None:
        super().__init__()
        self.config = config
        self.dim = config.hidden_size
        hop = _SHORTENED * config.hop_length
        self.grid = FrameGrid(config.sampling_rate, hop, hop)
        blocks = config.num_hidden_layers
        self.layer_names = tuple(f"block{i:02d}" for i in range(1, blocks + 1))
        with torch.device("cpu"):
            self.frontend = LogMel(
                config.sampling_rate, config.n_fft, config.hop_length, config.num_mel_bins
            )
        self.feature_extractor = BandStatistics(config.num_mel_bins)
        width = config.num_mel_bins
        self.subsampling_module = nn.ModuleList()
        for channels, depth, stride in zip(
            config.subsampling_channels, config.subsampling_depths, _STRIDES, strict=True
        ):
            stage = Stage(width, channels, depth, stride, config.subsampling_layer_norm_eps)
            self.subsampling_module.append(stage)
            width = channels
        self.layers = nn.ModuleList(ConformerBlock(config) for _ in range(blocks))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                nn.init.normal_(module.weight, std=config.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every block, of clips of one length."""
        x = self.feature_extractor(self.frontend(audio)[:, :-1])
        x = x.to(next(self.layers.parameters()).dtype)
        for stage in self.subsampling_module:
            x = stage(x)
        heads = self.config.num_attention_heads
        by = rotation(x.shape[1], self.dim // heads, x, self.config.rotary_embedding_base)
        states = []
        for block in self.layers:
            x = block(x, by)
            states.append(x)
        return states


class BandStatistics(nn.Module):
    """Mean and deviation of each band, which the checkpoint holds."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mel_mean", torch.full((bands,), _MEAN))
        self.register_buffer("mel_std", torch.full((bands,), _DEVIATION))

    def forward(self, decibels: Tensor) -> Tensor:
        """Bring (batch, frames, bands) to mean 0 and deviation 1 of the training data."""
        return (decibels - self.mel_mean) / self.mel_std.clamp(min=_LEAST_DEVIATION)


# The numbers in names below are those of the checkpoint, whose code has a list of steps there; the
# steps without weights are left out.


class Stage(nn.Module):
    """Shorten the sequence by a convolution, where there is one, and apply ConvNeXt-V2 blocks."""

    def __init__(self, width: int, channels: int, depth: int, stride: int, eps: float) -> None:
        super().__init__()
        self.resampling_layer = nn.ModuleDict()
        if width != channels or stride > 1:
            self.resampling_layer["0"] = nn.LayerNorm(width, eps=eps)
            self.resampling_layer["2"] = nn.Conv1d(width, channels, kernel_size=2, stride=stride)
        self.convnext_layers = nn.ModuleList(ConvNextBlock(channels, eps) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames / stride, channels) of (batch, frames, width)."""
        if self.resampling_layer:
            normed = self.resampling_layer["0"](x)
            x = self.resampling_layer["2"](normed.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext_layers:
            x = block(x)
        return x


class ConvNextBlock(nn.Module):
    """Convolve each feature, then apply two linear maps with response normalisation between."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.depthwise_block = nn.ModuleDict({"1": nn.Conv1d(dim, dim, 7, padding=3, groups=dim)})
        self.pointwise_block = nn.ModuleDict(
            {
                "0": nn.LayerNorm(dim, eps=eps),
                "1": nn.Linear(dim, 4 * dim),
                "3": GlobalResponseNorm(4 * dim),
                "4": nn.Linear(4 * dim, dim),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        norm, widen, response, narrow = self.pointwise_block.values()
        mixed = self.depthwise_block["1"](x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + narrow(response(functional.gelu(widen(norm(mixed)))))
        return out


class GlobalResponseNorm(nn.Module):
    """Scale each feature by its norm over the clip, relative to the mean of all features' norms."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, dim))
        self.bias = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        relative = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        # weight * (x * relative) + bias + x, with one pass over x
        return torch.addcmul(self.bias, x, 1 + self.weight * relative)


class ConformerBlock(nn.Module):
    """Half a feed-forward part, attention, convolution, another half, and a norm."""

    def __init__(self, config: Mert2Config) -> None:
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.ffn1_layer_norm = nn.LayerNorm(dim, eps=eps)
        self.ffn1 = FeedForward(dim, config.intermediate_size)
        self.attn_layer_norm = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, config.num_attention_heads)
        self.conv_module = Convolution(dim, config.conv_depthwise_kernel_size, eps)
        self.ffn2_layer_norm = nn.LayerNorm(dim, eps=eps)
        self.ffn2 = FeedForward(dim, config.intermediate_size)
        self.final_layer_norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim), with rotary positions."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.attn(self.attn_layer_norm(x), by)
        x = x + self.conv_module(x)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        out: Tensor = self.final_layer_norm(x)
        return out


class FeedForward(nn.Module):
    """Two linear maps."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(dim, inner), nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        out: Tensor = self.w_2(functional.gelu(self.w_1(x)))
        return out


class Attention(nn.Module):
    """Attention of every frame to every frame, with rotary positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj, self.key_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query_proj, self.key_proj, self.value_proj)
        )  # each (batch, heads, frames, dim / heads)
        attended = functional.scaled_dot_product_attention(
            rotated(query, by), rotated(key, by), value
        )
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class Convolution(nn.Module):
    """Apply a gated linear map, a convolution of each feature, a norm, and another linear map."""

    def __init__(self, dim: int, kernel: int, eps: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim, eps=eps)
        depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.conv_block = nn.ModuleDict(
            {
                "1": Pointwise(dim, 2 * dim, kernel_size=1, bias=False),
                "3": depthwise,
                "4": nn.Sequential(nn.Identity(), nn.LayerNorm(dim, eps=eps)),
                "6": Pointwise(dim, dim, kernel_size=1, bias=False),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        widen, depthwise, norm, narrow = self.conv_block.values()
        gated = functional.glu(widen(self.layer_norm(x)), dim=-1)
        mixed = norm(depthwise(gated.transpose(1, 2)).transpose(1, 2))
        out: Tensor = narrow(functional.gelu(mixed))
        return out


class Pointwise(nn.Conv1d):
    """Convolve over one frame: a linear map, computed as such, without transposed copies."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, out) of (batch, frames, in)."""
        return functional.linear(x, self.weight[..., 0])


ARCHITECTURE = Architecture(
    family="mert2",
    recognise=by_model_type("mert2"),
    build=lambda described, name: Mert2(Mert2Config.of(described, name)),
    unneeded=(
        Unneeded(
            r"feature_extractor\.(spectrogram\.window|mel_scale\.fb)",
            "window and filters of the spectrogram, which are computed",
        ),
        Unneeded(
            r"embed_positions\.inv_freq", "frequencies of rotary positions, which are computed"
        ),
    ),
)
