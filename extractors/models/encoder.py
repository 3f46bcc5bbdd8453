"""Every layer of a wav2vec 2.0-like encoder, exact whatever else is in the batch.

One forward over the weights of transformers' Wav2Vec2Model, HubertModel (also MERT), WavLMModel and
Data2VecAudioModel (also music2vec), with the hidden states that transformers has for each clip alone.

What padding would spoil
------------------------
- **Waveform normalisation** takes mean and variance of a clip's own samples.
- **The group norm** of base models normalises each channel over *time*, so silence after a clip changes every
  frame of it. A channel of the first convolution is linear in the samples under its kernel, so its mean and
  variance over the clip's own frames follow from the mean and the covariance of those ten samples (in float64),
  and the norm becomes other weights of that convolution, one set per clip. No pass over the frames is left of it.
- **Attention** must not look at padded frames.
- **Positional convolutions** reach over 64 frames on both sides (data2vec: five times 9): padded frames are set to
  zero before each, which is what a clip alone has there.

On an accelerator (`Encoder.padded`) this is a mask, and none where all clips have one length. On a CPU
(`Encoder.packed`) little is padded: each clip goes through the convolutions alone, in pieces that stay in the cache,
the rows of all clips together through the matrix products, and clips of one length together through attention.

What makes it fast
------------------
Frames are rows, (clips, frames, channels), from the waveform on. A convolution of kernel 3 and stride 2 is then two
matrix products on views (taps 0 and 1 of a frame lie side by side, and so do those of the next), the positional
convolution is one with channels last, its weight norm is computed once, and WavLM's gated position bias goes to the
fused attention as its mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Frames that a CPU takes through the convolutions at once: more is not faster, and above 32 MB an activation costs
# page faults, because the C library hands such memory back and asks for it again.
_PIECE = 200
# oneDNN generates code for every new shape of a bfloat16 product (5 ms) or convolution (50 ms), as much time as a
# second of audio takes. So a CPU sees few shapes: frames in the last piece of a clip, rows of a batch, and frames in
# the positional convolution are rounded up to multiples of these.
_PIECE_STEP, _ROW_STEP, _POSITION_STEP = 10, 64, 32


class Span(NamedTuple):
    """Clips of one length that lie together, from row ``start`` on.

    ``valid`` (clips, frames) tells frames from padding; None if there is none.
    """

    start: int
    clips: int
    frames: int
    valid: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        """Its part (clips, frames, ...) of (rows, ...)."""
        part = rows[self.start : self.start + self.clips * self.frames]
        return part.unflatten(0, (self.clips, self.frames))

    def zeroed(self, x: Tensor) -> Tensor:
        """(clips, frames, dim) with zeros for padding."""
        return x if self.valid is None else x * self.valid[..., None]

    def mean(self, rows: Tensor) -> Tensor:
        """(clips, dim) float32 means over the frames of each clip."""
        total = self.zeroed(self.of(rows)).sum(dim=1, dtype=torch.float32)
        return total / (self.frames if self.valid is None else self.valid.sum(dim=1, keepdim=True))


class Encoder:
    """The frozen weights of an encoder, some in another layout.

    Parameters
    ----------
    model
        A Wav2Vec2Model, HubertModel, WavLMModel or Data2VecAudioModel. Its weights are taken as they are now:
        make a new Encoder after it was moved or changed.
    normalize
        Whether to scale each clip to zero mean and unit variance first.
    """

    def __init__(self, model: Any, normalize: bool) -> None:
        self.model, self.normalize = model, normalize
        self.kernels, self.strides = tuple(model.config.conv_kernel), tuple(model.config.conv_stride)
        self.heads: int = model.config.num_attention_heads
        self.pre_norm = type(model.encoder).__name__.endswith("StableLayerNorm")  # data2vec has no such encoder
        self.convs = list(model.feature_extractor.conv_layers)
        self.taps = [_taps(layer.conv) for layer in self.convs]
        embed = model.encoder.pos_conv_embed
        layers = getattr(embed, "layers", [embed])
        self.positions = [(layer, _channels_last(layer.conv.weight)) for layer in layers]
        self.blocks = list(model.encoder.layers)
        self.gates = [_gate(block.attention) for block in self.blocks]

    def padded(self, audio: Tensor, lengths: Tensor | None, pooled: bool) -> Tensor:
        """Hidden states of clips as long as the longest; without a branch on their values, to be compiled.

        Parameters
        ----------
        audio
            (clips, samples) float32.
        lengths
            (clips,) int64 on the device of the audio; None for clips that all fill the batch.
        pooled
            Whether to take the mean over the frames of each clip.

        Returns
        -------
        Tensor
            (clips, layers, frames, dim), zeros after a clip's own frames; pooled (clips, layers, dim) float32.
        """
        audio = self._scaled(audio, lengths)
        hop, field = conv_geometry(self.kernels, self.strides)
        clips, frames = len(audio), 1 + (audio.shape[1] - field) // hop
        # Samples after the last frame count for the norms only. Without them every shape is a multiple of frames
        # and a constant, and the compiler needs no case for odd ones.
        x = self._convolved(audio[:, : hop * (frames - 1) + field], self._first(audio, lengths))
        valid = None if lengths is None else _valid(frames, 1 + (lengths - field) // hop)
        return self._collected(x.flatten(0, 1), [Span(0, clips, frames, valid)], pooled)

    def packed(self, audio: Tensor, lengths: Sequence[int], pooled: bool) -> Tensor:
        """The same without padding."""
        rows = [self._pieces(clip[None, :samples]) for clip, samples in zip(audio, lengths, strict=True)]
        spans: list[Span] = []
        start = 0
        for frames, same in groupby(map(len, rows)):
            spans.append(Span(start, len(list(same)), frames))
            start += spans[-1].clips * frames
        rows.append(rows[0].new_zeros(-start % _ROW_STEP, rows[0].shape[1]))
        return self._collected(torch.cat(rows), spans, pooled)

    def _collected(self, rows: Tensor, spans: Sequence[Span], pooled: bool) -> Tensor:
        """What `padded` and `packed` return, from convolution features (rows, channels)."""
        if pooled:
            means = [torch.cat([span.mean(x) for span in spans]) for x in self._layers(rows, spans)]
            return torch.stack(means, dim=1)
        clips, frames = sum(span.clips for span in spans), max(span.frames for span in spans)
        shape = (clips, len(self.blocks) + 1, frames, self.model.config.hidden_size)
        states = rows.new_zeros(shape)
        for layer, x in enumerate(self._layers(rows, spans)):
            first = 0
            for span in spans:
                states[first : first + span.clips, layer, : span.frames] = span.zeroed(span.of(x))
                first += span.clips
        return states

    def _layers(self, rows: Tensor, spans: Sequence[Span]) -> Iterator[Tensor]:
        """Each hidden state, (rows, dim); what is in padded frames is arbitrary."""
        encoder = self.model.encoder
        rows = self._projected(rows)
        x = rows + self._positions(rows, spans)
        if not self.pre_norm:
            x = encoder.layer_norm(x)
        yield x
        masks = self._masks(spans)
        for block, gate in zip(self.blocks, self.gates, strict=True):
            h = block.layer_norm(x) if self.pre_norm else x
            x = self._attention(block.attention, gate, h, spans, masks).add_(x)
            if not self.pre_norm:
                x = block.layer_norm(x)
            h = block.final_layer_norm(x) if self.pre_norm else x
            x = _feed_forward(block.feed_forward, h).add_(x)
            if not self.pre_norm:
                x = block.final_layer_norm(x)
            if getattr(block, "adapter_layer", None) is not None:  # an option of wav2vec 2.0 and HuBERT
                x = x + block.adapter_layer(x)
            yield x

    def _pieces(self, clip: Tensor) -> Tensor:
        """Convolution features (frames, channels) of one clip (1, samples), piece by piece."""
        clip = self._scaled(clip, None)
        first = self._first(clip, None)
        hop, field = conv_geometry(self.kernels, self.strides)
        frames = 1 + (clip.shape[1] - field) // hop
        more = frames + -frames % _PIECE_STEP
        clip = F.pad(clip, (0, hop * (more - 1) + field - clip.shape[1]))  # or cuts what no frame sees
        pieces = [(start, min(start + _PIECE, more)) for start in range(0, more, _PIECE)]
        made = [self._convolved(clip[:, hop * a : hop * (b - 1) + field], first)[0] for a, b in pieces]
        return torch.cat(made)[:frames]

    def _scaled(self, audio: Tensor, lengths: Tensor | None) -> Tensor:
        """(clips, samples), each clip scaled over its own samples and followed by zeros."""
        if lengths is None:
            return zero_mean_unit_variance(audio) if self.normalize else audio
        valid = _valid(audio.shape[1], lengths)
        audio = audio * valid
        if not self.normalize:
            return audio
        audio = (audio - audio.sum(dim=1, keepdim=True) / lengths[:, None]) * valid
        return audio / torch.sqrt(audio.square().sum(dim=1, keepdim=True) / lengths[:, None] + 1e-7)

    def _first(self, audio: Tensor, lengths: Tensor | None) -> Tensor:
        """Weights (clips or 1, samples, channels) of the first convolution, with its group norm.

        The sample after those under the kernel is a one, whose weight is the bias; some more make a multiple of 8.
        """
        conv, norm = self.convs[0].conv, getattr(self.convs[0], "layer_norm", None)
        weight = conv.weight[None, :, 0].double()  # (1, channels, kernel)
        bias = weight.new_zeros(1, weight.shape[1]) if conv.bias is None else conv.bias[None].double()
        if isinstance(norm, nn.GroupNorm):
            mean, covariance = self._under_first_kernel(audio, lengths)
            variance = ((weight @ covariance) * weight).sum(dim=-1).clamp(min=0)  # (clips, channels)
            scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
            # The norm takes the bias away with the mean.
            bias = norm.bias.double() - (weight @ mean[..., None])[..., 0] * scale
            weight = weight * scale[..., None]
        weight = F.pad(torch.cat([weight, bias[..., None]], dim=-1), (0, -(weight.shape[-1] + 1) % 8))
        return weight.transpose(1, 2).to(conv.weight.dtype)

    def _under_first_kernel(self, audio: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean (clips, kernel) and covariance (clips, kernel, kernel), over frames, of what the first kernel sees."""
        seen = audio.double().unfold(1, self.kernels[0], self.strides[0])  # (clips, frames, kernel)
        if lengths is None:
            mean = seen.mean(dim=1)
            square = seen.transpose(1, 2) @ seen / seen.shape[1]
        else:
            frames = 1 + (lengths - self.kernels[0]) // self.strides[0]
            own = seen * _valid(seen.shape[1], frames)[..., None]
            mean = own.sum(dim=1) / frames[:, None]
            square = own.transpose(1, 2) @ seen / frames[:, None, None]
        return mean, square - mean[:, :, None] * mean[:, None]

    def _convolved(self, audio: Tensor, first: Tensor) -> Tensor:
        """Convolution features (clips, frames, channels)."""
        seen = audio.to(first.dtype).unfold(1, self.kernels[0], self.strides[0])
        seen = F.pad(seen, (0, first.shape[1] - self.kernels[0]), value=1.0)
        x = torch.bmm(seen, first.expand(len(seen), -1, -1))
        for index, (layer, taps) in enumerate(zip(self.convs, self.taps, strict=True)):
            if index:
                x = _convolution(x, layer.conv, taps)
            if isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm):
                x = layer.layer_norm(x)
            x = _activated(x, layer.activation)
        return x

    def _projected(self, rows: Tensor) -> Tensor:
        projection = self.model.feature_projection
        if getattr(projection, "feat_proj_layer_norm", True):  # an option of HuBERT
            rows = projection.layer_norm(rows)
        return projection.projection(rows)

    def _positions(self, rows: Tensor, spans: Sequence[Span]) -> Tensor:
        """Position embeddings of (rows, dim), by one convolution: its weights are reordered at each call."""
        if len(spans) == 1:
            return _together([self._positional(spans[0].of(rows), spans[0])], len(rows))
        frames = max(span.frames for span in spans)
        x = torch.cat([F.pad(span.of(rows), (0, 0, 0, frames - span.frames)) for span in spans])
        own = torch.cat([torch.full((span.clips,), span.frames) for span in spans])
        y = self._positional(x, Span(0, len(x), frames, _valid(frames, own))).split([span.clips for span in spans])
        return _together([part[:, : span.frames] for part, span in zip(y, spans, strict=True)], len(rows))

    def _positional(self, x: Tensor, span: Span) -> Tensor:
        """Position embeddings of (clips, frames, dim)."""
        frames = x.shape[1]
        more = -frames % (_POSITION_STEP if x.device.type == "cpu" else 1)
        for layer, weight in self.positions:
            conv = layer.conv
            if getattr(layer, "batch_norm", None) is not None:  # an option of HuBERT
                x = layer.batch_norm(x.transpose(1, 2)).transpose(1, 2)
            x = F.pad(span.zeroed(x), (0, 0, 0, more)).transpose(1, 2)[..., None]  # (clips, dim, frames, 1)
            x = F.conv2d(x, weight, conv.bias, padding=(conv.padding[0], 0), groups=conv.groups)
            x = x[:, :, :frames, 0].transpose(1, 2)  # an even kernel makes one frame too many
            if hasattr(layer, "layer_norm"):
                x = layer.layer_norm(x)
            x = _activated(x, layer.activation)
        return x

    def _masks(self, spans: Sequence[Span]) -> list[tuple[Tensor | None, Tensor | None]]:
        """For each span what may be attended to, (clips, 1, 1, frames), and WavLM's (heads, frames, frames) bias."""
        bias = None
        if self.gates[0] is not None:  # only the first block has position embeddings; all share them
            longest = max(span.frames for span in spans)
            bias = self.blocks[0].attention.compute_bias(longest, longest).contiguous()
        return [
            (
                None if span.valid is None else span.valid[:, None, None],
                None if bias is None else bias[:, : span.frames, : span.frames],
            )
            for span in spans
        ]

    def _attention(
        self,
        layer: Any,
        gate: tuple[Tensor, Tensor] | None,
        x: Tensor,
        spans: Sequence[Span],
        masks: Sequence[tuple[Tensor | None, Tensor | None]],
    ) -> Tensor:
        """Self-attention of (rows, dim) within each clip."""
        projected = [part(x).unflatten(1, (self.heads, -1)) for part in (layer.q_proj, layer.k_proj, layer.v_proj)]
        made = []
        for span, (mask, bias) in zip(spans, masks, strict=True):
            if gate is not None and bias is not None:
                gated = self._gated(layer, gate, span.of(x), bias)
                mask = gated if mask is None else gated.masked_fill_(~mask, -torch.inf)
            query, key, value = (span.of(part).transpose(1, 2) for part in projected)  # (clips, heads, frames, size)
            y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            made.append(y.transpose(1, 2).flatten(2))
        return layer.out_proj(_together(made, len(x)))

    def _gated(self, layer: Any, gate: tuple[Tensor, Tensor], x: Tensor, bias: Tensor) -> Tensor:
        """WavLM's bias, (clips, heads, frames, frames), scaled by what is at each query (Chen et al. 2022)."""
        update, reset = torch.sigmoid(F.linear(x.unflatten(2, (self.heads, -1)), *gate)).unbind(dim=-1)
        scale = update * (reset * layer.gru_rel_pos_const.flatten() - 1.0) + 2.0  # (clips, frames, heads)
        return scale.transpose(1, 2)[..., None] * bias


