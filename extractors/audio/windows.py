"""Cut the windows that models see out of a clip.

Nothing here imports torch: it runs in worker processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from svuprobe.extractors.audio.clips import ClipAudio, identity, mono_of
from svuprobe.extractors.audio.sound_files import shown
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip, Windowing


@dataclass(frozen=True)
class InputSpec:
    """Say what a group of models wants of each window.

    At frame level ``hop`` and ``context`` are not 0: windows with fewer than ``hop`` samples of
    their own are left out; ``context`` samples after a window's end, zeros beyond the clip, are
    what its last frame still sees.
    """

    sample_rate: int
    hop: int = 0
    context: int = 0


@dataclass(frozen=True)
class Window:
    """Hold one window, (n,) float32 mono: its own samples and its context; ``start_s`` is in the
    clip.

    ``identity`` names the audio that the clip was before it was decoded: see `identity_of`.
    """

    spec: InputSpec
    number: int
    start_s: float
    samples: np.ndarray
    identity: str


@dataclass(frozen=True)
class ClipEnd:
    """Mark the end of a clip's windows.

    ``seconds`` were decoded; ``quiet`` windows were left out as silent (of the spec with the most).
    With a ``failure`` the windows so far are void.
    """

    seconds: float
    quiet: int
    failure: str | None


def cut(
    clip: Clip,
    specs: Sequence[InputSpec],
    windowing: Windowing,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Window | ClipEnd]:
    """Yield the windows of one clip for each spec, in order within a spec, then exactly one
    ClipEnd.

    ``alive`` is called for each block that is decoded: of a long clip many are, before the first
    window is. A clip fails where it can't be decoded, or where for a spec no window is long and
    loud enough.
    """
    made_from = identity(clip)
    yield from _pieces(ClipAudio(clip, _rates(specs), alive), specs, windowing, made_from)


def cut_samples(
    audio: np.ndarray, sample_rate: float, specs: Sequence[InputSpec], windowing: Windowing
) -> Iterator[Window | ClipEnd]:
    """Yield the windows of audio in memory, the same as `cut` gives of a file that holds it.

    Parameters
    ----------
    audio
        (samples,) or (channels, samples), floating point; channels are averaged.
    sample_rate
        Of the audio, Hz.

    Raises
    ------
    ExtractError
        It is no such array, has no samples or values that are not finite, or there is no such rate.
    """
    samples = ClipAudio(Clip("audio", "audio", "test", None, ""), _rates(specs))
    samples.hold(mono_of(audio), sample_rate)
    yield from _pieces(samples, specs, windowing, "")


def _rates(specs: Sequence[InputSpec]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(spec.sample_rate for spec in specs))


def _pieces(
    samples: ClipAudio, specs: Sequence[InputSpec], windowing: Windowing, made_from: str
) -> Iterator[Window | ClipEnd]:
    """Cut what a clip holds; ``made_from`` is the identity of its audio."""
    clip = samples.clip
    cutters: list[_Cutter] = []
    failure = None
    try:
        # A first pass over the clip finds its length, and what is silent at its ends.
        bounds = samples.bounds(windowing.trim)
        cutters = [_Cutter(spec, windowing, made_from, *bounds[spec.sample_rate]) for spec in specs]
        for block in samples.blocks():
            for cutter in cutters:
                yield from cutter.cut(block[cutter.spec.sample_rate])
        # Between the two passes the file became shorter.
        if any(cutter.left for cutter in cutters):
            raise ExtractError(f"{shown(clip.path)}: changed while it was decoded")
        if not all(cutter.kept for cutter in cutters):
            raise ExtractError(f"{shown(clip.path)}: no window is long and loud enough to be kept")
    except ExtractError as error:
        failure = str(error)
    yield ClipEnd(samples.seconds, max((cutter.quiet for cutter in cutters), default=0), failure)


class _Cutter:
    """Cut one spec's windows out of blocks as they come; hold what the next window still has to
    see.
    """

    def __init__(
        self, spec: InputSpec, windowing: Windowing, made_from: str, first: int, last: int
    ) -> None:
        self.spec, self.kept, self.quiet = spec, 0, 0
        self._made_from = made_from
        self._first, self._last, self._min_rms = first, last, windowing.min_rms
        spans = enumerate(windowing.spans(last - first, spec.sample_rate))
        # A window without one sample of its own per frame has no frame.
        self.left = deque((number, a, b) for number, (a, b) in spans if b - a >= spec.hop)
        self._seen = 0  # samples of the clip
        # The samples from _at on, counted from _first.
        self._held, self._at = np.empty(0, np.float32), 0

    def cut(self, block: np.ndarray) -> Iterator[Window]:
        """Yield the windows that this block completes."""
        inside = block[max(self._first - self._seen, 0) : max(self._last - self._seen, 0)]
        ends = self._seen < self._last <= self._seen + len(block)
        self._seen += len(block)
        # Beyond the clip's end the last window sees zeros.
        beyond = np.zeros(self.spec.context if ends else 0, np.float32)
        self._held = np.concatenate([self._held, inside, beyond])
        while self.left and self.left[0][2] + self.spec.context <= self._at + len(self._held):
            number, a, b = self.left.popleft()
            samples = self._held[a - self._at : b - self._at + self.spec.context].copy()
            # What no later window sees is let go, so that memory is bounded by a window.
            self._held, self._at = self._held[b - self._at :], b
            if (
                self._min_rms
                and np.sqrt(np.mean(np.square(samples, dtype=np.float64))) < self._min_rms
            ):
                self.quiet += 1
                continue
            self.kept += 1
            yield Window(
                self.spec,
                number,
                (self._first + a) / self.spec.sample_rate,
                samples,
                self._made_from,
            )
