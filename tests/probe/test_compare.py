"""Models that differ are told apart, equal ones are not: on one task by a paired bootstrap, across
tasks by ranks.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from planted import header, write_cache, write_task
from scipy.stats import chi2

from svuprobe import api
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.stats.compare import MOST_MODELS, between, compare, from_scores
from svuprobe.probe.stats.intervals import MIN_GROUPS, RESAMPLINGS, deletions
from svuprobe.probe.stats.pairs import holm, letters
from svuprobe.probe.stats.ranks import Ranks, ranks
from svuprobe.tasks import kinds

QUICK = Protocol(
    name="quick", hidden=0, learning_rates=(1e-2,), max_epochs=3, seeds=2, single_layers=False
)


def models(rng, n_groups, *, n_models=2, gap=0.0, n_seeds=5, seed_std=0.05):
    """Scores per clip of models on the same clips, as ``from_scores`` takes them; the first is
    better by ``gap``.

    Singers are hard or easy for all models (what pairing cancels), and for one model more than for
    another; each seed of each model is a little better or worse everywhere.
    """
    sizes = np.maximum(1, np.round(5 * np.exp(rng.normal(0, 0.6, n_groups)))).astype(int)
    group = np.repeat(np.arange(n_groups), sizes)
    shared = rng.normal(0.6, 0.2, n_groups)[group]
    totals = np.eye(n_groups)[group]
    weights = deletions(n_groups) * sizes
    seeds = []
    for n in range(n_models):
        own = (
            shared
            + rng.normal(0, 0.08, n_groups)[group]
            + rng.normal(0, 0.05, len(group))
            + gap * (n == 0)
        )
        scores = (
            own + rng.normal(0, seed_std, (n_seeds, 1)) + rng.normal(0, 0.05, (n_seeds, len(group)))
        )
        seeds.append(scores @ totals @ deletions(n_groups).T / np.maximum(weights.sum(axis=1), 1))
    return [f"model{n}" for n in range(n_models)], seeds, len(group), n_groups


@pytest.mark.parametrize(("n_groups", "seed_std"), [(8, 0.05), (20, 0.0), (30, 0.02)])
def test_equal_models_are_told_apart_in_at_most_5_per_cent_of_simulations(n_groups, seed_std):
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(500):
        wrong += bool(
            (from_scores(*models(rng, n_groups, n_models=3, seed_std=seed_std)).p_holm < 0.05).any()
        )
    assert wrong <= 25


def answers(right, n_seeds=1):
    """Shares of right answers, (2, G) by model and group of one size, as ``from_scores`` takes
    them.
    """
    n_groups = right.shape[1]
    counts = deletions(n_groups)
    seeds = [np.tile(model @ counts.T / counts.sum(axis=1), (n_seeds, 1)) for model in right]
    return ["one", "other"], seeds, 6 * n_groups, n_groups


@pytest.mark.parametrize(("n_groups", "accuracy"), [(10, 0.99), (10, 0.97), (20, 0.995)])
def test_equal_models_that_are_nearly_perfect_are_not_told_apart_either(n_groups, accuracy):
    """They differ in a few groups alone, and most resamplings hold none of these."""
    rng = np.random.default_rng(9)
    wrong = 0
    for _ in range(100):
        right = rng.binomial(6, accuracy, size=(2, n_groups)) / 6
        wrong += bool(from_scores(*answers(right), seedless=True).p[0, 1] < 0.05)
    assert wrong <= 5


def test_one_more_mistake_in_each_of_two_groups_is_no_difference_between_models():
    """By flipping signs p would be 1/2. There is no interval either."""
    right = np.ones((2, 10))
    p = []
    for group in range(6):
        right[1, group] -= 1 / 6
        found = from_scores(*answers(right), seedless=True)
        assert found.difference[0, 1] == pytest.approx((group + 1) / 60)
        p.append(found.p[0, 1])
        assert np.isnan(found.low[0, 1]) == (group < 2)
    assert min(p[:3]) > 0.1
    assert p[5] < 0.05


def test_seeds_are_part_of_the_uncertainty():
    """One seed hides that part: equal models are then called different, and the table says that
    they may be.
    """
    rng = np.random.default_rng(2)
    alone = [from_scores(*models(rng, 60, n_seeds=1)) for _ in range(200)]
    assert np.mean([c.p[0, 1] < 0.05 for c in alone]) > 0.3
    assert "one seed" in alone[0].caveat
    assert from_scores(*models(rng, 60)).caveat == ""


def test_the_interval_covers_a_planted_difference():
    rng = np.random.default_rng(3)
    found = [from_scores(*models(rng, 20, gap=0.1)) for _ in range(500)]
    assert 0.92 <= np.mean([c.low[0, 1] <= 0.1 <= c.high[0, 1] for c in found]) <= 0.98


def test_a_minimum_detectable_difference_is_found_with_80_per_cent_power():
    rng = np.random.default_rng(4)
    gap = float(np.median([from_scores(*models(rng, 20)).typical_detectable for _ in range(100)]))
    found = [from_scores(*models(rng, 20, gap=gap)).p[0, 1] < 0.05 for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_pairing_finds_a_difference_smaller_than_the_singers_differ():
    """The models' own intervals overlap by far: what makes a singer hard is shared."""
    rng = np.random.default_rng(5)
    names, seeds, clips, n_groups = models(rng, 30, gap=0.1, seed_std=0.0)
    paired = from_scores(names, seeds, clips, n_groups)
    unpaired = from_scores(names, [seeds[0], models(rng, 30, seed_std=0.0)[1][1]], clips, n_groups)
    assert paired.p_holm[0, 1] < 0.05 < unpaired.p_holm[0, 1]
    assert paired.letters == ("a", "b")
    assert paired.best == (True, False)
    assert unpaired.detectable[0, 1] > 1.5 * paired.detectable[0, 1]


