"""Log a training to a tracker that the user has: trackio, wandb or tensorboard, none by default.

All three are one thing here: `Tracker`. Whatever goes wrong in one of them is said once, and the
training goes on without it; nothing that is logged comes back into a training.

Without a network: trackio and tensorboard write to this machine; wandb does with
``WANDB_MODE=offline`` (``wandb sync`` sends it later).
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from svuprobe._errors import OptionError, did_you_mean
from svuprobe._progress import Reporter

PROJECT = "svuprobe"


class Tracker(Protocol):
    """Take what a training logs."""

    def log(self, values: Mapping[str, float], step: int) -> object:
        """Log values by their names, at a step of the training."""
        ...

    def finish(self) -> object:
        """Write what is left; the training is over."""
        ...


class NoTracker:
    """Be a tracker that nobody reads."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log nothing."""

    def finish(self) -> None:
        """Do nothing."""


class _OfRun:
    """Log to a run of trackio or wandb, which have the same interface."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class _OfTensorboard:
    """Write the files that ``tensorboard --logdir`` shows."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        # Indented by four, Markdown shows it as it stands.
        lines = json.dumps(config, indent=1, default=str).splitlines()
        self._writer.add_text("config", "\n".join(f"    {line}" for line in lines))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


def _trackio(run: str, config: Mapping[str, Any], folder: Path) -> Tracker:
    import trackio

    return _OfRun(trackio.init(project=PROJECT, name=run, config=dict(config)))


def _wandb(run: str, config: Mapping[str, Any], folder: Path) -> Tracker:
    import wandb

    return _OfRun(wandb.init(project=PROJECT, name=run, config=dict(config)))


def _tensorboard(run: str, config: Mapping[str, Any], folder: Path) -> Tracker:
    return _OfTensorboard(folder / run, config)


# Each is called as its package.
TRACKERS: dict[str, Callable[[str, Mapping[str, Any], Path], Tracker]] = {
    "trackio": _trackio,
    "wandb": _wandb,
    "tensorboard": _tensorboard,
}


def check_tracker(name: str | None) -> None:
    """Raise OptionError for a tracker that is unknown or not installed; None is none.

    Before a training begins: hours later nobody could mend it.
    """
    if name is None:
        return
    if name not in TRACKERS:
        raise OptionError(f"track = {name!r}; {did_you_mean(name, TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise OptionError(f"--track {name} needs the package {name}: pip install {name}")


class _Guarded:
    """Keep a tracker's errors from a training: the first is said, and nothing is logged after."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name, self._reporter = name, reporter
        self._tracker: Tracker = NoTracker()

    def start(self, make: Callable[[], Tracker]) -> bool:
        """Begin, and tell whether it was possible."""
        return self._try(lambda: setattr(self, "_tracker", make()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._try(lambda: self._tracker.log(values, step))

    def finish(self) -> None:
        self._try(lambda: self._tracker.finish())

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        # Whatever a server, a login or a full disk makes of it: hours of training are worth more.
        except Exception as error:
            self._tracker = NoTracker()
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self._reporter.say(f"{self._name} stopped ({said}); training goes on without it")
            return False
        return True


@contextmanager
def tracking(
    name: str | None,
    run: str,
    config: Mapping[str, Any],
    *,
    folder: Path,
    reporter: Reporter,
) -> Iterator[Tracker]:
    """Open a tracker for the time of a training.

    Parameters
    ----------
    name
        Of the tracker; None for none.
    run
        What is trained, in words; the time is added, as the same may be trained again.
    config
        All that determines the run.
    folder
        Where a tracker that writes files puts a folder for each run.
    reporter
        Is told where the files are, and the first error.
    """
    if name is None:
        yield NoTracker()
        return
    # A time, not a number: runs of several machines may meet in one project.
    run = f"{run}-{time.strftime('%Y%m%d-%H%M%S')}"
    guarded = _Guarded(name, reporter)
    if guarded.start(lambda: TRACKERS[name](run, config, folder)):
        where = f"in {folder}" if (folder / run).is_dir() else f"of project {PROJECT}"
        reporter.say(f"{name}: run {run} {where}")
    try:
        yield guarded
    finally:
        guarded.finish()
