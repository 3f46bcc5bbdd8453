"""The network of OMAR-RQ: conformer blocks with causal attention, on patches of audio.

Patches of the waveform, or of a log-mel spectrogram, are embedded by one product and go through
conformer blocks (Gulati et al. 2020, arXiv:2005.08100) whose residual connection around attention
is DeepNorm's (Wang et al. 2022, arXiv:2203.00555), with rotary positions.

**What the checkpoints do and their configuration doesn't say**: attention sees the past alone; a
feed-forward part counts ``mlp_residual_factor`` times instead of half; convolutions see 31 frames,
whatever ``conv_kernel_size`` is; the norms inside the parts have an epsilon of 6.1e-5.

**Frames** of the waveform's patches are theirs. The spectrogram's are centred, so a patch of four
begins before a clip does: frames lie where the centres of their outer two spectra do, which puts
their middle in the middle of the patch.

**Batches**: spectrograms are computed of each clip alone, which is mirrored at its ends; attention
doesn't look ahead, and convolutions see zeros after a clip.

Sources: Alonso-Jimenez et al. 2025, OMAR-RQ (arXiv:2507.03482), and what the package ``omar-rq``
0.2.1 computes, which was run and not read: its code has another licence (AGPL-3.0). Only the two
inputs of the published models are known to be right, and others are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.checkpoints import Source
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.gin import read_gin
from svuprobe.extractors.networks.omar_rq_config import OmarConfig, described_by_gin

KERNEL = 31  # frames that a convolution sees
_EPSILON = 6.1e-5  # of the norms inside a block's parts
_BASE = 10_000.0  # of the rotary positions


class OmarRq(Network):
    """Conformer blocks on patches of the waveform or of a log-mel spectrogram."""

    padded_exactly = True

    def __init__(self, config: OmarConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, patch = config.embed_dim, config.patch
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, config.depth + 1)))
        if config.n_mel:
            hop = config.hop_len
            self.grid = FrameGrid(config.sr, hop * patch, hop * (patch - 1))
            with torch.device("cpu"):
                self.frontend = LogMel(config)
        else:
            self.grid = FrameGrid(config.sr, patch, patch)
            self.frontend = nn.Identity()
        self.embedding_layer = nn.Linear(patch * (config.n_mel or 1), self.dim)
        self.net = nn.ModuleDict(
            {"layers": nn.ModuleList(Block(config) for _ in range(config.depth))}
        )

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer."""
        patches = self._patches(audio, lengths)
        x = self.embedding_layer(patches.to(self.embedding_layer.weight.dtype))
        valid = None
        own = self.grid.count(lengths)
        if int(own.min()) < x.shape[1]:
            valid = torch.arange(x.shape[1], device=x.device) < own[:, None]
        turns = _turns(x.shape[1], self.dim // self.config.num_heads, x)
        layers = [x]
        for block in self.net["layers"].children():
            layers.append(block(layers[-1], turns, valid))
        return layers

    @torch.no_grad()
    def _patches(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Cut the normalised input into patches (batch, frames, features)."""
        config = self.config
        if not config.n_mel:
            whole = audio[:, : audio.shape[1] // config.patch * config.patch]
            return whole.unflatten(1, (-1, config.patch)) / config.norm_std
        rows = []
        for clip, samples in zip(audio, lengths.tolist(), strict=True):
            mel = (self.frontend(clip[:samples]) - config.norm_mean) / config.norm_std
            whole = mel[:, : mel.shape[1] // config.patch * config.patch]
            # (bands, patches, frames of a patch) to bands after one another
            rows.append(whole.unflatten(1, (-1, config.patch)).transpose(0, 1).flatten(1))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)


class LogMel(nn.Module):
    """Logarithm of 1 + 10,000 times the power in mel bands: (samples,) to (bands, frames).

    Windows are Hann's, centred on every ``hop_len`` th sample of a clip that is mirrored at its
    ends; triangles are Slaney's, of equal area (torchaudio's ``MelSpectrogram`` with
    ``norm="slaney"`` and ``mel_scale="slaney"``).
    """

    window: Tensor
    bank: Tensor

    def __init__(self, config: OmarConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.win_len), persistent=False)
        bank = slaney_bank(config.sr, config.win_len, config.n_mel)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        """Compute the logarithms of one clip."""
        size = self.config.win_len
        spectrum = torch.stft(
            clip, size, self.config.hop_len, window=self.window, center=True, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return torch.log10(1 + 10_000 * (self.bank @ power))


def slaney_bank(rate: int, n_fft: int, bands: int) -> Tensor:
    """Compute Slaney's triangles (bands, 1 + n_fft // 2), each of area 2 on the axis of Hz."""
    linear_hz, linear_mel, step = (
        1000.0,
        15.0,
        math.log(6.4) / 27.0,
    )  # above, 27 bands are 6.4 times

    def hertz(mels: Tensor) -> Tensor:
        high = linear_hz * torch.exp(step * (mels - linear_mel))
        return torch.where(mels < linear_mel, mels * linear_hz / linear_mel, high)

    highest = linear_mel + math.log(rate / 2 / linear_hz) / step
    edges = hertz(torch.linspace(0.0, highest, bands + 2, dtype=torch.float64))
    bins = torch.linspace(0, rate // 2, 1 + n_fft // 2, dtype=torch.float64)
    distance = edges[:, None] - bins
    width = edges.diff()[:, None]
    triangles = torch.minimum(-distance[:-2] / width[:-1], distance[2:] / width[1:]).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


class Block(nn.Module):
    """Apply a feed-forward part, causal attention, a convolution, a feed-forward part, a norm."""

    def __init__(self, config: OmarConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.factor, self.alpha = config.mlp_residual_factor, config.alpha_deepnorm
        self.ff1, self.ff2 = FeedForward(config), FeedForward(config)
        self.attention = Attention(config)
        self.conv_block = Convolution(dim)
        self.norm1 = nn.ModuleDict({"layer_norm": nn.LayerNorm(dim)})
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        x = x + self.factor * self.ff1(x)
        x = self.norm1["layer_norm"](self.alpha * x + self.attention(x, turns))
        x = x + self.conv_block(x, valid)
        normed: Tensor = self.norm2(x + self.factor * self.ff2(x))
        return normed


class FeedForward(nn.Module):
    """Apply a norm and two products."""

    def __init__(self, config: OmarConfig) -> None:
        super().__init__()
        dim, inner = config.embed_dim, round(config.embed_dim * config.mlp_ratio)
        norm = nn.LayerNorm(dim, eps=_EPSILON)
        wider, narrower = nn.Linear(dim, inner), nn.Linear(inner, dim)
        with torch.no_grad():
            wider.weight.mul_(config.beta_deepnorm)
            narrower.weight.mul_(config.beta_deepnorm)
        # What does nothing stands for dropout, so that weights have their names.
        self.module = nn.Sequential(norm, wider, nn.GELU(), nn.Identity(), narrower)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        fed: Tensor = self.module(x)
        return fed


class Attention(nn.Module):
    """Attention to the frames so far."""

    def __init__(self, config: OmarConfig) -> None:
        super().__init__()
        dim, self.heads = config.embed_dim, config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        with torch.no_grad():
            self.qkv.weight[2 * dim :].mul_(config.beta_deepnorm)
            self.proj.weight.mul_(config.beta_deepnorm)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, frames, width) each
        attended = functional.scaled_dot_product_attention(
            _turned(query, turns), _turned(key, turns), value, is_causal=True
        )
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class Convolution(nn.Module):
    """Convolve over frames behind a gate, with a batch norm of fixed statistics."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.module = nn.Sequential(
            nn.Conv1d(dim, 2 * dim, 1),
            nn.GLU(dim=1),
            nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim),
            nn.BatchNorm1d(dim, eps=_EPSILON),
            nn.GELU(),
            nn.Conv1d(dim, dim, 1),
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim); frames that aren't valid are zeros to the others."""
        project, gate, *others = self.module
        x = gate(project(self.layer_norm(x).transpose(1, 2)))
        if valid is not None:
            x = x.masked_fill(~valid[:, None], 0.0)
        for layer in others:
            x = layer(x)
        return x.transpose(1, 2)


def _turns(frames: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines (frames, width) of rotary positions, neighbours being a pair."""
    powers = torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width
    positions = torch.arange(frames, device=like.device, dtype=torch.float32)
    angles = (positions[:, None] * (1 / _BASE**powers)).repeat_interleave(2, dim=1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = turns
    across = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cosine + across * sine


# -- checkpoints -----------------------------------------------------------------------------------


def recognise(source: Source) -> Mapping[str, Any] | None:
    """Return what the config.gin beside the weights says; None where there is none of OMAR-RQ's."""
    path = source.find_anywhere("config.gin")
    return None if path is None else described_by_gin(read_gin(path, source.name), source.name)


ARCHITECTURE = Architecture(
    family="omar-rq",
    recognise=recognise,
    build=lambda described, name: OmarRq(OmarConfig.of(described, name)),
    unneeded=(
        Unneeded(
            r"net\.layers\.\d+\.attention\.rotary_emb\.freqs",
            "frequencies of the rotary positions, which aren't learnt",
        ),
        Unneeded(r"(representation|input_rep)\..*", "constants of spectrograms, and EnCodec"),
        Unneeded(r"quantizers\..*", "random codebooks of the training's targets"),
        Unneeded(r"linear\..*", "predicts the codes"),
    ),
)
