"""Define the types of the command line's options: what they accept ends; all else is a usage
error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import click

from svuprobe._errors import UserError
from svuprobe._machine import checked_device
from svuprobe.probe.finetune.protocol import RANGES
from svuprobe.probe.results.naming import check_display

MOST_SHARDS = 10_000


class Number(click.FloatRange):
    """Accept a finite number in a range; click's own range lets NaN through."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        # NaN is neither below the least nor above the most.
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return float(number)


class Checked(click.ParamType):
    """Accept a text that a function lets pass, and does not raise a UserError about."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name, self.check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            self.check(value)
        except UserError as error:
            self.fail(str(error), param, ctx)
        return value


class Shard(click.ParamType):
    """Accept ``i/n``, the i-th of n parts, counted from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        index, _, of = value.partition("/")
        # Digits of ASCII and few of them: int takes those of any script, and needs ages for
        # millions.
        numbers = [
            int(part) for part in (index, of) if part.isascii() and part.isdigit() and len(part) < 9
        ]
        if len(numbers) < 2 or not 1 <= numbers[0] <= numbers[1] <= MOST_SHARDS:
            self.fail(f"{value!r} is not i/n with 1 <= i <= n <= {MOST_SHARDS:,}", param, ctx)
        return tuple(numbers)


class DisplayName(click.ParamType):
    """Accept ``NAME=MODEL``: what a model is called, and the model."""

    name = "name=model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        # Of the first sign: a model's name may hold a path, and that another.
        name, sign, model = value.partition("=")
        if not sign or not model.strip():
            self.fail(f'{value!r} is not NAME=MODEL, as in "MERT 95M=mert-v1-95m"', param, ctx)
        try:
            return check_display(name), model.strip()
        except UserError as error:
            self.fail(str(error), param, ctx)


class DeviceOfWorkers(Checked):
    """Accept a device of this machine, or with ``--cluster`` what workers have."""

    def __init__(self) -> None:
        super().__init__("device", checked_device)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # (What is not given is a mark of click's here, and no text.)
        if ctx is not None and isinstance(ctx.params.get("cluster"), str):
            return value  # `RunOptions` knows what it may be
        return super().convert(value, param, ctx)


def whole(ranges: Mapping[str, tuple[float, float]]) -> dict[str, click.IntRange]:
    """Make types of the whole numbers that a protocol bounds, by the name of its field."""
    return {name: click.IntRange(int(low), int(high)) for name, (low, high) in ranges.items()}


DEVICE = Checked("device", checked_device)
RATE = Number(*RANGES["head_learning_rate"])
RATE_OR_0 = Number(*RANGES["mix_learning_rate"])
ALPHA = Number(*RANGES["class_weight_alpha"])
SHARE = Number(0, 1, max_open=True)  # of units or layers to drop
