"""Say in a result what it took to make the features that were probed."""

from __future__ import annotations

from dataclasses import dataclass

from svuprobe.probe.results.result_words import Text


@dataclass(frozen=True, kw_only=True)
class ExtractionInfo:
    """Hold how fast a model ran when it filled the cache, as extraction measured it: the forward
    passes alone, on the machine that did most of them.

    Attributes
    ----------
    device
        The name of the processor or GPU.
    threads
        Of a CPU; 0 of a GPU.
    dtype
        The number format of the weights.
    compiled
        Whether the model was compiled.
    audio_s
        Seconds of audio in the windows that went through the model.
    wall_s, cpu_s
        Seconds that passed, and that all cores of the process worked meanwhile.
    cache_bytes
        Size of the whole cache when it was probed.
    """

    device: Text
    threads: int
    dtype: Text
    compiled: bool
    audio_s: float
    wall_s: float
    cpu_s: float
    cache_bytes: int

    @property
    def times_real_time(self) -> float | None:
        """Return seconds of audio for each second that passed; None where none did."""
        return self.audio_s / self.wall_s if self.wall_s > 0 else None

    @property
    def machine(self) -> str:
        """Return what it ran on, in words: speeds of one machine alone can be compared."""
        words = [self.device]
        if self.threads:
            words.append(f"{self.threads} thread{'s' * (self.threads > 1)}")
        words.append(self.dtype)
        return ", ".join(words + ["compiled"] * self.compiled)
