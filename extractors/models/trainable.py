"""A transformer of an extractor as a module to be trained: every layer, exact whatever else is in the batch.

`svuprobe.extractors.models.encoder` is for frozen weights; this forward has gradients, dropout and gradient
checkpointing, and takes the weights as they are at each call. It calls the modules of transformers one by one and not
the model's own forward, because there

- the group norm of base models would count the padding (here its mean and variance are of a clip's own frames),
- data2vec's five positional convolutions would read what the one before made of padded frames,
- layerdrop would take hidden states away (here a dropped block passes on what came in), and
- WavLM hands the *weights* of its projections to torch, past any adapter that was put around them.

In ``eval`` its hidden states are the extractor's. What is frozen (no weight of it requires a gradient) stays in
``eval`` when the module is set to ``train``, so nothing is dropped in a frozen encoder.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from svuprobe.extractors.models.encoder import Encoder, _valid, conv_geometry
from svuprobe.extractors.models.transformer import TransformerExtractor

# SpecAugment over time as transformers has it by default: about 5 % of the frames, 10 at a time.
_MASKED_SHARE, _MASKED_FRAMES = 0.05, 10


class PaddedEncoder(nn.Module):
    """The weights of an extractor, in float32, and a forward to train them with.

    Parameters
    ----------
    extractor
        Its model is taken over, not copied.
    layerdrop
        Probability that a block is skipped in training.
    spec_augment
        Whether stretches of 10 frames are zeroed in training, about 5 % of a clip (Park et al. 2019). Zeros, because
        the vector that published checkpoints put there is not read.
    checkpointing
        Whether blocks are computed again in the backward pass instead of kept: less memory, a third more time.
    """

    def __init__(
        self,
        extractor: TransformerExtractor,
        *,
        layerdrop: float = 0.0,
        spec_augment: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = extractor.model.float()
        self.normalize = extractor.normalization != "none"
        self.layerdrop, self.spec_augment, self.checkpointing = layerdrop, spec_augment, checkpointing
        config: Any = self.model.config
        self.hop, self.receptive_field = conv_geometry(config.conv_kernel, config.conv_stride)
        self.heads: int = config.num_attention_heads
        self.pre_norm = type(self.model.encoder).__name__.endswith("StableLayerNorm")

    def parts(self) -> list[list[nn.Module]]:
        """Convolutions; what makes the input of the first block of them; each block."""
        model, encoder = self.model, self.model.encoder
        before = [model.feature_projection, encoder.pos_conv_embed, encoder.layer_norm, encoder.dropout]
        return [[model.feature_extractor], before, *([block] for block in encoder.layers)]

    def train(self, mode: bool = True) -> PaddedEncoder:
        """Set the parts that have something to learn to training, the others to ``eval``."""
        super().train(mode)
        for part in self.parts():
            learns = any(p.requires_grad for module in part for p in module.parameters())
            for module in part:
                module.train(mode and learns)
        return self

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Called as an extractor: (batch, samples) and (batch,) to (batch, layers, frames, dim) and (batch,)."""
        states, frames = self.hidden(audio, lengths)
        return torch.stack(states, dim=1), frames

    def hidden(self, audio: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each hidden state, (batch, frames, dim) with anything in padded frames, and the frames of each clip."""
        # Frames are counted on the CPU where the lengths lie: no need to wait for a GPU.
        frames = 1 + (lengths - self.receptive_field) // self.hop
        mixed = bool((lengths != audio.shape[1]).any())
        lengths = lengths.to(audio.device)
        x = self._features(audio, lengths, mixed)
        valid = _valid(x.shape[1], frames.to(x.device)) if mixed else None
        x = self._input(x, valid)
        states = [x]
        bias = self._bias(x.shape[1])
        mask = None if valid is None else valid[:, None, None]
        for block in self.model.encoder.layers:
            if not (block.training and self.layerdrop and float(torch.rand(())) < self.layerdrop):
                if self.checkpointing and block.training:
                    x = checkpoint(self._block, block, x, mask, bias, use_reentrant=False)
                else:
                    x = self._block(block, x, mask, bias)
            states.append(x)
        return states, frames

    def _features(self, audio: Tensor, lengths: Tensor, mixed: bool) -> Tensor:
        """Convolution features (batch, frames, channels)."""
        convolutions = self.model.feature_extractor
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in convolutions.parameters())
        with torch.set_grad_enabled(learns):
            frozen = Encoder(self.model, self.normalize)
            if not learns and audio.device.type == "cpu":  # clip by clip, without padding: much faster there
                pieces = [frozen._pieces(a[None, :n]) for a, n in zip(audio, lengths.tolist(), strict=True)]
                return nn.utils.rnn.pad_sequence(pieces, batch_first=True)
            x = frozen._scaled(audio, lengths if mixed else None)[:, None]
            for index, layer in enumerate(convolutions.conv_layers):
                first = index == 0 and mixed and isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm)
                x = self._normalised(layer, x, lengths) if first else layer(x)
        return x.transpose(1, 2)

    def _normalised(self, layer: Any, audio: Tensor, lengths: Tensor) -> Tensor:
        """The first convolution (batch, channels, frames) with a group norm over each clip's own frames."""
        x = layer.conv(audio).float()
        own = 1 + (lengths - layer.conv.kernel_size[0]) // layer.conv.stride[0]
        valid, own = _valid(x.shape[2], own)[:, None], own[:, None, None]
        centred = x - (x * valid).sum(dim=2, keepdim=True) / own
        variance = (centred * valid).square().sum(dim=2, keepdim=True) / own
        norm = layer.layer_norm
        x = centred * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
        return layer.activation(x)

    def _input(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """What enters the first block, (batch, frames, dim)."""
        encoder = self.model.encoder
        projected = self.model.feature_projection(x)
        x = projected[0] if isinstance(projected, tuple) else projected
        if self.spec_augment and encoder.layers[-1].training:
            x = x * _kept(x.shape[0], x.shape[1]).to(x.device)[..., None]
        x = x + self._positional(x, valid)
        if not self.pre_norm:
            x = encoder.layer_norm(x)
        return encoder.dropout(x)

    def _positional(self, x: Tensor, valid: Tensor | None) -> Tensor:
        embed = self.model.encoder.pos_conv_embed
        own = None if valid is None else valid[:, None]
        x = x.transpose(1, 2)  # (batch, dim, frames)
        if getattr(embed, "batch_norm", None) is not None:  # an option of HuBERT
            x = embed.batch_norm(x)
        if hasattr(embed, "layers"):
            for layer in embed.layers:
                x = layer(x if own is None else x * own)
        else:
            x = x if own is None else x * own
            x = embed.activation(embed.padding(embed.conv(x)))
        return x.transpose(1, 2)

    def _bias(self, frames: int) -> Tensor | None:
        """WavLM's position bias, (heads, frames, frames): the first block has it for all."""
        attention = self.model.encoder.layers[0].attention
        return attention.compute_bias(frames, frames) if hasattr(attention, "rel_attn_embed") else None

    def _block(self, block: Any, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        h = block.layer_norm(x) if self.pre_norm else x
        x = x + block.dropout(self._attention(block.attention, h, mask, bias))
        if not self.pre_norm:
            x = block.layer_norm(x)
        x = x + block.feed_forward(block.final_layer_norm(x) if self.pre_norm else x)
        if not self.pre_norm:
            x = block.final_layer_norm(x)
        if getattr(block, "adapter_layer", None) is not None:  # an option of wav2vec 2.0 and HuBERT
            x = x + block.adapter_layer(x)
        return x

    def _attention(self, layer: Any, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """Self-attention of (batch, frames, dim); ``mask`` (batch, 1, 1, frames) says what may be attended to."""
        query, key, value = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        if bias is not None:  # scaled by what is at each query (Chen et al. 2022)
            update, reset = torch.sigmoid(self._gates(layer, x)).unbind(dim=-1)
            scale = update * (reset * layer.gru_rel_pos_const.flatten() - 1.0) + 2.0  # (batch, frames, heads)
            gated = (scale.transpose(1, 2)[..., None] * bias).to(query.dtype)
            mask = gated if mask is None else gated.masked_fill(~mask, -torch.inf)
        drop = layer.dropout if layer.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=drop)
        return layer.out_proj(y.transpose(1, 2).flatten(2))

    def _gates(self, layer: Any, x: Tensor) -> Tensor:
        """Of WavLM's bias, (batch, frames, heads, 2); the checkpoint has the weights of each as a sum of four."""
        linear = layer.gru_rel_pos_linear
        weight, bias = (w.unflatten(0, (2, 4)).sum(dim=1) for w in (linear.weight, linear.bias))
        return F.linear(x.unflatten(2, (self.heads, -1)), weight, bias)


def _kept(clips: int, frames: int) -> Tensor:
    """(clips, frames): False in masked stretches, drawn with torch's generator on the CPU."""
    begins = torch.rand(clips, frames) < _MASKED_SHARE / _MASKED_FRAMES
    stretch = F.max_pool1d(F.pad(begins.float(), (_MASKED_FRAMES - 1, 0)), _MASKED_FRAMES, stride=1)
    return stretch == 0
