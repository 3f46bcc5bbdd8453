"""Many heads as one model: every parameter has a leading heads axis.

Heads that share a seed start from the same weights, see the same batches and drop the same units, whatever
their learning rate or layer: so they compare like with like, and a head in a batch of four hundred trains as
it would alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

WEIGHTED_SUM = -1


@dataclass(frozen=True)
class Spec:
    """One head: the layer it reads (``WEIGHTED_SUM`` for all), its learning rate and its seed."""

    layer: int
    learning_rate: float
    seed: int


class Bank:
    """Heads that train together: all weighted sums, or all on single layers.

    Parameters
    ----------
    specs
        The heads, H of them.
    n_layers, dim, n_outputs, hidden
        Sizes; ``hidden=0`` makes linear heads.
    """

    def __init__(
        self, specs: list[Spec], *, n_layers: int, dim: int, n_outputs: int, hidden: int, device: str = "cpu"
    ) -> None:
        self.specs = specs
        self.device = device
        self.layer = torch.tensor([s.layer for s in specs], device=device)
        self.seed = torch.tensor([s.seed for s in specs], device=device)
        self.sums = bool((self.layer == WEIGHTED_SUM).all())
        if not self.sums and bool((self.layer == WEIGHTED_SUM).any()):
            raise ValueError("a bank holds weighted sums or single layers, not both")
        sizes = [(dim, hidden), (hidden, n_outputs)] if hidden else [(dim, n_outputs)]
        self.parameters = self._initial(sizes)
        if self.sums:
            self.parameters["mix"] = torch.zeros(len(specs), n_layers)
        self.parameters = {k: v.to(device).requires_grad_() for k, v in self.parameters.items()}

    def _initial(self, sizes: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """``torch.nn.Linear``'s initialisation, one draw per seed."""
        drawn: dict[int, list[torch.Tensor]] = {}
        for seed in sorted({s.seed for s in self.specs}):
            generator = torch.Generator().manual_seed(seed)
            drawn[seed] = [
                (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)
                for fan_in, fan_out in sizes
                for shape in ((fan_in, fan_out), (1, fan_out))
            ]
        names = [f"{kind}{n}" for n in range(len(sizes)) for kind in ("weight", "bias")]
        stacked = [torch.stack(same) for same in zip(*(drawn[s.seed] for s in self.specs), strict=True)]
        return dict(zip(names, stacked, strict=True))

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def hidden(self) -> int:
        """Units of the hidden layer, 0 for linear heads."""
        return self.parameters["weight0"].shape[2] if "weight1" in self.parameters else 0

    def mix_weights(self) -> torch.Tensor:
        """Softmax of the layer scalars: (H, L)."""
        return self.parameters["mix"].softmax(dim=1)

    def inputs(self, states: torch.Tensor) -> torch.Tensor:
        """What each head sees of ``states`` (S or 1, B, L, D): (H, B, D). S is one batch per seed."""
        seed = self.seed if len(states) > 1 else torch.zeros_like(self.seed)
        if not self.sums:
            return states[seed, :, self.layer]
        weights = self.mix_weights()
        out = [weights[seed == s] @ batch.transpose(0, 1).flatten(1) for s, batch in enumerate(states)]
        order = torch.argsort(torch.cat([torch.nonzero(seed == s)[:, 0] for s in range(len(states))]))
        return torch.cat(out)[order].view(len(self), states.shape[1], states.shape[3])

    def __call__(self, states: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (H, B, C) of ``states`` (S or 1, B, L, D).

        ``keep`` (seeds, B, hidden) multiplies the hidden units in training: 0 or 1 / (1 - dropout).
        """
        p = self.parameters
        x = self._first(states)
        if not self.hidden:
            return x
        x = x.relu()
        if keep is not None:
            x = x * keep[self.seed]
        return torch.baddbmm(p["bias1"], x, p["weight1"])

    def _first(self, states: torch.Tensor) -> torch.Tensor:
        """The first Linear, (H, B, hidden or C); heads on one layer and one batch share their input."""
        weight, bias = self.parameters["weight0"], self.parameters["bias0"]
        layers = {s.layer for s in self.specs}
        if self.sums or len(states) > 1 or len(layers) > 1:
            return torch.baddbmm(bias, self.inputs(states), weight)
        return torch.einsum("bd,hdo->hbo", states[0, :, layers.pop()], weight) + bias

    def select(self, keep: torch.Tensor) -> None:
        """Keep the heads at the indices ``keep`` and forget the others."""
        self.specs = [self.specs[i] for i in keep.tolist()]
        self.layer, self.seed = self.layer[keep], self.seed[keep]
        self.parameters = {k: v.detach()[keep].requires_grad_() for k, v in self.parameters.items()}


class Adam:
    """Adam (Kingma & Ba 2015) in which every head has its own learning rate.

    torch.optim takes one rate per parameter tensor; here a tensor holds many heads.
    """

    def __init__(self, bank: Bank, learning_rate: torch.Tensor, mix_learning_rate: float) -> None:
        self.bank = bank
        self.learning_rate = learning_rate.clone()  # (H,)
        self.mix_learning_rate = torch.full_like(learning_rate, mix_learning_rate)
        if not mix_learning_rate:
            self.mix_learning_rate = learning_rate.clone()
        self.first = {k: torch.zeros_like(v) for k, v in bank.parameters.items()}
        self.second = {k: torch.zeros_like(v) for k, v in bank.parameters.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        """Update every head from the gradients of its loss, and clear them."""
        self.steps += 1
        correct1, correct2 = (1 - b**self.steps for b in betas)
        for name, value in self.bank.parameters.items():
            gradient, m, v = value.grad, self.first[name], self.second[name]
            assert gradient is not None
            m.lerp_(gradient, 1 - betas[0])
            v.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
            rate = self.mix_learning_rate if name == "mix" else self.learning_rate
            scale = (-rate / correct1).view(-1, *[1] * (value.dim() - 1))
            value.addcmul_(m.div(v.div(correct2).sqrt_().add_(eps)), scale)
            value.grad = None

    def scale(self, factor: torch.Tensor) -> None:
        """Multiply each head's learning rates by ``factor`` (H,)."""
        self.learning_rate *= factor
        self.mix_learning_rate *= factor

    def select(self, keep: torch.Tensor) -> None:
        """Follow :meth:`Bank.select`."""
        self.learning_rate, self.mix_learning_rate = self.learning_rate[keep], self.mix_learning_rate[keep]
        self.first = {k: v[keep] for k, v in self.first.items()}
        self.second = {k: v[keep] for k, v in self.second.items()}
