"""Compute what masked frames are told by: features of each recording that are clustered.

A name says which and in how many clusters: ``mfcc39:500``, ``mfcc60-cmn:256``, ``semitone72:256``,
``chroma12:128``, or ``layer6:500``, a block of the recipe's ``teacher``. To add one, add a line to
``TABLE``.

``-cmn`` takes each recording's mean from its cepstra, which leaves what changes and little of the
channel and the voice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from svuprobe._errors import did_you_mean
from svuprobe.extractors.networks.kaldi import HOP
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.spectra import Mfcc, Semitones

GRID_HOP = 320  # samples between targets: the grid of all networks here, 50 a second at 16 kHz
MOST_CLUSTERS = 65_535  # codes are stored as uint16

# A recording (samples,) to features (frames, dim).
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    """Describe features that are clustered.

    Attributes
    ----------
    name
        As the recipe has it, with the number of clusters.
    features
        From a recording (samples,) to (frames, dim).
    clusters
        How many.
    every
        Frames of the features to one of the network: MFCC come 100 a second.
    weights
        Digest of the model whose layers they are; empty for features made by hand.
    """

    name: str
    features: Features
    clusters: int
    every: int = 1
    weights: str = ""


def _mfcc(coefficients: int, cmn: bool = False) -> Features:
    """Return cepstra with differences, less their mean over the recording where ``cmn``."""
    compute = Mfcc(coefficients)

    def features(audio: Tensor) -> Tensor:
        values = compute(audio[None])[0]
        return values - values.mean(dim=0) if cmn else values

    return features


def _semitones(audio: Tensor) -> Tensor:
    """Return semitone bands (frames, 72)."""
    return _SEMITONES(audio[None])[0]


def _chroma(audio: Tensor) -> Tensor:
    """Return pitch classes (frames, 12): the octaves of the bands added, length 1."""
    bands = _SEMITONES(audio[None])[0].unflatten(-1, (Semitones.octaves, 12)).sum(dim=-2)
    return bands / (bands.square().sum(dim=-1, keepdim=True).sqrt() + 1e-3)


_SEMITONES = Semitones()
# Name -> how its features are made, and how many of their frames go to one of the network.
TABLE: dict[str, tuple[Callable[[], Features], int]] = {
    "mfcc39": (lambda: _mfcc(13), GRID_HOP // HOP),
    "mfcc39-cmn": (lambda: _mfcc(13, cmn=True), GRID_HOP // HOP),
    "mfcc60": (lambda: _mfcc(20), GRID_HOP // HOP),
    "mfcc60-cmn": (lambda: _mfcc(20, cmn=True), GRID_HOP // HOP),
    "semitone72": (lambda: _semitones, 1),
    "chroma12": (lambda: _chroma, 1),
}


def target_of(name: str, teacher: str, load: Callable[[str], Any]) -> Target:
    """Return the target that a recipe names.

    Parameters
    ----------
    name
        With the number of clusters.
    teacher
        Name of the model whose layers are clustered.
    load
        From a model's name to an extractor.

    Raises
    ------
    PretrainError
        There is no such target, or too few or too many clusters.
    """
    kind, _, count = name.partition(":")
    if not count.isdecimal() or not 2 <= int(count) <= MOST_CLUSTERS:
        raise PretrainError(
            f"targets: {name!r}; it is a name and 2 to {MOST_CLUSTERS:,} clusters, as mfcc39:500"
        )
    layer = re.fullmatch(r"layer(\d+)", kind)
    if layer is not None:
        if not teacher:
            raise PretrainError(
                f"targets: {name!r} is a layer of a model; name that by the field teacher"
            )
        extractor = load(teacher)
        features = _layer(extractor, int(layer[1]))
        return Target(name, features, int(count), weights=extractor.digest)
    if kind not in TABLE:
        raise PretrainError(f"targets: {name!r}; {did_you_mean(kind, [*TABLE, 'layer6'])}")
    make, every = TABLE[kind]
    return Target(name, make(), int(count), every)


def _layer(extractor: Any, layer: int) -> Features:
    """Return the states (frames, dim) after a block; 0 is what enters the first."""
    if layer >= len(extractor.layer_names):
        raise PretrainError(
            f"{extractor.name}: layer{layer}; it has layers 0 to {len(extractor.layer_names) - 1}"
        )
    if (extractor.sample_rate, extractor.hop) != (16_000, GRID_HOP):
        raise PretrainError(
            f"{extractor.name}: {extractor.sample_rate} Hz and a frame every {extractor.hop} "
            f"samples; a teacher has 16000 Hz and {GRID_HOP}"
        )
    longest = 30 * extractor.sample_rate  # in pieces: attention over a whole song would not fit

    def features(audio: Tensor) -> Tensor:
        parts = []
        # A click has one frame too, with zeros after it: recordings have targets or are not there.
        missing = max(0, extractor.receptive_field - len(audio))
        audio = torch.nn.functional.pad(audio, (0, missing))
        for start in range(0, len(audio), longest):
            # The next samples complete the last frames of the piece.
            piece = audio[start : start + longest + extractor.receptive_field - GRID_HOP]
            if len(piece) >= extractor.receptive_field:
                states, frames = extractor(piece[None], torch.tensor([len(piece)]))
                parts.append(states[0, layer, : int(frames[0])].float().cpu())
        return torch.cat(parts)

    return features
