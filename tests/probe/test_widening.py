"""No choice lies at the edge of a grid that was only made too narrow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache
from test_classic import made as regression_task
from test_folds_probed import probed as folds_of
from test_probe import features_of, kind_of_task

from svuprobe import api
from svuprobe._run_options import RunOptions
from svuprobe.api.results import Probed, at_the_edge
from svuprobe.cli import main
from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe import choosing, cross_validation, trained, widening
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.commands import train_command
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.protocol_fields import GRIDS, LEAST_RATE, MOST_RATE
from svuprobe.probe.results import result_file
from svuprobe.probe.results.grids import GridChoice
from svuprobe.probe.results.result_layers import LayerChoice, Selected
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.heads import WEIGHTED_SUM
from svuprobe.probe.training.train import fit, specs
from svuprobe.tasks import manifest

# In eight epochs the weighted sum learns best at 0.1, and hardly at the lower two of these.
SLOW = Protocol(
    name="slow", epoch_updates=1, hidden=0, dropout=0.0, start="torch", margin=1.0,
    learning_rates=(1e-4, 1e-3, 1e-2), max_epochs=8, seeds=2, widen=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A task of four classes, which are told by layer 2 of three."""
    place = tmp_path_factory.mktemp("widening")
    toml, clips = classes(place)
    states = planted_states(clips, layer=2, layers=3)
    write_cache(place / "f", header(api.load_task(str(toml)), layers=3), states)
    return place


def probe(folder, protocol, **options):
    return api.probe(
        [str(folder / "shapes.toml")],
        features=folder / "f",
        results=folder / "r",
        protocol=protocol,
        options=RunOptions(**options),
    )[0]


def chosen_of(folder, protocol):
    listed = manifest.find(folder / "f", str(folder / "shapes.toml"))[0][0]
    cache = FeatureCache(next((folder / "f").glob("*/*/features.h5")).parent)
    return choosing.choose(cache, listed, protocol, RunOptions(), RunOptions().reporter)


def trainings(monkeypatch):
    """The heads of each training that a search asks for."""
    asked = []
    search = widening.search

    def told(features, heads, train, *more):
        def counted(heads, reporter):
            asked.append(list(heads))
            return train(heads, reporter)

        return search(features, heads, counted, *more)

    monkeypatch.setattr(widening, "search", told)
    return asked


def test_rates_beyond_the_edges_go_on_in_the_steps_of_the_grid():
    def widened(*rates, widen=2, **changes):
        return widening.widened(Protocol(learning_rates=rates, widen=widen, **changes))

    assert widened(1e-2, 1e-3, 2e-2) == [1e-5, 1e-4, 1e-3, 1e-2, 2e-2, 4e-2, 8e-2]
    assert widened(3e-3, 1e-1, 3e-1, widen=1)[-1] == 0.9  # not 0.8999999999999999
    assert widened(1e-3, 1e-2, widen=0) == [1e-3, 1e-2]
    assert widened(1e-3) == [1e-3]  # one has no ratio
    assert widened(10, 100, widen=3) == [1e-2, 0.1, 1, 10, 100, MOST_RATE]
    assert widened(1e-11, 1e-9, widen=3)[:3] == [1e-11, 1e-9, 1e-7]  # no less than may be asked for
    assert widened(LEAST_RATE, MOST_RATE, widen=9) == [LEAST_RATE, MOST_RATE]
    assert widened(1.0, np.nextafter(1, 2), widen=9) == [1.0, np.nextafter(1, 2)]
    strengths = preset("logistic", strengths=(1e3, 1e5), widen=3)
    assert widening.widened(strengths) == [1e-3, 1e-1, 10, 1e3, 1e5]
    ends = preset("logistic", strengths=GRIDS["strengths"], widen=3)
    assert widening.widened(ends) == list(GRIDS["strengths"])


def test_what_is_untried_are_neighbours_of_the_choice():
    rates = [1, 2, 3, 4, 5]
    assert widening.untried(rates, 4, {2, 3, 4}) == [5]
    assert widening.untried(rates, 2, {2, 3, 4}) == [1]
    assert widening.untried(rates, 3, {2, 3, 4}) == []
    assert widening.untried(rates, 5, {2, 3, 4, 5}) == []


def test_a_best_rate_outside_the_grid_is_found_and_lies_inside_of_what_was_tried(folder):
    narrow = probe(folder, replace(SLOW, widen=0)).result
    wide = probe(folder, SLOW).result
    head = wide.selected.head
    assert narrow.selected.head.learning_rate == 1e-2
    assert (head.learning_rate, head.tried) == (0.1, (1e-4, 1e-3, 1e-2, 0.1, 1.0))
    assert wide.ranked.mean > narrow.ranked.mean + 0.1
    # As good at 0.1 and nearer to the middle: the same heads, which no longer lie at an edge.
    layer = wide.selected.layers["block02"]
    assert (layer.learning_rate, layer.tried) == (1e-2, (1e-4, 1e-3, 1e-2, 0.1))
    assert wide.layer_curve["block02"] == narrow.layer_curve["block02"]
    choice = GridChoice.of(wide)
    assert (choice.tried, choice.end) == (head.tried, "")
    assert GridChoice.of(narrow).end == "largest"


