"""Track beats: beats to frame labels, a loss, two decoders, and scores.

A network gives one logit per frame of a frozen model; its sigmoid is the beat activation.
`svuprobe.tasks.kinds.dbn` finds the beats with the dynamic Bayesian network of madmom, for many
activations at once; `pick_peaks` without any model of tempo.

Conventions
-----------
- Beats are ascending times in seconds. Activations are probabilities, at ``fps`` frames per second;
  the decoders count from the first frame (add that frame's time if it is not 0).
- A clip is one activation: a head's output on a track. All functions on activations are free of
  learned state.

References
----------
Krebs, Böck & Widmer, "An efficient state space model for joint tempo and meter tracking", ISMIR
2015 (states, transitions); Böck, Krebs & Widmer, "A multi-model approach to beat tracking
considering heterogeneous music styles", ISMIR 2014 (observations); Böck et al., "madmom", ACM MM
2016, version 0.16.1 (the behaviour kept here); Ma et al., "On the effectiveness of speech
self-supervised learning for music", ISMIR 2023, and Yuan et al., "MARBLE", NeurIPS 2023 (the task);
Davies et al., "Evaluation methods for musical audio beat tracking algorithms", 2009 (the scores, by
mir_eval).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d

from svuprobe.tasks.types import TaskError

if TYPE_CHECKING:
    import torch

__all__ = ["METRICS", "loss", "pick_peaks", "rasterise", "score"]


METRICS = ("beat_f", "beat_f_20ms", "cmlt", "amlt")


def rasterise(beats: ArrayLike, times: ArrayLike) -> NDArray[np.float32]:
    """Label the frames of a track: 1 at the frame nearest each beat and at both its neighbours,
    else 0.

    Parameters
    ----------
    beats
        ``(n,)`` s, in any order.
    times
        ``(F,)`` frame times in s, ascending and nearly uniform. They may be a window of a track:
        the labels are then those of the whole track, cut (a beat one frame outside still marks its
        neighbour inside).

    Returns
    -------
    ``(F,)`` float32.

    Raises
    ------
    TaskError
        A value is not finite, or the times do not ascend.

    Notes
    -----
    MARBLE widens the first beat of a track only to the right and the last only to the left; here
    every beat is three frames wide. This touches two frames of a track.
    """
    array, grid = _as_beats(beats), np.asarray(times, np.float64)
    if grid.ndim != 1 or not (np.diff(grid) > 0).all():
        raise TaskError(
            f"frame times of shape {grid.shape} do not ascend: expected one time in s per frame"
        )
    labels = np.zeros(len(grid) + 4, np.float32)  # two frames of margin on either side
    if len(grid) > 1:
        first, last = grid[1] - grid[0], grid[-1] - grid[-2]
        # One frame more on either side, so that a beat just outside marks its neighbour inside.
        grid = np.concatenate([[grid[0] - first], grid, [grid[-1] + last]])
        edges = np.concatenate(
            [[grid[0] - first / 2], (grid[1:] + grid[:-1]) / 2, [grid[-1] + last / 2]]
        )
        frame = np.searchsorted(edges, array)  # 0 and len(edges) are beyond the margin
        frame = frame[(frame > 0) & (frame < len(edges))]
        for shift in (-1, 0, 1):
            labels[frame + shift] = 1.0
    return labels[2:-2]


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the binary cross-entropy of every head: ``(H, F, 1)`` logits, ``(F,)`` labels ->
    ``(H,)``.

    The mean over frames. MARBLE uses two outputs and cross-entropy over {other, beat}; one logit
    says the same with half the weights.
    """
    from torch.nn import functional

    logits = outputs[..., 0]
    labels = targets.to(logits.dtype).expand_as(logits)
    per_frame = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return per_frame.mean(1)


