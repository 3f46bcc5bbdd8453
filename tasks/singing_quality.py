"""Quality of singing on SingMOS (Tang et al. 2024): the mean opinion score of 16 kHz clips, most of
them synthesised, converted or resynthesised.

Layout: the dataset as its authors distribute it, ``metadata.csv`` with the columns ``file_name``
(``wav/sys0001-utt0001.wav``), ``mos`` (1 to 5) and ``split``, and the clips. A name begins with the
system that made the clip, which is the group. Clips without audio are left out.

The split is the authors': ``train``, ``valid``, and for the test ``eval_v1``, that of the singing
track of the VoiceMOS Challenge 2024, and ``eval_v2``, together. A system may have clips
in several splits, as theirs have: the groups cross, and most of what is tested are new clips of
known systems.

Ranked, as in the challenge, is Spearman's correlation of systems: clips' scores are averaged over
each system, those that listeners gave and those predicted, and the means are correlated
(``system_srcc``; Pearson's ``system_lcc``, Kendall's tau-b ``system_ktau``, and ``system_mse``, the
mean squared error). Of clips there are ``spearman``, ``pearson`` and ``rmse``. Systems are left out
one at a time for intervals, which held the true value in 92 to 100 % of 300 simulated sets of 10 to
80 systems, with correlations of 0.7 and 0.95.

What differs from the authors: their predictors are fine-tuned; clips are heard whole, where they
repeat or cut them to a length; and metrics are over both test sets at once, where they give one
number each.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from svuprobe.tasks.kinds.metrics import METRICS, Metric
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

METADATA = "metadata.csv"
SPLITS = ("train", "valid", "eval_v1", "eval_v2")
LOWEST, HIGHEST = 1.0, 5.0


def clips(root: Path) -> list[Clip]:
    """Return the clips whose audio is there; the group is the system."""
    path = root / METADATA
    found = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            for row in rows:
                audio = root / row["file_name"]
                mos, split = float(row["mos"]), _split(row["split"])
                if not LOWEST <= mos <= HIGHEST or math.isnan(mos):
                    raise ValueError(f"mos {mos:g} in line {rows.line_num} is not from 1 to 5")
                if audio.is_file():
                    system = audio.stem.split("-")[0]
                    found.append(Clip(audio.stem, str(audio), split, target=(mos,), group=system))
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with SingMOS") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TaskError(
            f"{path}: not SingMOS's columns file_name, mos, split ({error!r})"
        ) from None
    return found


def _split(name: str) -> str:
    if name.startswith("eval"):  # also of a later version
        return "test"
    if name not in SPLITS:
        raise ValueError(f"split {name!r} is none of {', '.join(SPLITS)}")
    return name


# -- scores of systems -----------------------------------------------------------------------------


def _of_systems(metric: Metric) -> Metric:
    """Return a metric of the systems' means: groups are systems, and each is one unit."""

    def averaged(
        target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        sizes = np.bincount(group, minlength=counts.shape[1])[:, None]
        means = []
        for values in (target, output):
            sums = np.zeros((counts.shape[1], values.shape[1]))
            np.add.at(sums, group, values)
            means.append(sums / np.maximum(sizes, 1))
        # Groups that have no clip are no systems.
        there = np.flatnonzero(sizes[:, 0])
        own = np.arange(len(there))
        return metric(means[0][there], means[1][there], own, counts[:, there])

    return averaged


def _kendall(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Compute Kendall's tau-b of one target, (R,); NaN where one side is constant.

    All pairs of units are compared at once, which suits some hundred units.
    """
    weights = counts[:, group].astype(float)  # (R, N)
    signs = []
    for values in (target[:, 0], output[:, 0]):
        signs.append(np.sign(values[:, None] - values))
    # A unit that is drawn twice is tied with itself, which the diagonal of zeros says.
    agree = ((weights @ (signs[0] * signs[1])) * weights).sum(axis=1)
    untied = [((weights @ np.abs(sign)) * weights).sum(axis=1) for sign in signs]
    scale = np.sqrt(untied[0] * untied[1])
    return np.divide(agree, scale, out=np.full(len(agree), np.nan), where=scale > 0)


def _mse(
    target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Compute the mean squared error, (R,)."""
    return np.square(METRICS["rmse"](target, output, group, counts))


system_srcc = _of_systems(METRICS["spearman"])
system_lcc = _of_systems(METRICS["pearson"])
system_ktau = _of_systems(_kendall)
system_mse = _of_systems(_mse)


TASK = Task(
    name="singing-quality",
    dataset="singmos",
    kind="regression",
    labels=("mos",),
    metrics=("system_srcc", "system_lcc", "system_ktau", "system_mse"),
    clips=clips,
    windowing=Windowing(),
    licence="CC BY 4.0",
    reference=(
        "Tang et al. 2024, SingMOS, arXiv:2406.10911, https://huggingface.co/datasets/TangRain/SingMOS"
    ),
    disjoint_groups=False,
)
