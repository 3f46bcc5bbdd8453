"""Compute every layer of a frozen wav2vec 2.0-like encoder, exact whatever else is in the batch.

The hidden states are those that transformers has for each clip alone.
`svuprobe.extractors.models.feature_encoder` has the convolutions,
`svuprobe.extractors.models.context_network` the transformer, and each says what padding would spoil
there; `svuprobe.extractors.models.trainable` is the same encoder for weights that learn.

On an accelerator (`Encoder.padded`) padding is a mask, and none where all clips have one length. On
a CPU (`Encoder.packed`) little is padded: each clip goes through the convolutions alone, in pieces
that stay in the cache, the rows of all clips together through the matrix products, and clips of one
length together through attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from svuprobe.extractors.models.context_network import FrozenContextNetwork, Span
from svuprobe.extractors.models.feature_encoder import FeatureEncoder, valid_mask

# oneDNN generates code for every new shape of a bfloat16 product (5 ms), so rows of a batch on a
# CPU are rounded up to a multiple of this.
_ROW_STEP = 64


class Encoder:
    """Hold the frozen weights of an encoder, some in another layout.

    Parameters
    ----------
    model
        A Wav2Vec2Model, HubertModel, WavLMModel or Data2VecAudioModel. Its weights are taken as
        they are now: make a new Encoder after it was moved or changed.
    normalize
        Whether to scale each clip to zero mean and unit variance first.
    """

    def __init__(self, model: Any, normalize: bool) -> None:
        self.features = FeatureEncoder(model, normalize)
        self.context = FrozenContextNetwork(model)
        self.dim: int = model.config.hidden_size

    def padded(self, audio: Tensor, lengths: Tensor | None, pooled: bool) -> Tensor:
        """Compute hidden states of clips as long as the longest.

        There is no branch on their values, so that it can be compiled.

        Parameters
        ----------
        audio
            (clips, samples) float32.
        lengths
            (clips,) int64 on the device of the audio; None for clips that all fill the batch.
        pooled
            Whether to take means and deviations over the frames of each clip.

        Returns
        -------
        Tensor
            (clips, layers, frames, dim), zeros after a clip's own frames; pooled (clips, 2, layers,
            dim) float32.
        """
        x = self.features.padded(audio, lengths)
        clips, frames, _ = x.shape
        valid = None
        if lengths is not None:
            valid = valid_mask(
                frames, 1 + (lengths - self.features.receptive_field) // self.features.hop
            )
        return self._collected(x.flatten(0, 1), [Span(0, clips, frames, valid)], pooled)

    def packed(self, audio: Tensor, lengths: Sequence[int], pooled: bool) -> Tensor:
        """Compute the same without padding, (clips, layers, frames, dim) or (clips, 2, layers,
        dim).
        """
        rows = [
            self.features.alone(clip[None, :samples])
            for clip, samples in zip(audio, lengths, strict=True)
        ]
        spans: list[Span] = []
        start = 0
        # Neighbours of one length go through attention together: batches are sorted by length.
        for frames, same in groupby(map(len, rows)):
            spans.append(Span(start, len(list(same)), frames))
            start += spans[-1].clips * frames
        rows.append(rows[0].new_zeros(-start % _ROW_STEP, rows[0].shape[1]))
        return self._collected(torch.cat(rows), spans, pooled)

    def _collected(self, rows: Tensor, spans: Sequence[Span], pooled: bool) -> Tensor:
        """Return what `padded` and `packed` do, from convolution features (rows, channels)."""
        layers = self.context.hidden(rows, spans)
        if pooled:
            moments = [torch.cat([span.moments(x) for span in spans]) for x in layers]
            return torch.stack(moments, dim=2)
        clips, frames = sum(span.clips for span in spans), max(span.frames for span in spans)
        states = rows.new_zeros((clips, len(self.context.blocks) + 1, frames, self.dim))
        for layer, x in enumerate(layers):
            first = 0
            for span in spans:
                states[first : first + span.clips, layer, : span.frames] = span.zeroed(span.of(x))
                first += span.clips
        return states
