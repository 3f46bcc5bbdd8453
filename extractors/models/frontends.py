"""Make what the encoders of `svuprobe.extractors.models.generic` are given, run them, and find what
frames come out.

Conventions
-----------
**Frames** of each family:

- UniSpeech, UniSpeech-SAT, wav2vec 2.0 Conformer and Moonshine are convolutions without padding on
  the waveform; SEW and SEW-D average neighbouring frames of theirs, so their hop is twice that of
  the convolutions.
- wav2vec2-BERT stacks two mel frames (25 ms every 10 ms). An odd last one is dropped; transformers
  pads and masks it.
- Whisper's encoder always sees 30 s: its frames are centred on every 320th sample and those of the
  padding are cut off, which leaves ``ceil(samples / 320)``. That is the grid of a receptive field
  of one sample.
- AST always sees 10.24 s: its patches (16 mel frames every 10) are averaged over frequency, which
  gives a frame per 100 ms; the two tokens for whole clips and the patches that touch padding are
  left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import check_bands, feature_extractor, waveform_of
from svuprobe.extractors.models.feature_encoder import conv_geometry, zero_mean_unit_variance

# What a checkpoint's feature extractor says of itself; None where it has none.
Settings = dict[str, Any] | None


@dataclass(frozen=True)
class Frontend:
    """Say how clips become the input of an encoder, and how what it returns becomes frames.

    Attributes
    ----------
    grid
        Where the frames lie that come out.
    inputs
        From clips, each (samples,), to the encoder's input (batch, ...).
    frames
        From one hidden state (batch, positions, dim) to (batch, frames, dim).
    longest
        Samples that the encoder sees at once, to which it pads shorter clips; None for any number,
        without padding.
    normalized
        Whether the waveform is scaled to zero mean and unit variance.
    """

    grid: FrameGrid
    inputs: Callable[[list[torch.Tensor]], torch.Tensor]
    frames: Callable[[torch.Tensor], torch.Tensor] = lambda hidden: hidden
    longest: int | None = None
    normalized: bool = False


def _waveform(
    config: Any,
    settings: Settings,
    name: str,
    normalize: bool | None,
    kernels: Any = None,
    strides: Any = None,
) -> Frontend:
    """Make the front end of convolutions without padding.

    SEW's ``squeeze_factor`` frames then become one.
    """
    sample_rate, default = waveform_of(settings, None, config.to_dict(), name)
    hop, field = conv_geometry(kernels or config.conv_kernel, strides or config.conv_stride)
    squeeze = getattr(config, "squeeze_factor", 1)
    normalized = default if normalize is None else normalize

    def inputs(clips: list[torch.Tensor]) -> torch.Tensor:
        audio = torch.stack(clips)
        return zero_mean_unit_variance(audio) if normalized else audio

    grid = FrameGrid(sample_rate, squeeze * hop, field + (squeeze - 1) * hop)
    return Frontend(grid, inputs, normalized=normalized)


def _moonshine(config: Any, settings: Settings, name: str, normalize: bool | None) -> Frontend:
    """Make Moonshine's front end; its three convolutions are not in its configuration."""
    return _waveform(config, settings, name, normalize, kernels=(127, 7, 3), strides=(64, 3, 2))


def _wav2vec2_bert(config: Any, settings: Settings, name: str, normalize: bool | None) -> Frontend:
    """Make log-mel frames normalised per band over the clip, ``stride`` of them stacked."""
    extract = _extractor("SeamlessM4TFeatureExtractor", settings, name, normalize)
    check_bands(extract.feature_size * extract.stride, config.feature_projection_input_dim, name)

    def inputs(clips: list[torch.Tensor]) -> torch.Tensor:
        spectrograms = extract(
            _numpy(clips), sampling_rate=extract.sampling_rate, pad_to_multiple_of=None
        )
        return torch.as_tensor(spectrograms["input_features"])

    # Kaldi's frames: 25 ms every 10 ms at 16 kHz.
    return Frontend(
        FrameGrid(extract.sampling_rate, 160 * extract.stride, 400 + 160 * (extract.stride - 1)),
        inputs,
    )


