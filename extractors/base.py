"""The contract of an extractor: audio in, every layer out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from svuprobe._errors import UserError

if TYPE_CHECKING:
    import torch


class ExtractError(UserError):
    """A model, an audio file or a cache that can't be used, as one line for the user."""


class Extractor(Protocol):
    """A frozen front end.

    It owns its waveform normalisation; it never resamples, chunks or chooses a device. A clip's states never depend
    on what else is in its batch.

    Two more members are optional: ``pooled(audio, lengths) -> (batch, layers, dim)`` float32, where there is a
    better or faster answer at clip level than the mean over the valid frames; and ``compile()``, which makes later
    calls faster where few shapes occur.

    Attributes
    ----------
    name, revision
        As in the catalogue; the revision is a commit hash, a digest of weights or a version.
    digest
        Hexadecimal digest of the weights (or of the parameters of a hand-made front end).
    sample_rate
        Of the audio it expects, Hz.
    hop, receptive_field
        Samples between frames, and samples one frame sees. Frame ``i`` is centred on sample
        ``i * hop + receptive_field / 2``.
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

    def __call__(self, audio: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of every layer.

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
            ``frames = 1 + (length - receptive_field) // hop``.
        """
        ...
