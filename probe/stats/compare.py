"""Test whether one model is really better than another on one task, by a paired bootstrap.

Both see the same test clips, so what makes a singer hard is shared and cancels: each resampling
draws the same groups for both. The seeds are a second source of chance and are resampled as well,
each model's own (two models' seed 0 share nothing but the order of the data). Two equal models were
called different, at a nominal 5 %, in 4.3 to 5.5 % of 1,500 simulated test sets (8, 20 and 60
groups; five seeds that spread by 0, 2 or 5 points), and after Holm's correction any of three in 3.9
to 5.0 %. Of nearly perfect models, which differ in a few groups alone, it is less (0 to 3 % at
accuracies of 97 to 99.5 %). With the seeds left out it was 11 % (2 points) and 34 % (5 points)
with 60 groups; by the plain percentile bootstrap 14 % with 8 groups, even without any spread of
seeds.

What is compared is these heads, chosen and trained on this training set: neither another training
split nor the choice of the learning rate is resampled.

References
----------
Efron & Tibshirani, "An introduction to the bootstrap", 1993 (chapter 16); Bouthillier et al.,
"Accounting for variance in machine learning benchmarks", MLSys 2021 (seeds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import Result, TaskInfo
from svuprobe.probe.stats import units
from svuprobe.probe.stats.intervals import (
    CONFIDENCE,
    MIN_GROUPS,
    RESAMPLINGS,
    deletions,
    influence,
    studentised,
)
from svuprobe.probe.stats.pairs import holm_of_pairs, letters
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.kinds.metrics import ratio_of

ALPHA = 1 - CONFIDENCE
POWER = 0.8
# The smallest p-value of R resamplings is 1 / (R + 1). Of so many pairs Holm's first step can still
# be passed by it; of one model more, no difference however large would be found.
MOST_PAIRS = math.ceil(ALPHA * (RESAMPLINGS + 1)) - 1
MOST_MODELS = (1 + math.isqrt(1 + 8 * MOST_PAIRS)) // 2


@dataclass(frozen=True)
class Comparison:
    """Compare all pairs of M models on one task, by its ranked metric.

    Attributes
    ----------
    models
        Their names, in the order they were given.
    mean
        (M,) mean over seeds, on the clips that all have.
    difference, low, high
        (M, M) mean of the row's model less the column's, and its interval at 95 % (not corrected
        for the number of pairs); NaN where too few groups differ to say, or all by the same.
    p, p_holm
        (M, M) two-sided, and corrected by Holm over all pairs. NaN on the diagonal and where
        nothing can be said.
    detectable
        (M, M) minimum detectable difference: a true one of this size is found, at 0.05 without
        correction, with 80 % power on a test set and with seeds like these.
    letters
        Significance groups: two models that share a letter are not told apart (``p_holm`` of at
        least 0.05). The best has an ``a``. Empty strings where there is no test.
    best
        Whether each model is not told apart from the one that scores highest.
    clips, groups
        Size of the test set the models share.
    caveat
        One sentence for the table, or an empty string.
    """

    models: tuple[str, ...]
    mean: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray
    detectable: np.ndarray
    letters: tuple[str, ...]
    best: tuple[bool, ...]
    clips: int
    groups: int
    caveat: str

    @property
    def typical_detectable(self) -> float:
        """Return the median over the pairs of the minimum detectable difference; NaN if unknown."""
        known = self.detectable[np.isfinite(self.detectable)]
        return float(np.median(known)) if len(known) else float("nan")


@dataclass(frozen=True)
class JackknifeScores:
    """Hold one model's predictions on the test split, reduced to what a comparison needs.

    Attributes
    ----------
    clips
        Ids of its test clips.
    groups
        Over how many groups they are.
    scores
        (S, 1 + B) ranked metric of every seed at the rows of ``stats.deletions``.
    """

    clips: frozenset[str]
    groups: int
    scores: np.ndarray


def compare(
    results: Sequence[tuple[Result, Path]], *, across_protocols: bool = False
) -> Comparison:
    """Compare results of one task, from the predictions beside each JSON.

    They are under one protocol too, unless ``across_protocols`` says that protocols are compared.

    Models that lack clips (``--allow-missing``) are compared on those that all have.

    Parameters
    ----------
    results
        Each with the path of its JSON file; at most ``MOST_MODELS``.

    Raises
    ------
    ProbeError
        Results of different tasks, versions, splits, targets or protocols; predictions that are not
        there or not what was written with the result; no clip in common.
    """
    first = results[0][0]
    for result, path in results:
        for what, mine, others in _must_agree(result, first, across_protocols):
            if mine != others:
                raise ProbeError(
                    f"{path}: {what} {mine!r} can't be compared with {others!r}; choose one of them"
                )
    return between(results, [read(result, path) for result, path in results])


def between(
    results: Sequence[tuple[Result, Path]], tested: Sequence[JackknifeScores]
) -> Comparison:
    """Compare results that share a table, each with what `read` returned for it."""
    if len(results) > MOST_MODELS:
        raise ProbeError(
            f"{len(results)} models can't be compared in pairs; {MOST_MODELS} can, so choose "
            f"those of interest: of more pairs {RESAMPLINGS:,} resamplings tell none apart"
        )
    common = frozenset.intersection(*(each.clips for each in tested))
    if not common:
        raise ProbeError(
            f"{results[0][1]}: the {len(results)} results have no test clip in common; extract "
            "them all"
        )
    shared = [
        each if each.clips == common else read(result, path, common)
        for (result, path), each in zip(results, tested, strict=True)
    ]
    missing = max(len(each.clips) for each in tested) - len(common)
    names = [shown_name(result) for result, _ in results]
    scores = [each.scores for each in shared]
    # Heads of scikit-learn would be the same for every seed: nothing depends on it.
    seedless = all(
        len(seeds) > 1 or result.protocol.head != "network"
        for seeds, (result, _) in zip(scores, results, strict=True)
    )
    return from_scores(names, scores, len(common), shared[0].groups, missing, seedless=seedless)


def _must_agree(
    result: Result, first: Result, across_protocols: bool
) -> list[tuple[str, Any, Any]]:
    pairs: list[tuple[str, Any, Any]] = []
    for name in (*TaskInfo.COMPARABLE, "ranked"):
        pairs.append((f"task {name}", getattr(result.task, name), getattr(first.task, name)))
    if not across_protocols:
        pairs.append(("protocol", result.protocol.hash, first.protocol.hash))
    return pairs


def read(result: Result, path: Path, clips: frozenset[str] | None = None) -> JackknifeScores:
    """Read the predictions beside the JSON at ``path``, and score them on ``clips``, or on all
    there are.

    Raises ProbeError where they are not there, not what was written with the result, or of another
    shape.
    """
    stored = units.predictions(result, path)
    clips = frozenset(stored["clip_id"].tolist()) if clips is None else clips
    rows = np.isin(stored["clip_id"], list(clips))
    names, group = np.unique(stored["group"][rows], return_inverse=True)
    scores = _at_deletions(result, stored, rows, group, deletions(len(names)))
    return JackknifeScores(clips, len(names), scores)


def _at_deletions(
    result: Result,
    stored: dict[str, np.ndarray],
    rows: np.ndarray,
    group: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """Score every seed by the ranked metric at every row of ``counts``: (S, 1 + B)."""
    ranked = result.task.ranked
    if f"score_{ranked}" in stored:
        of_clips = stored[f"score_{ranked}"][:, rows]
        parts = np.stack([of_clips, np.ones_like(of_clips)], axis=-1)
        if f"parts_{ranked}" in stored:
            parts = stored[f"parts_{ranked}"][:, rows]
        return np.stack([ratio_of(each[:, 0], each[:, 1], group, counts) for each in parts])
    scored = units.of_rows(result, stored, rows, group)
    kind = kinds.named(result.task.kind)
    assert isinstance(kind, ClipKind)  # others store the score of each clip
    function = units.metric_of(kind, ranked, result.task.labels, scored.fold)
    return np.stack([function(scored.target, o, scored.group, counts) for o in scored.outputs])


def from_scores(
    models: Sequence[str],
    seeds: Sequence[np.ndarray],
    clips: int,
    n_groups: int,
    missing: int = 0,
    *,
    seedless: bool = False,
) -> Comparison:
    """Compare models by their scores per seed, each (S, 1 + B) at the rows of
    ``stats.deletions``; ``seedless`` says that one seed, where there is one, is all there could be.
    """
    size = len(models)
    mean = np.array([s[:, 0].mean() for s in seeds])
    low, high, p, detectable = (np.full((size, size), np.nan) for _ in range(4))
    added = [influence(s.mean(axis=0)) for s in seeds]
    # Seeds are a second source of chance: how far each lies from its model's mean.
    varied = [s[:, 0] - s[:, 0].mean() for s in seeds]
    known = [i for i in range(size) if np.isfinite(added[i]).all() and np.isfinite(varied[i]).all()]
    for i, j in combinations(known, 2) if n_groups >= MIN_GROUPS else ():
        # Groups are shared and cancel; the seeds of two models share nothing.
        parts = [added[i] - added[j], varied[i], -varied[j]]
        gap = mean[i] - mean[j]
        p[i, j], reach, detectable[i, j] = _paired(gap, parts)
        low[i, j], high[i, j] = gap - reach, gap + reach
        low[j, i], high[j, i] = -high[i, j], -low[i, j]
        p[j, i], detectable[j, i] = p[i, j], detectable[i, j]
    p_holm = holm_of_pairs(p)
    different = p_holm < ALPHA
    tested = np.flatnonzero(np.isfinite(p).any(axis=1))  # a model without a score has no letter
    groups, best = [""] * size, [False] * size
    crowded = ""
    if len(tested):
        shown = letters(different[np.ix_(tested, tested)], mean[tested])
        crowded = (
            ""
            if any(shown)
            else "the differences make more groups than there are letters, so none are shown"
        )
        top = tested[int(np.argmax(mean[tested]))]
        for model, letter in zip(tested, shown, strict=True):
            groups[model], best[model] = letter, not different[top, model]
    fewest = 2 if seedless else min(len(s) for s in seeds)
    told = [_caveat(n_groups, fewest, missing), crowded]
    return Comparison(
        models=tuple(models),
        mean=mean,
        difference=mean[:, None] - mean,
        low=low,
        high=high,
        p=p,
        p_holm=p_holm,
        detectable=detectable,
        letters=tuple(groups),
        best=tuple(best),
        clips=clips,
        groups=n_groups,
        caveat="; ".join(filter(None, told)),
    )


def _paired(gap: float, parts: list[np.ndarray]) -> tuple[float, float, float]:
    """Return p, half the width of the interval and the minimum detectable difference of one pair.

    A difference that is the same in every group and seed leaves nothing to resample: its p is that
    of flipping the groups' signs, 2 / 2^B, and 1 of no difference at all. It has no bounds, NaN,
    and neither has one that so few groups make that over 5 % of resamplings hold none of them.
    """
    error, t = studentised(parts)
    if error < 1e-10:
        alike = abs(gap) < 1e-10  # a model and its copy
        return 1.0 if alike else 2.0 ** (1 - len(parts[0])), np.nan, np.nan
    # The estimate falls short of the true difference by more than the second quantile with
    # probability 1 - POWER.
    with np.errstate(invalid="ignore"):  # where both neighbours are infinite
        reach, more = np.quantile(t, [CONFIDENCE, 2 * POWER - 1])
    if not np.isfinite(reach):
        reach = more = np.nan
    # The observed statistic counts as one of its resamplings, so that no p is 0.
    p = (1 + np.count_nonzero(t >= abs(gap) / error)) / (1 + len(t))
    return float(p), float(reach * error), float((reach + more) * error)


def _caveat(n_groups: int, n_seeds: int, missing: int) -> str:
    told = []
    if n_groups < MIN_GROUPS:
        groups = "1 group" if n_groups == 1 else f"{n_groups} groups"
        told.append(f"{groups} in test, under {MIN_GROUPS}: no test of differences")
    elif n_seeds < 2:
        told.append(
            "one seed: how far a difference depends on it is not known, so it may be called too "
            "soon"
        )
    if missing:
        told.append(f"compared without {missing} clips that not all models have")
    return "; ".join(told)
