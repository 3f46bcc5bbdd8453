"""Pre-train: from recordings to a model of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from svuprobe._distributed import Distributed
from svuprobe._progress import SILENT
from svuprobe.api.arguments import local_path
from svuprobe.benchmarks.plots.training import save_training_curve
from svuprobe.extractors.batching import native_dtype
from svuprobe.pretrain import run as stage
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import Recipe, load_recipe
from svuprobe.pretrain.run import Pretrained


def pretrain(
    recipe: str | Path | Recipe,
    audio: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    changes: Mapping[str, Any] | None = None,
    options: PretrainOptions | None = None,
) -> Pretrained:
    """Pre-train a model on recordings without labels, by a recipe.

    Under ``accelerate launch`` each step is shared out over all processes.

    Parameters
    ----------
    recipe
        Name of a preset (`svuprobe.pretrain.presets`), a TOML file of one's own, or a `Recipe`.
    audio
        Folders of sound files, manifests (a CSV file with a column ``path``) or single files.
    out
        Folder of the model; what is needed on the way lies in ``out/run``.
    changes
        Fields of the recipe to change.
    options
        ``device``, ``dtype`` (``auto``: bfloat16 autocast on a GPU that has it natively), ``jobs``,
        ``decode_timeout_s``, ``reporter`` and the fields of `PretrainOptions` are used.

    Returns
    -------
    Pretrained
        The folder, what the model saw, and the curve of its training; ``run/curve.png`` draws it.

    Raises
    ------
    PretrainError
        The recipe or its audio can't be used, the folder holds another training, or it collapsed.
    ExtractError
        The recipe's teacher can't be loaded, or several files hang one after the other.

    Example
    -------
    >>> import svuprobe
    >>> model = svuprobe.pretrain("small", "recordings", out="mine")  # doctest: +SKIP
    >>> layers = svuprobe.load_model(f"hf:{model.folder}")(audio, sr)  # doctest: +SKIP
    """
    options = options or PretrainOptions()
    processes = Distributed()
    device = processes.device or options.runs_on
    dtype = options.dtype
    if dtype == "auto":
        dtype = native_dtype(device) if device.startswith("cuda") else "float32"
    # Of several processes the first one speaks.
    reporter = options.reporter if processes.first else SILENT
    options = replace(options, device=device, dtype=dtype, reporter=reporter)
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe), PRESETS)
    places = [audio] if isinstance(audio, (str, Path)) else list(audio)
    model = stage.pretrain(
        chosen.changed(changes or {}),
        [Path(place) for place in places],
        local_path(out),
        options,
        processes,
    )
    if processes.first:
        save_training_curve(model.curve, model.folder / "run" / "curve.png", model.recipe.name)
    return model
