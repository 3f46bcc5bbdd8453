"""What is trained end to end: audio to logits.

`Network` is what `svuprobe.probe.finetune.adapt.Tuned`, a transformer with a head, and `Supervised`, a baseline, have
in common, so one trainer, one evaluation and `svuprobe predict` do for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from svuprobe.extractors.audio import InputSpec
from svuprobe.extractors.models.trainable import TrainableEncoder
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.probe import baselines
from svuprobe.probe.baselines.base import Baseline, NoteBaseline, Stage
from svuprobe.probe.finetune.protocol import RecipeProtocol
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.types import Task

Audio = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Plan:
    """How a network is trained; the fields are those of `svuprobe.probe.baselines.base.Recipe`.

    ``select`` is ``best`` where each stage ends at its epoch with the best ranked metric on validation, ``last``
    where it ends at its last.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    select: str
    optimiser: str = "adam"
    weight_decay: float = 0.0
    validate_every: int = 1
    patience: int = 0


class Network(nn.Module):
    """Audio to logits.

    Attributes
    ----------
    kind
        Of the task.
    plan
        Its training.
    need
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
    plan: Plan
    need: InputSpec
    shortest: int
    layer_names: tuple[str, ...]
    about: dict[str, Any]
    offset: Tensor
    spread: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.kind = kinds.of(task)
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))

    @property
    def frames(self) -> bool:
        """Whether it answers for each frame."""
        return self.kind.level == "frame"

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Logits of padded windows, (batch, samples) and (batch,) on the CPU.

        (batch, C) at clip level, (batch, frames, C) at frame level with anything in padded frames.
        """
        raise NotImplementedError

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        """Freeze what a stage does not train; parameter groups with their learning rates for an optimiser."""
        raise NotImplementedError

    def n_frames(self, samples: int) -> int:
        """Frames of a window."""
        raise NotImplementedError

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        """Centres of the frames of a window, seconds."""
        raise NotImplementedError

    def layer_weights(self) -> np.ndarray:
        """(L,), they sum to 1."""
        return np.ones(1)

    def squares(self, audio: Tensor, lengths: Tensor) -> np.ndarray:
        """Mean square of each hidden state as the head sees it, (L,)."""
        return np.ones(1)

    def labels(self, target: Any, times: np.ndarray) -> np.ndarray:
        """Targets of the frames at ``times``."""
        return self._frame_kind().rasterise(target, times)

    def frame_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of frames: (N, C) logits and (N, ...) targets."""
        return self.kind.loss(outputs[None], targets)[0]

    def decode(self, task: Task, outputs: np.ndarray, times: np.ndarray, audio: Audio) -> np.ndarray:
        """Notes or beats of a whole clip from (F, C) logits at ``times``; ``audio`` gives its samples."""
        return self._frame_kind().decode(task, torch.from_numpy(outputs)[None], times)[0]

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        """What a picture shows over the notes or beats: a name and (F,) probabilities, from logits (F, C)."""
        return self._frame_kind().activation(outputs)

    def _frame_kind(self) -> FrameKind:
        assert isinstance(self.kind, FrameKind)
        return self.kind


class Supervised(Network):
    """A baseline with random weights; one that is only a head comes with the ``extractor`` under it."""

    def __init__(
        self,
        name: str,
        task: Task,
        n_outputs: int,
        protocol: RecipeProtocol,
        *,
        extractor: TransformerExtractor | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(task)
        encoder, field = None, 0
        if extractor is not None:
            encoder, field = TrainableEncoder(extractor, checkpointing=checkpointing), extractor.receptive_field
        self.baseline: Baseline = baselines.build(name, task.kind, n_outputs, encoder)
        self.field, self.layer_names, self.shortest = field, ("output",), max(1, field)
        hop = self.baseline.hop if isinstance(self.baseline, NoteBaseline) else 0
        self.need = InputSpec(self.baseline.sample_rate, hop, field - hop if field else 0)
        recipe, epochs = self.baseline.recipe, protocol.epochs
        stages = [Stage(epochs or s.epochs, s.rates, s.class_weight_alpha) for s in recipe.stages]
        self.plan = Plan(
            tuple(stages),
            protocol.batch_size or recipe.batch_size,
            "best" if recipe.patience else "last",
            recipe.optimiser,
            recipe.weight_decay,
            recipe.validate_every,
            recipe.patience,
        )
        self.about = _about(self.baseline, extractor)

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        return self.baseline.groups(stage)

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        found = self.baseline(audio, lengths.to(audio.device))
        return found[0] if isinstance(found, tuple) else found

    def n_frames(self, samples: int) -> int:
        assert isinstance(self.baseline, NoteBaseline)
        if self.field:
            return 1 + (samples - self.field) // self.baseline.hop
        return -(-max(samples, self.baseline.shortest) // self.baseline.hop)

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        assert isinstance(self.baseline, NoteBaseline)
        return start_s + self.baseline.times(n_frames)

    def labels(self, target: Any, times: np.ndarray) -> np.ndarray:
        assert isinstance(self.baseline, NoteBaseline)
        return self.baseline.targets(target, times)

    def frame_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        assert isinstance(self.baseline, NoteBaseline)
        return self.baseline.frame_loss(outputs, targets)

    def decode(self, task: Task, outputs: np.ndarray, times: np.ndarray, audio: Audio) -> np.ndarray:
        assert isinstance(self.baseline, NoteBaseline)
        return self.baseline.decode(torch.from_numpy(outputs), times, torch.from_numpy(audio()))

    def activation(self, outputs: np.ndarray) -> tuple[str, np.ndarray]:
        assert isinstance(self.baseline, NoteBaseline)
        return self.baseline.activation(outputs)


def _about(baseline: Baseline, extractor: TransformerExtractor | None) -> dict[str, Any]:
    """What a result says of a baseline: its digest is of its shapes and its recipe, as its weights are random."""
    shapes = [f"{name} {tuple(p.shape)}" for name, p in baseline.named_parameters()]
    parts = [baseline.name, *shapes, repr(baseline.recipe), extractor.digest if extractor else ""]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    hop = baseline.hop if isinstance(baseline, NoteBaseline) else 0
    return {
        "name": baseline.name,
        "revision": digest[:40],
        "digest": digest,
        "parameters": sum(p.numel() for p in baseline.parameters()),
        "dim": 0,
        "sample_rate": baseline.sample_rate,
        "frame_rate": baseline.sample_rate / hop if hop else None,
        "normalization": "its own",
        "layer_names": ["output"],
        "recipe": repr(baseline.recipe),
    }
