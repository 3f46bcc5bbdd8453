"""The network of BEATs and OpenBEATs: a transformer over patches of a log-mel spectrogram.

Kaldi's log energies of 128 mel bands (25 ms every 10 ms, of 16-bit numbers) are normalised by a
fixed mean and deviation and cut into squares of 16 frames by 16 bands. Each is projected, and the
sequence of all of them, eight bands of one time after another, goes through blocks of attention
with WavLM's gated position bias (Chen et al. 2022, arXiv:2110.13900) and DeepNorm's residual
connections (Wang et al. 2022, arXiv:2203.00555).

**Frames**: the eight patches of one time are averaged, in every layer, as those of AST are: a frame
every 160 ms that sees 175 ms. The papers take the mean over all patches, which is the mean over
these frames.

**Padding**: patches don't overlap, so a clip's own are the first ones of its row; what follows is
zero before the positional convolution and masked in attention, and a clip's states are those of the
clip alone. Microsoft's mask keeps a patch of which one sample is audio; alone, such a rest makes no
patch, and so it is here.

Sources: Chen et al. 2023, BEATs (arXiv:2212.09058), ``beats/`` of github.com/microsoft/unilm;
Bharadwaj et al. 2025, OpenBEATs (arXiv:2507.14129), ``beats_encoder.py`` of ESPnet, which repeats
clips shorter than 0.2 s until they are longer: here they are taken as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import Source, entries_beside_weights, older_key
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.beats_config import BANDS, BeatsConfig
from svuprobe.extractors.networks.kaldi import FRAME, HOP, RATE, MelBank

_SIXTEEN_BITS = 2.0**15
# Scores of attention at once, so that those of a long clip don't fill the memory.
_SCORES = 2**23


class Beats(Network):
    """Blocks of attention over patches of a spectrogram."""

    padded_exactly = True

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.encoder_embed_dim
        self.patch = config.input_patch_size
        self.rows = BANDS // self.patch  # patches of one time
        self.grid = FrameGrid(RATE, HOP * self.patch, FRAME + HOP * (self.patch - 1))
        blocks = range(1, config.encoder_layers + 1)
        self.layer_names = ("input", *(f"block{i:02d}" for i in blocks))
        with torch.device("cpu"):
            self.frontend = MelBank(BANDS, _SIXTEEN_BITS)
        self.patch_embedding = nn.Conv2d(
            1, config.embed_dim, self.patch, stride=self.patch, bias=False
        )
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        # The checkpoints have no projection between equal widths.
        self.post_extract_proj = (
            nn.Linear(config.embed_dim, self.dim) if config.embed_dim != self.dim else nn.Identity()
        )
        self.encoder = PatchEncoder(config)

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer."""
        patches = self.patches(audio)
        valid = None
        if int(lengths.min()) < audio.shape[1]:
            own = self.rows * self.grid.count(lengths)
            valid = torch.arange(patches.shape[1], device=patches.device) < own[:, None]
        layers = self.encoder(patches, valid)
        return [layer.unflatten(1, (-1, self.rows)).mean(dim=2) for layer in layers]

    def patches(self, audio: Tensor) -> Tensor:
        """Embed the patches of audio (batch, samples): (batch, times * rows, dim)."""
        size = self.patch
        with torch.no_grad():
            mel = self.frontend(audio)
            mel = (mel - self.config.fbank_mean) / (2 * self.config.fbank_std)
        times = mel.shape[1] // size
        squares = mel[:, : times * size, : self.rows * size]
        # (batch, times, rows, frames and bands of a patch)
        squares = squares.unflatten(2, (self.rows, size)).unflatten(1, (times, size))
        squares = squares.transpose(2, 3).flatten(3).flatten(1, 2)
        # A convolution by whole kernels is a product, which is faster.
        weight = self.patch_embedding.weight.flatten(1)
        embedded = self.layer_norm(functional.linear(squares.to(weight.dtype), weight))
        projected: Tensor = self.post_extract_proj(embedded)
        return projected


