"""Structure of songs on the Harmonix Set (Nieto et al. 2019): where sections begin, and what they
are.

Layout: the repository of the annotations, ``dataset/metadata.csv`` (columns ``File``, ``Artist``,
``Duration``) and ``dataset/segments/<File>.txt`` (a line a section: where it begins, in s, and its
label; the last is ``end``), and beside ``dataset`` the songs, which the authors can't distribute,
as ``audio/<File>.mp3``, ``.flac`` or ``.wav``. Songs without audio are left out. Annotations hold
for the recording that was annotated: of others the authors publish alignment scores.

The 126 labels become the seven classes of Wang et al. 2022 by their rules, which look for parts of
words in a fixed order, and call what none of them knows instrumental (`function_of`). Neighbouring
sections of one class stay two: there is a boundary between them.

Eight folds, as Kim & Nam 2023 (All-In-One) have: six to learn from, one to choose by, one to test.
Theirs are not published. Here an artist is in one fold (534 artists, capitals aside, the largest
first into the fold with the fewest songs), where theirs may hear an artist in training and test.
All 912 songs are dealt, so a song's fold does not depend on which of them are at hand.
"""

from __future__ import annotations

import csv
from pathlib import Path

from svuprobe.tasks import folds
from svuprobe.tasks.sheets import LATEST_S
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

METADATA = "dataset/metadata.csv"
SEGMENTS = "dataset/segments"
SUFFIXES = (".mp3", ".flac", ".wav")
FOLDS = 8
SONGS = 912
_END = "end"

LABELS = ("bridge", "chorus", "inst", "intro", "outro", "silence", "verse")
# Wang et al. 2022, algorithm 1: the first part of a word that a label contains tells its class.
_RULES = (
    ("silence", "silence"),
    ("pre-chorus", "verse"),
    ("prechorus", "verse"),
    ("refrain", "chorus"),
    ("chorus", "chorus"),
    ("theme", "chorus"),
    ("stutter", "chorus"),
    ("verse", "verse"),
    ("rap", "verse"),
    ("section", "verse"),
    ("slow", "verse"),
    ("build", "verse"),
    ("dialog", "verse"),
    ("intro", "intro"),
    ("fadein", "intro"),
    ("opening", "intro"),
    ("bridge", "bridge"),
    ("trans", "bridge"),
    ("out", "outro"),
    ("coda", "outro"),
    ("ending", "outro"),
    ("break", "inst"),
    ("inst", "inst"),
    ("interlude", "inst"),
    ("impro", "inst"),
    ("solo", "inst"),
)


def function_of(label: str) -> str:
    """Return the class of a label: ``verse2`` is a verse, ``gtr`` is instrumental."""
    for part, function in _RULES:
        if part in label.lower():
            return function
    return "inst"


def clips(root: Path) -> list[Clip]:
    """Return the songs whose audio is there, in folds; the group is the artist."""
    path = root / METADATA
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            songs = [
                (row["File"], row["Artist"].casefold(), float(row["Duration"]))
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with the Harmonix Set") from None
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise TaskError(
            f"{path}: not the Harmonix Set's columns File, Artist, Duration ({error!r})"
        ) from None
    # Before the audio is looked for: a song's fold is that of the whole set.
    fold_of = folds.of_groups([artist for _, artist, _ in songs], FOLDS)
    found = []
    for name, artist, seconds in songs:
        audio = _audio(root, name)
        if audio is not None:
            sections = read(root / SEGMENTS / f"{name}.txt", seconds)
            found.append(
                Clip(name, str(audio), "test", sections, group=artist, fold=str(fold_of[artist]))
            )
    return found


def read(path: Path, seconds: float) -> tuple[tuple[float, float, str], ...]:
    """Return the sections of a song, by start, with their classes.

    Parameters
    ----------
    seconds
        Of the song: where its last section ends if the file doesn't say so, as two don't.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; the Harmonix Set has one of each song") from None
    begins: list[tuple[float, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            time, label = line.split(maxsplit=1)
            begin = float(time)
        except ValueError:
            raise TaskError(f"{where}: {line!r} is not a time in s and a label") from None
        if not 0 <= begin <= LATEST_S or (begins and begin < begins[-1][0]):
            raise TaskError(f"{where}: {begin:g} s is not after the section before it")
        begins.append((begin, label.strip()))
    if begins and begins[-1][1] != _END:
        begins.append((max(seconds, begins[-1][0]), _END))
    sections = []
    for (start, label), (end, _) in zip(begins, begins[1:], strict=False):
        if label != _END and start < end:
            sections.append((start, end, function_of(label)))
    return tuple(sections)


def _audio(root: Path, name: str) -> Path | None:
    """Return the song's file; None where there is none."""
    for suffix in SUFFIXES:
        path = root / "audio" / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


TASK = Task(
    name="structure",
    dataset="harmonix",
    kind="structure",
    labels=LABELS,
    metrics=("label_accuracy", "boundary_f_500ms", "boundary_f_3s", "pairwise_f"),
    clips=clips,
    windowing=Windowing(window_s=30.0),
    licence="annotations MIT; audio: commercial recordings, not distributed",
    reference="Nieto et al. 2019, The Harmonix Set, https://github.com/urinieto/harmonixset",
    expected={"test": SONGS},
    hours=56.2,
)
