"""Transcribe singing: notes to frame labels, a loss, the published decoder, and scores.

A network sees every frame of a frozen model and gives 20 logits for it. Notes become labels of
these frames (`rasterise`, of `svuprobe.tasks.kinds.note_labels`), the labels train the network
(`loss`), and its outputs become notes again (`decode`), which mir_eval compares with the reference
(`score`).

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

from svuprobe.tasks.kinds.note_labels import (
    HIGHEST,
    LOWEST,
    NO_CLASS,
    NO_OCTAVE,
    as_notes,
    as_times,
    irregular,
    rasterise,
    scored,
)
from svuprobe.tasks.types import TaskError

if TYPE_CHECKING:
    import torch

__all__ = [
    "LOWEST",
    "METRICS",
    "N_OUTPUTS",
    "ONSET_WEIGHT",
    "decode",
    "decode_frames",
    "irregular",
    "loss",
    "rasterise",
    "score",
]

N_OUTPUTS = 20
ONSET_WEIGHT = 15.0  # of frames with an onset in their loss, as published

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


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the loss of every head: BCE(onset) + BCE(silence) + CE(octave) + CE(pitch class).

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
    # Four terms of equal weight, as published.
    per_frame = events.sum(-1) + octave + pitch_class  # (H, F)
    return per_frame.mean(1)


def decode(outputs: ArrayLike | torch.Tensor, times: ArrayLike) -> NDArray[np.float64]:
    """Return the notes of a network's outputs, by the published decoder (see `decode_frames`).

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
    """Return the notes of four ``(F,)`` arrays: two probabilities and two labels (4 and 12 for
    none).

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
    grid = as_times(times)
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
    # A note that is still open ends in the last frame.
    stop = np.minimum(stop, len(grid) - 1)
    return np.stack([grid[start], grid[stop], midi], axis=1)[(midi >= 0) & (stop > start)]


def score(reference: ArrayLike, estimate: ArrayLike) -> dict[str, float]:
    """Score one song's notes: F, precision and recall of COnPOff, COnP and COn, by mir_eval.

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

    # mir_eval raises for a note without duration.
    ref, est = (array[scored(array)] for array in (as_notes(reference), as_notes(estimate)))
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


def _onsets(prob: NDArray[np.floating], threshold: float) -> NDArray[Any]:
    """Return the frames that begin a note."""
    # The released decoder leaves out the last frame of each neighbourhood; see `decode_frames`.
    neighbours = prob.astype(np.float64)
    neighbours[-1:] = -np.inf
    highest = (
        maximum_filter1d(neighbours, size=7, mode="constant", cval=-np.inf)
        if len(prob)
        else neighbours
    )
    return np.flatnonzero((prob >= threshold) & (prob == highest))


def _ends(start: NDArray[Any], silent: NDArray[Any], n_frames: int) -> NDArray[Any]:
    """Return the frame that ends each note: the next onset or silence, ``n_frames`` if still
    open.
    """
    next_onset = np.append(start[1:], n_frames)
    next_silence = np.append(silent, n_frames)[np.searchsorted(silent, start, side="right")]
    return np.minimum(next_onset, next_silence)


def _modal_pitch(
    start: NDArray[Any], stop: NDArray[Any], octave: NDArray[Any], pitch_class: NDArray[Any]
) -> NDArray[Any]:
    """Return the commonest MIDI number among frames ``start..stop - 1`` of each note; -1 for
    none.
    """
    frame = np.arange(len(octave))
    owner = np.searchsorted(start, frame, side="right") - 1
    used = (owner >= 0) & (frame < stop[owner]) & (octave < NO_OCTAVE)
    owner, pitch = owner[used], 12 * octave[used].astype(int) + pitch_class[used]
    # (notes, MIDI numbers): all notes of a song at once.
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


def _hertz(midi: NDArray[np.float64]) -> NDArray[np.float64]:
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
