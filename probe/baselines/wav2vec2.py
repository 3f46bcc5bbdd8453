"""A linear layer on the last layer of a large wav2vec 2.0 for singing transcription."""

from __future__ import annotations

import torch
from torch import nn

from svuprobe.probe.baselines.base import NoteBaseline, Recipe, Stage, keep

DIM = 1024


class LastLayer(NoteBaseline):
    """Apply a linear layer to the normalised last hidden states of a fine-tuned encoder.

    Gu et al., "Deep audio-visual singing voice transcription based on self-supervised learning
    models", 2022, its audio model with wav2vec2-large-lv60: 1024 -> 20, 20,500 parameters without
    the encoder.

    Differences from the released code: states are normalised over a clip's own frames and features,
    not over the whole batch, whose other clips and padding changed them; Adam also for the head, as
    the Adadelta that was used barely moves at its learning rate; no annealing of the learning
    rates.

    Parameters
    ----------
    n_outputs
        20.
    encoder
        A module called as extractors are: (B, S) audio at 16 kHz and (B,) lengths to hidden states
        (B, L, F, 1024) and (B,) frames, at 50 Hz. Only its last layer is used; it owns its waveform
        normalisation and is what the second stage fine-tunes.
    """

    name = "wav2vec2-large-last"
    sample_rate = 16000
    hop = 320
    first_frame_s = 200 / 16000  # the middle of the 400 samples that a frame sees
    shortest = 400
    needs_encoder = True
    encoder: nn.Module
    recipe = Recipe(
        task="transcription",
        source="released code of Gu 2022: a linear probe, then everything; see the differences",
        batch_size=8,
        stages=(
            Stage(epochs=2, rates=(("output.", 3e-4),)),
            Stage(epochs=8, rates=(("output.", 3e-4), ("encoder.", 5e-5))),
        ),
    )

    def __init__(self, n_outputs: int, encoder: nn.Module) -> None:
        super().__init__(n_outputs, encoder)
        self.output = nn.Linear(DIM, n_outputs)

    def forward(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        audio, lengths = self.admit(audio, lengths)
        states, frames = self.encoder(audio, lengths)
        x = keep(states[:, -1].transpose(1, 2), frames)  # (B, 1024, F)
        count = (DIM * frames)[:, None, None]
        centred = keep(x - x.sum((1, 2), keepdim=True) / count, frames)
        x = centred / (centred.square().sum((1, 2), keepdim=True) / count + 1e-5).sqrt()
        return keep(self.output(x.transpose(1, 2)).transpose(1, 2), frames).transpose(1, 2), frames