def pick_peaks(
    activation: ArrayLike | torch.Tensor, fps: float, threshold: float = 0.5, window_s: float = 0.07
) -> NDArray[np.float64]:
    """Pick every frame of ``(F,)`` that is highest within ``window_s`` s and reaches the threshold.

    Equal peaks in one window become one beat, at their mean. No model of tempo, so gaps stay gaps;
    for music with a free beat, and to see what the network alone knows. Source: Foscarin et al.,
    "Beat this!", ISMIR 2024.
    """
    from svuprobe.tasks.kinds.dbn import as_activation

    values = as_activation(activation, 0)
    if len(values) == 0:
        return np.empty(0)
    # 0.07 s times a whole rate is not always a whole number in floating point.
    reach = int(window_s * fps + 1e-6)
    highest = maximum_filter1d(values, size=2 * reach + 1, mode="nearest")
    peaks = np.flatnonzero((values >= threshold) & (values == highest))
    # Frames of equal height that are nearer than the window are one beat.
    groups = (
        np.split(peaks, np.flatnonzero(np.diff(peaks) > max(reach, 1)) + 1) if len(peaks) else []
    )
    return np.array([group.mean() for group in groups]) / float(fps)


def score(reference: ArrayLike, estimate: ArrayLike, skip_s: float = 5.0) -> dict[str, float]:
    """Score one track by mir_eval: F within 70 and 20 ms, CMLt and AMLt, without the first
    ``skip_s`` s.

    Parameters
    ----------
    reference, estimate
        ``(n,)`` beat times in s. Times given twice count once.

    Returns
    -------
    The keys of ``METRICS``, in 0..1. 20 ms is the window that Ma et al. state, 70 ms the field's.

    Raises
    ------
    TaskError
        The reference has beats but none that counts: no estimate could be told from another.

    Notes
    -----
    Where only one side has beats all scores are 0; where neither has, 1 (mir_eval: 0 with a
    warning): nothing was heard where nothing is, and a perfect answer must score 1. With a single
    beat on either side, there is no tempo and mir_eval's continuity is 0, even for a perfect
    estimate. MARBLE's code instead pools the matches of a whole test set and skips nothing; a mean
    over tracks weighs tracks, not beats.
    """
    import mir_eval

    whole = _as_beats(reference)
    ref = mir_eval.beat.trim_beats(whole, skip_s)
    est = mir_eval.beat.trim_beats(_as_beats(estimate), skip_s)
    if len(whole) and not len(ref):
        raise TaskError(
            f"the last reference beat is at {whole[-1]:g} s, but the first {skip_s:g} s are not "
            "scored: use longer clips, or a smaller skip_s"
        )
    if len(ref) == 0 or len(est) == 0:
        return dict.fromkeys(METRICS, float(len(ref) == len(est)))
    enough = min(len(ref), len(est)) > 1
    _, cmlt, _, amlt = mir_eval.beat.continuity(ref, est) if enough else (0.0, 0.0, 0.0, 0.0)
    return {
        "beat_f": float(mir_eval.beat.f_measure(ref, est, 0.07)),
        "beat_f_20ms": float(mir_eval.beat.f_measure(ref, est, 0.02)),
        "cmlt": float(cmlt),
        "amlt": float(amlt),
    }


def matched(reference: ArrayLike, estimate: ArrayLike) -> tuple[int, int, int]:
    """Count matches within 70 ms, reference beats and estimated beats of one track, nothing
    skipped.

    Summed over a test set they give the pooled F, ``2 * hits / (references + estimates)``, that
    MARBLE's code reports: it weighs beats, not tracks, so fast tracks count more.
    """
    import mir_eval

    ref, est = _as_beats(reference), _as_beats(estimate)
    hits = len(mir_eval.util.match_events(ref, est, 0.07)) if len(ref) and len(est) else 0
    return hits, len(ref), len(est)


def _as_beats(beats: ArrayLike) -> NDArray[np.float64]:
    """Check beat times, at the one gate: ``(n,)``, finite, ascending."""
    array = np.asarray(beats, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise TaskError(f"beats of shape {array.shape}: expected a list of finite times in s")
    return np.unique(array)
