"""Compute the spectrograms of the baselines, in torch.

Frame ``i`` is centred on sample ``i * hop``. Signals are continued by zeros at both ends, where
some of the published front ends mirrored them: a clip's frames then never depend on the padding of
its batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from svuprobe.probe.baselines.base import keep


def magnitude(audio: torch.Tensor, n_fft: int, hop: int, window: int = 0) -> torch.Tensor:
    """Return magnitudes (B, 1 + n_fft

    2, 1 + S

    hop) of (B, S).

    Hann windows are of ``window`` samples (0: ``n_fft``).
    """
    hann = torch.hann_window(window or n_fft, device=audio.device)
    stft = torch.stft(audio, n_fft, hop, len(hann), hann, pad_mode="constant", return_complex=True)
    return stft.abs()


def decibel(power: torch.Tensor, top_db: float = math.inf) -> torch.Tensor:
    """Return 10 log10 of (B, ..., T), at least 1e-10, at most ``top_db`` below a clip's maximum."""
    level = 10 * power.clamp(min=1e-10).log10()
    return torch.maximum(level, level.amax(dim=tuple(range(1, level.dim())), keepdim=True) - top_db)


def standardise(audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Scale waveforms (B, S) to mean 0 and variance 1 over each clip's own ``lengths`` (B,)
    samples.
    """
    lengths = lengths.to(audio.device)
    mean = audio.sum(1) / lengths
    centred = keep(audio - mean[:, None], lengths)
    return centred / (centred.square().sum(1) / lengths).sqrt().clamp(min=1e-8)[:, None]


class Mel(nn.Module):
    """Compute power mel bands (B, n_mels, T) of (B, S).

    The scale and areas are Slaney's, or the scale is HTK's with peaks of 1.
    """

    bank: torch.Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop: int, n_mels: int, htk: bool) -> None:
        super().__init__()
        from librosa import filters

        self.n_fft, self.hop = n_fft, hop
        bank = filters.mel(
            sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=None if htk else "slaney"
        )
        self.register_buffer("bank", torch.from_numpy(bank).float(), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.bank @ magnitude(audio, self.n_fft, self.hop).square()


class ConstantQ(nn.Module):
    """Compute constant-Q magnitudes (B, octaves * bins, F) of (B, S), as `librosa.cqt` scales them.

    From the highest octave down, one bank of filters reads the signal, which is halved in rate for
    the next octave (Schoerkhuber & Klapuri, "Constant-Q transform toolbox for music processing",
    SMC 2010). Differs from librosa 0.11 by less than 1 % of the loudest bin, and by 0.1 % of a bin
    in the median.

    Parameters
    ----------
    fmin
        Frequency of the lowest bin, Hz.
    octaves, bins
        Of the transform, and per octave.
    hop
        Samples between frames, a multiple of ``2 ** (octaves - 1)``.
    """

    real: torch.Tensor
    imaginary: torch.Tensor
    half_band: torch.Tensor
    scale: torch.Tensor

    def __init__(self, sample_rate: int, hop: int, fmin: float, octaves: int, bins: int) -> None:
        super().__init__()
        import numpy as np
        from librosa import filters

        self.hop, self.octaves = hop, octaves
        # The filters of the highest octave serve all: each octave down, the signal has half the
        # rate.
        top = fmin * 2.0 ** (octaves - 1 + np.arange(bins) / bins)
        wavelets, lengths = filters.wavelet(freqs=top, sr=sample_rate, norm=1)
        tensors = {
            "real": torch.from_numpy(wavelets.real.copy()).float()[:, None],  # (bins, 1, taps)
            "imaginary": torch.from_numpy(wavelets.imag.copy()).float()[:, None],
            "half_band": _half_band()[None, None],
            # librosa multiplies by the root of a filter's length in samples of the original signal.
            "scale": torch.from_numpy(np.sqrt(np.outer(2.0 ** np.arange(octaves)[::-1], lengths)))
            .float()
            .view(-1, 1),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, audio: torch.Tensor, n_frames: int) -> torch.Tensor:
        signal, found = audio[:, None], []
        taps, edge = self.real.shape[-1], self.half_band.shape[-1] // 2
        for octave in range(self.octaves):
            hop = self.hop >> octave
            right = max(0, (n_frames - 1) * hop + taps // 2 - signal.shape[-1])
            # A filter is centred on its frame, and the last frame may reach beyond the signal.
            padded = F.pad(signal, (taps // 2, right))[..., : (n_frames - 1) * hop + taps]
            found.append(
                F.conv1d(padded, self.real, stride=hop).hypot(
                    F.conv1d(padded, self.imaginary, stride=hop)
                )
            )
            signal = F.conv1d(F.pad(signal, (edge, edge)), self.half_band, stride=2)
        return torch.cat(found[::-1], dim=1) * self.scale


def _half_band(taps: int = 63) -> torch.Tensor:
    """Return a low pass at a quarter of the sample rate, Blackman-windowed, (taps,).

    It is flat below 0.18 of the sample rate.
    """
    n = torch.arange(taps) - taps // 2
    kernel = torch.sinc(n / 2) * torch.blackman_window(taps, periodic=False)
    return kernel / kernel.sum()
