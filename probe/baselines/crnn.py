"""The CRNN for singer identification, corrected and as its port was released."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from svuprobe.probe.baselines.base import Baseline, Recipe, Stage
from svuprobe.probe.baselines.frontends import Mel, decibel

# frequency x time, (kernel, stride) of the max pooling after each convolution
Pools = tuple[tuple[tuple[int, int], tuple[int, int]], ...]


class Crnn(Baseline):
    """Apply convolutions to a log-mel spectrogram of 5 s, two GRUs over 7 steps, and a linear
    layer.

    The linear layer reads all states.

    Hsieh et al., "Addressing the confounds of accompaniments in singer identification", ICASSP
    2020, after Nasrullah & Zhao, "Music artist classification with convolutional recurrent neural
    networks", IJCNN 2019. 397,204 parameters for 20 singers, as released.

    Differences from the released code:

    - its last pooling of 4 x 2 meets a map of 1 x 15, which only old versions of torch took, for a
      window of 1 x 2; here the window is that, so the network is the one that was trained;
    - logits, where a softmax went into a cross-entropy that has its own;
    - the first GRU starts from zeros, in training and after, and not from noise; as released, the
      second starts from the last state of the first;
    - decibels are limited to 80 below the maximum of a window, not of a song.
    """

    name = "crnn"
    sample_rate = 16000
    shortest = longest = 80000
    htk: ClassVar[bool] = False
    steps: ClassVar[int] = 7
    pools: ClassVar[Pools] = (
        ((2, 2), (2, 2)),
        ((4, 2), (4, 2)),
        ((4, 2), (4, 2)),
        ((1, 2), (1, 2)),
    )
    recipe = Recipe(
        task="singer-artist20",
        source=(
            "released code of Hsieh 2020; early stopping on the weighted F1 of the validation "
            "windows"
        ),
        batch_size=100,
        stages=(Stage(epochs=10_000, rates=(("", 1e-4),)),),
        patience=20,
    )

    def __init__(self, n_outputs: int) -> None:
        super().__init__(n_outputs)
        self.mel = Mel(self.sample_rate, n_fft=2048, hop=512, n_mels=128, htk=self.htk)
        self.norm = self._input_norm()
        sizes = (1, 64, 128, 128, 128)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3),
                    nn.ELU(),
                    nn.BatchNorm2d(b),
                    nn.MaxPool2d(*pool),
                    nn.Dropout2d(0.1),
                )
                for a, b, pool in zip(sizes[:-1], sizes[1:], self.pools, strict=True)
            )
        )
        self.first = nn.GRU(128, 32, batch_first=True)
        self.second = nn.GRU(32, 32, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(self.steps * 32, n_outputs)

    def _input_norm(self) -> nn.Module:
        return nn.BatchNorm1d(128)

    def _recur(self, x: torch.Tensor) -> torch.Tensor:
        """Return the states (B, T, 32) of the second GRU."""
        x, last = self.first(x)
        return self.second(x, last)[0]

    def forward(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        audio, _ = self.admit(audio, lengths)
        x = self.norm(decibel(self.mel(audio), top_db=80))  # (B, 128, 157)
        x = self.blocks(x[:, None])  # (B, 128, 1, steps)
        x = self._recur(x[:, :, 0].transpose(1, 2))
        return self.output(self.dropout(x).flatten(1))


class CrnnReleased(Crnn):
    """Apply the CRNN as ported for Yamamoto 2023, to show how much of a gain over it is the port's
    doing.

    Yamamoto, "Toward leveraging pre-trained self-supervised frontends for automatic singing voice
    understanding tasks", APSIPA 2023, as released. 393,108 parameters for 20 singers. The strides
    of its poolings leave a single time step, so neither GRU ever recurs; no norm of the input; each
    GRU starts from zeros. HTK's mel scale, where Hsieh had Slaney's.
    """

    name = "crnn-released"
    htk = True
    steps = 1
    pools = (((2, 2), (2, 2)), ((4, 2), (2, 4)), ((4, 2), (4, 4)), ((4, 2), (4, 4)))
    recipe = Recipe(
        task="singer-artist20",
        source="released code of Yamamoto 2023; the last epoch counts",
        batch_size=48,
        stages=(Stage(epochs=10, rates=(("", 3e-4),)),),
    )

    def _input_norm(self) -> nn.Module:
        return nn.Identity()

    def _recur(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)[0])[0]
