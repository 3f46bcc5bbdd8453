"""The encoders of neural codecs, before quantisation: EnCodec, DAC and Mimi.

Défossez et al. 2022 (EnCodec, arXiv:2210.13438), Kumar et al. 2023 (DAC, arXiv:2306.06546),
Défossez et al. 2024 (Mimi, arXiv:2410.00037). One layer, ``latent``: the continuous vectors that
the quantiser is given.

**Frames.** Convolutions pad, so that there is a frame for each ``hop`` samples also at the ends.
Its place is the middle of what its convolutions see:

- EnCodec at 32 kHz and DAC pad both ends alike: frame ``i`` is centred in the ``hop`` samples from
  ``i * hop`` on. One at the end that is less than that long is computed on padding and left out.
- EnCodec at 24 kHz and Mimi are causal: all padding comes before, and a frame lags behind. A clip
  is followed by as much silence as brings the middle of the frames' field into it, and as many
  frames at the start, in the padding, are left out: 4 of EnCodec's, 1 of Mimi's.

**Batches**: of the causal ones, clips of any lengths together, since no frame hears what is after
that silence. Of the others, clips of one length: zeros after a clip aren't what their convolutions
pad it with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import current_key
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.of_transformers import (
    FEATURE_EXTRACTOR,
    computed_on_cpu,
    configuration,
    usable,
    with_settings,
)

# model_type -> configuration and model class in transformers
_CLASSES = {
    "dac": ("DacConfig", "DacModel"),
    "encodec": ("EncodecConfig", "EncodecModel"),
    "mimi": ("MimiConfig", "MimiModel"),
}


class Codec(Network):
    """Encode audio into a codec's latents, before they are quantised.

    Parameters
    ----------
    encoder
        Convolutions (batch, 1, samples) -> (batch, features, frames).
    rate
        Hz.
    dim
        Features of the latent vectors.
    causal
        Whether all that they pad comes before the clip.
    after
        More convolutions, on the frames of the first.
    """

    layer_names = ("latent",)

    def __init__(
        self, encoder: nn.Module, rate: int, dim: int, causal: bool, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.frontend = nn.Identity()
        self.encoder, self.dim, self.padded_exactly = encoder, dim, causal
        hop, self.sees = _geometry([encoder] if after is None else [encoder, after])
        self.lag, field = 0, hop
        if causal:
            before = self.sees - hop  # samples of padding
            # Frame i + lag sees self.sees samples from (i + lag) * hop - before on: of those the
            # middle is at i * hop + field / 2.
            while (field := (2 * self.lag + 1) * hop - before) < 1:
                self.lag += 1
        self.grid = FrameGrid(rate, hop, field)
        # As much as the last frame hears, so that none is computed on padding.
        self.silence = (self.lag + 1) * hop if causal else 0

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute the latent vectors (`Network.states`)."""
        weight = next(self.encoder.parameters())
        followed = nn.functional.pad(audio[:, None], (0, self.silence)).to(weight.dtype)
        # The first convolutions make up to 64 numbers of each sample: on a CPU a batch of them
        # would take longer than its clips alone, which are less far from the caches.
        parts = followed.split(1) if followed.device.type == "cpu" else [followed]
        convolved = torch.cat([self.convolved(part) for part in parts])
        return [self.latents(convolved).transpose(1, 2)[:, self.lag :]]

    def convolved(self, audio: Tensor) -> Tensor:
        """Compute (batch, C, frames) of audio (batch, 1, samples)."""
        hidden: Tensor = self.encoder(audio)
        return hidden

    def latents(self, convolved: Tensor) -> Tensor:
        """Compute (batch, features, frames) of what was convolved."""
        return convolved


def _geometry(parts: Sequence[nn.Module]) -> tuple[int, int]:
    """Return hop and field in samples of convolutions that follow each other.

    Those that lie beside others, around the blocks, have a kernel of one.
    """
    hop, field = 1, 1
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv1d):
                field += (module.kernel_size[0] - 1) * module.dilation[0] * hop
                hop *= module.stride[0]
    return hop, field


