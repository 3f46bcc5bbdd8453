"""Transcribe notes as JDCnote does, by joint detection and classification, with its decoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter
from scipy.special import softmax
from torch import nn

from svuprobe.probe.baselines.base import NoteBaseline, Recipe, Stage, keep
from svuprobe.probe.baselines.frontends import decibel, magnitude
from svuprobe.tasks.kinds import transcription as svt

WINDOW = 31  # frames that the network sees at once
LOWEST, HIGHEST = 40, 95  # MIDI numbers of its classes 1..56; class 0 is unvoiced
N_PITCHES = HIGHEST - LOWEST + 2
VOICING_WEIGHT = 0.5
FRAME_RATE = 100


class RunningScale(nn.Module):
    """Standardise each row of (B, N, T) by mean and deviation of all valid frames seen in training.

    The published network does so with constants of its training set; these are the same once an
    epoch is over.
    """

    count: torch.Tensor
    mean: torch.Tensor
    squares: torch.Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(rows))
        # Sum of squared differences from the mean.
        self.register_buffer("squares", torch.zeros(rows))

    @torch.no_grad()
    def _see(self, x: torch.Tensor, frames: torch.Tensor) -> None:
        """Merge the frames of a batch into the statistics (Chan, Golub & LeVeque 1983)."""
        new = frames.sum()
        mean = keep(x, frames).sum((0, 2)) / new
        squares = keep(x - mean[:, None], frames).square().sum((0, 2))
        step, total = mean - self.mean, self.count + new
        self.squares += squares + step.square() * self.count * new / total
        self.mean += step * new / total
        self.count.copy_(total)

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        if self.training:
            self._see(x, frames)
        # Before anything was seen there is nothing to standardise by.
        if not self.count:
            return x
        return (x - self.mean[:, None]) / ((self.squares / self.count).sqrt() + 1e-4)[:, None]


class ResidualBlock(nn.Module):
    """Apply 1 x 1, two 3 x 3 and 1 x 1 convolutions around a shortcut, and pool 4 frequencies."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(_convolution(in_channels, channels, 1), _norm(channels))
        self.body = nn.Sequential(
            nn.LeakyReLU(0.01),
            *(_convolution(channels, channels, 3), _norm(channels), nn.LeakyReLU(0.01)),
            *(_convolution(channels, channels, 3), _norm(channels), nn.LeakyReLU(0.01)),
            *(_convolution(channels, channels, 1), _norm(channels)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shortcut(x)
        return F.max_pool2d(F.leaky_relu(x + self.body(x), 0.01), (1, 4))


class JdcNote(NoteBaseline):
    """Find pitch and voicing of each 10 ms from a spectrogram at 8 kHz, in windows of 31 frames.

    Kum, Lee, Kim, Kim & Nam, "Pseudo-label transfer from frame-level to note-level in a
    teacher-student framework for singing transcription from polyphonic music", ICASSP 2022: the
    network and its decoder, trained with labels alone. The published model also learnt from the
    pseudo-labels of unlabelled songs.

    Outputs are 59 logits a frame: 57 pitches (unvoiced, MIDI 40..95) and 2 of the fused voicing
    (no, yes), which helps to train and is not decoded. 4,335,941 parameters. The paper gives no
    number; the released network, in Keras, learns 4,333,637, as torch's LSTMs have a second bias
    (2,304 in all).

    Differences: decibels are relative to the maximum of a clip, not of a song, and what fills the
    last window is the mean, not the maximum level; each row is standardised as `RunningScale` says.
    How the network was trained was not released: the recipe is ours, and the weight of the voicing
    loss second-hand.
    """

    name = "jdcnote"
    sample_rate = 8000
    hop = 80
    follows_tempo = True
    recipe = Recipe(
        task="transcription",
        source="ours: the training was not released",
        batch_size=8,
        stages=(Stage(epochs=100, rates=(("", 1e-3),)),),
        patience=10,
    )

    def __init__(self, n_outputs: int = svt.N_OUTPUTS) -> None:
        super().__init__(n_outputs)
        self.n_outputs = N_PITCHES + 2
        self.scale = RunningScale(513)
        sizes = (1, 64, 128, 192, 256)
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.dropout = nn.Dropout(0.3)
        self.joint = nn.Sequential(
            _convolution(sum(sizes[1:]), 256, 1), _norm(256), nn.LeakyReLU(0.01)
        )
        self.sequence_dropout = nn.Dropout1d(0.2)  # one draw per window, as in Keras
        self.pitch_lstm = nn.LSTM(512, 256, batch_first=True, bidirectional=True)
        self.voicing_lstm = nn.LSTM(512, 32, batch_first=True, bidirectional=True)
        self.pitch = nn.Linear(512 + 64, N_PITCHES)
        self.voicing = nn.Linear(64, 2)
        self.fused = nn.Linear(4, 2)

    def forward(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        audio, lengths = self.admit(audio, lengths)
        frames = -(-lengths // self.hop)
        level = decibel(
            keep(magnitude(audio, 1024, self.hop)[..., : int(frames.max())], frames), top_db=80
        )
        level = level - level.amax((1, 2), keepdim=True)
        x = keep(self.scale(level, frames), frames)
        # (B, W, 31, 513)
        x = F.pad(x, (0, -x.shape[-1] % WINDOW)).unflatten(2, (-1, WINDOW)).permute(0, 2, 3, 1)
        begun = torch.arange(x.shape[1], device=x.device) * WINDOW < frames[:, None]
        found = self._windows(x[begun][:, None])
        logits = found.new_zeros(*x.shape[:3], self.n_outputs)
        logits[begun] = found
        return keep(logits.flatten(1, 2)[:, : level.shape[-1]].transpose(1, 2), frames).transpose(
            1, 2
        ), frames

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, 31, 59) of windows (N, 1, 31, 513)."""
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        main = self._recur(self.pitch_lstm, self.dropout(x))
        # (N, 640, 31, 2)
        joint = torch.cat([F.max_pool2d(m, (1, m.shape[-1] // 2)) for m in maps], dim=1)
        voicing = self._recur(self.voicing_lstm, self.joint(self.dropout(joint)))
        pitch = self.pitch(torch.cat([main, voicing], dim=-1))
        # Class 0 is silence: the pitch network has an opinion on voicing, too.
        silent = pitch.softmax(-1)[..., :1]
        fused = self.fused(
            torch.cat([self.voicing(voicing).softmax(-1), silent, 1 - silent], dim=-1)
        )
        return torch.cat([pitch, fused], dim=-1)

    def _recur(self, lstm: nn.LSTM, x: torch.Tensor) -> torch.Tensor:
        """Return the states (N, 31, D) of an LSTM over maps (N, C, 31, 2)."""
        x = x.transpose(2, 3).flatten(1, 2)  # (N, 2 C, 31)
        return lstm(self.sequence_dropout(x).transpose(1, 2))[0]

    def targets(self, notes: ArrayLike, times: ArrayLike) -> NDArray[np.int16]:
        """Label frames (F,): 0 unvoiced, 1..56 for MIDI 40..95; a note outside that range is
        unvoiced.

        Frames from a note's onset until its offset are its own; where notes overlap, the later
        one's.
        """
        grid, labels = np.asarray(times), np.zeros(len(np.asarray(times)), np.int16)
        for onset, offset, midi in sorted(np.asarray(notes, np.float64).reshape(-1, 3).tolist()):
            if LOWEST <= round(midi) <= HIGHEST:
                labels[(grid >= onset) & (grid < offset)] = round(midi) - LOWEST + 1
        return labels

    def frame_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of the pitch and half that of the voicing."""
        pitch, voicing = outputs.split([N_PITCHES, 2], dim=1)
        classes = targets.long()
        return F.cross_entropy(pitch, classes) + VOICING_WEIGHT * F.cross_entropy(
            voicing, (classes > 0).long()
        )

    def decode(
        self, outputs: torch.Tensor, times: ArrayLike, audio: torch.Tensor | None = None
    ) -> NDArray[np.float64]:
        """Return the notes (n, 3) of one song, smoothed by its tempo (120 a minute without
        ``audio``).
        """
        classes = outputs[:, :N_PITCHES].argmax(-1).cpu().numpy()
        pitch = np.where(classes > 0, classes + LOWEST - 1, 0)
        tempo = 120.0 if audio is None else estimate_tempo(audio, self.sample_rate)
        grid = np.asarray(times, np.float64)
        return np.array(
            [[grid[a], grid[b - 1], midi] for a, b, midi in runs(refine(pitch, tempo))]
        ).reshape(-1, 3)

    def activation(self, outputs: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
        """Return the probability of any pitch at all: there is no output for onsets."""
        return "P(voiced)", 1 - softmax(outputs[:, :N_PITCHES], axis=-1)[:, 0]


def estimate_tempo(audio: torch.Tensor, sample_rate: int) -> float:
    """Estimate the beats a minute of (S,) audio, by `librosa.feature.tempo` at 22.05 kHz."""
    import librosa
    import soxr

    y = soxr.resample(audio.detach().cpu().float().numpy(), sample_rate, 22050)
    return float(
        librosa.feature.tempo(onset_envelope=librosa.onset.onset_strength(y=y, sr=22050), sr=22050)[
            0
        ]
    )


def refine(pitch: NDArray[np.integer], tempo: float) -> NDArray[np.integer]:
    """Quantise a pitch track as published.

    Three median filters of an eighth, a quarter and a third of a beat; voicing is that of the
    first. Then notes shorter than an eighth go; so do notes shorter than a quarter that stand alone
    by more than that; a note between two of the same pitch, octaves away from theirs, takes it.

    Parameters
    ----------
    pitch
        (F,) MIDI numbers at 100 Hz, 0 for unvoiced.
    tempo
        Beats a minute.

    Notes
    -----
    The released octave correction also fills a note that was just removed, if its neighbours'
    number is a multiple of 12. Here what is removed stays so.
    """
    beat = round(60 / tempo * FRAME_RATE)
    smooth = [pitch]
    for part in (8, 4, 3):
        # An odd number of frames, which a median filter needs.
        smooth.append(median_filter(smooth[-1], int(beat / part) // 2 * 2 + 1, mode="constant"))
    track = np.where(smooth[1] > 0, smooth[3], 0)
    for a, b, _ in runs(track):
        if b - a < int(beat / 8) and b < len(track):
            track[a:b] = 0
    notes, longest = runs(track), int(beat / 4)
    for (first, left, _), (a, b, midi), (right, _, after) in zip(
        notes, notes[1:], notes[2:], strict=False
    ):
        if b - a <= longest and right - b >= longest and a - left >= longest:
            track[a:b] = 0
        elif track[first] == after != midi and (midi - after) % 12 == 0:
            track[a - 1 : b] = after  # as released, from one frame earlier
    return track


def runs(track: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return start, stop and value of each run of one positive value."""
    # An edge before the first frame and one after the last close every run.
    edges = np.flatnonzero(np.diff(track, prepend=track[:1] - 1, append=track[-1:] - 1))
    return [
        (int(a), int(b), int(track[a]))
        for a, b in zip(edges[:-1], edges[1:], strict=True)
        if track[a] > 0
    ]


def _convolution(in_channels: int, channels: int, size: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # as in Keras
