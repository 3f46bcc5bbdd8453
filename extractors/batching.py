"""Form batches: which windows go through a model together, in which number format, and what comes
out.

Not torch's DataLoader: a batch's rows depend on the lengths of a whole block of windows and must be
the same whatever the timing, and a decoder that crashes or hangs may cost its clip only
(`svuprobe.extractors.audio.decoders`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from svuprobe.extractors.audio import InputSpec, Window
from svuprobe.extractors.base import ExtractError, Extractor, FrameGrid
from svuprobe.extractors.pooling import deviation
from svuprobe.tasks.types import Clip

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# More fit no CPU's caches; less keeps its cores waiting for each other.
_CPU_BATCH_SECONDS = 60.0
_LEAST_FILL = 0.8  # of the longest clip in a batch: shorter ones go into the next batch


# Windows wait until a block of so many batches can be sorted by length,
# so that a batch holds like lengths. The frames of a block lie in memory
# until they are written, and are large: there each batch is a block.
_BATCHES_PER_BLOCK = {"clip": 8, "frame": 1}
Block = list[tuple[Clip, Window]]


def native_dtype(device: str) -> str:
    """Return the number format the hardware is fast in: ``bfloat16`` or ``float32``.

    The first where it is multiplied natively: on CUDA, AVX512-BF16 and AMX.
    """
    if torch.device(device).type == "cuda":
        # On older GPUs torch emulates bfloat16, slower than float32.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if torch.device(device).type == "cpu" and cpu else "float32"


def batch_seconds_for(device: str) -> float:
    """Return the seconds of audio in a batch: what a CPU's caches hold, or a quarter of a GPU's
    memory.
    """
    if torch.device(device).type != "cuda":
        return _CPU_BATCH_SECONDS
    total: int = torch.cuda.get_device_properties(torch.device(device)).total_memory
    return float(np.clip(total / 4 / 40e6, 30, 960))  # a large model needs about 40 MB a second


def input_spec(extractor: Extractor, level: str) -> InputSpec:
    """Return what a model sees of each window.

    At frame level that includes what the last frame sees after the window's end.
    """
    if level == "clip":
        return InputSpec(extractor.sample_rate)
    return InputSpec(extractor.sample_rate, extractor.hop, FrameGrid.of(extractor).context)


def window_features(
    extractor: Extractor,
    windows: Sequence[np.ndarray],
    level: str,
    device: str,
    length: int = 0,
    *,
    std: bool = False,
) -> tuple[torch.Tensor, list[int]]:
    """Compute the features of some windows as one batch.

    Parameters
    ----------
    windows
        Samples of each, (n,) float32 mono.
    length
        Pad at least to so many samples; features don't depend on it.
    std
        Whether the deviation over frames is wanted beside the mean, at clip level.

    Returns
    -------
    features, frames
        Float16 on the device; the valid frames of each window. At frame level (batch, frames,
        layers, dim); at clip level means over frames (batch, 1, layers, dim), or with ``std``
        means and deviations (batch, 2, layers, dim).
    """
    lengths = torch.tensor([len(samples) for samples in windows])
    # Pinned memory goes to a GPU while the CPU goes on.
    audio = torch.zeros(
        len(windows), max(length, int(lengths.max())), pin_memory=device.startswith("cuda")
    )
    for row, samples in zip(audio, windows, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    audio = audio.to(device, non_blocking=True)
    frames = FrameGrid.of(extractor).count(lengths).tolist()
    if level == "clip":
        return _moments(extractor, audio, lengths, frames, std).to(torch.float16), frames
    states, _ = extractor(audio, lengths)  # (batch, layers, frames, dim)
    return states.to(torch.float16).transpose(1, 2).contiguous(), frames


def finite_features(
    extractor: Extractor,
    windows: Sequence[np.ndarray],
    level: str,
    device: str,
    *,
    std: bool = False,
) -> tuple[torch.Tensor, list[int]]:
    """Compute the features of some windows as `window_features` does, for who takes them at once.

    Raises
    ------
    ExtractError
        The model refuses a window, or features of one are not finite.
    """
    states, frames = window_features(extractor, windows, level, device, std=std)
    for state, n in zip(states, frames, strict=True):
        own = state[:n] if level == "frame" else state
        if not own.isfinite().all():
            raise ExtractError(
                f"{extractor.name}: features are not finite in float16 (is the audio far beyond "
                "full scale?)"
            )
    return states, frames


class BatchFeatures:
    """Hold features of a batch; they come from the device once, when the writer asks for them."""

    def __init__(self, states: torch.Tensor) -> None:
        self._states = states

    def of(self, index: int, rows: int) -> np.ndarray:
        """Return those of one window, (rows, layers, dim)."""
        self._states = self._states.cpu()
        return self._states[index, :rows].numpy()


@dataclass(frozen=True)
class WindowFeatures:
    """Hold the features of one window: their place in a batch's, or the reason why there are
    none.
    """

    clip: Clip
    window: Window
    n_frames: int
    batch: BatchFeatures | str
    index: int

    def array(self, rows: int) -> np.ndarray | str:
        """Return (rows, layers, dim) float16, or why there are none."""
        if isinstance(self.batch, str):
            return self.batch
        array = self.batch.of(self.index, rows)
        return (
            array
            if np.isfinite(array).all()
            else f"{self.clip.path}: features are not finite in float16"
        )


class ModelBatches:
    """Run models on blocks of windows, in batches that the device's memory holds.

    Parameters
    ----------
    level
        Of the features: ``clip`` or ``frame``.
    batch_seconds
        Of audio in a batch, to begin with: where the device has no memory for one, it is halved.
    compiled
        Whether models were compiled, so that batches should have few lengths.
    """

    def __init__(self, level: str, device: str, batch_seconds: float, compiled: bool) -> None:
        self.level, self.device, self.batch_seconds, self.compiled = (
            level,
            device,
            batch_seconds,
            compiled,
        )
        self._block_seconds = batch_seconds * _BATCHES_PER_BLOCK[level]

    def fill_a_block(self, block: Block) -> bool:
        """Return whether windows, all of one input spec, are enough to be run."""
        return (
            sum(len(w.samples) for _, w in block)
            >= self._block_seconds * block[0][1].spec.sample_rate
        )

    def run(self, extractor: Extractor, block: Block, std: bool) -> list[WindowFeatures]:
        """Return the features of each window of a block, in their order; like lengths share a
        batch. ``std`` as in `window_features`.
        """
        lengths = [len(window.samples) for _, window in block]
        features: dict[int, WindowFeatures] = {}
        for rows in pack(lengths, self.batch_seconds * extractor.sample_rate):
            self._run_batch(extractor, {row: block[row] for row in rows}, features, std)
        return [features[row] for row in range(len(block))]

    def _run_batch(
        self,
        extractor: Extractor,
        rows: dict[int, tuple[Clip, Window]],
        features: dict[int, WindowFeatures],
        std: bool,
    ) -> None:
        """Add the features of some rows of a block, or why there are none.

        A window that the model refuses, or that there is no memory for, fails no other: the batch
        is halved until it is alone.
        """
        samples = [window.samples for _, window in rows.values()]
        frames = [0] * len(rows)
        batch: BatchFeatures | str
        try:
            length = self._padded(max(map(len, samples)))
            states, frames = window_features(
                extractor, samples, self.level, self.device, length, std=std
            )
            batch = BatchFeatures(states)
        except ExtractError as error:
            batch = str(error)
        except torch.OutOfMemoryError:
            batch = (
                f"{extractor.name}: {self.device} has no memory for a window of "
                f"{len(samples[0]) / extractor.sample_rate:g} s; use a smaller model or --device "
                "cpu"
            )
            if len(rows) > 1:
                self.batch_seconds /= 2
        # Halves again and again, until the one window that is to blame is alone.
        if isinstance(batch, str) and len(rows) > 1:
            halves = list(rows.items())
            middle = len(rows) // 2
            self._run_batch(extractor, dict(halves[:middle]), features, std)
            self._run_batch(extractor, dict(halves[middle:]), features, std)
            return
        for index, (row, (clip, window)) in enumerate(rows.items()):
            features[row] = WindowFeatures(clip, window, frames[index], batch, index)

    def _padded(self, samples: int) -> int:
        """Return the length to pad a batch to, in samples.

        That is its own or, with compiled models, one of few, at most an eighth longer.
        """
        if not self.compiled:
            return samples
        # A compiled model is compiled anew for each length it meets.
        step = 1 << max(8, samples.bit_length() - 4)
        return -(-samples // step) * step


def _moments(
    extractor: Extractor, audio: torch.Tensor, lengths: torch.Tensor, frames: list[int], std: bool
) -> torch.Tensor:
    """Return (batch, 1, layers, dim) float32 means over the valid frames of each window, or (batch,
    2, layers, dim) with the deviations.
    """
    pooled = getattr(extractor, "pooled", None)
    if pooled is not None:
        assert not std, "a model's own embedding of a window has no deviation"
        return torch.as_tensor(pooled(audio, lengths))[:, None]
    moments = getattr(extractor, "moments", None)
    if moments is not None:
        return torch.as_tensor(moments(audio, lengths))[:, : 1 + std]
    states, _ = extractor(audio, lengths)
    # Lengths that are alike need no slice for each window.
    if len(set(frames)) == 1:
        own = states[:, :, : frames[0]]
        # Float32 sums: half precision would lose the mean of long windows.
        means = own.mean(dim=2, dtype=torch.float32)
        if not std:
            return means[:, None]
        # Layer by layer: all at once would be another copy of the states.
        deviations = [deviation(own[:, layer]) for layer in range(own.shape[1])]
        return torch.stack([means, torch.stack(deviations, dim=1)], dim=1)
    each = list(zip(states, frames, strict=True))
    means = torch.stack([state[:, :n].mean(dim=1, dtype=torch.float32) for state, n in each])
    if not std:
        return means[:, None]
    # (layers, frames, dim): a layer is what a clip is to `deviation`.
    deviations = [deviation(state[:, :n]) for state, n in each]
    return torch.stack([means, torch.stack(deviations)], dim=1)


def pack(lengths: Sequence[int], budget: float) -> Iterator[list[int]]:
    """Yield the rows of each batch: like lengths, longest first, padded to ``budget`` samples at
    most.
    """
    batch: list[int] = []
    # The row breaks ties, so that batches never depend on the order of arrival.
    for row in sorted(range(len(lengths)), key=lambda r: (-lengths[r], r)):
        longest = lengths[batch[0]] if batch else 0
        if batch and (longest * (len(batch) + 1) > budget or lengths[row] < _LEAST_FILL * longest):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
