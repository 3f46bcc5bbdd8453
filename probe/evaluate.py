"""Select on validation, score the test split once, and say how sure the scores are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from svuprobe.probe.data import ClipFeatures, FrameFeatures, majority_vote, pool_windows
from svuprobe.probe.heads import WEIGHTED_SUM, Bank
from svuprobe.probe.stats import interval
from svuprobe.probe.train import Fitted
from svuprobe.tasks import beats, kinds
from svuprobe.tasks.metrics import mean_of, metric

Features = ClipFeatures | FrameFeatures
Watch = Callable[..., Iterable[Any]]


def _unwatched(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items


@dataclass(frozen=True)
class Choice:
    """The learning rate selected for one layer (or the weighted sum), and its validation score."""

    layer: int
    learning_rate: float
    valid: float


@dataclass(frozen=True)
class Tested:
    """Test scores of the heads of one choice, one per seed."""

    choice: Choice
    scores: dict[str, list[float]]
    intervals: dict[str, tuple[float, float] | None]
    predictions: dict[str, np.ndarray]
    mix: np.ndarray  # (S, L) weights of the layers


def validation_scores(features: Features, fitted: Sequence[Fitted], watched: Watch = _unwatched) -> list[np.ndarray]:
    """Ranked metric on validation of every head at its best state: one (H,) per bank."""
    if isinstance(features, ClipFeatures):
        return [f.score for f in fitted]
    ranked = features.task.metrics[0]
    banks = watched([f.bank for f in fitted], unit="bank")
    return [_song_scores(features, bank, "valid")[ranked].mean(axis=1) for bank in banks]


def select(features: Features, fitted: Sequence[Fitted], watched: Watch = _unwatched) -> list[Choice]:
    """For each layer and the weighted sum, the learning rate with the best mean validation score over seeds.

    ``watched`` wraps an iterable with a progress bar: at frame level every head is decoded.
    """
    table: dict[int, dict[float, list[float]]] = {}
    for bank, scores in zip((f.bank for f in fitted), validation_scores(features, fitted, watched), strict=True):
        for spec, score in zip(bank.specs, scores, strict=True):
            table.setdefault(spec.layer, {}).setdefault(spec.learning_rate, []).append(float(score))
    choices = []
    for layer, rates in sorted(table.items()):
        means = {rate: float(np.nan_to_num(np.mean(scores), nan=-np.inf)) for rate, scores in rates.items()}
        best = max(means, key=lambda rate: means[rate])
        choices.append(Choice(layer, best, means[best]))
    return choices


def chosen_bank(fitted: Sequence[Fitted], choice: Choice) -> Bank:
    """The trained heads of one choice, ordered by seed, as a bank of their own."""
    found: list[tuple[int, Bank, int]] = []
    for bank in (f.bank for f in fitted):
        for n, spec in enumerate(bank.specs):
            if (spec.layer, spec.learning_rate) == (choice.layer, choice.learning_rate):
                found.append((spec.seed, bank, n))
    found.sort(key=lambda item: item[0])
    first = found[0][1]
    mine = Bank(
        [bank.specs[n] for _, bank, n in found],
        n_layers=1,
        dim=first.parameters["weight0"].shape[1],
        n_outputs=first.parameters[f"bias{1 if first.hidden else 0}"].shape[2],
        hidden=first.hidden,
        device=first.device,
    )
    mine.parameters = {
        name: value.new_tensor(np.stack([bank.parameters[name][n].cpu().numpy() for _, bank, n in found]))
        for name, value in first.parameters.items()
    }
    return mine


def test(features: Features, fitted: Sequence[Fitted], choice: Choice, full: bool) -> Tested:
    """Score the heads of one choice on the test split. ``full`` adds intervals, all metrics and predictions."""
    bank = chosen_bank(fitted, choice)
    n_layers = len(features.moments.rms)
    if choice.layer == WEIGHTED_SUM:
        mix = bank.mix_weights().detach().cpu().numpy()
    else:
        mix = np.tile(np.eye(n_layers)[choice.layer], (len(bank), 1))
    if isinstance(features, ClipFeatures):
        scores, intervals, predictions = _test_clips(features, bank, full)
    else:
        scores, intervals, predictions = _test_frames(features, bank, full)
    return Tested(choice, scores, intervals, predictions, mix)


Scores = tuple[dict[str, list[float]], dict[str, "tuple[float, float] | None"], dict[str, np.ndarray]]


def _test_clips(features: ClipFeatures, bank: Bank, full: bool) -> Scores:
    task, rows = features.task, features.splits["test"]
    outputs = features.outputs(bank, "test")  # (S, N, C)
    scored = features.scored(outputs, "test")
    names = task.metrics if full else task.metrics[:1]
    scores, intervals = _score_units(names, features, scored, *features.units("test"), full)
    if full and task.scored == "window":  # the same by recording: mean of the logits of its windows, and vote
        pooled = pool_windows(outputs, rows.clip)
        by_clip = (features.clip_targets["test"], rows.clip_group)
        more, wider = _score_units(task.metrics[:2], features, pooled, *by_clip, full)
        scores |= {f"recording_{name}": value for name, value in more.items()}
        intervals |= {f"recording_{name}": value for name, value in wider.items()}
        more, wider = _score_units(("accuracy",), features, majority_vote(outputs, rows.clip), *by_clip, full)
        scores["vote_accuracy"], intervals["vote_accuracy"] = more["accuracy"], wider["accuracy"]
    predictions = {
        "outputs": outputs.astype(np.float32),
        "clip_id": np.array([rows.clips[n].id for n in rows.clip]),
        "group": np.array([rows.clips[n].group for n in rows.clip]),
        "target": features.clip_targets["test"][rows.clip],
    }
    return scores, intervals, predictions


def _score_units(
    names: Sequence[str],
    features: ClipFeatures,
    outputs: np.ndarray,
    target: np.ndarray,
    group: np.ndarray,
    with_interval: bool,
) -> tuple[dict[str, list[float]], dict[str, tuple[float, float] | None]]:
    n_groups = len(features.splits["test"].groups)
    scores: dict[str, list[float]] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in names:
        function = metric(name, features.labels)
        scores[name] = [float(function(target, o, group, np.ones((1, n_groups)))[0]) for o in outputs]
        if with_interval:
            intervals[name] = interval(
                lambda counts, f=function: np.mean([f(target, o, group, counts) for o in outputs], axis=0),  # type: ignore[misc]
                n_groups,
            )
    return scores, intervals


def _song_scores(
    features: FrameFeatures, bank: Bank, split: str, decoded: list[list[np.ndarray]] | None = None
) -> dict[str, np.ndarray]:
    """Every metric of every head in every clip: name -> (H, clips)."""
    decoded = decoded if decoded is not None else features.decoded(bank, split)
    clips, kind = features.splits[split].clips, features.task.kind
    table = [
        [kinds.score_clip(kind, clip.target, estimate) for estimate in estimates]
        for clip, estimates in zip(clips, decoded, strict=True)
    ]
    names = features.task.metrics
    return {n: np.array([[one[n] for one in heads] for heads in table]).T for n in names}


def _test_frames(features: FrameFeatures, bank: Bank, full: bool) -> Scores:
    rows = features.splits["test"]
    decoded = features.decoded(bank, "test")
    values = _song_scores(features, bank, "test", decoded)
    scores = {name: v.mean(axis=1).tolist() for name, v in values.items()}
    intervals = {}
    if full:
        for name, v in values.items():
            intervals[name] = interval(
                lambda counts, v=v: mean_of(v.mean(axis=0), rows.clip_group, counts),  # type: ignore[misc]
                len(rows.groups),
            )
    if full and features.task.kind == "beats":
        scores["beat_f_pooled"], intervals["beat_f_pooled"] = _pooled_beats(features, decoded)
    predictions = {f"score_{name}": v for name, v in values.items()}
    predictions["clip_id"] = np.array([c.id for c in rows.clips])
    predictions["group"] = np.array([c.group for c in rows.clips])
    predictions["estimate"] = _flat(decoded)
    return scores, intervals, predictions


def _pooled_beats(
    features: FrameFeatures, decoded: list[list[np.ndarray]]
) -> tuple[list[float], tuple[float, float] | None]:
    """F over the beats of all tracks together, as MARBLE's code has it: per seed, and its interval."""
    rows = features.splits["test"]
    counts = np.array(
        [[beats.matched(clip.target, e) for e in each] for clip, each in zip(rows.clips, decoded, strict=True)]
    )  # (clips, S, 3)

    def pooled(weights: np.ndarray) -> np.ndarray:  # (R, clips) -> (R, S)
        hits, references, estimates = np.moveaxis(np.einsum("rc,csk->rsk", weights, counts), -1, 0)
        return np.asarray(2 * hits / np.maximum(references + estimates, 1))

    whole = pooled(np.ones((1, len(rows.clips))))[0].tolist()
    return whole, interval(lambda drawn: pooled(drawn[:, rows.clip_group]).mean(axis=1), len(rows.groups))


