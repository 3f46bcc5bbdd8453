"""Say which results are of audio that the model was trained on, or may have been.

What is on record of each model is in `svuprobe.extractors.training_data`; a result holds none of
it, so that what becomes known later stands beside old scores too.
"""

from __future__ import annotations

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.training_data import (
    HOLDS as HOLDS,
    MARKS as MARKS,
    MAY_HOLD as MAY_HOLD,
    UNKNOWN as UNKNOWN,
    Contact,
    contact,
    meaning as meaning,
)
from svuprobe.probe import baselines
from svuprobe.probe.results.result import Result
from svuprobe.tasks.datasets import DATASETS


def of_result(result: Result) -> Contact | None:
    """Return what the model of a result has to do with the task's dataset; None for nothing.

    Controls and supervised baselines had no audio before; synthetic audio is nobody's training
    data; and of data of the user's own nothing is on record.
    """
    model, task = result.model, result.task
    if model.control or model.name in baselines.TABLE:
        return None
    if task.synthetic or task.dataset not in DATASETS:
        return None
    return contact(model.name, task.dataset)


def of_system(system: str, dataset: str) -> Contact | None:
    """Return the same of a system that a paper names, where the catalogue has it by that name."""
    name = system.lower()
    return contact(name, dataset) if name in CATALOGUE else None
