"""The interval covers the truth as often as it says, because its unit is the group and not the
clip.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from svuprobe.probe.stats.intervals import (
    CONFIDENCE,
    MAX_BLOCKS,
    MIN_GROUPS,
    RESAMPLINGS,
    correlation_interval,
    deletions,
    influence,
    interval,
    resamplings,
    studentised,
)
from svuprobe.tasks.kinds.metrics import mean_of, metric

N_SETS = 500


@pytest.mark.parametrize("n_groups", [1, 2, 5, 100])
def test_every_resampling_draws_as_many_groups_as_there_are(n_groups):
    counts = resamplings(n_groups)
    assert counts.shape == (RESAMPLINGS, n_groups)
    assert (counts.sum(axis=1) == n_groups).all()
    assert (counts >= 0).all()


def test_every_group_is_drawn_alike():
    """Each count has mean 1 and variance 1 - 1/G."""
    counts = resamplings(10)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(counts.var(axis=0), 0.9, atol=0.05)


def test_resamplings_are_the_same_each_time_and_another_seed_changes_them():
    again = resamplings(7).copy()
    resamplings.cache_clear()
    np.testing.assert_array_equal(resamplings(7), again)
    assert not np.array_equal(resamplings(7), resamplings(7, seed=1))


def test_resampling_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    resamplings.cache_clear()
    resamplings(7)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_each_group_is_left_out_once():
    counts = deletions(7)
    assert (counts[0] == 1).all()
    assert (counts[1:].sum(axis=1) == 6).all()
    assert (counts[1:].sum(axis=0) == 6).all()


def test_many_groups_are_left_out_in_blocks_of_nearly_equal_size():
    counts = deletions(5 * MAX_BLOCKS + 3)
    assert len(counts) == 1 + MAX_BLOCKS
    assert set((counts[1:] == 0).sum(axis=1)) == {5, 6}
    assert ((counts[1:] == 0).sum(axis=0) == 1).all()


def test_the_influence_of_a_mean_is_what_each_group_deviates_from_it():
    values = np.random.default_rng(0).normal(size=9)
    found = influence(deletions(9) @ values / deletions(9).sum(axis=1))
    np.testing.assert_allclose(np.sort(found), np.sort(values - values.mean()), atol=1e-12)


def test_the_standard_error_of_a_sum_of_means_is_the_textbook_one():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=30), rng.normal(0, 3, 5)]
    error, t = studentised([part - part.mean() for part in parts])
    assert error == pytest.approx(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    assert len(t) == RESAMPLINGS
    # Between a normal's 1.96 and Student's 2.78.
    assert np.quantile(t, CONFIDENCE) == pytest.approx(2.4, abs=0.4)


def test_one_unit_has_no_spread_to_resample():
    values = np.arange(10.0) - 4.5
    np.testing.assert_array_equal(studentised([values])[1], studentised([values, np.zeros(1)])[1])


@pytest.mark.parametrize("n_groups", [0, 1, MIN_GROUPS - 1])
def test_nothing_is_said_with_too_few_groups(n_groups):
    assert interval(lambda counts: counts.sum(axis=1) * 1.0, n_groups) is None


def test_nothing_is_said_where_the_score_hangs_on_one_group():
    assert interval(lambda counts: np.where(counts[:, 0] > 0, 0.75, np.nan), 8) is None


@pytest.mark.parametrize(
    ("value", "share"), [(0.75, True), (1.0, False), (0.0, False), (-2.0, False)]
)
@pytest.mark.parametrize("draws", [None, [0.7, 0.8]])
def test_nothing_is_said_where_no_group_changes_the_score(value, share, draws):
    """How far groups differ is not known, and an interval without width would say that it is."""

    def score(counts):
        return np.full(len(counts), value)

    assert interval(score, 5, share=share, draws=draws) is None
    if abs(value) <= 1:
        assert correlation_interval(score, 5, draws=draws) is None


@pytest.mark.parametrize("n_groups", [8, 160])
def test_a_perfect_score_is_not_certain(n_groups):
    """Groups without a fault could each have been a lucky draw with a chance of 2.5 % in all."""
    low, high = interval(lambda counts: np.ones(len(counts)), n_groups)
    assert high == 1
    assert low**n_groups == pytest.approx(0.025)
    zero_low, zero_high = interval(lambda counts: np.zeros(len(counts)), n_groups)
    assert (zero_low, zero_high) == (0, pytest.approx(1 - low))


def test_one_error_in_160_clips_leaves_little_doubt():
    """As Clopper and Pearson have it for independent clips: 0.966 to 0.9998."""
    right = np.ones(160)
    right[7] = 0
    low, high = interval(lambda counts: counts @ right / counts.sum(axis=1), 160)
    assert low == pytest.approx(0.966, abs=0.012)
    assert high == pytest.approx(0.9998, abs=0.001)


def test_the_interval_is_students_on_its_own_scale():
    values = np.random.default_rng(0).normal(size=9)
    low, high = interval(lambda counts: counts @ values / counts.sum(axis=1), 9, share=False)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def single_clips(rng, n_groups):
    """Clips without singers, nearly all of them right."""
    target = rng.integers(0, 5, n_groups)
    logits = rng.normal(size=(n_groups, 5))
    logits[np.arange(n_groups), target] += 4.05
    return target, logits, np.arange(n_groups)


def test_the_interval_covers_the_truth_near_the_ceiling():
    assert 0.92 <= coverage(single_clips, metric("accuracy"), 160, True) <= 0.99


def test_the_interval_of_a_share_stays_between_0_and_1():
    values = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    low, high = interval(lambda counts: counts @ values / counts.sum(axis=1), 6)
    assert 0 < low < values.mean() < high < 1
    assert interval(lambda counts: counts @ values / counts.sum(axis=1), 6, share=False)[1] > 1


def test_the_interval_of_a_score_below_zero_is_on_its_own_scale():
    values = np.random.default_rng(0).normal(-2, 1, 20)
    free = interval(lambda counts: counts @ values / counts.sum(axis=1), 20, share=False)
    assert interval(lambda counts: counts @ values / counts.sum(axis=1), 20) == free


def test_more_groups_narrow_the_interval_as_one_over_the_root():
    widths = []
    for n in (50, 200, 5000):
        values = np.random.default_rng(1).normal(size=n)
        values = (values - values.mean()) / values.std()
        low, high = interval(
            lambda counts, v=values: counts @ v / counts.sum(axis=1), n, share=False
        )
        widths.append(high - low)
        assert high - low == pytest.approx(2 * 1.96 / np.sqrt(n), rel=0.15)
    # Beyond 100 groups, which are joined, to 7 %.
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def grouped(rng, n_groups, per_group):
    """Group of each clip, groups of unequal size: the largest of 20 has three times as many as the
    median.
    """
    sizes = np.maximum(1, np.round(per_group * np.exp(rng.normal(0, 0.6, n_groups)))).astype(int)
    return np.repeat(np.arange(n_groups), sizes)


def classes_set(rng, n_groups):
    """Singers differ in how well, and into what, they are confused."""
    group = grouped(rng, n_groups, 12)
    target = rng.integers(0, 5, len(group))
    logits = rng.normal(size=(len(group), 5)) + rng.normal(0, 0.7, (n_groups, 5))[group]
    logits[np.arange(len(group)), target] += rng.normal(2, 0.6, n_groups)[group]
    return target, logits, group


def values_set(rng, n_groups):
    group = grouped(rng, n_groups, 5)
    target = rng.normal(0, 0.8, (n_groups, 1))[group] + rng.normal(0, 0.6, (len(group), 1))
    error = rng.normal(0, 0.4, (n_groups, 1))[group] + rng.normal(0, 0.5, target.shape)
    return target, 0.6 * target + error, group


def tags_set(rng, n_groups):
    group = grouped(rng, n_groups, 5)
    shape = (len(group), 2)
    tagged = rng.normal(size=(n_groups, 2))[group] + rng.normal(0, 0.5, shape) > (0.3, 0.8)
    logits = 1.2 * tagged + rng.normal(0, 0.5, (n_groups, 2))[group] + rng.normal(0, 0.8, shape)
    return tagged.astype(float), logits, group


def songs_set(rng, n_groups):
    """An F per song, songs of one singer alike."""
    group = grouped(rng, n_groups, 2)
    centre = 1 / (1 + np.exp(-rng.normal(0, 0.8, n_groups)))[group]
    return np.zeros(len(group)), rng.beta(8 * centre, 8 * (1 - centre)), group


def clip_mean(target, output, group, counts):
    return mean_of(output, group, counts)


def coverage(made, function, n_groups, share, unit_of=None, n_sets=N_SETS, find=interval):
    """Share of simulated test sets whose interval has the score of a test set a thousand times as
    large.
    """
    rng = np.random.default_rng(2)
    truth = function(*made(rng, 20000), np.ones((1, 20000)))[0]
    hits = 0
    for _ in range(n_sets):
        target, output, group = made(rng, n_groups)
        unit = group if unit_of is None else unit_of(group)
        low, high = find(
            lambda c, t=target, o=output, u=unit: function(t, o, u, c), unit.max() + 1, share=share
        )
        hits += low <= truth <= high
    return hits / n_sets


@pytest.mark.parametrize("n_groups", [8, 30])
@pytest.mark.parametrize(
    ("made", "function", "share"),
    [
        (classes_set, metric("accuracy"), True),
        (classes_set, metric("macro_f1"), True),
        (songs_set, clip_mean, True),
        (values_set, metric("r2"), False),
        (tags_set, metric("roc_auc"), True),
    ],
    ids=["accuracy", "macro_f1", "clip_mean", "r2", "roc_auc"],
)
def test_the_interval_covers_the_truth_in_92_to_98_per_cent_of_test_sets(
    made, function, n_groups, share
):
    assert 0.92 <= coverage(made, function, n_groups, share) <= 0.98


def test_the_interval_of_a_correlation_covers_the_truth_and_stays_below_1():
    found = coverage(
        values_set, metric("pearson"), 15, False, n_sets=200, find=correlation_interval
    )
    assert 0.91 <= found <= 0.985
    near = 0.999 + 0.001 * np.sin(np.arange(11))

    def score(counts):
        return counts @ near[: counts.shape[1]] / counts.sum(axis=1)

    low, high = correlation_interval(score, 10)
    assert low < 0.999 < high < 1
    # Where seeds differ in what they learnt.
    wide = correlation_interval(score, 10, draws=[0.99, 0.995, 0.999])
    assert wide[0] < low
    assert correlation_interval(score, 3) is None


def systems_set(rng, n_groups):
    """One mean of ratings for each system, and what is predicted of it: r is 0.95, rho 0.945."""
    target = rng.normal(size=(n_groups, 1))
    error = np.sqrt(1 - 0.95**2) * rng.normal(size=target.shape)
    return target, 0.95 * target + error, np.arange(n_groups)


def test_ranks_of_few_systems_have_an_honest_interval_or_none():
    """A third of sets of five systems are ranked without a fault: "1 to 1" would hold no truth."""
    rng, ranks = np.random.default_rng(4), metric("spearman")
    truth = 6 / np.pi * np.arcsin(0.95 / 2)  # of normal values
    for n_groups, most_perfect in ((5, 0.45), (8, 0.13)):
        hits, widths, perfect = [], [], 0
        for _ in range(300):
            target, output, group = systems_set(rng, n_groups)
            found = correlation_interval(
                lambda c, t=target, o=output, g=group: ranks(t, o, g, c), n_groups
            )
            if found is None:
                perfect += 1
                continue
            hits.append(found[0] <= truth <= found[1])
            widths.append(found[1] - found[0])
        assert 0.02 < perfect / 300 < most_perfect
        assert np.mean(hits) > 0.94
        # Without two of its systems' one fault the ranks are perfect, and z would be infinite.
        assert np.median(widths) < 1.95 if n_groups == 5 else np.median(widths) < 1


def test_the_interval_covers_the_truth_clearly_less_if_clips_are_the_units():
    each = coverage(
        classes_set, metric("accuracy"), 30, True, lambda group: np.arange(len(group)), 100
    )
    assert each < 0.8
