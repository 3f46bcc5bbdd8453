"""Check that a model keeps the contract of an `Extractor`, and measure how fast it is here.

The checks are methods of `svuprobe.extractors.model_trial.Trial`. What a model raises is a failed
check, not an end: the screen is always whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from svuprobe._show import shown
from svuprobe.extractors.model_trial import BrokenPromiseError, Trial, on_one_line


@dataclass(frozen=True)
class Check:
    """Hold one promise of the contract, whether it is kept, and what was seen."""

    what: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class ModelReport:
    """Hold what `check` found.

    ``speed`` is in seconds of audio per second, None where the model didn't run.
    """

    name: str
    revision: str
    facts: dict[str, str]
    checks: tuple[Check, ...]
    speed: float | None

    __repr__ = shown

    @property
    def ok(self) -> bool:
        """Return whether every promise is kept."""
        return all(check.ok for check in self.checks)

    def lines(self) -> Iterator[str]:
        """Yield the lines of one screen."""
        yield f"{self.name} at {self.revision[:12]}"
        for what, value in self.facts.items():
            yield f"  {what:<20} {value}"
        for check in self.checks:
            yield f"  {check.what:<20} {'ok     ' if check.ok else 'FAILED '} {check.seen}"
        if self.speed:
            hours = f"100 h of audio take {100 / self.speed:.2g} h"
            yield f"  {'speed':<20} {self.speed:.3g} s of audio per second; {hours}"


def check(extractor: Any, device: str = "cpu", dtype: str = "float32") -> ModelReport:
    """Try everything that the contract promises.

    Parameters
    ----------
    extractor
        Any `svuprobe.extractors.base.Extractor`. It is moved to the device.
    device, dtype
        Where and in which type (float32 or bfloat16) to run it.
    """
    # Outside the checks: a device that can't be used is no fault of the model.
    extractor.to(device, getattr(torch, dtype))
    trial = Trial(extractor, device, dtype)
    promises: tuple[tuple[str, Callable[[], str]], ...] = (
        ("shortest clip", trial.shortest),
        ("shapes", trial.shapes),
        ("frames of a clip", trial.frame_counts),
        ("frame times", trial.frame_times),
        ("finite", trial.finite),
        ("determinism", trial.determinism),
        ("batch equals single", trial.batch_equals_single),
        ("pooled", trial.pooled),
        ("gradients off", trial.gradients_off),
        ("eval mode", trial.eval_mode),
    )
    checks = tuple(_try(what, promise) for what, promise in promises)
    try:
        speed = trial.speed()
    except Exception as error:  # the checks above say the same
        checks, speed = (*checks, Check("speed", False, on_one_line(error))), None
    return ModelReport(
        extractor.name, extractor.revision, _facts(extractor, device, dtype), checks, speed
    )


def _facts(extractor: Any, device: str, dtype: str) -> dict[str, str]:
    names = extractor.layer_names
    rate = extractor.sample_rate / extractor.hop
    longest, at_once = getattr(extractor, "longest", None), getattr(extractor, "at_once", None)
    return {
        "sample rate": (
            f"{extractor.sample_rate} Hz, waveform normalisation {extractor.normalization}"
        ),
        "frames": (
            f"{rate:.6g} per second: one every {extractor.hop} samples, each sees "
            f"{extractor.receptive_field}"
        ),
        "layers": (
            f"{len(names)} of {extractor.dim} features: "
            f"{names[0]}{f' to {names[-1]}' if names[1:] else ''}"
        ),
        "longest clip": (
            "any"
            if longest is None
            else f"{longest} samples, {longest / extractor.sample_rate:g} s"
        )
        + (f", in pieces of {at_once / rate:g} s" if at_once else ""),
        "parameters": f"{extractor.parameters:,}",
        "run": f"on {device} in {dtype}",
    }


def _try(what: str, promise: Callable[[], str]) -> Check:
    try:
        return Check(what, True, promise())
    except BrokenPromiseError as error:
        return Check(what, False, str(error))
    except Exception as error:
        return Check(what, False, on_one_line(error))
