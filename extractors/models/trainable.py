"""Make an encoder a module to be trained: every layer, exact whatever else is in the batch.

The transformer is the one of `svuprobe.extractors.models.context_network`, which extraction runs
frozen; here it has gradients, layerdrop, masked stretches of time and gradient checkpointing. The
convolutions are the frozen ones of `svuprobe.extractors.models.feature_encoder` where they need no
gradient and lie on a CPU; else they are the model's own modules, with a group norm that does not
count padding.

In ``eval`` the hidden states are the extractor's. What is frozen (no weight of it requires a
gradient) stays in ``eval`` when the module is set to ``train``, so nothing is dropped in a frozen
encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.models.context_network import ContextNetwork, Gate, Mask, Span
from svuprobe.extractors.models.feature_encoder import FeatureEncoder, scaled, valid_mask
from svuprobe.extractors.models.transformer import TransformerExtractor

# SpecAugment over time as transformers has it by default: about 5 % of the frames, 10 at a time.
_MASKED_SHARE, _MASKED_FRAMES = 0.05, 10


class TrainableEncoder(nn.Module):
    """Hold the weights of an extractor, in float32, and a forward to train them with.

    Parameters
    ----------
    extractor
        Its model is taken over, not copied.
    layerdrop
        Probability that a block is skipped in training.
    spec_augment
        Whether stretches of 10 frames are zeroed in training, about 5 % of a clip (Park et al.
        2019). Zeros, because the vector that published checkpoints put there is not read.
    checkpointing
        Whether blocks are computed again in the backward pass instead of kept: less memory, a third
        more time.
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
        self.grid = FrameGrid.of(extractor)
        self.context = _LearningContextNetwork(self.model, layerdrop, spec_augment, checkpointing)
        self._frozen: tuple[list[tuple[int, int]], FeatureEncoder] | None = None

    def parts(self) -> list[list[nn.Module]]:
        """Return what is frozen or learns as a whole: convolutions, input of the first block, each
        block.
        """
        model, encoder = self.model, self.model.encoder
        before = [
            model.feature_projection,
            encoder.pos_conv_embed,
            encoder.layer_norm,
            encoder.dropout,
        ]
        return [[model.feature_extractor], before, *([block] for block in encoder.layers)]

    def train(self, mode: bool = True) -> TrainableEncoder:
        """Set the parts that have something to learn to training, the others to ``eval``."""
        super().train(mode)
        for part in self.parts():
            learns = any(p.requires_grad for module in part for p in module.parameters())
            for module in part:
                module.train(mode and learns)
        return self

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute, as extractors do, (batch, layers, frames, dim) and (batch,).

        The input is (batch, samples) and (batch,).
        """
        states, frames = self.hidden(audio, lengths)
        return torch.stack(states, dim=1), frames

    def hidden(self, audio: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute each hidden state.

        Parameters
        ----------
        audio, lengths
            (batch, samples) float32 and (batch,) int64, the latter best on the CPU.

        Returns
        -------
        states, frames
            One (batch, frames, dim) a layer, with anything in padded frames, and (batch,) int64,
            the frames of each clip, where the lengths lie.
        """
        # Frames are counted on the CPU where the lengths lie: no need to wait for a GPU.
        frames = self.grid.count(lengths)
        mixed = bool((lengths != audio.shape[1]).any())
        x = self._features(audio, lengths.to(audio.device), mixed)
        valid = valid_mask(x.shape[1], frames.to(x.device)) if mixed else None
        span = Span(0, x.shape[0], x.shape[1], valid)
        # Taken apart after the last block: so autograd adds up what a
        # state's users send back in the order in which it does for the
        # states themselves, and sums of floats depend on their order.
        rows = list(self.context.hidden(x.flatten(0, 1), [span]))
        return [span.of(state) for state in rows], frames

    def _features(self, audio: Tensor, lengths: Tensor, mixed: bool) -> Tensor:
        """Return convolution features (batch, frames, channels)."""
        convolutions = self.model.feature_extractor
        may_learn = any(p.requires_grad for p in convolutions.parameters())
        if may_learn:
            self._frozen = None  # and not told by versions: fused optimisers count none
        learns = torch.is_grad_enabled() and may_learn
        with torch.set_grad_enabled(learns):
            # Clip by clip, without padding: much faster there.
            if not learns and audio.device.type == "cpu":
                frozen = self._frozen_features()
                clips = [
                    frozen.alone(clip[None, :n])
                    for clip, n in zip(audio, lengths.tolist(), strict=True)
                ]
                return nn.utils.rnn.pad_sequence(clips, batch_first=True)
            x = scaled(audio, lengths if mixed else None, self.normalize)[:, None]
            # Only the first convolution of base models has
            # a norm over time, which padding would change.
            for index, layer in enumerate(convolutions.conv_layers):
                first = (
                    index == 0
                    and mixed
                    and isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm)
                )
                x = _normalised(layer, x, lengths) if first else layer(x)
        return x.transpose(1, 2)

    def _frozen_features(self) -> FeatureEncoder:
        """Return the convolutions in the layout of frozen ones, made anew where a weight has
        changed.
        """
        # Where a weight lies, and how often it was written
        # to: a loaded state and a move change one of them.
        written = [(p.data_ptr(), p._version) for p in self.model.feature_extractor.parameters()]
        if self._frozen is None or self._frozen[0] != written:
            self._frozen = written, FeatureEncoder(self.model, self.normalize)
        return self._frozen[1]


