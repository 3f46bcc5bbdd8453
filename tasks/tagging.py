"""Music tagging on MagnaTagATune (Law et al. 2009): the 50 most frequent tags of 25,860 clips of 29
s.

Layout: ``mp3/<0-9a-f>/*.mp3``, the three parts of the archive joined and unpacked. Labels and
splits come from the shipped list ``splits/mtat_12_1_3.tsv``; an ``annotations_final.csv`` beside
the audio is not read.

The split is the usual 12:1:3 by folder: 0-b train, c validation, d-f test. No track and no album
crosses it, but 56 of the 230 artists do, so scores hold some knowledge of artists, here as in every
paper that uses it. The group is the track that a clip was cut from.

Clips with none of the 50 tags stay, with all-zero targets, as in MARBLE and jukemir; scores on the
split of 21,108 clips that leaves them out are not comparable. Three files of the distribution are
broken (clips 35644, 55753 and 57881, all in train) and not in the list; MARBLE keeps them there and
stops at them. Tags are sorted by name, and synonyms (``beat`` and ``beats``; ``no vocal``,
``no vocals`` and ``no voice``) are tags of their own, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

LIST = "mtat_12_1_3.tsv"
_BY_FREQUENCY = split_lists.comment(LIST, "tags")  # the list counts tags in this order


def tags_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sorted names of the tags of a row of the list; none of the 50 is an empty
    tuple.
    """
    return tuple(sorted(_BY_FREQUENCY[int(number)] for number in row["tags"].split(",") if number))


def track_of(mp3_path: str) -> str:
    """Return the track a clip was cut from: ``f/artist-album-01-title-30-59.mp3`` without its
    seconds.
    """
    return mp3_path.rsplit("-", 2)[0]


def clips(root: Path) -> list[Clip]:
    """Return the list's clips whose file is there, by number; the group is the track."""
    if not (root / "mp3").is_dir():
        raise TaskError(
            f"{root}: no folder mp3 in it; join mp3.zip.001 to mp3.zip.003 of MagnaTagATune and "
            f"unpack them to {root / 'mp3'}/<0-f>/*.mp3"
        )
    found = ((row, root / "mp3" / row["mp3_path"]) for row in split_lists.read(LIST))
    return [
        Clip(
            row["clip_id"],
            str(path),
            row["split"],
            target=tags_of(row),
            group=track_of(row["mp3_path"]),
        )
        for row, path in found
        if path.is_file()
    ]


TASK = Task(
    name="tagging",
    dataset="magnatagatune",
    kind="multilabel",
    labels=tuple(sorted(_BY_FREQUENCY)),
    metrics=("roc_auc", "ap"),
    clips=clips,
    windowing=Windowing(window_s=30.0, tail_s=1.0),  # the whole clip
    licence="CC BY-NC-SA (audio of Magnatune)",
    reference=(
        "Law et al. 2009, MagnaTagATune, https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
    ),
    expected={"train": 18706, "valid": 1825, "test": 5329},
    hours=209.0,
)
