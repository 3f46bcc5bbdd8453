"""Train heads of scikit-learn on every layer and set of layers, and choose their settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np

from svuprobe._progress import Reporter
from svuprobe.probe import evaluate, widening
from svuprobe.probe.classic import logistic, votes
from svuprobe.probe.classic.inputs import (
    Features,
    Table,
    bank_for,
    layers_of,
    read,
    training_table,
)
from svuprobe.probe.classic.neighbours import (
    NeighbourBank,
    Setting,
    answers_of,
    ask,
    grid,
    require_windows,
)
from svuprobe.probe.evaluate import Choice
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.training.bank_run import Fitted
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.heads import Bank, Spec
from svuprobe.probe.training.rates import best_rate


@dataclass(frozen=True)
class Heads:
    """Hold the heads that validation chose of each layer and set of layers, and the choices."""

    choices: dict[int, Choice]
    banks: dict[int, Bank]


def train(features: Features, reporter: Reporter) -> Heads:
    """Train all heads of a protocol and choose, of each layer and set of layers, the best setting.

    Raises ProbeError where a kind or a size is not for these heads.
    """
    protocol = features.protocol
    if not features.kind.problems(_some_targets(features)):
        raise ProbeError(
            f"task {features.task.name}: {features.kind.name} is a kind that is learnt by gradient "
            "descent alone; probe it with --protocol svuprobe or linear"
        )
    if protocol.head == "knn":
        require_windows(features)
        assert isinstance(features, ClipFeatures)
        return _neighbours(features, reporter)
    return _regressions(features, reporter)


def _some_targets(features: Features) -> np.ndarray:
    block, rows = next(iter(features.training(0)))
    targets: np.ndarray = block.targets[rows].cpu().numpy()
    return targets


def _tables(features: Features, reporter: Reporter) -> Iterator[tuple[int, list[Table]]]:
    """Yield each layer with what every seed learns from in it, one layer in memory at a time."""
    layers = layers_of(features.protocol, len(features.feature_stats.rms))
    for layer in reporter.watch(layers, unit="layer"):
        tables = [training_table(features, layer, n) for n in range(features.protocol.draws)]
        if features.protocol.head == "knn":
            # They are kept, and what is answered later is what is scored now: in float32.
            tables = [replace(table, rows=table.rows.astype(np.float32)) for table in tables]
        yield layer, tables


def _regressions(features: Features, reporter: Reporter) -> Heads:
    """Train logistic or ridge regressions; validation chooses their strength as a learning rate."""
    choices: dict[int, Choice] = {}
    banks: dict[int, Bank] = {}
    grid = features.protocol.strengths
    for layer, tables in _tables(features, reporter):
        heads = [Spec(layer, strength, n) for n in range(len(tables)) for strength in grid]
        fitted, found = widening.search(features, heads, partial(_fitted, features, tables))
        choice = found[layer]
        banks[layer] = evaluate.chosen_bank(fitted, choice)
        strength = choice.learning_rate
        values = features.kind.problems(tables[0].targets)[0].answers == "values"
        words = f"alpha = {1 / strength:g}" if values else f"C = {strength:g}"
        choices[layer] = replace(choice, setting=words)
    return Heads(choices, banks)


def _fitted(
    features: Features, tables: Sequence[Table], heads: Sequence[Spec], _: Reporter
) -> list[Fitted]:
    """Train regressions of a layer, those of each seed on its table."""
    fitted = []
    ascending = sorted(heads, key=lambda spec: (spec.seed, spec.learning_rate))
    for seed, of_seed in groupby(ascending, key=lambda spec: spec.seed):
        bank = logistic.fit(features, list(of_seed), tables[seed])
        score = np.zeros(len(bank))
        if isinstance(features, ClipFeatures):
            score = features.monitor(bank, features.blocks["valid"])
        fitted.append(Fitted(bank, score, np.zeros(len(bank), int)))
    return fitted


def _neighbours(features: ClipFeatures, reporter: Reporter) -> Heads:
    """Choose how many neighbours are asked, and by which distance."""
    choices: dict[int, Choice] = {}
    banks: dict[int, Bank] = {}
    for layer, tables in _tables(features, reporter):
        best: tuple[float, Setting] | None = None
        for metric in votes.METRICS:
            means = _scores(features, layer, tables, metric)
            k = best_rate(means, features.protocol.margin / features.n_scored("valid"))
            # Of two distances that are as good, the first.
            if best is None or means[k] > best[0]:
                best = means[k], Setting(int(k), metric)
        assert best is not None
        valid, setting = best
        banks[layer] = NeighbourBank(features, layer, tables, setting)
        choices[layer] = Choice(layer, float(setting.k), valid, str(setting))
    return Heads(choices, banks)


def _scores(
    features: ClipFeatures, layer: int, tables: list[Table], metric: str
) -> dict[float, float]:
    """Return the mean validation score over seeds of each number of neighbours."""
    bank = bank_for(features, [Spec(layer, 0.0, 0)])
    queries = read(bank, features.blocks["valid"], slice(None))
    numbers = grid(features, min(len(table.rows) for table in tables))
    scores: dict[float, list[float]] = {float(k): [] for k in numbers}
    for seed, table in enumerate(tables):
        answers = answers_of(features, table.targets)
        said = votes.ballots(table.targets, answers, features.n_outputs)
        places = ask(table, queries, numbers[-1], metric)
        for k in numbers:
            made = votes.outputs(said, places[:, :k], answers)[None]
            made = features.kind.unscaled(made, features.offset, features.spread)
            scores[float(k)].append(float(features.ranked(made, "valid", seed)[0]))
    return {k: float(np.mean(of_seeds)) for k, of_seeds in scores.items()}
