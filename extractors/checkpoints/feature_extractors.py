"""Make transformers' objects that turn audio into the input of a model.

A checkpoint's settings of them are data; none of its code runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.architecture import sample_rate_of
from svuprobe.extractors.checkpoints.source import NESTED_SETTINGS, SETTINGS


def feature_extractor(extractor_class: str, settings: Mapping[str, Any] | None, name: str) -> Any:
    """Make transformers' object that computes a family's spectrograms, as the checkpoint says.

    Parameters
    ----------
    extractor_class
        Which the family takes.
    settings
        From `svuprobe.extractors.checkpoints.read_settings`.
    name
        Of the model, for messages.

    Raises
    ------
    ExtractError
        There are no settings, or they are of another class, or add noise.
    """
    import transformers

    if settings is None:
        raise ExtractError(
            f"{name}: there is no {SETTINGS}, which says how the spectrograms are made (nor is "
            f"that in {NESTED_SETTINGS})"
        )
    kind = settings.get("feature_extractor_type", extractor_class)
    if kind != extractor_class:
        raise ExtractError(
            f"{name}: this model takes the input of a {extractor_class}, not of {kind!r:.60}"
        )
    sample_rate_of(settings, "sampling_rate", name)
    if settings.get("dither"):
        raise ExtractError(
            f"{name}: dither adds noise to every clip, so features would never be the same: set "
            "it to 0"
        )
    with warnings.catch_warnings():
        # AST was trained with such
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)
        return getattr(transformers, extractor_class).from_dict(dict(settings))


def check_bands(bands: int, wanted: int, name: str) -> None:
    """Refuse a feature extractor that makes another number of features than the encoder takes."""
    if bands != wanted:
        raise ExtractError(
            f"{name}: the feature extractor makes {bands} features a frame, and the encoder takes "
            f"{wanted}"
        )
