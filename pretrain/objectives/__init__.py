"""Hold what networks are trained to do: one file an objective, with its paper and differences."""

from __future__ import annotations

from collections.abc import Sequence

from svuprobe.pretrain.networks import Body
from svuprobe.pretrain.objectives.base import Objective
from svuprobe.pretrain.objectives.clusters import ClusterPrediction
from svuprobe.pretrain.objectives.data2vec import Data2Vec
from svuprobe.pretrain.recipe import Recipe


def objective_of(recipe: Recipe, body: Body, clusters: Sequence[int]) -> Objective:
    """Return a recipe's objective; ``clusters`` counts those of each set of targets."""
    if recipe.objective == "data2vec":
        return Data2Vec(recipe, body)
    return ClusterPrediction(recipe, body, clusters)
