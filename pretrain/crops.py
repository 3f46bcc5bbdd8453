"""Choose which crops a step sees, and their samples: all from the seed and the number of the step.

An epoch takes ``ceil(seconds / crop_s)`` crops of each recording at one of its speeds, at random
places, so that long recordings count by their length (fairseq takes one of each, whatever its
length). Crops of like length share a step and are cut to the shortest of it: nothing is padded, so
no network needs a mask of padding. Every crop begins on a frame, so that a target made of the whole
recording is that of the crop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.recordings import Recordings

_BUCKETS = 1.25  # lengths within this factor may share a step


@dataclass(frozen=True)
class Crop:
    """Name a part of a recording: its number, and its first sample."""

    recording: int
    offset: int


@dataclass(frozen=True)
class Step:
    """List the crops of a step, each of ``samples`` samples."""

    crops: tuple[Crop, ...]
    samples: int


class Crops:
    """Deal out the crops of every step of an epoch.

    Parameters
    ----------
    hop, shortest
        Samples between two frames, and of the shortest crop that has enough frames to mask.
    """

    def __init__(self, recordings: Recordings, recipe: Recipe, hop: int, shortest: int) -> None:
        self.recordings, self.recipe, self.hop = recordings, recipe, hop
        rate = recordings.sample_rate
        self.longest = round(recipe.crop_s * rate)
        self.per_step = recipe.batch_s * rate
        least = max(shortest, round(recipe.least_s * rate))
        self._copies: dict[str, list[int]] = {}  # path -> its copies at every speed
        for number, recording in enumerate(recordings.recordings):
            if recording.samples >= least:
                self._copies.setdefault(recording.path, []).append(number)
        if not self._copies:
            raise PretrainError(
                f"no recording lasts {least / rate:g} s, which the recipe asks for (least_s = "
                f"{recipe.least_s:g}); give longer ones, or a lower least_s"
            )

    def epoch(self, epoch: int) -> list[Step]:
        """Return the steps of an epoch, in their order."""
        rng = np.random.default_rng([self.recipe.seed, 1, epoch])
        buckets: dict[int, list[tuple[Crop, int]]] = {}
        for copies in self._copies.values():
            for crop, samples in self._of_recording(int(rng.choice(copies)), rng):
                bucket = round(math.log(samples) / math.log(_BUCKETS))
                buckets.setdefault(bucket, []).append((crop, samples))
        steps: list[Step] = []
        for bucket in sorted(buckets):
            crops = buckets[bucket]
            rng.shuffle(crops)
            steps += self._steps(crops)
        rng.shuffle(steps)
        return steps

    def _of_recording(self, number: int, rng: np.random.Generator) -> Iterator[tuple[Crop, int]]:
        """Yield crops of a recording, and how many samples each may have."""
        samples = self.recordings.recordings[number].samples
        size = min(samples, self.longest)
        for _ in range(math.ceil(samples / self.longest)):
            last = (samples - size) // self.hop
            yield Crop(number, self.hop * int(rng.integers(last + 1))), size

    def _steps(self, crops: list[tuple[Crop, int]]) -> Iterator[Step]:
        """Yield steps of about ``batch_s``; what is left over joins the last one."""
        size = max(1, round(self.per_step / max(samples for _, samples in crops)))
        whole = max(1, len(crops) // size)
        for part in range(whole):
            end = len(crops) if part == whole - 1 else (part + 1) * size
            chosen = crops[part * size : end]
            # A remainder that makes the step more than half as large again is a step of its own.
            if len(chosen) > 1.5 * size:
                yield self._step(chosen[:size])
                chosen = chosen[size:]
            yield self._step(chosen)

    def _step(self, crops: list[tuple[Crop, int]]) -> Step:
        """Cut crops to the shortest of them."""
        return Step(tuple(crop for crop, _ in crops), min(samples for _, samples in crops))

    def audio(self, step: Step, number: int, part: slice) -> np.ndarray:
        """Return some of a step's crops, augmented as the recipe says: (crops, samples) float32.

        ``number`` is of the step among all, from which follows what is random. Every process and
        every part of a step thus draws what the whole step would.
        """
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 2, number])
        count = len(step.crops)
        gains = rng.uniform(-recipe.gain_db, recipe.gain_db, count)
        mixed = rng.random(count) < recipe.mix_probability
        below = rng.uniform(recipe.mix_least_db, recipe.mix_most_db, count)
        other = (np.arange(count) + rng.integers(1, max(2, count), count)) % count
        rows = []
        for row in range(count)[part]:
            audio = self._read(step, row)
            if mixed[row] and other[row] != row:
                audio = audio + _scaled_below(self._read(step, int(other[row])), audio, below[row])
            rows.append(audio * np.float32(10 ** (gains[row] / 20)))
        return np.stack(rows)

    def _read(self, step: Step, row: int) -> np.ndarray:
        """Return one crop of a step (samples,), normalised by its recording if so asked."""
        crop = step.crops[row]
        recording = self.recordings.recordings[crop.recording]
        audio = self.recordings.read(recording, crop.offset, step.samples)
        if self.recipe.normalize:
            # fairseq's layer norm over the utterance, with its epsilon.
            audio = (audio - np.float32(recording.mean)) / np.float32(
                math.sqrt(recording.std**2 + 1e-5)
            )
        return audio


def _scaled_below(audio: np.ndarray, reference: np.ndarray, decibels: float) -> np.ndarray:
    """Scale audio to a power that lies so many decibels below that of a reference."""
    power = float(np.mean(np.square(audio)))
    if power == 0:
        return audio
    wanted = float(np.mean(np.square(reference))) * 10 ** (-decibels / 10)
    return audio * np.float32(math.sqrt(wanted / power))
