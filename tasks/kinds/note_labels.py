"""Label frames with notes, and say which notes labels and scores can hold.

Conventions are those of `svuprobe.tasks.kinds.transcription`, which is the door of this room.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svuprobe.tasks.types import TaskError

NO_OCTAVE, NO_CLASS = 4, 12  # the labels of frames without a pitch
LOWEST, HIGHEST = 36, 83  # MIDI of C2 and B5, the four octaves that labels can name


def rasterise(notes: ArrayLike, times: ArrayLike) -> NDArray[np.int16]:
    """Label the frames of any model with a melody.

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
    grid = as_times(times)
    labels = np.tile(np.array([0, 1, NO_OCTAVE, NO_CLASS], np.int16), (len(grid), 1))
    start, stop, midi = _to_frames(as_notes(notes), grid)
    if len(start) == 0 or len(grid) < 2:  # a single frame has no duration
        return labels
    frame = np.arange(len(grid))
    # The last note to begin by this frame, or -1.
    owner = np.searchsorted(start, frame, side="right") - 1
    pitched = (owner >= 0) & (frame <= stop[owner])
    pitch = midi[owner[pitched]]
    # Notes that began before a window have no onset in it.
    labels[start[start >= 0], 0] = 1
    labels[pitched & (frame < stop[owner]), 1] = 0
    labels[pitched, 2] = np.clip((pitch - LOWEST) // 12, 0, 3)
    labels[pitched, 3] = pitch % 12
    return labels


def irregular(notes: ArrayLike, frame_s: float) -> dict[str, int]:
    """Count the notes that the labels cannot say faithfully, so that a caller can warn.

    Returns
    -------
    Counts (a note may be in several): ``shorter_than_frame`` (``frame_s`` seconds), ``overlapping``
    (begins before an earlier note has ended, by more than a microsecond), ``out_of_range`` (outside
    C2..B5) and ``unscored`` (negative onset, or no positive duration: left out of scores).
    """
    array = as_notes(notes)
    onset, offset, midi = array[np.lexsort((array[:, 1], array[:, 0]))].T
    # A long note may outlast several later ones.
    ended = np.maximum.accumulate(offset)
    pitch = np.rint(midi)
    return {
        "shorter_than_frame": int(np.sum(offset - onset < frame_s)),
        "overlapping": int(np.sum(onset[1:] < ended[:-1] - 1e-6)),
        "out_of_range": int(np.sum((pitch < LOWEST) | (pitch > HIGHEST))),
        "unscored": int(np.sum(~scored(array))),
    }


def as_notes(notes: ArrayLike) -> NDArray[np.float64]:
    """Check notes, at the one gate: ``(n, 3)``, finite."""
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


def as_times(times: ArrayLike) -> NDArray[np.float64]:
    """Check frame times, at the one gate: ``(F,)``, ascending."""
    grid = np.asarray(times, np.float64)
    if grid.ndim != 1 or not (np.diff(grid) > 0).all():
        raise TaskError(
            f"frame times of shape {grid.shape} do not ascend: expected one time in s per frame"
        )
    return grid


def _nearest(seconds: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[Any]:
    """Return the nearest frame of each time; -1 and F where it is over half a frame outside the
    grid.
    """
    if len(grid) < 2:
        return np.zeros(len(seconds), int)
    middle = (grid[1:] + grid[:-1]) / 2
    ends = grid[0] - (grid[1] - grid[0]) / 2, grid[-1] + (grid[-1] - grid[-2]) / 2
    return np.searchsorted(np.concatenate([ends[:1], middle, ends[1:]]), seconds) - 1


def _to_frames(
    notes: NDArray[np.float64], grid: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return first frame (strictly ascending; -1 before the grid), end frame and pitch of each
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


def scored(notes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which notes scores count, (n,) bool."""
    return (notes[:, 0] >= 0) & (notes[:, 1] > notes[:, 0])
