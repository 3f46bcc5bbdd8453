"""Halving: rates that validation can no longer choose stop, and the answer is the whole grid's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache
from test_probe import features_of, kind_of_task

from svuprobe import api
from svuprobe.cli import main
from svuprobe.probe import evaluate
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.training import frames as frame_level
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.rates import SoFar, looks, lost_rates, out_of_the_race, reach
from svuprobe.probe.training.train import fit, specs

GRID = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
PROTOCOL = Protocol(
    epoch_updates=2, hidden=16, learning_rates=(1e-5, 3e-3, 1e-2, 1.0), max_epochs=16, seeds=2
)


def race(now, reaches=(0, 0, 0, 0, 0), known_to=0.01):
    """Which rates of the grid are out, by scores of all five and what each may still gain."""
    now, reaches = (dict(zip(GRID, values, strict=True)) for values in (now, reaches))
    return out_of_the_race(now, reaches, GRID, known_to)


def test_a_rate_is_out_once_hope_does_not_choose_it():
    assert race([0.5, 0.5, 0.9, 0.5, 0.5]) == [1e-4, 1e-3, 1e-1, 1.0]
    # What its heads may gain brings it before a rate as far from the middle, or doesn't.
    assert race([0.5, 0.795, 0.5, 0.8, 0.5], [0.01] * 5) == [1e-4, 1e-2, 1.0]
    assert race([0.5, 0.785, 0.5, 0.8, 0.5], [0.01] * 5) == [1e-4, 1e-3, 1e-2, 1.0]
    # A rate above the chosen one may gain four times as much.
    assert race([0.5, 0.8, 0.5, 0.765, 0.5], [0.01] * 5) == [1e-4, 1e-2, 1.0]
    assert race([0.5, 0.8, 0.5, 0.755, 0.5], [0.01] * 5) == [1e-4, 1e-2, 1e-1, 1.0]
    # The edge has to overtake the middle by more than a margin: it is out though it is as good.
    assert race([0.9, 0.5, 0.9, 0.5, 0.5]) == [1e-4, 1e-3, 1e-1, 1.0]
    assert race([0.905, 0.5, 0.9, 0.5, 0.5], [0.01] * 5) == [1e-3, 1e-1, 1.0]


def test_a_diverged_head_is_out_and_a_rate_that_is_out_keeps_its_place_in_the_grid():
    assert race([-np.inf, 0.5, 0.5, -np.inf, -np.inf], known_to=0.0)[-2:] == [1e-1, 1.0]
    assert race([-np.inf] * 5) == [1e-4, 1e-3, 1e-1, 1.0]  # one is always left
    now, reaches = {1e-3: 0.8, 1e-2: 0.8}, {1e-3: 0.001, 1e-2: 0.001}
    assert out_of_the_race(now, reaches, GRID, 0.01) == [1e-3]  # 1e-2 is the middle of all five
    assert out_of_the_race(now, reaches, sorted(now), 0.01) == []


def test_by_a_loss_no_rate_nearer_to_the_middle_is_out():
    """The choice is by another score, and may know the rates to be alike."""
    assert race([-0.1, -0.5, -0.5, -0.5, -0.5], known_to=None) == [1.0]
    assert race([-0.5, -0.1, -0.5, -0.5, -0.5], known_to=None) == [1e-4, 1e-1, 1.0]
    assert race([-0.5, -0.5, -0.1, -0.5, -0.5], known_to=None) == [1e-4, 1e-3, 1e-1, 1.0]


def test_a_head_may_gain_less_the_less_patience_it_has_left():
    def of(patience_left, of_one_clip, best=0.5):
        return reach(SoFar(0, 1e-2, best, 0.4, patience_left), of_one_clip)

    assert of(1.0, 0.01) == pytest.approx(0.03)  # three clips
    assert of(0.5, 0.01) == pytest.approx(0.03 / 4)
    assert of(1.0, None) == pytest.approx(0.1)  # a quarter of what it gained
    assert of(0.0, 0.01) == of(0.0, None) == of(1.0, 0.01, best=-np.inf) == 0


def test_a_rate_stops_for_all_seeds_of_a_layer_and_not_once_all_have_finished():
    def heads(layer, patience_left):
        for rate, scores in ((1e-3, (0.5, 0.9)), (1e-2, (0.8, 0.9))):
            for score in scores:
                yield SoFar(layer, rate, score, 0.0, patience_left)

    both = [*heads(0, 0.1), *heads(1, 0.0)]
    assert lost_rates(both, [1e-3, 1e-2], 0.0, 0.01) == {(0, 1e-3)}
    # In a grid of three the other is the middle, and within a margin it is chosen.
    assert lost_rates(both, [1e-4, 1e-3, 1e-2], 20.0, 0.01) == {(0, 1e-2)}
    # A protocol without a margin hopes as much.
    fresh = list(heads(0, 1.0))
    assert lost_rates(fresh, [1e-3, 1e-2], 0.0, 0.1) == set()


def test_looks_are_each_epoch_from_the_seventh_and_a_grid_has_none():
    assert list(looks("halving", 10)) == [7, 8, 9, 10]
    assert list(looks("halving", 3)) == [3]
    assert list(looks("grid", 11)) == [11]


def scores_by_head(fitted):
    """Validation score and parameters of each head that was returned."""
    heads = {}
    for one in fitted:
        for place, spec in enumerate(one.bank.specs):
            values = [value[place] for value in one.bank.parameters.values()]
            heads[spec] = (one.score[place], values)
    return heads


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The whole grid and its halving on one planted layer of four."""
    folder = tmp_path_factory.mktemp("halving")
    toml, clips = classes(folder)
    states = planted_states(clips, layer=2, layers=4)
    write_cache(folder / "f", header(api.load_task(str(toml)), layers=4), states)
    features, cache = features_of(folder, toml, PROTOCOL, ClipFeatures)
    grid = fit(features, PROTOCOL, cache.header.dim)
    halving = fit(features, replace(PROTOCOL, search="halving"), cache.header.dim)
    return folder, toml, features, grid, halving


