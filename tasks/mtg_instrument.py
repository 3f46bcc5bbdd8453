"""Instrument on MTG-Jamendo: 40 tags of 24,976 tracks; see :mod:`svuprobe.tasks.mtg_jamendo`.

Yuan et al. 2023 (MARBLE) write 41 tags, the number before the split; split-0 keeps those found in every set.
"""

from svuprobe.tasks.mtg_jamendo import task

TASK = task("mtg-instrument", "instrument", expected={"train": 14395, "valid": 5466, "test": 5115})
