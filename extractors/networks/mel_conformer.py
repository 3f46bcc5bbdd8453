"""The network of svuprobe-small: a few conformer blocks on a log-mel spectrogram.

Log energies of 80 mel bands (25 ms every 10 ms, Kaldi's rules, of 16-bit numbers) lose a fixed mean
and are divided by a fixed deviation, so that loudness and timbre stay what they are; what is softer
than one rounding step counts as silence. Two frames are stacked, which gives 50 a second, and
projected. The blocks are those of Gulati et al. 2020 (Conformer, arXiv:2005.08100) with rotary
positions (Su et al. 2021, arXiv:2104.09864), and a layer norm where that paper has a batch norm: it
depends on no other clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.networks.base import Architecture, Network, by_model_type
from svuprobe.extractors.networks.config import check_sizes, read_sizes
from svuprobe.extractors.networks.kaldi import FRAME, HOP, RATE, MelBank
from svuprobe.extractors.networks.rotary import Rotation, rotated, rotation

MODEL_TYPE = "svuprobe-mel-conformer"
_SIXTEEN_BITS = 2.0**15


@dataclass(frozen=True)
class MelConformerConfig:
    """Sizes of the network, as config.json has them.

    Attributes
    ----------
    mel_bands, stacked
        Of the spectrogram, and how many of its frames make one of the network's.
    mel_mean, mel_std
        Of natural log energies, subtracted and divided by.
    hidden_size, blocks, heads, inner_size, kernel
        Width, number of blocks, attention heads, width inside the feed-forward parts, and frames
        that a convolution sees.
    """

    mel_bands: int = 80
    stacked: int = 2
    mel_mean: float = 12.0
    mel_std: float = 5.0
    hidden_size: int = 192
    blocks: int = 4
    heads: int = 4
    inner_size: int = 512
    kernel: int = 15

    @classmethod
    def of(cls, described: Mapping[str, Any], name: str) -> MelConformerConfig:
        """Read a config.json. Raises ExtractError for a value that can't be."""
        config = cls(**read_sizes(cls, described, name))
        rules = {
            f"hidden_size = {config.hidden_size} must be a multiple of twice heads = "
            f"{config.heads}": config.hidden_size % (2 * config.heads) == 0,
            f"kernel = {config.kernel} must be odd": config.kernel % 2 == 1,
        }
        check_sizes(rules, name)
        return config

    def json(self) -> dict[str, Any]:
        """Return the entries of a config.json."""
        return {"model_type": MODEL_TYPE, **asdict(self)}


class MelConformer(Network):
    """Conformer blocks on stacked log-mel frames."""

    padded_exactly = True

    def __init__(self, config: MelConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.hidden_size
        self.grid = FrameGrid(RATE, HOP * config.stacked, FRAME + HOP * (config.stacked - 1))
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, config.blocks + 1)))
        with torch.device("cpu"):
            self.frontend = MelBank(config.mel_bands, _SIXTEEN_BITS)
        self.projection = nn.Linear(config.mel_bands * config.stacked, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def frames(self, audio: Tensor) -> Tensor:
        """Turn audio (batch, samples) into what enters the first block (batch, frames, dim)."""
        config = self.config
        with torch.no_grad():
            log_energies = self.frontend(audio).clamp(min=0)
            mel = (log_energies - config.mel_mean) / config.mel_std
            whole = mel[:, : mel.shape[1] // config.stacked * config.stacked]
            stacked = whole.unflatten(1, (-1, config.stacked)).flatten(2)
        projected: Tensor = self.projection(stacked.to(self.projection.weight.dtype))
        return projected

    def layers(self, frames: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Run the blocks: what enters the first, and what leaves each, (batch, frames, dim).

        ``valid`` (batch, frames) is false for frames of padding, which no other frame then sees;
        None where there are none.
        """
        by = rotation(frames.shape[1], self.dim // self.config.heads, frames)
        states = [frames]
        for block in self.blocks:
            states.append(block(states[-1], by, valid))
        return states

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer."""
        frames = self.frames(audio)
        valid = None
        if int(lengths.min()) < audio.shape[1]:
            own = self.grid.count(lengths)
            valid = torch.arange(frames.shape[1], device=frames.device) < own[:, None]
        return self.layers(frames, valid)


class Block(nn.Module):
    """Half a feed-forward part, attention, convolution, another half, and a norm."""

    def __init__(self, config: MelConformerConfig) -> None:
        super().__init__()
        dim, inner = config.hidden_size, config.inner_size
        self.heads = config.heads
        self.feed1_norm = nn.LayerNorm(dim)
        self.feed1_in, self.feed1_out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value, self.attention_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.convolution_norm = nn.LayerNorm(dim)
        self.convolution_in, self.convolution_out = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.depthwise = nn.Conv1d(dim, dim, config.kernel, padding=config.kernel // 2, groups=dim)
        self.depthwise_norm = nn.LayerNorm(dim)
        self.feed2_norm = nn.LayerNorm(dim)
        self.feed2_in, self.feed2_out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, by: Rotation, valid: Tensor | None) -> Tensor:
        """Compute (batch, frames, dim) of (batch, frames, dim); see `MelConformer.layers`."""
        x = x + 0.5 * self.feed1_out(functional.silu(self.feed1_in(self.feed1_norm(x))))
        x = x + self._attended(self.attention_norm(x), by, valid)
        x = x + self._convolved(self.convolution_norm(x), valid)
        x = x + 0.5 * self.feed2_out(functional.silu(self.feed2_in(self.feed2_norm(x))))
        normed: Tensor = self.norm(x)
        return normed

    def _attended(self, x: Tensor, by: Rotation, valid: Tensor | None) -> Tensor:
        batch, frames, dim = x.shape
        split = self.query_key_value(x).view(batch, frames, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, dim / heads)
        seen = None if valid is None else valid[:, None, None, :]
        attended = functional.scaled_dot_product_attention(
            rotated(query, by), rotated(key, by), value, attn_mask=seen
        )
        out: Tensor = self.attention_out(attended.transpose(1, 2).reshape(batch, frames, dim))
        return out

    def _convolved(self, x: Tensor, valid: Tensor | None) -> Tensor:
        gated = functional.glu(self.convolution_in(x), dim=-1)
        if valid is not None:  # zeros, as the convolution has them beyond the end of a clip
            gated = gated * valid[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.convolution_out(functional.silu(self.depthwise_norm(mixed)))
        return out


ARCHITECTURE = Architecture(
    family="mel-conformer",
    recognise=by_model_type(MODEL_TYPE),
    build=lambda described, name: MelConformer(MelConformerConfig.of(described, name)),
)
