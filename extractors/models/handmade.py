"""Make hand-made front ends: log-mel, MFCC and chroma, the controls learned features must beat.

Conventions
-----------
All expect 16 kHz and hop 320 samples (20 ms), the grid of the 16 kHz SSL models. Frames are not
centred: frame ``i`` starts at sample ``320 * i`` and sees ``receptive_field`` samples, as
`svuprobe.extractors.base.FrameGrid` has it. A clip shorter than that is followed by zeros up to one
frame, so that a clip of any length has features (chroma needs 256 ms).

Spectra are Hann-windowed power, scaled so that a sine of amplitude 1 has a peak of 1. They are
computed in float32 (there is no half-precision FFT) and the features then take the type asked for
in `to`.

Frames never see another clip or its padding, so clips of different lengths may share a batch; the
frames after a clip's own are zeros.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from svuprobe.extractors.base import ExtractError, FrameGrid

# (batch, frames, bands) power and (batch,) valid frames -> (batch, frames, dim)
Features = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Settings:
    """Hold what defines a front end; its digest is the digest of the extractor.

    Attributes
    ----------
    name
        Catalogue name.
    dim
        Features per frame.
    window, hop
        Samples, also the length of the FFT, and samples between frames.
    bands
        Rows of the filter bank.
    floor
        Power added before a logarithm or a division: -100 dB re a sine of amplitude 1.
    delta_width
        Frames on either side that a delta looks at; 0 for none.
    version
        Raised when any value could change.
    """

    name: str
    dim: int
    window: int
    bands: int
    hop: int = 320
    sample_rate: int = 16000
    floor: float = 1e-10
    delta_width: int = 0
    version: int = 1


class HandmadeExtractor:
    """Apply a filter bank to a power spectrogram (`svuprobe.extractors.base.Extractor`).

    Parameters
    ----------
    settings
        See `Settings`.
    bank
        (bands, 1 + window // 2) weights of the bands.
    features
        From band powers to features.
    """

    def __init__(self, settings: Settings, bank: torch.Tensor, features: Features) -> None:
        self.name = settings.name
        self.revision = f"v{settings.version}"
        self.digest = hashlib.sha256(
            json.dumps(asdict(settings), sort_keys=True).encode()
        ).hexdigest()
        self.sample_rate = settings.sample_rate
        self.hop = settings.hop
        self.receptive_field = settings.window
        self.layer_names: tuple[str, ...] = (settings.name,)
        self.dim = settings.dim
        self.parameters = 0
        self.normalization = "none"
        window = torch.hann_window(settings.window)
        self._window = window / (window.sum() / 2)  # a sine of amplitude 1 then has a peak of 1
        self._bank = bank
        self._features = features
        self._dtype = torch.float32

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Compute on a device; features are computed in float32 and then take the type."""
        self._window, self._bank = self._window.to(device), self._bank.to(device)
        self._dtype = dtype

    @torch.inference_mode()
    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the features of clips of any lengths, as one layer.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono at 16 kHz.
        lengths
            (batch,) int64, valid samples of each clip; what follows them is ignored.

        Returns
        -------
        states, frames
            (batch, 1, frames, dim) and (batch,) int64; zeros after the valid frames.

        Raises
        ------
        ExtractError
            For a clip without samples.
        """
        device = self._window.device
        audio, lengths = audio.to(device, torch.float32), lengths.to(device)
        self._check(audio, lengths)
        positions = torch.arange(audio.shape[1], device=device)
        # What follows a clip must not leak into its last window.
        audio = torch.where(positions < lengths[:, None], audio, 0.0)
        # A clip shorter than a window is followed by zeros up to one.
        missing = max(0, self.receptive_field - audio.shape[1])
        power = self._spectrogram(torch.nn.functional.pad(audio, (0, missing)))
        frames = FrameGrid.of(self).count(lengths)
        features = self._features(power @ self._bank.T, frames)  # (batch, frames, dim)
        valid = torch.arange(features.shape[1], device=device) < frames[:, None]
        features = torch.where(valid[..., None], features, 0.0)[:, : int(frames.max())]
        return features.to(self._dtype)[:, None], frames

    def _check(self, audio: torch.Tensor, lengths: torch.Tensor) -> None:
        """Refuse what has no frames."""
        if audio.ndim != 2 or lengths.shape != audio.shape[:1] or (lengths > audio.shape[1]).any():
            raise ValueError(
                f"audio must be (batch, samples) and lengths (batch,) at most samples, "
                f"not {tuple(audio.shape)} and {lengths.tolist()}"
            )
        if (lengths < 1).any():
            raise ExtractError(f"{self.name}: a clip of 0 samples has no features")

    def _spectrogram(self, audio: torch.Tensor) -> torch.Tensor:
        """Compute power (batch, frames, bins) of (batch, samples)."""
        # (batch, frames, window)
        windows = audio.unfold(-1, self.receptive_field, self.hop) * self._window
        return torch.fft.rfft(windows).abs().square()


def logmel() -> HandmadeExtractor:
    """Make 128 Slaney mel bands from 0 to 8 kHz, natural logarithm of power, windows of 64 ms.

    Bands are weighted sums of bins with a peak of 1 (no area normalisation), so values lie between
    log(1e-10) = -23 for silence and about 1.
    """
    settings = Settings("logmel", dim=128, window=1024, bands=128)
    return HandmadeExtractor(
        settings, _mel_bank(settings), lambda power, frames: _log(power, settings.floor)
    )


def logmel_context() -> HandmadeExtractor:
    """Make `logmel` with the 10 frames (200 ms) on either side, every second of them: 11 frames.

    The control for models that see their surroundings: what a linear head gains from context alone.
    Beyond either end of a clip its outermost frame is repeated.
    """
    settings = Settings("logmel-context", dim=11 * 128, window=1024, bands=128)

    def features(power: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        centre = _log(power, settings.floor)
        positions = torch.arange(centre.shape[1], device=centre.device)
        rows = torch.arange(len(centre), device=centre.device)[:, None]
        last = frames[:, None] - 1
        stacked = []
        for offset in range(-10, 11, 2):
            seen = torch.minimum((positions + offset).clamp(min=0), last)  # (batch, frames)
            stacked.append(centre[rows, seen])
        return torch.cat(stacked, dim=-1)

    return HandmadeExtractor(settings, _mel_bank(settings), features)


def mfcc() -> HandmadeExtractor:
    """Make 20 mel-frequency cepstral coefficients, their deltas and the deltas of these (60
    features).

    The DCT of `logmel` over its 128 bands, divided by sqrt(128): coefficient 0 is the mean log
    power. Deltas are the slope of the regression line over 5 frames (100 ms); beyond either end of
    a clip its outermost frame is repeated. A frame with its deltas thus sees up to 4 frames more on
    either side than ``receptive_field`` says.
    """
    settings = Settings("mfcc", dim=60, window=1024, bands=128, delta_width=2)
    basis = _dct_basis(settings.bands, settings.dim // 3)

    def features(power: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        static = _log(power, settings.floor) @ basis.to(power.device)  # (batch, frames, 20)
        slope = deltas(static, frames, settings.delta_width)
        return torch.cat([static, slope, deltas(slope, frames, settings.delta_width)], dim=-1)

    return HandmadeExtractor(settings, _mel_bank(settings), features)


def chroma() -> HandmadeExtractor:
    """Make 12 pitch classes from C, at A4 = 440 Hz, windows of 256 ms; a frame's strongest class is
    1.

    As `librosa.feature.chroma_stft` without tuning estimation; silent frames are 0 instead of
    undefined.
    """
    from librosa import filters

    settings = Settings("chroma", dim=12, window=4096, bands=12)
    bank = torch.from_numpy(
        filters.chroma(sr=settings.sample_rate, n_fft=settings.window, tuning=0.0)
    )

    def features(power: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return power / (power.amax(dim=-1, keepdim=True) + settings.floor)

    return HandmadeExtractor(settings, bank.float(), features)


def deltas(features: torch.Tensor, frames: torch.Tensor, width: int) -> torch.Tensor:
    """Compute the slope per frame of the regression line over ``2 * width + 1`` frames of a clip.

    Parameters
    ----------
    features
        (batch, frames, dim).
    frames
        (batch,) valid frames of each clip; the last valid one is repeated beyond the end.
    width
        Frames on either side.

    Returns
    -------
    torch.Tensor
        (batch, frames, dim); meaningless after a clip's valid frames.
    """
    positions = torch.arange(features.shape[1], device=features.device)
    rows = torch.arange(len(features), device=features.device)[:, None]
    last = frames[:, None] - 1
    slope = torch.zeros_like(features)
    for step in range(1, width + 1):
        ahead = torch.minimum(positions + step, last)  # (batch, frames)
        behind = torch.minimum((positions - step).clamp(min=0), last)
        slope += step * (features[rows, ahead] - features[rows, behind])
    # The least-squares slope over positions -width to width.
    return slope / (2 * sum(step**2 for step in range(1, width + 1)))


def _mel_bank(settings: Settings) -> torch.Tensor:
    """Return (bands, bins) triangles on the mel scale, each with a peak of 1."""
    from librosa import filters

    bank = filters.mel(
        sr=settings.sample_rate, n_fft=settings.window, n_mels=settings.bands, norm=None
    )
    return torch.from_numpy(bank).float()


def _dct_basis(bands: int, coefficients: int) -> torch.Tensor:
    """Return (bands, coefficients) orthonormal DCT-II, divided by sqrt(bands)."""
    band = torch.arange(bands, dtype=torch.float64)[:, None] + 0.5
    order = torch.arange(coefficients, dtype=torch.float64)
    basis = torch.cos(torch.pi / bands * band * order) * (2**0.5 / bands)
    # The first basis vector is constant: orthonormal with a weight of 1 / sqrt(2).
    basis[:, 0] /= 2**0.5
    return basis.float()


def _log(power: torch.Tensor, floor: float) -> torch.Tensor:
    """Return the natural logarithm of power above a floor."""
    return torch.log(power + floor)
