"""Try a model on synthetic sound: what it does, against what the contract of extractors promises.

The sound is partials of a gliding tone with noise, at lengths on both sides of where a frame is
added (`svuprobe.extractors.check_model` has the screen).
"""

from __future__ import annotations

import time
import traceback
from itertools import chain
from typing import Any

import numpy as np
import torch

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.models.custom import modules_of
from svuprobe.extractors.pooling import deviation

# Relative difference that is rounding: float32 products in another order, bfloat16 with its 8 bits.
BOUNDS = {"float32": 1e-4, "bfloat16": 2e-2}
_FLOAT16_MAX = 65504.0  # caches are float16
_TRIAL_S = 5.0
_TRIAL_HOPS, _LONGEST_TRIAL_S = 4, 600.0  # of a model whose frames are seconds apart
# Of the longest trial: clips that share a batch, two of one length.
_MIXED = (0.1, 0.26, 0.58, 0.58, 0.94)
_WINDOWS, _WINDOW_S = 3, 10.0


class BrokenPromiseError(Exception):
    """Report what a check saw, where it isn't what the contract says."""


def on_one_line(error: Exception) -> str:
    """Put an exception on one line, with the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename.replace(chr(92), '/').rpartition('/')[2]}:{last.lineno}"
    return " ".join(f"{type(error).__name__}: {error} ({where})".split())


def _require(kept: bool, seen: str) -> str:
    if not kept:
        raise BrokenPromiseError(seen)
    return seen


class Trial:
    """Run the checks, each a method that returns what it saw or raises."""

    def __init__(self, extractor: Any, device: str, dtype: str) -> None:
        self.extractor, self.device = extractor, device
        self.dtype, self.bound = getattr(torch, dtype), BOUNDS[dtype]
        self.grid = FrameGrid.of(extractor)
        self.rate, self.hop, self.field = (
            self.grid.sample_rate,
            self.grid.hop,
            self.grid.receptive_field,
        )
        self.longest = getattr(extractor, "longest", None) or 1 << 62
        self.least = self.field  # samples of the shortest clip it takes, once that is known
        # Long enough for some frames, however far apart a model's are.
        wanted = max(
            _TRIAL_S * self.rate,
            min(_TRIAL_HOPS * self.hop + self.field, _LONGEST_TRIAL_S * self.rate),
        )
        self.trial = max(min(round(wanted), self.longest), self.least)

    @property
    def clip(self) -> int:
        """Return the samples of a clip of about a second."""
        return max(self.trial // 5, self.least)

    def sound(self, samples: int, seed: int = 0) -> np.ndarray:
        """Make (samples,) float32: a gliding tone with partials, and noise 30 dB below."""
        t = np.arange(samples) / self.rate
        glide = (
            2 * np.pi * np.cumsum(200 * 2 ** (0.3 * np.sin(2 * np.pi * 0.7 * t + seed))) / self.rate
        )
        noise = np.random.default_rng(seed).standard_normal(samples)
        return np.asarray(
            sum(0.2 / n * np.sin(n * glide) for n in range(1, 6)) + 0.006 * noise, np.float32
        )

    def run(self, *clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the extractor on clips, padded to the longest."""
        states, frames = self.extractor(*self.batch(*clips))
        return states.detach(), frames

    def mixed(self) -> list[np.ndarray]:
        """Make clips of several lengths."""
        return [
            self.sound(max(round(part * self.trial), self.least), seed)
            for seed, part in enumerate(_MIXED)
        ]

    def batch(self, *clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return audio on the device and lengths, as extraction gives them."""
        lengths = torch.tensor([len(clip) for clip in clips])
        audio = torch.zeros(len(clips), int(lengths.max()))
        for row, clip in zip(audio, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        return audio.to(self.device), lengths

    def shapes(self) -> str:
        """Check (batch, layers, frames, dim) in the type, on the device; frames (batch,) int64."""
        samples = self.clip
        states, frames = self.run(self.sound(samples), self.sound(samples, 1))
        expected = (
            2,
            len(self.extractor.layer_names),
            self.grid.n_frames(samples),
            self.extractor.dim,
        )
        seen = (
            f"{tuple(states.shape)} {states.dtype} on {states.device.type} for two clips of "
            f"{samples} samples"
        )
        kept = states.shape == expected and frames.shape == (2,) and frames.dtype == torch.int64
        kept = (
            kept
            and states.dtype == self.dtype
            and states.device.type == torch.device(self.device).type
        )
        return _require(
            kept,
            seen if kept else f"{seen}, frames {_short(frames)}; expected {expected} {self.dtype}",
        )

    def shortest(self) -> str:
        """Find the shortest clip it takes; a shorter one must be refused with an ExtractError, as a
        mistake.
        """
        # Any other error than an ExtractError is a crash, though it is a refusal, too.
        crashes: list[str] = []

        def refused(samples: int) -> bool:
            try:
                self.run(self.sound(samples))
            except ExtractError:
                return True
            except Exception as error:
                crashes.append(
                    f"a clip of {samples} samples is not refused with an ExtractError: "
                    f"{on_one_line(error)}"
                )
                return True
            return False

        # First double the length until it is taken, then halve the gap.
        low, high = 0, self.field
        while high < self.trial and refused(high):
            low, high = high, min(2 * high, self.trial)
        _require(
            high < self.trial or not refused(high),
            f"refuses even {self.trial / self.rate:g} s: it can't be run",
        )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if refused(middle) else (low, middle)
        self.least = max(high, self.field)
        return _require(
            not crashes,
            crashes[-1] if crashes else f"{high} samples, {1000 * high / self.rate:.3g} ms",
        )

    def frame_counts(self) -> str:
        """Check 1 + (length - receptive_field) // hop, on both sides of where a frame is added."""
        lengths = []
        for n_frames in (1, 2, 3, 8, 21):
            fewest = self.grid.samples(n_frames)  # with so many frames; a hop less one adds none
            lengths += [fewest, fewest + self.hop - 1]
        lengths = [
            n for n in (*lengths, self.trial // 3, self.trial) if self.least <= n <= self.longest
        ]
        for samples in lengths:
            states, frames = self.run(self.sound(samples))
            counts = int(frames[0]), states.shape[2]
            _require(
                counts == (self.grid.n_frames(samples),) * 2,
                f"a clip of {samples} samples has {counts[0]} frames in states of {counts[1]}; "
                f"1 + (length - {self.field}) // {self.hop} is {self.grid.n_frames(samples)}",
            )
        return f"1 + (length - {self.field}) // {self.hop} at {len(lengths)} lengths"

    def frame_times(self) -> str:
        """Check that a change of the sound changes the frames around it most, by the grid's
        centres.
        """
        noise = 0.1 * np.random.default_rng(0).standard_normal((2, self.trial)).astype(np.float32)
        before = self.run(noise[0])[0][0, 0].float()  # the first layer: blocks may look anywhere
        if len(before) < 3:
            return f"{len(before)} frames in the longest clip: too few to compare"
        off, wide = [], max(1, min(self.hop // 2, self.trial // 5))
        for start in (self.trial // 5, self.trial // 2):
            changed = noise[0].copy()
            changed[start - wide : start + wide] = noise[1, : 2 * wide]
            difference = (self.run(changed)[0][0, 0].float() - before).norm(dim=-1)
            off.append(
                float(self.grid.centres(len(before))[int(difference.argmax())]) - start / self.rate
            )
        # A frame's centre may be a hop beside the change, and its field reaches half of it further.
        sees = getattr(self.extractor, "sees", self.field)
        allowed = (2 * self.hop + sees / 2) / self.rate
        return _require(
            max(map(abs, off)) <= allowed,
            f"a change shows most in frames {' and '.join(f'{1000 * o:+.0f}' for o in off)} ms "
            f"from it ({1000 * allowed:.0f} is allowed)",
        )

    def finite(self) -> str:
        """Check that features are finite, and within float16, on sound, silence, a constant and
        full scale.
        """
        sound, largest = self.sound(self.clip), 0.0
        sounds = {
            "sound": sound,
            "silence": 0 * sound,
            "a constant": 0 * sound + 0.5,
            "full scale": np.sign(sound),
        }
        for what, clip in sounds.items():
            states = self.run(clip)[0].float()
            _require(bool(torch.isfinite(states).all()), f"not finite on {what}")
            largest = max(largest, float(states.abs().max()))
        return _require(
            largest < _FLOAT16_MAX, f"largest value {largest:.3g} ({_FLOAT16_MAX:g} is float16's)"
        )

    def determinism(self) -> str:
        """Check that a second run gives the same."""
        clip = self.sound(self.clip)
        first, second = self.run(clip)[0], self.run(clip)[0]
        error = _relative(second, first)
        return _require(error == 0, f"relative difference {error:.2g} between two runs")

    def batch_equals_single(self) -> str:
        """Compare clips of several lengths in one padded batch with each alone."""
        clips = self.mixed()
        states, frames = self.run(*clips)
        worst = 0.0
        for row, clip in enumerate(clips):
            alone = self.run(clip)[0][0]
            _require(
                int(frames[row]) == alone.shape[1],
                f"{_short(frames)} frames, alone {alone.shape[1]}",
            )
            worst = max(
                worst, *(_relative(a[: len(b)], b) for a, b in zip(states[row], alone, strict=True))
            )
        return _require(
            worst <= self.bound,
            f"relative difference {worst:.2g} over {len(clips)} clips of "
            f"{len(clips[0]) / self.rate:.3g} to {len(clips[-1]) / self.rate:.3g} s "
            f"({self.bound:g} is allowed)",
        )

    def pooled(self) -> str:
        """Check a model's own pooling, where it has one: float32 (batch, layers, dim), whatever the
        batch.
        """
        pooled = getattr(self.extractor, "pooled", None)
        if pooled is None:
            return self._moments()
        clips = self.mixed()
        together = pooled(*self.batch(*clips))
        expected = (len(clips), len(self.extractor.layer_names), self.extractor.dim)
        kept = together.shape == expected and together.dtype == torch.float32
        _require(
            kept, f"{tuple(together.shape)} {together.dtype}; expected {expected} torch.float32"
        )
        means = [self.run(clip)[0][0].float().mean(dim=1) for clip in clips]
        worst = max(
            _relative(row, pooled(*self.batch(c))[0])
            for row, c in zip(together, clips, strict=True)
        )
        other = max(_relative(row, mean) for row, mean in zip(together, means, strict=True))
        return _require(
            worst <= self.bound,
            f"relative difference {worst:.2g} between batch and single, {other:.2g} to the mean "
            "over frames",
        )

    def _moments(self) -> str:
        """Compare a model's own means and deviations, where it has them, with those of its
        states.
        """
        moments = getattr(self.extractor, "moments", None)
        if moments is None:
            return "clip level is mean and deviation over frames"
        clips = self.mixed()
        worst = 0.0
        for row, clip in zip(moments(*self.batch(*clips)), clips, strict=True):
            states = self.run(clip)[0][0]  # (layers, frames, dim)
            for own, expected in zip(
                row, (states.float().mean(dim=1), deviation(states)), strict=True
            ):
                worst = max(worst, _relative(own, expected))
        return _require(
            worst <= self.bound,
            f"relative difference {worst:.2g} to mean and deviation over frames",
        )

    def modules(self) -> list[torch.nn.Module]:
        """Return the torch modules of the extractor."""
        return modules_of(getattr(self.extractor, "inner", self.extractor))

    def gradients_off(self) -> str:
        """Check that neither outputs nor weights ask for gradients."""
        weights = list(chain.from_iterable(module.parameters() for module in self.modules()))
        asking = sum(w.requires_grad for w in weights)
        states, _ = self.extractor(*self.batch(self.sound(self.clip)))
        output = "has a" if states.requires_grad else "has no"
        seen = f"{asking} of {len(weights)} weights require gradients, the output {output} history"
        return _require(not asking and output == "has no", seen)

    def eval_mode(self) -> str:
        """Check that there is no dropout and no statistics of the batch."""
        parts = list(chain.from_iterable(module.modules() for module in self.modules()))
        training = sum(part.training for part in parts)
        return _require(not training, f"{training} of {len(parts)} modules are in training mode")

    def speed(self) -> float:
        """Measure the seconds of audio per second, after a warm-up."""
        samples = min(round(_WINDOW_S * self.rate), self.longest)
        audio, lengths = self.batch(*(self.sound(samples, seed) for seed in range(_WINDOWS)))
        # The first run is the warm-up: memory and kernels are made ready in it.
        took = []
        for _ in range(2):
            started = time.perf_counter()
            self.extractor(audio, lengths)[0].detach().sum().item()  # waits for the device
            took.append(time.perf_counter() - started)
        return _WINDOWS * samples / self.rate / took[-1]


def _relative(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    if values.shape != expected.shape:
        raise BrokenPromiseError(f"shapes {tuple(values.shape)} and {tuple(expected.shape)} differ")
    values, expected = values.double(), expected.double()
    return float((values - expected).norm() / expected.norm().clamp(min=1e-12))


def _short(frames: torch.Tensor) -> str:
    return f"{tuple(frames.shape)} {frames.dtype} {frames.tolist()}"