def test_a_choice_inside_trains_nothing_more_and_changes_no_byte(folder, monkeypatch):
    inside = replace(SLOW, learning_rates=(1e-5, 1e-2, 3.0), select="2")
    fixed = probe(folder, replace(inside, widen=0))
    asked = trainings(monkeypatch)
    free = probe(folder, inside)
    for heads in asked[1:]:
        assert 2 not in {spec.layer for spec in heads}
    assert free.result.selected.head == fixed.result.selected.head
    assert free.result.selected.head.tried is None
    for mine, other in zip(
        trained.load(free.path).tensors.values(),
        trained.load(fixed.path).tensors.values(),
        strict=True,
    ):
        assert torch.equal(mine, other)
    for name, scores in fixed.result.layer_curve.items():
        if free.result.selected.layers[name].tried is None:
            assert free.result.layer_curve[name] == scores


def test_it_stops_at_the_limit_and_says_so(folder):
    for widen, tried, said in (
        (0, None, "(0.01, the largest)"),
        (1, (1e-4, 1e-3, 1e-2, 0.1), "(0.1, the largest)"),
        (2, (1e-4, 1e-3, 1e-2, 0.1, 1.0), ""),
    ):
        probed = probe(folder, replace(SLOW, widen=widen))
        assert probed.result.selected.head.tried == tried
        assert result_file.load(probed.path).selected == probed.result.selected
        lines = at_the_edge([Probed(probed.result, probed.path, cached=False)])
        assert len(lines) == bool(said)
        if said:
            assert said in lines[0]
            assert "--widen" in lines[0]


def test_heads_beyond_the_edge_are_those_of_a_wider_grid(folder):
    toml = folder / "shapes.toml"
    features, cache = features_of(folder, toml, SLOW, ClipFeatures)
    wide = replace(SLOW, learning_rates=(1e-4, 1e-3, 1e-2, 0.1))
    more = [spec for spec in specs(wide, 3) if spec.learning_rate == 0.1 and spec.layer != 1]
    assert {spec.layer for spec in more} == {0, 2, WEIGHTED_SUM}
    expected = heads_of(fit(features, wide, cache.header.dim))
    made = heads_of(fit(features, SLOW, cache.header.dim, heads=more))
    assert set(made) == set(more)
    for spec, parameters in made.items():
        for mine, other in zip(parameters, expected[spec], strict=True):
            torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def heads_of(fitted):
    heads = {}
    for one in fitted:
        for place, spec in enumerate(one.bank.specs):
            heads[spec] = [value[place] for value in one.bank.parameters.values()]
    return heads


def test_the_choice_is_that_of_the_wider_grid(folder):
    found = chosen_of(folder, SLOW).choices
    for layer, choice in found.items():
        if choice.tried:
            wide = replace(SLOW, learning_rates=choice.tried, widen=0)
            other = chosen_of(folder, wide).choices[layer]
            assert (other.learning_rate, other.valid) == (
                choice.learning_rate,
                pytest.approx(choice.valid),
            )
    assert any(choice.tried for choice in found.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"search": "halving"},
        {"select": "concat"},
        {"select": "best"},
        {"single_layers": False},
        {"train_fraction": 0.5},
        {"hidden": 16, "dropout": 0.2},
    ],
    ids=str,
)
def test_every_way_to_search_and_read_goes_on_beyond_the_edge(folder, changes):
    result = probe(folder, replace(SLOW, **changes)).result
    head = result.selected.head
    assert set(SLOW.learning_rates) < set(head.tried)
    assert len(result.ranked.per_seed) == SLOW.seeds
    assert GridChoice.of(result).end == ""


@pytest.mark.parametrize("kind", ["regression", "multilabel", "notes", "sequence"])
def test_every_kind_goes_on_beyond_the_edge(tmp_path, kind):
    toml, _ = kind_of_task(tmp_path, kind)
    protocol = replace(SLOW, margin=0.0, learning_rates=(1e-3, 1e-2), widen=1, max_epochs=2)
    places = {"features": tmp_path / "f", "results": tmp_path / "r"}
    (probed,) = api.probe([str(toml)], **places, protocol=protocol)
    everyone = [probed.result.selected.head, *probed.result.selected.layers.values()]
    # Noise says which rate is best; whatever it says, the choice has neighbours, or the limit.
    for choice in everyone:
        rates = choice.tried or protocol.learning_rates
        place = rates.index(choice.learning_rate)
        outermost = widening.widened(protocol)
        assert choice.learning_rate in (outermost[0], outermost[-1]) or 0 < place < len(rates) - 1
    assert result_file.load(probed.path).selected == probed.result.selected


