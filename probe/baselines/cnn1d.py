"""The convolutional network on raw audio for singing techniques."""

from __future__ import annotations

import torch
from torch import nn

from svuprobe.probe.baselines.base import Baseline, Recipe, Stage
from svuprobe.probe.baselines.frontends import standardise


class Cnn1d(Baseline):
    """Apply three convolutions to the waveform of 3 s, then two linear layers.

    Wilkins, Seetharaman, Wahl & Pardo, "VocalSet: a singing voice dataset", ISMIR 2018, as ported
    for Yamamoto 2022. 298,514 parameters for 10 techniques. The port's dropout is drawn in
    evaluation too; here it isn't. A shorter window is followed by zeros.
    """

    name = "cnn1d"
    sample_rate = 44100
    shortest = longest = 132300
    recipe = Recipe(
        task="technique",
        source="port of Yamamoto 2022; class weights of Yamamoto 2023, whose exponent is not known",
        batch_size=64,
        stages=(Stage(epochs=200, rates=(("", 1e-4),), class_weight_alpha=1.0),),
        optimiser="rmsprop",
        weight_decay=1e-3,
        validate_every=5,
        patience=10,
    )

    def __init__(self, n_outputs: int) -> None:
        super().__init__(n_outputs)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(a, b, width), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(64, 8)
                )
                for a, b, width in ((1, 16, 128), (16, 8, 64), (8, 32, 256))
            )
        )
        self.hidden = nn.Linear(32 * 217, 32)
        self.dropout = nn.Dropout(0.4)
        self.output = nn.Linear(32, n_outputs)

    def forward(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        filled, _ = self.admit(audio, lengths)
        x = standardise(filled, lengths)
        x = self.blocks(x[:, None])  # (B, 32, 217)
        return self.output(self.dropout(self.hidden(x.flatten(1)).relu()))
