"""Compute the transformer of a wav2vec 2.0-like model: convolution features to every hidden state.

One forward over the weights of transformers' Wav2Vec2Model, HubertModel (also MERT), WavLMModel and
Data2VecAudioModel (also music2vec), for weights that learn and for frozen ones. Its modules are
called one by one and not by the model's own forward, because there

- data2vec's five positional convolutions would read what the one before made of padded frames,
- layerdrop would take hidden states away, and
- WavLM hands the *weights* of its projections to torch, past any adapter that was put around them.

What padding would spoil here
-----------------------------
- **Attention** must not look at padded frames.
- **Positional convolutions** reach over 64 frames on both sides (data2vec: five times 9): padded
  frames are set to zero before each, which is what a clip alone has there.

Frames of all clips are rows of one matrix; a `Span` says where clips of one length lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from svuprobe.extractors.models.feature_encoder import activated, valid_mask
from svuprobe.extractors.pooling import deviation

# oneDNN generates code for every new shape of a bfloat16 convolution (50
# ms, as much as a second of audio takes), so on a CPU the frames in the
# frozen positional convolution are rounded up to a multiple of this.
_POSITION_STEP = 32

Gate = tuple[Tensor, Tensor]
Mask = tuple[Tensor | None, Tensor | None]


class Span(NamedTuple):
    """Mark clips of one length that lie together, from row ``start`` on.

    ``valid`` (clips, frames) tells frames from padding; None if there is none.
    """

    start: int
    clips: int
    frames: int
    valid: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        """Return its part (clips, frames, ...) of (rows, ...)."""
        part = rows[self.start : self.start + self.clips * self.frames]
        return part.unflatten(0, (self.clips, self.frames))

    def zeroed(self, x: Tensor) -> Tensor:
        """Return (clips, frames, dim) with zeros for padding."""
        return x if self.valid is None else x * self.valid[..., None]

    def mean(self, rows: Tensor) -> Tensor:
        """Return (clips, dim) float32 means over the frames of each clip."""
        total = self.zeroed(self.of(rows)).sum(dim=1, dtype=torch.float32)
        return total / (self.frames if self.valid is None else self.valid.sum(dim=1, keepdim=True))

    def moments(self, rows: Tensor) -> Tensor:
        """Return (clips, 2, dim) float32 means and deviations over the frames of each clip."""
        return torch.stack([self.mean(rows), deviation(self.of(rows), self.valid)], dim=1)


class ContextNetwork:
    """Compute the transformer of a model, with its weights as they are at each call.

    Dropout is that of the modules: none in ``eval``. Gradients flow where they are asked for.

    Parameters
    ----------
    model
        A Wav2Vec2Model, HubertModel, WavLMModel or Data2VecAudioModel.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.heads: int = model.config.num_attention_heads
        # data2vec has no such encoder.
        self.pre_norm = type(model.encoder).__name__.endswith("StableLayerNorm")
        self.blocks = list(model.encoder.layers)

    def hidden(self, rows: Tensor, spans: Sequence[Span]) -> Iterator[Tensor]:
        """Yield each hidden state, (rows, dim), from features (rows, channels).

        What is in padded frames, and in rows after those of the spans, is arbitrary.
        """
        encoder = self.model.encoder
        rows = self.projected(rows, spans)
        x = rows + self._positions(rows, spans)
        # The base models normalise before the first block, the large ones inside each.
        if not self.pre_norm:
            x = encoder.layer_norm(x)
        x = encoder.dropout(x)
        yield x
        gates = self.gates()
        masks = self.masks(spans, gates)
        for block, gate in zip(self.blocks, gates, strict=True):
            x = self.block(block, gate, x, spans, masks)
            yield x

    def projected(self, rows: Tensor, spans: Sequence[Span]) -> Tensor:
        """Return features (rows, channels) in the width of the transformer, (rows, dim)."""
        projection = self.model.feature_projection
        if getattr(projection, "feat_proj_layer_norm", True):  # an option of HuBERT
            rows = projection.layer_norm(rows)
        return projection.dropout(projection.projection(rows))

    def _positions(self, rows: Tensor, spans: Sequence[Span]) -> Tensor:
        """Return position embeddings of (rows, dim), by one convolution.

        One, because its weights are reordered at each call.
        """
        if len(spans) == 1:
            return _together([self.positional(spans[0].of(rows), spans[0])], len(rows))
        frames = max(span.frames for span in spans)
        # Clips of all lengths go through together, padded to the longest.
        x = torch.cat([F.pad(span.of(rows), (0, 0, 0, frames - span.frames)) for span in spans])
        own = torch.cat([torch.full((span.clips,), span.frames) for span in spans])
        whole = Span(0, len(x), frames, valid_mask(frames, own))
        parts = self.positional(x, whole).split([span.clips for span in spans])
        return _together(
            [y[:, : span.frames] for y, span in zip(parts, spans, strict=True)], len(rows)
        )

    def positional(self, x: Tensor, span: Span) -> Tensor:
        """Return position embeddings of (clips, frames, dim)."""
        embed = self.model.encoder.pos_conv_embed
        if getattr(embed, "batch_norm", None) is not None:  # an option of HuBERT
            x = embed.batch_norm(x.transpose(1, 2)).transpose(1, 2)
        if not hasattr(embed, "layers"):
            x = span.zeroed(x).transpose(1, 2)  # (clips, dim, frames)
            return embed.activation(embed.padding(embed.conv(x))).transpose(1, 2)
        for layer in embed.layers:  # of data2vec
            x = layer(span.zeroed(x).transpose(1, 2)).transpose(1, 2)
        return x

    def gates(self) -> list[Gate | None]:
        """Return weights and bias of the gates of each block's position bias; None but in WavLM."""
        return [gate_of(block.attention) for block in self.blocks]

    def masks(self, spans: Sequence[Span], gates: Sequence[Gate | None]) -> list[Mask]:
        """Return for each span what may be attended to, and WavLM's position bias.

        (clips, 1, 1, frames) bool and (heads, frames, frames); None where there is nothing to mask
        or add.
        """
        bias = None
        if gates[0] is not None:  # only the first block has position embeddings; all share them
            longest = max(span.frames for span in spans)
            bias = self.blocks[0].attention.compute_bias(longest, longest).contiguous()
        masks: list[Mask] = []
        for span in spans:
            attended = None if span.valid is None else span.valid[:, None, None]
            masks.append(
                (attended, None if bias is None else bias[:, : span.frames, : span.frames])
            )
        return masks

    def block(
        self, block: Any, gate: Gate | None, x: Tensor, spans: Sequence[Span], masks: Sequence[Mask]
    ) -> Tensor:
        """Return the hidden state after a block, (rows, dim)."""
        # Pre-norm: what a part adds is computed from the normalised state.
        h = block.layer_norm(x) if self.pre_norm else x
        x = _added(block.dropout(self._attention(block.attention, gate, h, spans, masks)), x)
        if not self.pre_norm:
            x = block.layer_norm(x)
        h = block.final_layer_norm(x) if self.pre_norm else x
        x = _added(_feed_forward(block.feed_forward, h), x)
        if not self.pre_norm:
            x = block.final_layer_norm(x)
        if getattr(block, "adapter_layer", None) is not None:  # an option of wav2vec 2.0 and HuBERT
            x = x + block.adapter_layer(x)
        return x

    def _attention(
        self, layer: Any, gate: Gate | None, x: Tensor, spans: Sequence[Span], masks: Sequence[Mask]
    ) -> Tensor:
        """Return self-attention of (rows, dim) within each clip."""
        projected = [
            part(x).unflatten(1, (self.heads, -1))
            for part in (layer.q_proj, layer.k_proj, layer.v_proj)
        ]
        drop = layer.dropout if layer.training else 0.0
        attended = []
        for span, (mask, bias) in zip(spans, masks, strict=True):
            # (clips, heads, frames, size)
            query, key, value = (span.of(part).transpose(1, 2) for part in projected)
            if gate is not None and bias is not None:
                gated = self._gated(layer, gate, span.of(x), bias).to(query.dtype)
                # Added to scores before the softmax: minus infinity leaves no attention.
                mask = gated if mask is None else gated.masked_fill_(~mask, -torch.inf)
            y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=drop)
            attended.append(y.transpose(1, 2).flatten(2))
        return layer.out_proj(_together(attended, len(x)))

    def _gated(self, layer: Any, gate: Gate, x: Tensor, bias: Tensor) -> Tensor:
        """Return WavLM's bias, (clips, heads, frames, frames), scaled at each query (Chen et al.
        2022).
        """
        update, reset = torch.sigmoid(F.linear(x.unflatten(2, (self.heads, -1)), *gate)).unbind(
            dim=-1
        )
        # (clips, frames, heads)
        scale = update * (reset * layer.gru_rel_pos_const.flatten() - 1.0) + 2.0
        return scale.transpose(1, 2)[..., None] * bias


