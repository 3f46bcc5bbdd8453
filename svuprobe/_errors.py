"""The errors that are a user's to mend. Everything else that is raised is a bug and keeps its traceback."""

from __future__ import annotations


class UserError(Exception):
    """What the user typed, has on disk or lacks, as one line: the value, the rule and the next step.

    Each part has its own: ``TaskError``, ``ExtractError``, ``ProbeError``, ``FileError``, ``OptionError``. The
    command line turns exactly these into one line and exit code 1.
    """


class FileError(UserError):
    """A file or folder that the system does not let us write: a full disk, a read-only folder, a special file."""


class OptionError(UserError):
    """A value of an option that no task, model or file makes right, as a device that is not here."""
