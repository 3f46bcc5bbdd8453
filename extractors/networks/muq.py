"""MuQ and MusicFM: a conformer on a log-mel spectrogram, 25 frames a second.

Decibels of 128 mel bands (window 2048, hop 240 at 24 kHz, centred; the last frame is dropped) lose
a fixed mean and are divided by a fixed deviation. Two residual blocks of 3 x 3 convolutions halve
bands and frames each, a projection makes `encoder_dim` features of a frame, and conformer blocks
(Gulati et al. 2020, arXiv:2005.08100) follow, with batch norms and rotary positions as in
transformers' Wav2Vec2Conformer: features are rotated before queries and keys are projected from
them, not after.

**Layers**: ``input`` enters the first block; the last has the encoder's layer norm applied. They
are what ``muq``'s ``MuQ(...).hidden_states`` and MusicFM's ``get_predictions`` return.

**MuQ-MuLan**: of its audio tower, the MuQ in it, as the training on text changed it. The eight
transformer blocks on top, which are of another width, are left out.

**Batches**: spectrogram and convolutions see each clip alone, so that it is mirrored at its own end
and followed by zeros; attention and depthwise convolutions are masked.

**Frames**: frame ``i`` is centred on sample ``960 * i``, and a clip has as many as the originals
give it. `FrameGrid` places them 120 samples (5 ms) later, as its frames begin where a clip does.

Sources: Zhu et al. 2025 (MuQ, arXiv:2501.01108), package ``muq`` 0.1.0; Won et al. 2024 (MusicFM,
arXiv:2311.03318), github.com/minzwon/musicfm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.checkpoints import Source, read_json
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.config import check_sizes
from svuprobe.extractors.networks.mel import LogMel
from svuprobe.extractors.networks.muq_config import (
    MSD_STATISTICS,
    SIZES,
    MuQConfig,
    described_sizes,
    described_statistics,
    member,
)
from svuprobe.extractors.networks.rotary import Rotation, rotated, rotation

RATE, N_FFT, HOP, BANDS = 24_000, 2048, 240, 128
_STRIDE = 4  # frames of the spectrogram in one of the network
_PIECE = 750  # frames that the convolutions see at once: their memory doesn't grow with the clip
_BESIDE = 3  # frames on either side that one of theirs sees (9 of the spectrogram)


class MuQ(Network):
    """Residual convolutions and conformer blocks on a normalised log-mel spectrogram."""

    padded_exactly = True

    def __init__(self, config: MuQConfig, statistics: tuple[float, float]) -> None:
        super().__init__()
        self.config = config
        self.mean, self.std = statistics
        self.dim = config.encoder_dim
        self.grid = FrameGrid(RATE, _STRIDE * HOP, HOP)
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, config.encoder_depth + 1)))
        with torch.device("cpu"):
            self.frontend = LogMel(RATE, N_FFT, HOP, BANDS)
        self.conv = Subsampling(config)
        self.conformer = Conformer(config)

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer."""
        clips = zip(audio, lengths.tolist(), strict=True)
        frames = [self.conv(self._spectrogram(clip[:samples])) for clip, samples in clips]
        valid = None
        if len({len(each) for each in frames}) > 1:
            own = torch.tensor([len(each) for each in frames], device=audio.device)
            valid = torch.arange(int(own.max()), device=audio.device) < own[:, None]
        states: list[Tensor] = self.conformer(
            nn.utils.rnn.pad_sequence(frames, batch_first=True), valid
        )
        return states

    @torch.no_grad()
    def _spectrogram(self, clip: Tensor) -> Tensor:
        """Compute (frames of the spectrogram, bands) of a clip (samples,)."""
        decibels = self.frontend(clip[None])[0, :-1]
        normalised: Tensor = (decibels - self.mean) / self.std
        return normalised.to(self.conv.linear.weight.dtype)


class Subsampling(nn.Module):
    """Two residual blocks, and a projection: a quarter of the frames."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        channels = config.conv_dim
        self.conv = nn.Sequential(Residual(1, channels), Residual(channels, channels))
        self.linear = nn.Linear(channels * BANDS // _STRIDE, config.encoder_dim)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Compute (frames, dim) of one clip's spectrogram (frames of it, bands)."""
        count = math.ceil(len(spectrogram) / _STRIDE)
        pieces = []
        for start in range(0, count, _PIECE):
            end = min(count, start + _PIECE)
            # Frames beside the piece are computed with it, for what it sees of them, and dropped.
            before = min(start, _BESIDE)
            part = spectrogram[_STRIDE * (start - before) : _STRIDE * (end + _BESIDE)]
            channels = self.conv(part.T[None, None])[0, ..., before : before + end - start]
            pieces.append(self.linear(channels.flatten(0, 1).T))
        return torch.cat(pieces)


