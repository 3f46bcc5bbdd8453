"""Regress a teacher's averaged layers: data2vec 1.0 (Baevski et al. 2022, arXiv:2202.03555).

Source: fairseq ``models/data2vec/data2vec_audio.py`` (3d262bb2). The teacher is a moving average of
the student's blocks and sees the unmasked frames. A frame's target is the mean over the last K
blocks of what their feed-forward layers give *before* the residual is added, each normalised over
time (instance norm). The loss is the squared error summed over the width and divided by its square
root, on masked frames alone. The positional convolutions of the teacher are copies of the
student's, not averages (``ema_layers_only``).

One difference: fairseq's teacher sees frames before ``dropout_input``, ours after ``input_dropout``
(0 in all of its recipes).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.pretrain.networks import Body
from svuprobe.pretrain.objectives.base import Objective
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.schedules import teacher_decay

_COPIED = "pos_conv_embed."


class Data2Vec(Objective):
    """Train a student that sees masked frames, and the teacher that it becomes."""

    measures = ("target std", "prediction std")

    def __init__(self, recipe: Recipe, body: Body) -> None:
        super().__init__()
        blocks = body.model.config.num_hidden_layers
        if recipe.top_layers > blocks:
            raise PretrainError(
                f"top_layers = {recipe.top_layers}; the network has {blocks} blocks"
            )
        self.recipe, self.body = recipe, body
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            self.head = nn.Linear(body.dim, body.dim)
        self.teacher: Any = copy.deepcopy(body.model.encoder).float().requires_grad_(False).eval()
        self._outputs: list[Tensor] = []
        for block in self.teacher.layers[-recipe.top_layers :]:
            block.feed_forward.output_dense.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        """Keep what a feed-forward layer of the teacher gives."""
        self._outputs.append(output)

    def train(self, mode: bool = True) -> Data2Vec:
        """Switch the student; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def targets(self, frames: Tensor) -> Tensor:
        """Compute the targets (crops, frames, dim) from unmasked frames."""
        self._outputs.clear()
        self.teacher(frames.detach())
        total = torch.zeros_like(frames, dtype=torch.float32)
        for output in self._outputs:
            over_time = output.float().transpose(1, 2)
            total += functional.instance_norm(over_time).transpose(1, 2)
        count = len(self._outputs)
        self._outputs.clear()
        return total / count

    def forward(
        self, audio: Tensor, mask: Tensor, codes: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the squared error on masked frames, over the square root of the width."""
        frames, penalty = self.body.frames(audio)
        wanted = self.targets(frames)[mask]
        states = self.body.states(self.body.masked(frames, mask))
        predicted = self.head(states[mask]).float()
        error = (predicted - wanted).square().sum(dim=-1) / self.body.dim**0.5
        loss = error.mean() + self.recipe.feature_penalty * penalty
        measures = {"target std": _std(wanted), "prediction std": _std(predicted.detach())}
        return loss, measures

    @torch.no_grad()
    def after_step(self, done: int) -> None:
        """Move the teacher towards the student."""
        # fairseq sets the decay from the number of updates that are done, this one included.
        decay = teacher_decay(self.recipe, done)
        student = self.body.model.encoder.state_dict()
        for name, value in self.teacher.state_dict().items():
            new = student[name].to(value.dtype)
            if name.startswith(_COPIED) or not value.is_floating_point():
                value.copy_(new)
            else:
                value.lerp_(new, 1 - decay)

    def collapsed(self, done: int, measures: dict[str, float]) -> str:
        """Return a sentence where targets or predictions hardly vary over frames any more."""
        recipe = self.recipe
        if done <= recipe.guard_from:
            return ""
        limits = {
            "target std": recipe.least_target_std,
            "prediction std": recipe.least_prediction_std,
        }
        for name, least in limits.items():
            if measures[name] < least:
                return (
                    f"the {name} is {measures[name]:.3g}, less than {least:g}: all frames have "
                    f"become alike, and the model is of no use; try a lower learning_rate, "
                    f"a higher ema_end or more batch_s"
                )
        return ""


def _std(values: Tensor) -> Tensor:
    """Return the standard deviation over frames, averaged over the width; 0 of a single frame."""
    if len(values) < 2:
        return values.new_zeros(())
    return (values.var(dim=0) + 1e-6).sqrt().mean()
