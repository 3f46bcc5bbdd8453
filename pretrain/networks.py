"""Build the networks that are trained.

``base`` and ``tiny`` are Data2VecAudioModel or HubertModel: seven convolutions on the waveform, 400
samples seen every 320. ``small`` is svuprobe's own
`svuprobe.extractors.networks.mel_conformer`: its spectrogram costs a hundredth of the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.networks.kaldi import RATE
from svuprobe.extractors.networks.mel_conformer import MelConformer, MelConformerConfig
from svuprobe.pretrain.recipe import Recipe

# The network that `extractors.catalogue` calls wav2vec2-tiny: all of base's layers, a hundredth of
# its size.
_TINY: dict[str, Any] = {
    "hidden_size": 96,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


class Body(nn.Module):
    """Split a network into what objectives need: audio to frames, masks, frames to states.

    Attributes
    ----------
    model
        What is saved in the end.
    grid
        Where its frames lie.
    dim
        Width of frames and states.
    """

    grid: FrameGrid

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.dim: int = model.config.hidden_size

    def frames(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Turn audio (batch, samples) into frames (batch, frames, dim), and a penalty on them."""
        raise NotImplementedError

    def masked(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Put the learnt mask in the place of frames where ``mask`` (batch, frames) is true."""
        hidden: Tensor = self.model.masked_spec_embed.to(frames.dtype)
        return torch.where(mask[..., None], hidden, frames)

    def states(self, frames: Tensor) -> Tensor:
        """Run the blocks: (batch, frames, dim) to the states after the last."""
        states: Tensor = self.model.encoder(frames).last_hidden_state
        return states


class WaveformBody(Body):
    """Run convolutions on the waveform, as wav2vec 2.0 has them."""

    grid = FrameGrid(RATE, 320, 400)

    def __init__(self, model: Any, feature_gradient: float) -> None:
        super().__init__(model)
        self.feature_gradient = feature_gradient

    def frames(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Turn audio into frames; the penalty is the mean square of the convolutions' output."""
        features = self.model.feature_extractor(audio)
        if self.feature_gradient != 1:
            features = _ScaledGradient.apply(features, self.feature_gradient)
        penalty = features.float().square().mean()
        projected = self.model.feature_projection(features.transpose(1, 2))
        # Hubert's gives the frames alone, the other classes also what they were normalised to.
        return projected[0] if isinstance(projected, tuple) else projected, penalty


class MelBody(Body):
    """Run conformer blocks on a log-mel spectrogram; there is no penalty on its frames."""

    def __init__(self, model: MelConformer) -> None:
        super().__init__(model)
        self.grid = model.grid
        self.mask = nn.Parameter(torch.empty(self.dim).uniform_())

    def frames(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Turn audio into frames."""
        frames = self.model.frames(audio)
        return frames, frames.new_zeros(())

    def masked(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Put the learnt mask in the place of frames."""
        return torch.where(mask[..., None], self.mask.to(frames.dtype), frames)

    def states(self, frames: Tensor) -> Tensor:
        """Run the blocks."""
        last: Tensor = self.model.layers(frames)[-1]
        return last


class _ScaledGradient(torch.autograd.Function):
    """Leave values as they are and scale their gradient (fairseq's GradMultiply)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def build(recipe: Recipe) -> Body:
    """Return the network of a recipe with its first weights, which follow from the seed."""
    import transformers

    dropouts = {
        "hidden_dropout": recipe.dropout,
        "attention_dropout": recipe.attention_dropout,
        "activation_dropout": recipe.activation_dropout,
        "feat_proj_dropout": recipe.input_dropout,
        "layerdrop": recipe.layerdrop,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.size == "small":
            return MelBody(MelConformer(MelConformerConfig()))
        size = _TINY if recipe.size == "tiny" else {}
        if recipe.objective == "data2vec":
            # Five positional convolutions of width 19 (fairseq: conv_pos 95, pos_conv_depth 5).
            conv = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
            d2v = transformers.Data2VecAudioConfig(**dropouts | size | conv)
            return WaveformBody(transformers.Data2VecAudioModel(d2v), recipe.feature_gradient)
        hubert = transformers.HubertConfig(**dropouts | size)
        return WaveformBody(transformers.HubertModel(hubert), recipe.feature_gradient)
