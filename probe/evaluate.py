"""Select on validation, score the test split once, and say how sure the scores are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.probe.features import ClipFeatures
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.heads import Bank
from svuprobe.probe.splits import ClipSplits, FrameSplits, majority_vote, pool_windows
from svuprobe.probe.stats.intervals import interval
from svuprobe.probe.train import Fitted
from svuprobe.tasks.kinds.frames import Answer
from svuprobe.tasks.kinds.metrics import mean_of

Features = ClipFeatures | FrameFeatures


@dataclass(frozen=True)
class Choice:
    """Hold the learning rate selected for one layer (or the weighted sum), and its validation
    score.
    """

    layer: int
    learning_rate: float
    valid: float


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
        return [float(score) for f in fitted for score in f.score]
    banks = [f.bank for f in fitted]
    values = song_scores(features, reporter.watch(features.answers(banks, "valid"), unit="clip"))
    return [float(v) for v in values[features.task.metrics[0]].mean(axis=1)]


def select(
    features: Features, fitted: Sequence[Fitted], reporter: Reporter = SILENT
) -> dict[int, Choice]:
    """Choose a learning rate for each layer and the weighted sum, by mean validation score over
    seeds.

    ``reporter`` shows a bar: at frame level every head is decoded.
    """
    known_to = features.protocol.margin / features.n_scored("valid")
    table: dict[int, dict[float, list[float]]] = {}
    specs = [spec for f in fitted for spec in f.bank.specs]
    for spec, score in zip(specs, validation_scores(features, fitted, reporter), strict=True):
        table.setdefault(spec.layer, {}).setdefault(spec.learning_rate, []).append(score)
    choices = {}
    for layer, rates in sorted(table.items()):
        means = {
            rate: float(np.nan_to_num(np.mean(scores), nan=-np.inf))
            for rate, scores in sorted(rates.items())
        }
        best = best_rate(means, known_to)
        choices[layer] = Choice(layer, best, means[best])
    return choices


def best_rate(means: dict[float, float], known_to: float = 0.0) -> float:
    """Return the rate with the best score; of those within ``known_to`` of it, the grid's middle
    one.

    A small validation split gives many rates the same score, give or take a clip, and the best of
    them by chance is as likely at the edge of the grid, where heads hardly learn or jump, as
    anywhere.
    """
    rates = sorted(means)
    best = max(rates, key=lambda rate: means[rate])
    if not known_to:
        return best
    alike = [n for n, rate in enumerate(rates) if means[rate] >= means[best] - known_to]
    middle = (len(rates) - 1) / 2
    return rates[min(alike, key=lambda n: (abs(n - middle), -means[rates[n]]))]


def chosen_bank(fitted: Sequence[Fitted], choice: Choice) -> Bank:
    """Return the trained heads of one choice, ordered by seed, as a bank of their own."""
    wanted = (choice.layer, choice.learning_rate)
    places = [
        (f.bank, [n for n, s in enumerate(f.bank.specs) if (s.layer, s.learning_rate) == wanted])
        for f in fitted
    ]
    return Bank.join([bank.part(mine) for bank, mine in places if mine])


def test(
    features: Features, banks: Sequence[Bank], full: Sequence[bool], reporter: Reporter
) -> list[TestScores]:
    """Score the heads of each bank on the test split, with the interval of the ranked metric.

    ``full`` says of which banks all metrics and the predictions are wanted. At frame level each
    clip is read once.
    """
    if isinstance(features, ClipFeatures):
        each = zip(reporter.watch(banks, unit="layer"), full, strict=True)
        deals = features.protocol.deals
        return [score_clips(features, features.outputs(bank, "test"), f, deals) for bank, f in each]
    answers = list(reporter.watch(features.answers(banks, "test"), unit="clip"))
    ends = np.cumsum([len(bank) for bank in banks])
    return [
        score_songs(
            features,
            [heads[end - len(bank) : end] for heads in answers],
            f,
            features.protocol.deals,
        )
        for bank, end, f in zip(banks, ends, full, strict=True)
    ]


def leave_one_out(
    features: Features, bank: Bank, reporter: Reporter = SILENT
) -> dict[int, list[float]]:
    """Score weighted sums that lack one layer, per seed, on test; nothing is trained again."""
    layers = [n for n, left_out in enumerate(bank.mask.tolist()) if left_out == 0]
    if len(layers) < 2:
        return {}
    banks = [bank.without(layer) for layer in layers]
    if isinstance(features, ClipFeatures):
        values = [
            features.ranked(features.outputs(b, "test"), "test")
            for b in reporter.watch(banks, unit="layer")
        ]
    else:
        answers = reporter.watch(features.answers(banks, "test"), unit="clip")
        ranked = song_scores(features, answers)[features.task.metrics[0]].mean(axis=1)
        values = list(ranked.reshape(len(banks), -1))
    return {layer: v.tolist() for layer, v in zip(layers, values, strict=True)}


Scores = tuple[dict[str, list[float]], dict[str, "tuple[float, float] | None"]]


def score_clips(
    data: ClipSplits, outputs: np.ndarray, full: bool, deals: bool = False
) -> TestScores:
    """Score outputs (S, N, C) for the test split's windows; ``deals`` as `Protocol.deals`, for
    intervals.
    """
    task, rows = data.task, data.splits["test"]
    names = task.metrics if full else task.metrics[:1]
    scores, intervals = _score_units(
        names, data, deals, data.scored(outputs, "test"), *data.units("test")
    )
    # The same by recording: mean of the logits of its windows, and vote.
    if full and task.scored == "window":
        pooled = pool_windows(outputs, rows.clip)
        by_clip = (data.clip_targets["test"], rows.clip_group)
        more, wider = _score_units(task.metrics[:2], data, deals, pooled, *by_clip)
        scores |= {f"recording_{name}": value for name, value in more.items()}
        intervals |= {f"recording_{name}": value for name, value in wider.items()}
    if full and task.scored == "window" and data.kind.votes:
        more, wider = _score_units(
            ("accuracy",), data, deals, majority_vote(outputs, rows.clip), *by_clip
        )
        scores["vote_accuracy"], intervals["vote_accuracy"] = more["accuracy"], wider["accuracy"]
    predictions = {
        "outputs": outputs.astype(np.float32),
        "clip_id": np.array([rows.clips[n].id for n in rows.clip]),
        "group": np.array([rows.clips[n].group for n in rows.clip]),
        "target": data.clip_targets["test"][rows.clip],
    }
    return TestScores(scores, intervals, predictions)


def _score_units(
    names: Sequence[str],
    data: ClipSplits,
    deals: bool,
    outputs: np.ndarray,
    target: np.ndarray,
    group: np.ndarray,
) -> Scores:
    """Score outputs (S, N, C) per seed, and the mean over seeds with its interval."""
    n_groups = len(data.splits["test"].groups)
    scores: dict[str, list[float]] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in names:

        def each(counts: np.ndarray, name: str = name) -> np.ndarray:  # (R, G) -> (S, R)
            function = data.kind.metric(name, data.labels)
            return np.stack([function(target, o, group, counts) for o in outputs])

        scores[name] = each(np.ones((1, n_groups)))[:, 0].tolist()
        intervals[name] = interval(
            lambda counts, e=each: e(counts).mean(axis=0),  # type: ignore[misc]
            n_groups,
            share=data.kind.shares,
            draws=scores[name] if deals else None,
        )
    return scores, intervals


def song_scores(data: FrameSplits, answers: Iterable[Sequence[Answer]]) -> dict[str, np.ndarray]:
    """Collect every metric of every head in every clip, from ``[clip][head]``: name -> (H,
    clips).
    """
    scores = [[answer.scores for answer in heads] for heads in answers]
    return {
        n: np.array([[one[n] for one in heads] for heads in scores]).T for n in data.task.metrics
    }


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
    scores = {name: v.mean(axis=1).tolist() for name, v in values.items()}
    intervals = {}
    for name, by_seed in values.items():
        mean = partial(mean_of, by_seed.mean(axis=0), rows.clip_group)
        draws = scores[name] if deals else None
        intervals[name] = interval(mean, len(rows.groups), draws=draws)
    if full and data.kind.pooled:
        name = data.kind.pooled
        scores[name], intervals[name] = _pooled(data, decoded, deals)
    predictions = {f"score_{name}": v for name, v in values.items()}
    predictions["clip_id"] = np.array([c.id for c in rows.clips])
    predictions["group"] = np.array([c.group for c in rows.clips])
    predictions["estimate"] = _flat(decoded)
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
    parts = [
        np.hstack(
            [np.full((len(e), 1), clip), np.full((len(e), 1), seed), np.reshape(e, (len(e), -1))]
        )
        for clip, estimates in enumerate(decoded)
        for seed, e in enumerate(estimates)
        if len(e)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 5))


def chance(data: ClipSplits | FrameSplits) -> dict[str, float]:
    """Score guesses on test that know nothing but the training set.

    Each kind says how it guesses; of several draws it is the mean.
    """
    if isinstance(data, FrameSplits):
        return _chance_frames(data)
    target, group = data.units("test")
    draws = data.kind.chance(data.clip_targets["train"], data.labels, len(target))
    everyone = np.ones((1, len(data.splits["test"].groups)))
    scores = {}
    for name in data.task.metrics:
        score = data.kind.metric(name, data.labels)
        scores[name] = float(
            np.mean([score(target, outputs, group, everyone)[0] for outputs in draws])
        )
    return scores


def _chance_frames(data: FrameSplits) -> dict[str, float]:
    """Score what the kind answers without hearing anything: the mean over the clips of the test
    split.
    """
    values: list[dict[str, float]] = []
    for clip, times in zip(data.splits["test"].clips, data.times["test"], strict=True):
        values.append(data.kind.score(clip.target, data.kind.chance(data.task, times)))
    return {name: float(np.mean([v[name] for v in values])) for name in data.task.metrics}
