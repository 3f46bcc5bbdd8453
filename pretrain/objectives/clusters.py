"""Predict clusters of masked frames, of one or several sets at once: HuBERT.

Hsu et al. 2021, arXiv:2106.07447.

Source: fairseq ``models/hubert/hubert.py`` and ``criterions/hubert_criterion.py``. With
``logits="cosine"`` a frame's state is projected to ``label_dim`` for each set of targets, and
compared with an embedding of every cluster by the cosine over the temperature. With ``"linear"`` it
is one linear layer (MelHuBERT, Lin et al. 2022, arXiv:2211.09944). Losses of several sets add up.
fairseq's ``dropout_features`` is missing: it acts on features that are never used again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from svuprobe.pretrain.networks import Body
from svuprobe.pretrain.objectives.base import Objective
from svuprobe.pretrain.recipe import Recipe


class CosineLogits(nn.Module):
    """Compute cosines (frames, clusters) of projected states to embeddings, over a temperature."""

    def __init__(self, dim: int, label_dim: int, clusters: int, temperature: float) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, label_dim)
        self.embeddings = nn.Parameter(torch.empty(clusters, label_dim).uniform_())
        self.temperature = temperature

    def forward(self, states: Tensor) -> Tensor:
        """Compute logits from states (frames, dim)."""
        projected = functional.normalize(self.projection(states), dim=-1)
        return projected @ functional.normalize(self.embeddings, dim=-1).T / self.temperature


class ClusterPrediction(Objective):
    """Train a network to say of each masked frame in which cluster it lies."""

    def __init__(self, recipe: Recipe, body: Body, clusters: Sequence[int]) -> None:
        super().__init__()
        self.recipe, self.body = recipe, body
        heads: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            for count in clusters:
                if recipe.logits == "cosine":
                    heads.append(
                        CosineLogits(body.dim, recipe.label_dim, count, recipe.temperature)
                    )
                else:
                    heads.append(nn.Linear(body.dim, count))
        self.heads = nn.ModuleList(heads)
        names = [target.partition(":")[0] for target in recipe.targets]
        if len(set(names)) < len(names):  # the same features in more and in fewer clusters
            names = list(recipe.targets)
        self.measures = (*(f"loss {n}" for n in names), *(f"accuracy {n}" for n in names))

    def forward(
        self, audio: Tensor, mask: Tensor, codes: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the cross-entropy on masked frames, and on the others where it has a weight."""
        recipe = self.recipe
        # As HuBERT's criterion: a sum over frames, divided by the number of those with a weight.
        masked = float(mask.sum()) if recipe.masked_weight else 0.0
        seen = float((~mask).sum()) if recipe.unmasked_weight else 0.0
        masked_share, seen_share = masked / (masked + seen), seen / (masked + seen)
        frames, penalty = self.body.frames(audio)
        states = self.body.states(self.body.masked(frames, mask))
        loss = recipe.feature_penalty * penalty
        measures: dict[str, Tensor] = {}
        for number, (head, target) in enumerate(zip(self.heads, codes, strict=True)):
            logits, wanted = head(states[mask]).float(), target[mask]
            entropy = functional.cross_entropy(logits, wanted)
            loss = loss + recipe.masked_weight * masked_share * entropy
            measures[self.measures[number]] = entropy.detach()
            right = (logits.argmax(dim=-1) == wanted).float().mean()
            measures[self.measures[len(self.heads) + number]] = right
            if recipe.unmasked_weight:
                others = functional.cross_entropy(head(states[~mask]).float(), target[~mask])
                loss = loss + recipe.unmasked_weight * seen_share * others
        return loss, measures
