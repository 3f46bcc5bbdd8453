"""Make parts of networks from transformers' own modules, from entries of a config.json.

Where transformers has an encoder, a network of ours holds its modules under the names that they
have in published checkpoints, and calls them: what it computes is what transformers computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints import Source, encoder_config, read_settings
from svuprobe.extractors.networks.base import by_model_type

# Under which the settings of the feature extractor lie beside the entries of config.json, as in
# processor_config.json.
FEATURE_EXTRACTOR = "feature_extractor"

# Entries that only say how the weights are stored, or which of its classes saved them.
_STORAGE = ("dtype", "torch_dtype", "architectures", "auto_map", "quantization_config")


def with_settings(*types: str) -> Callable[[Source], Mapping[str, Any] | None]:
    """Recognise checkpoints by model_type, and add the settings of their feature extractor."""
    recognise_type = by_model_type(*types)

    def recognise(source: Source) -> Mapping[str, Any] | None:
        fields = recognise_type(source)
        if fields is None:
            return None
        return {**fields, FEATURE_EXTRACTOR: read_settings(source)}

    return recognise


def nested(fields: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return the configuration of a part of a model, which says too whether it is quantised."""
    inner = fields.get(key)
    if not isinstance(inner, dict):
        raise ExtractError(
            f"{name}: {key} in config.json of a {fields.get('model_type')} must be an object, not "
            f"{inner!r:.60}"
        )
    return {**inner, "quantization_config": fields.get("quantization_config")}


def configuration(class_name: str, fields: Mapping[str, Any], name: str) -> Any:
    """Make transformers' configuration object of a class.

    Raises
    ------
    ExtractError
        Quantised weights, absurd sizes, or entries that the class refuses.
    """
    import transformers

    checked = encoder_config(dict(fields), name)
    kept = {
        key: value for key, value in checked.items() if key not in (*_STORAGE, FEATURE_EXTRACTOR)
    }
    with usable(name):
        return getattr(transformers, class_name).from_dict(kept)


@contextmanager
def usable(name: str) -> Iterator[None]:
    """Turn what transformers raises for a configuration that can't be into one line."""
    try:
        yield
    except ExtractError:
        raise
    except Exception as error:  # the types differ between versions
        reason = " ".join(str(error).split())
        raise ExtractError(
            f"{name}: config.json describes no usable model: {reason:.300}"
        ) from None


class _WeightsOnMeta(TorchFunctionMode):
    """Make tensors without values, which torch's layers make of weights, on the meta device."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        chosen = {"device": "meta"} if function is torch.empty else {}
        return function(*args, **{**(kwargs or {}), **chosen})


@contextmanager
def computed_on_cpu() -> Iterator[None]:
    """Make modules whose constructors compute what no checkpoint holds, such as paddings.

    These are computed on the CPU. Where weights wait for a checkpoint's, on the meta device, they
    alone are made there.
    """
    waiting = torch.empty(0).is_meta
    with torch.device("cpu"):
        if not waiting:
            yield
            return
        with _WeightsOnMeta():
            yield
