"""Select on validation, score the test split once, and say how sure the scores are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.probe.song_scores import over_clips, song_scores
from svuprobe.probe.stats.intervals import correlation_interval, interval
from svuprobe.probe.training.bank_run import Fitted
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.heads import Bank
from svuprobe.probe.training.rates import best_rate
from svuprobe.probe.training.splits import ClipSplits, FrameSplits, majority_vote, pool_windows
from svuprobe.tasks.kinds.frames import Answer
from svuprobe.tasks.kinds.metrics import CORRELATIONS, Metric, ratio_of

Features = ClipFeatures | FrameFeatures
# By layer and learning rate, the ranked metric on validation of the head of each seed.
RateScores = dict[int, dict[float, list[float]]]
# Of the heads of a choice, one a seed: outputs (S, N, C) of windows, or events ``[clip][seed]``.
Answers = np.ndarray | list[list[Answer]]


@dataclass(frozen=True)
class Choice:
    """Hold the learning rate selected for one layer (or set of layers), and its validation score.

    ``setting`` says what was selected of heads that have no learning rate; ``tried``, ascending,
    what it was selected from where that is more than the grid (`svuprobe.probe.widening`).
    """

    layer: int
    learning_rate: float
    valid: float
    setting: str = ""
    tried: tuple[float, ...] = ()


class TestScores(NamedTuple):
    """Hold the test scores of the heads of one choice, one per seed."""

    scores: dict[str, list[float]]
    intervals: dict[str, tuple[float, float] | None]
    predictions: dict[str, np.ndarray]


def validation_scores(
    features: Features, fitted: Sequence[Fitted], reporter: Reporter = SILENT
) -> list[float]:
    """Return the ranked metric on validation of every head at its best state; NaN where one
    diverged.
    """
    if isinstance(features, ClipFeatures):
        # At clip level heads stopped by this very score.
        return np.concatenate([one.score for one in fitted]).tolist()
    banks = [one.bank for one in fitted]
    answers = reporter.watch(features.answers(banks, "valid"), unit="clip")
    scores: list[float] = song_scores(features, answers)[features.task.metrics[0]].mean().tolist()
    return scores


def rate_scores(
    features: Features, fitted: Sequence[Fitted], reporter: Reporter = SILENT
) -> RateScores:
    """Return what heads score on validation, by layer and learning rate.

    ``reporter`` shows a bar: at frame level every head is decoded.
    """
    specs = list(chain.from_iterable(one.bank.specs for one in fitted))
    scores: RateScores = {}
    for spec, score in zip(specs, validation_scores(features, fitted, reporter), strict=True):
        scores.setdefault(spec.layer, {}).setdefault(spec.learning_rate, []).append(score)
    return scores


def select(features: Features, scores: RateScores) -> dict[int, Choice]:
    """Choose a learning rate for each layer and the weighted sum, by mean validation score over
    seeds.
    """
    # So many clips (or windows) of validation are what a score is known to.
    known_to = features.protocol.margin / features.n_scored("valid")
    choices = {}
    for layer, rates in sorted(scores.items()):
        # The whole grid: a rate that was stopped can't be chosen, and keeps its place.
        means = dict.fromkeys(features.protocol.grid, -np.inf)
        for rate, of_seeds in rates.items():
            # A rate at which the head of any seed diverged is never chosen.
            means[rate] = float(np.nan_to_num(np.mean(of_seeds), nan=-np.inf))
        best = best_rate(means, known_to)
        choices[layer] = Choice(layer, best, means[best])
    return choices


def chosen_bank(fitted: Sequence[Fitted], choice: Choice) -> Bank:
    """Return the trained heads of one choice, ordered by seed, as a bank of their own."""
    parts = []
    for one in fitted:
        mine = []
        for place, spec in enumerate(one.bank.specs):
            if (spec.layer, spec.learning_rate) == (choice.layer, choice.learning_rate):
                mine.append(place)
        if mine:
            parts.append(one.bank.part(mine))
    return Bank.join(parts)


def test_answers(
    features: Features, banks: Sequence[Bank], reporter: Reporter
) -> Iterator[Answers]:
    """Yield what the heads of each bank answer on the test split.

    At frame level each clip is read once.
    """
    if isinstance(features, ClipFeatures):
        for bank in reporter.watch(banks, unit="layer"):
            yield features.outputs(bank, "test")
        return
    # The heads of all banks answer for a clip together, one bank after the other.
    answers = list(reporter.watch(features.answers(banks, "test"), unit="clip"))
    start = 0
    for bank in banks:
        stop = start + len(bank)
        yield [heads[start:stop] for heads in answers]
        start = stop


def score(
    data: ClipSplits | FrameSplits, answers: Answers, full: bool, deals: bool = False
) -> TestScores:
    """Score answers on the test split, with the interval of each metric.

    ``full`` says whether all metrics and the predictions are wanted, not the ranked one alone;
    ``deals`` is as `Protocol.deals`, for intervals.
    """
    if isinstance(data, ClipSplits):
        return score_clips(data, np.asarray(answers), full, deals)
    return score_songs(data, list(answers), full, deals)


def leave_one_out(
    features: Features, bank: Bank, reporter: Reporter = SILENT
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each layer and what weighted sums that lack it answer on test; nothing is trained
    again.

    Answers are outputs (S, N, C), or at frame level `SongScores.whole` of the ranked metric.
    """
    layers = [n for n, left_out in enumerate(bank.mask.tolist()) if left_out == 0]
    if len(layers) < 2:
        return
    banks = [bank.without(layer) for layer in layers]
    if isinstance(features, ClipFeatures):
        for layer, less in zip(layers, reporter.watch(banks, unit="layer"), strict=True):
            yield layer, features.outputs(less, "test")
        return
    answers = reporter.watch(features.answers(banks, "test"), unit="clip")
    ranked = song_scores(features, answers)[features.task.metrics[0]]
    yield from zip(layers, np.split(ranked.whole, len(banks)), strict=True)


