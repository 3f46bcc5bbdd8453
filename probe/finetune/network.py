"""Define what is trained end to end, audio to logits, and what the trainer gives it.

`Network` is what the two kinds of network in `svuprobe.probe.finetune.model` have in common, a
pretrained transformer with a head and a supervised baseline: so one trainer, one evaluation and
`svuprobe predict` do for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from svuprobe.extractors.audio import InputSpec
from svuprobe.probe.baselines.base import Stage
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.types import Task


@dataclass(frozen=True)
class Batch:
    """Hold windows that go through a network together, and what it is to answer.

    Attributes
    ----------
    audio
        (B, samples) float32, zeros after each window.
    lengths
        (B,) int64 samples of each window. They stay on the CPU: shapes follow from them.
    targets
        (B, ...) of windows; at frame level (frames, ...), those of all windows one after the other.
        None where nothing is learnt.
    weight
        What the mean loss of these windows weighs in that of a whole step.
    """

    audio: Tensor
    lengths: Tensor
    targets: Tensor | None = None
    weight: float = 0.0

    @classmethod
    def of(
        cls, windows: Sequence[np.ndarray], targets: Tensor | None = None, weight: float = 0.0
    ) -> Batch:
        """Return windows (samples,) float32 of any lengths as a batch."""
        # They are cut by one rule, yet the last window of a recording is shorter.
        lengths = torch.tensor([len(samples) for samples in windows])
        audio = torch.zeros(len(windows), int(lengths.max()))
        for row, samples in zip(audio, windows, strict=True):
            # A copy: those of a mapped file are read-only.
            row[: len(samples)] = torch.from_numpy(np.array(samples))
        return cls(audio, lengths, targets, weight)

    def to(self, device: str) -> Batch:
        """Return the batch with audio and targets on a device."""
        # Without waiting: the device may still be busy with the batch before.
        targets = None if self.targets is None else self.targets.to(device, non_blocking=True)
        return replace(self, audio=self.audio.to(device, non_blocking=True), targets=targets)


@dataclass(frozen=True)
class TrainingPlan:
    """Say how a network is trained; fields are those of `svuprobe.probe.baselines.base.Recipe`.

    ``select`` is ``best`` where each stage ends at its epoch with the best ranked metric on
    validation, ``last`` where it ends at its last.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    select: str
    optimiser: str = "adam"
    weight_decay: float = 0.0
    validate_every: int = 1
    patience: int = 0


class FrameReader(Protocol):
    """Say what the frames of a network are taught, and how their outputs are read.

    `svuprobe.probe.baselines.base.NoteBaseline` is one: a baseline may have labels, a loss and a
    decoder of its own.
    """

    @property
    def follows_tempo(self) -> bool:
        """Return whether `decode` needs the audio."""
        ...

    def targets(self, events: Any, times: np.ndarray, /) -> np.ndarray:
        """Return labels (F, ...) of the frames at ``times`` (F,), seconds."""
        ...

    def frame_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of frames, a scalar: (N, C) logits and (N, ...) labels."""
        ...

    def decode(self, outputs: Tensor, times: np.ndarray, audio: Tensor | None = None) -> np.ndarray:
        """Return the events of a whole clip from (F, C) logits at ``times``; ``audio`` is
        (samples,).
        """
        ...

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what a picture shows over the events: a name and (F,) probabilities, from (F, C)
        logits.
        """
        ...


@dataclass(frozen=True)
class KindReader:
    """Read networks that learn a kind as heads on frozen features do."""

    task: Task
    kind: FrameKind
    follows_tempo = False

    def targets(self, events: Any, times: np.ndarray) -> np.ndarray:
        """Return labels (F, ...) of the frames at ``times`` (F,), seconds."""
        return self.kind.rasterise(events, times)

    def frame_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of frames, a scalar: (N, C) logits and (N, ...) labels."""
        # Losses are made for banks of heads, (H, N, C): this is a bank of one.
        return self.kind.loss(outputs[None], targets)[0]

    def decode(self, outputs: Tensor, times: np.ndarray, audio: Tensor | None = None) -> np.ndarray:
        """Return the events of a whole clip from (F, C) logits at ``times``."""
        return self.kind.decode(self.task, outputs[None], times)[0]

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """Return what a picture shows over the events: a name and (F,) probabilities, from (F, C)
        logits.
        """
        return self.kind.activation(outputs)


class Network(nn.Module):
    """Map audio to logits.

    Attributes
    ----------
    kind
        Of the task.
    plan
        Its training.
    input_spec
        What windows it sees.
    shortest
        Samples that a window has at least.
    layer_names
        Of what the layer weights weigh.
    about
        What a result says of the model: ``name``, ``revision``, ``digest``, ...
    offset, spread
        Regression: what outputs are scaled back with; 0 and 1 elsewhere.
    """

    kind: Kind
    plan: TrainingPlan
    input_spec: InputSpec
    shortest: int
    layer_names: tuple[str, ...]
    about: dict[str, Any]
    offset: Tensor
    spread: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.kind = kinds.of(task)
        # Buffers are kept in the file of a network and no optimiser moves them.
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))

    @property
    def by_frame(self) -> bool:
        """Return whether it answers for each frame."""
        return self.kind.level == "frame"

    @property
    def reader(self) -> FrameReader:
        """Return what reads its frames; of networks at clip level there is none."""
        raise NotImplementedError

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Return logits of padded windows, (B, samples) and (B,) on the CPU.

        (B, C) at clip level, (B, frames, C) at frame level with anything in padded frames.
        """
        raise NotImplementedError

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        """Freeze what a stage does not train; return parameter groups with their learning rates."""
        raise NotImplementedError

    def n_frames(self, samples: int) -> int:
        """Return the frames of a window."""
        raise NotImplementedError

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Return the centres of the frames of a window, (n_frames,) seconds."""
        raise NotImplementedError

    def layer_weights(self) -> np.ndarray:
        """Return what each layer weighs, (L,), which sum to 1."""
        return np.ones(1)

    def squares(self, batch: Batch) -> np.ndarray:
        """Return the mean square of each hidden state as the head sees it, (L,)."""
        return np.ones(1)
