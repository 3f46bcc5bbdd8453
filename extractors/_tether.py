"""End a worker when its parent is gone. It is a worker's first act, so it imports next to
nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys

# From linux/prctl.h; Python has no name for it.
_PR_SET_PDEATHSIG = 1


def tether() -> None:
    """Have the kernel kill this process with the thread that started it; leave if that is gone.

    The end of stdin says the same, but later: nobody reads it while libraries load, and a codec may
    hang or hold Python's lock. It stays what counts on other systems than Linux.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have gone before prctl was called: then stdin is closed already.
    if hasattr(select, "poll"):
        stdin = select.poll()
        stdin.register(0, 0)
        if any(event & select.POLLHUP for _, event in stdin.poll(0)):
            os._exit(0)