def test_a_planted_table_has_its_groups():
    rng = np.random.default_rng(6)
    names, seeds, clips, n_groups = models(rng, 40, n_models=5, seed_std=0.01)
    seeds = [s + up for s, up in zip(seeds, (0.0, 0.2, 0.2, 0.4, 0.0), strict=True)]
    found = from_scores(names, seeds, clips, n_groups)
    assert found.letters == ("c", "b", "b", "a", "c")
    assert found.best == (False, False, False, True, False)
    np.testing.assert_allclose(found.difference, -found.difference.T)
    np.testing.assert_allclose(found.low, -found.high.T)
    pairs = ~np.eye(5, dtype=bool)
    assert (found.p_holm[pairs] >= found.p[pairs]).all()
    assert (found.low[pairs] < found.difference[pairs]).all()
    assert np.isnan(found.p_holm[~pairs]).all()


def test_a_model_and_its_copy_are_not_told_apart():
    names, seeds, clips, n_groups = models(np.random.default_rng(7), 10, n_models=1, n_seeds=1)
    found = from_scores([*names, "copy"], [seeds[0], seeds[0]], clips, n_groups)
    assert found.p[0, 1] == 1
    # That no group tells two apart says not that none would: an interval without width would.
    assert np.isnan([found.low[0, 1], found.high[0, 1]]).all()
    assert np.isnan(found.typical_detectable)
    shifted = from_scores([*names, "worse"], [seeds[0], seeds[0] - 0.1], clips, n_groups)
    assert shifted.p[0, 1] == 2 / 2**10  # every group says so: as a test of signs
    assert np.isnan(shifted.low[0, 1])  # how far groups differ in it is not known
    assert np.isnan(shifted.high[0, 1])


def test_a_diverged_model_is_compared_with_nothing():
    names, seeds, clips, n_groups = models(np.random.default_rng(8), 20, n_models=3, gap=0.4)
    found = from_scores(names, [*seeds[:2], np.full_like(seeds[2], np.nan)], clips, n_groups)
    assert np.isnan(found.p[2]).all()
    assert found.p_holm[0, 1] == found.p[0, 1] < 0.05  # one pair only
    assert found.best == (True, False, False)
    assert found.letters == ("a", "b", "")


@pytest.mark.parametrize("n_groups", [1, 2, MIN_GROUPS - 1])
def test_too_few_groups_are_not_tested_and_the_table_says_so(n_groups):
    found = from_scores(*models(np.random.default_rng(9), n_groups))
    assert (
        found.caveat
        == f"{n_groups} group{'s' * (n_groups > 1)} in test, under 5: no test of differences"
    )
    assert np.isnan(found.p).all()
    assert found.letters == ("", "")
    assert found.best == (False, False)
    assert np.isfinite(found.difference).all()


