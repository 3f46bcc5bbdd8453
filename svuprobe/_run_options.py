"""Say how a stage runs, and not what it computes: one frozen object, made and checked at the edge.

The fields are checked when the object is made, so a stage takes them as they are and hands the
object on. None of them is part of a protocol. Results name ``dtype`` and the clips of
``allow_missing``: the one changes rounding, the other the clips that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from svuprobe._machine import (
    LEAST_MEMORY,
    MOST_BATCH_S,
    MOST_JOBS,
    MOST_MEMORY,
    MOST_TIMEOUT_S,
    check_cluster,
    check_dtype,
    check_real,
    check_whole,
    checked_device,
)
from svuprobe._progress import SILENT, Reporter
from svuprobe._show import shown
from svuprobe._tracking import check_tracker

# Decoding takes about a hundredth of the time that a
# base model needs on a CPU, and more than on a GPU.
_MOST_DECODERS = {"cpu": 4, "cuda": 32}


@dataclass(frozen=True)
class RunOptions:
    """Say how a stage runs. Fields that a stage has no use for change nothing in it.

    Attributes
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto``, or None, becomes the GPU where there is
        one.
    dtype
        What models and products of matrices compute in: ``float32``, ``bfloat16``, or ``auto``,
        each stage's own choice for the device.
    jobs
        Decoding processes, 0 for none beside this one; None for one on every core that models leave
        free.
    memory
        Bytes that may be held of a frame-level cache; None for half of what is free.
    batch_s
        Seconds of audio in a batch of extraction; None for what suits the device.
    decode_timeout_s
        Seconds without a sign of a decoding process; then its clip fails.
    compiled
        Compile models: pays on a GPU, for many hours of audio.
    allow_missing
        Leave out clips that can't be read, and say so in the result.
    overwrite
        Make results again that are there.
    shard
        ``(i, n)``: extraction does the i-th of n parts, for several processes on one cache.
    replace_changed
        Make the shards of a cache again that hold clips whose audio, start or end is another now.
    names
        What tables and pictures call models, by model: kept in results.
    cluster
        Address of a Dask scheduler, or ``local:N`` for N workers on this machine: there a suite's
        parts run, and ``device`` is ``cpu`` or ``cuda``, each worker's own; if None, ``cuda`` where
        a worker has the label ``gpu``.
    reporter
        Who is told what goes on.

    Raises
    ------
    OptionError
        A value that no machine takes, or a device that is not here.
    """

    device: str | None = "auto"
    dtype: str = "auto"
    jobs: int | None = None
    memory: int | None = None
    batch_s: float | None = None
    decode_timeout_s: float = 600.0
    compiled: bool = False
    allow_missing: bool = False
    overwrite: bool = False
    shard: tuple[int, int] = (1, 1)
    replace_changed: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None
    reporter: Reporter = SILENT

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check every value, and find the device."""
        check_dtype(self.dtype)
        check_whole("jobs", self.jobs, 0, MOST_JOBS)
        check_whole("memory", self.memory, LEAST_MEMORY, MOST_MEMORY)
        check_real("batch_seconds", self.batch_s, MOST_BATCH_S)
        check_real("decode_timeout_s", self.decode_timeout_s, MOST_TIMEOUT_S)
        device = None if self.device == "auto" else self.device
        if self.cluster is None:
            device = checked_device(device)
        else:
            # Whether it is there is for the workers to say.
            check_cluster(self.cluster, device)
        # The one assignment: a frozen object is filled here.
        object.__setattr__(self, "device", device)

    @property
    def runs_on(self) -> str:
        """Return the device, found when the options were made."""
        return self.device or "cpu"

    @property
    def decoders(self) -> int:
        """Return how many processes decode audio."""
        if self.jobs is not None:
            return self.jobs
        from joblib import cpu_count

        # Models need the other half of the cores.
        cores = int(cpu_count())
        if self.runs_on.startswith("cuda"):
            return min(cores, _MOST_DECODERS["cuda"])
        return max(1, min(cores // 2, _MOST_DECODERS["cpu"]))


@dataclass(frozen=True)
class FinetuneOptions(RunOptions):
    """Say how fine-tuning runs; ``dtype`` is what autocast rounds to.

    Attributes
    ----------
    accumulate
        Parts that each batch is computed in.
    checkpointing
        Compute blocks again in the backward pass instead of keeping them: less memory, more time.
    checkpoint_steps
        Steps between checkpoints within an epoch; there is one after each epoch anyway.
    resume
        Go on from what an unfinished run left, to the same result.
    track
        ``trackio``, ``wandb`` or ``tensorboard``, if it is installed: losses, learning rates and
        validation scores are logged there. If None, nowhere; a result is the same with and without.
    features
        The folder of caches, whose lists say which TOML file or folder a task on data of one's own
        is of that is called by its name. Nothing else is read there.
    """

    accumulate: int = 1
    checkpointing: bool = False
    checkpoint_steps: int = 0
    resume: bool = False
    track: str | None = None
    features: str | Path = "features"

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check every value, and find the device."""
        super().__post_init__()
        check_tracker(self.track)
        check_whole("accumulate", self.accumulate, 1, 100_000)
        check_whole("checkpoint_steps", self.checkpoint_steps, 0, 1_000_000_000)
