"""Train logistic regressions, and ridge regressions of values, as heads of networks are held.

scikit-learn's ``LogisticRegression`` minimises C times the summed cross-entropy plus half the
squared norm of the weights, ``Ridge`` the summed squared error plus alpha = 1 / C times it. Rows
weigh what they do in the losses of networks (class weights; frames with an onset).

What stands in the heads is a linear map of the scaled states, whatever principal components it was
found in: so it is scored, kept and used like the linear heads of a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from svuprobe.probe.classic.inputs import Features, Table, bank_for
from svuprobe.probe.training.heads import Bank, Spec
from svuprobe.tasks.kinds.base import Problem

# Logit of a class without a training row: e to this is 0.
ABSENT = -1e4
_MOST_STEPS = 1000  # of the solver; scikit-learn's own 100 are too few for raw features

Linear = tuple[np.ndarray, np.ndarray]  # (C, D) weights, (C,) bias


def fit(features: Features, heads: Sequence[Spec], table: Table) -> Bank:
    """Return trained heads of one seed on one layer, or set of layers, whose strengths ascend."""
    weights = features.weights
    problems = features.kind.problems(
        table.targets, None if weights is None else weights.cpu().numpy()
    )
    strengths = [spec.learning_rate for spec in heads]
    bank = bank_for(features, list(heads))
    for problem in problems:
        columns = range(bank.shape.outputs)[problem.columns]
        solutions = solve(table.rows, problem, len(columns), strengths)
        for head, (found, bias) in enumerate(solutions):
            if table.projection is not None:
                found = found @ table.projection.components
                bias = bias - found @ table.projection.centre
            place = slice(columns.start, columns.stop)
            bank.parameters["weight"][head, place] = torch.from_numpy(found).to(features.device)
            bank.parameters["bias"][head, place, 0] = torch.from_numpy(bias).to(features.device)
    return bank


def solve(
    rows: np.ndarray, problem: Problem, n_outputs: int, strengths: Sequence[float]
) -> Iterator[Linear]:
    """Yield the solution at each strength, ascending.

    Parameters
    ----------
    rows
        (N, D) float64.
    n_outputs
        Columns of the outputs: classes, values, or 1 of a tag.
    """
    if problem.weights is not None and not problem.weights.all():
        known = problem.weights > 0
        problem = problem._replace(targets=problem.targets[known], weights=problem.weights[known])
        rows = rows[known]
    n, dim = rows.shape
    rotation = None
    if dim > n:
        # The solution lies in the space of the rows, and a rotation changes no norm: in as many
        # dimensions as there are rows it is the same, and found sooner.
        _, singular, rotation = np.linalg.svd(rows, full_matrices=False)
        rows = rows @ rotation.T
    of_kind = {"values": _values, "tag": _tag, "classes": _classes}[problem.answers]
    for weights, bias in of_kind(rows, problem, n_outputs, strengths):
        yield (weights if rotation is None else weights @ rotation), bias


def _values(
    rows: np.ndarray, problem: Problem, n_outputs: int, strengths: Sequence[float]
) -> Iterator[Linear]:
    from sklearn.linear_model import Ridge

    for strength in strengths:
        found = Ridge(alpha=1 / strength).fit(rows, problem.targets.astype(np.float64))
        yield found.coef_.reshape(n_outputs, -1), np.reshape(found.intercept_, n_outputs)


def _tag(
    rows: np.ndarray, problem: Problem, n_outputs: int, strengths: Sequence[float]
) -> Iterator[Linear]:
    if len(np.unique(problem.targets)) < 2:
        # There or not there in every row: nothing to learn but that.
        sure = np.log(2 * len(rows) + 1) * (1 if problem.targets.any() else -1)
        for _ in strengths:
            yield np.zeros((1, rows.shape[1])), np.array([sure])
        return
    for found in _regressions(rows, problem, strengths):
        yield found.coef_.copy(), found.intercept_.copy()


def _classes(
    rows: np.ndarray, problem: Problem, n_outputs: int, strengths: Sequence[float]
) -> Iterator[Linear]:
    present = np.unique(problem.targets)
    absent = np.full(n_outputs, ABSENT)
    absent[present] = 0.0
    if len(present) < 2:
        for _ in strengths:
            yield np.zeros((n_outputs, rows.shape[1])), absent.copy()
        return
    for found in _regressions(rows, problem, strengths):
        weights, bias = np.zeros((n_outputs, rows.shape[1])), absent.copy()
        if len(present) == 2:
            # Of two classes there is one function, the difference of their logits.
            halves = np.array([[-0.5], [0.5]])
            weights[present] = halves * found.coef_
            bias[present] = halves[:, 0] * found.intercept_
        else:
            weights[present], bias[present] = found.coef_, found.intercept_
        yield weights, bias


def _regressions(rows: np.ndarray, problem: Problem, strengths: Sequence[float]) -> Iterator[Any]:
    """Yield logistic regressions from weak to strong; each starts from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=_MOST_STEPS, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # Weak regularisation of classes that rows tell apart has no near end: validation
            # chooses among what there is after so many steps, as it does of networks.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows, problem.targets, sample_weight=problem.weights)
        yield model