def ranked_scores(data: ClipSplits | FrameSplits, answers: np.ndarray) -> np.ndarray:
    """Return the ranked metric on test, (S,), of what `leave_one_out` yields of a layer."""
    if isinstance(data, ClipSplits):
        return data.ranked(answers, "test")
    return over_clips(answers)


Scores = tuple[dict[str, list[float]], dict[str, "tuple[float, float] | None"]]


def score_clips(
    data: ClipSplits, outputs: np.ndarray, full: bool, deals: bool = False
) -> TestScores:
    """Score outputs (S, N, C) for the test split's windows; ``deals`` as `Protocol.deals`, for
    intervals.
    """
    task, rows = data.task, data.splits["test"]
    names = data.kind.scored_names(task, data.labels) if full else task.metrics[:1]
    units = data.scored(outputs, "test")
    scores, intervals = _score_units(names, data, task.scored, deals, units, *data.units("test"))
    # The same by recording: mean of the logits of its windows, and vote.
    if full and task.scored == "window":
        by_clip = (data.clip_targets["test"], rows.clip_group)
        pooled = pool_windows(outputs, rows.clip)
        more, wider = _score_units(task.metrics[:2], data, "clip", deals, pooled, *by_clip)
        for name in more:
            scores[f"recording_{name}"] = more[name]
            intervals[f"recording_{name}"] = wider[name]
        if data.kind.votes:
            votes = majority_vote(outputs, rows.clip)
            more, wider = _score_units(("accuracy",), data, "clip", deals, votes, *by_clip)
            scores["vote_accuracy"] = more["accuracy"]
            intervals["vote_accuracy"] = wider["accuracy"]
    windows = [rows.clips[n] for n in rows.clip]  # the clip of each window
    predictions = {
        "outputs": outputs.astype(np.float32),
        "clip_id": np.array([clip.id for clip in windows]),
        "group": np.array([clip.group for clip in windows]),
        "target": data.clip_targets["test"][rows.clip],
    }
    return TestScores(scores, intervals, predictions)


