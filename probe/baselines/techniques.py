"""Two convolutional networks on spectrograms of three resolutions for singing techniques."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from svuprobe.probe.baselines.base import Baseline, Recipe, Stage, keep
from svuprobe.probe.baselines.deformable import DeformableConv2d
from svuprobe.probe.baselines.frontends import decibel, magnitude, standardise

HOP = 512


class ClipInstanceNorm(nn.Module):
    """Normalise over the frequencies and a clip's own frames of (B, C, F, T), without weights."""

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        if int(frames.min()) == x.shape[3]:
            return F.instance_norm(x)
        # Zeros after a clip must not move its mean: sums over its own frames, divided by their
        # number.
        count = (x.shape[2] * frames).view(-1, 1, 1, 1)
        centred = x - keep(x, frames).sum((2, 3), keepdim=True) / count
        variance = keep(centred, frames).square().sum((2, 3), keepdim=True) / count
        return centred * (variance + 1e-5).rsqrt()


class Block(nn.Module):
    """Convolve, normalise, rectify, pool and drop out maps (B, C, F, T) with (B,) valid frames."""

    def __init__(
        self, convolution: nn.Conv2d | DeformableConv2d, norm: nn.Module, pool: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolution, self.norm, self.pool = convolution, norm, pool
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = x.shape[-1]
        # Zeros after each clip, as if it were alone: biases and norms would have filled them.
        x = self.convolution(keep(x, frames))
        frames = frames + x.shape[-1] - before  # an even kernel with its padding adds a frame
        x = self.norm(x, frames) if isinstance(self.norm, ClipInstanceNorm) else self.norm(x)
        return self.dropout(F.max_pool2d(x.relu(), self.pool)), frames // self.pool


class MultiResolutionCnn(Baseline):
    """Share what both have: the front end, blocks of convolutions, a mean over time and frequency.

    The front end is that of the released code: a waveform standardised per window; magnitudes of
    three STFTs of 2048 points with Hann windows of 2048, 1024 and 512 samples every 512; 10 log10
    of each, one channel each.
    """

    sample_rate = 44100
    shortest = 95 * HOP  # 96 frames: one after all poolings
    pools = (4, 4, 3, 2)
    blocks: nn.ModuleList

    def pooled(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Average the last maps over the frequencies and frames of a clip: (B, channels)."""
        filled, used = self.admit(audio, lengths)
        wave = standardise(filled, lengths)
        x = torch.stack(
            [decibel(magnitude(wave, 2048, HOP, window)) for window in (2048, 1024, 512)], dim=1
        )
        # Frames are centred, so there is one at the start and one for each hop.
        frames = 1 + used // HOP
        for block in self.blocks:
            x, frames = block(x, frames)
        return keep(x, frames).sum((2, 3)) / (x.shape[2] * frames)[:, None]


class OblongCnn(MultiResolutionCnn):
    """Apply kernels that are long in frequency, then in time.

    Yamamoto et al., "Investigating time-frequency representations for audio feature extraction in
    singing technique classification", APSIPA 2021, as in the author's code. 337,510 parameters for
    10 techniques. That code scales each window to energy 1 first: a constant in decibels, of which
    the first batch norm leaves only what the zeros around the map make of it.
    """

    name = "oblong-cnn"
    recipe = Recipe(
        task="technique",
        source=(
            "released code of Yamamoto; class weights of Yamamoto 2023, whose exponent is not known"
        ),
        batch_size=64,
        stages=(Stage(epochs=200, rates=(("", 1e-3),), class_weight_alpha=1.0),),
        validate_every=5,
        patience=10,
    )

    def __init__(self, n_outputs: int) -> None:
        super().__init__(n_outputs)
        layers = ((3, 32, (4, 1)), (32, 64, (16, 1)), (64, 128, (1, 4)), (128, 128, (1, 16)))
        self.blocks = nn.ModuleList(
            Block(
                nn.Conv2d(a, b, k, padding=(k[0] // 2, k[1] // 2)),
                nn.BatchNorm2d(b),
                pool,
                dropout=0.3,
            )
            for (a, b, k), pool in zip(layers, self.pools, strict=True)
        )
        self.hidden = nn.Sequential(
            nn.Linear(128, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Dropout(0.4)
        )
        self.feature = nn.Linear(50, 30)
        self.output = nn.Linear(30, n_outputs)

    def forward(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.output(self.feature(self.hidden(self.pooled(audio, lengths))))


class DeformableCnn(MultiResolutionCnn):
    """Apply 3 x 3 kernels, deformable in the last two layers; then train the classifier again.

    Yamamoto, Nam & Terasawa, "Deformable CNN and imbalance-aware feature learning for singing
    technique classification", Interspeech 2022, as released, in its best setting. 448,102
    parameters for 10 techniques: 401,776 with plain convolutions; 46,710 more for offsets and
    modulation; less 384, as the released deformable layers have no biases (the instance norms would
    cancel them).

    The second stage is classifier retraining (cRT): the last linear layer alone, with smoothed
    class weights.
    """

    name = "dcnn-crt"
    recipe = Recipe(
        task="technique",
        source="Yamamoto 2022 and its released code",
        batch_size=64,
        stages=(
            Stage(epochs=200, rates=(("", 1e-3),)),
            Stage(epochs=10, rates=(("output.", 1e-5),), class_weight_alpha=0.2),
        ),
        validate_every=5,
        patience=10,
    )

    def __init__(self, n_outputs: int) -> None:
        super().__init__(n_outputs)
        convolutions: tuple[nn.Conv2d | DeformableConv2d, ...] = (
            nn.Conv2d(3, 32, 3, padding=1),
            nn.Conv2d(32, 64, 3, padding=1),
            DeformableConv2d(64, 128),
            DeformableConv2d(128, 256),
        )
        self.blocks = nn.ModuleList(
            Block(convolution, ClipInstanceNorm(), pool, dropout=0.0)
            for convolution, pool in zip(convolutions, self.pools, strict=True)
        )
        self.hidden = nn.Linear(256, 50)
        self.dropout = nn.Dropout(0.5)
        # Called output, as the prefix by which the second stage finds it.
        self.output = nn.Linear(50, n_outputs)

    def forward(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.hidden(self.pooled(audio, lengths))
        # Released as an instance norm, which on these shapes is a layer norm without weights.
        return self.output(self.dropout(F.layer_norm(x, x.shape[1:]).relu()))
