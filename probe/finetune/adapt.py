"""Adapting a pretrained transformer to a task: a head on it, and which of its weights learn in which stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from svuprobe.extractors.audio import InputSpec
from svuprobe.extractors.base import Extractor
from svuprobe.extractors.loading import load as load_model
from svuprobe.extractors.models.feature_encoder import valid_mask
from svuprobe.extractors.models.trainable import TrainableEncoder
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.probe import baselines
from svuprobe.probe.baselines.base import Stage
from svuprobe.probe.finetune.network import Network, Plan, Supervised
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.trained import TrainedHeads
from svuprobe.tasks import kinds
from svuprobe.tasks.types import Task

_LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
_LARGE = "wav2vec2-large-lv60"  # under baselines that are only a head


class Tuned(Network):
    """A transformer, a weighted sum of its hidden states and a head.

    Parameters
    ----------
    extractor
        Its model is taken over.
    heads, seed
        Of a probe, to start from the head of its seed; its protocol's moments stay as they were.
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
        heads: TrainedHeads | None = None,
        seed: int = 0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(task)
        self.protocol, self.layer_names = protocol, extractor.layer_names
        self.hop, self.shortest = extractor.hop, extractor.receptive_field
        self.need = InputSpec(extractor.sample_rate, *((self.hop, self.shortest - self.hop) if self.frames else ()))
        self.about = about(extractor)
        self.encoder = TrainableEncoder(
            extractor,
            layerdrop=protocol.layerdrop,
            spec_augment=protocol.spec_augment,
            checkpointing=checkpointing,
        )
        blocks, layers = len(self.layer_names) - 1, len(self.layer_names)
        if protocol.last_k > blocks:
            raise ProbeError(f"last_k = {protocol.last_k}: {extractor.name} has {blocks} blocks")
        if protocol.lora_rank:
            _add_adapters(self.encoder.model, protocol.lora_rank)
        self.mix = nn.Parameter(torch.zeros(layers)) if protocol.layers == "sum" else None
        self.head = _head(extractor.dim, n_outputs, protocol)
        self.register_buffer("mean", torch.zeros(layers, extractor.dim))
        self.register_buffer("scale", torch.ones(layers, extractor.dim))
        self.plan = _plan(protocol, task)
        if heads is not None:
            self._take(heads, seed)

    def _take(self, heads: TrainedHeads, seed: int) -> None:
        """Start from the head of a probe."""
        t = heads.tensors
        linear = [m for m in self.head.modules() if isinstance(m, nn.Linear)]
        with torch.no_grad():
            assert self.mix is not None
            self.mix.copy_(t["mix"][seed].clamp(min=1e-30).log())
            for n, layer in enumerate(linear):
                layer.weight.copy_(t[f"weight{n}"][seed].T)
                layer.bias.copy_(t[f"bias{n}"][seed, 0])
            self.mean.copy_(t["mean"])
            self.scale.copy_(t["scale"])

    def groups(self, stage: Stage) -> list[dict[str, Any]]:
        rates = dict(stage.rates)
        members: dict[str, list[nn.Parameter]] = {part: [] for part in rates}
        for name, parameter in self.named_parameters():
            part, _, inside = name.partition(".")
            learns = part in rates and (part != "encoder" or self._adapts(inside.removeprefix("model.")))
            parameter.requires_grad_(learns)
            if learns:
                members[part].append(parameter)
        return [{"params": some, "lr": rates[part]} for part, some in members.items() if some]

    def _adapts(self, name: str) -> bool:
        """Whether a weight of the transformer learns in the second stage."""
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
        """Hidden states as the head sees them: means over time, or frames and which of them are valid."""
        states, frames = self.encoder.hidden(audio, lengths)
        frames = frames.to(audio.device)
        valid = valid_mask(states[0].shape[1], frames)
        if self.frames:
            return states, valid
        share = valid / frames[:, None]  # (batch, frames)
        return [torch.einsum("bfd,bf->bd", x, share.to(x.dtype)) for x in states], None

    def _weights(self) -> Tensor:
        if self.mix is None:
            return torch.eye(len(self.layer_names), device=self.scale.device)[-1]
        return self.mix.softmax(dim=0)

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self._seen(audio, lengths)
        weights = self._weights()[:, None] / self.scale  # (layers, dim)
        mixed = weights[-1] * states[-1]
        if self.mix is not None:
            for weight, x in zip(weights[:-1], states[:-1], strict=True):
                mixed = mixed + weight * x
        return self.head(mixed - (weights * self.mean).sum(0))

    def layer_weights(self) -> np.ndarray:
        return self._weights().detach().double().cpu().numpy()

    @torch.no_grad()
    def squares(self, audio: Tensor, lengths: Tensor) -> np.ndarray:
        states, valid = self._seen(audio, lengths)
        rows = [x if valid is None else x[valid] for x in states]
        scaled = [((x - m) / s).square().mean() for x, m, s in zip(rows, self.mean, self.scale, strict=True)]
        return torch.stack(scaled).double().cpu().numpy()

    def n_frames(self, samples: int) -> int:
        return 1 + (samples - self.shortest) // self.hop

    def frame_times(self, start_s: float, n_frames: int) -> np.ndarray:
        centres = np.arange(n_frames) * self.hop + self.shortest / 2
        return np.asarray(start_s + centres / self.need.sample_rate)


