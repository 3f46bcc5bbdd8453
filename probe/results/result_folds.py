"""Define what a result says of its splits, and of each fold of a cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

from svuprobe.probe.results.result_layers import Selected
from svuprobe.probe.results.result_words import Matrix, Text
from svuprobe.probe.results.score import PerSeed


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Count what of a split has features; over folds as in ``TaskInfo.splits``."""

    clips: int
    windows: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class FoldInfo:
    """Say what one fold of a cross-validation gave: its clips were tested by heads that learnt from
    others.

    Attributes
    ----------
    scores
        By metric, of the fold's ranked head on its own test clips, per seed.
    selected
        What the fold's validation split chose.
    layer_curve
        By layer, the ranked metric of its own head on the fold's test clips, per seed.
    softmax
        (seeds, layers) what the fold's weighted sums weigh; None where heads learn no weights.
    """

    name: Text
    train: SplitCounts
    valid: SplitCounts
    test: SplitCounts
    scores: dict[str, PerSeed]
    selected: Selected
    layer_curve: dict[str, PerSeed]
    softmax: Matrix | None = None
    caveats: tuple[Text, ...] = ()
