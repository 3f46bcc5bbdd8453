"""Compute the convolutions of a wav2vec 2.0-like model, exact whatever else is in the batch.

What padding would spoil here
-----------------------------
- **Waveform normalisation** takes mean and variance of a clip's own samples.
- **The group norm** of base models normalises each channel over *time*, so silence after a clip
  changes every frame of it. A channel of the first convolution is linear in the samples under its
  kernel, so its mean and variance over the clip's own frames follow from the mean and the
  covariance of those ten samples (in float64), and the norm becomes other weights of that
  convolution, one set per clip. No pass over the frames is left of it.

Frames are rows, (clips, frames, channels), from the waveform on. A convolution of kernel 3 and
stride 2 is then two matrix products on views: taps 0 and 1 of a frame lie side by side, and so do
those of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Frames that a CPU takes through the convolutions at once: more is not faster, and above 32 MB an
# activation costs page faults, because the C library hands such memory back and asks for it again.
_PIECE = 200
# oneDNN generates code for every new shape of a bfloat16 product (5 ms), so the frames in the last
# piece of a clip are rounded up to a multiple of this: a CPU sees few shapes.
_PIECE_STEP = 10


class FeatureEncoder:
    """Hold the frozen convolutions of a model, their weights in another layout.

    Parameters
    ----------
    model
        A Wav2Vec2Model, HubertModel, WavLMModel or Data2VecAudioModel. Its weights are taken as
        they are now: make a new one after they were moved or changed.
    normalize
        Whether to scale each clip to zero mean and unit variance first.
    """

    def __init__(self, model: Any, normalize: bool) -> None:
        self.normalize = normalize
        self.kernels, self.strides = (
            tuple(model.config.conv_kernel),
            tuple(model.config.conv_stride),
        )
        self.hop, self.receptive_field = conv_geometry(self.kernels, self.strides)
        self.convs = list(model.feature_extractor.conv_layers)
        self.taps = [_taps(layer.conv) for layer in self.convs]

    def padded(self, audio: Tensor, lengths: Tensor | None) -> Tensor:
        """Return features (clips, frames, channels) of clips as long as the longest
        (`Encoder.padded`).
        """
        audio = scaled(audio, lengths, self.normalize)
        frames = 1 + (audio.shape[1] - self.receptive_field) // self.hop
        # Samples after the last frame count for the norms only. Without them every shape is a
        # multiple of frames and a constant, and the compiler needs no case for odd ones.
        seen = audio[:, : self.hop * (frames - 1) + self.receptive_field]
        return self._convolved(seen, self._first_weights(audio, lengths))

    def alone(self, clip: Tensor) -> Tensor:
        """Return features (frames, channels) of one clip (1, samples), piece by piece: for a
        CPU.
        """
        clip = scaled(clip, None, self.normalize)
        first = self._first_weights(clip, None)
        frames = 1 + (clip.shape[1] - self.receptive_field) // self.hop
        rounded = frames + -frames % _PIECE_STEP
        needed = self.hop * (rounded - 1) + self.receptive_field
        clip = F.pad(clip, (0, needed - clip.shape[1]))  # or cuts what no frame sees
        pieces = []
        for start in range(0, rounded, _PIECE):
            end = min(start + _PIECE, rounded)
            seen = clip[:, self.hop * start : self.hop * (end - 1) + self.receptive_field]
            pieces.append(self._convolved(seen, first)[0])
        return torch.cat(pieces)[:frames]

    def _first_weights(self, audio: Tensor, lengths: Tensor | None) -> Tensor:
        """Return weights (clips or 1, samples, channels) of the first convolution, with its group
        norm.

        The sample after those under the kernel is a one, whose weight is the bias; some more make a
        multiple of 8, which is what matrix products are fast for.
        """
        conv, norm = self.convs[0].conv, getattr(self.convs[0], "layer_norm", None)
        weight = conv.weight[None, :, 0].double()  # (1, channels, kernel)
        bias = (
            weight.new_zeros(1, weight.shape[1]) if conv.bias is None else conv.bias[None].double()
        )
        if isinstance(norm, nn.GroupNorm):
            mean, covariance = self._under_first_kernel(audio, lengths)
            # (clips, channels)
            # Float64 rounds to just below zero where a channel is constant.
            variance = ((weight @ covariance) * weight).sum(dim=-1).clamp(min=0)
            scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
            # The norm takes the bias away with the mean.
            bias = norm.bias.double() - (weight @ mean[..., None])[..., 0] * scale
            weight = weight * scale[..., None]
        # Zeros up to a multiple of 8; the one that carries the bias is among the samples.
        weight = F.pad(
            torch.cat([weight, bias[..., None]], dim=-1), (0, -(weight.shape[-1] + 1) % 8)
        )
        return weight.transpose(1, 2).to(conv.weight.dtype)

    def _under_first_kernel(self, audio: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mean and covariance, over frames, of the samples under the first kernel.

        Of a clip's own frames: (clips, kernel) and (clips, kernel, kernel), float64.
        """
        seen = audio.double().unfold(1, self.kernels[0], self.strides[0])  # (clips, frames, kernel)
        if lengths is None:
            mean = seen.mean(dim=1)
            square = seen.transpose(1, 2) @ seen / seen.shape[1]
        else:
            frames = 1 + (lengths - self.kernels[0]) // self.strides[0]
            own = seen * valid_mask(seen.shape[1], frames)[..., None]
            mean = own.sum(dim=1) / frames[:, None]
            square = own.transpose(1, 2) @ seen / frames[:, None, None]
        return mean, square - mean[:, :, None] * mean[:, None]

    def _convolved(self, audio: Tensor, first: Tensor) -> Tensor:
        """Return features (clips, frames, channels), by `_first_weights` for the first
        convolution.
        """
        seen = audio.to(first.dtype).unfold(1, self.kernels[0], self.strides[0])
        # Ones follow the samples, for the bias; the weights after it are zero.
        seen = F.pad(seen, (0, first.shape[1] - self.kernels[0]), value=1.0)
        x = torch.bmm(seen, first.expand(len(seen), -1, -1))
        for index, (layer, taps) in enumerate(zip(self.convs, self.taps, strict=True)):
            if index:
                x = _convolution(x, layer.conv, taps)
            if isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm):
                x = layer.layer_norm(x)
            x = activated(x, layer.activation)
        return x