def _flat(decoded: list[list[np.ndarray]]) -> np.ndarray:
    """Decoded notes or beats as one table: clip, seed, then onset, offset, midi or the beat's time."""
    parts = [
        np.hstack([np.full((len(e), 1), clip), np.full((len(e), 1), seed), np.reshape(e, (len(e), -1))])
        for clip, estimates in enumerate(decoded)
        for seed, e in enumerate(estimates)
        if len(e)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 5))


def chance(features: Features) -> dict[str, float]:
    """Scores on test of guessing with nothing but the training set.

    Classes are drawn with their frequencies (mean of 100 draws), tags and values are constant.
    """
    if isinstance(features, FrameFeatures):
        return _chance_frames(features)
    train = features.clip_targets["train"]
    target, group = features.units("test")
    if features.task.kind == "multiclass":
        rng = np.random.default_rng(0)
        prior = np.log(np.bincount(train, minlength=len(features.labels)) + 1e-9)
        outputs = prior + rng.gumbel(size=(100, len(target), len(prior)))
    else:
        outputs = np.tile(train.mean(axis=0), (1, len(target), 1))
    scores, _ = _score_units(features.task.metrics, features, outputs, target, group, False)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _chance_frames(features: FrameFeatures) -> dict[str, float]:
    """No notes; or the beats that the tracker finds where nothing is heard."""
    import torch

    clips, kind = features.splits["test"].clips, features.task.kind
    values: list[dict[str, float]] = []
    for clip, times in zip(clips, features.times["test"], strict=True):
        estimate: Any = np.zeros((0, 3))
        if kind == "beats":
            estimate = kinds.decode(features.task, torch.zeros(1, len(times), 1), times)[0]
        values.append(kinds.score_clip(kind, clip.target, estimate))
    return {name: float(np.mean([v[name] for v in values])) for name in features.task.metrics}
