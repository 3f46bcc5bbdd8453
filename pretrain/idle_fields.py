"""Find fields of a recipe that can't act beside its others: who names one expects that it acts."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from svuprobe.pretrain.recipe import Recipe

# Fields of an objective alone.
_OF_OBJECTIVE = {
    "data2vec": (
        "top_layers", "ema_start", "ema_end", "ema_steps", "guard_from", "least_target_std",
        "least_prediction_std",
    ),
    "clusters": (
        "targets", "teacher", "cluster_share", "most_cluster_frames", "cluster_inits", "logits",
        "label_dim", "temperature", "masked_weight", "unmasked_weight",
    ),
}  # fmt: skip


def idle(recipe: Recipe, named: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield each named field that changes nothing in a recipe, with why."""
    for objective, names in _OF_OBJECTIVE.items():
        if recipe.objective != objective:
            why = f"objective = {recipe.objective!r} has none; it is of {objective!r}"
            yield from ((name, why) for name in names if name in named)
    if recipe.objective == "clusters":
        yield from _of_clusters(recipe, named)
    if not recipe.mix_probability:
        why = "mix_probability = 0 adds no crop to another; give a probability"
        yield from ((name, why) for name in ("mix_least_db", "mix_most_db") if name in named)
    if recipe.schedule != "tri_stage":
        why = f"schedule = {recipe.schedule!r} has none; it is of 'tri_stage'"
        yield from ((name, why) for name in ("hold", "first_rate") if name in named)
    if recipe.size == "small":
        why = "size = 'small' has no convolutions on the waveform; it is of base and tiny"
        for name in ("feature_penalty", "feature_gradient"):
            if name in named:
                yield name, why


def _of_clusters(recipe: Recipe, named: Container[str]) -> Iterator[tuple[str, str]]:
    if recipe.logits == "linear":
        why = "logits = 'linear' has none; it is of 'cosine'"
        yield from ((name, why) for name in ("label_dim", "temperature") if name in named)
    if "teacher" in named and not any(each.startswith("layer") for each in recipe.targets):
        yield "teacher", "no target is of its layers; give one, as targets = layer6:500"
