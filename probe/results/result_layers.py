"""Define what a result says of layers: what a sum weighs them by, and what validation chose."""

from __future__ import annotations

from dataclasses import dataclass

from svuprobe.probe.results.result_words import Matrix, Text


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Say what the weighted sum weighs, whatever is ranked.

    Attributes
    ----------
    softmax
        (seeds, layers) as learnt.
    times_rms
        (seeds, layers) weight times the layer's RMS as the head sees it, normalised to a sum of 1.
    rms
        (layers,) over the training set.
    entropy
        (seeds,) of the weights in nats: the logarithm of the number of layers where all weigh the
        same.
    """

    softmax: Matrix
    times_rms: Matrix
    rms: tuple[float, ...]
    entropy: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """Say what validation chose of one head.

    Attributes
    ----------
    layer
        A layer's name; or ``sum``, ``concat`` or ``mean`` of all.
    learning_rate
        None of heads that have none.
    setting
        What was chosen of those: ``C = 1``, ``alpha = 10`` or ``k = 5, cosine``.
    tried
        Learning rates (of regressions C) that it was chosen from, ascending, where some lie beyond
        the grid of the protocol; else None. Of a cross-validation, those tried in any fold.
    """

    layer: Text
    learning_rate: float | None = None
    valid: float | None
    setting: Text | None = None
    tried: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Say what validation chose: of the ranked head, and of each single layer by its name."""

    head: LayerChoice
    layers: dict[str, LayerChoice]
