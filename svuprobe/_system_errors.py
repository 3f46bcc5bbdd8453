"""Tell what the system refuses from what a program does wrong, and what a user can do about it.

A full disk, a folder without permission and a name too long are nobody's bug: they are one line
with the next step, for files that are written (:mod:`svuprobe._files`) and for the rest
(:mod:`svuprobe._edge`).
"""

from __future__ import annotations

import errno

_FREE, _WRITABLE = "free some space", "make it writable or choose another folder"
_CLOSE, _BROKEN = "close other programs", "see whether its disk or network is in order"
# What a user can do about an error, by its number. Numbers that tell of a mistake of the program
# (ENOENT, EBADF, EINVAL, EPIPE) are left out on purpose: those keep their traceback.
ADVICE = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has no open file left",
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOTDIR: "a part of its path is a file: choose another folder",
    errno.EEXIST: "a part of its path is a file: choose another folder",
    errno.EISDIR: "it is a folder: choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EILSEQ: "choose a name of other letters",
    errno.ELOOP: "its links lead in a circle: mend them",
    errno.EBUSY: "another program uses it: close that",
    errno.ETXTBSY: "another program uses it: close that",
    errno.EAGAIN: _CLOSE,
    errno.ENOMEM: _CLOSE,
    errno.EIO: _BROKEN,
    errno.ENODEV: _BROKEN,
    errno.ENXIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.ENOTCONN: _BROKEN,
    errno.ETIMEDOUT: _BROKEN,
    errno.EHOSTDOWN: _BROKEN,
}


def is_systems_word(error: OSError) -> bool:
    """Tell whether an error says what the system can't or won't do, not that a program asks
    wrongly.

    A file that is not there is not among them: what a user names is looked for where it is read,
    and so it is a bug.
    """
    return error.errno in ADVICE and error.strerror is not None


def advice(error: OSError) -> str:
    """Return what a user can do about an error of the system."""
    return ADVICE.get(error.errno or 0, "mend that")
