"""Run as a decoder process: requests come in on stdin, windows or facts about files go out.

A request is a pickled `Request`. Each answer is a pickled object; a window's samples follow it as
plain float32, so that they are copied once. An `Alive` says that a block was decoded where no
window came of it, so that silence means that nothing goes on. Both ends are one program on one
machine, and the pipes are theirs alone. The process ends with its parent, whatever a decoder is
busy with: see `svuprobe.extractors._tether`; also as soon as stdin does.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from svuprobe.extractors.audio.clips import duration, identity
from svuprobe.extractors.audio.sound_files import FileHead, head_of
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window, cut
from svuprobe.tasks.types import Clip, Windowing

AT_ONCE = 8  # files whose heads are read
_NONE = np.empty(0, np.float32)


@dataclass(frozen=True)
class Request:
    """Ask for the windows of one clip, given a ``windowing``; else for a fact (a key of ``FACTS``)
    of each.
    """

    clips: tuple[Clip, ...]
    specs: tuple[InputSpec, ...] = ()
    windowing: Windowing | None = None
    fact: str = ""


def _head(clip: Clip) -> FileHead:
    return head_of(clip.path)


# What is known of a clip without decoding it.
FACTS: dict[str, Callable[[Clip], Any]] = {
    "duration": duration,
    "identity": identity,
    "head": _head,
}


@dataclass(frozen=True)
class Fact:
    """Hold one clip's answer to a request for facts."""

    value: Any


class Alive:
    """Say that something was decoded."""


class End:
    """Mark the last answer to a request."""


@dataclass(frozen=True)
class Bug:
    """Hold the traceback of an error that is no fault of the audio."""

    traceback: str


def send(stream: BinaryIO, answer: Any) -> None:
    """Write one answer."""
    if isinstance(answer, Window):
        # The samples follow unpickled: a pickle of them would be one more copy.
        pickle.dump((replace(answer, samples=_NONE), len(answer.samples)), stream, 5)
        stream.write(answer.samples.data)
    else:
        pickle.dump(answer, stream, 5)
    stream.flush()


def receive(stream: Any) -> Any:
    """Read one answer. Raises EOFError or UnpicklingError where the writer died."""
    answer = pickle.load(stream)
    if not isinstance(answer, tuple):
        return answer
    window, length = answer
    samples = np.empty(length, np.float32)
    if stream.readinto(samples) < samples.nbytes:
        raise EOFError
    return replace(window, samples=samples)


def side_by_side(fact: Callable[[Clip], Any], clips: Sequence[Clip]) -> Iterator[Any]:
    """Yield a fact about each clip, in order.

    Several files are waited for at once, as a network answers slowly.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(fact, clips)


def answers(request: Request, alive: Callable[[], None]) -> Iterator[Window | ClipEnd | Fact | End]:
    """Yield what is sent for a request."""
    if request.windowing is None:
        yield from map(Fact, side_by_side(FACTS[request.fact], request.clips))
    else:
        yield from cut(request.clips[0], request.specs, request.windowing, alive)
    yield End()


def main(descriptor: int) -> None:
    """Serve until stdin ends; answers go to ``descriptor``, the first as soon as this process is
    ready.
    """
    answered = os.fdopen(descriptor, "wb")
    requests: SimpleQueue[Request | Bug] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    send(answered, "ready")
    nowhere = os.open(os.devnull, os.O_WRONLY)  # until here the parent wants to know what is said
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    while True:
        request = requests.get()
        try:
            if isinstance(request, Bug):
                send(answered, request)
            else:
                for answer in answers(request, lambda: send(answered, Alive())):
                    send(answered, answer)
        except BrokenPipeError:
            os._exit(0)
        except Exception:
            send(answered, Bug(traceback.format_exc()))


def _read(requests: SimpleQueue[Request | Bug]) -> None:
    """Queue what comes in; end the process, whatever it is busy with, when nothing can come any
    more.
    """
    while True:
        try:
            requests.put(pickle.load(sys.stdin.buffer))
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)
        except Exception:
            # A request that can't be read, as with a class
            # that is not importable here: the parent is told.
            requests.put(Bug(traceback.format_exc()))