class Residual(nn.Module):
    """Two convolutions, beside which a third takes the input along; bands and frames halve."""

    def __init__(self, incoming: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, channels, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(incoming, channels, 3, stride=2, padding=1)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, channels, bands / 2, frames / 2) of (batch, channels, bands, frames)."""
        inner = functional.relu(_normed(self.conv1, self.bn1, x), inplace=True)
        out = _normed(self.conv2, self.bn2, inner)
        out += _normed(self.conv3, self.bn3, x)
        return functional.relu(out, inplace=True)


def _normed(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Convolve and normalise by the norm's statistics at once, which saves passes over large
    arrays.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert convolution.bias is not None
    scale = norm.weight.float() * (norm.running_var.float() + norm.eps).rsqrt()
    weight = convolution.weight.float() * scale[:, None, None, None]
    bias = (convolution.bias.float() - norm.running_mean.float()) * scale + norm.bias.float()
    return functional.conv2d(
        x, weight.to(x.dtype), bias.to(x.dtype), convolution.stride, convolution.padding
    )


class Conformer(nn.Module):
    """Conformer blocks and a layer norm after the last."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.width = config.encoder_dim // config.num_attention_heads
        self.base = config.rotary_embedding_base
        self.layers = nn.ModuleList(Block(config) for _ in range(config.encoder_depth))
        self.layer_norm = nn.LayerNorm(config.encoder_dim, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Compute what enters the first block and leaves each, (batch, frames, dim).

        ``valid`` (batch, frames) is false for padding; None where there is none.
        """
        by = rotation(x.shape[1], self.width, x, self.base)
        states = [x]
        for block in self.layers:
            states.append(block(states[-1], by, valid))
        states[-1] = self.layer_norm(states[-1])
        return states


class Block(nn.Module):
    """Half a feed-forward part, attention, convolution, another half, and a norm."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.ffn1_layer_norm, self.ffn1 = nn.LayerNorm(dim), FeedForward(config)
        self.self_attn_layer_norm, self.self_attn = nn.LayerNorm(dim), Attention(config)
        self.conv_module = Convolution(config)
        self.ffn2_layer_norm, self.ffn2 = nn.LayerNorm(dim), FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, by: Rotation, valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim); see `Conformer.forward`."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), by, valid)
        x = x + self.conv_module(x, valid)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        normed: Tensor = self.final_layer_norm(x)
        return normed


class FeedForward(nn.Module):
    """Two projections with a swish between."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.encoder_dim, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.encoder_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (..., dim) of (..., dim)."""
        out: Tensor = self.output_dense(functional.silu(self.intermediate_dense(x)))
        return out


class Attention(nn.Module):
    """Attention whose queries and keys are projected from rotated features."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.heads = config.num_attention_heads
        self.linear_q, self.linear_k = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.linear_v, self.linear_out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, by: Rotation, valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        cosine, sine = by
        apart = x.unflatten(-1, (self.heads, -1))  # (batch, frames, heads, dim / heads)
        turned = rotated(apart, (cosine[:, None], sine[:, None])).flatten(2)
        attended = functional.scaled_dot_product_attention(
            self._of_heads(self.linear_q(turned)),
            self._of_heads(self.linear_k(turned)),
            self._of_heads(self.linear_v(x)),
            attn_mask=None if valid is None else valid[:, None, None, :],
        )
        out: Tensor = self.linear_out(attended.transpose(1, 2).flatten(2))
        return out

    def _of_heads(self, x: Tensor) -> Tensor:
        """Turn (batch, frames, dim) into (batch, heads, frames, dim / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Convolution(nn.Module):
    """Apply a gate, a convolution over time of each feature alone, and a projection."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        dim, kernel = config.encoder_dim, config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(dim)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(
            dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False
        )
        self.batch_norm = nn.BatchNorm1d(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim)."""
        # A convolution over one frame is a projection, and faster as one.
        x = functional.linear(self.layer_norm(x), self.pointwise_conv1.weight[..., 0])
        x = functional.glu(x, dim=-1)
        if valid is not None:  # zeros, as the convolution has them beyond the end of a clip
            x = x * valid[..., None]
        x = functional.silu(self.batch_norm(self.depthwise_conv(x.transpose(1, 2))))
        return functional.linear(x.transpose(1, 2), self.pointwise_conv2.weight[..., 0])


# -- checkpoints -----------------------------------------------------------------------------------

UNNEEDED = (
    Unneeded(r"conformer\.embed_positions\.inv_freq", "rotary positions are computed"),
    Unneeded(r"conformer\.pos_conv_embed\..*", "made by transformers and never called"),
    Unneeded(r"preprocessor_melspec_2048\..*", "filters and windows are computed"),
    Unneeded(r"linear\.(weight|bias)", "predicts the targets of the pre-training"),
    Unneeded(r"(rvq|quantizer_melspec_2048(_\d+)?)\..*", "makes the targets of the pre-training"),
    Unneeded(r"recon_proj\..*", "predicts the spectrogram in the pre-training"),
    Unneeded(r"cls_token", "never used by the encoder"),
)

# MuQ-MuLan's config.json describes the MuQ in it by this name alone.
_PUBLISHED = "MuQ-large-msd-iter"


def _recognise(source: Source) -> Mapping[str, Any] | None:
    """Recognise the configurations of ``muq``'s MuQ and MuQMuLan, which have no model_type."""
    path = source.find("config.json")
    described = {} if path is None else read_json(path, source.name)
    muq = {"encoder_dim", "encoder_depth", "w2v2_config"}
    mulan = {"mulan", "audio_model", "audio_transformer"}
    return described if muq <= described.keys() or mulan <= described.keys() else None


def _build(described: Mapping[str, Any], name: str) -> MuQ:
    """Make the network that a config.json of ``muq`` describes, or the published one of nothing."""
    if "audio_model" in described:
        inner = member(described, "audio_model", name).get("name")
        published = isinstance(inner, str) and inner.rpartition("/")[2] == _PUBLISHED
        check_sizes({f"its audio tower is {inner!r:.80}, not {_PUBLISHED}": published}, name)
        described = {}
    if not described:
        return MuQ(SIZES, described_statistics(MSD_STATISTICS, name))
    statistics = member(described, "stat", name)
    return MuQ(described_sizes(described, name), described_statistics(statistics, name))


ARCHITECTURE = Architecture(
    family="muq",
    recognise=_recognise,
    build=_build,
    prefixes=("model.", "mulan.audio.model.model."),
    unneeded=UNNEEDED,
)
