"""Load an extractor of your own: a class in a Python file, ``py:FILE.py:CLASS``.

The class is made without arguments. It needs ``sample_rate``, ``hop``, ``receptive_field``,
``layer_names``, ``dim``, ``to(device, dtype)`` and ``__call__(audio, lengths)`` of
`svuprobe.extractors.base.Extractor`; the rest is found:

- ``digest`` is the class's own where it has one, else that of the file and of the weights of every
  torch module it is or holds, and of the arrays it holds; ``revision`` is its own, else the
  digest's beginning. What the file imports from elsewhere is not in it,
- ``parameters`` are counted, ``normalization`` is ``"none"`` unless it says otherwise,
- its torch modules are put in ``eval()`` and frozen, it is called under ``torch.inference_mode``,
  and never with a clip shorter than ``receptive_field`` (or longer than its ``longest``, in
  samples, where it has one).

An optional ``pooled(audio, lengths) -> (batch, layers, dim) float32`` replaces the mean over time
at clip level; there is no deviation beside it then.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints import digest_files, digest_state
from svuprobe.extractors.models.generic import frames_of

_NUMBERS = ("sample_rate", "hop", "receptive_field", "dim")
_METHODS = ("to", "__call__")


class CustomExtractor:
    """Complete a user's extractor with what it left out (`svuprobe.extractors.base.Extractor`)."""

    def __init__(self, inner: Any, *, name: str, file: Path) -> None:
        self.inner, self.name = inner, name
        modules = modules_of(inner)
        for module in modules:
            module.eval().requires_grad_(False)
        digests = "".join([digest_files(file), *map(digest_state, modules), *_digest_arrays(inner)])
        self.digest = str(getattr(inner, "digest", hashlib.sha256(digests.encode()).hexdigest()))
        self.revision = str(getattr(inner, "revision", self.digest[:40]))
        counted = sum(weights.numel() for module in modules for weights in module.parameters())
        own = getattr(inner, "parameters", counted)
        # Nn.Module has a method of that name.
        self.parameters = counted if callable(own) else int(own)
        self.normalization = str(getattr(inner, "normalization", "none"))
        self.layer_names = tuple(inner.layer_names)

    @torch.inference_mode()
    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Call the user's class: (batch, layers, frames, dim) and (batch,).

        Raises ExtractError for too short a clip.
        """
        frames_of(self, lengths)
        return self.inner(audio, lengths)

    def __getattr__(self, attribute: str) -> Any:
        """Leave everything else to the user's class."""
        # Before __init__ has set it, as when a pickle
        # is read: else this would call itself for ever.
        if attribute == "inner":
            raise AttributeError(attribute)
        return getattr(self.inner, attribute)


def modules_of(thing: Any) -> list[nn.Module]:
    """Find the torch module that an object is, or those it holds, also in lists, tuples,
    dictionaries.
    """
    if isinstance(thing, nn.Module):
        return [thing]
    return [
        value for value in _held(getattr(thing, "__dict__", {})) if isinstance(value, nn.Module)
    ]


def _digest_arrays(thing: Any) -> list[str]:
    """Digest each tensor and array of numbers that an object holds outside its modules."""
    if isinstance(thing, nn.Module):
        return []  # its own are among its weights
    digests = []
    for value in _held(getattr(thing, "__dict__", {})):
        if isinstance(value, torch.Tensor):
            raw: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            raw = np.ascontiguousarray(value)
        else:
            continue
        described = f"{value.dtype} {tuple(value.shape)}\n".encode()
        digests.append(hashlib.sha256(described + raw.tobytes()).hexdigest())
    return digests


def _held(value: Any, depth: int = 4) -> Iterator[Any]:
    """Yield what lists, tuples and dictionaries hold, in their order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and depth:
        for inner in value:
            yield from _held(inner, depth - 1)
    else:
        yield value


class _Uncached(SourceFileLoader):
    """Compile the file itself: Python's cache takes one edited within a second for the one
    before.
    """

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(name: str, path: str, class_name: str) -> CustomExtractor:
    """Import a file by its path and make the extractor.

    Raises
    ------
    ExtractError
        No such file or class, or one without what the contract asks for. What the file itself
        raises keeps its traceback.
    """
    file = Path(path)
    if not os.path.isfile(file):
        raise ExtractError(f"{name}: there is no file {path}")
    # Two files of one name must be two modules.
    module_name = f"svuprobe_py_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(
        module_name, file, loader=_Uncached(module_name, path)
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As importlib's recipe does: dataclasses and pickles look it up.
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        classes = [
            n
            for n, v in vars(module).items()
            if isinstance(v, type) and v.__module__ == module_name
        ]
        present = ", ".join(classes) or "none"
        raise ExtractError(
            f"{name}: there is no class {class_name} in {path}; there are: {present}"
        )
    try:
        # Asked before it is called, so that a TypeError inside the class keeps its traceback.
        inspect.signature(cls).bind()
    except TypeError as error:
        raise ExtractError(
            f"{name}: {class_name}() is called without arguments, and it has a {error}"
        ) from None
    inner = cls()
    _check(inner, name)
    return CustomExtractor(inner, name=name, file=file)


def _check(inner: Any, name: str) -> None:
    """Refuse what lacks an attribute or has one of the wrong kind."""
    needed = (*_NUMBERS, "layer_names", *_METHODS)
    if missing := [a for a in needed if not hasattr(inner, a)]:
        raise ExtractError(
            f"{name}: the class lacks {', '.join(missing)}; extractors/base.py says what each means"
        )
    for attribute in _NUMBERS:
        value = getattr(inner, attribute)
        if not isinstance(value, int) or value < 1:
            raise ExtractError(
                f"{name}: {attribute} must be a whole number from 1 up, not {value!r}"
            )
    names = inner.layer_names
    if isinstance(names, str) or not names or not all(isinstance(n, str) for n in names):
        raise ExtractError(
            f"{name}: layer_names must be a tuple of strings, one for each layer, not {names!r}"
        )
