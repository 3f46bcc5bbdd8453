"""Compute learning rates and a teacher's decay over a training, as shares and numbers of steps.

Sources: fairseq ``optim/lr_scheduler/tri_stage_lr_scheduler.py`` and
``polynomial_decay_schedule.py``, and ``get_annealed_rate`` of
``models/data2vec/data2vec_audio.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from svuprobe.pretrain.recipe import Recipe


def learning_rate(recipe: Recipe, done: int) -> float:
    """Return the learning rate of the update that follows ``done`` updates."""
    return recipe.learning_rate * _SCHEDULES[recipe.schedule](recipe, done)


def _tri_stage(recipe: Recipe, done: int) -> float:
    """Warm up linearly, hold, decay exponentially."""
    warm = int(recipe.steps * recipe.warmup)
    hold = int(recipe.steps * recipe.hold)
    decay = max(1, recipe.steps - warm - hold)
    if done < warm:
        return recipe.first_rate + (1 - recipe.first_rate) * done / warm
    if done < warm + hold:
        return 1.0
    # The least rate that a logarithm allows: an exponential never reaches zero.
    last = max(recipe.last_rate, 1e-8)
    return math.exp(math.log(last) * min(1.0, (done - warm - hold) / decay))


def _polynomial(recipe: Recipe, done: int) -> float:
    """Warm up linearly, then fall linearly (a polynomial of degree 1)."""
    warm = int(recipe.steps * recipe.warmup)
    if done < warm:
        return done / warm  # the first update has a rate of 0, as fairseq's has
    left = max(0.0, 1 - (done - warm) / max(1, recipe.steps - warm))
    return recipe.last_rate + (1 - recipe.last_rate) * left


def _cosine(recipe: Recipe, done: int) -> float:
    """Warm up linearly, then fall along half a cosine."""
    warm = int(recipe.steps * recipe.warmup)
    if done < warm:
        return (done + 1) / warm
    passed = min(1.0, (done - warm) / max(1, recipe.steps - warm))
    return recipe.last_rate + (1 - recipe.last_rate) * (1 + math.cos(math.pi * passed)) / 2


_SCHEDULES: dict[str, Callable[[Recipe, int], float]] = {
    "tri_stage": _tri_stage,
    "polynomial": _polynomial,
    "cosine": _cosine,
}


def teacher_decay(recipe: Recipe, done: int) -> float:
    """Return the decay of the teacher's average after ``done`` updates."""
    if done >= recipe.ema_steps:
        return recipe.ema_end
    return recipe.ema_end - (recipe.ema_end - recipe.ema_start) * (1 - done / recipe.ema_steps)
