"""Extract a melody: f0 to frame labels, a loss, a decoder, and scores.

A network gives a logit of whether there is a voice, and 360 of its pitch: bins of 20 cents over six
octaves from C1, as CREPE has them. Labels are blurred over neighbouring bins, and trained by
cross-entropy over the bins of frames with a voice, as in JDC: a head's loss is of the size of the
voicing's then, whatever the number of bins. (CREPE trains each bin by itself, with sigmoids.) The
decoder takes the mean pitch around the highest bin, weighted by probability, as CREPE does; frames
are decoded one by one, without CREPE's optional Viterbi smoothing, so that nothing but the frozen
features and the head is measured.

Conventions
-----------
- Frequencies are in Hz, times in seconds, places among the bins in bins (fractional).
- A contour is rows of time and frequency: 0 where nothing is sung. In an estimate, the frequency of
  a frame without a voice is negative: what it would be if there were one, which raw pitch counts
  (Poliner et al. 2007).

References
----------
Kim et al., "CREPE: A convolutional representation for pitch estimation", ICASSP 2018 (bins, blur,
decoder; its text says C1 to B7 for bins that end at B6); Kum & Nam, "Joint detection and
classification of singing voice melody using convolutional recurrent neural networks", Applied
Sciences 2019 (softmax over blurred pitches beside voicing); Poliner et al., "Melody transcription
from music audio: Approaches and evaluation", IEEE TASLP 2007, and Bittner & Bosch, "Generalized
metrics for single-f0 estimation evaluation", ISMIR 2019 (the scores, by mir_eval).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svuprobe.tasks.kinds.note_labels import as_times
from svuprobe.tasks.types import TaskError

if TYPE_CHECKING:
    import torch

METRICS = (
    "overall_accuracy",
    "raw_pitch_accuracy",
    "raw_chroma_accuracy",
    "voicing_recall",
    "voicing_specificity",
)
BINS, BIN_CENTS = 360, 20.0
LOWEST_HZ = 440.0 * 2 ** (-45 / 12)  # C1
HIGHEST_HZ = LOWEST_HZ * 2 ** ((BINS - 1) * BIN_CENTS / 1200)
_BLUR_CENTS = 25.0
_AROUND = 4  # bins on either side of the highest, of which the mean pitch is taken
# References are that far apart at most; in a longer gap nothing is said to be sung.
_GAP_S = 0.1


def rasterise(contour: Sequence[Any], times: ArrayLike) -> NDArray[np.float32]:
    """Label the frames of any model with a melody.

    Parameters
    ----------
    contour
        ``(n, 2)`` ascending times in s, and Hz, 0 where nothing is sung.
    times
        ``(F,)`` frame times in s, ascending.

    Returns
    -------
    ``(F,)`` float32: the place of the pitch among the bins, 0 to 359, or -1 without a voice.

    Notes
    -----
    A frame has a voice where the nearest row has one, at most 0.1 s away. Its pitch lies on the
    line between the two rows around it, in cents, or is the nearer row's where the other has none.
    A pitch beyond the bins is that of the nearest one.
    """
    grid = as_times(times)
    rows = as_contour(contour)
    labels = np.full(len(grid), -1.0, np.float32)
    if not len(rows) or not len(grid):
        return labels
    after = np.clip(np.searchsorted(rows[:, 0], grid), 1, max(len(rows) - 1, 1))
    left, right = rows[after - 1], rows[np.minimum(after, len(rows) - 1)]
    gap = right[:, 0] - left[:, 0]
    share = np.clip((grid - left[:, 0]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    nearest = np.where((share < 0.5)[:, None], left, right)
    place_left, place_right, place = (
        _places(hz) for hz in (left[:, 1], right[:, 1], nearest[:, 1])
    )
    between = (left[:, 1] > 0) & (right[:, 1] > 0) & (gap <= _GAP_S)
    place = np.where(between, place_left + share * (place_right - place_left), place)
    voiced = (nearest[:, 1] > 0) & (np.abs(nearest[:, 0] - grid) <= _GAP_S)
    labels[voiced] = np.clip(place[voiced], 0, BINS - 1)
    return labels


def blurred(targets: torch.Tensor) -> torch.Tensor:
    """Return a distribution over the bins for each frame, (B, 360), from places (B,).

    It is a Gaussian of 25 cents around the pitch, summing to 1; of no meaning without a voice.
    """
    import torch

    bins = torch.arange(BINS, dtype=targets.dtype, device=targets.device)
    cents = BIN_CENTS * (bins - targets.clamp(min=0)[:, None])
    heights = torch.exp(-0.5 * (cents / _BLUR_CENTS) ** 2)
    return heights / heights.sum(1, keepdim=True)


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute each head's loss: ``(H, F, 361)`` logits, ``(F,)`` places -> ``(H,)``.

    The binary cross-entropy of voicing, plus the cross-entropy of pitch where there is a voice;
    both are summed over frames and divided by all frames.
    """
    from torch.nn import functional

    voiced = (targets >= 0).to(outputs.dtype)
    voicing = functional.binary_cross_entropy_with_logits(
        outputs[..., 0], voiced.expand_as(outputs[..., 0]), reduction="none"
    )
    pitch = -(blurred(targets) * outputs[..., 1:].log_softmax(-1)).sum(-1)
    return (voicing + voiced * pitch).mean(1)


