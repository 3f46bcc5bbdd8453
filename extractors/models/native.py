"""Run the networks that svuprobe computes with its own code (`svuprobe.extractors.networks`).

**Loading**: names of weights in a checkpoint are those of the network, under a prefix or none.
Every weight of the network must be there, in its shape; every other one must be among those that
the family explains (`svuprobe.extractors.networks.base.Unneeded`). Weights are made on the meta
device and assigned, so that nothing keeps what happened to lie in memory; what isn't learnt, such
as a spectrogram's filters and rotary positions, is computed and never loaded.

**Batches**: of networks that padding can't spoil, any lengths together; of the others, those of one
length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.checkpoints import (
    BATCH_COUNT,
    Source,
    check_values,
    digest_state,
    find_weights,
    part_of,
    read_state,
    refuse_adapter,
    revision_of,
    select,
)
from svuprobe.extractors.models.generic import equal_lengths, frames_of
from svuprobe.extractors.networks.base import Architecture, Network
from svuprobe.extractors.networks.table import FAMILIES, architecture_of


class NativeExtractor:
    """Run a frozen network of svuprobe's own (`svuprobe.extractors.base.Extractor`).

    Attributes
    ----------
    at_once
        Frames that it sees at once, None for any number.
    sees
        Samples that a frame really depends on (`Network.sees`).
    recipe
        By which svuprobe pre-trained it, empty of all others.
    at_once_s
        Seconds that it sees at once, None for any number.
    """

    normalization = "none"

    def __init__(self, network: Network, *, name: str, revision: str, recipe: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.name, self.revision, self.recipe = name, revision, recipe
        self.digest = digest_state(network)
        grid = network.grid
        self.sample_rate, self.hop = grid.sample_rate, grid.hop
        self.receptive_field = grid.receptive_field
        self.sees = network.sees or grid.receptive_field
        self.at_once = None if network.longest is None else grid.n_frames(network.longest)
        self.layer_names, self.dim = network.layer_names, network.dim
        self.parameters = sum(weights.numel() for weights in network.parameters())
        self.at_once_s = None if network.longest is None else network.longest / grid.sample_rate

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type."""
        self.network.move(device, dtype)

    @torch.inference_mode()
    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the hidden states of every layer, of clips of any lengths.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono, at `sample_rate`.
        lengths
            (batch,) int64, valid samples of each clip; what follows them is ignored.

        Returns
        -------
        states, frames
            (batch, layers, frames, dim) and (batch,) int64; zeros after the valid frames.

        Raises
        ------
        ExtractError
            For clips shorter than one frame.
        """
        counts = frames_of(self, lengths)
        # Someone may have called train() on the network or on a part of it.
        self.network.eval()
        pieces: list[torch.Tensor] = []
        of_row: list[int] = []
        for row, (samples, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            for piece in self._cut(audio[row, :samples], count):
                pieces.append(piece)
                of_row.append(row)
        states = self._states(pieces)
        whole: list[list[torch.Tensor]] = [[] for _ in counts]
        for row, state in zip(of_row, states, strict=True):
            whole[row].append(state)
        joined = [torch.cat(parts)[:count] for parts, count in zip(whole, counts, strict=True)]
        padded = nn.utils.rnn.pad_sequence(joined, batch_first=True)
        return padded.transpose(1, 2), counts

    def _cut(self, clip: torch.Tensor, count: int) -> list[torch.Tensor]:
        """Cut a clip of so many frames to what the network sees at once; the grid goes on."""
        step, grid = self.at_once, self.network.grid
        if step is None:
            return [clip]
        # All that it can see: also what comes after its last frame's field may be heard.
        longest = self.network.longest
        return [clip[grid.hop * n :][:longest] for n in range(0, count, step)]

    def _states(self, pieces: list[torch.Tensor]) -> list[torch.Tensor]:
        """Compute (frames, layers, dim) of each of several pieces of audio."""
        samples = [len(piece) for piece in pieces]
        exact = self.network.padded_exactly
        groups = [list(range(len(pieces)))] if exact else equal_lengths(samples)
        device = next(self.network.parameters()).device
        states: dict[int, torch.Tensor] = {}
        for rows in groups:
            batch = nn.utils.rnn.pad_sequence([pieces[row] for row in rows], batch_first=True)
            lengths = torch.tensor([samples[row] for row in rows])
            try:
                layers = self.network.states(batch.float().to(device), lengths.to(device))
            except ExtractError as error:  # a network doesn't know by which name it was loaded
                raise ExtractError(f"{self.name}: {error}") from None
            own = self.network.grid.count(lengths).tolist()
            for row, count, state in zip(rows, own, torch.stack(layers, dim=2), strict=True):
                states[row] = state[:count]
        return [states[row] for row in range(len(pieces))]


def load(source: Source, *, normalize: bool | None = None) -> NativeExtractor | None:
    """Load a checkpoint; None where no network of svuprobe's own is meant for it.

    Raises
    ------
    ExtractError
        A checkpoint of such a network that can't be used.
    """
    for family in FAMILIES:
        architecture = architecture_of(family)
        described = architecture.recognise(source)
        if described is not None:
            return _load(source, architecture, described, normalize)
    return None


def _load(
    source: Source,
    architecture: Architecture,
    described: Mapping[str, Any],
    normalize: bool | None,
) -> NativeExtractor:
    name = source.name
    if normalize:
        raise ExtractError(f"{name}: this model has no waveform normalisation to switch on")
    refuse_adapter(source)
    network = _empty(architecture, described, name)  # before weights are downloaded in vain
    weights = find_weights(source)
    revision = revision_of(source, weights)
    fill(network, read_state(weights, name, part_of(source)), architecture, name)
    return NativeExtractor(network, name=name, revision=revision, recipe=source.recipe())


def from_random(
    card: ModelCard, seed: int, *, name: str, source: Source | None = None
) -> NativeExtractor:
    """Make a network with the random weights that its training would start from.

    Its sizes are those of the catalogue, or of a checkpoint. The same seed gives the same weights;
    torch's global generators are left as they were.
    """
    architecture = architecture_of(card.family)
    described = card.config if source is None else architecture.recognise(source)
    assert described is not None
    # default_generator, because torch.manual_seed would also seed the accelerators.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = architecture.build(described, name)
    return NativeExtractor(network, name=name, revision=digest_state(network)[:40])


def _empty(architecture: Architecture, described: Mapping[str, Any], name: str) -> Network:
    """Make a network whose learnt weights take no memory yet."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        network = architecture.build(described, name)
    return network