def build(
    model: str,
    task: Task,
    labels: Sequence[str],
    protocol: FinetuneProtocol | RecipeProtocol,
    *,
    heads: TrainedHeads | None = None,
    seed: int = 0,
    checkpointing: bool = False,
) -> Network:
    """A model by its name with a head, or a baseline; its first weights follow from the seed.

    Raises
    ------
    ProbeError
        A model that can't be trained, or a baseline that can't do the task.
    """
    n_outputs = kinds.of(task).n_outputs(labels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(protocol, FinetuneProtocol):
            extractor = trainable(load_model(model))
            return Tuned(extractor, task, n_outputs, protocol, heads=heads, seed=seed, checkpointing=checkpointing)
        under = trainable(load_model(_LARGE)) if baselines.find(model).needs_encoder else None
        return Supervised(model, task, n_outputs, protocol, extractor=under, checkpointing=checkpointing)


def trainable(extractor: Extractor) -> TransformerExtractor:
    """An extractor that can be fine-tuned, or ProbeError."""
    if not isinstance(extractor, TransformerExtractor):
        raise ProbeError(
            f"{extractor.name} can't be fine-tuned: only wav2vec 2.0, HuBERT, WavLM, data2vec and MERT can; "
            "use svuprobe probe, or name a baseline: " + ", ".join(baselines.TABLE)
        )
    return extractor


def about(extractor: Extractor) -> dict[str, Any]:
    """What a result says of a pretrained model."""
    names = ("name", "revision", "digest", "parameters", "dim", "sample_rate", "normalization")
    rate = extractor.sample_rate / extractor.hop
    return {n: getattr(extractor, n) for n in names} | {
        "frame_rate": rate,
        "layer_names": list(extractor.layer_names),
    }


def _plan(protocol: FinetuneProtocol, task: Task) -> Plan:
    alpha = task.class_weight_alpha if protocol.class_weight_alpha is None else protocol.class_weight_alpha
    head: Sequence[tuple[str, float]] = (
        ("head", protocol.head_learning_rate),
        ("mix", protocol.mix_learning_rate or protocol.head_learning_rate),
    )
    both = (*head, ("encoder", protocol.encoder_learning_rate))
    stages = (Stage(protocol.frozen_epochs, tuple(head), alpha), Stage(protocol.epochs, both, alpha))
    size = protocol.batch_size if kinds.of(task).level == "clip" else protocol.frame_batch_size
    return Plan(tuple(stage for stage in stages if stage.epochs), size, protocol.select)


def _head(dim: int, n_outputs: int, protocol: FinetuneProtocol) -> nn.Module:
    if not protocol.hidden:
        return nn.Linear(dim, n_outputs)
    between = [nn.ReLU()] if protocol.relu else []
    return nn.Sequential(
        nn.Linear(dim, protocol.hidden), *between, nn.Dropout(protocol.dropout), nn.Linear(protocol.hidden, n_outputs)
    )


def _add_adapters(model: nn.Module, rank: int) -> None:
    try:
        import peft
    except ImportError:
        raise ProbeError("LoRA needs the package peft, which is not installed: pip install peft") from None
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_LORA_TARGETS)
    peft.inject_adapter_in_model(config, model)
