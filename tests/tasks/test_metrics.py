"""Every metric is scikit-learn's, on the test set and on any resampling of its groups; losses are
torch's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from svuprobe.tasks import kinds, load
from svuprobe.tasks.kinds.metrics import METRICS, group_totals, mean_of, metric
from svuprobe.tasks.kinds.multiclass import class_weights
from svuprobe.tasks.kinds.regression import REGRESSION

N, C, GROUPS, RESAMPLINGS = 120, 5, 12, 20
CLIP_KINDS = [name for name in kinds.TABLE if kinds.named(name).level == "clip"]
KIND = {}
for kind in map(kinds.named, CLIP_KINDS):
    KIND |= dict.fromkeys((*kind.metrics, *kind.more_metrics), kind.name)
Score = Callable[[np.ndarray, np.ndarray], float]


def units(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets and outputs that know something of them, of units in groups of unequal size."""
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(GROUPS), rng.integers(0, GROUPS, N - GROUPS)])
    if kind == "multiclass":
        target = rng.integers(0, C, N)
        return target, rng.normal(size=(N, C)) + np.eye(C)[target], group
    if kind == "multilabel":
        target = (rng.random((N, C)) < 0.3).astype(np.float32)
        return target, rng.normal(size=(N, C)) + target, group
    target = rng.normal(size=(N, C)) * [1, 10, 0.1, 3, 1] + [0, 100, 0, -7, 1]
    return target, target + rng.normal(size=(N, C)), group


def draws(seed: int, n_groups: int = GROUPS, n: int = RESAMPLINGS) -> np.ndarray:
    """Counts (n, n_groups) of resamplings; the first is the test set itself."""
    counts = np.random.default_rng(seed).multinomial(
        n_groups, np.full(n_groups, 1 / n_groups), size=n
    )
    return np.vstack([np.ones((1, n_groups), int), counts])


def plain(name: str, target: np.ndarray, output: np.ndarray) -> float:
    return float(metric(name)(target, output, np.arange(len(target)), np.ones((1, len(target))))[0])


def over_tags(one: Score) -> Score:
    """Mean of a score over the tags that have a positive and a negative."""

    def mean(target: np.ndarray, output: np.ndarray) -> float:
        known = [c for c in range(target.shape[1]) if 0 < target[:, c].sum() < len(target)]
        return float(np.mean([one(target[:, c], output[:, c]) for c in known])) if known else np.nan

    return mean


def over_targets(correlation: Callable) -> Score:
    return lambda t, o: float(
        np.mean([correlation(t[:, c], o[:, c]).statistic for c in range(t.shape[1])])
    )


def top(k: int) -> Score:
    return lambda t, o: sk.top_k_accuracy_score(t, o, k=k, labels=np.arange(o.shape[1]))


SKLEARN: dict[str, Score] = {
    "accuracy": lambda t, o: sk.accuracy_score(t, o.argmax(1)),
    "macro_f1": lambda t, o: sk.f1_score(t, o.argmax(1), average="macro"),
    "balanced_accuracy": lambda t, o: sk.balanced_accuracy_score(t, o.argmax(1)),
    "top2": top(2),
    "top3": top(3),
    "roc_auc": over_tags(sk.roc_auc_score),
    "ap": over_tags(sk.average_precision_score),
    "r2": sk.r2_score,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "pearson": over_targets(pearsonr),
    "spearman": over_targets(spearmanr),
}


def by_hand(
    name: str, target: np.ndarray, output: np.ndarray, group: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """scikit-learn's value of each resampling, whose units are written out as often as they are
    drawn.
    """
    values = []
    with warnings.catch_warnings():  # a class that is predicted but was not drawn
        warnings.simplefilter("ignore", UserWarning)
        for row in counts:
            drawn = np.repeat(np.arange(len(target)), row[group])
            values.append(SKLEARN[name](target[drawn], output[drawn]))
    return np.array(values)


def test_every_metric_of_every_kind_is_compared():
    assert set(KIND) == set(METRICS) == set(SKLEARN)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METRICS)
