"""Ask for beats: times of a clip in seconds, as `svuprobe.tasks.kinds.beat_tracking` tracks
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.tasks.kinds import beat_tracking
from svuprobe.tasks.kinds.annotations import JAMS, Observation
from svuprobe.tasks.kinds.answers import Mark
from svuprobe.tasks.kinds.base import Problem
from svuprobe.tasks.kinds.formats import jams
from svuprobe.tasks.kinds.frames import INK, FrameKind
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.sheets import LATEST_S, NAMED_BY, Cell, Numbers, columns_of_numbers, read_text
from svuprobe.tasks.types import Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_SKIP_S = 5.0  # at the start of a track, which is not scored: the custom since Davies et al. 2009


class Beats(FrameKind):
    """Take tuples of times as targets; rasterised, (F,) float32 of 0 and 1; estimates (n,) in
    seconds.
    """

    name = "beats"
    metrics = beat_tracking.METRICS
    activation_name = "P(beat)"
    pooled = "beat_f_pooled"
    namespaces = ("beat", "beat_position")
    sidecars = (JAMS, ".beats")

    # -- own data ----------------------------------------------------------------------------------

    def suits(self, cells: Sequence[str]) -> bool:
        """Tell whether all cells name ``.beats`` files."""
        return bool(cells) and all(cell.lower().endswith(".beats") for cell in cells)

    def of_jams(self, path: Path, observations: Sequence[Observation]) -> tuple[float, ...]:
        """Return the times of an annotation."""
        return tuple(sorted(observation.time for observation in observations))

    def read(self, path: Path) -> tuple[float, ...]:
        """Return the times in the first column of a text file, as in ``.beats`` files."""
        separator, rows = columns_of_numbers(path, read_text(path, NAMED_BY), "time_s")
        _refuse_commas_of_either_kind(path, separator, rows)
        cells = [Cell(f"{path}:{number}", cells[0]) for number, cells in rows]
        numbers = Numbers(separator, cells)
        return tuple(sorted(numbers.read(cell, "beat", 0.0, LATEST_S, " s") for cell in cells))

    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[float, ...]:
        """Return the beats from ``start`` to ``end``."""
        return tuple(time - start for time in events if start <= time < end)

    # -- targets and loss --------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return 1: a logit of whether there is a beat."""
        return 1

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return the times."""
        return list(target)

    def decoder(self, task: Task) -> str | None:
        """Return ``dbn`` or ``peaks``."""
        return task.beat_decoder

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return 1 at the frame nearest each beat and at its neighbours, else 0; (F,) float32."""
        return beat_tracking.rasterise(target, times)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the binary cross-entropy, mean over frames."""
        return beat_tracking.loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return sigmoid less the label, over frames."""
        return outputs.sigmoid_().sub_(targets).div_(len(targets))

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return one problem: whether there is a beat."""
        return [Problem(slice(0, 1), "tag", targets.reshape(-1).astype(np.int64))]

    # -- decoding and scores -----------------------------------------------------------------------

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the beats (n,) of each head, by the decoder of the task."""
        from svuprobe.tasks.kinds import dbn

        if len(times) < 2:  # one frame has no rate
            return [np.zeros(0) for _ in logits]
        # Frame times carry rounding errors; a rate such as 50 must come out whole.
        fps = round(1 / float(np.diff(times).mean()), 6)
        activations = logits[:, :, 0].double().sigmoid()
        if task.beat_decoder == "peaks":
            beats = [beat_tracking.pick_peaks(activation, fps) for activation in activations]
        else:
            beats = dbn.decode(activations, fps)
        return [np.asarray(own) + times[0] for own in beats]

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip; a clip without a beat after the first 5 s counts
        whole.
        """
        skip_s = _SKIP_S if max(reference, default=0.0) >= _SKIP_S else 0.0
        return beat_tracking.score(np.array(reference, dtype=float), estimate, skip_s)

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return the beats that the tracker finds where nothing is heard."""
        import torch

        return self.decode(task, torch.zeros(1, len(times), 1), times)[0]

    def matched(self, reference: Sequence[Any], estimate: np.ndarray) -> tuple[int, int, int]:
        """Return matched, reference and estimated beats.

        Pooled over tracks they give the F of MARBLE's code.
        """
        return beat_tracking.matched(reference, estimate)

    def marks(self, events: Sequence[Any] | np.ndarray) -> list[Mark]:
        """Return the moment of each beat."""
        return [(time, time, None) for time in np.ravel(events).tolist()]

    # -- predictions -------------------------------------------------------------------------------

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.beats``, a time a line as own data has them, and ``.jams``."""
        beats = prediction.events.tolist()
        data = [
            {"time": beat, "duration": 0.0, "value": None, "confidence": None} for beat in beats
        ]
        return {
            ".beats": "".join(f"{beat:.3f}\n" for beat in beats),
            ".jams": jams("beat", data, prediction.seconds, prediction.task.name),
        }

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return a row a beat."""
        return [{"beat_s": round(beat, 4)} for beat in prediction.events.tolist()]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how many, and the tempo."""
        return ["beats", "a minute"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return how many beats there are, and the tempo in beats a minute: of the median gap."""
        gaps = np.diff(prediction.events)
        return [str(len(prediction.events)), f"{60 / np.median(gaps):.1f}" if len(gaps) else "–"]

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a line a beat, with the probability over it."""
        beats = prediction.events[prediction.events < seconds]
        axes.vlines(beats, 0, 1, color=INK, lw=1.2)
        axes.set_yticks([])
        axes.set_ylim(0, 1)
        tempo = f", {60 / np.median(np.diff(beats)):.0f} a minute" if len(beats) > 2 else ""
        axes.set_ylabel(f"beats ({len(beats)}{tempo})")
        self.draw_activation(axes, prediction, top=1.02)


def _refuse_commas_of_either_kind(
    path: Path, separator: str, rows: Sequence[tuple[int, list[str]]]
) -> None:
    """Raise TaskError where commas may be decimal ones: no number has a point."""
    several = [(number, cells) for number, cells in rows if len(cells) > 1]
    if separator != "," or not several or any("." in ",".join(cells) for _, cells in rows):
        return
    number, cells = several[0]
    raise TaskError(
        f"{path}:{number}: {','.join(cells)!r} is {'.'.join(cells[:2])} s with a decimal comma, "
        f"or has several columns; write decimal points ({cells[0]}.0 where it is a whole second)"
    )


BEATS = Beats()
