"""Compute what is clustered: cepstra as HuBERT's, and semitone bands, in batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from svuprobe.extractors.networks.kaldi import BLOCK, FRAME, RATE, MelBank


class Mfcc(torch.nn.Module):
    """Compute cepstra with two differences: (batch, samples) to (batch, frames, 3 * coefficients).

    As torchaudio's ``compliance.kaldi.mfcc(use_energy=False)`` and ``compute_deltas`` give them to
    HuBERT: 23 mel bands, cepstra lifted by 22, differences over two frames on either side. The
    audio keeps its scale of 1, as fairseq reads it.
    """

    dct: Tensor

    def __init__(self, coefficients: int = 13, bands: int = 23) -> None:
        super().__init__()
        self.bank = MelBank(bands)
        n = torch.arange(bands, dtype=torch.float64)
        k = torch.arange(coefficients, dtype=torch.float64)[:, None]
        dct = torch.cos(math.pi / bands * (n + 0.5) * k) * math.sqrt(2 / bands)
        dct[0] = math.sqrt(1 / bands)
        lifter = 1 + 11 * torch.sin(math.pi * k / 22)
        self.register_buffer("dct", (dct * lifter).float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Compute cepstra and differences, one after the other."""
        cepstra = self.bank(audio) @ self.dct.T
        first = deltas(cepstra)
        return torch.cat([cepstra, first, deltas(first)], dim=-1)


def deltas(features: Tensor) -> Tensor:
    """Return slopes over two frames on either side: (..., frames, dim), ends repeated."""
    padded = torch.cat(
        [features[..., :1, :]] * 2 + [features] + [features[..., -1:, :]] * 2, dim=-2
    )
    frames = features.shape[-2]
    slope = torch.zeros_like(features)
    for distance in (1, 2):
        later = padded[..., 2 + distance : 2 + distance + frames, :]
        earlier = padded[..., 2 - distance : 2 - distance + frames, :]
        slope = slope + distance * (later - earlier)
    return slope / 10  # 2 * (1 + 4)


class Semitones(torch.nn.Module):
    """Compute magnitudes in semitone bands: (batch, samples) to (batch, frames, 72) of length 1.

    Six octaves from A1 (55 Hz) up, in frames of 256 ms every 20 ms whose middle is that of the
    model's first 25 ms. What is played louder gives the same; near silence all bands go to zero.
    """

    window: Tensor
    bank: Tensor
    lowest_hz = 55.0
    size, hop, octaves = 4096, 320, 6
    _quiet = 1e-3  # of a sine's peak of 1: what is softer than -60 dB counts as silence

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(self.size, dtype=torch.float64)
        self.register_buffer("window", (window / (window.sum() / 2)).float(), persistent=False)
        self.register_buffer("bank", self._bank().float(), persistent=False)

    def _bank(self) -> Tensor:
        """Return triangles (bins, bands), a semitone to either side, or two bins."""
        bin_hz = RATE / self.size
        hertz = torch.arange(self.size // 2 + 1, dtype=torch.float64)[:, None] * bin_hz
        steps = torch.arange(12 * self.octaves, dtype=torch.float64)
        centre = self.lowest_hz * 2 ** (steps / 12)
        width = (centre * (2 ** (1 / 12) - 1)).clamp(min=2 * bin_hz)
        return (1 - (hertz - centre).abs() / width).clamp(min=0)

    def forward(self, audio: Tensor) -> Tensor:
        """Compute frames around samples ``320 * i + 200``, zeros beyond the ends."""
        frames = max(1, 1 + (audio.shape[-1] - FRAME) // self.hop)
        before = self.size // 2 - FRAME // 2
        after = max(0, self.hop * (frames - 1) + self.size - before - audio.shape[-1])
        padded = torch.nn.functional.pad(audio, (before, after))
        cut = padded.unfold(-1, self.size, self.hop)[..., :frames, :]
        magnitudes = torch.cat([self._bands(block) for block in cut.split(BLOCK // 8, dim=-2)], -2)
        length = magnitudes.square().sum(dim=-1, keepdim=True).sqrt()
        return magnitudes / (length + self._quiet)

    def _bands(self, frames: Tensor) -> Tensor:
        """Compute magnitudes (batch, frames, 72) of frames (batch, frames, 4096)."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
        return (spectrum.square().sum(dim=-1) @ self.bank).sqrt()
