"""Define the errors that are a user's to mend; whatever else is raised is a bug with its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Report what the user typed, has on disk or lacks, in one line: value, rule and next step.

    Each part has its own: ``TaskError``, ``ExtractError``, ``ProbeError``, ``FileError``,
    ``OptionError``. The command line turns exactly these into one line and exit code 1.
    """


class FileError(UserError):
    """Report what the system does not let us write: a full disk, a read-only folder, a special
    file.
    """


class OptionError(UserError):
    """Report an option's value that no task, model or file makes right, as a device that is not
    here.
    """


# Of difflib's ratio, its own default; names of several words are told apart from 0.5 on.
_ALIKE = 0.6


def did_you_mean(word: str, known: Iterable[str], *, most: int = 1, alike: float = _ALIKE) -> str:
    """Return the end of a line on an unknown name: the names most like it, or all that there are.

    Parameters
    ----------
    word
        What was typed.
    known
        What could have been.
    most
        How many names to offer.
    alike
        Ratio of equal letters, 0 to 1, from which on a name is offered.
    """
    names = list(known)
    # Names of data and models are written with capitals elsewhere: GTZAN, MERT.
    lower: dict[str, str] = {}
    for name in names:
        lower.setdefault(name.lower(), name)
    close = [
        lower[match]
        for match in difflib.get_close_matches(word.lower(), list(lower), n=most, cutoff=alike)
    ]
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