def _score_units(
    names: Sequence[str],
    data: ClipSplits,
    scored: str,
    deals: bool,
    outputs: np.ndarray,
    target: np.ndarray,
    group: np.ndarray,
) -> Scores:
    """Score outputs (S, N, C) of windows or clips per seed, and their mean with its interval."""
    n_groups = len(data.splits["test"].groups)
    scores: dict[str, list[float]] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in names:
        of_seeds = partial(_of_seeds, data.metric(name, scored), target, outputs, group)
        scores[name] = of_seeds(np.ones((1, n_groups)))[:, 0].tolist()
        draws = scores[name] if deals else None
        mean = partial(_mean_over_seeds, of_seeds)
        find = correlation_interval if name in CORRELATIONS else interval
        intervals[name] = find(mean, n_groups, share=data.kind.shares, draws=draws)
    return scores, intervals


def _of_seeds(
    metric: Metric, target: np.ndarray, outputs: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return a metric of each seed's outputs (S, N, C) under counts (R, G): (S, R)."""
    return np.stack([metric(target, own, group, counts) for own in outputs])


def _mean_over_seeds(
    of_seeds: Callable[[np.ndarray], np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """Return the mean over seeds of (S, R) scores under counts (R, G): (R,)."""
    return np.asarray(of_seeds(counts).mean(axis=0))


def score_songs(
    data: FrameSplits, answers: Sequence[Sequence[Answer]], full: bool, deals: bool = False
) -> TestScores:
    """Score the test split's answers, ``[clip][seed]``; ``deals`` as `Protocol.deals`, for
    intervals.
    """
    rows = data.splits["test"]
    values = song_scores(data, answers)
    decoded = [[answer.estimate for answer in seeds] for seeds in answers]
    if not full:
        values = {data.task.metrics[0]: values[data.task.metrics[0]]}
    scores = {name: v.mean().tolist() for name, v in values.items()}
    intervals = {}
    for name, by_seed in values.items():
        # Seeds have the same references: the mean of their ratios is a ratio, too.
        mean = partial(ratio_of, *by_seed.over_seeds(), rows.clip_group)
        draws = scores[name] if deals else None
        intervals[name] = interval(mean, len(rows.groups), draws=draws)
    if full and data.kind.pooled:
        name = data.kind.pooled
        scores[name], intervals[name] = _pooled(data, decoded, deals)
    predictions = {}
    for name, of_metric in values.items():
        predictions[f"score_{name}"] = of_metric.by_clip
        if of_metric.parts is not None:
            predictions[f"parts_{name}"] = of_metric.parts
    predictions["clip_id"] = np.array([c.id for c in rows.clips])
    predictions["group"] = np.array([c.group for c in rows.clips])
    predictions["estimate"] = _flat(decoded)
    predictions |= data.kind.kept(rows.clips)
    return TestScores(scores, intervals, predictions)


def _pooled(
    data: FrameSplits, decoded: list[list[np.ndarray]], deals: bool
) -> tuple[list[float], tuple[float, float] | None]:
    """Return the F over the events of all clips together: per seed, and its interval."""
    rows = data.splits["test"]
    matched = []
    for clip, estimates in zip(rows.clips, decoded, strict=True):
        matched.append([data.kind.matched(clip.target, estimate) for estimate in estimates])
    counts = np.array(matched)  # (clips, S, 3)

    def pooled(weights: np.ndarray) -> np.ndarray:  # (R, clips) -> (R, S)
        hits, references, estimates = np.moveaxis(np.einsum("rc,csk->rsk", weights, counts), -1, 0)
        return np.asarray(2 * hits / np.maximum(references + estimates, 1))

    whole = pooled(np.ones((1, len(rows.clips))))[0].tolist()
    draws = whole if deals else None
    by_groups = interval(
        lambda drawn: pooled(drawn[:, rows.clip_group]).mean(axis=1), len(rows.groups), draws=draws
    )
    return whole, by_groups


def _flat(decoded: list[list[np.ndarray]]) -> np.ndarray:
    """Return decoded events as one table: clip, seed, then onset, offset, midi or the beat's
    time.
    """
    parts = []
    for clip, estimates in enumerate(decoded):
        for seed, events in enumerate(estimates):
            n = len(events)
            if n:
                place = np.tile([clip, seed], (n, 1))
                parts.append(np.hstack([place, np.reshape(events, (n, -1))]))
    return np.concatenate(parts) if parts else np.zeros((0, 5))
