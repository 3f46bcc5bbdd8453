"""Musical key on GiantSteps: 24 keys of electronic dance music, two-minute previews (Castellon et
al. 2021; MARBLE).

Training and validation songs are of GiantSteps-MTG-keys, test songs of GiantSteps key (Knees et al.
2015). Layout, as the two repositories and their download scripts make it::

    giantsteps-mtg-key-dataset/audio/<id>.LOFI.mp3
    giantsteps-key-dataset/audio/<id, zero-padded to 7 digits>.LOFI.mp3

Zeros before an id don't count, the folders may carry a branch or commit (``-master``), the songs
may lie together in one folder ``audio``, and may be wav or flac. Links rot: songs without a file
are left out.

Labels and splits are jukemir's list (Castellon et al. 2021): of the MTG set the songs whose
annotator was sure and heard one key, divided by artist; sharps are written as flats. It has 1,159
songs for training and validation; the paper of MARBLE says 1,077, its code uses these. The list
does not name artists, so the group is the song.

Windows of 30 s, a rest dropped as the peers do. The key of a song is that of the mean logits of its
windows, fixed in advance: MARBLE's code takes the best of four votes, also on the test set, which
reports more than was learnt.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.kinds.metrics import mean_of
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
LABELS = tuple(sorted(f"{tonic} {mode}" for tonic in TONICS for mode in MODES))
FOLDERS = {
    "train": "giantsteps-mtg-key-dataset",
    "valid": "giantsteps-mtg-key-dataset",
    "test": "giantsteps-key-dataset",
}
_NAME = re.compile(r"(\d+)(?:\.LOFI)?\.(?:mp3|flac|wav)")


def clips(root: Path) -> list[Clip]:
    """Return the list's songs whose audio is there; the group is the song."""
    songs = {folder: _songs(root, f"{folder}*/audio/*") for folder in FOLDERS.values()}
    together = _songs(root, "audio/*")
    if not together and not any(songs.values()):
        raise TaskError(
            f"{root}: no <id>.LOFI.mp3 in giantsteps-mtg-key-dataset/audio, "
            "giantsteps-key-dataset/audio or audio; clone the two repositories there and run "
            "their audio_dl.sh"
        )
    found = []
    for row in split_lists.read("giantsteps_key.tsv"):
        song, split = row["beatport_id"], row["split"]
        path = songs[FOLDERS[split]].get(int(song)) or together.get(int(song))
        if path is not None:
            found.append(Clip(song, str(path), split, target=row["key"], group=song))
    return found


def _songs(root: Path, pattern: str) -> dict[int, Path]:
    """Find audio files of a pattern by Beatport's id; mp3 comes first, as it is the original."""
    songs: dict[int, Path] = {}
    for path in sorted(root.glob(pattern), key=lambda path: (path.suffix != ".mp3", path)):
        if match := _NAME.fullmatch(path.name):
            songs.setdefault(int(match[1]), path)
    return songs


def relation(reference: str, estimate: str) -> float:
    """Score how near two keys are, 0 to 1, as mir_eval.key.weighted_score without descending
    fifths.

    1 for the same key; 0.5 for the key a fifth above the reference, in the same mode, but 0 for the
    one below; 0.3 for its relative and 0.2 for its parallel key. Written out, as some releases of
    mir_eval lack the option ``allow_descending_fifths`` and others mean to change its default.

    Examples
    --------
    >>> relation("C major", "G major"), relation("G major", "C major")
    (0.5, 0.0)
    """
    (tonic, mode), (other, other_mode) = reference.split(), estimate.split()
    up = (TONICS.index(other) - TONICS.index(tonic)) % 12
    if mode == other_mode:
        return {0: 1.0, 7: 0.5}.get(up, 0.0)
    # A minor is nine semitones above C major; C major three above A minor.
    relative = 9 if mode == "major" else 3
    return {relative: 0.3, 0: 0.2}.get(up, 0.0)


# Of each class to each, once: scores of resamplings look it up.
_RELATIONS = np.array(
    [[relation(reference, estimate) for estimate in LABELS] for reference in LABELS]
)


def weighted_score(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Average the `relation` of the true key to the one with the largest output: (R,)."""
    return mean_of(_RELATIONS[target, output.argmax(axis=1)], group, counts)


TASK = Task(
    name="key",
    dataset="giantsteps",
    kind="multiclass",
    labels=LABELS,
    metrics=("key_weighted", "accuracy", "macro_f1"),
    clips=clips,
    windowing=Windowing(window_s=30.0, tail_s=30.0),
    licence="annotations public, previews by Beatport, not distributed; the list shipped here MIT",
    reference=(
        "Knees et al. 2015, GiantSteps key, "
        "https://github.com/GiantSteps/giantsteps-key-dataset; Faraldo et al., "
        "GiantSteps-MTG-keys, https://github.com/GiantSteps/giantsteps-mtg-key-dataset"
    ),
    expected={"train": 923, "valid": 236, "test": 604},
    hours=58.8,
)
