"""Train a supervised baseline end to end: one of `svuprobe.probe.baselines` as a network here."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from svuprobe.extractors.audio import InputSpec
from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.models.trainable import TrainableEncoder
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.probe import baselines
from svuprobe.probe.baselines.base import Baseline, NoteBaseline, Stage
from svuprobe.probe.finetune.network import Network, TrainingPlan
from svuprobe.probe.finetune.protocol import RecipeProtocol
from svuprobe.tasks.types import Task


class BaselineModel(Network):
    """Run a baseline with random weights; one that is only a head has the ``extractor`` under
    it.
    """

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
            encoder, field = (
                TrainableEncoder(extractor, checkpointing=checkpointing),
                extractor.receptive_field,
            )
        self.baseline: Baseline = baselines.build(name, task.kind, n_outputs, encoder)
        self.field, self.layer_names, self.shortest = field, ("output",), max(1, field)
        hop = self.baseline.hop if isinstance(self.baseline, NoteBaseline) else 0
        self.input_spec = InputSpec(self.baseline.sample_rate, hop, field - hop if field else 0)
        self.plan = _recipe_plan(self.baseline, protocol)
        self.about = _about_baseline(self.baseline, extractor)

    @property
    def reader(self) -> NoteBaseline:
        assert isinstance(self.baseline, NoteBaseline)
        return self.baseline

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        return self.baseline.groups(stage)

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        outputs = self.baseline(audio, lengths.to(audio.device))
        return outputs[0] if self.by_frame else outputs  # of frames come with their numbers

    def n_frames(self, samples: int) -> int:
        baseline = self.reader
        if self.field:  # of the encoder under it, which pads nothing
            return FrameGrid(baseline.sample_rate, baseline.hop, self.field).n_frames(samples)
        return -(-max(samples, baseline.shortest) // baseline.hop)

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        return start_s + self.reader.times(n_frames)


def _recipe_plan(baseline: Baseline, protocol: RecipeProtocol) -> TrainingPlan:
    """Return the published training of a baseline, with the epochs and batches that were asked
    for.
    """
    recipe = baseline.recipe
    stages = [
        Stage(protocol.epochs or s.epochs, s.rates, s.class_weight_alpha) for s in recipe.stages
    ]
    return TrainingPlan(
        tuple(stages),
        protocol.batch_size or recipe.batch_size,
        "best" if recipe.patience else "last",
        recipe.optimiser,
        recipe.weight_decay,
        recipe.validate_every,
        recipe.patience,
    )


def _about_baseline(baseline: Baseline, extractor: TransformerExtractor | None) -> dict[str, Any]:
    """Return what a result says of a baseline; its digest is of shapes and recipe, as weights are
    random.
    """
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
