"""Singing transcription: notes to frame labels, a loss, the published decoder, and scores.

A network sees every frame of a frozen model and gives 20 logits for it. Notes become labels of
these frames (`rasterise`), the labels train the network (`loss`), and its outputs become notes
again (`decode`), which mir_eval compares with the reference (`score`).

Conventions
-----------
- A note is ``(onset, offset, midi)``: seconds, seconds, MIDI number (69 is 440 Hz). Notes are a
  float array ``(n, 3)``, or anything that numpy makes one of; no notes are ``(0, 3)`` or an empty
  list.
- ``times`` are the frames' times in seconds, ascending and nearly uniform. Frame indices never
  leave this module: whatever grid a model has, notes go in and come out in seconds.
- Frame labels are four integers: onset (0/1), silence (0/1), octave (0..3 above C2, 4 for none),
  pitch class (0..11, 12 for none). The frame nearest an offset is silence but keeps its pitch,
  unless a note begins there.
- Outputs are logits: column 0 onset, 1 silence, 2..6 octave, 7..19 pitch class.

References
----------
Wang & Jang, "On the preparation and validation of a large-scale dataset of singing transcription",
ICASSP 2021 (labels, loss, decoder); Gu et al., "Deep audio-visual singing voice transcription based
on self-supervised learning models", 2022; Yamamoto, "Toward leveraging pre-trained self-supervised
frontends for automatic singing voice understanding tasks", 2023 (the protocol used here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d
from scipy.special import expit

from svuprobe.tasks.types import TaskError

if TYPE_CHECKING:
    import torch

N_OUTPUTS = 20
ONSET_WEIGHT = 15.0  # of frames with an onset in their loss, as published
NO_OCTAVE, NO_CLASS = 4, 12  # the labels of frames without a pitch
LOWEST, HIGHEST = 36, 83  # MIDI of C2 and B5, the four octaves that labels can name

METRICS = (
    "conpoff_f",
    "conpoff_p",
    "conpoff_r",
    "conp_f",
    "conp_p",
    "conp_r",
    "con_f",
    "con_p",
    "con_r",
)


def rasterise(notes: ArrayLike, times: ArrayLike) -> NDArray[np.int16]:
    """Frame labels of a melody, on the frames of any model.

    Parameters
    ----------
    notes
        ``(n, 3)`` onset and offset in s, MIDI number; in any order. Fractional MIDI is rounded.
    times
        ``(F,)`` frame times in s. They may be a window of a song: the labels are then those of the
        whole song, cut (a note that began earlier keeps its pitch and has no onset).

    Returns
    -------
    ``(F, 4)``: onset, silence, octave, pitch class.

    Raises
    ------
    TaskError
        A value is not finite, the notes are not three columns, or the times do not ascend.

    Notes
    -----
    Equal to the published labels wherever notes last at least a frame and do not overlap. Elsewhere
    the published code loses notes (one whose onset and offset are nearest the same frame never
    ends, and every later note of the song vanishes); here the damage stays local, and `irregular`
    counts the cases:

    - a note shorter than a frame ends in the next frame;
    - singing has one voice, so a note ends where the next begins; of several that begin in one
      frame, the one that ends last remains;
    - a pitch outside C2..B5 moves to the nearest octave and keeps its class, as published: such a
      note can never be decoded at its true pitch;
    - a note that does not end after it begins is left out, as it is when scores are computed.
    """
    grid = _as_times(times)
    labels = np.tile(np.array([0, 1, NO_OCTAVE, NO_CLASS], np.int16), (len(grid), 1))
    start, stop, midi = _to_frames(_as_notes(notes), grid)
    if len(start) == 0 or len(grid) < 2:  # a single frame has no duration
        return labels
    frame = np.arange(len(grid))
    # The last note to begin by this frame, or -1.
    owner = np.searchsorted(start, frame, side="right") - 1
    pitched = (owner >= 0) & (frame <= stop[owner])
    pitch = midi[owner[pitched]]
    labels[start[start >= 0], 0] = 1
    labels[pitched & (frame < stop[owner]), 1] = 0
    labels[pitched, 2] = np.clip((pitch - LOWEST) // 12, 0, 3)
    labels[pitched, 3] = pitch % 12
    return labels


def irregular(notes: ArrayLike, frame_s: float) -> dict[str, int]:
    """How many notes the labels cannot say faithfully, so that a caller can warn.

    Returns
    -------
    Counts (a note may be in several): ``shorter_than_frame`` (``frame_s`` seconds), ``overlapping``
    (begins before an earlier note has ended, by more than a microsecond), ``out_of_range`` (outside
    C2..B5) and ``unscored`` (negative onset, or no positive duration: left out of scores).
    """
    array = _as_notes(notes)
    onset, offset, midi = array[np.lexsort((array[:, 1], array[:, 0]))].T
    ended = np.maximum.accumulate(offset)
    pitch = np.rint(midi)
    return {
        "shorter_than_frame": int(np.sum(offset - onset < frame_s)),
        "overlapping": int(np.sum(onset[1:] < ended[:-1] - 1e-6)),
        "out_of_range": int(np.sum((pitch < LOWEST) | (pitch > HIGHEST))),
        "unscored": int(np.sum(~_scored(array))),
    }


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Training loss of every head: BCE(onset) + BCE(silence) + CE(octave) + CE(pitch class).

    Parameters
    ----------
    outputs
        ``(H, F, 20)`` logits.
    targets
        ``(F, 4)`` integer labels (see `rasterise`), shared by all heads.

    Returns
    -------
    ``(H,)``: each term is its mean over frames; frames with an onset weigh 15 in the first, as
    published. A head's loss depends on that head's outputs alone.
    """
    from torch.nn import functional

    labels = targets.long().expand(outputs.shape[0], -1, -1)  # (H, F, 4)
    binary = labels[..., :2].to(outputs.dtype)
    weight = outputs.new_tensor([ONSET_WEIGHT, 1.0])
    events = functional.binary_cross_entropy_with_logits(
        outputs[..., :2], binary, pos_weight=weight, reduction="none"
    )
    octave = functional.cross_entropy(
        outputs[..., 2:7].transpose(1, 2), labels[..., 2], reduction="none"
    )
    pitch_class = functional.cross_entropy(
        outputs[..., 7:].transpose(1, 2), labels[..., 3], reduction="none"
    )
    per_frame = events.sum(-1) + octave + pitch_class  # (H, F)
    return per_frame.mean(1)


