"""What a training leaves: a folder as Hugging Face has them, with a model card.

``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` load with plain transformers
and here as ``hf:FOLDER``; ``README.md`` is the model card, ``recipe.json`` the recipe with its
hash. They are written into a folder beside and renamed, so that a model is whole or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from svuprobe._files import abandoned, leftovers, temporary_for, write_text, writing
from svuprobe.pretrain.networks import LOG_FLOOR, MEL_BANDS, MEL_STRIDE, Body
from svuprobe.pretrain.recipe import Recipe
from svuprobe.pretrain.spectra import RATE

FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md", "recipe.json")


@dataclass(frozen=True)
class Seen:
    """What a model was trained on.

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
    """Write a model that loads anywhere. Raises FileError where the system refuses."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_for(folder / "model")
        for left in leftovers(folder / "model"):
            if left == temporary or abandoned(left):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        try:
            _save_weights(body.model, temporary, weights_dtype)
            _preprocessor(recipe).save_pretrained(temporary)
            described = {"hash": recipe.hash, **asdict(recipe)}
            write_text(temporary / "recipe.json", json.dumps(described, indent=1) + "\n")
            write_text(temporary / "README.md", card(body, recipe, seen))
            for name in FILES:
                (temporary / name).replace(folder / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _save_weights(model: Any, folder: Path, weights_dtype: str) -> None:
    """Write config.json and model.safetensors, whose weights may be rounded to half precision."""
    import torch
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # The configuration stays that of float32: half precision is of storage alone.
        state = {name: t.detach().cpu() for name, t in model.state_dict().items()}
        if weights_dtype == "float16":
            state = {name: t.to(torch.float16) for name, t in state.items()}
        model.save_pretrained(folder, state_dict=state)
    finally:
        if bars:
            logging.enable_progress_bar()


def is_model_of(folder: Path, recipe: Recipe) -> bool:
    """Return whether a folder holds the finished model of a recipe."""
    try:
        described = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    whole = all((folder / name).is_file() for name in FILES)
    return whole and isinstance(described, dict) and described.get("hash") == recipe.hash


def _preprocessor(recipe: Recipe) -> Any:
    """Return transformers' feature extractor that makes a network's input."""
    import transformers

    if recipe.size == "small":
        return transformers.SeamlessM4TFeatureExtractor(
            feature_size=MEL_BANDS,
            num_mel_bins=MEL_BANDS,
            stride=MEL_STRIDE,
            sampling_rate=RATE,
            # These two are read by svuprobe; transformers takes the first when it is called.
            do_normalize_per_mel_bins=False,
            log_floor=LOG_FLOOR,
        )
    return transformers.Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=RATE, do_normalize=recipe.normalize
    )


def card(body: Body, recipe: Recipe, seen: Seen) -> str:
    """Return the model card: data, licences, recipe, steps, hours."""
    parameters = sum(p.numel() for p in body.model.parameters())
    sources = "\n".join(f"| {name} | {amount} |" for name, amount in sorted(seen.sources.items()))
    losses = ", ".join(f"{name} {value:.4g}" for name, value in seen.losses.items())
    loading = _HOW_SMALL if recipe.size == "small" else _HOW
    return f"""---
library_name: transformers
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
_HOW_SMALL = """or with plain transformers. The input is not normalised per band, and log energies
below 0 are silence:

    extract = transformers.SeamlessM4TFeatureExtractor.from_pretrained(FOLDER)
    model = transformers.Wav2Vec2BertModel.from_pretrained(FOLDER)
    inputs = extract(
        audio, sampling_rate=16000, do_normalize_per_mel_bins=False, return_tensors="pt"
    )
    states = model(inputs["input_features"].clamp(min=0.0)).last_hidden_state"""
