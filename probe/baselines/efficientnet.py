"""EfficientNet-b0 on constant-Q frames for singing transcription."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from svuprobe.probe.baselines.base import NoteBaseline, Recipe, Stage, keep
from svuprobe.probe.baselines.frontends import ConstantQ
from svuprobe.tasks.kinds import transcription as svt

CONTEXT = 5  # frames on either side


class EfficientNetSvt(NoteBaseline):
    """Label a frame from a constant-Q image of it and 5 frames on either side.

    Wang & Jang, "On the preparation and validation of a large-scale dataset of singing
    transcription", ICASSP 2021, as released; Tan & Le, "EfficientNet", ICML 2019. Random weights;
    the labels, loss and decoder are those of `svuprobe.tasks.kinds.transcription`. 4,032,592
    parameters: EfficientNet-b0's published 5,288,548, with one input channel for three (-576) and
    20 outputs for 1000 (-1,255,380).

    transformers' EfficientNet is set to the port to PyTorch that the released code trained: padding
    on both sides alike, batch norms with momentum 0.1 and epsilon 1e-5, no drop connect, its
    initial weights.

    Differences: the signal is normalised to a peak of 1 per window, not per song, and the 5 frames
    beyond either end of a window are zeros, not only those beyond a song.
    """

    name = "efficientnet-svt"
    sample_rate = 44100
    hop = 1024
    recipe = Recipe(
        task="transcription",
        source=(
            "released code of Wang & Jang 2021, where a step is 50 frames of all songs; here 8 "
            "windows of 5 s"
        ),
        batch_size=8,
        stages=(Stage(epochs=4, rates=(("", 1e-4),)),),
    )

    def __init__(self, n_outputs: int = svt.N_OUTPUTS) -> None:
        super().__init__(n_outputs)
        from transformers import EfficientNetConfig, EfficientNetModel

        lowest_hz = 440 * 2 ** ((svt.LOWEST - 69) / 12)
        self.cqt = ConstantQ(self.sample_rate, self.hop, lowest_hz, octaves=7, bins=24)
        config = EfficientNetConfig(
            num_channels=1,
            width_coefficient=1.0,
            depth_coefficient=1.0,
            hidden_dim=1280,
            batch_norm_eps=1e-5,
            batch_norm_momentum=0.1,
            drop_connect_rate=0.0,
            depthwise_padding=list(range(16)),  # every block: as much padding before as after
        )
        net = EfficientNetModel(config)
        net.embeddings.padding = nn.ZeroPad2d(1)
        self.stem, self.body = net.embeddings, net.encoder
        # transformers draws the gains of the batch norms around
        # 0, with which nothing gets through the network.
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        self.output = nn.Linear(1280, n_outputs)

    def forward(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        audio, lengths = self.admit(audio, lengths)
        frames = -(-lengths // self.hop)
        # A silent window has no peak to be normalised to.
        peak = audio.abs().amax(1, keepdim=True)
        cqt = self.cqt(audio / torch.where(peak > 0, peak, 1.0), int(frames.max()))
        # (B, 168, F, 11)
        images = F.pad(keep(cqt, frames), (CONTEXT, CONTEXT)).unfold(2, 2 * CONTEXT + 1, 1)
        valid = torch.arange(images.shape[2], device=frames.device) < frames[:, None]
        maps = images.permute(0, 2, 3, 1)[valid][:, None]  # (N, 1, 11, 168)
        x = self.stem(maps)
        # Its depthwise convolutions: 1.3 s a step of 5 s of audio, 2.4 s with maps first.
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        found = self.output(self.body(x).last_hidden_state.mean((2, 3)))
        logits = found.new_zeros(*valid.shape, self.n_outputs)
        logits[valid] = found
        return logits, frames
