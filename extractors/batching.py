"""Batches: which windows go through a model together, in which number format, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from svuprobe.extractors.audio.windows import InputSpec
from svuprobe.extractors.base import Extractor, FrameGrid

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CPU_BATCH_SECONDS = 60.0
_LEAST_FILL = 0.8  # of the longest clip in a batch: shorter ones go into the next batch


def native_dtype(device: str) -> str:
    """``bfloat16`` where the hardware multiplies it natively (CUDA, AVX512-BF16, AMX), else ``float32``."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if torch.device(device).type == "cpu" and cpu else "float32"


def batch_seconds_for(device: str) -> float:
    """Seconds of audio in a batch: what fits a CPU's caches, or a quarter of a GPU's memory."""
    if torch.device(device).type != "cuda":
        return _CPU_BATCH_SECONDS
    total: int = torch.cuda.get_device_properties(torch.device(device)).total_memory
    return float(np.clip(total / 4 / 40e6, 30, 960))  # a large model needs about 40 MB a second


def input_spec(extractor: Extractor, level: str) -> InputSpec:
    """Return what windows a model sees: at frame level with what the last frame sees after a window's end."""
    if level == "clip":
        return InputSpec(extractor.sample_rate)
    return InputSpec(extractor.sample_rate, extractor.hop, FrameGrid.of(extractor).context)


def window_features(
    extractor: Extractor, windows: Sequence[np.ndarray], level: str, device: str, length: int = 0
) -> tuple[torch.Tensor, list[int]]:
    """Features of some windows as one batch.

    Parameters
    ----------
    windows
        Samples of each, (n,) float32 mono.
    length
        Pad at least to so many samples; features don't depend on it.

    Returns
    -------
    features, frames
        Float16 on the device, (batch, 1, layers, dim) means over frames at clip level and (batch, frames, layers,
        dim) at frame level; the valid frames of each window.
    """
    lengths = torch.tensor([len(samples) for samples in windows])
    audio = torch.zeros(len(windows), max(length, int(lengths.max())), pin_memory=device.startswith("cuda"))
    for row, samples in zip(audio, windows, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    audio = audio.to(device, non_blocking=True)
    frames = FrameGrid.of(extractor).count(lengths).tolist()
    if level == "clip":
        return _means(extractor, audio, lengths, frames).to(torch.float16)[:, None], frames
    states, _ = extractor(audio, lengths)  # (batch, layers, frames, dim)
    return states.to(torch.float16).transpose(1, 2).contiguous(), frames


def _means(extractor: Extractor, audio: torch.Tensor, lengths: torch.Tensor, frames: list[int]) -> torch.Tensor:
    """(batch, layers, dim) float32 means over the valid frames of each window."""
    pooled = getattr(extractor, "pooled", None)
    if pooled is not None:
        return torch.as_tensor(pooled(audio, lengths))
    states, _ = extractor(audio, lengths)
    if len(set(frames)) == 1:
        return states[:, :, : frames[0]].mean(dim=2, dtype=torch.float32)
    each = zip(states, frames, strict=True)
    return torch.stack([state[:, :n].mean(dim=1, dtype=torch.float32) for state, n in each])


def pack(lengths: Sequence[int], budget: float) -> Iterator[list[int]]:
    """Rows of each batch: of like length, longest first, padded to at most ``budget`` samples in all."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda r: (-lengths[r], r)):
        longest = lengths[batch[0]] if batch else 0
        if batch and (longest * (len(batch) + 1) > budget or lengths[row] < _LEAST_FILL * longest):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