def test_holm_is_the_step_down_worked_by_hand():
    """Smallest first: 4 x 0.01, 3 x 0.013, 2 x 0.03, 1 x 0.04, none smaller than the one before."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.013]), [0.06, 0.04, 0.06, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1, 1])
    assert holm([]).shape == (0,)


def test_no_more_models_are_compared_than_resamplings_can_tell_apart():
    """Holm's first step over all pairs can be passed by the smallest p-value there is, and just
    so.
    """
    smallest, pairs = 1 / (1 + RESAMPLINGS), MOST_MODELS * (MOST_MODELS - 1) / 2
    assert smallest * pairs < 0.05 <= smallest * (pairs + MOST_MODELS)
    names, seeds, clips, n_groups = models(
        np.random.default_rng(12), 40, n_models=MOST_MODELS, seed_std=0.001
    )
    seeds = [s + n for n, s in enumerate(seeds)]
    assert len(set(from_scores(names, seeds, clips, n_groups).letters)) == MOST_MODELS
    with pytest.raises(
        ProbeError, match=f"{MOST_MODELS + 1} models can't be compared in pairs; {MOST_MODELS} can"
    ):
        between([None] * (MOST_MODELS + 1), [])


def test_letters_end_where_the_alphabet_does():
    """All pairs (2n, 2n + 1) told apart: 2^n sets of models that are alike, and an end to the
    search for them.
    """
    pairs = [(n, n + 1) for n in range(0, 32, 2)]
    assert letters(told_apart(32, *pairs), np.arange(32.0)) == ("",) * 32
    assert all(letters(told_apart(10, *pairs[:5]), np.arange(10.0)))  # 32 sets


def test_letters_across_tasks_are_those_of_all_pairs():
    rng = np.random.default_rng(13)
    for n in range(3, 12):
        found = ranks(rng.normal(size=(20, n)) + rng.permutation(n) * 0.4)
        apart = np.abs(found.mean_rank[:, None] - found.mean_rank) > found.critical_difference
        assert found.letters == letters(apart & (found.friedman_p < 0.05), -found.mean_rank)


def told_apart(n, *pairs):
    matrix = np.zeros((n, n), dtype=bool)
    for i, j in pairs:
        matrix[i, j] = matrix[j, i] = True
    return matrix


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], "a a a a"),
        ([(0, 3)], "a ab ab b"),
        ([(0, 2), (0, 3), (1, 3)], "a ab bc c"),
        ([(0, 1), (0, 2), (0, 3)], "a b b b"),
        ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], "a b c d"),
        ([(0, 1), (2, 3)], "ab cd ac bd"),
    ],
)
def test_models_share_a_letter_only_if_they_are_not_told_apart(pairs, expected):
    """Models in the order of their scores; the last pattern needs a letter for each pair that is
    alike.
    """
    assert letters(told_apart(4, *pairs), np.array([4.0, 3, 2, 1])) == tuple(expected.split())


def test_letters_say_exactly_what_the_matrix_says_and_the_best_has_an_a():
    rng = np.random.default_rng(10)
    for n in range(2, 9):
        different = np.triu(rng.random((n, n)) < 0.5, 1)
        different |= different.T
        mean = rng.permutation(n)
        found = letters(different, mean)
        shared = np.array([[bool(set(a) & set(b)) for b in found] for a in found])
        np.testing.assert_array_equal(shared | np.eye(n, dtype=bool), ~different)
        assert "a" in found[int(mean.argmax())]


# Table 6 of Demsar 2006: ranks of four variants of C4.5
# on 14 data sets (their accuracies' ranks, ties shared).
DEMSAR = np.array([
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1],
    [1, 2.5, 4, 2.5], [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5],
    [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
])  # fmt: skip


def test_ranks_and_critical_difference_are_demsars():
    found = ranks(-DEMSAR)
    assert found.tasks == 14
    np.testing.assert_allclose(found.mean_rank, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    np.testing.assert_allclose(found.borda, 4 * 14 - DEMSAR.sum(axis=0))
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    # He reports 9.28 without a correction for ties:
    # three pairs and one four, 3 x 6 + 60 of 14 x 60.
    assert chi2.isf(found.friedman_p, 3) * (1 - 78 / 840) == pytest.approx(9.28, abs=0.01)
    # He calls no two models different at 0.05: 3.143 - 1.964 is 1.18.
    assert found.letters == ("a", "a", "a", "a")


@pytest.mark.parametrize(
    ("n_models", "quantile"),
    [
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_critical_values_are_those_of_demsars_table_5a(n_models, quantile):
    found = ranks(np.random.default_rng(0).normal(size=(6, n_models)))
    assert found.critical_difference == pytest.approx(
        quantile * np.sqrt(n_models * (n_models + 1) / 36), rel=5e-4
    )


def test_a_model_that_wins_everywhere_is_told_apart_across_tasks():
    scores = np.random.default_rng(0).normal(size=(12, 4))
    scores[:, 2] = 9
    found = ranks(scores)
    assert found.mean_rank[2] == 1
    assert found.borda[2] == 36
    assert found.friedman_p < 0.001
    assert found.letters[2] == "a"
    assert found.letters.count("a") < 4


def test_models_alike_on_every_task_are_not_told_apart():
    found = ranks(np.ones((6, 3)))
    assert found.friedman_p == 1
    assert found.letters == ("a", "a", "a")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4, 6), "4 tasks that all models have, under 5"),
        ((9, 2), "2 models, under 3"),
        ((0, 3), "0 tasks"),
    ],
)
def test_too_few_tasks_or_models_are_not_tested_and_the_table_says_so(shape, said):
    found = ranks(np.random.default_rng(0).normal(size=shape))
    assert isinstance(found, Ranks)
    assert said in found.caveat
    assert found.friedman_p is None
    assert found.critical_difference is None


def test_a_task_with_a_missing_result_is_left_out():
    scores = np.random.default_rng(0).normal(size=(6, 3))
    whole = ranks(scores)
    found = ranks(np.vstack([scores, [1, np.nan, 2]]))
    assert found.tasks == 6
    np.testing.assert_array_equal(found.mean_rank, whole.mean_rank)


def probed(tmp_path, kind, names=("hf:made/one", "hf:made/two"), without=(), **keys):
    """Results of models with features that know nothing, 8 test clips of two windows in 8
    groups.
    """
    rng = np.random.default_rng(3)
    target = {
        "multiclass": lambda n: f"c{n // 5 % 2}",
        "multilabel": lambda n: "ab"[n // 5 % 2] + "|c" * int(rng.random() < 0.5),
        "regression": lambda n: "|".join(f"{v:.3f}" for v in rng.normal(size=2)),
        "notes": lambda n: f"t{n}.csv",
        "beats": lambda n: f"t{n}.txt",
    }[kind]
    splits = ["train", "train", "train", "valid", "test"]
    rows = [
        {"path": f"{n}.wav", "target": target(n), "split": splits[n % 5], "group": n}
        for n in range(40)
    ]
    for n in range(40):
        (tmp_path / f"t{n}.csv").write_text("onset_s,offset_s,midi\n0.1,0.5,60\n0.6,1.1,64\n")
        (tmp_path / f"t{n}.txt").write_text("0.2\n0.7\n1.2\n")
    toml = write_task(tmp_path, "some", kind, rows, **keys)
    task = api.load_task(str(toml))
    frames = 60 if kinds.of(task).level == "frame" else 1
    clips = task.clips(tmp_path)
    for name in names:
        states = {c.id: [rng.normal(size=(frames, 2, 6)) for _ in range(2)] for c in clips}
        states = {
            key: value
            for n, (key, value) in enumerate(states.items())
            if name != names[1] or n not in without
        }
        write_cache(tmp_path / "f", header(task, layers=2, dim=6, name=name), states)
    found = api.probe(
        [str(toml)],
        features=tmp_path / "f",
        results=tmp_path / "r",
        protocol=QUICK,
        options=api.RunOptions(allow_missing=bool(without)),
    )
    return [(one.result, one.path) for one in found]


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "notes", "beats"])
def test_stored_predictions_give_back_the_ranked_score_of_every_kind(tmp_path, kind):
    results = probed(tmp_path, kind)
    found = compare(results)
    np.testing.assert_allclose(found.mean, [r.ranked.mean for r, _ in results], atol=1e-6)
    assert (found.clips, found.groups) == (8, 8)
    assert found.caveat == ""
    assert found.difference[0, 1] == pytest.approx(found.mean[0] - found.mean[1])
    assert 0 < found.p[0, 1] <= 1


def test_windows_that_are_scored_one_by_one_are_compared_so(tmp_path):
    results = probed(tmp_path, "multiclass")
    windows = [(replace(r, task=replace(r.task, scored="window")), path) for r, path in results]
    for (_, path), mean in zip(results, compare(windows).mean, strict=True):
        stored = np.load(path.with_suffix(".npz"))
        assert mean == pytest.approx((stored["outputs"].argmax(axis=2) == stored["target"]).mean())


def test_models_are_compared_on_the_clips_that_all_have(tmp_path):
    results = probed(tmp_path, "multiclass", without=(4, 9))  # two test clips
    found = compare(results)
    assert (found.clips, found.groups) == (6, 6)
    assert found.caveat == "compared without 2 clips that not all models have"
    assert found.mean[1] == pytest.approx(results[1][0].ranked.mean)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("task", {"name": "other"}, "task name 'other' can't be compared with 'some'"),
        ("task", {"version": 9}, "task version 9"),
        ("task", {"split_sha256": "0"}, "task split_sha256 '0'"),
        ("task", {"target_sha256": "0"}, "task target_sha256 '0'"),
        ("protocol", {"hash": "0"}, "protocol '0'"),
    ],
)
def test_results_that_do_not_share_a_table_are_refused(tmp_path, part, change, said):
    (first, path), (second, other) = probed(tmp_path, "multiclass")
    changed = replace(second, **{part: replace(getattr(second, part), **change)})
    with pytest.raises(ProbeError, match=said):
        compare([(first, path), (changed, other)])


def test_results_without_their_predictions_are_refused(tmp_path):
    results = probed(tmp_path, "multiclass")
    results[1][1].with_suffix(".npz").unlink()
    with pytest.raises(
        ProbeError, match="is not there beside .*; make both again with svuprobe probe --overwrite"
    ):
        compare(results)


def test_results_without_a_clip_in_common_are_refused(tmp_path):
    results = probed(tmp_path, "multiclass")
    other, path = results[1]
    stored = dict(np.load(path.with_suffix(".npz")))
    renamed = np.array([f"x{i}" for i in stored["clip_id"]])
    results[1] = result_file.save(other, path, stored | {"clip_id": renamed}), path
    with pytest.raises(ProbeError, match="the 2 results have no test clip in common"):
        compare(results)


def test_predictions_of_another_shape_are_named(tmp_path):
    results = probed(tmp_path, "multiclass")
    result, path = results[1]
    whole = dict(np.load(path.with_suffix(".npz")))
    changes = {
        "has no array 'outputs'": {"outputs": None},
        "has no array 'group'": {"group": None},
        "'target' is not of as many clips": {"target": whole["target"][1:]},
        "'outputs' is not of as many clips": {"outputs": whole["outputs"][:, 1:]},
        "holds no test clip": {n: whole[n][:0] for n in ("clip_id", "group", "target")}
        | {"outputs": whole["outputs"][:, :0]},
    }
    for said, change in changes.items():
        stored = {name: array for name, array in (whole | change).items() if array is not None}
        with pytest.raises(ProbeError, match=f"{path.stem}.npz: .*{said}"):
            compare([results[0], (result_file.save(result, path, stored), path)])


def test_predictions_of_another_run_are_not_compared(tmp_path):
    results = probed(tmp_path, "multiclass")
    path = results[1][1]
    path.with_suffix(".npz").write_bytes(results[0][1].with_suffix(".npz").read_bytes())
    with pytest.raises(ProbeError, match=r"is not what was written with quick.*\.json"):
        compare(results)


def test_a_result_read_from_its_file_is_compared_as_the_one_in_memory(tmp_path):
    results = probed(tmp_path, "multiclass")
    loaded = [(result_file.load(path), path) for _, path in results]
    assert json.dumps(compare(loaded).p.tolist()) == json.dumps(compare(results).p.tolist())
