"""Run models with the API of the HEAR 2021 challenge (Turian et al. 2022, arXiv:2203.03022).

Such a module has ``load_model(path) -> model`` with ``sample_rate``, ``scene_embedding_size`` and
``timestamp_embedding_size``, ``get_timestamp_embeddings(audio, model) -> (embeddings, centres in
ms)`` and ``get_scene_embeddings(audio, model) -> embeddings``. PyTorch modules only.

Conventions
-----------
**One layer.** Frames are the timestamp embeddings. At clip level HEAR means the scene embedding, so
that is what `HearExtractor.pooled` gives, and the layer is called ``embedding``. A cache has one
width for both, so where the two sizes differ the layer is called ``timestamp`` and a clip is the
mean of its frames.

**Frames.** Hop and first centre are measured from the timestamps, which must be a grid that is the
same at any length. ``receptive_field`` is twice the first centre (at least one sample), so that
frame ``i`` of the contract is the embedding centred there; embeddings that the module adds beyond
that at the end are dropped. Where the module's hop isn't a whole number of samples (25 ms at 44.1
kHz) the nearest embedding is taken, never more than a hop away.

**Batches.** HEAR has no masks, so clips of one length run together and nothing is ever padded.

**Types.** Modules expect float32; bfloat16 means ``torch.autocast``.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.checkpoints import digest_files, digest_state
from svuprobe.extractors.models.generic import equal_lengths, frames_of, gathered

_FUNCTIONS = ("load_model", "get_timestamp_embeddings", "get_scene_embeddings")
_NUMBERS = ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")
_PROBES_S = (4.0, 5.137)  # long enough for two embeddings of any module of the challenge
_TOLERANCE_MS = 1.0  # some modules round their timestamps


class HearExtractor:
    """Run a HEAR module with its model (`svuprobe.extractors.base.Extractor` has the attributes).

    ``digest`` is of the weights, or of the files where the model isn't a torch module or has none;
    ``revision`` is a digest of the module's source file and of the weights.

    Parameters
    ----------
    module
        With the functions of the API.
    model
        What its ``load_model`` made.
    name
        Canonical name.
    weights
        The file ``load_model`` was given, or the files of the folder.
    """

    def __init__(
        self, module: ModuleType, model: Any, *, name: str, weights: Sequence[Path] = ()
    ) -> None:
        self.module, self.model, self.name = module, model, name
        files = digest_files(Path(inspect.getfile(module)), *weights)
        self.digest, self.parameters = files, 0
        if isinstance(model, nn.Module):
            model.eval().requires_grad_(False)
            self.parameters = sum(w.numel() for w in model.parameters())
            self.digest = digest_state(model) if model.state_dict() else files
        self.revision = hashlib.sha256(f"{files} {self.digest}".encode()).hexdigest()[:40]
        self.sample_rate, self.dim = int(model.sample_rate), int(model.timestamp_embedding_size)
        whole = int(model.scene_embedding_size) == self.dim
        self.layer_names = ("embedding" if whole else "timestamp",)
        self.pooled: Callable[..., torch.Tensor] | None = self._scenes if whole else None
        self.normalization = "none"
        self.to("cpu", torch.float32)  # load_model may have chosen a device
        first_ms, self._hop_ms = self._grid()
        self.hop = max(1, round(self._hop_ms * self.sample_rate / 1000))
        self.receptive_field = max(1, round(2 * first_ms * self.sample_rate / 1000))

    @torch.inference_mode()
    def _grid(self) -> tuple[float, float]:
        """Measure first centre and hop in ms, if timestamps are one grid whatever the length."""
        # Noise of a fixed seed: silence may have no embedding, and each load measures the same.
        noise = torch.Generator().manual_seed(0)
        grids = []
        for seconds in _PROBES_S:
            audio = 0.1 * torch.randn(1, round(seconds * self.sample_rate), generator=noise)
            grids.append(self._timestamps(audio)[1])
        # From the longest probe, whose mean step rounds least.
        longest = grids[-1]
        first, hop = longest[0], (longest[-1] - longest[0]) / max(1, len(longest) - 1)
        for centres in grids:
            grid = first + hop * torch.arange(len(centres), dtype=torch.float64)
            if (
                len(centres) < 2
                or hop <= 0
                or first < 0
                or (centres - grid).abs().max() > _TOLERANCE_MS
            ):
                shown = ", ".join(f"{t:.4g}" for t in centres[:4].tolist())
                raise ExtractError(
                    f"{self.name}: timestamps must be one grid whatever the length of the clip, "
                    f"at least two in {_PROBES_S[0]:g} s; of {len(centres)} the first are {shown} "
                    f"ms, and a clip of {_PROBES_S[1]} s has one every {hop:.4g} ms from "
                    f"{first:.4g} ms on"
                )
        return float(first), float(hop)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the weights, which stay float32.

        With bfloat16, matrix products run under ``torch.autocast``.
        """
        self._device, self._dtype = torch.device(device), dtype
        if isinstance(self.model, nn.Module):
            self.model.to(device)

    @torch.inference_mode()
    def __call__(
        self, audio: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the timestamp embeddings of clips of any lengths, as one layer.

        Parameters
        ----------
        audio
            (batch, samples) float32 mono, at `sample_rate`.
        lengths
            (batch,) int64, valid samples of each clip; what follows them is ignored.

        Returns
        -------
        states, frames
            (batch, 1, frames, dim) and (batch,) int64; zeros after the valid frames.

        Raises
        ------
        ExtractError
            For clips shorter than one frame, or for which the module has no timestamp near a frame.
        """
        frames, samples = frames_of(self, lengths), lengths.tolist()

        def run(rows: Sequence[int]) -> torch.Tensor:
            embeddings, centres = self._timestamps(audio[list(rows), : samples[rows[0]]])
            return embeddings[:, self._nearest(centres, int(frames[rows[0]]))][:, None]

        return gathered(equal_lengths(samples), run, frames), frames

    def _timestamps(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ask for embeddings (batch, t, dim) of clips of one length, and centres in ms (t,)
        float64.
        """
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16
        ):
            embeddings, centres = self._call(self.module.get_timestamp_embeddings, audio)
        self._check(embeddings, (len(audio), centres.shape[-1], self.dim), "timestamp")
        return embeddings.to(self._dtype), centres[0].double().cpu()

    def _nearest(self, centres: torch.Tensor, frames: int) -> torch.Tensor:
        """Find the index of the embedding of each frame."""
        # Milliseconds, as the challenge has it.
        times = torch.from_numpy(FrameGrid.of(self).centres(frames)) * 1000
        nearest = ((times - centres[0]) / self._hop_ms).round().long().clamp(0, len(centres) - 1)
        away = float((centres[nearest] - times).abs().max())
        if away > self._hop_ms + _TOLERANCE_MS:
            raise ExtractError(
                f"{self.name}: {len(centres)} timestamps up to {float(centres[-1]):.4g} ms for a "
                f"clip with {frames} frames up to {float(times[-1]):.4g} ms: one would be "
                f"{away:.4g} ms from its embedding, and a hop, {self._hop_ms:.4g} ms, is allowed"
            )
        return nearest

    @torch.inference_mode()
    def _scenes(self, audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Ask for scene embeddings (batch, 1, dim) float32: what a clip is at clip level."""
        samples = lengths.tolist()
        scenes = torch.empty(len(samples), 1, self.dim, device=self._device)
        # No masks in this API: a batch of unequal clips would hear the zeros.
        for rows in equal_lengths(samples):
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16
            ):
                embeddings = self._call(
                    self.module.get_scene_embeddings, audio[rows, : samples[rows[0]]]
                )
            self._check(embeddings, (len(rows), self.dim), "scene")
            scenes[rows, 0] = embeddings.float()
        return scenes

    def _call(self, function: Callable[..., Any], audio: torch.Tensor) -> Any:
        """Call a function of the module with clips of one length."""
        samples = audio.shape[1]
        try:
            return function(audio.to(self._device), self.model)
        except Exception as error:
            # A module that fails on a clip as long as the probe has a bug of its own.
            if samples >= _PROBES_S[0] * self.sample_rate:
                raise
            # It ran on longer clips when it was loaded; how short one may be, the API doesn't say.
            raise ExtractError(
                f"{self.name}: the module can't take a clip of {samples} samples: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _check(self, embeddings: Any, shape: tuple[int, ...], what: str) -> None:
        if not isinstance(embeddings, torch.Tensor) or embeddings.shape != shape:
            shown = (
                tuple(embeddings.shape)
                if hasattr(embeddings, "shape")
                else type(embeddings).__name__
            )
            raise ExtractError(
                f"{self.name}: {what} embeddings must be a torch tensor of shape {shape}, as "
                f"{what}_embedding_size says, not {shown}"
            )


def load(name: str, module_name: str, weights: str | None) -> HearExtractor:
    """Import a module and load its model.

    Raises
    ------
    ExtractError
        No such module or file, or one without the HEAR API. What the module itself raises keeps its
        traceback.
    """
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is missing inside the one asked for is a mistake of that one.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ExtractError(
            f"{name}: there is no module {error.name}; install it, or add its folder to the "
            "environment variable PYTHONPATH"
        ) from None
    _refuse_lacking(
        name,
        f"module {module_name}",
        [f for f in _FUNCTIONS if not callable(getattr(module, f, None))],
    )
    if weights is not None and not os.path.exists(weights):
        raise ExtractError(f"{name}: there is no file {weights}")
    # Without an argument where there are no weights: some modules have a default of their own.
    model = module.load_model(*([weights] if weights else []))
    _refuse_lacking(
        name, "what its load_model returns", [n for n in _NUMBERS if not hasattr(model, n)]
    )
    return HearExtractor(module, model, name=name, weights=_files_of(weights))


def _files_of(weights: str | None) -> list[Path]:
    """Return the file that load_model was given, or all files of the folder it was given."""
    if weights is None:
        return []
    path = Path(weights)
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _refuse_lacking(name: str, what: str, missing: Sequence[str]) -> None:
    """Refuse what lacks something of the API."""
    if missing:
        raise ExtractError(
            f"{name}: {what} lacks {', '.join(missing)} of the HEAR API (load_model, "
            "get_timestamp_embeddings and get_scene_embeddings; a model with sample_rate and "
            "both embedding sizes)"
        )
