"""Ask for a melody: fundamental frequency over time, as `svuprobe.tasks.kinds.f0` extracts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.tasks.kinds import f0
from svuprobe.tasks.kinds.annotations import JAMS, Observation, checked
from svuprobe.tasks.kinds.answers import Mark
from svuprobe.tasks.kinds.formats import jams
from svuprobe.tasks.kinds.frames import INK, FrameKind
from svuprobe.tasks.kinds.pitch_names import white_key
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import LATEST_S, NAMED_BY, Cell, Numbers, columns_of_numbers, read_text
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_HIGHEST_HZ = 20_000.0


class Melody(FrameKind):
    """Take tuples of ``(time_s, f0_hz)`` as targets, 0 Hz where nothing is sung.

    Rasterised, they are (F,) float32, the place among the bins of pitch or -1; estimates are (F,
    2), time and Hz, where the Hz of a frame without a voice is negative.
    """

    name = "melody"
    metrics = f0.METRICS
    window_s = 5.0
    activation_name = "P(voice)"
    namespaces = ("pitch_contour",)
    sidecars = (JAMS, ".f0.csv")

    # -- own data ----------------------------------------------------------------------------------

    def read(self, path: Path) -> tuple[tuple[float, float], ...]:
        """Read a contour ``time_s,f0_hz`` by time; a header line is skipped.

        As in MIREX, 0 or a negative frequency says that nothing is sung.
        """
        separator, rows = columns_of_numbers(path, read_text(path, NAMED_BY), "time(_s)?")
        for number, cells in rows:
            if len(cells) < 2:
                raise TaskError(f"{path}:{number}: {len(cells)} field; a row is time_s,f0_hz")
        placed = [Cell(f"{path}:{number}", text) for number, cells in rows for text in cells[:2]]
        numbers = Numbers(separator, placed)
        contour: list[tuple[float, float]] = []
        for when, pitch in zip(placed[::2], placed[1::2], strict=True):
            time = numbers.read(when, "time", 0.0, LATEST_S, " s")
            hz = numbers.read(pitch, "frequency", -_HIGHEST_HZ, _HIGHEST_HZ, " Hz")
            contour.append((time, max(hz, 0.0)))
        return _ordered(path, contour)

    def of_jams(
        self, path: Path, observations: Sequence[Observation]
    ) -> tuple[tuple[float, float], ...]:
        """Return the contour of an annotation; what is not voiced is 0 Hz."""
        contour = []
        for where, time, _, value in observations:
            if not isinstance(value, dict):
                raise TaskError(f"{where}: value {ascii(value)[:40]} has no frequency and voiced")
            hz = checked(where, "frequency", value.get("frequency"), -_HIGHEST_HZ, _HIGHEST_HZ)
            contour.append((time, max(hz, 0.0) if value.get("voiced", True) else 0.0))
        return _ordered(path, contour)

    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
        """Return the contour from ``start`` to ``end``."""
        return tuple((time - start, hz) for time, hz in events if start <= time < end)

    # -- targets and loss --------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return 361: whether there is a voice, and 360 bins of pitch."""
        return 1 + f0.BINS

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return the times at which something is sung."""
        return [time for time, hz in target if hz > 0]

    def doubts(self, clips: Sequence[Clip]) -> Iterator[str]:
        """Say how much of the melody lies beyond the bins."""
        sung = np.array([hz for clip in clips for _, hz in clip.target if hz > 0])
        beyond = int(np.sum((sung < f0.LOWEST_HZ) | (sung > f0.HIGHEST_HZ)))
        if beyond:
            yield (
                f"{beyond} of {len(sung)} frequencies lie outside {f0.LOWEST_HZ:.1f} to "
                f"{f0.HIGHEST_HZ:.0f} Hz: heads can't name them, and scores count them as missed"
            )

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return the place of each frame's pitch among the bins, -1 without a voice; (F,)."""
        return f0.rasterise(target, times)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the losses of voicing and of pitch, mean over frames."""
        return f0.loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return sigmoid less voicing, and softmax less the blurred pitch where there is a
        voice.
        """
        voiced = (targets >= 0).to(outputs.dtype)
        outputs[0].sigmoid_().sub_(voiced)
        outputs[1:] = outputs[1:].softmax(0).sub_(f0.blurred(targets).T[:, None]).mul_(voiced)
        return outputs.div_(len(targets))

    # -- decoding and scores -----------------------------------------------------------------------

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the contour (F, 2) of each head."""
        return f0.decode(logits, times)

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip."""
        return f0.score(reference, estimate)

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return silence, (F, 2)."""
        return np.stack([times, np.zeros(len(times))], axis=1)

    def marks(self, events: Sequence[Any] | np.ndarray) -> list[Mark]:
        """Return stretches of frames with a voice on one MIDI pitch, rounded to a semitone."""
        rows = np.asarray(events, dtype=float).reshape(-1, 2)
        step = float(np.median(np.diff(rows[:, 0]))) if len(rows) > 1 else 0.0
        found: list[Mark] = []
        for time, hz in rows.tolist():
            if hz <= 0:
                continue
            pitch = float(round(69 + 12 * np.log2(hz / 440)))
            # The frame after one of the same pitch makes it longer.
            if found and found[-1][2] == pitch and time - found[-1][1] < step / 2:
                found[-1] = (found[-1][0], time + step, pitch)
            else:
                found.append((time, time + step, pitch))
        return found

    def height_name(self, height: int) -> str:
        """Return a pitch as musicians write it, ``C4`` for MIDI 60; only of white keys."""
        return white_key(height)

    # -- predictions -------------------------------------------------------------------------------

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.f0.csv`` (time_s, f0_hz; 0 where nothing is sung) and ``.jams``."""
        lines, data = ["time_s,f0_hz"], []
        for time, hz in prediction.events.tolist():
            lines.append(f"{time:.4f},{max(hz, 0.0):.3f}")
            value = {"index": 0, "voiced": hz > 0, "frequency": abs(hz)}
            data.append({"time": time, "duration": 0.0, "value": value, "confidence": None})
        return {
            ".f0.csv": "\n".join(lines) + "\n",
            ".jams": jams("pitch_contour", data, prediction.seconds, prediction.task.name),
        }

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a frame; 0 Hz where nothing is sung."""
        return [
            {"time_s": round(time, 4), "f0_hz": round(max(hz, 0.0), 3)}
            for time, hz in prediction.events.tolist()
        ]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how much is sung, and between which frequencies."""
        return ["sung", "lowest Hz", "highest Hz"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return the share of frames with a voice, and the range of their frequencies."""
        hz = prediction.events.reshape(-1, 2)[:, 1]
        sung = hz[hz > 0]
        if not len(sung):
            return ["0 %", "–", "–"]
        return [f"{100 * len(sung) / len(hz):.0f} %", f"{sung.min():.0f}", f"{sung.max():.0f}"]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw the contour on a scale of octaves, with the probability of a voice below it."""
        time, hz = prediction.events.reshape(-1, 2).T
        shown = np.where((hz > 0) & (time < seconds), hz, np.nan)
        axes.plot(time, shown, color=INK, lw=1.4)
        low, high = 130.8, 523.3  # of an empty picture: C3 to C5
        if np.isfinite(shown).any():
            low, high = np.nanmin(shown) / 1.2, np.nanmax(shown) * 1.2
        axes.set_yscale("log", base=2)
        axes.set_ylim(low, high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.set_ylabel("f0 (Hz)")
        self.draw_activation(axes, prediction, top=3)


def _ordered(path: Path, contour: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return a contour by time. Raises TaskError where it has two voices."""
    contour.sort()
    for (time, _), (following, _) in zip(contour, contour[1:], strict=False):
        if time == following:
            raise TaskError(f"{path}: two frequencies at {time:g} s; a melody is one voice")
    return tuple(contour)


MELODY = Melody()