def decode(outputs: ArrayLike | torch.Tensor, times: ArrayLike) -> NDArray[np.float64]:
    """Notes from a network's outputs, by the published decoder (see `decode_frames`).

    Parameters
    ----------
    outputs
        ``(F, 20)`` logits of one song, its windows joined.
    times
        ``(F,)`` frame times in s.

    Returns
    -------
    ``(n, 3)``: onset and offset in s, MIDI number; in order.

    Raises
    ------
    TaskError
        Outputs that are not ``(F, 20)`` for these times, or that hold NaN (a network that
        diverged).

    Notes
    -----
    Probabilities are computed in float64. In float32 logits above about 17 all become 1, and each
    frame of such a plateau is then an onset.
    """
    # A tensor, of any device.
    if not isinstance(outputs, np.ndarray) and hasattr(outputs, "detach"):
        outputs = outputs.detach().cpu().double().numpy()
    logits = np.asarray(outputs, np.float64)
    if logits.ndim != 2 or logits.shape[1] != N_OUTPUTS:
        raise TaskError(
            f"outputs of shape {logits.shape}: transcription needs (frames, {N_OUTPUTS})"
        )
    octave, pitch_class = logits[:, 2:7].argmax(1), logits[:, 7:].argmax(1)
    return decode_frames(expit(logits[:, 0]), expit(logits[:, 1]), octave, pitch_class, times)