class Encodec(Codec):
    """EnCodec: convolutions, an LSTM on their frames, and one more convolution.

    A step of the LSTM reads all its weights, 34 MB of the codec at 32 kHz, whether for one clip or
    for many: clips go through it together.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        super().__init__(
            model.encoder, config.sampling_rate, config.hidden_size, config.use_causal_conv
        )
        layers = model.encoder.layers
        self.first_of_frames = [hasattr(layer, "lstm") for layer in layers].index(True)

    def convolved(self, audio: Tensor) -> Tensor:
        """Compute (batch, C, frames) of audio (batch, 1, samples)."""
        return self._through(slice(self.first_of_frames), audio)

    def latents(self, convolved: Tensor) -> Tensor:
        """Compute (batch, features, frames) of what was convolved."""
        return self._through(slice(self.first_of_frames, None), convolved)

    def _through(self, which: slice, hidden: Tensor) -> Tensor:
        layers: Any = self.encoder.layers
        for layer in layers[which]:
            hidden = layer(hidden)
        return hidden


class Dac(Codec):
    """DAC, whose feature extractor fills up the last frame with silence.

    It stays in float32: its activations are sines, of phases that a bfloat16 would round.
    """

    in_float32 = ("frontend", "encoder")
    given = torch.float32

    def move(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move all to a device; states are given in a type."""
        super().move(device, dtype)
        self.given = dtype

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute the latent vectors (`Network.states`)."""
        return [state.to(self.given) for state in super().states(audio, lengths)]

    def convolved(self, audio: Tensor) -> Tensor:
        """Compute (batch, features, frames) of audio (batch, 1, samples)."""
        return super().convolved(nn.functional.pad(audio, (0, -audio.shape[-1] % self.grid.hop)))


class Mimi(Codec):
    """Mimi: a causal transformer on the convolutions, and every two of its frames made one."""

    def __init__(self, model: Any) -> None:
        half, config = model.encoder, model.config
        # Before transformers 5.20 or so, the three parts lay side by side in the model.
        divided = hasattr(half, "encoder_seanet")
        convolutions, owner = (half.encoder_seanet, half) if divided else (half, model)
        super().__init__(
            convolutions, config.sampling_rate, config.hidden_size, True, owner.downsample
        )
        self.encoder_transformer, self.downsample = owner.encoder_transformer, owner.downsample

    def latents(self, convolved: Tensor) -> Tensor:
        """Compute (batch, features, frames) of what was convolved."""
        hidden = convolved.transpose(1, 2)
        hidden = self.encoder_transformer(hidden, return_dict=True).last_hidden_state
        latents: Tensor = self.downsample(hidden.transpose(1, 2))
        return latents

    def move(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move all to a device, and all but the frequencies of the positions to a type."""
        positions = self.encoder_transformer.rotary_emb
        exact = positions.inv_freq
        super().move(device, dtype)
        positions.inv_freq = exact.to(device)


def _build(fields: Mapping[str, Any], name: str) -> Codec:
    import transformers

    model_type = fields["model_type"]
    config_class, model_class = _CLASSES[model_type]
    config = configuration(config_class, fields, name)
    _check_audio(config, fields.get(FEATURE_EXTRACTOR), name)
    # They compute paddings and positions.
    with usable(name), computed_on_cpu():
        model = getattr(transformers, model_class)(config)
    if model_type == "dac":
        return Dac(model.encoder, config.sampling_rate, config.hidden_size, causal=False)
    return Mimi(model) if model_type == "mimi" else Encodec(model)


def _check_audio(config: Any, settings: Mapping[str, Any] | None, name: str) -> None:
    """Refuse codecs of stereo, of pieces, of norms over what follows a clip, and settings that
    contradict config.json.
    """
    if getattr(config, "audio_channels", 1) != 1:
        raise ExtractError(
            f"{name}: this codec takes {config.audio_channels} channels, and svuprobe gives mono: "
            "use one of mono, such as encodec-32khz or dac-44khz"
        )
    if getattr(config, "normalize", False) or getattr(config, "chunk_length_s", None):
        raise ExtractError(
            f"{name}: this codec scales the audio or cuts it to pieces of chunk_length_s that "
            "overlap, whose frames lie on no one grid: use one that does neither, such as "
            "encodec-32khz or dac-44khz"
        )
    if getattr(config, "norm_type", "") == "time_group_norm" and config.use_causal_conv:
        raise ExtractError(
            f"{name}: this codec is causal and normalises over the whole clip (norm_type in "
            "config.json), so what follows a clip would change its features: use one that does "
            "one of them, such as encodec-24khz"
        )
    rate = (settings or {}).get("sampling_rate", config.sampling_rate)
    if rate != config.sampling_rate:
        raise ExtractError(
            f"{name}: the feature extractor gives audio at {rate!r:.40} Hz, and config.json "
            f"describes a codec of {config.sampling_rate} Hz"
        )


ARCHITECTURE = Architecture(
    family="codec",
    recognise=with_settings(*_CLASSES),
    build=_build,
    rename=current_key,
    unneeded=(
        Unneeded(r"quantizer\..*", "after the latent vectors"),
        Unneeded(r"(decoder|decoder_transformer|upsample)\..*", "makes audio of quantised vectors"),
    ),
)
