"""The models that a suite pre-trains before it probes them: its table ``[pretrain]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from svuprobe import api
from svuprobe._files import write_text
from svuprobe._run_options import RunOptions
from svuprobe.benchmarks.suite import Suite
from svuprobe.pretrain.idle_fields import idle
from svuprobe.pretrain.model_folder import is_model_of
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import PretrainError, Recipe, load_recipe
from svuprobe.tasks.datasets import starter


class PretrainJob(NamedTuple):
    """Name a model that is still to be pre-trained: its folder, and that of its teacher if it has
    one.
    """

    recipe: Recipe
    manifest: Path
    model: Path
    teacher: Path | None


def models_of(plan: Suite, out: Path) -> list[str]:
    """Return the names of the models that a suite pre-trains; they lie in ``OUT/models``."""
    return [f"hf:{(out / 'models' / name).absolute()}" for name in plan.pretrain.get("recipes", ())]


def jobs_of(plan: Suite, out: Path) -> list[PretrainJob]:
    """Return the models of a suite that are not there yet, or not whole, teachers first."""
    folder = out / "models"
    _refuse_idle(plan, folder)
    manifest = folder / "recordings.txt"
    jobs = []
    for name in plan.pretrain.get("recipes", ()):
        recipe, model = recipe_of(plan, name, folder), folder / name
        if not is_model_of(model, recipe):
            teacher = Path(recipe.teacher.removeprefix("hf:")) if recipe.teacher else None
            jobs.append(PretrainJob(recipe, manifest, model, teacher))
    if jobs:
        write_text(manifest, _training_recordings())
    return jobs


def pretrain_models(jobs: Sequence[PretrainJob], options: RunOptions) -> None:
    """Pre-train models here, one after the other.

    One that was interrupted goes on where it was.
    """
    for job in jobs:
        api.pretrain(
            job.recipe,
            job.manifest,
            out=job.model,
            options=api.PretrainOptions(
                device=options.device, reporter=options.reporter, resume=True
            ),
        )


def _refuse_idle(plan: Suite, folder: Path) -> None:
    """Raise PretrainError for a change that acts in none of a suite's recipes."""
    changes = plan.pretrain.get("changes", {})
    recipes = [recipe_of(plan, name, folder) for name in plan.pretrain.get("recipes", ())]
    of_each = [dict(idle(recipe, changes)) for recipe in recipes]
    for name, value in changes.items():
        if of_each and all(name in found for found in of_each):
            raise PretrainError(
                f"suite {plan.name}: {name} = {value!r} changes nothing: {of_each[0][name]}"
            )


def recipe_of(plan: Suite, name: str, folder: Path) -> Recipe:
    """Return a recipe as a suite changes it; its teacher is the model of that name there."""
    recipe = load_recipe(name, PRESETS).scaled(plan.pretrain.get("scale", 1.0))
    recipe = recipe.with_fields(plan.pretrain.get("changes", {}))
    if not recipe.teacher:
        return recipe
    teacher = folder / Path(recipe.teacher.rpartition(":")[2]).name
    return recipe.with_fields({"teacher": f"hf:{teacher.absolute()}"})


def _training_recordings() -> str:
    """List the recordings of starter's training split, a path a line."""
    return "".join(f"{one.path.resolve()}\n" for one in starter.in_splits(["train"]))