def _together(parts: Sequence[Tensor], count: int) -> Tensor:
    """So many rows, from (clips, frames, dim) of each span and zeros."""
    rows = [part.flatten(0, 1) for part in parts]
    missing = count - sum(len(part) for part in rows)
    if missing:
        rows.append(rows[0].new_zeros(missing, rows[0].shape[1]))
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _valid(size: int, counts: Tensor) -> Tensor:
    """(clips, size): which are among the first ``counts`` (clips,) of each clip."""
    return torch.arange(size, device=counts.device) < counts[:, None]


def _taps(conv: nn.Conv1d) -> list[Tensor]:
    """Weights (taps * channels in, channels out) of a convolution, ``stride`` taps at a time."""
    weight = conv.weight.permute(2, 1, 0)  # (kernel, in, out)
    return [part.flatten(0, 1).contiguous() for part in weight.split(conv.stride[0])]


def _convolution(x: Tensor, conv: nn.Conv1d, taps: Sequence[Tensor]) -> Tensor:
    """Of (clips, frames, channels): one matrix product per group of taps, on views, no row of which overlaps."""
    (kernel,), (stride,), channels = conv.kernel_size, conv.stride, x.shape[2]
    frames = 1 + (x.shape[1] - kernel) // stride
    y = None
    for index, weight in enumerate(taps):
        seen = x[:, index * stride :].unfold(1, len(weight) // channels, stride)[:, :frames]
        y = _product(seen.transpose(2, 3).flatten(2), weight, y)
    assert y is not None
    return y if conv.bias is None else y.add_(conv.bias)


def _product(x: Tensor, weight: Tensor, y: Tensor | None) -> Tensor:
    """(clips, frames, in) times (in, out), added to ``y`` in place."""
    if len(x) == 1:  # the batched product makes copies on a CPU
        return (torch.mm(x[0], weight) if y is None else y[0].addmm_(x[0], weight))[None]
    weight = weight.expand(len(x), -1, -1)
    return torch.bmm(x, weight) if y is None else y.baddbmm_(x, weight)


def _channels_last(weight: Tensor) -> Tensor:
    """Weights (out, in, kernel) for conv2d over (clips, in, frames, 1)."""
    return weight[..., None].contiguous(memory_format=torch.channels_last)


def _gate(attention: Any) -> tuple[Tensor, Tensor] | None:
    """WavLM: weights and bias of the two gates; the checkpoint has each as a sum of four."""
    if not hasattr(attention, "gru_rel_pos_linear"):
        return None
    weight, bias = attention.gru_rel_pos_linear.weight, attention.gru_rel_pos_linear.bias
    return weight.unflatten(0, (2, 4)).sum(dim=1), bias.unflatten(0, (2, 4)).sum(dim=1)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    return layer.output_dense(_activated(layer.intermediate_dense(x), layer.intermediate_act_fn))


def _activated(x: Tensor, activation: nn.Module) -> Tensor:
    """In place for GELU, which all published checkpoints have."""
    if type(activation).__name__ == "GELUActivation":
        return torch.ops.aten.gelu_(x)
    return activation(x)


def zero_mean_unit_variance(audio: Tensor) -> Tensor:
    """Each row of (clips, samples) as transformers' Wav2Vec2FeatureExtractor scales it."""
    variance, mean = torch.var_mean(audio, dim=-1, correction=0, keepdim=True)
    return (audio - mean) / torch.sqrt(variance + 1e-7)


def conv_geometry(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Hop and receptive field, in samples, of a stack of convolutions without padding."""
    hop, field = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field
