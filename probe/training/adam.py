"""Optimise a bank of heads, each at its own learning rate."""

from __future__ import annotations

import itertools
from collections import defaultdict

import torch

from svuprobe.probe.training.heads import Bank, Tensors


def _zeros_like(tensors: Tensors) -> Tensors:
    """Return zeros in the shapes of some tensors."""
    return {name: torch.zeros_like(value) for name, value in tensors.items()}


class Adam:
    """Take Adam's steps (Kingma & Ba 2015), every head with its own learning rate.

    torch's own fused step, one call for all heads that are at the same rate: a pass over the
    parameters where separate operations take seven.
    """

    def __init__(self, bank: Bank, mix_learning_rate: float) -> None:
        self.bank = bank
        self.rate = [s.learning_rate for s in bank.specs]
        # A 0 stands for: as fast as the rest of the head.
        self.mix_rate = [mix_learning_rate or rate for rate in self.rate]
        self.gradients = _zeros_like(bank.parameters)
        self.first, self.second = _zeros_like(bank.parameters), _zeros_like(bank.parameters)
        # Steps, on the device: the fused step reads them there, and copies cost a wait each.
        self.count = torch.zeros((), device=bank.device)
        self._group()

    def _group(self) -> None:
        """Sort heads' tensors by rate: rate -> parameters, gradients, first and second moments."""
        self.groups: dict[float, list[list[torch.Tensor]]] = defaultdict(lambda: [[], [], [], []])
        states = (self.bank.parameters, self.gradients, self.first, self.second)
        # Views into the bank, so that the step below changes it in place.
        for head, name in itertools.product(range(len(self.rate)), self.bank.parameters):
            rate = self.mix_rate[head] if name == "mix" else self.rate[head]
            for tensors, values in zip(self.groups[rate], states, strict=True):
                tensors.append(values[name][head])

    def step(self) -> None:
        """Update every head from ``gradients``."""
        self.count += 1
        # One call a rate: heads of one rate are one list of tensors.
        for rate, (values, gradients, first, second) in self.groups.items():
            torch._fused_adam_(
                values,
                gradients,
                first,
                second,
                [],
                [self.count] * len(values),
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )

    def scale(self, factors: list[float]) -> None:
        """Multiply each head's learning rates."""
        if any(factor != 1 for factor in factors):
            self.rate = [rate * factor for rate, factor in zip(self.rate, factors, strict=True)]
            self.mix_rate = [
                rate * factor for rate, factor in zip(self.mix_rate, factors, strict=True)
            ]
            self._group()

    def select(self, keep: list[int]) -> None:
        """Keep the heads at some indices, and forget the others."""
        # A head that has stopped costs nothing more.
        self.bank = self.bank.part(keep)
        # The moments go along with their heads: a head that stays goes on as if it were alone.
        self.rate, self.mix_rate = [self.rate[i] for i in keep], [self.mix_rate[i] for i in keep]
        for tensors in (self.gradients, self.first, self.second):
            tensors.update({name: value[keep] for name, value in tensors.items()})
        self._group()
