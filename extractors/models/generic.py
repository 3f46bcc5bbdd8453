"""Run encoders of transformers beyond the five families of
`svuprobe.extractors.models.transformer`.

Conventions
-----------
**Layers** are transformers' own ``hidden_states``, as in `svuprobe.extractors.models.transformer`:
``input`` enters the first block, and the last layer has the encoder's final LayerNorm applied where
transformers 5 applies it. Where transformers 4 did otherwise, the last block itself is asked.

**Batches**: clips of one length go through the encoder together, so nothing is ever padded and a
batch equals one by one. Whisper and AST pad every piece to their own fixed length, alone or not, so
any lengths share a batch.

**Frames** of each family are in `svuprobe.extractors.models.frontends`. Whisper sees 30 s at once
and AST 10.24 s: a longer clip goes through in such pieces, whose frames continue one grid. No frame
sees beyond its piece.

**Loading** runs no code of a checkpoint: config.json is data, and the tensors are read by
`svuprobe.extractors.checkpoints.weights`, also under the prefixes of heads and wrappers. Of an
encoder and decoder only the encoder is made. Every weight of the encoder must be in the checkpoint,
in its shape, and none of the encoder's may be left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import (
    BATCH_COUNT,
    MODEL_TYPES,
    Source,
    check_values,
    digest_state,
    encoder_config,
    find_weights,
    read_json,
    read_settings,
    read_state,
    refuse_adapter,
    refuse_known,
    refuse_unused_language_adapters,
    revision_of,
    select,
)
from svuprobe.extractors.models.frontends import FAMILIES, Family, Frontend, hidden_states

# Entries of config.json that only say how the weights
# are stored, or which of its classes saved them.
_STORAGE = ("dtype", "torch_dtype", "architectures", "auto_map", "quantization_config")

# Training only: SpecAugment's mask vector is not in every
# checkpoint, and adapters come after the last layer.
_OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "add_adapter": False}


class GenericExtractor:
    """Run a frozen encoder of `FAMILIES` (`svuprobe.extractors.base.Extractor` has the attributes).

    Attributes
    ----------
    at_once
        Frames that it sees at once, None for any number.
    at_once_s
        The same in seconds.
    last_block
        Of the encoder, where its output is the last layer; None where transformers' last hidden
        state is.
    """

    def __init__(
        self,
        model: nn.Module,
        frontend: Frontend,
        *,
        name: str,
        revision: str,
        last_block: nn.Module | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.frontend, self.last_block = frontend, last_block
        config: Any = model.config
        self.name, self.revision = name, revision
        self.digest = digest_state(model)
        grid = frontend.grid
        self.sample_rate, self.hop, self.receptive_field = (
            grid.sample_rate,
            grid.hop,
            grid.receptive_field,
        )
        longest = frontend.longest
        self.at_once = None if longest is None else grid.n_frames(longest)
        self.at_once_s = None if longest is None else longest / grid.sample_rate
        # Moonshine has two
        blocks: int = getattr(config, "encoder_num_hidden_layers", config.num_hidden_layers)
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, blocks + 1)))
        self.dim: int = config.hidden_size
        self.parameters = sum(weights.numel() for weights in model.parameters())
        self.normalization = "zero-mean-unit-variance" if frontend.normalized else "none"

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type.

        Spectrograms are made on the CPU.
        """
        self.model.to(device=device, dtype=dtype)

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
        frames, samples = frames_of(self, lengths), lengths.tolist()
        clips = [clip[:n].float() for clip, n in zip(audio, samples, strict=True)]
        if self.at_once is None:
            groups = equal_lengths(samples)
            return gathered(
                groups, lambda rows: self._run([clips[row] for row in rows]), frames
            ), frames
        # All that it can see: also what comes after its last frame's field is heard.
        step, longest = self.at_once, self.frontend.longest
        starts = [range(0, count, step) for count in frames.tolist()]
        pieces = []
        for clip, own in zip(clips, starts, strict=True):
            pieces += [clip[self.hop * n :][:longest] for n in own]
        states = self._run(pieces).transpose(1, 2)  # (pieces, frames, layers, dim)
        whole = [
            part.flatten(0, 1)[:n]
            for part, n in zip(states.split([*map(len, starts)]), frames, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(whole, batch_first=True).transpose(1, 2), frames

    def _run(self, clips: list[torch.Tensor]) -> torch.Tensor:
        """Run the encoder: (batch, layers, frames, dim) of clips, each (samples,)."""
        weights = next(self.model.parameters())
        # Someone may have called train() on the model or
        # on a part of it; dropout would go unnoticed.
        self.model.eval()
        inputs = self.frontend.inputs(clips).to(weights.device, weights.dtype)
        hidden = hidden_states(self.model, inputs, self.last_block)
        return torch.stack([self.frontend.frames(state) for state in hidden], dim=1)


def frames_of(extractor: Any, lengths: torch.Tensor) -> torch.Tensor:
    """Count the frames (batch,) of clips of so many samples.

    Raises ExtractError for clips too short or too long.
    """
    least, longest = extractor.receptive_field, getattr(extractor, "longest", None)
    for samples in lengths.tolist():
        if samples < least:
            raise ExtractError(
                f"{extractor.name}: a clip of {samples} samples is shorter than one frame, "
                f"{least} samples at {extractor.sample_rate} Hz"
            )
        if longest is not None and samples > longest:
            raise ExtractError(
                f"{extractor.name}: a window of {samples / extractor.sample_rate:g} s is longer "
                f"than the {longest / extractor.sample_rate:g} s this model can see; use a task "
                "with shorter windows"
            )
    return FrameGrid.of(extractor).count(lengths)


def equal_lengths(samples: Sequence[int]) -> list[list[int]]:
    """Group the rows of a batch by their length."""
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(samples):
        groups.setdefault(length, []).append(row)
    return list(groups.values())


def gathered(
    groups: Sequence[Sequence[int]],
    run: Callable[[Sequence[int]], torch.Tensor],
    frames: torch.Tensor,
) -> torch.Tensor:
    """Gather (batch, layers, frames, dim) from groups of rows, each run together; zeros after each
    clip.

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


# -- loading ---------------------------------------------------------------------------------------


def load(source: Source, *, normalize: bool | None = None) -> GenericExtractor | None:
    """Load a checkpoint; None where it is one for `svuprobe.extractors.models.transformer`.

    Parameters
    ----------
    source
        From `svuprobe.extractors.checkpoints.in_folder` or `on_hub`.
    normalize
        None does what the checkpoint says.

    Raises
    ------
    ExtractError
        Not found, or a checkpoint that can't be used.
    """
    name = source.name
    if source.find("config.json") is None:
        refuse_known(source)
    described = encoder_config(read_json(source.required("config.json"), name), name)
    model_type = described.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        _check_supported(model_type, source)
        return None
    refuse_adapter(source)
    settings = read_settings(source)
    family = FAMILIES[model_type]
    with (
        _one_line(f"{name}: transformers can't load this {model_type} checkpoint"),
        quiet_transformers(),
    ):
        config = _config(described)
        # Before weights are downloaded in vain.
        frontend = family.frontend(config, settings, name, normalize)
        weights = find_weights(source)
        revision = revision_of(source, weights)
        state = read_state(weights, name)
        refuse_unused_language_adapters(source, state, name)
        model = _filled(family, config, state, name)
    last = None if family.final_norm else model.encoder.layers[-1]
    return GenericExtractor(model, frontend, name=name, revision=revision, last_block=last)


def _check_supported(model_type: object, source: Source) -> None:
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        refuse_known(source, model_type)
        supported = ", ".join(sorted({*MODEL_TYPES, *FAMILIES}))
        raise ExtractError(
            f"{source.name}: model_type {model_type!r} isn't supported; supported are {supported}; "
            "any other model runs as py:FILE.py:CLASS (see CONTRIBUTING.md)"
        )


def _config(described: dict[str, Any]) -> Any:
    """Make the configuration object of transformers, with what only serves training switched
    off.
    """
    import transformers

    fields = {key: value for key, value in described.items() if key not in _STORAGE}
    config = type(transformers.AutoConfig.for_model(described["model_type"])).from_dict(fields)
    for key in _OFF.keys() & config.to_dict().keys():
        setattr(config, key, _OFF[key])
    return config


def _filled(family: Family, config: Any, state: dict[str, torch.Tensor], name: str) -> Any:
    """Make an encoder in float32 with every weight from the checkpoint."""
    import transformers

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        whole = getattr(transformers, family.model)(config)
    encoder = whole.encoder if family.decoder else whole
    kind = config.model_type
    own = ("model.encoder.", "encoder.") if family.decoder else (f"{whole.base_model_prefix}.",)
    wanted = encoder.state_dict()
    stored = select(state, wanted, own, kind=kind, name=name)
    parts = {key.partition(".")[0] for key in wanted}
    check_values(
        {key: tensor for key, tensor in stored.items() if key.partition(".")[0] in parts},
        wanted,
        name,
    )
    # In the type that the model gets: its argument has another name in each version.
    current = {key: value.float() for key, value in stored.items()}
    # transformers knows by which names a weight went in
    # earlier versions; it is given tensors, and opens no file.
    model, info = type(encoder).from_pretrained(
        None, config=config, state_dict=current, output_loading_info=True
    )
    extra = [key for key in info["unexpected_keys"] if key.partition(".")[0] in parts]
    missing = [key for key in info["missing_keys"] if not key.endswith(BATCH_COUNT)]
    for what, keys in (("lacks", missing), ("has unknown", extra)):
        if keys:
            raise ExtractError(
                f"{name}: the checkpoint {what} weights of the {kind} encoder that config.json "
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
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and its report of heads and decoders that were left
    out.
    """
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