def decode_frames(
    onset_prob: NDArray[np.floating],
    silence_prob: NDArray[np.floating],
    octave: NDArray[np.integer],
    pitch_class: NDArray[np.integer],
    times: ArrayLike,
    onset_threshold: float = 0.4,
    silence_threshold: float = 0.5,
) -> NDArray[np.float64]:
    """Notes from four ``(F,)`` arrays: two probabilities and two labels (4 and 12 for none).

    A frame begins a note where the onset reaches its threshold and is the highest within 3 frames
    on either side. A note ends at the next beginning, at the next frame whose silence reaches its
    threshold, or at the last frame. Its pitch is the commonest of its frames, those without octave
    or class left out; a note without any pitched frame is dropped.

    Source: Wang & Jang 2021, as released. Kept from it: the last frame is in no frame's
    neighbourhood, not even its own; of equally common pitches the one that CPython's set of
    ``12 * octave + class`` yields first wins (arbitrary but fixed; it decides only notes whose
    frames disagree evenly). Deviation: a note that begins in the last frame has no duration and is
    dropped; scores ignore such notes anyway.
    """
    grid = _as_times(times)
    arrays = [np.asarray(a) for a in (onset_prob, silence_prob, octave, pitch_class)]
    if any(a.shape != grid.shape for a in arrays):
        raise TaskError(
            f"outputs for {[len(a) for a in arrays]} frames, but {len(grid)} frame times"
        )
    onset_prob, silence_prob, octave, pitch_class = arrays
    if np.isnan(onset_prob).any() or np.isnan(silence_prob).any():
        raise TaskError(
            "the outputs hold NaN: this network has diverged; train it with a lower learning rate"
        )
    start = _onsets(onset_prob, onset_threshold)
    if len(start) == 0:
        return np.empty((0, 3))
    stop = _ends(start, np.flatnonzero(silence_prob >= silence_threshold), len(grid))
    midi = _modal_pitch(
        start, stop, np.where(pitch_class == NO_CLASS, NO_OCTAVE, octave), pitch_class
    )
    stop = np.minimum(stop, len(grid) - 1)
    return np.stack([grid[start], grid[stop], midi], axis=1)[(midi >= 0) & (stop > start)]


def score(reference: ArrayLike, estimate: ArrayLike) -> dict[str, float]:
    """F, precision and recall of one song's notes: COnPOff, COnP and COn of mir_eval.

    An onset is right within 50 ms, a pitch within 50 cents, an offset within 50 ms or 20 % of the
    reference note's duration, whichever is more; every note is matched at most once. Notes with a
    negative onset or without positive duration are removed first, on both sides.

    Returns
    -------
    The keys of ``METRICS``, in 0..1.

    Notes
    -----
    Where only one side has notes all scores are 0. Where neither has, they are 1 (mir_eval: 0, with
    a warning): silence was transcribed as silence, and a perfect answer must score 1. A dataset of
    sung songs has no such song; a user's own may, and a mean over songs should not punish the right
    answer.
    """
    import mir_eval

    ref, est = (array[_scored(array)] for array in (_as_notes(reference), _as_notes(estimate)))
    if len(ref) == 0 or len(est) == 0:
        return dict.fromkeys(METRICS, float(len(ref) == len(est)))
    pairs = (ref[:, :2], _hertz(ref[:, 2]), est[:, :2], _hertz(est[:, 2]))
    transcription = mir_eval.transcription
    results = {
        "conpoff": transcription.precision_recall_f1_overlap(*pairs),
        "conp": transcription.precision_recall_f1_overlap(*pairs, offset_ratio=None),
        "con": transcription.onset_precision_recall_f1(pairs[0], pairs[2]),
    }
    return {
        f"{name}_{letter}": float(values[index])
        for name, values in results.items()
        for letter, index in (("f", 2), ("p", 0), ("r", 1))
    }


