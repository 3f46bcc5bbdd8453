"""The audio tower of LAION-CLAP: HTSAT, a Swin transformer on spectrograms of 10 s.

Wu et al. 2023 (CLAP, arXiv:2211.06687), Chen et al. 2022 (HTS-AT, arXiv:2202.00874). The log-mel
spectrogram of 10 s is cut into four parts, which are stacked in frequency to a square image; its
patches go through four stages of blocks, and after each but the last two by two are merged: half as
many rows and columns, twice as many features.

**Layers**: what enters the first block, what leaves each block of all stages, and ``output``: the
last one after the final LayerNorm, whose mean over a clip is what CLAP projects into the space that
it shares with text. Widths differ between stages, but the product of a stage's features and its
rows of frequency is one number: so a frame has the features of all its rows, from low to high, and
each layer has that dimension (1536, or 2048 in the larger models). Stages before the last have
finer columns; they are averaged over time to those of the last.

**Frames**: the last stage has 32 steps of time in 10 s, so a frame is 312.5 ms. The spectrogram,
1001 frames from the first sample to the last, is stretched to 1024 as if its ends were those of the
image, so a step lies up to 5 ms from where the grid says. Frames that touch padding are left out.

**Pieces**: a clip goes through in pieces of 10 s; a shorter one is repeated and then padded, as the
checkpoint's feature extractor says. Nothing is drawn by chance: transformers' feature extractor
crops longer clips at random, and for the models with fusion marks one clip of each batch, drawn at
random, as longer than it is. Here no piece is longer than 10 s, so the fusion of a long clip's
parts never runs; LAION's own code does the same for clips of up to 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import check_bands, feature_extractor
from svuprobe.extractors.networks.base import Architecture, Network, Unneeded
from svuprobe.extractors.networks.of_transformers import (
    FEATURE_EXTRACTOR,
    computed_on_cpu,
    configuration,
    nested,
    usable,
    with_settings,
)

_FLOOR = 1e-10  # of power, in the feature extractor


class LogMel(nn.Module):
    """Compute the spectrograms (batch, frames, bands) of pieces, in decibels.

    They are those of transformers' ClapFeatureExtractor.

    Parameters
    ----------
    extract
        A ClapFeatureExtractor.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, extract: Any) -> None:
        super().__init__()
        self.hop, self.piece = extract.hop_length, extract.nb_max_samples
        self.padding = extract.padding
        # Models with fusion were trained with torchaudio's triangles, the others with librosa's.
        fused = extract.truncation == "fusion"
        bank = extract.mel_filters if fused else extract.mel_filters_slaney  # (bins, bands)
        # Double precision, as there: decibels of what is 100 dB below the loudest bin are right.
        window = torch.hann_window(extract.fft_window_size, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bank", torch.from_numpy(bank).double(), persistent=False)

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Fill up each piece of audio (batch, samples), and compute its spectrogram."""
        pieces = [self._filled(clip[:n]) for clip, n in zip(audio, lengths.tolist(), strict=True)]
        size = len(self.window)
        spectrum = torch.stft(
            torch.stack(pieces).to(self.window.dtype),
            size,
            self.hop,
            window=self.window,
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(dim=-1)  # (batch, bins, frames)
        return 10 * (power.transpose(1, 2) @ self.bank).clamp(min=_FLOOR).log10()

    def _filled(self, clip: Tensor) -> Tensor:
        """Repeat or pad a clip, which is no longer than a piece."""
        times = self.piece // len(clip)
        if self.padding == "repeat":
            return clip.repeat(times + 1)[: self.piece]
        if self.padding == "repeatpad":
            clip = clip.repeat(times)
        return nn.functional.pad(clip, (0, self.piece - len(clip)))

    def _apply(self, fn: Any, recurse: bool = True) -> LogMel:
        super()._apply(fn, recurse)
        if self.window.device.type == "mps":  # which has no double precision
            self.window, self.bank = self.window.float(), self.bank.float()
        return self


class Htsat(Network):
    """HTSAT, every block a layer.

    Parameters
    ----------
    audio_model
        A ClapAudioModel.
    extract
        A ClapFeatureExtractor.
    """

    padded_exactly = True

    def __init__(self, audio_model: Any, extract: Any) -> None:
        super().__init__()
        self.audio_model = audio_model
        with torch.device("cpu"):
            self.frontend = LogMel(extract)
        config, encoder = audio_model.config, audio_model.audio_encoder
        # Of the image: how many parts of the spectrogram lie above each other.
        self.parts = encoder.freq_ratio
        rows, columns = encoder.patch_embed.grid_size
        halved = 2 ** (len(encoder.layers) - 1)
        steps = self.parts * (columns // halved)
        self.longest = extract.nb_max_samples
        if self.longest % steps or rows % (self.parts * halved) or columns % halved:
            raise ValueError(
                f"an image of {rows} x {columns} patches in {self.parts} parts and "
                f"{len(encoder.layers)} stages gives no whole frames of {self.longest} samples"
            )
        hop = self.longest // steps
        self.grid = FrameGrid(extract.sampling_rate, hop, hop)
        self.steps = steps
        self.dim = rows // self.parts * config.patch_embeds_hidden_size
        blocks = sum(len(stage.blocks) for stage in encoder.layers)
        self.layer_names = (
            "input",
            *(f"block{number:02d}" for number in range(1, blocks + 1)),
            "output",
        )

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer (`Network.states`)."""
        encoder = self.audio_model.audio_encoder
        mel = self.frontend(audio, lengths).float()[:, None]  # (batch, 1, frames, bands)
        image = encoder.reshape_mel2img(encoder.batch_norm(mel.transpose(1, 3)).transpose(1, 3))
        # No piece is longer than the model sees: there are no parts of it to fuse.
        none = torch.empty(0, dtype=torch.long, device=image.device)
        hidden = encoder.patch_embed(image.to(encoder.norm.weight.dtype), none)
        states = [self._frames(hidden)]
        for stage, size in zip(encoder.layers, encoder.input_resolutions, strict=True):
            for block in stage.blocks:
                output = block(hidden, size)
                # A tuple until transformers 5 or so.
                hidden = output[0] if isinstance(output, tuple) else output
                states.append(self._frames(hidden))
            if stage.downsample is not None:
                hidden = stage.downsample(hidden, size)
        return [*states, self._frames(encoder.norm(hidden))]

    def move(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move all to a device, and what comes behind the decibels' normalisation to a type."""
        super().move(device, dtype)
        self.audio_model.audio_encoder.batch_norm.float()

    def _frames(self, state: Tensor) -> Tensor:
        """Turn patches (batch, rows * columns, features) into frames (batch, steps, dim)."""
        # rows * features is the same in every stage, and so is rows / columns.
        rows = self.parts * self.dim // state.shape[2]
        image = state.unflatten(1, (self.parts, rows // self.parts, -1))
        timed = image.permute(0, 1, 3, 2, 4).flatten(1, 2).flatten(2)  # (batch, times, dim)
        return timed.unflatten(1, (self.steps, -1)).mean(dim=2)


def _build(fields: Mapping[str, Any], name: str) -> Htsat:
    import transformers

    config = configuration("ClapAudioConfig", nested(fields, "audio_config", name), name)
    extract = feature_extractor("ClapFeatureExtractor", fields.get(FEATURE_EXTRACTOR), name)
    check_bands(extract.feature_size, config.num_mel_bins, name)
    known = {"padding": ("repeatpad", "repeat", "pad"), "truncation": ("fusion", "rand_trunc")}
    for key, values in known.items():
        if getattr(extract, key) not in values:
            raise ExtractError(
                f"{name}: {key} of the feature extractor must be one of {', '.join(values)}, not "
                f"{getattr(extract, key)!r:.60}"
            )
    # Its constructor computes with the rates of dropped paths, until transformers 5.
    with usable(name), computed_on_cpu():
        model = transformers.ClapAudioModel(config)
    with usable(name):
        return Htsat(model, extract)


ARCHITECTURE = Architecture(
    family="clap",
    recognise=with_settings("clap"),
    build=_build,
    unneeded=(
        Unneeded(r"text_model\..*|text_projection\..*", "of the text"),
        Unneeded(r"audio_projection\..*", "after the mean over the whole clip"),
        Unneeded(r"logit_scale_[at]", "of the contrastive loss"),
    ),
)
