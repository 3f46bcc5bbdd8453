"""Build the two networks that are trained: a transformer with a head, and a supervised baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from svuprobe.extractors.audio import InputSpec
from svuprobe.extractors.base import Extractor, FrameGrid
from svuprobe.extractors.loading import load as load_model
from svuprobe.extractors.models.feature_encoder import valid_mask
from svuprobe.extractors.models.trainable import TrainableEncoder
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.probe import baselines
from svuprobe.probe.baselines.base import Stage
from svuprobe.probe.finetune.baseline_model import BaselineModel
from svuprobe.probe.finetune.network import Batch, FrameReader, KindReader, Network, TrainingPlan
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.trained import TrainedHeads
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.types import Task

_LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
_LARGE = "wav2vec2-large-lv60"  # under baselines that are only a head

AnyProtocol = FinetuneProtocol | RecipeProtocol


def build(
    model: str,
    task: Task,
    labels: Sequence[str],
    protocol: AnyProtocol,
    *,
    heads: TrainedHeads | None = None,
    seed: int = 0,
    checkpointing: bool = False,
) -> Network:
    """Return a model by its name with a head, or a baseline; its first weights follow from the
    seed.

    Parameters
    ----------
    heads
        Of a probe, to start from the head of this seed.
    checkpointing
        See `svuprobe.extractors.models.trainable.TrainableEncoder`.

    Raises
    ------
    ProbeError
        A model that can't be trained, or a baseline that can't do the task.
    """
    task = replace(task, labels=tuple(labels) or None)  # also of one that finds them in its data
    n_outputs = kinds.of(task).n_outputs(labels)
    # default_generator, because torch.manual_seed would also seed the accelerators.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(protocol, RecipeProtocol):
            extractor = (
                trainable(load_model(_LARGE)) if baselines.find(model).needs_encoder else None
            )
            return BaselineModel(
                model, task, n_outputs, protocol, extractor=extractor, checkpointing=checkpointing
            )
        network = FineTunedModel(
            trainable(load_model(model)), task, n_outputs, protocol, checkpointing=checkpointing
        )
    if heads is not None:
        network.start_from(heads, seed)
    return network


def trainable(extractor: Extractor) -> TransformerExtractor:
    """Return an extractor that can be fine-tuned; raises ProbeError for another."""
    if not isinstance(extractor, TransformerExtractor):
        raise ProbeError(
            f"{extractor.name} can't be fine-tuned: only wav2vec 2.0, HuBERT, WavLM, data2vec and "
            "MERT can; use svuprobe probe, or name a baseline: " + ", ".join(baselines.TABLE)
        )
    return extractor


class FineTunedModel(Network):
    """Apply a transformer, a weighted sum of its hidden states, and a head.

    Parameters
    ----------
    extractor
        Its model is taken over.
    checkpointing
        See `svuprobe.extractors.models.trainable.TrainableEncoder`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        extractor: TransformerExtractor,
        task: Task,
        n_outputs: int,
        protocol: FinetuneProtocol,
        *,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(task)
        self.task, self.protocol, self.layer_names = task, protocol, extractor.layer_names
        self.grid, self.shortest = FrameGrid.of(extractor), extractor.receptive_field
        # Windows at frame level are a whole number of
        # hops, with what their last frame sees after them.
        hop, context = (self.grid.hop, self.grid.context) if self.by_frame else (0, 0)
        self.input_spec = InputSpec(extractor.sample_rate, hop, context)
        self.about = _about_extractor(extractor)
        self.encoder = TrainableEncoder(
            extractor,
            layerdrop=protocol.layerdrop,
            spec_augment=protocol.spec_augment,
            checkpointing=checkpointing,
        )
        layers = len(self.layer_names)
        if protocol.last_k > layers - 1:
            raise ProbeError(
                f"last_k = {protocol.last_k}: {extractor.name} has {layers - 1} blocks"
            )
        if protocol.lora_rank:
            _add_adapters(self.encoder.model, protocol.lora_rank)
        self.mix = nn.Parameter(torch.zeros(layers)) if protocol.layers == "sum" else None
        self.head = _head(extractor.dim, n_outputs, protocol)
        # What a probe's protocol subtracts from hidden
        # states and divides them by; they stay as they are.
        self.register_buffer("mean", torch.zeros(layers, extractor.dim))
        self.register_buffer("scale", torch.ones(layers, extractor.dim))
        self.plan = _plan(protocol, task)

    @property
    def reader(self) -> FrameReader:
        assert isinstance(self.kind, FrameKind)
        return KindReader(self.task, self.kind)

    @torch.no_grad()
    def start_from(self, heads: TrainedHeads, seed: int) -> None:
        """Take the layer weights, the head and the scaling of the probe of a seed."""
        assert self.mix is not None
        tensors = heads.tensors
        # A layer that the probe left out has a weight of 0, whose logarithm is no number.
        self.mix.copy_(tensors["mix"][seed].clamp(min=1e-30).log())  # the inverse of a softmax
        linear = [module for module in self.head.modules() if isinstance(module, nn.Linear)]
        for number, layer in enumerate(linear):
            layer.weight.copy_(tensors[f"weight{number}"][seed].T)
            layer.bias.copy_(tensors[f"bias{number}"][seed, 0])
        self.mean.copy_(tensors["mean"])
        self.scale.copy_(tensors["scale"])

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        rates = dict(stage.rates)
        members: dict[str, list[nn.Parameter]] = {part: [] for part in rates}
        for name, parameter in self.named_parameters():
            part, _, inside = name.partition(".")
            learns = part in rates and (
                part != "encoder" or self._adapts(inside.removeprefix("model."))
            )
            parameter.requires_grad_(learns)
            if learns:
                members[part].append(parameter)
        return [{"params": some, "lr": rates[part]} for part, some in members.items() if some]

    def _adapts(self, name: str) -> bool:
        """Return whether a weight of the transformer learns in the second stage."""
        if self.protocol.lora_rank:
            return "lora_" in name
        if name.startswith("feature_extractor."):
            return self.protocol.train_convolutions
        if self.protocol.bitfit:
            return name.endswith("bias")
        if self.protocol.last_k:
            first = len(self.layer_names) - 1 - self.protocol.last_k
            return name.startswith("encoder.layers.") and int(name.split(".")[2]) >= first
        return True

    def _seen(self, audio: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return hidden states as the head sees them.

        At clip level means over time (B, dim) and None; else frames (B, F, dim) and which are
        valid, (B, F).
        """
        states, frames = self.encoder.hidden(audio, lengths)
        frames = frames.to(audio.device)
        valid = valid_mask(states[0].shape[1], frames)
        if self.by_frame:
            return states, valid
        # Padded frames weigh nothing in the mean.
        share = valid / frames[:, None]  # (B, F)
        return [torch.einsum("bfd,bf->bd", x, share.to(x.dtype)) for x in states], None

    def _weights(self) -> Tensor:
        if self.mix is None:
            return torch.eye(len(self.layer_names), device=self.scale.device)[-1]
        return self.mix.softmax(dim=0)

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self._seen(audio, lengths)
        # Centring and scaling fold into the weights: one pass over each state instead of three.
        weights = self._weights()[:, None] / self.scale  # (L, dim)
        mixed = weights[-1] * states[-1]
        if self.mix is not None:
            for weight, x in zip(weights[:-1], states[:-1], strict=True):
                mixed = mixed + weight * x
        return self.head(mixed - (weights * self.mean).sum(0))

    def layer_weights(self) -> np.ndarray:
        return self._weights().detach().double().cpu().numpy()

    @torch.no_grad()
    def squares(self, batch: Batch) -> np.ndarray:
        states, valid = self._seen(batch.audio, batch.lengths)
        squares = []
        for x, mean, scale in zip(states, self.mean, self.scale, strict=True):
            rows = x if valid is None else x[valid]
            squares.append(((rows - mean) / scale).square().mean())
        return torch.stack(squares).double().cpu().numpy()

    def n_frames(self, samples: int) -> int:
        return self.grid.n_frames(samples)

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        return self.grid.centres(n_frames, start_s)


def _plan(protocol: FinetuneProtocol, task: Task) -> TrainingPlan:
    """Return two stages, or the one that has epochs: the head alone, then the transformer too."""
    alpha = (
        task.class_weight_alpha
        if protocol.class_weight_alpha is None
        else protocol.class_weight_alpha
    )
    head: Sequence[tuple[str, float]] = (
        ("head", protocol.head_learning_rate),
        ("mix", protocol.mix_learning_rate or protocol.head_learning_rate),
    )
    both = (*head, ("encoder", protocol.encoder_learning_rate))
    stages = (
        Stage(protocol.frozen_epochs, tuple(head), alpha),
        Stage(protocol.epochs, both, alpha),
    )
    size = protocol.batch_size if kinds.of(task).level == "clip" else protocol.frame_batch_size
    return TrainingPlan(tuple(stage for stage in stages if stage.epochs), size, protocol.select)


def _about_extractor(extractor: Extractor) -> dict[str, Any]:
    """Return what a result says of a pretrained model."""
    names = ("name", "revision", "digest", "parameters", "dim", "sample_rate", "normalization")
    return {
        **{name: getattr(extractor, name) for name in names},
        "frame_rate": FrameGrid.of(extractor).frame_rate,
        "layer_names": list(extractor.layer_names),
    }


def _head(dim: int, n_outputs: int, protocol: FinetuneProtocol) -> nn.Module:
    if not protocol.hidden:
        return nn.Linear(dim, n_outputs)
    between = [nn.ReLU()] if protocol.relu else []
    return nn.Sequential(
        nn.Linear(dim, protocol.hidden),
        *between,
        nn.Dropout(protocol.dropout),
        nn.Linear(protocol.hidden, n_outputs),
    )


def _add_adapters(model: nn.Module, rank: int) -> None:
    """Put low-rank adapters around the projections of attention, in place."""
    try:
        import peft
    except ImportError:
        raise ProbeError(
            "LoRA needs the package peft, which is not installed: pip install peft"
        ) from None
    # What adapters add is scaled by alpha / rank, that is by 2 (Hu et al. 2022).
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_LORA_TARGETS)
    peft.inject_adapter_in_model(config, model)
