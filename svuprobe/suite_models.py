"""The models that a suite pre-trains before it probes them: its table ``[pretrain]``."""

from __future__ import annotations

from pathlib import Path

from svuprobe import api
from svuprobe._files import write_text
from svuprobe._run_options import RunOptions
from svuprobe.benchmarks.suite import Suite
from svuprobe.pretrain.model_folder import is_model_of
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import Recipe, load_recipe
from svuprobe.tasks.datasets import starter


def pretrain_models(plan: Suite, out: Path, options: RunOptions) -> list[str]:
    """Pre-train the models of a suite that are not there yet, and return the names of all.

    They lie in ``OUT/models``. One that was interrupted goes on where it was.
    """
    folder = out / "models"
    manifest = folder / "recordings.txt"
    names = []
    for name in plan.pretrain["recipes"]:
        recipe, model = recipe_of(plan, name, folder), folder / name
        if not is_model_of(model, recipe):
            write_text(manifest, _training_recordings())
            api.pretrain(
                recipe,
                manifest,
                out=model,
                options=api.PretrainOptions(
                    device=options.device, reporter=options.reporter, resume=True
                ),
            )
        names.append(f"hf:{model.absolute()}")
    return names


def recipe_of(plan: Suite, name: str, folder: Path) -> Recipe:
    """Return a recipe as a suite changes it; its teacher is the model of that name there."""
    recipe = load_recipe(name, PRESETS).scaled(plan.pretrain.get("scale", 1.0))
    recipe = recipe.changed(plan.pretrain.get("changes", {}))
    if not recipe.teacher:
        return recipe
    teacher = folder / Path(recipe.teacher.rpartition(":")[2]).name
    return recipe.changed({"teacher": f"hf:{teacher.absolute()}"})


def _training_recordings() -> str:
    """List the recordings of starter's training split, a path a line."""
    return "".join(f"{one.path.resolve()}\n" for one in starter.in_splits(["train"]))