def _whisper(config: Any, settings: Settings, name: str, normalize: bool | None) -> Frontend:
    """Make log-mel frames of 30 s, centred; the second convolution halves their rate."""
    extract = _extractor("WhisperFeatureExtractor", settings, name, normalize)
    check_bands(extract.feature_size, config.num_mel_bins, name)
    if extract.nb_max_frames != 2 * config.max_source_positions:
        raise ExtractError(
            f"{name}: the feature extractor makes {extract.nb_max_frames} frames of "
            f"{extract.chunk_length} s, and the encoder takes {2 * config.max_source_positions}"
        )

    def inputs(clips: list[torch.Tensor]) -> torch.Tensor:
        return torch.as_tensor(
            extract(_numpy(clips), sampling_rate=extract.sampling_rate)["input_features"]
        )

    grid = FrameGrid(extract.sampling_rate, 2 * extract.hop_length, 1)
    return Frontend(grid, inputs, longest=extract.n_samples)


def _ast(config: Any, settings: Settings, name: str, normalize: bool | None) -> Frontend:
    """Make square patches of Kaldi's log-mel frames (25 ms every 10 ms), rows of frequency in
    turn.
    """
    extract = _extractor("ASTFeatureExtractor", settings, name, normalize)
    check_bands(extract.num_mel_bins, config.num_mel_bins, name)
    if extract.max_length != config.max_length:
        raise ExtractError(
            f"{name}: the feature extractor makes {extract.max_length} frames, and the encoder "
            f"takes {config.max_length}"
        )
    rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1

    def inputs(clips: list[torch.Tensor]) -> torch.Tensor:
        spectrograms = extract(
            _numpy(clips), sampling_rate=extract.sampling_rate, return_tensors="pt"
        )
        return torch.as_tensor(spectrograms["input_values"])

    return Frontend(
        FrameGrid(
            extract.sampling_rate, 160 * config.time_stride, 400 + 160 * (config.patch_size - 1)
        ),
        inputs,
        frames=lambda hidden: hidden[:, 2:].unflatten(1, (rows, -1)).mean(dim=1),
        longest=400 + 160 * config.max_length - 1,
    )


def _extractor(kind: str, settings: Settings, name: str, normalize: bool | None) -> Any:
    """Make what computes a family's spectrograms; there is no waveform to normalise."""
    if normalize:
        raise ExtractError(f"{name}: this model has no waveform normalisation to switch on")
    return feature_extractor(kind, settings, name)


def _numpy(clips: list[torch.Tensor]) -> list[Any]:
    return [clip.cpu().numpy() for clip in clips]


def hidden_states(
    model: nn.Module, inputs: torch.Tensor, last_block: nn.Module | None
) -> list[torch.Tensor]:
    """Run an encoder: transformers' hidden states, the last one as it leaves a block, if one is
    named.
    """
    left: list[torch.Tensor] = []

    def leaves(_: nn.Module, __: Any, output: Any) -> None:
        left.append(output[0] if isinstance(output, tuple) else output)

    hook = None if last_block is None else last_block.register_forward_hook(leaves)
    try:
        hidden = model(inputs, output_hidden_states=True).hidden_states
    finally:
        if hook is not None:
            hook.remove()
    return [*hidden[: len(hidden) - len(left)], *left]


@dataclass(frozen=True)
class Family:
    """Describe a kind of checkpoint.

    Attributes
    ----------
    model
        The class of transformers that loads it.
    frontend
        Makes its front end.
    decoder
        Whether it has one.
    final_norm
        Whether the last hidden state is transformers' own. False where transformers 4 had the
        encoder's final LayerNorm in it and 5 hasn't: then it is what leaves the last block.
    """

    model: str
    frontend: Callable[[Any, Settings, str, bool | None], Frontend]
    decoder: bool = False
    final_norm: bool = True


# model_type in config.json -> family
FAMILIES = {
    "audio-spectrogram-transformer": Family("ASTModel", _ast),
    "moonshine": Family("MoonshineModel", _moonshine, decoder=True),
    "sew": Family("SEWModel", _waveform),
    "sew-d": Family("SEWDModel", _waveform),
    "unispeech": Family("UniSpeechModel", _waveform, final_norm=False),
    "unispeech-sat": Family("UniSpeechSatModel", _waveform, final_norm=False),
    "wav2vec2-bert": Family("Wav2Vec2BertModel", _wav2vec2_bert),
    "wav2vec2-conformer": Family("Wav2Vec2ConformerModel", _waveform, final_norm=False),
    "whisper": Family("WhisperModel", _whisper, decoder=True),
}
