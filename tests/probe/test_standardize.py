"""Heads see every feature with mean 0 and evened deviations, and what is only rounding stays
quiet.
"""

import numpy as np
import torch
from planted import classes, header, planted_states, write_cache
from test_probe import features_of

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.features import ClipFeatures, FeatureStats
from svuprobe.probe.training.rates import best_rate
from svuprobe.probe.training.train import fit, make_banks


def states_of(n=500, seed=0):
    """Two layers of loud, quiet, shifted, constant and almost constant features, float16 as in a
    cache.
    """
    made = np.random.default_rng(seed).normal(size=(n, 2, 6))
    made *= [1, 1000, 0.01, 1, 0, 1e-5]
    made += [0, 0, 0, 300, 7, 900]
    return torch.from_numpy(made.astype(np.float16))


def test_each_feature_has_mean_0_and_deviation_1_over_the_training_set():
    states = states_of()
    moments = FeatureStats.over([states[:200], states[200:]], True)
    seen = (states.float() - moments.mean) / moments.scale
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(seen[:, :, :4].std(0), 1, atol=0.02)
    np.testing.assert_allclose(seen.square().mean((0, 2)).sqrt(), moments.seen, rtol=1e-3)


def test_a_feature_keeps_some_of_how_loud_it_is_in_its_layer():
    for power, loud, quiet in ((1, 1, 1), (0.75, 5.6, 0.32), (0, 1000, 0.01)):
        moments = FeatureStats.over([states_of()], True, power)
        seen = (states_of().float() - moments.mean) / moments.scale
        over_first = seen.std(0)[:, 1:3] / seen.std(0)[:, :1]
        np.testing.assert_allclose(over_first, [[loud, quiet]] * 2, rtol=0.15)
        np.testing.assert_allclose(seen.square().mean((0, 2)).sqrt(), moments.seen, rtol=1e-3)


def test_rounding_of_a_constant_feature_is_not_blown_up():
    moments = FeatureStats.over([states_of()], True)
    fresh = states_of(seed=1)
    fresh[:, :, 4] += 0.004  # one step of float16 at 7
    seen = (fresh.float() - moments.mean) / moments.scale
    assert seen[:, :, 4:].abs().max() < 2
    nothing = FeatureStats.over([torch.zeros(5, 2, 3, dtype=torch.float16)], True)
    assert (nothing.scale == 1).all()
    assert (nothing.seen == 0).all()


def test_papers_see_the_states_as_they_are(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    for standardize in (True, False):
        features, cache = features_of(
            tmp_path, toml, Protocol(standardize=standardize), ClipFeatures
        )
        assert features.feature_stats.used == standardize
        assert torch.equal(features.feature_stats.seen, features.feature_stats.rms) != standardize
        cache.close()


def test_a_small_training_set_is_gone_through_several_times_in_an_epoch(tmp_path):
    toml, clips = classes(tmp_path)  # 72 to learn from
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    for batch_size, updates, epoch in (
        (64, 1, [64, 8]),
        (64, 5, [64, 8] * 3),
        (16, 1, [16, 16, 16, 16, 8]),
    ):
        protocol = Protocol(batch_size=batch_size, epoch_updates=updates)
        features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
        steps = next(features.epoch(0, 0))[1]
        assert [len(rows) for rows in steps] == epoch
        counts = np.bincount(torch.cat(steps), minlength=72)
        assert (counts == counts[0]).all()
        cache.close()


def test_linear_heads_start_where_logistic_regression_does_and_a_paper_may_ask_for_torch(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    for start, at_zero in (("zeros", True), ("torch", False)):
        for hidden in (0, 4):
            features, cache = features_of(
                tmp_path, toml, Protocol(start=start, hidden=hidden), ClipFeatures
            )
            for bank in make_banks(features, features.protocol, 16):
                assert bool((bank.parameters["weight"] == 0).all()) == at_zero
                assert hidden == 0 or (bank.parameters["weight0"] != 0).any()
            cache.close()


def test_a_rate_has_to_win_by_a_clip_over_one_nearer_to_the_middle_of_the_grid():
    scores = dict(zip((1e-4, 1e-3, 1e-2, 1e-1, 1.0), (0.70, 0.71, 0.70, 0.69, 0.30), strict=True))
    assert best_rate(scores) == 1e-3
    assert best_rate(scores, 1 / 50) == 1e-2
    assert best_rate(scores, 1 / 500) == 1e-3
    assert best_rate(dict.fromkeys(scores, 1.0)) == 1e-4  # as papers have it: the first
    assert best_rate(dict.fromkeys(scores, 1.0), 1e-9) == 1e-2
    even = {1e-3: 0.5, 1e-2: 0.5, 1e-1: 0.52, 1.0: 0.52}
    assert best_rate(even, 0.1) == 1e-1


def test_of_states_with_one_score_the_last_is_kept_and_patience_runs_on(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=1),
        planted_states(clips, layer=0, layers=1),
    )
    epochs = {}
    for ties in ("last", "first"):
        protocol = Protocol(
            hidden=0, learning_rates=(1e-2,), seeds=1, patience=3, max_epochs=40, ties=ties
        )
        features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
        (fitted,) = fit(features, protocol, 16)
        assert fitted.score == features.ranked(features.outputs(fitted.bank, "valid"), "valid") == 1
        epochs[ties] = int(fitted.epochs[0])
        cache.close()
    assert epochs["first"] < 5
    assert epochs["last"] == epochs["first"] + 3
