"""Spectra by Kaldi's rules, in batches: the input of small models, and what is clustered.

Kaldi's frames are 25 ms every 10 ms, not centred: frame ``i`` begins at sample ``160 * i``. Each
loses its mean, is pre-emphasised by 0.97, weighted by the "povey" window (a Hann window to the
power 0.85) and padded to 512 samples. Sources: Kaldi ``feat/feature-window.cc``,
``mel-computations.cc``; transformers' SeamlessM4TFeatureExtractor and torchaudio's
``compliance.kaldi`` compute the same, and the tests hold this module to both sets of rules.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

RATE = 16_000  # Hz
HOP = 160  # samples between Kaldi's frames
FRAME = 400  # samples that a frame sees
_FFT = 512
_FLOOR = float(np.finfo(np.float32).eps)  # Kaldi's, of energies
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
_BLOCK = 2048  # frames at once: what they take stays in the caches, also of an hour of audio


def kaldi_frames(samples: int) -> int:
    """Return the frames of so many samples."""
    return 1 + (samples - FRAME) // HOP if samples >= FRAME else 0


class MelBank(torch.nn.Module):
    """Log energies in mel bands: (batch, samples) at 16 kHz to (batch, frames, bands).

    Parameters
    ----------
    bands
        Triangles that are equally wide on the mel scale, from 20 Hz to 8 kHz.
    scale
        Audio is multiplied by this first; 2**15 for what counts in 16-bit numbers, as Kaldi does.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, bands: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        window = torch.hann_window(FRAME, periodic=False, dtype=torch.float64).pow(0.85)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("bank", _mel_bank(bands).float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Compute log energies, natural logarithm."""
        frames = (audio * self.scale).unfold(-1, FRAME, HOP)  # (batch, frames, 400)
        return torch.cat([self._energies(block) for block in frames.split(_BLOCK, dim=-2)], dim=-2)

    def _energies(self, frames: Tensor) -> Tensor:
        """Compute log energies (batch, frames, bands) of frames (batch, frames, 400)."""
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - _PREEMPHASIS * before) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, _FFT))
        power = spectrum.square().sum(dim=-1)
        return (power @ self.bank).clamp(min=_FLOOR).log()


def _mel_bank(bands: int) -> Tensor:
    """Return Kaldi's triangles (1 + 512 // 2, bands), whose sides are straight on the mel scale."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    low, high = float(mel(_LOWEST_HZ)), float(mel(RATE / 2))
    edges = np.linspace(low, high, bands + 2)
    bins = mel(np.arange(_FFT // 2 + 1) * RATE / _FFT)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    bank = np.maximum(0.0, np.minimum(rising, falling))
    bank[-1] = 0.0  # Kaldi leaves out the bin at half the rate
    return torch.from_numpy(bank)


class Mfcc(torch.nn.Module):
    """Cepstra with two differences: (batch, samples) to (batch, frames, 3 * coefficients).

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
    """Magnitudes in semitone bands: (batch, samples) to (batch, frames, 72) of length 1.

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
        magnitudes = torch.cat([self._bands(block) for block in cut.split(_BLOCK // 8, dim=-2)], -2)
        length = magnitudes.square().sum(dim=-1, keepdim=True).sqrt()
        return magnitudes / (length + self._quiet)

    def _bands(self, frames: Tensor) -> Tensor:
        """Compute magnitudes (batch, frames, 72) of frames (batch, frames, 4096)."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
        return (spectrum.square().sum(dim=-1) @ self.bank).sqrt()
