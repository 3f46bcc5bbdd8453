"""Define the contract of an extractor: audio in, every layer out, on one grid of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from svuprobe._errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch


class ExtractError(UserError):
    """Report a model, an audio file or a cache that can't be used, in one line for the user."""


@dataclass(frozen=True)
class FrameGrid:
    """Place the frames of a model: frame ``i`` sees ``receptive_field`` samples from ``i * hop``
    on.

    Nothing is padded, so n samples have ``1 + (n - receptive_field) // hop`` frames. This is the
    grid of a stack of convolutions, and of a spectrogram that isn't centred; whatever else a model
    does has to be brought to it.

    Attributes
    ----------
    sample_rate
        Hz.
    hop, receptive_field
        Samples.
    """

    sample_rate: int
    hop: int
    receptive_field: int

    @classmethod
    def of(cls, model: Any) -> FrameGrid:
        """Return the grid of an extractor, or of whatever else has these three attributes."""
        return cls(model.sample_rate, model.hop, model.receptive_field)

    @property
    def frame_rate(self) -> float:
        """Return the frames per second."""
        return self.sample_rate / self.hop

    @property
    def context(self) -> int:
        """Return the samples that a window's last frame sees after its end.

        That is so where the window is a whole number of hops.
        """
        # Windows are cut longer by this, so that frames go on evenly from one window to the next.
        return max(0, self.receptive_field - self.hop)

    def n_frames(self, samples: int) -> int:
        """Return the frames of so many samples: at least one, since a model that takes less pads
        it.
        """
        # As torch counts the outputs of a convolution without padding.
        return 1 + max(0, samples - self.receptive_field) // self.hop

    def count(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return `n_frames` of each of several clips: (batch,) int64, from samples (batch,)
        int64.
        """
        return 1 + (lengths - self.receptive_field).clamp(min=0) // self.hop

    def samples(self, n_frames: int) -> int:
        """Return how many samples so many frames see."""
        return self.hop * (n_frames - 1) + self.receptive_field

    def centres(self, n_frames: int, start_s: float = 0.0) -> np.ndarray:
        """Return the centres of a window's frames, which starts at ``start_s``: seconds,
        (n_frames,) float64.
        """
        import numpy as np  # names of models are read where --help has to answer at once

        # The middle of what a frame sees; its start would put every event too early.
        in_samples = np.arange(n_frames) * self.hop + self.receptive_field / 2
        return np.asarray(start_s + in_samples / self.sample_rate)


@dataclass(frozen=True)
class ModelCard:
    """Describe a model as far as it is known without loading it.

    Attributes
    ----------
    name
        As typed on the command line.
    hub
        Hugging Face id; None for hand-made front ends and for architectures without weights.
    family
        wav2vec2, wavlm, hubert, data2vec, mert, handmade, or one of `extractors.networks.table`.
    sample_rate
        Hz.
    layers, dim
        Hidden states (the input of the first block counts) and features of each.
    parameters
        Weights, to three digits; 0 for hand-made front ends.
    normalize
        Whether each clip is scaled to zero mean and unit variance. A checkpoint's own feature
        extractor comes first; this is for checkpoints without one and for random weights.
    licence, reference
        Of the weights, and the paper.
    source
        ``module:function`` that makes a hand-made front end.
    folder
        Of a checkpoint that comes with svuprobe, below ``extractors/weights``.
    download
        Name and place of the file of weights that are published, but not on the hub.
    file
        Of the weights, where the repository holds several models.
    config
        What differs from the defaults of the family's configuration.
    """

    name: str
    hub: str | None
    family: str
    sample_rate: int
    layers: int
    dim: int
    parameters: int | None
    normalize: bool
    licence: str
    reference: str
    source: str | None = None
    folder: str | None = None
    download: str | None = None
    file: str | None = None
    # Not hashed, as a dict can't be; names tell cards apart.
    config: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


# A protocol and no base class: a user's own class needs to import nothing of ours.
class Extractor(Protocol):
    """Describe what a frozen front end has and does.

    It owns its waveform normalisation; it never resamples, chunks or chooses a device. A clip's
    states never depend on what else is in its batch.

    Five more members are optional: ``pooled(audio, lengths) -> (batch, layers, dim)`` float32,
    where there is a better answer at clip level than the mean over the valid frames (it has no
    deviation); ``moments(audio, lengths) -> (batch, 2, layers, dim)`` float32, where mean and
    population standard deviation over the valid frames are known faster than from the states;
    ``compile()``, which makes later calls faster where few shapes occur; ``at_once_s``, the seconds
    that it sees at once, where longer clips go through in pieces; and ``recipe``, by which svuprobe
    pre-trained it.

    Attributes
    ----------
    name, revision
        As in the catalogue; the revision is a commit hash, a digest of weights or a version.
    digest
        Hexadecimal digest of the weights (or of the parameters of a hand-made front end).
    sample_rate
        Of the audio it expects, Hz.
    hop, receptive_field
        Samples between frames, and samples one frame sees: see `FrameGrid`.
    layer_names
        One name per layer, ``("input", "block01", ...)`` for a transformer.
    dim
        Features per layer and frame.
    parameters
        Number of weights (0 for hand-made front ends).
    normalization
        What is done to the waveform, ``"none"`` or ``"zero-mean-unit-variance"`` per clip.
    """

    name: str
    revision: str
    digest: str
    sample_rate: int
    hop: int
    receptive_field: int
    layer_names: tuple[str, ...]
    dim: int
    parameters: int
    normalization: str

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type."""

    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the hidden states of every layer.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono; each clip is followed by zeros.
        lengths
            (batch,) int64, valid samples of each clip.

        Returns
        -------
        states, frames
            (batch, layers, frames, dim) and (batch,) int64, the valid frames of each clip.
            See `FrameGrid.count`.
        """
        ...
