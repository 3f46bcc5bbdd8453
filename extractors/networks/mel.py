"""Compute log-mel spectra as torchaudio does with its defaults, in batches.

Frames are centred on every ``hop`` th sample, the audio mirrored at both ends; a periodic Hann
window; power; triangles on the HTK scale (2595 log10(1 + f / 700)) that reach 1, from 0 Hz to half
the rate; decibels of no less than 1e-10. Source: torchaudio ``transforms.MelSpectrogram`` and
``AmplitudeToDB``, to which the tests of each family hold it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.extractors.base import ExtractError

_FLOOR = 1e-10  # of power
_BLOCK = 2048  # frames at once: what they take stays in the caches, also of an hour of audio


class LogMel(nn.Module):
    """Decibels in mel bands: (batch, samples) to (batch, 1 + samples // hop, bands).

    Parameters
    ----------
    rate
        Hz.
    n_fft, hop
        Samples of a window and from one to the next.
    bands
        How many triangles.
    range_db
        Least value below the largest one of a clip; None for none.
    """

    window: Tensor
    bank: Tensor

    def __init__(
        self, rate: int, n_fft: int, hop: int, bands: int, range_db: float | None = None
    ) -> None:
        super().__init__()
        self.n_fft, self.hop, self.range_db = n_fft, hop, range_db
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("bank", mel_bank(rate, n_fft, bands), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Compute decibels. Raises ExtractError for audio too short to be mirrored."""
        half = self.n_fft // 2
        if audio.shape[-1] <= half:
            raise ExtractError(
                f"a clip of {audio.shape[-1]} samples is too short for a spectrogram of windows of "
                f"{self.n_fft}: it takes at least {half + 1}"
            )
        mirrored = functional.pad(audio[:, None], (half, half), mode="reflect")[:, 0]
        frames = mirrored.unfold(-1, self.n_fft, self.hop)
        decibels = torch.cat([self._decibels(part) for part in frames.split(_BLOCK, 1)], dim=1)
        if self.range_db is None:
            return decibels
        return decibels.maximum(decibels.amax((1, 2), keepdim=True) - self.range_db)

    def _decibels(self, frames: Tensor) -> Tensor:
        """Compute (batch, frames, bands) of frames (batch, frames, n_fft)."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
        power = spectrum.square().sum(dim=-1)
        return 10 * (power @ self.bank).clamp(min=_FLOOR).log10()


def mel_bank(rate: int, n_fft: int, bands: int) -> Tensor:
    """Compute the triangles (1 + n_fft // 2, bands).

    In float32, as torchaudio does: where a bin lies on an edge, rounding decides whether a band
    hears it, and decibels show that.
    """
    highest = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, highest, bands + 2) / 2595.0) - 1.0)
    distance = edges - torch.linspace(0, rate // 2, 1 + n_fft // 2)[:, None]
    width = edges.diff()
    rising = -distance[:, :-2] / width[:-1]
    falling = distance[:, 2:] / width[1:]
    return torch.minimum(rising, falling).clamp(min=0)
