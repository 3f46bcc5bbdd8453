"""Ask for segments: labelled intervals that may overlap, as techniques of singing or voices do.

Each label is detected by itself: a frame has it where its probability reaches one half; gaps
shorter than 0.1 s between two runs of a label are closed, and then segments shorter than 0.1 s are
dropped. (HEAR tunes both, and a median filter, on validation. One rule for all leaves the heads
alone to be compared.)

Scores are means over clips: ``event_f``, the event-based F1 of sed_eval (onset within 200 ms,
offset within 200 ms or half of the event's length, the same label, each event matched once, here by
mir_eval's maximum matching); ``segment_f``, its segment-based F1 (which labels are there in each
second of the clip); and ``overlap_f``, F1 over time itself: twice the time in which a label is
rightly said, over the time it is said in reference and estimate. ``event_f_pooled`` is over the
events of all clips together, as sed_eval and the DCASE challenge count.

References
----------
Mesaros, Heittola & Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 2016
(event- and segment-based F1); Turian et al., "HEAR", PMLR 2022 (probing by frames); Yamamoto et
al., "Analysis and detection of singing techniques in repertoires of J-POP solo singers", ISMIR
2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svuprobe.tasks.kinds.base import Problem, less_tags, tags_loss
from svuprobe.tasks.kinds.frames import INK
from svuprobe.tasks.kinds.intervals import named, runs
from svuprobe.tasks.kinds.labelled import LabelledIntervals
from svuprobe.tasks.kinds.note_labels import as_times
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Task

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_COLLAR_S, _OFFSET_RATIO = 0.2, 0.5
_SHORTEST_S = 0.1
_SECOND = 1.0  # of segment_f


@dataclass(frozen=True)
class Segments(LabelledIntervals):
    """Take tuples of ``(start_s, end_s, label)`` as targets; rasterised, (F, C) float32 of 0 and
    1.
    """

    name = "segments"
    noun = "segment"
    namespaces = ("tag_open", "segment_*")
    metrics = ("event_f", "segment_f", "overlap_f")
    activation_name = "P(any)"
    pooled = "event_f_pooled"

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return which labels hold at each frame's centre, (F, C) float32."""
        grid = as_times(times)
        held = np.zeros((len(grid), len(self.labels_)), np.float32)
        for start, end, label in target:
            first, last = np.searchsorted(grid, (start, end))
            held[first:last, self.class_of(label)] = 1
        return held

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the binary cross-entropy, mean over frames and labels."""
        return tags_loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return sigmoid less the label, over frames and labels."""
        return less_tags(outputs, targets)

    def problems(self, targets: np.ndarray, weights: np.ndarray | None = None) -> list[Problem]:
        """Return a problem for each label: whether a frame has it."""
        found = []
        for label in range(targets.shape[1]):
            held = targets[:, label].astype(np.int64)
            found.append(Problem(slice(label, label + 1), "tag", held))
        return found

    # -- decoding and scores -----------------------------------------------------------------------

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the segments (n, 3) of each head, by start."""
        return [_detected(head, times) for head in (logits >= 0).numpy()]

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip; 1 where there is nothing and nothing is found."""
        known = [row for row in reference if self.class_of(row[2]) >= 0]
        truth = self.as_events(known)
        hits, references, estimates = self.matched(reference, estimate)
        counts = {
            "event_f": (hits, references, estimates),
            "segment_f": _seconds_of(truth, estimate),
            "overlap_f": _time_of(truth, estimate),
        }
        return {name: _f1(*count) for name, count in counts.items()}

    def matched(self, reference: Sequence[Any], estimate: np.ndarray) -> tuple[int, int, int]:
        """Return matched, reference and estimated events of one clip."""
        from mir_eval import transcription

        truth = self.as_events(reference)
        hits = 0
        for label in range(len(self.labels_)):
            own, found = (events[events[:, 2] == label, :2] for events in (truth, estimate))
            if len(own) and len(found):
                pitch = np.full(len(own), 440.0), np.full(len(found), 440.0)
                pairs = transcription.match_notes(
                    own, pitch[0], found, pitch[1], _COLLAR_S, 50.0, _OFFSET_RATIO, _COLLAR_S
                )
                hits += len(pairs)
        return hits, len(truth), len(estimate)

    # -- predictions -------------------------------------------------------------------------------

    def activation(self, logits: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the probability of the likeliest label, (F,)."""
        return self.activation_name, np.asarray(1 / (1 + np.exp(-logits.max(1))))

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw a lane a label, a bar a segment."""
        shown = [segment for segment in named(prediction) if segment[0] < seconds]
        lanes = sorted({label for _, _, label in shown})
        for start, end, label in shown:
            axes.barh(lanes.index(label), end - start, 0.7, start, color=INK)
        axes.set_yticks(range(len(lanes)), lanes)
        axes.set_ylim(-0.6, max(len(lanes), 1) - 0.4)
        axes.set_ylabel(f"segments ({len(shown)})")


def _detected(held: NDArray[np.bool_], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return segments (n, 3) by start, of which labels frames have, (F, C)."""
    found: list[tuple[float, float, int]] = []
    for label in range(held.shape[1]):
        joined: list[list[float]] = []
        for start, end, there in runs(held[:, label].astype(int), times).tolist():
            if not there:
                continue
            if joined and start - joined[-1][1] < _SHORTEST_S:
                joined[-1][1] = end
            else:
                joined.append([start, end])
        found += [(on, off, label) for on, off in joined if off - on >= _SHORTEST_S]
    return np.array(sorted(found), dtype=float).reshape(-1, 3)


def _seconds_of(truth: np.ndarray, estimate: np.ndarray) -> tuple[int, int, int]:
    """Count labels in seconds: right ones, those of the reference, those of the estimate."""
    there = []
    for events in (truth, estimate):
        cells = set()
        for start, end, label in events.tolist():
            last = max(start, end - 1e-9)
            for second in range(int(start // _SECOND), int(last // _SECOND) + 1):
                cells.add((second, label))
        there.append(cells)
    return len(there[0] & there[1]), len(there[0]), len(there[1])


def _time_of(truth: np.ndarray, estimate: np.ndarray) -> tuple[float, float, float]:
    """Return the time in which labels are rightly said, and said in reference and estimate, s."""
    both = in_truth = in_estimate = 0.0
    for label in np.unique(np.concatenate([truth[:, 2], estimate[:, 2]])):
        own, found = (_union(events[events[:, 2] == label, :2]) for events in (truth, estimate))
        in_truth += float(np.diff(own).sum())
        in_estimate += float(np.diff(found).sum())
        for start, end in own:
            shared = np.minimum(found[:, 1], end) - np.maximum(found[:, 0], start)
            both += float(np.maximum(shared, 0).sum())
    return both, in_truth, in_estimate


def _union(spans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return disjoint intervals (n, 2) that cover what these do."""
    joined: list[list[float]] = []
    for start, end in sorted(spans.tolist()):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return np.array(joined, dtype=float).reshape(-1, 2)


def _f1(right: float, references: float, estimates: float) -> float:
    """Return F1; 1 where there is nothing on either side."""
    return 2 * right / (references + estimates) if references + estimates > 0 else 1.0


SEGMENTS = Segments()
