"""Let a head read all layers without weights to learn: one after the other, or their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from svuprobe.probe.training.heads import CONCAT, MEAN, WEIGHTED_SUM, Bank, Shape, Spec

NAMES = {WEIGHTED_SUM: "sum", CONCAT: "concat", MEAN: "mean"}


class _AllLayers(Bank):
    """Hold heads that all read the same vector, made of all layers."""

    @property
    def reads(self) -> slice:
        """Return all layers."""
        return slice(None)

    def _spread(self, states: torch.Tensor) -> bool:
        return False  # there is one input, not one for each layer


class ConcatBank(_AllLayers):
    """Hold heads on all layers, one after the other; ``dim`` of their shape is that of all."""

    def inputs(self, states: torch.Tensor) -> torch.Tensor:
        """Return (1, B, L D) of states (L, B, D)."""
        return states.transpose(0, 1).flatten(1)[None]

    def mixing(self) -> torch.Tensor | None:
        """Return None: no layer is weighed."""
        return None


class MeanBank(_AllLayers):
    """Hold heads on the mean of all layers."""

    def inputs(self, states: torch.Tensor) -> torch.Tensor:
        """Return (1, B, D) of states (L, B, D)."""
        return states.mean(dim=0, keepdim=True)

    def mixing(self) -> torch.Tensor | None:
        """Return the same weight for every layer, (H, L)."""
        return torch.full((len(self), self.shape.layers), 1 / self.shape.layers)


def bank_of(specs: Sequence[Spec], shape: Shape, device: str) -> Bank:
    """Return heads that all read a layer, or all the same set of layers.

    ``dim`` of the shape is that of one layer.
    """
    layer = specs[0].layer
    if layer == CONCAT:
        return ConcatBank(list(specs), replace(shape, dim=shape.dim * shape.layers), device)
    kind = MeanBank if layer == MEAN else Bank
    return kind(list(specs), shape, device)


def name_of(layer: int, layer_names: Sequence[str]) -> str:
    """Return what results call a layer or a set of layers."""
    return NAMES[layer] if layer in NAMES else layer_names[layer]
