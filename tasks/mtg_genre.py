"""Genre on MTG-Jamendo: 87 tags of 55,094 tracks; see :mod:`svuprobe.tasks.mtg_jamendo`.

Yuan et al. 2023 (MARBLE) write 95 tags, the number before the split; split-0 keeps those found in every set.
"""

from svuprobe.tasks.mtg_jamendo import task

TASK = task("mtg-genre", "genre", expected={"train": 32572, "valid": 11043, "test": 11479})
