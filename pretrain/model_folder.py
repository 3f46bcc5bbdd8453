"""Write what a training leaves: a folder as Hugging Face has them, with a model card.

``config.json`` and ``model.safetensors`` load here as ``hf:FOLDER``, and, where there is a
``preprocessor_config.json``, with plain transformers; ``README.md`` is the model card,
``recipe.json`` the recipe with its hash. They are written into a folder beside and renamed, so that
a model is whole or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from svuprobe._files import abandoned, leftovers, temporary_for, write_text, writing
from svuprobe._tensors import saving
from svuprobe.extractors.models.generic import quiet_transformers
from svuprobe.extractors.networks.kaldi import RATE
from svuprobe.extractors.networks.mel_conformer import MelConformer
from svuprobe.pretrain.networks import Body
from svuprobe.pretrain.recipe import Recipe

_WEIGHTS = "model.safetensors"
FILES = ("config.json", _WEIGHTS, "README.md", "recipe.json")


@dataclass(frozen=True)
class Seen:
    """Say what a model was trained on.

    Attributes
    ----------
    recordings, hours
        Of the training audio, and how many hours that is.
    hours_seen, steps
        Audio that went through the network, and updates.
    sources
        How much comes from where, by the words of the manifest where it has them.
    losses
        The last row of the curve.
    """

    recordings: int
    hours: float
    hours_seen: float
    steps: int
    sources: Mapping[str, str]
    losses: Mapping[str, float]


def save_model(
    folder: Path, body: Body, recipe: Recipe, seen: Seen, weights_dtype: str = "float32"
) -> None:
    """Write a model that loads as ``hf:FOLDER``. Raises FileError where the system refuses."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_for(folder / "model")
        for left in leftovers(folder / "model"):
            if left == temporary or abandoned(left):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        try:
            state = {name: t.detach().cpu() for name, t in body.model.state_dict().items()}
            if weights_dtype == "float16":  # of storage alone: the configuration says float32
                state = {name: t.to(torch.float16) for name, t in state.items()}
            if isinstance(body.model, MelConformer):
                temporary.mkdir()
                described = json.dumps(body.model.config.json(), indent=1)
                write_text(temporary / "config.json", described + "\n")
                with saving(temporary / _WEIGHTS):
                    save_file(state, temporary / _WEIGHTS, {"format": "pt"})
            else:
                _save_transformers(body.model, state, recipe, temporary)
            fields = {"hash": recipe.hash, **asdict(recipe)}
            write_text(temporary / "recipe.json", json.dumps(fields, indent=1) + "\n")
            write_text(temporary / "README.md", card(body, recipe, seen))
            for file in sorted(temporary.iterdir()):
                file.replace(folder / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _save_transformers(
    model: Any, state: Mapping[str, torch.Tensor], recipe: Recipe, folder: Path
) -> None:
    """Write configuration, weights and feature extractor as transformers has them."""
    import transformers

    folder.mkdir()
    with quiet_transformers(), saving(folder / _WEIGHTS):
        model.save_pretrained(folder, state_dict=state)
    transformers.Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=RATE, do_normalize=recipe.normalize
    ).save_pretrained(folder)


def is_model_of(folder: Path, recipe: Recipe) -> bool:
    """Return whether a folder holds the finished model of a recipe."""
    try:
        described = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    whole = all((folder / name).is_file() for name in FILES)
    return whole and isinstance(described, dict) and described.get("hash") == recipe.hash


def card(body: Body, recipe: Recipe, seen: Seen) -> str:
    """Return the model card: data, licences, recipe, steps, hours."""
    parameters = sum(p.numel() for p in body.model.parameters())
    sources = "\n".join(f"| {name} | {amount} |" for name, amount in sorted(seen.sources.items()))
    losses = ", ".join(f"{name} {value:.4g}" for name, value in seen.losses.items())
    library = "svuprobe" if recipe.size == "small" else "transformers"
    loading = _HOW_SMALL if recipe.size == "small" else _HOW
    return f"""---
library_name: {library}
tags: [audio, self-supervised, svuprobe]
---
# {recipe.name}

An audio encoder of {parameters / 1e6:.2f} M parameters, pre-trained by svuprobe without labels:
recipe `{recipe.name}`, hash `{recipe.hash}` (all fields in `recipe.json`).

- Audio: {seen.recordings} recordings, {seen.hours:.2f} hours; {seen.hours_seen:.1f} hours went
  through the network in {seen.steps} steps.
- At the end of training: {losses}.

| source and licence | hours |
|---|---|
{sources}

## Use

    svuprobe extract --task TASK --model hf:FOLDER

{loading}
"""


_HOW = """or `transformers.AutoModel.from_pretrained(FOLDER)` on audio at 16 kHz, prepared by
`transformers.AutoFeatureExtractor.from_pretrained(FOLDER)`."""
_HOW_SMALL = """or in Python:

    states = svuprobe.load_model("hf:FOLDER")(audio, sr)  # (layers, frames, dim)"""