def test_scores_equal_those_of_scikit_learn_on_every_resampling(name, seed):
    target, output, group = units(KIND[name], seed)
    counts = draws(seed)
    values = METRICS[name](target, output, group, counts)
    assert values.shape == (RESAMPLINGS + 1,)
    np.testing.assert_allclose(values, by_hand(name, target, output, group, counts), rtol=1e-9)


@pytest.mark.parametrize("name", ["macro_f1", "balanced_accuracy", "roc_auc", "ap"])
def test_a_class_that_was_not_drawn_is_left_out_of_the_mean(name):
    """One group per class, so most resamplings miss a class: scikit-learn's F1 and recall leave it
    out, too; its AUC of a tag without a positive is NaN and its AP of one without a negative 1, so
    here both are left out.
    """
    target, output, group = units(KIND[name], 3)
    if KIND[name] == "multiclass":
        group = target
    else:
        group %= C
        target *= np.eye(C, dtype=np.float32)[group]
    counts = draws(3, C)
    assert (counts == 0).any(axis=1).sum() > RESAMPLINGS / 2
    values = METRICS[name](target, output, group, counts)
    np.testing.assert_allclose(values, by_hand(name, target, output, group, counts), rtol=1e-9)


@pytest.mark.parametrize("name", ["roc_auc", "ap"])
def test_a_tag_that_every_unit_or_no_unit_has_changes_nothing(name):
    target, output, _ = units("multilabel", 4)
    more = np.hstack([target, np.ones((N, 1)), np.zeros((N, 1))])
    noise = np.random.default_rng(0).normal(size=(N, 2))
    assert plain(name, more, np.hstack([output, noise])) == pytest.approx(
        plain(name, target, output), abs=1e-12
    )


def test_f1_counts_a_class_that_is_only_predicted_and_recall_does_not():
    target, output = np.array([0, 0, 1, 1]), np.eye(4)[[0, 2, 1, 1]]
    # Class 3 is nowhere.
    assert plain("macro_f1", target, output) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert plain("balanced_accuracy", target, output) == pytest.approx((1 / 2 + 1) / 2)


def test_a_target_that_does_not_vary_is_left_out_of_r2():
    target, output, group = units("regression", 5)
    flat = np.hstack([target, np.full((N, 1), 1990.3)])
    counts = draws(5)
    known = METRICS["r2"](target, output, group, counts)
    np.testing.assert_allclose(
        METRICS["r2"](flat, np.hstack([output, output[:, :1]]), group, counts), known
    )


@pytest.mark.parametrize(
    ("name", "target", "output"),
    [
        ("roc_auc", np.ones((4, 2)), np.zeros((4, 2))),
        ("roc_auc", np.zeros((4, 2)), np.zeros((4, 2))),
        ("ap", np.zeros((4, 2)), np.zeros((4, 2))),
        ("ap", np.ones((4, 2)), np.zeros((4, 2))),
        ("r2", np.full((4, 2), 0.1), np.arange(8.0).reshape(4, 2)),
        ("r2", np.array([[1.0]]), np.array([[1.0]])),
    ],
)
def test_where_nothing_is_defined_the_score_is_nan(name, target, output):
    assert np.isnan(plain(name, target, output))


@pytest.mark.parametrize("name", METRICS)
def test_a_resampling_without_units_is_nan(name):
    target, output, group = units(KIND[name], 0)
    counts = np.zeros((2, GROUPS + 1), int)
    counts[0, GROUPS] = 3  # a group that no unit belongs to
    assert np.isnan(METRICS[name](target, output, group, counts)).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["roc_auc", "ap"])
def test_tied_scores_count_as_in_scikit_learn(name, seed):
    target, output, group = units("multilabel", seed)
    output, counts = np.round(output), draws(seed)
    assert len(np.unique(output)) < 10
    values = METRICS[name](target, output, group, counts)
    np.testing.assert_allclose(values, by_hand(name, target, output, group, counts), rtol=1e-9)


