"""The networks that are trained: transformers' own classes, so that what is saved loads anywhere.

``base`` and ``tiny`` are Data2VecAudioModel or HubertModel: seven convolutions on the waveform, 400
samples seen every 320. ``small`` is a Wav2Vec2BertModel: conformer blocks on two stacked log-mel
frames (25 ms every 10), which cost a hundredth of the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from svuprobe.extractors.base import FrameGrid
from svuprobe.pretrain.recipe import Recipe
from svuprobe.pretrain.spectra import FRAME, HOP, RATE, MelBank

MEL_BANDS, MEL_STRIDE = 80, 2
# Log energies below 1 (of 16-bit numbers) count as silence: there is nothing but rounding.
LOG_FLOOR = 0.0
_SIXTEEN_BITS = 2.0**15

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
_SMALL: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "feature_projection_input_dim": MEL_BANDS * MEL_STRIDE,
    "hidden_act": "swish",
    "position_embeddings_type": "rotary",
    "conv_depthwise_kernel_size": 15,
    "add_adapter": False,
    "layerdrop": 0.0,
}


class Body(nn.Module):
    """A network in the parts that objectives need: audio to frames, masks, frames to states.

    Attributes
    ----------
    model
        Of transformers; nothing else is saved.
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
    """Convolutions on the waveform, as wav2vec 2.0 has them."""

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
    """Stacked log-mel frames, each normalised on its own by the network's first layer norm."""

    grid = FrameGrid(RATE, HOP * MEL_STRIDE, FRAME + HOP * (MEL_STRIDE - 1))

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.mel = MelBank(MEL_BANDS, _SIXTEEN_BITS)

    def frames(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Turn audio into frames; there is no penalty."""
        mel = self.mel(audio).clamp(min=LOG_FLOOR)
        whole = mel[:, : mel.shape[1] // MEL_STRIDE * MEL_STRIDE]
        stacked = whole.unflatten(1, (-1, MEL_STRIDE)).flatten(2)
        frames, _ = self.model.feature_projection(stacked)
        return frames, stacked.new_zeros(())


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
            dropouts["conformer_conv_dropout"] = recipe.dropout
            small = transformers.Wav2Vec2BertConfig(**_SMALL | dropouts)
            return MelBody(transformers.Wav2Vec2BertModel(small))
        size = _TINY if recipe.size == "tiny" else {}
        if recipe.objective == "data2vec":
            # Five positional convolutions of width 19 (fairseq: conv_pos 95, pos_conv_depth 5).
            conv = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
            d2v = transformers.Data2VecAudioConfig(**dropouts | size | conv)
            return WaveformBody(transformers.Data2VecAudioModel(d2v), recipe.feature_gradient)
        hubert = transformers.HubertConfig(**dropouts | size)
        return WaveformBody(transformers.HubertModel(hubert), recipe.feature_gradient)
