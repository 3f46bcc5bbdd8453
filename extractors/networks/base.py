"""Define what a network of svuprobe's own is: audio in, the states of every layer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from svuprobe.extractors.base import FrameGrid
from svuprobe.extractors.checkpoints import Source


class Network(nn.Module):
    """Encode audio with weights that go by the names of their published checkpoints.

    Attributes
    ----------
    grid
        Where its frames lie.
    layer_names, dim
        As in `svuprobe.extractors.base.Extractor`.
    padded_exactly
        Whether a clip's states are those of the clip alone when zeros and other clips follow it in
        a batch. Clips of other networks go through in groups of one length.
    longest
        Samples that it can see at once; longer clips go through in pieces whose frames continue one
        grid. None for any number.
    sees
        Samples that a frame really depends on, where that reaches into padding at the ends; None
        where it is the grid's receptive field.
    frontend
        What comes before the first learnt weight, such as a spectrogram. It is computed and never
        loaded, so it is made under ``torch.device("cpu")`` also where weights wait for a
        checkpoint's.
    in_float32
        Names of children that stay in float32: the front end, and what takes its decibels, which a
        bfloat16 would round to half of one.
    """

    grid: FrameGrid
    layer_names: tuple[str, ...]
    dim: int
    padded_exactly: bool
    longest: int | None = None
    sees: int | None = None
    frontend: nn.Module
    in_float32: tuple[str, ...] = ("frontend",)

    def states(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Compute hidden states of every layer.

        Parameters
        ----------
        audio
            (batch, samples) float32 on the device of the weights, each clip followed by zeros.
        lengths
            (batch,) int64, valid samples of each clip; all the same unless `padded_exactly`.

        Returns
        -------
        list of Tensor
            (batch, frames, dim) of each layer; after a clip's own frames anything may follow.
        """
        raise NotImplementedError

    def move(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move all to a device, and all but `in_float32` to a type."""
        self.to(device=device)
        for name, child in self.named_children():
            if name not in self.in_float32:
                child.to(dtype=dtype)
        for parameter in self.parameters(recurse=False):
            parameter.data = parameter.data.to(dtype=dtype)


@dataclass(frozen=True)
class Unneeded:
    """Explain weights of a checkpoint that its states don't depend on.

    Attributes
    ----------
    pattern
        Regular expression that the whole of a weight's name matches.
    reason
        Why they aren't needed.
    """

    pattern: str
    reason: str


@dataclass(frozen=True)
class Architecture:
    """Say how checkpoints of a family are recognised and which network they fill.

    Attributes
    ----------
    family
        Name of the family, as in the catalogue.
    recognise
        From a checkpoint to the fields of its configuration; None where it is of another family.
        It may read config.json and names of files, and downloads nothing else.
    build
        From such fields, and the model's name for messages, to the network with fresh weights.
        It raises ExtractError for fields that it can't honour.
    prefixes
        Under which the weights may lie in a checkpoint, beside none.
    unneeded
        What else a checkpoint may hold.
    rename
        From the name of a weight in a checkpoint to that in the network, where torch or
        transformers has changed names since it was published.
    """

    family: str
    recognise: Callable[[Source], Mapping[str, Any] | None]
    build: Callable[[Mapping[str, Any], str], Network]
    prefixes: tuple[str, ...] = ()
    unneeded: tuple[Unneeded, ...] = ()
    rename: Callable[[str], str] = lambda key: key


def by_model_type(*types: str) -> Callable[[Source], Mapping[str, Any] | None]:
    """Recognise checkpoints by ``model_type`` in their config.json."""
    from svuprobe.extractors.checkpoints import read_json

    def recognise(source: Source) -> Mapping[str, Any] | None:
        path = source.find("config.json")
        if path is None:
            return None
        fields: Mapping[str, Any] = read_json(path, source.name)
        return fields if fields.get("model_type") in types else None

    return recognise