def test_constant_scores_give_an_auc_of_a_half_and_an_ap_of_the_share_of_positives():
    target = units("multilabel", 0)[0]
    assert plain("roc_auc", target, np.zeros((N, C))) == 0.5
    assert plain("ap", target, np.ones((N, C))) == pytest.approx(target.mean())


@pytest.mark.parametrize("k", [2, 3])
def test_ties_count_against_the_prediction(k):
    target = np.arange(C)
    assert plain(f"top{k}", target, np.zeros((C, C))) == 0.0
    two_first = np.zeros((C, C))
    two_first[:, :2] = 1.0
    two_first[np.arange(C), target] = 1.0  # class 0 and 1 tie with one other, the rest with two
    assert plain(f"top{k}", target, two_first) == (2 / C if k == 2 else 1.0)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_predictions_score_1_and_have_no_error(name):
    target, _, group = units(KIND[name], 1)
    output = np.eye(C)[target] if KIND[name] == "multiclass" else target
    values = METRICS[name](target, output, group, draws(1))
    np.testing.assert_allclose(values, 0.0 if name in ("mae", "rmse") else 1.0, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["roc_auc", "ap", "accuracy", "macro_f1", "balanced_accuracy", "top2", "top3"]
)
def test_only_the_order_of_the_outputs_counts(name):
    target, output, group = units(KIND[name], 2)
    counts = draws(2)
    values = METRICS[name](target, output, group, counts)
    np.testing.assert_array_equal(METRICS[name](target, np.exp(output * 3), group, counts), values)


@pytest.mark.parametrize("name", METRICS)
def test_float32_scores_are_as_good_as_float64(name):
    target, output, group = units(KIND[name], 2)
    if KIND[name] == "regression":
        target, output = target + 1990, output + 1990  # years
        target = target.astype(np.float32)
    output = output.astype(np.float32)
    exact = (
        output.astype(np.float64),
        target.astype(np.float64) if KIND[name] != "multiclass" else target,
    )
    expected = METRICS[name](exact[1], exact[0], group, draws(2))
    np.testing.assert_allclose(METRICS[name](target, output, group, draws(2)), expected, rtol=1e-4)


def test_equal_values_share_their_rank_and_constant_ones_have_no_correlation():
    target = np.array([1.0, 1.0, 2.0, 5.0, 5.0, 7.0])[:, None]
    output = np.array([0.0, 3.0, 3.0, 3.0, 4.0, 9.0])[:, None]
    expected = spearmanr(target[:, 0], output[:, 0]).statistic
    assert plain("spearman", target, output) == pytest.approx(expected)
    for name in ("pearson", "spearman"):
        assert np.isnan(plain(name, target, np.full_like(target, 0.1)))
        # Of several targets, one that is constant is left out of the mean.
        both = np.hstack([target, np.full_like(target, 0.3)])
        assert plain(name, both, np.hstack([output, output])) == plain(name, target, output)


def test_scores_of_each_label_are_those_of_scikit_learn():
    target, output, _ = units("multiclass", 1)
    found = kinds.named("multiclass").by_label(target, output)
    answer = output.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(target, answer)
    for name, values in zip(
        ("precision", "recall", "f1", "support"), (precision, recall, f1, support), strict=True
    ):
        np.testing.assert_allclose(found[name], values)
    target, output, _ = units("multilabel", 1)
    found = kinds.named("multilabel").by_label(target, output)
    np.testing.assert_allclose(found["roc_auc"], sk.roc_auc_score(target, output, average=None))
    np.testing.assert_allclose(
        found["ap"], sk.average_precision_score(target, output, average=None)
    )
    np.testing.assert_allclose(found["support"], target.sum(axis=0))
    target, output, _ = units("regression", 1)
    found = kinds.named("regression").by_label(target, output)
    np.testing.assert_allclose(found["r2"], sk.r2_score(target, output, multioutput="raw_values"))
    for name, values in found.items():
        assert values.mean() == pytest.approx(plain(name, target, output))


