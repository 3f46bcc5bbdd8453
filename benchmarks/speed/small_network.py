"""A small deep network for the benchmark heads.py:
``py:benchmarks/speed/small_network.py:SmallNetwork``.

Four convolutions over a log-mel spectrum, fit for 20 s on a CPU to tell pitch, brightness, decay,
noise and vibrato of notes made up here: deep features without a published checkpoint, of audio that
no benchmark contains.
"""

from __future__ import annotations

import math

import torch
from torch import nn

SAMPLE_RATE, HOP, WINDOW, BANDS, WIDTH = 16000, 320, 400, 64, 128


def mel_filters() -> torch.Tensor:
    """Make triangular mel filters, (1 + WINDOW // 2, BANDS)."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, BANDS + 2) / 2595) - 1)
    bins = torch.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(up, down).clamp_min(0)


def tones(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Make half a second each of n notes, (n, samples), and what is to be told of them, (n, 5)."""
    about = torch.rand((n, 5), generator=generator)
    time = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    f0 = 60 * 2 ** (about[:, :1] * 4.5)
    phase = 2 * torch.pi * f0 * time + about[:, 4:] * 3 * torch.sin(2 * torch.pi * 6 * time)
    audio = torch.zeros(n, len(time))
    for partial in range(1, 16):
        level = partial ** -(0.3 + 2.5 * about[:, 1:2]) * (f0 * partial < SAMPLE_RATE / 2)
        audio += level * torch.sin(partial * phase + 6.28 * torch.rand((n, 1), generator=generator))
    audio *= torch.exp(-time * 8 * about[:, 2:3])
    audio /= audio.square().mean(1, keepdim=True).sqrt()
    audio += about[:, 3:4] * torch.randn(audio.shape, generator=generator)
    return audio * 10 ** (-2 * torch.rand((n, 1), generator=generator)), about


class SmallNetwork(nn.Module):
    """Hidden states of its four blocks, 128 features each at 50 frames a second."""

    sample_rate, hop, receptive_field, dim = SAMPLE_RATE, HOP, WINDOW, WIDTH
    filters: torch.Tensor
    window: torch.Tensor
    layer_names = ("block01", "block02", "block03", "block04")

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(
                nn.Conv1d(BANDS if n == 0 else WIDTH, WIDTH, 3, padding=1) for n in range(4)
            )
            self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
            self.answer = nn.Linear(WIDTH, 5)
        self.register_buffer("filters", mel_filters())
        self.register_buffer("window", torch.hann_window(WINDOW))
        self.fit()

    def fit(self) -> None:
        """Train on made-up notes."""
        generator = torch.Generator().manual_seed(0)
        audio, about = tones(2000, generator)
        optimiser = torch.optim.Adam(self.parameters(), lr=1e-3)
        for _ in range(400):
            rows = torch.randint(len(audio), (32,), generator=generator)
            loss = (self.answer(self.states(audio[rows])[-1].mean(1)) - about[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def states(self, audio: torch.Tensor) -> list[torch.Tensor]:
        """Return the frames of each block, (batch, frames, 128), of audio (batch, samples)."""
        frames = audio.unfold(1, WINDOW, HOP) * self.window
        x = (torch.fft.rfft(frames).abs().square() @ self.filters + 1e-6).log() / 5
        made = []
        for block, norm in zip(self.blocks, self.norms, strict=True):
            y = norm(block(x.mT).mT).relu()
            x = y if x.shape[-1] != WIDTH else x + y
            made.append(x)
        return made

    def to(  # type: ignore[override]
        self, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> SmallNetwork:
        """Move to a device; numbers stay float32."""
        return super().to(device)

    def forward(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states (batch, 4, frames, 128) and how many frames of each are of audio."""
        states = torch.stack(self.states(audio.float()), 1)
        return states, 1 + (lengths - WINDOW) // HOP
