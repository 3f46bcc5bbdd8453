"""Name chords: labels in Harte's notation to classes of frames, and back, and scores.

A class is no chord, or a root with one of five qualities: major, minor, major seventh, minor
seventh, dominant seventh. These are what the MIREX measures root, majmin and sevenths ask for.
Extensions, added notes and basses are left out (``G:9(13)/3`` is ``G:7``); chords without a major
or minor triad (suspended, diminished, augmented, power chords) and ``X`` have no class.

Conventions
-----------
- Chords are rows of start and end in s, and a label or a class; ``N`` is no chord.
- Frames are decoded one by one: the likeliest class of each, equal neighbours joined. MIREX systems
  smooth by a hidden Markov model or a recurrent network; nothing but features and head is measured
  here. MARBLE's head on Chords1217 is the same with 25 classes (major, minor, none), and its score
  is the share of right frames of the whole test set; here it is mir_eval's, weighted by duration,
  mean over songs.

References
----------
Harte et al., "Symbolic representation of musical chords", ISMIR 2005 (labels); Pauwels & Peeters,
"Evaluating automatically estimated chord sequences", ICASSP 2013, and Raffel et al., "mir_eval",
ISMIR 2014 (the scores); Yuan et al., "MARBLE", NeurIPS 2023 (the probe).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svuprobe.tasks.kinds.intervals import on_one_span
from svuprobe.tasks.types import TaskError

METRICS = ("majmin", "root", "sevenths")
_ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_QUALITIES = ("maj", "min", "maj7", "min7", "7")
CLASSES = ("N", *(f"{root}:{quality}" for quality in _QUALITIES for root in _ROOTS))
_MAJOR, _MINOR, _MAJOR_7, _MINOR_7, _SEVENTH = range(5)
# Semitones above the root.
_MINOR_THIRD, _MAJOR_THIRD, _FIFTH, _FLAT_SEVENTH, _NATURAL_SEVENTH = 3, 4, 7, 10, 11


def check(where: str, label: str) -> None:
    """Raise TaskError naming the place of a label that is not in Harte's notation."""
    from mir_eval import chord

    try:
        chord.encode(label)
    except chord.InvalidChordException:
        raise TaskError(
            f"{where}: chord {label[:40]!r} is none that mir_eval knows; write it as C:maj7, "
            "Eb:min/b3 or N"
        ) from None


@cache
def class_of(label: str) -> int:
    """Return the class of a label, or -1 where no class says it."""
    from mir_eval import chord

    root, semitones, _ = chord.encode(label, reduce_extended_chords=True)
    if label == chord.NO_CHORD:
        return 0
    if root < 0 or not semitones[_FIFTH]:
        return -1
    major, minor = bool(semitones[_MAJOR_THIRD]), bool(semitones[_MINOR_THIRD])
    if major == minor:
        return -1
    quality = _MAJOR if major else _MINOR
    if semitones[_FLAT_SEVENTH]:
        quality = _SEVENTH if major else _MINOR_7
    elif semitones[_NATURAL_SEVENTH] and major:
        quality = _MAJOR_7
    return 1 + len(_ROOTS) * quality + int(root)


def score(reference: Sequence[Any], estimate: NDArray[np.float64]) -> dict[str, float]:
    """Score one clip by mir_eval, weighted by duration.

    Parameters
    ----------
    reference
        Rows of start and end in s, and label.
    estimate
        ``(n, 3)`` start and end in s, and class. Where it says nothing, it says no chord.

    Returns
    -------
    The keys of ``METRICS``, in 0..1: the share of the reference's time that is right, of what the
    measure can compare. A measure that can compare nothing of a clip (majmin where all chords are
    suspended) is 1 there, as a perfect answer has to be.
    """
    import mir_eval

    if not len(reference):  # nothing said to sound: silence is right
        quiet = not len(estimate) or not estimate[:, 2].any()
        return dict.fromkeys(METRICS, float(quiet))
    named = [(start, end, CLASSES[int(number)]) for start, end, number in estimate.tolist()]
    spans, ref_names, est_names = mir_eval.util.merge_labeled_intervals(
        *on_one_span(reference, named, "N")
    )
    seconds = mir_eval.util.intervals_to_durations(spans)
    found = {}
    for name in METRICS:
        right = getattr(mir_eval.chord, name)(ref_names, est_names)
        compared = right >= 0
        found[name] = (
            float(np.average(right[compared], weights=seconds[compared]))
            if seconds[compared].sum() > 0
            else 1.0
        )
    return found