class _LearningContextNetwork(ContextNetwork):
    """Compute the transformer in training; the parameters are those of `TrainableEncoder`."""

    def __init__(
        self, model: Any, layerdrop: float, spec_augment: bool, checkpointing: bool
    ) -> None:
        super().__init__(model)
        self.layerdrop, self.spec_augment, self.checkpointing = (
            layerdrop,
            spec_augment,
            checkpointing,
        )

    def projected(self, rows: Tensor, spans: Sequence[Span]) -> Tensor:
        """Return features as wide as the transformer, (rows, dim), with zeros in masked
        stretches.
        """
        rows = super().projected(rows, spans)
        if not (self.spec_augment and self.blocks[-1].training):
            return rows
        ((_, clips, frames, _),) = spans
        return rows * _unmasked(clips, frames).to(rows.device).flatten()[:, None]

    def block(
        self, block: Any, gate: Gate | None, x: Tensor, spans: Sequence[Span], masks: Sequence[Mask]
    ) -> Tensor:
        """Return the hidden state after a block; one that is dropped passes on what came in."""
        # From torch's generator, which fine-tuning seeds: a run can be repeated.
        if block.training and self.layerdrop and float(torch.rand(())) < self.layerdrop:
            return x
        if self.checkpointing and block.training:
            return checkpoint(super().block, block, gate, x, spans, masks, use_reentrant=False)
        return super().block(block, gate, x, spans, masks)


def _normalised(layer: Any, audio: Tensor, lengths: Tensor) -> Tensor:
    """Return the first convolution (batch, channels, frames), group norm over each clip's own
    frames.
    """
    x = layer.conv(audio).float()
    own = 1 + (lengths - layer.conv.kernel_size[0]) // layer.conv.stride[0]
    valid, own = valid_mask(x.shape[2], own)[:, None], own[:, None, None]
    centred = x - (x * valid).sum(dim=2, keepdim=True) / own
    variance = (centred * valid).square().sum(dim=2, keepdim=True) / own
    norm = layer.layer_norm
    x = centred * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    return layer.activation(x)


def _unmasked(clips: int, frames: int) -> Tensor:
    """Draw (clips, frames) bool, False in masked stretches, with torch's generator on the CPU."""
    # A frame begins a stretch with such a chance that 5 % of all are masked.
    begins = torch.rand(clips, frames) < _MASKED_SHARE / _MASKED_FRAMES
    stretch = F.max_pool1d(F.pad(begins.float(), (_MASKED_FRAMES - 1, 0)), _MASKED_FRAMES, stride=1)
    return stretch == 0