def decode(logits: torch.Tensor, times: np.ndarray) -> list[NDArray[np.float64]]:
    """Return the contour of each head, (F, 2), from logits (H, F, 361) on frames at ``times``."""
    import torch

    contours = []
    for head in logits.double():
        best = head[:, 1:].argmax(1)
        near = best[:, None] + torch.arange(-_AROUND, _AROUND + 1)
        inside = (near >= 0) & (near < BINS)
        near = near.clamp(0, BINS - 1)
        weights = head[:, 1:].softmax(1).gather(1, near) * inside
        place = (weights * near).sum(1) / weights.sum(1)
        hz = LOWEST_HZ * 2 ** (place.numpy() * BIN_CENTS / 1200)
        voiced = (head[:, 0] >= 0).numpy()
        contours.append(np.stack([times, np.where(voiced, hz, -hz)], axis=1))
    return contours


def score(reference: ArrayLike, estimate: ArrayLike) -> dict[str, float]:
    """Score one clip by mir_eval, on the times of the reference.

    Parameters
    ----------
    reference
        ``(n, 2)`` times in s, and Hz, 0 where nothing is sung.
    estimate
        ``(m, 2)`` the same; Hz is negative in frames without a voice.

    Returns
    -------
    The keys of ``METRICS``, in 0..1, larger is better: overall accuracy, raw pitch and raw chroma
    within 50 cents, voicing recall, and voicing specificity, which is 1 less mir_eval's false
    alarm.

    Notes
    -----
    The estimate is brought to the times of the reference by its nearest frame, its pitch by a line
    between frames. mir_eval's own resampling holds each frame until the next, which is half a hop
    late of frames that are given by their centres, and costs models of long hops more. Where the
    reference sings nowhere, recall, raw pitch and raw chroma are 1 if the estimate sings nowhere,
    else 0 (mir_eval: 0 with a warning); where it sings everywhere, specificity is 1: a perfect
    answer must score 1.
    """
    from mir_eval import melody

    ref = as_contour(reference)
    if not len(ref):  # nothing to score on: a frame of silence
        ref = np.zeros((1, 2))
    hz = _on_times(as_contour(estimate), ref[:, 0])
    sings, sung = ref[:, 1] > 0, hz > 0
    specificity = float(np.mean(~sung[~sings])) if not sings.all() else 1.0
    if not sings.any():
        nothing = float(not sung.any())
        return dict(
            zip(METRICS, (specificity, nothing, nothing, nothing, specificity), strict=True)
        )
    ref_cents, ref_voicing = _as_mir_eval(ref[:, 1])
    est_cents, est_voicing = _as_mir_eval(hz)
    overall = np.mean(~sings)  # of an estimate that sings nowhere, at which mir_eval warns
    if sung.any():
        overall = melody.overall_accuracy(ref_voicing, ref_cents, est_voicing, est_cents)
    # Of pitch alone, whatever the estimate says of the voice.
    pitches = (ref_voicing, ref_cents, ref_voicing, est_cents)
    scores = (
        overall,
        melody.raw_pitch_accuracy(*pitches),
        melody.raw_chroma_accuracy(*pitches),
        np.mean(sung[sings]),
        specificity,
    )
    return dict(zip(METRICS, map(float, scores), strict=True))


def _as_mir_eval(hz: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cents and voicing of frequencies, whose sign says whether there is a voice."""
    from mir_eval import melody

    frequencies, voicing = melody.freq_to_voicing(hz)
    return melody.hz2cents(frequencies), voicing


def _on_times(contour: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Hz of an estimate at times; 0 where no frame is near."""
    if not len(contour):
        return np.zeros(len(times))
    frames, hz = contour.T
    after = np.clip(np.searchsorted(frames, times), 0, len(frames) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.where(times - frames[before] < frames[after] - times, before, after)
    nearest = np.abs(frames[closer] - times)
    size = np.abs(hz)[closer]
    if (hz != 0).all():
        size = 2 ** np.interp(times, frames, np.log2(np.abs(hz)))
    return np.where(nearest <= _GAP_S, np.sign(hz[closer]) * size, 0.0)


def as_contour(contour: ArrayLike) -> NDArray[np.float64]:
    """Check a contour, at the one gate: ``(n, 2)``, finite, times ascending from 0."""
    rows = np.asarray(contour, np.float64)
    if rows.size == 0:
        return np.empty((0, 2))
    if rows.ndim != 2 or rows.shape[1] != 2 or not np.isfinite(rows).all():
        raise TaskError(f"a contour of shape {rows.shape}: expected rows of finite time_s, f0_hz")
    if rows[0, 0] < 0 or not (np.diff(rows[:, 0]) > 0).all():
        raise TaskError("the times of a contour do not ascend from 0 s")
    return rows


def _places(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the place of frequencies among the bins; of 0 Hz the first."""
    return np.log2(np.maximum(hz, LOWEST_HZ) / LOWEST_HZ) * 1200 / BIN_CENTS