def _taps(conv: nn.Conv1d) -> list[Tensor]:
    """Return weights (taps * channels in, channels out) of a convolution, ``stride`` taps at a
    time.
    """
    weight = conv.weight.permute(2, 1, 0)  # (kernel, in, out)
    return [part.flatten(0, 1).contiguous() for part in weight.split(conv.stride[0])]


def _convolution(x: Tensor, conv: nn.Conv1d, taps: Sequence[Tensor]) -> Tensor:
    """Convolve (clips, frames, channels): a matrix product per group of taps, on views.

    Rows of the views do not overlap.
    """
    (kernel,), (stride,), channels = conv.kernel_size, conv.stride, x.shape[2]
    frames = 1 + (x.shape[1] - kernel) // stride
    y = None
    for index, weight in enumerate(taps):
        seen = x[:, index * stride :].unfold(1, len(weight) // channels, stride)[:, :frames]
        y = _product(seen.transpose(2, 3).flatten(2), weight, y)
    assert y is not None
    return y if conv.bias is None else y.add_(conv.bias)


def _product(x: Tensor, weight: Tensor, y: Tensor | None) -> Tensor:
    """Multiply (clips, frames, in) by (in, out), added to ``y`` in place."""
    if len(x) == 1:  # the batched product makes copies on a CPU
        return (torch.mm(x[0], weight) if y is None else y[0].addmm_(x[0], weight))[None]
    weight = weight.expand(len(x), -1, -1)
    return torch.bmm(x, weight) if y is None else y.baddbmm_(x, weight)


def activated(x: Tensor, activation: nn.Module) -> Tensor:
    """Apply an activation, in place for GELU, which all published checkpoints have."""
    if type(activation).__name__ == "GELUActivation":
        return torch.ops.aten.gelu_(x)
    return activation(x)


def valid_mask(size: int, counts: Tensor) -> Tensor:
    """Return (clips, size) bool: what is among the first ``counts`` (clips,) of each clip."""
    return torch.arange(size, device=counts.device) < counts[:, None]


def scaled(audio: Tensor, lengths: Tensor | None, normalize: bool) -> Tensor:
    """Return (clips, samples), each clip scaled over its own samples if ``normalize``, zeros after
    it.

    ``lengths`` (clips,) is None where all clips fill the batch.
    """
    if lengths is None:
        return zero_mean_unit_variance(audio) if normalize else audio
    valid = valid_mask(audio.shape[1], lengths)
    audio = audio * valid
    if not normalize:
        return audio
    audio = (audio - audio.sum(dim=1, keepdim=True) / lengths[:, None]) * valid
    # 1e-7 is transformers' own.
    return audio / torch.sqrt(audio.square().sum(dim=1, keepdim=True) / lengths[:, None] + 1e-7)


def zero_mean_unit_variance(audio: Tensor) -> Tensor:
    """Scale each row of (clips, samples) as transformers' Wav2Vec2FeatureExtractor does."""
    variance, mean = torch.var_mean(audio, dim=-1, correction=0, keepdim=True)
    return (audio - mean) / torch.sqrt(variance + 1e-7)


def conv_geometry(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return hop and receptive field, in samples, of a stack of convolutions without padding."""
    hop, field = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        # A step of a later layer is as many samples as all strides before it make.
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field
