"""Audio encoders of transformers beyond the five families of `svuprobe.extractors.transformer`.

Conventions
-----------
**Layers** are transformers' own ``hidden_states``, as in `svuprobe.extractors.transformer`: ``input`` enters the
first block, and the last layer has the encoder's final LayerNorm applied where transformers applies it.

**Batches**: clips of one length go through the encoder together, so nothing is ever padded and a batch equals one
by one. Whisper and AST pad every piece to their own fixed length, alone or not, so any lengths share a batch.

**Frames** of each family are in `svuprobe.extractors.fronts`. Whisper sees 30 s at once and AST 10.24 s: a longer
clip goes through in such pieces, whose frames continue one grid. No frame sees beyond its piece.

**Loading** runs no code of a checkpoint (``trust_remote_code`` is off). Every weight of the encoder must be in the
checkpoint, in its shape, and none of the encoder's may be left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoint import (
    MODEL_TYPES,
    Find,
    digest_files,
    digest_state,
    download,
    find_weights,
    read_json,
)
from svuprobe.extractors.fronts import FAMILIES, PREPROCESSOR, Front

# Training only: SpecAugment's mask vector is not in every checkpoint, and adapters come after the last layer.
_OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "add_adapter": False}


class GenericExtractor:
    """A frozen encoder of `FAMILIES`; see `svuprobe.extractors.base.Extractor` for the attributes.

    Attributes
    ----------
    at_once
        Frames that it sees at once, None for any number.
    """

    def __init__(self, model: nn.Module, front: Front, *, name: str, revision: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.front = front
        config: Any = model.config
        self.name, self.revision = name, revision
        self.digest = digest_state(model)
        self.sample_rate, self.hop = front.sample_rate, front.hop
        self.receptive_field = front.receptive_field
        self.at_once = front.longest and 1 + (front.longest - front.receptive_field) // front.hop
        blocks: int = getattr(config, "encoder_num_hidden_layers", config.num_hidden_layers)  # Moonshine has two
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, blocks + 1)))
        self.dim: int = config.hidden_size
        self.parameters = sum(weights.numel() for weights in model.parameters())
        self.normalization = "zero-mean-unit-variance" if front.normalized else "none"

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type. Spectrograms are made on the CPU."""
        self.model.to(device=device, dtype=dtype)

    @torch.inference_mode()
    def __call__(self, audio: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of every layer, of clips of any lengths.

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
        frames, samples = frames_of(self, lengths), lengths.tolist()
        clips = [clip[:n].float() for clip, n in zip(audio, samples, strict=True)]
        if self.at_once is None:
            groups = equal_lengths(samples)
            return gathered(groups, lambda rows: self._run([clips[row] for row in rows]), frames), frames
        step, field = self.at_once, self.hop * (self.at_once - 1) + self.receptive_field
        starts = [range(0, count, step) for count in frames.tolist()]
        pieces = [clip[self.hop * n :][:field] for clip, own in zip(clips, starts, strict=True) for n in own]
        states = self._run(pieces).transpose(1, 2)  # (pieces, frames, layers, dim)
        made = [part.flatten(0, 1)[:n] for part, n in zip(states.split([*map(len, starts)]), frames, strict=True)]
        return nn.utils.rnn.pad_sequence(made, batch_first=True).transpose(1, 2), frames

    def _run(self, clips: list[torch.Tensor]) -> torch.Tensor:
        """(batch, layers, frames, dim) of clips, each (samples,)."""
        weights = next(self.model.parameters())
        # Someone may have called train() on the model or on a part of it; dropout would go unnoticed.
        self.model.eval()
        inputs = self.front.inputs(clips).to(weights.device, weights.dtype)
        hidden = self.model(inputs, output_hidden_states=True).hidden_states
        return torch.stack([self.front.frames(state) for state in hidden], dim=1)


def frames_of(extractor: Any, lengths: torch.Tensor) -> torch.Tensor:
    """Valid frames (batch,) of clips of so many samples; ExtractError for clips that are too short or too long."""
    least, longest = extractor.receptive_field, getattr(extractor, "longest", None)
    for samples in lengths.tolist():
        if samples < least:
            raise ExtractError(
                f"{extractor.name}: a clip of {samples} samples is shorter than one frame, "
                f"{least} samples at {extractor.sample_rate} Hz"
            )
        if longest is not None and samples > longest:
            raise ExtractError(
                f"{extractor.name}: a window of {samples / extractor.sample_rate:g} s is longer than the "
                f"{longest / extractor.sample_rate:g} s this model can see; use a task with shorter windows"
            )
    return 1 + (lengths - least) // extractor.hop


def equal_lengths(samples: Sequence[int]) -> list[list[int]]:
    """Rows of a batch grouped by their length."""
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(samples):
        groups.setdefault(length, []).append(row)
    return list(groups.values())


def gathered(
    groups: Sequence[Sequence[int]], run: Callable[[Sequence[int]], torch.Tensor], frames: torch.Tensor
) -> torch.Tensor:
    """(batch, layers, frames, dim) from groups of rows, each run together; zeros after each row's valid frames.

    ``run`` returns at least the valid frames of its rows; what comes after them is dropped.
    """
    counts = frames.tolist()
    states: torch.Tensor | None = None
    for rows in groups:
        part = run(rows)
        if states is None:
            states = part.new_zeros(len(counts), part.shape[1], max(counts), part.shape[3])
        for row, state in zip(rows, part, strict=True):
            states[row, :, : counts[row]] = state[:, : counts[row]]
    assert states is not None
    return states


# ------------------------------------------------------------------------------------------------ loading


def finder(source: str | Path, revision: str | None, name: str) -> Find:
    """Looks files up in a folder (a Path), or in a repository of the hub (a str), downloading what isn't there."""
    if isinstance(source, Path):
        return lambda file: source / file if (source / file).is_file() else None
    return lambda file: download(source, file, revision, name)


def load(
    source: str | Path, revision: str | None, *, name: str, normalize: bool | None = None
) -> GenericExtractor | None:
    """Load a checkpoint from a folder or from the hub; None where it is one for `svuprobe.extractors.transformer`.

    Parameters
    ----------
    source
        A folder, or ``ORG/NAME``.
    revision
        Branch, tag or commit on the hub; the attribute of the extractor is always the commit, or a digest of the
        files of a folder.
    name
        Canonical name.
    normalize
        None does what the checkpoint says.

    Raises
    ------
    ExtractError
        Not found, or a checkpoint that can't be used.
    """
    described = finder(source, revision, name)("config.json")
    if described is None:
        return None
    model_type = read_json(described, name).get("model_type")
    if model_type not in FAMILIES:
        _check_supported(model_type, name)
        return None
    folder = described.parent  # of the hub's cache: named after the commit, and all files of that commit lie in it
    find = finder(source, None if isinstance(source, Path) else folder.name, name)
    prepared = find(PREPROCESSOR)
    weights = find_weights(find, name)
    family = FAMILIES[model_type]
    with _one_line(f"{name}: transformers can't load this {model_type} checkpoint"), _quiet():
        model = _filled(family.model, folder, name)
        front = family.front(model.config, folder, name, normalize)
    if isinstance(source, Path):
        commit = digest_files(described, prepared, *weights)[:40]
    else:
        commit = folder.name
    return GenericExtractor(model.encoder if family.decoder else model, front, name=name, revision=commit)


def _check_supported(model_type: object, name: str) -> None:
    if model_type not in MODEL_TYPES:
        supported = ", ".join(sorted({*MODEL_TYPES, *FAMILIES}))
        raise ExtractError(
            f"{name}: model_type {model_type!r} isn't supported; supported are {supported}; any other model runs "
            "as py:FILE.py:CLASS (see CONTRIBUTING.md)"
        )


def _filled(model_class: str, folder: Path, name: str) -> Any:
    """A model in float32 with every weight from the checkpoint in a folder."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    for key in _OFF.keys() & config.to_dict().keys():
        setattr(config, key, _OFF[key])
    make = getattr(transformers, model_class)
    model, info = make.from_pretrained(folder, config=config, local_files_only=True, output_loading_info=True)
    parts = {key.partition(".")[0] for key in model.state_dict()}
    prefix = f"{model.base_model_prefix}."
    extra = [k for k in info["unexpected_keys"] if k.removeprefix(prefix).partition(".")[0] in parts]
    for what, keys in (("lacks", info["missing_keys"]), ("has unknown", extra)):
        if keys:
            raise ExtractError(
                f"{name}: the checkpoint {what} weights of the {config.model_type} encoder that config.json "
                f"describes: {len(keys)}, such as {sorted(keys)[0]}"
            )
    return model.float()


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn what transformers raises for a damaged or contradictory checkpoint into one line."""
    try:
        yield
    except ExtractError:
        raise
    except Exception as error:  # the types differ between versions
        raise ExtractError(f"{what}: {' '.join(str(error).split())}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and its report of heads and decoders that were left out."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
