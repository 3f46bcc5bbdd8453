"""The 50 most frequent tags on MTG-Jamendo: 54,380 tracks; see :mod:`svuprobe.tasks.mtg_jamendo`.

Genres, instruments, moods and themes together, so labels keep their category: ``genre---rock``.
"""

from svuprobe.tasks.mtg_jamendo import task

TASK = task("mtg-top50", "top50tags", expected={"train": 32136, "valid": 10888, "test": 11356})
