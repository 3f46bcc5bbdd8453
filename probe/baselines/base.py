"""Define what every supervised baseline is: audio in, logits out, and its published recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.kinds import transcription as svt
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.notes import NOTES, Notes


@dataclass(frozen=True)
class Stage:
    """Describe one stage of training.

    Attributes
    ----------
    epochs
        At most.
    rates
        Learning rate of the parameters whose name starts with a prefix, ``""`` for all; the longest
        prefix counts, and a parameter without one is frozen.
    class_weight_alpha
        The cross-entropy weighs class c by ``1 / n_c ** alpha``, see
        `svuprobe.tasks.kinds.multiclass`.
    """

    epochs: int
    rates: tuple[tuple[str, float], ...]
    class_weight_alpha: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Describe how a baseline was trained by its authors.

    Attributes
    ----------
    task
        The task of svuprobe that stands for theirs.
    source
        Where the numbers come from, and what is ours.
    batch_size
        Windows per step.
    stages
        One after the other, each from the best state of the one before.
    optimiser
        Name of the class in ``torch.optim``, lower case.
    validate_every, patience
        Epochs between validations, and how many of them without a better score end a stage (0: none
        do, and the last state counts).
    """

    task: str
    source: str
    batch_size: int
    stages: tuple[Stage, ...]
    optimiser: str = "adam"
    weight_decay: float = 0.0
    validate_every: int = 1
    patience: int = 0