def test_frames_that_stream_go_on_as_those_in_memory(tmp_path):
    toml, kind = kind_of_task(tmp_path, "beats")
    protocol = replace(SLOW, max_epochs=2, single_layers=False)
    held, cache = features_of(tmp_path, toml, protocol, kind)
    streamed, _ = features_of(tmp_path, toml, protocol, kind, memory=1)
    more = [spec for spec in specs(protocol, 4) if spec.learning_rate == 1e-3]
    assert (held.resident, streamed.resident) == (True, False)
    for features in (held, streamed):
        made = heads_of(fit(features, protocol, cache.header.dim, heads=more))
        assert set(made) == set(more)


def test_attention_goes_on_beyond_the_edge(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=1, layers=2)
    frames = {clip_id: [np.repeat(window, 3, axis=0)] for clip_id, (window,) in states.items()}
    head = header(api.load_task(str(toml)), layers=2, level="frame")
    write_cache(tmp_path / "f", head, frames)
    result = probe(tmp_path, replace(SLOW, pooling="attention")).result
    assert set(SLOW.learning_rates) < set(result.selected.head.tried)
    assert GridChoice.of(result).end == ""


def test_every_fold_goes_on_beyond_its_own_edge(tmp_path):
    protocol = replace(SLOW, learning_rates=(1e-4, 1e-3), margin=0.0, widen=2)
    _, _, result, _, _ = folds_of(tmp_path, "multiclass", protocol)
    tried = [fold.selected.head.tried or protocol.learning_rates for fold in result.folds]
    assert set(result.selected.head.tried) == set().union(*tried)
    assert max(map(len, tried)) > len(protocol.learning_rates)
    for fold, rates in zip(result.folds, tried, strict=True):
        limits = {widening.widened(protocol)[0], widening.widened(protocol)[-1]}
        rate = fold.selected.head.learning_rate
        assert rates[0] < rate < rates[-1] or rate in limits


def test_strengths_of_regressions_go_on_too(tmp_path):
    toml, *_ = regression_task(tmp_path, "regression")
    narrow = preset("logistic", strengths=(1e-4, 1e-3), margin=0.1, select="1", widen=0)
    places = {"features": tmp_path / "f", "results": tmp_path / "r"}
    fixed, free = (
        api.probe(str(toml), **places, protocol=protocol)[0].result
        for protocol in (narrow, replace(narrow, widen=5))
    )
    assert fixed.selected.head.setting == "alpha = 1000"
    assert GridChoice.of(fixed).end == "smallest"
    head = free.selected.head
    assert float(head.setting.removeprefix("alpha = ")) < 100
    assert head.tried[:3] == (1e-4, 1e-3, 1e-2)
    assert (head.learning_rate, GridChoice.of(free).end) == (None, "")
    assert free.ranked.mean > fixed.ranked.mean + 0.5


def test_folds_say_all_that_any_of_them_tried():
    def fold(rate, tried):
        choice = LayerChoice(layer="sum", learning_rate=rate, valid=0.5, tried=tried)
        return Selected(head=choice, layers={})

    some = [fold(1e-3, (1e-4, 1e-3, 1e-2)), fold(1e-3, None), fold(1e-2, (1e-3, 1e-2, 1e-1))]
    assert cross_validation.selected(some).head.tried == (1e-4, 1e-3, 1e-2, 1e-1)
    assert cross_validation.selected(some[1:2]).head.tried is None


def test_the_command_widens_as_asked_and_is_told_by_the_result(folder):
    words = ["probe", "--task", str(folder / "shapes.toml"), "--features", str(folder / "f")]
    words += ["--results", str(folder / "cli"), "--protocol", "linear", "--seeds", "1"]
    words += ["--max-epochs", "2", "--learning-rate", "1e-7", "--learning-rate", "1e-6"]
    done = CliRunner().invoke(main, [*words, "--widen", "1"])
    assert done.exit_code == 0, done.output
    (path,) = (folder / "cli").rglob("*.json")
    protocol = result_file.load(path).protocol
    assert protocol.fields["widen"] == 1
    command, others = train_command(["t"], ["m"], None, protocol)
    assert ("--widen 1" in command, others) == (True, [])
    done = CliRunner().invoke(main, [*words, "--widen", "-1"])
    assert (done.exit_code, "--widen" in done.output) == (2, True)
    # A result of before: its grid was as it stood.
    before = replace(protocol, fields={k: v for k, v in protocol.fields.items() if k != "widen"})
    assert "--widen 0" in train_command(["t"], ["m"], None, before)[0]
