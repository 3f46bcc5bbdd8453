"""Train many heads as one model: every parameter has a leading heads axis.

Heads that share a seed start from the same weights, see the same batches and drop the same units,
whatever their learning rate or layer: so they compare like with like, and a head in a batch of four
hundred trains as it would alone. Gradients are written out: two matrix products and a mask need no
graph, and heads that read the same batch share its product with their weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

# What a head reads in place of one layer: a sum by learnt weights, all layers one after the other,
# or their mean (`svuprobe.probe.training.layer_sets`).
WEIGHTED_SUM, CONCAT, MEAN = -1, -2, -3
# Of an input that heads share: a batched product on a CPU copies more of them for every head.
_FEW_ROWS = 128
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Spec:
    """Name one head: the layer it reads (or ``WEIGHTED_SUM``, ``CONCAT``, ``MEAN``), its learning
    rate (of logistic heads C) and its seed.
    """

    layer: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Shape:
    """Hold what heads have in common.

    Attributes
    ----------
    layers, dim, outputs
        Sizes of the hidden states and of the output.
    hidden
        Units between the two Linear of an MLP; 0 for linear heads.
    dropout
        Share of the hidden units dropped in training.
    mix_from
        First layer in the weighted sum: 1 leaves out the input of the first block.
    mix_normal
        Whether the layers' scalars start at random (standard normal) rather than at zero.
    start_at_zero
        Whether weights and bias of the outputs do, rather than at random as torch draws them.
    """

    layers: int
    dim: int
    outputs: int
    hidden: int = 0
    dropout: float = 0.0
    mix_from: int = 0
    mix_normal: bool = False
    start_at_zero: bool = False

    @property
    def parameters(self) -> dict[str, tuple[tuple[int, int], int]]:
        """Return, for each of the Linear, its shape and number of inputs."""
        last = self.hidden or self.dim
        before = {
            "weight0": ((self.dim, self.hidden), self.dim),
            "bias0": ((1, self.hidden), self.dim),
        }
        after = {"weight": ((self.outputs, last), last), "bias": ((self.outputs, 1), last)}
        return (before if self.hidden else {}) | after


class Bank:
    """Hold heads that train together on the same batches: all weighted sums, or all on single
    layers.

    ``parameters`` are ``weight`` (H, C, hidden or D) and ``bias`` (H, C, 1) of the outputs, for
    MLPs ``weight0`` (H, D, hidden) and ``bias0`` (H, 1, hidden) before them, for weighted sums
    ``mix`` (H, L), the scalars under the softmax. Weights lie as their products are fastest.
    """

    def __init__(self, specs: list[Spec], shape: Shape, device: str = "cpu") -> None:
        self.specs, self.shape, self.device = list(specs), shape, device
        self.sums = all(s.layer == WEIGHTED_SUM for s in specs)
        if not self.sums and any(s.layer == WEIGHTED_SUM for s in specs):
            raise ValueError("a bank holds weighted sums or single layers, not both")
        # Added to the scalars: -inf leaves a layer out.
        self.mask = torch.zeros(shape.layers, device=device)
        self.mask[: shape.mix_from] = -torch.inf
        # Drawn once a seed, so that heads of one seed start alike whatever they read.
        drawn: dict[int, Tensors] = {}
        for spec in specs:
            if spec.seed not in drawn:
                drawn[spec.seed] = self._initial(spec.seed)
        self.parameters: Tensors = {}
        for name in drawn[specs[0].seed]:
            of_heads = [drawn[spec.seed][name] for spec in specs]
            self.parameters[name] = torch.stack(of_heads).to(device)
        self._index()

    def _initial(self, seed: int) -> Tensors:
        """Draw ``torch.nn.Linear``'s initialisation and the start of the mix."""
        generator = torch.Generator().manual_seed(seed)
        made = {}
        for name, (shape, fan_in) in self.shape.parameters.items():
            # Uniform within 1 / sqrt(inputs), as Linear.reset_parameters draws it.
            drawn = torch.rand(shape, generator=generator) * 2 - 1
            made[name] = drawn / math.sqrt(fan_in)
        if self.shape.start_at_zero:
            made["weight"].zero_()
            made["bias"].zero_()
        if self.sums:
            normal = torch.randn(self.shape.layers, generator=generator)
            made["mix"] = normal if self.shape.mix_normal else torch.zeros(self.shape.layers)
        return made

    def _index(self) -> None:
        self.layers = sorted({s.layer for s in self.specs})
        self.seeds = sorted({s.seed for s in self.specs})
        self.layer = torch.tensor([s.layer for s in self.specs], device=self.device)
        self.seed = torch.tensor([self.seeds.index(s.seed) for s in self.specs], device=self.device)

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def reads(self) -> slice:
        """Return the layers of the hidden states that the heads are given."""
        return slice(None) if self.sums else slice(self.layers[0], self.layers[-1] + 1)

    def mixing(self) -> torch.Tensor | None:
        """Return what each head weighs the layers by, (H, L); None where it mixes none."""
        return self.mix_weights() if self.sums else torch.eye(self.shape.layers)[self.layer.cpu()]

    def mix_weights(self) -> torch.Tensor:
        """Return the softmax of the layer scalars, (H, L)."""
        return (self.parameters["mix"] + self.mask).softmax(dim=1)

    def without(self, layer: int) -> Bank:
        """Return the same heads with one layer left out of the sum; the other weights add up to 1
        again.
        """
        other = self.part(range(len(self)))
        other.mask = self.mask.clone()
        other.mask[layer] = -torch.inf
        return other

    def part(self, keep: range | list[int]) -> Bank:
        """Return the heads at some indices, with copies of their parameters."""
        chosen = {name: value[list(keep)] for name, value in self.parameters.items()}
        return self._with([self.specs[i] for i in keep], chosen)

    def _with(self, specs: list[Spec], parameters: Tensors) -> Bank:
        made = type(self).__new__(type(self))
        made.specs, made.parameters = specs, parameters
        made.shape, made.device, made.sums, made.mask = (
            self.shape,
            self.device,
            self.sums,
            self.mask,
        )
        made._index()
        return made

    @property
    def learns_input(self) -> bool:
        """Return whether what heads read depends on their parameters."""
        return self.sums

    @classmethod
    def join(cls, banks: list[Bank]) -> Bank:
        """Return the heads of several banks of one kind as one, ordered by seed."""
        specs = list(itertools.chain.from_iterable(bank.specs for bank in banks))
        joined = {}
        for name in banks[0].parameters:
            joined[name] = torch.cat([bank.parameters[name] for bank in banks])
        by_seed = sorted(range(len(specs)), key=lambda n: specs[n].seed)
        return banks[0]._with(specs, joined).part(by_seed)

    def _spread(self, states: torch.Tensor) -> bool:
        """Tell whether these are linear heads on several layers.

        Then one product a layer does for all heads on it.
        """
        return not self.sums and not self.shape.hidden and len(states) > 1

    def _by_layer(self, states: torch.Tensor) -> Iterator[tuple[torch.Tensor, slice]]:
        """Yield (B, D) of each layer, and the heads that read it and stand side by side."""
        start = 0
        for layer, heads in itertools.groupby(s.layer for s in self.specs):
            stop = start + len(list(heads))
            yield states[layer - self.layers[0]], slice(start, stop)
            start = stop

    def inputs(self, states: torch.Tensor) -> torch.Tensor:
        """Return what each head sees of ``states``: (H, B, D), or (1, B, D) where all see the
        same.
        """
        if self.sums:
            # Over all positions of a batch at once, (1, L) @ (L, B D) for each head: in one product
            # for all, how a head's numbers are rounded would depend on how many it has beside it.
            each = states.flatten(1).expand(len(self), -1, -1)
            mixed = torch.bmm(self.mix_weights()[:, None], each)
            return mixed.view(len(self), *states.shape[1:])
        return states if len(states) == 1 else states[self.layer - self.layers[0]]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits (H, B, C) of ``states`` (L, B, D): the layers that the heads read, all for
        sums.
        """
        return self.forward(states)[0]

    def forward(
        self, states: torch.Tensor, keep: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None]]:
        """Return logits (H, B, C), and what `backward` needs.

        ``keep`` (seeds, B, hidden) multiplies the hidden units in training: 0 or 1 / (1 - dropout).
        """
        p = self.parameters
        if self._spread(states):
            logits = states.new_empty(len(self), self.shape.outputs, states.shape[1])
            # Outputs are written into their place: (C, B) of the heads of each layer.
            for x, heads in self._by_layer(states):
                weight, bias = p["weight"][heads].flatten(0, 1), p["bias"][heads].flatten(0, 1)
                torch.addmm(bias, weight, x.T, out=logits[heads].flatten(0, 1))
            return logits.mT, (states, None)
        x = self.inputs(states)
        if not self.shape.hidden and len(x) == 1 and not self.sums:  # one product for all heads
            logits = torch.addmm(_side_by_side(p["bias"]), _side_by_side(p["weight"]), x[0].T)
            return logits.view(self.shape.outputs, len(self), -1).permute(1, 2, 0), (x, None)
        units = None
        if self.shape.hidden:
            # Adding the bias and multiplying is one call for all heads.
            units = torch.baddbmm(p["bias0"], x.expand(len(self), -1, -1), p["weight0"]).relu_()
            if keep is not None:
                units *= keep[self.seed] if len(keep) > 1 else keep
        logits = torch.baddbmm(p["bias"].mT, x if units is None else units, p["weight"].mT)
        return logits, (x, units)

    def backward(
        self,
        states: torch.Tensor,
        seen: tuple[torch.Tensor, torch.Tensor | None],
        gradient: torch.Tensor,
        into: Tensors,
        *,
        add: bool = False,
    ) -> None:
        """Write (or add) the gradients of all parameters to ``into``, from that of the logits (H,
        B, C).
        """
        x, units = seen
        p, beta = self.parameters, int(add)
        put(into["bias"], gradient.sum(1)[..., None], add)
        if self._spread(states):
            # (H, C, B): as the weights lie.
            wide = gradient.mT.contiguous()
            for own, heads in self._by_layer(states):
                into["weight"][heads].flatten(0, 1).addmm_(
                    wide[heads].flatten(0, 1), own, beta=beta
                )
        elif units is not None:
            into["weight"].baddbmm_(gradient.mT, units, beta=beta)
            # Through the dropout: units that were kept are as much larger.
            gradient = torch.bmm(gradient, p["weight"] / (1 - self.shape.dropout))
            _where_positive(gradient, units)  # a dropped unit is 0
            put(into["bias0"], gradient.sum(1, keepdim=True), add)
            # A batched product would copy the shared input once for each head.
            if self.device == "cpu" and len(x) == 1 and x.shape[1] > _FEW_ROWS:
                for weight, own in zip(into["weight0"], gradient, strict=True):
                    weight.addmm_(x[0].T, own, beta=beta)
            else:
                into["weight0"].baddbmm_(x.expand(len(self), -1, -1).mT, gradient, beta=beta)
        elif len(x) == 1 and not self.sums:
            product = _side_by_side(gradient.mT) @ x[0]
            put(into["weight"], product.view(-1, len(self), self.shape.dim).transpose(0, 1), add)
        else:
            into["weight"].baddbmm_(gradient.mT, x, beta=beta)
        if self.learns_input:
            back = torch.bmm(gradient, p["weight"] if units is None else p["weight0"].mT)
            self.into_input(states, back, into, add)

    def into_input(
        self, states: torch.Tensor, back: torch.Tensor, into: Tensors, add: bool
    ) -> None:
        """Write (or add) the gradients of what makes the heads' inputs, from those of the inputs
        (H, B, D).
        """
        flat, back = states.flatten(1), back.flatten(1)
        if self.device == "cpu":  # each head alone, as in `inputs`; a batch would copy the states
            of_weights = back.new_empty(len(self), len(flat))
            for row, own in zip(of_weights, back, strict=True):
                torch.mv(flat, own, out=row)
        else:
            of_weights = back @ flat.T
        self.into_mix(of_weights, into, add)

    def into_mix(self, of_weights: torch.Tensor, into: Tensors, add: bool) -> None:
        """Write (or add) the gradient of the layer scalars, from that of their softmax (H, L)."""
        weights = self.mix_weights()
        # The softmax's Jacobian: each weight times how far its gradient is from their mean.
        inner = (weights * of_weights).sum(1, keepdim=True)
        put(into["mix"], weights * (of_weights - inner), add)


def _side_by_side(values: torch.Tensor) -> torch.Tensor:
    """Lay the heads of an output side by side: (H, C, N) to (C * H, N)."""
    return values.transpose(0, 1).reshape(-1, values.shape[2])


def _where_positive(gradient: torch.Tensor, units: torch.Tensor) -> None:
    """Zero a gradient where the units are 0.

    ReLU's own kernel takes an eighth of the time of a product with a mask.
    """
    torch.ops.aten.threshold_backward.grad_input(gradient, units, 0, grad_input=gradient)


def put(into: torch.Tensor, values: torch.Tensor, add: bool) -> None:
    """Write values, or add them to what is there."""
    if add:
        into.add_(values)
    else:
        into.copy_(values)
