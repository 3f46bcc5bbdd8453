"""Compute log-mel spectra by Kaldi's rules, in batches, as several encoders take them.

Kaldi's frames are 25 ms every 10 ms, not centred: frame ``i`` begins at sample ``160 * i``. Each
loses its mean, is pre-emphasised by 0.97, weighted by the "povey" window (a Hann window to the
power 0.85) and padded to 512 samples. Sources: Kaldi ``feat/feature-window.cc``,
``mel-computations.cc``; transformers' SeamlessM4TFeatureExtractor and torchaudio's
``compliance.kaldi`` compute the same, and the tests hold this module to both sets of rules.
"""

from __future__ import annotations

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
BLOCK = 2048  # frames at once: what they take stays in the caches, also of an hour of audio


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
        return torch.cat([self._energies(block) for block in frames.split(BLOCK, dim=-2)], dim=-2)

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