class FrozenContextNetwork(ContextNetwork):
    """Compute the same for weights that stay as they are now, what can be computed once being so.

    The positional convolution has its channels last and its weight norm computed; WavLM's gates are
    summed.
    """

    def __init__(self, model: Any) -> None:
        # The weight norm is computed here, once, and not at each call.
        super().__init__(model)
        embed = model.encoder.pos_conv_embed
        layers = getattr(embed, "layers", [embed])
        self._positional = [(layer, _channels_last(layer.conv.weight)) for layer in layers]
        self._gates = super().gates()

    def gates(self) -> list[Gate | None]:
        """Return the gates as they were when this was made."""
        return self._gates

    # Only a CPU gains from few shapes.
    def positional(self, x: Tensor, span: Span) -> Tensor:
        """Return position embeddings of (clips, frames, dim)."""
        frames = x.shape[1]
        more = -frames % (_POSITION_STEP if x.device.type == "cpu" else 1)
        for layer, weight in self._positional:
            conv = layer.conv
            if getattr(layer, "batch_norm", None) is not None:  # an option of HuBERT
                x = layer.batch_norm(x.transpose(1, 2)).transpose(1, 2)
            # (clips, dim, frames, 1)
            x = F.pad(span.zeroed(x), (0, 0, 0, more)).transpose(1, 2)[..., None]
            x = F.conv2d(x, weight, conv.bias, padding=(conv.padding[0], 0), groups=conv.groups)
            x = x[:, :, :frames, 0].transpose(1, 2)  # an even kernel makes one frame too many
            if hasattr(layer, "layer_norm"):
                x = layer.layer_norm(x)
            x = activated(x, layer.activation)
        return x