@pytest.mark.parametrize("column", range(C))
def test_r2_of_a_target_is_that_of_its_column(column):
    target, output, group = units("regression", 6)
    labels = tuple(f"t{n}" for n in range(C))
    value = REGRESSION.metric(f"r2_t{column}", labels)(target, output, group, np.ones((1, GROUPS)))[
        0
    ]
    assert value == pytest.approx(sk.r2_score(target[:, column], output[:, column]))


def test_the_mean_of_a_resampling_counts_a_group_as_often_as_it_is_drawn():
    values, group = np.array([1.0, 2.0, 9.0]), np.array([0, 0, 1])
    counts = np.array([[1, 1], [2, 0], [0, 2], [1, 3]])
    np.testing.assert_allclose(mean_of(values, group, counts), [4, 1.5, 9, 30 / 5])
    np.testing.assert_array_equal(group_totals(values[:, None], group, 3), [[3], [9], [0]])


# Losses


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_class_weights_have_mean_1_over_the_classes_that_occur(alpha):
    targets = np.repeat([0, 1, 3], [10, 40, 2])
    weights = class_weights(targets, 5, alpha)
    assert weights.dtype == np.float32
    assert weights[[0, 1, 3]].mean() == pytest.approx(1, rel=1e-6)
    assert (weights[[2, 4]] == 0).all()
    assert weights[3] / weights[1] == pytest.approx(20**alpha, rel=1e-5)


def test_alpha_0_weighs_all_classes_alike():
    np.testing.assert_array_equal(
        class_weights(np.repeat(np.arange(C), [1, 5, 2, 9, 30]), C, 0.0), np.ones(C)
    )


def test_alpha_1_gives_every_class_the_same_weight_in_total():
    sizes = np.array([10, 40, 2])
    total = class_weights(np.repeat(np.arange(3), sizes), 3, 1.0) * sizes
    np.testing.assert_allclose(total, total[0], rtol=1e-5)


HEADS, BATCH = 4, 7


@pytest.mark.parametrize(
    ("kind", "weighted", "loss"),
    [
        ("multiclass", False, torch.nn.CrossEntropyLoss()),
        (
            "multiclass",
            True,
            torch.nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0, 0.5, 0.3])),
        ),
        ("multilabel", False, torch.nn.BCEWithLogitsLoss()),
        ("regression", False, torch.nn.MSELoss()),
    ],
)
def test_the_loss_of_each_head_is_what_torch_gives_it_alone(kind, weighted, loss):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(HEADS, BATCH, C, generator=generator, requires_grad=True)
    if kind == "multiclass":
        targets = torch.randint(C, (BATCH,), generator=generator)
    else:
        targets = torch.rand(BATCH, C, generator=generator).round()
    losses = kinds.named(kind).loss(outputs, targets, loss.weight if weighted else None)
    alone = torch.stack([loss(of_head, targets) for of_head in outputs])
    torch.testing.assert_close(losses, alone)
    gradients = (torch.autograd.grad(x.sum(), outputs)[0] for x in (losses, alone))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", CLIP_KINDS)
def test_a_clip_level_head_has_one_output_per_label(kind):
    assert kinds.named(kind).n_outputs(("a", "b", "c")) == 3


@pytest.mark.parametrize(
    ("labels", "left_out"), [("ab", {"top2", "top3"}), ("abc", {"top3"}), ("abcd", set())]
)
def test_a_metric_that_is_always_1_is_not_scored(labels, left_out):
    task = load("technique")
    kind = kinds.of(task)
    named = kind.scored_names(task, tuple(labels))
    assert set(task.metrics) - set(named) == left_out
    assert named[0] == task.metrics[0]
    # What is left out says nothing, whatever is answered.
    rng = np.random.default_rng(0)
    target, output = rng.integers(len(labels), size=50), rng.normal(size=(50, len(labels)))
    for name in ("top2", "top3"):
        (score,) = metric(name)(target, output, np.zeros(50, int), np.ones((1, 1)))
        assert (score == 1) == (name in left_out)
    # It may rank, where somebody asks for it by name.
    ranked = replace(task, metrics=("top3", *task.metrics[:3]))
    assert kind.scored_names(ranked, tuple(labels))[0] == "top3"