def test_heads_that_stay_are_those_of_the_whole_grid(both):
    _, _, features, grid, halving = both
    whole, left = scores_by_head(grid), scores_by_head(halving)
    assert list(whole) == list(dict.fromkeys(whole))
    assert set(whole) == set(specs(PROTOCOL, 4))
    assert len(left) <= 0.7 * len(whole)
    # A rate is there with all its seeds or with none, and each layer has one.
    rates = {(spec.layer, spec.learning_rate) for spec in left}
    assert len(left) == PROTOCOL.seeds * len(rates)
    assert {layer for layer, _ in rates} == {-1, 0, 1, 2, 3}
    assert {1e-5, 1.0}.isdisjoint(rate for layer, rate in rates if layer == 2)
    for spec, (score, parameters) in left.items():
        assert score == whole[spec][0]
        for mine, other in zip(parameters, whole[spec][1], strict=True):
            assert torch.equal(mine, other), spec


def test_an_mlp_is_the_same_to_the_bit_whichever_others_train_beside_it(both):
    """So neither the grid it is part of nor what stops earlier changes its score.

    (With one output the product for a single head is one with a vector, and rounds otherwise.)
    """
    _, _, features, grid, _ = both
    whole = scores_by_head(grid)
    some = [spec for spec in whole if spec.learning_rate in (3e-3, 1e-2) and spec.layer < 1]
    for heads in (some, some[:1], some[-3:]):
        for spec, (score, parameters) in scores_by_head(
            fit(features, PROTOCOL, features.dim, heads=heads)
        ).items():
            assert score == whole[spec][0]
            for mine, other in zip(parameters, whole[spec][1], strict=True):
                assert torch.equal(mine, other), spec


def test_the_choice_is_that_of_the_whole_grid(both):
    _, _, features, grid, halving = both
    full, raced = (
        evaluate.select(features, evaluate.rate_scores(features, heads))
        for heads in (grid, halving)
    )
    assert (raced[2], raced[-1]) == (full[2], full[-1])
    assert evaluate.chosen_bank(halving, raced[2]).seeds == [0, 1]


def test_banks_of_many_layers_race_layer_by_layer(both, monkeypatch):
    """Linear heads of several layers stand in one bank: each layer has a race of its own."""
    _, _, features, _, _ = both
    linear = replace(PROTOCOL, hidden=0, dropout=0.0)
    monkeypatch.setattr("svuprobe.probe.training.train.cpu_count", lambda: 1)
    grid = fit(features, linear, features.dim)
    halving = fit(features, replace(linear, search="halving"), features.dim)
    whole, left = scores_by_head(grid), scores_by_head(halving)
    assert len(left) < len(whole)
    assert {spec.layer for spec in left} == {-1, 0, 1, 2, 3}
    # One product serves the heads of a layer: its shape may change the last digits of an output.
    assert all(abs(score - whole[spec][0]) < 0.1 for spec, (score, _) in left.items())


@pytest.mark.parametrize("deals", [False, True])
def test_frames_that_stream_race_as_those_in_memory(tmp_path, monkeypatch, deals):
    toml, kind = kind_of_task(tmp_path, "beats")
    protocol = replace(PROTOCOL, hidden=0, dropout=0.0, max_epochs=9, search="halving")
    if deals:
        protocol = replace(protocol, train_fraction=0.5)
    held, cache = features_of(tmp_path, toml, protocol, kind)
    monkeypatch.setattr(frame_level, "_BLOCK_BYTES", 20_000)
    streamed, _ = features_of(tmp_path, toml, protocol, kind, memory=1)
    assert (held.resident, streamed.resident) == (True, False)
    left = [scores_by_head(fit(data, protocol, 8)) for data in (held, streamed)]
    assert len(left[0]) < len(specs(protocol, 4))
    for heads in left:
        rates = {(spec.layer, spec.learning_rate) for spec in heads}
        assert len(heads) == protocol.seeds * len(rates)
        assert {layer for layer, _ in rates} == {-1, 0, 1, 2, 3}


def test_probe_searches_by_halving_when_asked(both):
    folder, toml, _, _, _ = both
    words = ["probe", "--task", str(toml), "--features", str(folder / "f"), "--seeds", "2"]
    words += ["--results", str(folder / "r"), "--protocol", "linear", "--max-epochs", "8"]
    for more in ([], ["--search", "halving"]):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 0, done.output
    made = sorted((folder / "r").rglob("linear-*.json"))
    assert len(made) == 2
    (path,) = [path for path in made if path.name.startswith("linear-halving-")]
    result = result_file.load(path)
    assert result.protocol.fields["search"] == "halving"
    done = CliRunner().invoke(main, [*words, "--search", "thirds"])
    assert done.exit_code == 2
    assert "'thirds' is not one of 'grid', 'halving'" in done.output
