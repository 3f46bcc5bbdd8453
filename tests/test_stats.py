"""The interval covers the truth as often as it says, because groups are resampled and not clips."""

from __future__ import annotations

import numpy as np
import pytest

from svuprobe.probe.stats import CONFIDENCE, RESAMPLINGS, interval, resamplings
from svuprobe.tasks.metrics import mean_of

N_SETS, GROUPS, PER_GROUP = 200, 30, 5


@pytest.mark.parametrize("n_groups", [1, 2, 5, 100])
def test_every_resampling_draws_as_many_groups_as_there_are(n_groups):
    counts = resamplings(n_groups)
    assert counts.shape == (RESAMPLINGS, n_groups)
    assert np.issubdtype(counts.dtype, np.integer)
    assert (counts.sum(axis=1) == n_groups).all()
    assert (counts >= 0).all()


def test_every_group_is_drawn_alike():
    """Each count has mean 1 and variance 1 - 1/G."""
    counts = resamplings(10)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), 0.9, atol=0.15)


def test_resamplings_are_the_same_each_time_and_another_seed_changes_them():
    np.testing.assert_array_equal(resamplings(7), resamplings(7, seed=0))
    assert not np.array_equal(resamplings(7), resamplings(7, seed=1))


def test_resampling_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    resamplings(7)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("n_groups", [0, 1])
def test_nothing_is_said_with_fewer_than_two_groups(n_groups):
    assert interval(lambda counts: counts.sum(axis=1) * 1.0, n_groups) is None


def test_the_interval_of_a_constant_score_is_that_constant():
    assert interval(lambda counts: np.full(len(counts), 0.75), 5) == (0.75, 0.75)


def test_resamplings_where_the_score_is_undefined_are_left_out():
    constant = interval(lambda counts: np.where(counts[:, 0] > 0, 0.75, np.nan), 5)
    assert constant == (0.75, 0.75)
    assert interval(lambda counts: np.full(len(counts), np.nan), 5) is None


def test_the_interval_holds_95_percent_of_the_resamplings():
    values = np.random.default_rng(0).normal(size=20)
    low, high = interval(lambda counts: counts @ values / 20, 20)
    scores = resamplings(20) @ values / 20
    assert CONFIDENCE == 0.95
    assert np.mean((low <= scores) & (scores <= high)) == pytest.approx(0.95, abs=0.002)
    assert np.mean(scores < low) == pytest.approx(0.025, abs=0.002)
    assert low < values.mean() < high


def test_more_groups_narrow_the_interval_as_one_over_the_root():
    widths = []
    for n in (50, 200):
        values = np.random.default_rng(1).normal(size=n)
        values = (values - values.mean()) / values.std()
        low, high = interval(lambda counts, v=values, n=n: counts @ v / n, n)
        widths.append(high - low)
        assert high - low == pytest.approx(2 * 1.96 / np.sqrt(n), rel=0.15)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def covered(unit: np.ndarray, n_units: int) -> float:
    """Share of simulated test sets whose interval has the true mean, 0, when ``unit`` is resampled."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(N_SETS):
        scores = np.repeat(rng.normal(size=GROUPS), PER_GROUP) + rng.normal(0, 0.5, GROUPS * PER_GROUP)
        low, high = interval(lambda counts, s=scores: mean_of(s, unit, counts), n_units)
        hits += low <= 0 <= high
    return hits / N_SETS


def test_the_interval_covers_the_truth_if_groups_are_resampled_and_clearly_less_if_clips_are():
    by_group = covered(np.repeat(np.arange(GROUPS), PER_GROUP), GROUPS)
    by_clip = covered(np.arange(GROUPS * PER_GROUP), GROUPS * PER_GROUP)
    assert 0.88 <= by_group <= 0.99
    assert by_clip < by_group - 0.15
