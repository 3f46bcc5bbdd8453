"""Self-supervised transformers (wav2vec 2.0, WavLM, HuBERT, data2vec, MERT) as extractors.

Conventions
-----------
**Layers** are transformers' own ``hidden_states``: layer 0, ``input``, is what enters the first block (the
projected convolution features plus the positional convolution, after the encoder's LayerNorm in post-norm
models), then one layer per block. In pre-norm models (``do_stable_layer_norm``: most large ones) the *last*
layer has the encoder's final LayerNorm applied and the others have not, as in transformers.

**Waveform** normalisation and sample rate come from the checkpoint's preprocessor_config.json; without one
from the catalogue; for a checkpoint the catalogue doesn't know, from ``sample_rate`` in config.json (else
16 kHz), normalised, which is the default of transformers' Wav2Vec2FeatureExtractor. What was done is in
`TransformerExtractor.normalization`.

**Loading** runs no code of a checkpoint: config.json is read as data, weights are safetensors or a pickle
read with ``weights_only``. Only the encoder is kept; heads, quantisers, adapters and the vector that masks
frames in training are left out. Weights are assigned here, not by ``from_pretrained``, so that one missing,
superfluous or misshapen weight is an error whatever the version of transformers. MERT is a HuBERT with
options that its released checkpoints leave off (CQT input, deepnorm); with one of them on it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoint import (
    Find,
    architecture,
    digest_files,
    digest_state,
    download,
    empty,
    family_of,
    fill,
    find_weights,
    read_json,
    waveform_of,
)

if TYPE_CHECKING:
    from svuprobe.extractors.catalogue import ModelCard


class TransformerExtractor:
    """A frozen transformer encoder; see `svuprobe.extractors.base.Extractor` for the attributes.

    Make one with `from_hub`, `from_folder` or `from_random`. ``revision`` is the commit on the hub, or the
    digest of a folder's files (weights, config.json, preprocessor_config.json), or the digest of random
    weights. ``digest`` is the SHA-256 of the encoder's weights (names, types, shapes and bytes) in all cases.

    Parameters
    ----------
    model
        A Wav2Vec2Model, WavLMModel, HubertModel or Data2VecAudioModel. It is frozen in place.
    name
        Canonical name.
    sample_rate
        Hz.
    normalize
        Whether to scale each clip to zero mean and unit variance.
    revision
        None for the digest of the weights.
    """

    def __init__(
        self, model: nn.Module, *, name: str, sample_rate: int, normalize: bool, revision: str | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        config: Any = model.config
        self.name = name
        self.digest = digest_state(model)
        self.revision = revision or self.digest[:40]
        self.sample_rate = sample_rate
        self.hop, self.receptive_field = conv_geometry(config.conv_kernel, config.conv_stride)
        self.layer_names = ("input", *(f"block{i:02d}" for i in range(1, config.num_hidden_layers + 1)))
        self.dim: int = config.hidden_size
        self.parameters = sum(weights.numel() for weights in model.parameters())
        self.normalization = "zero-mean-unit-variance" if normalize else "none"

    @classmethod
    def from_hub(
        cls,
        hub: str,
        revision: str | None = None,
        *,
        name: str | None = None,
        card: ModelCard | None = None,
        normalize: bool | None = None,
    ) -> TransformerExtractor:
        """Load a checkpoint of the Hugging Face hub, downloading what the local cache lacks.

        Parameters
        ----------
        hub
            ``ORG/NAME``.
        revision
            Branch, tag or commit; None for the main branch. The attribute is always the commit.
        name
            Canonical name; None makes one of the first two.
        card
            What the catalogue says, used where the checkpoint has no preprocessor_config.json.
        normalize
            None does what the checkpoint says.

        Raises
        ------
        ExtractError
            Not found, no network and not in the cache, or a checkpoint that can't be used.
        """
        name = name or f"hf:{hub}" + (f"@{revision}" if revision else "")
        config = download(hub, "config.json", revision, name)
        # A snapshot's files lie in a folder named after the commit; from here on, only that commit counts.
        commit = config.parent.name if config else None

        def find(file: str) -> Path | None:
            return download(hub, file, commit, name)

        return cls._from_files(find, name=name, revision=commit, card=card, normalize=normalize)

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, name: str | None = None, normalize: bool | None = None
    ) -> TransformerExtractor:
        """Load a checkpoint from a folder in the layout of transformers' ``save_pretrained``.

        Raises
        ------
        ExtractError
            No such folder, no config.json or weights in it, or a checkpoint that can't be used.
        """
        folder = Path(folder).expanduser().absolute()
        name = name or f"hf:{folder}"
        if not folder.is_dir():
            raise ExtractError(f"{name}: there is no folder {folder}")

        def find(file: str) -> Path | None:
            return folder / file if (folder / file).is_file() else None

        return cls._from_files(find, name=name, normalize=normalize)

    @classmethod
    def from_random(
        cls, card: ModelCard, seed: int = 0, *, name: str | None = None, normalize: bool | None = None
    ) -> TransformerExtractor:
        """The architecture of a catalogue entry with the random weights training would start from.

        The same seed gives the same weights; torch's global generators are left as they were.
        """
        # default_generator, because torch.manual_seed would also seed the accelerators.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = architecture(card.family, card.config)
        name = name or f"random:{card.name}#{seed}"
        wanted = card.normalize if normalize is None else normalize
        return cls(model, name=name, sample_rate=card.sample_rate, normalize=wanted)

    @classmethod
    def _from_files(
        cls,
        find: Find,
        *,
        name: str,
        revision: str | None = None,
        card: ModelCard | None = None,
        normalize: bool | None = None,
    ) -> TransformerExtractor:
        """Build the encoder that config.json describes, then look for the weights and fill it.

        In this order, so that a checkpoint of an unsupported kind is refused before it is downloaded.
        """
        described = find("config.json")
        if described is None:
            raise ExtractError(f"{name}: there is no config.json, so this isn't a transformers checkpoint")
        config = read_json(described, name)
        family = family_of(config, name)
        model = empty(family, config, name)
        prepared = find("preprocessor_config.json")
        weights = find_weights(find, name)
        fill(model, weights, family, name)
        sample_rate, default = waveform_of(read_json(prepared, name) if prepared else None, card, config)
        return cls(
            model,
            name=name,
            sample_rate=sample_rate,
            normalize=default if normalize is None else normalize,
            revision=revision or digest_files(described, prepared, *weights)[:40],
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type."""
        self.model.to(device=device, dtype=dtype)

    @torch.inference_mode()
    def __call__(self, audio: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of every layer, for clips of one length.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono, at `sample_rate`.
        lengths
            (batch,) int64, all equal to ``samples``.

        Returns
        -------
        states, frames
            (batch, layers, frames, dim) and (batch,) int64.

        Raises
        ------
        ValueError
            For clips of different lengths: padding would change the features of the shorter ones.
        ExtractError
            For clips shorter than one frame.
        """
        samples = self._check(audio, lengths)
        weights = next(self.model.parameters())
        audio = audio.to(device=weights.device, dtype=torch.float32)
        if self.normalization != "none":
            audio = zero_mean_unit_variance(audio)
        # Someone may have called train() on the model or on a part of it; dropout would go unnoticed.
        self.model.eval()
        hidden = self.model(audio.to(weights.dtype), output_hidden_states=True).hidden_states
        states = torch.stack(hidden, dim=1)  # (batch, layers, frames, dim)
        frames = 1 + (samples - self.receptive_field) // self.hop
        return states, torch.full((len(audio),), frames, dtype=torch.int64, device=states.device)

    def _check(self, audio: torch.Tensor, lengths: torch.Tensor) -> int:
        """The common length of the clips, in samples."""
        if audio.ndim != 2 or lengths.shape != audio.shape[:1]:
            raise ValueError(
                f"audio must be (batch, samples) and lengths (batch,), "
                f"not {tuple(audio.shape)} and {tuple(lengths.shape)}"
            )
        samples = audio.shape[1]
        if (lengths != samples).any():
            raise ValueError(
                f"lengths {lengths.tolist()} must all equal the {samples} samples of the batch: "
                "padding would change the features, so give clips of different lengths in different batches"
            )
        if samples < self.receptive_field:
            raise ExtractError(
                f"{self.name}: a clip of {samples} samples is shorter than one frame, "
                f"{self.receptive_field} samples at {self.sample_rate} Hz"
            )
        return samples


def zero_mean_unit_variance(audio: torch.Tensor) -> torch.Tensor:
    """Each row of (batch, samples) as transformers' Wav2Vec2FeatureExtractor scales it."""
    variance, mean = torch.var_mean(audio, dim=-1, correction=0, keepdim=True)
    return (audio - mean) / torch.sqrt(variance + 1e-7)


def conv_geometry(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Hop and receptive field, in samples, of a stack of convolutions without padding."""
    hop, field = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field
