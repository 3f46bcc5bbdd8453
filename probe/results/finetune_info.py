"""Define what a result says of training end to end, as types with what their keys hold."""

from __future__ import annotations

from dataclasses import dataclass


# Apart from the code that trains, so that reading a result loads none of it.
@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """Say how one stage of training went.

    Attributes
    ----------
    epochs, best_epoch
        How many there were, and the one that counts.
    valid
        Its ranked metric on validation.
    trainable
        Weights that learnt.
    layer_weights
        (layers,) at the end of the stage.
    """

    epochs: int
    best_epoch: int
    valid: float | None
    trainable: int
    layer_weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class EpochInfo:
    """Say how one epoch went.

    Attributes
    ----------
    stage
        The stage it is of, from 1 up.
    loss
        Mean over the steps.
    valid
        Ranked metric on validation, where it was looked at.
    """

    stage: int
    loss: float
    valid: float | None = None


@dataclass(frozen=True, kw_only=True)
class FineTuneInfo:
    """Say how a network was trained end to end (`svuprobe.probe.finetune.run`).

    Attributes
    ----------
    parameters
        Of the whole network, with its head.
    stages, epochs
        Of every seed its stages, and the epochs of all of them; of a cross-validation of every
        seed of the first fold, then of the second, and so on.
    seconds
        Of every seed, in that order.
    peak_memory_mib
        Most that was held, of the GPU or else of the process.
    processes
        How many trained together.
    """

    parameters: int
    stages: tuple[tuple[StageInfo, ...], ...]
    epochs: tuple[tuple[EpochInfo, ...], ...]
    seconds: tuple[float, ...]
    peak_memory_mib: float
    processes: int