class Baseline(nn.Module, ABC):
    """Define a network that learns a task from audio.

    A clip's logits in ``eval`` do not depend on what else is in its batch: samples and frames after
    its own are zeros to every layer that looks beyond one frame, and no mean counts them. In
    training the batch norms count them, as those of the published models do.

    Attributes
    ----------
    name
        As in the table of baselines.
    sample_rate
        Of the audio it expects, Hz.
    level
        ``clip`` or ``frame``.
    learns
        The class of the kinds of task that it can learn.
    shortest, longest
        Samples: a shorter clip is followed by zeros, a longer one refused (0: of any length). Equal
        where the network has weights for every time step.
    recipe
        Its published training.
    needs_encoder
        Whether it is only a head: it is then made with ``(n_outputs, encoder)``.
    """

    name: ClassVar[str]
    sample_rate: ClassVar[int]
    level: ClassVar[str] = "clip"
    learns: ClassVar[type] = ClipKind
    shortest: ClassVar[int] = 1
    longest: ClassVar[int] = 0
    recipe: ClassVar[Recipe]
    needs_encoder: ClassVar[bool] = False

    def __init__(self, n_outputs: int, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.encoder = encoder

    @abstractmethod
    def forward(self, audio: torch.Tensor, lengths: torch.Tensor) -> Any:
        """Return the logits of clips.

        Parameters
        ----------
        audio
            (B, S) float32 mono at ``sample_rate``.
        lengths
            (B,) int64, valid samples of each clip; what follows them is ignored.

        Returns
        -------
        (B, C) logits at clip level; at frame level (B, F, C) logits, zeros after a clip's own
        frames, and (B,) int64 valid frames.
        """

    def admit(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Check audio, at the one gate: (B, at least ``shortest``), zeros after each clip, and
        lengths.

        Raises
        ------
        ProbeError
            A clip without samples, or longer than the network can take.
        """
        # A mistake of a caller, not of data: so no ProbeError.
        if audio.ndim != 2 or lengths.shape != audio.shape[:1] or (lengths > audio.shape[1]).any():
            raise ValueError(
                f"audio {tuple(audio.shape)} and lengths {lengths.tolist()}: (B, S) and (B,) at "
                "most S"
            )
        if (lengths < 1).any():
            raise ProbeError(f"{self.name}: a clip of 0 samples can't be learnt from; remove it")
        if self.longest and (lengths > self.longest).any():
            seconds, limit = int(lengths.max()) / self.sample_rate, self.longest / self.sample_rate
            raise ProbeError(
                f"{self.name} reads {limit:g} s, not {seconds:g} s: set the task's window_s = "
                f"{limit:g}"
            )
        # What a loader left after a clip is no silence for sure.
        lengths = lengths.to(audio.device)
        audio = keep(audio[:, : int(lengths.max())], lengths)
        # Kernels and pools that are longer than the audio would raise in torch, without a word of
        # it.
        audio = nn.functional.pad(audio, (0, max(0, self.shortest - audio.shape[1])))
        return audio, lengths.clamp(min=self.shortest)

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        """Freeze what a stage does not train; return parameter groups with learning rates for an
        optimiser.
        """
        members: dict[str, list[nn.Parameter]] = {prefix: [] for prefix, _ in stage.rates}
        for name, parameter in self.named_parameters():
            # The longest prefix counts: "output." over "".
            prefix = max((p for p in members if name.startswith(p)), key=len, default=None)
            # Frozen parameters take no gradient, hence no memory for one.
            parameter.requires_grad_(prefix is not None)
            if prefix is not None:
                members[prefix].append(parameter)
        return [{"params": members[prefix], "lr": rate} for prefix, rate in stage.rates]


class NoteBaseline(Baseline):
    """Define a baseline that transcribes notes: 20 logits a frame, unless it says other.

    What they are of is in `svuprobe.tasks.kinds.transcription`.

    Attributes
    ----------
    hop
        Samples between frames; without an encoder, a clip has as many as are centred before its
        end.
    first_frame_s
        Time of the first frame.
    follows_tempo
        Whether `decode` needs the audio of a song.
    """

    level = "frame"
    learns = Notes
    hop: ClassVar[int]
    first_frame_s: ClassVar[float] = 0.0
    follows_tempo: ClassVar[bool] = False

    def __init__(self, n_outputs: int = svt.N_OUTPUTS, encoder: nn.Module | None = None) -> None:
        if n_outputs != svt.N_OUTPUTS:
            raise ValueError(f"n_outputs = {n_outputs}: transcription has {svt.N_OUTPUTS}")
        super().__init__(n_outputs, encoder)

    def times(self, n_frames: int) -> NDArray[np.float64]:
        """Return the times in s of a window's first frames, (n_frames,), from its start."""
        return self.first_frame_s + np.arange(n_frames) * self.hop / self.sample_rate

    def targets(self, notes: ArrayLike, times: ArrayLike) -> NDArray[np.int16]:
        """Label the frames at ``times``, (F, ...), from notes (n, 3): onset s, offset s, MIDI."""
        return svt.rasterise(notes, times)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, frames: torch.Tensor
    ) -> torch.Tensor:
        """Average the loss over a batch's valid frames: (B, F, C) logits, (B, F, ...) labels, (B,)
        frames.
        """
        # (B, F): padding is in no mean, else a clip's loss would depend on its neighbours.
        valid = torch.arange(outputs.shape[1], device=frames.device) < frames[:, None]
        return self.frame_loss(outputs[valid], targets[valid])

    def frame_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of frames, a scalar: (N, C) logits and (N, ...) labels."""
        return svt.loss(outputs[None], targets)[0]

    def decode(
        self, outputs: torch.Tensor, times: ArrayLike, audio: torch.Tensor | None = None
    ) -> NDArray[np.float64]:
        """Return the notes (n, 3) of one song from its (F, C) logits at ``times``.

        ``audio`` is the song, (S,) at ``sample_rate``, for a decoder that follows its tempo.
        """
        return svt.decode(outputs, times)

    def activation(self, outputs: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
        """Return what a picture shows over the notes: a name and (F,) probabilities, from logits
        (F, C).
        """
        return NOTES.activation(outputs)


def keep(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return ``x`` (B, ..., T) with zeros after the first ``lengths`` (B,) steps of each clip."""
    if int(lengths.min()) >= x.shape[-1]:  # the usual case, and maps are large
        return x
    # By comparison, not by slices: one operation for the batch instead of one a clip.
    valid = torch.arange(x.shape[-1], device=x.device) < lengths.to(x.device)[:, None]
    # Not a product with 0, which keeps NaN and infinities.
    return torch.where(valid.view(len(x), *[1] * (x.dim() - 2), -1), x, 0.0)