def fill(
    network: nn.Module, state: Mapping[str, torch.Tensor], architecture: Architecture, name: str
) -> None:
    """Give every weight of a network its value, in float32.

    Raises
    ------
    ExtractError
        Weights that are missing, that nobody explains, of another shape, or that aren't plain
        numbers.
    """
    wanted = network.state_dict()
    family = architecture.family
    current = {architecture.rename(key): value for key, value in state.items()}
    stored = select(current, wanted, architecture.prefixes, kind=family, name=name)
    unneeded = [re.compile(each.pattern) for each in architecture.unneeded]
    missing = [key for key in wanted if key not in stored and not key.endswith(BATCH_COUNT)]
    unknown = [
        key
        for key in stored
        if key not in wanted and not any(pattern.fullmatch(key) for pattern in unneeded)
    ]
    misshapen = [key for key in wanted if key in stored and stored[key].shape != wanted[key].shape]
    for what, keys in (
        ("lacks", missing),
        ("has unknown", unknown),
        ("has misshapen", misshapen),
    ):
        if keys:
            raise ExtractError(
                f"{name}: the checkpoint {what} weights of the {family} network that its "
                f"configuration describes: {len(keys)}, such as {sorted(keys)[0]}"
            )
    found = {key: stored[key] for key in wanted if key in stored}
    check_values(found, wanted, name)
    values = {key: value.to(wanted[key].dtype) for key, value in found.items()}
    counts = {key: torch.zeros((), dtype=torch.int64) for key in wanted if key not in found}
    network.load_state_dict(values | counts, assign=True)
    left = [
        key
        for key, value in (*network.named_parameters(), *network.named_buffers())
        if value.is_meta
    ]
    # What a network computes itself, it has to make on the CPU (`Network.frontend`).
    assert not left, f"{family}: without a value: {left}"
