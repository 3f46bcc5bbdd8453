"""Mood and theme on MTG-Jamendo: 56 tags of 17,982 tracks; see :mod:`svuprobe.tasks.mtg_jamendo`.

Yuan et al. 2023 (MARBLE) write 59 tags, the number before the split; split-0 keeps those found in every set.
"""

from svuprobe.tasks.mtg_jamendo import task

TASK = task("mtg-moodtheme", "moodtheme", expected={"train": 9949, "valid": 3802, "test": 4231})
