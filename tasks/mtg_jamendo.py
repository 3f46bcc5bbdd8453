"""Tags of MTG-Jamendo (Bogdanov et al. 2019): genre, instrument, mood and theme, and the 50 most
frequent ones.

Four tasks ask for four subsets of the tags. Their tracks, windows and clip ids are the same, so one
cache serves all; `svuprobe.tasks.datasets.mtg_jamendo` reads the lists.

Windows of 30 s cover the whole track. A probe is trained on each window with the tags of its track
and scored on the mean logits of a track's windows, as MARBLE's code does (Yuan et al. 2023 write
that features are averaged first). Labels are the sorted tags of the clips found, where MARBLE
numbers them as they come. Yuan et al. write 95 tags of genre, 41 of instruments and 59 of mood and
theme, the numbers before the split; split-0 keeps those found in every set.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from svuprobe.tasks.datasets import mtg_jamendo
from svuprobe.tasks.types import Task, Windowing


def _tagging(name: str, subset: str, expected: Mapping[str, int]) -> Task:
    """Return the task on one subset of the tags."""
    return Task(
        name=name,
        dataset=mtg_jamendo.DATASET,
        kind="multilabel",
        metrics=("roc_auc", "ap"),
        clips=partial(mtg_jamendo.clips, subset=subset),
        windowing=Windowing(window_s=30.0, tail_s=1.0),
        licence=mtg_jamendo.LICENCE,
        reference=mtg_jamendo.REFERENCE,
        expected=expected,
        hours=mtg_jamendo.HOURS,
    )


# 87 tags of 55,094 tracks.
GENRE = _tagging("mtg-genre", "genre", {"train": 32572, "valid": 11043, "test": 11479})
# 40 tags of 24,976 tracks.
INSTRUMENT = _tagging("mtg-instrument", "instrument", {"train": 14395, "valid": 5466, "test": 5115})
# 56 tags of 17,982 tracks.
MOODTHEME = _tagging("mtg-moodtheme", "moodtheme", {"train": 9949, "valid": 3802, "test": 4231})
# 54,380 tracks. Genres, instruments, moods and themes
# together, so labels keep their category: genre---rock.
TOP50 = _tagging("mtg-top50", "top50tags", {"train": 32136, "valid": 10888, "test": 11356})