def _as_notes(notes: ArrayLike) -> NDArray[np.float64]:
    """The one gate for notes: ``(n, 3)``, finite."""
    array = np.asarray(notes, np.float64)
    if array.size == 0:
        return np.empty((0, 3))
    if array.ndim != 2 or array.shape[1] != 3:
        raise TaskError(
            f"notes of shape {array.shape}: expected (n, 3), each onset_s, offset_s, midi"
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise TaskError(
            f"note {bad + 1} is {array[bad].tolist()}: onset, offset and pitch must be numbers"
        )
    return array


def _as_times(times: ArrayLike) -> NDArray[np.float64]:
    """The one gate for frame times: ``(F,)``, ascending."""
    grid = np.asarray(times, np.float64)
    if grid.ndim != 1 or not (np.diff(grid) > 0).all():
        raise TaskError(
            f"frame times of shape {grid.shape} do not ascend: expected one time in s per frame"
        )
    return grid


def _nearest(seconds: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[Any]:
    """Index of the nearest frame; -1 and F for times more than half a frame outside the grid."""
    if len(grid) < 2:
        return np.zeros(len(seconds), int)
    middle = (grid[1:] + grid[:-1]) / 2
    ends = grid[0] - (grid[1] - grid[0]) / 2, grid[-1] + (grid[-1] - grid[-2]) / 2
    return np.searchsorted(np.concatenate([ends[:1], middle, ends[1:]]), seconds) - 1


def _to_frames(
    notes: NDArray[np.float64], grid: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """First frame (strictly ascending; -1 if before the grid), end frame and integer pitch of each
    note.
    """
    notes = notes[notes[:, 1] > notes[:, 0]]
    start, stop = _nearest(notes[:, 0], grid), _nearest(notes[:, 1], grid)
    stop = np.where(start >= 0, np.maximum(stop, start + 1), stop)
    seen = np.flatnonzero((start < len(grid)) & (stop >= 0))
    order = seen[np.lexsort((notes[seen, 1], start[seen]))]
    start = start[order]
    # Of those that share a first frame.
    last = np.append(start[1:] > start[:-1], True)[: len(start)]
    return start[last], stop[order][last], np.rint(notes[order, 2]).astype(int)[last]


def _onsets(prob: NDArray[np.floating], threshold: float) -> NDArray[Any]:
    """Frames that begin a note."""
    neighbours = prob.astype(np.float64)
    neighbours[-1:] = -np.inf
    highest = (
        maximum_filter1d(neighbours, size=7, mode="constant", cval=-np.inf)
        if len(prob)
        else neighbours
    )
    return np.flatnonzero((prob >= threshold) & (prob == highest))


def _ends(start: NDArray[Any], silent: NDArray[Any], n_frames: int) -> NDArray[Any]:
    """Frame that ends each note: the next onset or silence, ``n_frames`` for a note still open at
    the end.
    """
    next_onset = np.append(start[1:], n_frames)
    next_silence = np.append(silent, n_frames)[np.searchsorted(silent, start, side="right")]
    return np.minimum(next_onset, next_silence)


def _modal_pitch(
    start: NDArray[Any], stop: NDArray[Any], octave: NDArray[Any], pitch_class: NDArray[Any]
) -> NDArray[Any]:
    """Commonest MIDI number among the frames ``start..stop - 1`` of each note; -1 for none."""
    frame = np.arange(len(octave))
    owner = np.searchsorted(start, frame, side="right") - 1
    used = (owner >= 0) & (frame < stop[owner]) & (octave < NO_OCTAVE)
    owner, pitch = owner[used], 12 * octave[used].astype(int) + pitch_class[used]
    votes = np.zeros((len(start), HIGHEST - LOWEST + 1), int)
    np.add.at(votes, (owner, pitch), 1)
    mode = votes.argmax(1)
    tied = votes.any(1) & ((votes == votes.max(1, keepdims=True)).sum(1) > 1)
    for note in np.flatnonzero(tied):
        # The released code's rule for ties: the first in
        # the order in which Python iterates over a set.
        values = pitch[owner == note].tolist()
        mode[note] = max(set(values), key=values.count)
    return np.where(votes.any(1), LOWEST + mode, -1)


def _scored(notes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which notes scores count."""
    return (notes[:, 0] >= 0) & (notes[:, 1] > notes[:, 0])


def _hertz(midi: NDArray[np.float64]) -> NDArray[np.float64]:
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