class PatchEncoder(nn.Module):
    """Add positions by a convolution over patches, and apply the blocks."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = nn.ModuleList([PositionalConvolution(config)])
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)
        self.layers = nn.ModuleList(
            Block(config, biased=i == 0) for i in range(config.encoder_layers)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw the weights that training starts from."""
        beta = (8 * self.config.encoder_layers) ** -0.25
        gains = {"k_proj": 1.0, "q_proj": 1.0, "v_proj": beta, "out_proj": beta}
        gains |= {"fc1": beta, "fc2": beta}
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
                gain = gains.get(name.rpartition(".")[2])
                if self.config.deep_norm and gain is not None:
                    nn.init.xavier_normal_(module.weight, gain)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Compute what enters the first block and what leaves each, (batch, patches, dim)."""
        if valid is not None:
            x = x.masked_fill(~valid[..., None], 0.0)
        x = x + self.pos_conv[0](x)
        if not self.config.layer_norm_first:
            x = self.layer_norm(x)
        bias = self._bias(x.shape[1])
        layers = [x]
        for block in self.layers:
            layers.append(block(layers[-1], bias, valid))
        if self.config.layer_norm_first:
            layers[-1] = self.layer_norm(layers[-1])
        return layers

    def _bias(self, patches: int) -> Tensor:
        """Return the position bias of each head by distance, (heads, 2 * patches - 1).

        Column ``i`` is of a key that lies ``i - (patches - 1)`` after its query.
        """
        config = self.config
        distance = torch.arange(1 - patches, patches)
        half = config.num_buckets // 2
        exact = half // 2
        far = torch.log(distance.abs().float() / exact) / math.log(config.max_distance / exact)
        # The distance 0 is no logarithm; it is among the exact ones.
        far = exact + (far * (half - exact)).clamp(min=0).long()
        bucket = torch.where(distance.abs() < exact, distance.abs(), far.clamp(max=half - 1))
        bucket += half * (distance > 0)
        table = self.layers[0].get_parameter("self_attn.relative_attention_bias.weight")
        return table[bucket.to(table.device)].T.contiguous()


class PositionalConvolution(nn.Module):
    """Convolve over patches, with a weight norm for each position in the kernel."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim, kernel, self.groups = config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups
        deviation = math.sqrt(4 / (kernel * dim))
        self.weight_v = nn.Parameter(torch.randn(dim, dim // self.groups, kernel) * deviation)
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Compute position embeddings of (batch, patches, dim)."""
        # As torch's own weight norm does: Tensor.norm over two dimensions takes ten times as long.
        weight = torch._weight_norm(self.weight_v.float(), self.weight_g.float(), 2).to(x.dtype)
        y = functional.conv1d(
            x.transpose(1, 2), weight, self.bias, padding=weight.shape[2] // 2, groups=self.groups
        )
        # An even kernel makes one position too many.
        return functional.gelu(y[..., : x.shape[1]].transpose(1, 2))


class Block(nn.Module):
    """Attention and a feed-forward part, with norms after the sums or before the parts."""

    def __init__(self, config: BeatsConfig, biased: bool) -> None:
        super().__init__()
        dim, inner = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.norm_first = config.layer_norm_first
        self.residual = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.self_attn = Attention(config, biased)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, bias: Tensor, valid: Tensor | None) -> Tensor:
        """Compute (batch, patches, dim) of (batch, patches, dim)."""
        attention_norm, last_norm = self.self_attn_layer_norm, self.final_layer_norm
        if self.norm_first:
            x = x + self.self_attn(attention_norm(x), bias, valid)
            return x + self._fed_forward(last_norm(x))
        x = attention_norm(self.residual * x + self.self_attn(x, bias, valid))
        normed: Tensor = last_norm(self.residual * x + self._fed_forward(x))
        return normed

    def _fed_forward(self, x: Tensor) -> Tensor:
        fed: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return fed


class Attention(nn.Module):
    """Attention whose position bias is scaled by a gate of each query.

    The published code divides the scores by 32 and multiplies them again, against overflows of half
    precision; that changes nothing here.
    """

    def __init__(self, config: BeatsConfig, biased: bool) -> None:
        super().__init__()
        dim, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.q_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.grep_linear = nn.Linear(dim // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))
        if biased:  # one table for all blocks
            self.relative_attention_bias = nn.Embedding(config.num_buckets, self.heads)

    def forward(self, x: Tensor, bias: Tensor, valid: Tensor | None) -> Tensor:
        """Compute (batch, patches, dim); no patch sees those that aren't valid."""
        patches = x.shape[1]
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        gate = self._gate(query)
        # Row i holds the biases of query patches - 1 - i.
        backwards = bias.unfold(1, patches, 1)
        step = max(1, _SCORES // (len(x) * self.heads * patches))
        parts = []
        for start in range(0, patches, step):
            end = min(start + step, patches)
            rows = backwards[:, patches - end : patches - start].flip(1)
            mask = gate[:, :, start:end] * rows  # (batch, heads, queries, keys)
            if valid is not None:
                mask = mask.masked_fill(~valid[:, None, None], -math.inf)
            parts.append(
                functional.scaled_dot_product_attention(query[:, :, start:end], key, value, mask)
            )
        attended: Tensor = self.out_proj(torch.cat(parts, dim=2).transpose(1, 2).flatten(2))
        return attended

    def _gate(self, query: Tensor) -> Tensor:
        """Return what the position bias of each query is multiplied by, (batch, heads, patches,
        1).
        """
        # Each gate is the sum of four outputs.
        gates = self.grep_linear(query).unflatten(3, (2, 4)).sum(dim=4)
        update, reset = torch.sigmoid(gates).chunk(2, dim=3)
        scaled: Tensor = update * (reset * self.grep_a - 1.0) + 2.0
        return scaled


# -- checkpoints -----------------------------------------------------------------------------------


def recognise(source: Source) -> Mapping[str, Any] | None:
    """Return the ``cfg`` that lies beside the weights.

    Of a repository on the hub the weights are downloaded for that only where a name in it has
    "beats", and not where ESPnet's config.yaml says that they have none.

    Raises
    ------
    ExtractError
        A model that ESPnet fine-tuned, whose architecture only the one it began with says.
    """
    if source.find_if_known("config.json") is not None:
        return None
    text = _espnet_of(source)
    tuned = re.search(r"(?m)^encoder: beats\b", text) is not None
    if source.hub is not None:
        named = any(re.search("(?i)beats", name) for name in (source.hub, *source.names()))
        if not named or (tuned and "encoder_embed_dim:" not in text):
            _refuse_tuned(tuned, source)
            return None
    cfg = entries_beside_weights(source).get("cfg")
    if isinstance(cfg, Mapping) and {"encoder_embed_dim", "conv_pos"} <= set(cfg):
        return cfg
    _refuse_tuned(tuned, source)
    return None


def _espnet_of(source: Source) -> str:
    """Return the text of ESPnet's config.yaml; nothing where there is none."""
    path = source.find_anywhere("config.yaml")
    return "" if path is None else path.read_text(encoding="utf-8", errors="replace")


def _refuse_tuned(tuned: bool, source: Source) -> None:
    """Raise what there is to say of a fine-tuned model, if it is one."""
    if tuned:
        raise ExtractError(
            f"{source.name}: this model was fine-tuned by ESPnet from an OpenBEATs, and its files "
            "don't say of which sizes; use the OpenBEATs it began with, such as "
            "hf:shikhar7ssu/OpenBEATs-Large-i2, whose checkpoint does"
        )


ARCHITECTURE = Architecture(
    family="beats-encoder",
    recognise=recognise,
    build=lambda described, name: Beats(BeatsConfig.of(described, name)),
    prefixes=("encoder.",),  # of ESPnet's models
    rename=older_key,
    unneeded=(
        Unneeded(
            r"encoder\.layers\.\d+\.self_attn\.relative_attention_bias\.weight",
            "the one table of the position bias, which is saved with every block",
        ),
        Unneeded(r"(patch_embedding_pad|raw2fbank_pad)\.weight", "ones, to carry a mask along"),
        Unneeded(r"predictor\..*", "classes of AudioSet, of a fine-tuned model"),
        Unneeded(r"(quantize|quantize_layer)\..*", "codes of a tokenizer, which come last"),
    ),
)
