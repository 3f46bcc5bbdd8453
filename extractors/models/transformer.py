"""Run self-supervised transformers (wav2vec 2.0, WavLM, HuBERT, data2vec, MERT) as extractors.

Conventions
-----------
**Layers** are transformers' own ``hidden_states``: layer 0, ``input``, is what enters the first
block (the projected convolution features plus the positional convolution, after the encoder's
LayerNorm in post-norm models), then the output of each block. In pre-norm models
(``do_stable_layer_norm``: most large ones) the encoder's final LayerNorm comes after the last of
them and is left out, as in transformers 5; transformers 4 applied it to the last layer.

**Waveform** normalisation and sample rate come from the checkpoint's feature extractor
(processor_config.json or preprocessor_config.json); without one from the catalogue; for a
checkpoint the catalogue doesn't know, from ``sample_rate`` in config.json (else 16 kHz),
normalised, which is the default of transformers' Wav2Vec2FeatureExtractor. What was done is in
`TransformerExtractor.normalization`.

**Loading** runs no code of a checkpoint: config.json is read as data, weights are safetensors or a
pickle read with ``weights_only``. Only the encoder is kept; heads, quantisers, the adapter that
``add_adapter`` puts after the last layer and the vector that masks frames in training are left out.
Adapters inside the blocks are part of the encoder: merged ones and those of MMS are loaded, others
are refused. Weights are assigned here, not by ``from_pretrained``, so that one missing, superfluous
or misshapen weight is an error whatever the version of transformers. MERT is a HuBERT with options
that its released checkpoints leave off (CQT input, deepnorm); with one of them on it is refused.

`svuprobe.extractors.checkpoints.source` says which files of a checkpoint are read,
`svuprobe.extractors.checkpoints.weights` under which names its weights may lie.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, FrameGrid, ModelCard
from svuprobe.extractors.checkpoints import (
    Source,
    architecture,
    digest_state,
    empty,
    encoder_config,
    family_of,
    fill,
    find_weights,
    in_folder,
    on_hub,
    read_json,
    read_settings,
    read_state,
    refuse_adapter,
    refuse_unused_language_adapters,
    revision_of,
    waveform_of,
)
from svuprobe.extractors.models.encoder import Encoder
from svuprobe.extractors.models.feature_encoder import conv_geometry


class TransformerExtractor:
    """Run a frozen transformer encoder (`svuprobe.extractors.base.Extractor` has the attributes).

    Make one with `from_hub`, `from_folder` or `from_random`. ``revision`` is the commit on the hub,
    or the digest of a folder's files (weights, config.json and the feature extractor's settings),
    or the digest of random weights. ``digest`` is the SHA-256 of the encoder's weights (names,
    types, shapes and bytes) in all cases.

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
    recipe
        By which svuprobe pre-trained it, empty of all others.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        sample_rate: int,
        normalize: bool,
        revision: str | None = None,
        recipe: str = "",
    ) -> None:
        self.recipe = recipe
        # Dropout and layer drop off: features of a clip are the same each time.
        self.model = model.eval().requires_grad_(False)
        config: Any = model.config
        self.name = name
        self.digest = digest_state(model)
        self.revision = revision or self.digest[:40]
        self.sample_rate = sample_rate
        self.hop, self.receptive_field = conv_geometry(config.conv_kernel, config.conv_stride)
        self.layer_names = (
            "input",
            *(f"block{i:02d}" for i in range(1, config.num_hidden_layers + 1)),
        )
        self.dim: int = config.hidden_size
        self.parameters = sum(weights.numel() for weights in model.parameters())
        self.normalization = "zero-mean-unit-variance" if normalize else "none"
        self._compiled = False
        self._encoder: Encoder | None = None
        self._padded: Callable[[torch.Tensor, torch.Tensor | None, bool], torch.Tensor]

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
            What the catalogue says, used where the checkpoint has no feature extractor's settings.
        normalize
            None does what the checkpoint says.

        Raises
        ------
        ExtractError
            Not found, no network and not in the cache, or a checkpoint that can't be used.
        """
        return cls.from_source(on_hub(hub, revision, name), card=card, normalize=normalize)

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
        return cls.from_source(in_folder(folder, name), normalize=normalize)

    @classmethod
    def from_random(
        cls,
        card: ModelCard,
        seed: int = 0,
        *,
        name: str | None = None,
        normalize: bool | None = None,
    ) -> TransformerExtractor:
        """Make a catalogue entry's architecture with the random weights training would start from.

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
    def from_source(
        cls, source: Source, *, card: ModelCard | None = None, normalize: bool | None = None
    ) -> TransformerExtractor:
        """Build the encoder that config.json describes, then look for the weights and fill it.

        In this order, so that a checkpoint of an unsupported kind is refused before it is
        downloaded.
        """
        name = source.name
        config = encoder_config(read_json(source.required("config.json"), name), name)
        family = family_of(config, name)
        # Without memory for weights, which come later and are assigned as they were read.
        model = empty(family, config, name)
        refuse_adapter(source)
        sample_rate, default = waveform_of(
            read_settings(source, known=card is not None), card, config, name
        )
        weights = find_weights(source)
        revision = revision_of(source, weights)
        state = read_state(weights, name)
        refuse_unused_language_adapters(source, state, name)
        fill(model, state, family, name)
        wanted = default if normalize is None else normalize
        return cls(
            model,
            name=name,
            sample_rate=sample_rate,
            normalize=wanted,
            revision=revision,
            recipe=source.recipe(),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights; outputs are then computed there, in that type."""
        self.model.to(device=device, dtype=dtype)
        # Its weights lie in another layout: they are made anew where they are now.
        self._encoder = None

    def compile(self) -> None:
        """Compile the forward at its next call, once for batches of any shape; that takes
        minutes.
        """
        self._compiled = True
        self._encoder = None

    @torch.inference_mode()
    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute every layer's hidden states; a clip's don't depend on what else is in the batch.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono, at `sample_rate`. What follows a clip doesn't matter.
        lengths
            (batch,) int64, best on the CPU: samples of each clip.

        Returns
        -------
        states, frames
            (batch, layers, frames, dim), zeros after a clip's own frames, and (batch,) int64.

        Raises
        ------
        ExtractError
            For a clip shorter than one frame.
        """
        states = self._forward(audio, lengths, pooled=False)
        frames = FrameGrid.of(self).count(lengths.to(torch.int64))
        return states, frames.to(states.device, non_blocking=True)

    @torch.inference_mode()
    def moments(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute means and deviations of the hidden states over each clip's frames, (batch, 2,
        layers, dim) float32.
        """
        return self._forward(audio, lengths, pooled=True)

    def _forward(self, audio: torch.Tensor, lengths: torch.Tensor, pooled: bool) -> torch.Tensor:
        self._check(audio, lengths)
        encoder = self._prepared()
        device = next(self.model.parameters()).device
        # Compiled code keeps the padded length, of which there are few.
        audio = audio[:, : int(lengths.max())] if not self._compiled else audio
        audio = audio.to(device=device, dtype=torch.float32)
        if device.type == "cpu" and not self._compiled:
            return encoder.packed(audio, lengths.tolist(), pooled)
        # Without padding there is nothing to mask.
        mixed = bool((lengths != audio.shape[1]).any())
        return self._padded(audio, lengths.to(device, non_blocking=True) if mixed else None, pooled)

    def _prepared(self) -> Encoder:
        # Each time: whoever has the model may have called
        # train() on it or a part, and dropout would be on.
        self.model.eval()
        if self._encoder is None:
            self._encoder = Encoder(self.model, self.normalization != "none")
            self._padded = self._encoder.padded
            if self._compiled:
                self._padded = torch.compile(self._padded, dynamic=True)
        return self._encoder

    def _check(self, audio: torch.Tensor, lengths: torch.Tensor) -> None:
        """Refuse shapes that are no batch, and clips without a frame."""
        if audio.ndim != 2 or lengths.shape != audio.shape[:1] or (lengths > audio.shape[1]).any():
            raise ValueError(
                f"audio must be (batch, samples) and lengths (batch,) at most samples, "
                f"not {tuple(audio.shape)} and {lengths.tolist()}"
            )
        for number, samples in enumerate(lengths.tolist(), start=1):
            if samples < self.receptive_field:
                which = (
                    f" (number {number} of {len(lengths)} in the batch)" if len(lengths) > 1 else ""
                )
                raise ExtractError(
                    f"{self.name}: a clip of {samples} samples{which} is shorter than one frame, "
                    f"{self.receptive_field} samples at {self.sample_rate} Hz"
                )
