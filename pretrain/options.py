"""Say how pre-training runs, and not what it computes."""

from __future__ import annotations

from dataclasses import dataclass

from svuprobe._errors import OptionError
from svuprobe._machine import check_real, check_whole
from svuprobe._run_options import RunOptions
from svuprobe._show import shown
from svuprobe._tracking import check_tracker

WEIGHTS = ("float32", "float16")
_MOST_STEPS = 1_000_000_000
_MOST_SECONDS = 1e7


@dataclass(frozen=True)
class PretrainOptions(RunOptions):
    """Say how pre-training runs; of extraction's, decoding, device, dtype and reporter are used.

    Attributes
    ----------
    part_s
        Seconds of audio that are computed at once: a step of more is computed in parts, whose
        gradients are added. None for what suits the device.
    log_every
        Steps of a row of the curve.
    save_every
        Steps between checkpoints, from which an interrupted run goes on.
    keep_every
        Steps between models that are kept, each a folder that loads like the last; 0 for none but
        the last.
    weights_dtype
        Type in which the model is stored, ``float32`` or ``float16``: half the size, and rounded.
    resume
        Go on from the checkpoint in the folder, to the same weights.
    track
        ``trackio``, ``wandb`` or ``tensorboard``, if it is installed: the rows of the curve are
        logged there. If None, nowhere; the weights are the same with and without.
    """

    part_s: float | None = None
    log_every: int = 50
    save_every: int = 500
    keep_every: int = 0
    weights_dtype: str = "float32"
    resume: bool = False
    track: str | None = None

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check every value, and find the device."""
        super().__post_init__()
        check_tracker(self.track)
        check_real("part_s", self.part_s, _MOST_SECONDS)
        check_whole("log_every", self.log_every, 1, _MOST_STEPS)
        check_whole("save_every", self.save_every, 1, _MOST_STEPS)
        check_whole("keep_every", self.keep_every, 0, _MOST_STEPS)
        if self.weights_dtype not in WEIGHTS:
            raise OptionError(
                f"weights_dtype = {self.weights_dtype!r}; it is one of {', '.join(WEIGHTS)}"
            )

    @property
    def part_seconds(self) -> float:
        """Return the seconds of audio that are computed at once."""
        if self.part_s is not None:
            return self.part_s
        # A GPU of 40 GB holds fairseq's 1.4 M samples of a base model; a CPU's caches like less.
        return 88.0 if self.runs_on.startswith("cuda") else 64.0