def gate_of(attention: Any) -> Gate | None:
    """Return the weights and bias of WavLM's two gates.

    The checkpoint has each as a sum of four.
    """
    # Chen et al. 2022 feed each gate from four outputs that are only ever added up.
    if not hasattr(attention, "gru_rel_pos_linear"):
        return None
    weight, bias = attention.gru_rel_pos_linear.weight, attention.gru_rel_pos_linear.bias
    return weight.unflatten(0, (2, 4)).sum(dim=1), bias.unflatten(0, (2, 4)).sum(dim=1)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    x = layer.intermediate_dropout(
        activated(layer.intermediate_dense(x), layer.intermediate_act_fn)
    )
    return layer.output_dropout(layer.output_dense(x))


def _added(y: Tensor, x: Tensor) -> Tensor:
    """Return y + x, in place of y.

    Not under autocast, whose products are rounded and whose sums are not.
    """
    return y.add_(x) if y.dtype == x.dtype else y + x


def _together(parts: Sequence[Tensor], count: int) -> Tensor:
    """Return so many rows, from (clips, frames, dim) of each span and zeros."""
    rows = [part.flatten(0, 1) for part in parts]
    missing = count - sum(len(part) for part in rows)
    if missing:
        rows.append(rows[0].new_zeros(missing, rows[0].shape[1]))
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _channels_last(weight: Tensor) -> Tensor:
    """Return weights (out, in, kernel) for conv2d over (clips, in, frames, 1)."""
    return weight[..., None].contiguous(memory_format=torch.channels_last)
