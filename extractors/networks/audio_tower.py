"""The audio encoders of language models that hear: Qwen2-Audio, Audio Flamingo 3, Music Flamingo.

Each is the encoder of Whisper large-v3 (Radford et al. 2022, arXiv:2212.04356), trained further
with a language model behind it (Chu et al. 2024, arXiv:2407.10759; Goel et al. 2025,
arXiv:2507.08128; Ghosh et al. 2025, arXiv:2511.10289). Here it is run up to the last block: the
average of two frames, the LayerNorm and the projection that follow are the language model's input.

**Layers**: what enters the first block (convolutions and positions), and what leaves each.

**Frames** are Whisper's: centred on every 320th sample, ``ceil(samples / 320)`` of them. A piece
lasts 30 s; a shorter one is followed by silence, which the convolutions see and attention doesn't,
as in transformers' models. A frame's states therefore depend on no padded frame, and padded frames
are left out after the convolutions: a window of 10 s takes about a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import check_bands, feature_extractor
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.of_transformers import (
    FEATURE_EXTRACTOR,
    configuration,
    nested,
    usable,
    with_settings,
)

# model_type -> configuration and model class of its encoder in transformers
_CLASSES = {
    "audioflamingo3": ("AudioFlamingo3EncoderConfig", "AudioFlamingo3Encoder"),
    # Its own difference, rotary time embeddings, comes after the encoder.
    "musicflamingo": ("AudioFlamingo3EncoderConfig", "AudioFlamingo3Encoder"),
    "qwen2_audio": ("Qwen2AudioEncoderConfig", "Qwen2AudioEncoder"),
}


class AudioTower(Network):
    """Whisper's encoder without what comes after its last block.

    Parameters
    ----------
    tower
        A Qwen2AudioEncoder or an AudioFlamingo3Encoder.
    extract
        A WhisperFeatureExtractor.
    """

    padded_exactly = True

    def __init__(self, tower: Any, extract: Any) -> None:
        super().__init__()
        self.audio_tower = tower
        self.frontend = nn.Identity()  # transformers' feature extractor is no module
        self.extract = extract
        self.grid = FrameGrid(extract.sampling_rate, 2 * extract.hop_length, 1)
        self.longest = extract.n_samples
        self.dim = tower.conv2.out_channels
        # Until transformers 5, a block must be told that no head is left out.
        asked = signature(tower.layers[0].forward).parameters
        self.left_out = {"layer_head_mask": None} if "layer_head_mask" in asked else {}
        blocks = range(1, len(tower.layers) + 1)
        self.layer_names = ("input", *(f"block{number:02d}" for number in blocks))

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer (`Network.states`)."""
        samples = lengths.tolist()
        clips = [clip[:n].cpu().numpy() for clip, n in zip(audio, samples, strict=True)]
        mel = self.extract(clips, sampling_rate=self.grid.sample_rate, return_tensors="pt")
        weight = self.audio_tower.conv1.weight
        counts = self.grid.count(lengths).to(weight.device)
        hidden = self._convolved(mel["input_features"].to(weight.device, weight.dtype))
        hidden = hidden[:, : int(counts.max())]
        mask = _mask(counts, hidden)
        states = [hidden]
        for block in self.audio_tower.layers:
            output = block(states[-1], attention_mask=mask, **self.left_out)
            # A tuple until transformers 5.
            states.append(output[0] if isinstance(output, tuple) else output)
        return states

    def _convolved(self, mel: Tensor) -> Tensor:
        """Turn spectrograms (batch, bands, 3000) into what enters the blocks (batch, 1500, dim)."""
        tower = self.audio_tower
        hidden = functional.gelu(tower.conv1(mel))
        hidden = functional.gelu(tower.conv2(hidden)).transpose(1, 2)
        positioned: Tensor = hidden + tower.embed_positions.weight
        return positioned


def _mask(counts: Tensor, hidden: Tensor) -> Tensor | None:
    """Return (batch, 1, 1, frames), added to scores: lowest for frames of padding; or None."""
    frames = torch.arange(hidden.shape[1], device=hidden.device)
    padding = frames >= counts[:, None]
    if not padding.any():
        return None
    lowest = torch.finfo(hidden.dtype).min
    return padding[:, None, None].to(hidden.dtype) * lowest


def _build(fields: Mapping[str, Any], name: str) -> AudioTower:
    import transformers

    config_class, model_class = _CLASSES[fields["model_type"]]
    described = nested(fields, "audio_config", name)
    config = configuration(config_class, described, name)
    extract = feature_extractor("WhisperFeatureExtractor", fields.get(FEATURE_EXTRACTOR), name)
    check_bands(extract.feature_size, config.num_mel_bins, name)
    if extract.nb_max_frames != 2 * config.max_source_positions:
        raise ExtractError(
            f"{name}: the feature extractor makes {extract.nb_max_frames} frames of "
            f"{extract.chunk_length} s, and the encoder takes {2 * config.max_source_positions}"
        )
    with usable(name):
        return AudioTower(getattr(transformers, model_class)(config), extract)


ARCHITECTURE = Architecture(
    family="audio-tower",
    recognise=with_settings(*_CLASSES),
    build=_build,
    prefixes=("", "model."),
    unneeded=(
        Unneeded(r"language_model\..*|lm_head\..*", "the language model behind the encoder"),
        Unneeded(r"multi_modal_projector\..*", "makes the language model's input"),
    ),
)
