"""A decoder process: requests come in on stdin, windows or durations go out.

A request is a pickled `Request`. Each answer is a pickled object; a window's samples follow it as plain float32, so
that they are copied once. Both ends are one program on one machine, and the pipes are theirs alone. The process ends
as soon as stdin does: when it is closed, or when the parent dies, whatever a decoder is busy with.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from svuprobe.extractors.audio import Finished, Need, Window, cut, duration
from svuprobe.tasks.types import Clip, Windowing

_NONE = np.empty(0, np.float32)


@dataclass(frozen=True)
class Request:
    """Durations of clips, or the windows of one clip where there is a ``windowing``."""

    clips: tuple[Clip, ...]
    needs: tuple[Need, ...] = ()
    windowing: Windowing | None = None


@dataclass(frozen=True)
class Bug:
    """The traceback of an error that is no fault of the audio."""

    traceback: str


def send(stream: BinaryIO, answer: Any) -> None:
    """Write one answer."""
    if isinstance(answer, Window):
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


def answers(request: Request) -> Iterator[Window | Finished | list[float | None]]:
    """What is sent for a request; the last answer is a Finished or a list."""
    if request.windowing is None:
        yield [duration(clip) for clip in request.clips]
    else:
        yield from cut(request.clips[0], request.needs, request.windowing)


def main(descriptor: int) -> None:
    """Serve until stdin ends; answers go to ``descriptor``, the first as soon as this process is ready."""
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
                for answer in answers(request):
                    send(answered, answer)
        except BrokenPipeError:
            os._exit(0)
        except Exception:
            send(answered, Bug(traceback.format_exc()))


def _read(requests: SimpleQueue[Request | Bug]) -> None:
    """Queue what comes in; ends the process, whatever it is busy with, when nothing can come any more."""
    while True:
        try:
            requests.put(pickle.load(sys.stdin.buffer))
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)
        except Exception:
            requests.put(Bug(traceback.format_exc()))
