"""Heads: planted truths are found, and a head in a batch is the head it would be alone."""

import json

import numpy as np
import pytest
import torch
from planted import classes, header, planted_states, write_cache, write_task

from svuprobe import api
from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe import result as result_file
from svuprobe.probe.data import ClipFeatures, FrameFeatures, rows_by_split
from svuprobe.probe.heads import WEIGHTED_SUM, Adam, Bank, Spec
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol, preset
from svuprobe.probe.train import Dropout, fit, make_banks, specs
from svuprobe.tasks import cliplist, kinds

QUICK = Protocol(name="quick", hidden=32, learning_rates=(1e-3, 1e-2), max_epochs=25, seeds=2)


def probe(tmp_path, toml, protocol=QUICK, **options):
    return api.probe([str(toml)], features=tmp_path / "f", results=tmp_path / "r", protocol=protocol, **options)


def features_of(tmp_path, toml, protocol, kind):
    listed = cliplist.find(tmp_path / "f", str(toml))[0]
    cache = FeatureCache(next((tmp_path / "f").glob("*/*/features.h5")).parent)
    splits, _ = rows_by_split(cache, listed, False)
    return kind(cache, splits, listed, protocol, "cpu"), cache


@pytest.mark.parametrize(("name", "layer"), [("svuprobe", 5), ("linear", 0), ("ma2023", 12)])
def test_the_planted_layer_has_the_largest_weight_and_the_best_curve(tmp_path, layer, name):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=layer))
    protocol = preset(name, seeds=2, max_epochs=40)
    result = probe(tmp_path, toml, protocol)[0].result
    weights = np.array(result.layer_weights["softmax"])
    curve = {name: np.mean(scores) for name, scores in result.layer_curve.items()}
    assert (weights.argmax(axis=1) == layer).all()
    assert max(curve, key=lambda name: curve[name]) == result.model["layer_names"][layer]
    assert curve[result.model["layer_names"][layer]] > 0.9
    others = [score for n, score in curve.items() if n != result.model["layer_names"][layer]]
    assert np.mean(others) < 0.4  # 0.25 is chance
    assert result.ranked["mean"] > 0.6  # with so few clips the weights are still on their way
    assert np.allclose(weights.sum(axis=1), 1)


def test_shuffled_labels_score_chance(tmp_path):
    toml, clips = classes(tmp_path, per_class=60)
    states = planted_states(clips, layer=3)
    values = list(states.values())
    order = np.random.default_rng(1).permutation(len(values))
    shuffled = {key: values[n] for key, n in zip(states, order, strict=True)}
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), shuffled)
    result = probe(tmp_path, toml)[0].result
    low, high = result.ranked["ci95"]
    assert low <= 0.25 + 0.05
    assert result.ranked["mean"] < 0.4
    assert result.chance["accuracy"] == pytest.approx(0.25, abs=0.03)


def test_weights_ignore_a_layer_that_is_merely_louder(tmp_path):
    toml, clips = classes(tmp_path, per_class=60)
    states = planted_states(clips, layer=4, layers=6)
    for windows in states.values():
        for window in windows:
            window[0, 2] *= 100
    write_cache(tmp_path / "f", header(api.load_task(str(toml)), layers=6), states)
    protocol = preset("svuprobe", hidden=64, seeds=2, max_epochs=60, single_layers=False)
    result = probe(tmp_path, toml, protocol)[0].result
    assert np.mean(result.layer_weights["softmax"], axis=0).argmax() == 4
    assert result.layer_weights["rms"][2] > 20 * result.layer_weights["rms"][4]


def kind_of_task(tmp_path, kind):
    rng = np.random.default_rng(3)
    splits = ["train", "train", "train", "valid", "test"]
    target = {
        "multiclass": lambda n: f"c{n % 3}",
        "multilabel": lambda n: "|".join(t for t in "abc" if rng.random() < 0.5),
        "regression": lambda n: "|".join(f"{v:.3f}" for v in rng.normal(size=2)),
        "notes": lambda n: f"t{n}.csv",
        "beats": lambda n: f"t{n}.txt",
    }[kind]
    rows = [{"path": f"{n}.wav", "target": target(n), "split": splits[n % 5], "group": n} for n in range(40)]
    for n in range(40):
        (tmp_path / f"t{n}.csv").write_text("onset_s,offset_s,midi\n0.1,0.5,60\n0.6,1.1,64\n")
        (tmp_path / f"t{n}.txt").write_text("0.2\n0.7\n1.2\n")
    toml = write_task(tmp_path, "some", kind, rows)
    task = api.load_task(str(toml))
    frames = 60 if task.level == "frame" else 1
    states = {c.id: [rng.normal(size=(frames, 4, 8)) for _ in range(2)] for c in task.clips(tmp_path)}
    write_cache(tmp_path / "f", header(task, layers=4, dim=8), states)
    return toml, FrameFeatures if task.level == "frame" else ClipFeatures


def train_steps(features, banks, protocol, epochs):
    adams = [Adam(b, torch.tensor([s.learning_rate for s in b.specs]), protocol.mix_learning_rate) for b in banks]
    dropout = Dropout(protocol.dropout, protocol.hidden, protocol.seeds, "cpu")
    for epoch in range(epochs):
        for states, targets in features.train_batches(epoch, protocol.seeds):
            keep = dropout.mask(states.shape[1])
            for bank, adam in zip(banks, adams, strict=True):
                features.loss(bank, bank(states, keep), targets).sum().backward()
                adam.step()


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "notes", "beats"])
@pytest.mark.parametrize("hidden", [0, 12])
def test_heads_in_a_batch_equal_heads_alone(tmp_path, kind, hidden):
    toml, features_kind = kind_of_task(tmp_path, kind)
    protocol = Protocol(hidden=hidden, learning_rates=(1e-3, 1e-2), seeds=2, batch_size=8, frame_batch_size=8)
    features, cache = features_of(tmp_path, toml, protocol, features_kind)
    together = make_banks(features, protocol, 8)
    train_steps(features, together, protocol, epochs=13)  # more than 50 steps
    for spec in (Spec(WEIGHTED_SUM, 1e-2, 1), Spec(2, 1e-3, 0), Spec(0, 1e-2, 1)):
        alone = Bank([spec], n_layers=4, dim=8, n_outputs=features.n_outputs, hidden=hidden)
        train_steps(features, [alone], protocol, epochs=13)
        bank, n = next((b, b.specs.index(spec)) for b in together if spec in b.specs)
        for name, value in alone.parameters.items():
            torch.testing.assert_close(bank.parameters[name][n], value[0], atol=1e-4, rtol=1e-4)
    cache.close()


def test_a_bank_is_torchs_own_layers_and_adam(tmp_path):
    toml, _ = kind_of_task(tmp_path, "multiclass")
    protocol = Protocol(hidden=12, dropout=0.0, learning_rates=(1e-2,), seeds=1, batch_size=8, scale_layers=False)
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    bank = Bank([Spec(1, 1e-2, 0)], n_layers=4, dim=8, n_outputs=3, hidden=12)
    plain = torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
    with torch.no_grad():
        for layer, n in ((plain[0], 0), (plain[2], 1)):
            layer.weight.copy_(bank.parameters[f"weight{n}"][0].T)
            layer.bias.copy_(bank.parameters[f"bias{n}"][0, 0])
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-2)
    for epoch in range(5):
        for states, targets in features.train_batches(epoch, 1):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(plain(states[0, :, 1]), targets[0]).backward()
            optimiser.step()
    train_steps(features, [bank], protocol, epochs=5)
    torch.testing.assert_close(bank.parameters["weight0"][0], plain[0].weight.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bank.parameters["bias1"][0, 0], plain[2].bias, atol=1e-5, rtol=1e-5)
    cache.close()


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "notes", "beats"])
def test_every_kind_of_task_goes_from_cache_to_result(tmp_path, kind):
    toml, _ = kind_of_task(tmp_path, kind)
    protocol = Protocol(name="quick", hidden=8, learning_rates=(1e-3, 1e-2), max_epochs=3, seeds=2)
    one = probe(tmp_path, toml, protocol)[0]
    result = result_file.load(one.path)
    assert result.scores == json.loads(json.dumps(one.result.scores))
    assert set(result.layer_curve) == {"input", "block01", "block02", "block03"}
    assert all(len(scores) == 2 for scores in result.layer_curve.values())
    assert len(result.ranked["per_seed"]) == 2
    assert result.selected["head"]["learning_rate"] in (1e-3, 1e-2)
    assert one.path.with_suffix(".npz").exists()


def test_a_result_says_where_it_stands_and_is_not_made_twice(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    first = probe(tmp_path, toml)[0]
    again = probe(tmp_path, toml)[0]
    assert (first.cached, again.cached) == (False, True)
    name = f"quick-{QUICK.hash[:8]}.json"
    assert first.path == tmp_path / "r" / "hf-made--up@01234567" / "shapes" / name
    text = (tmp_path / "shapes.csv").read_text()
    (tmp_path / "shapes.csv").write_text(text.replace("c0-0.wav,class0", "c0-0.wav,class1"))
    assert not probe(tmp_path, toml)[0].cached  # an edited label makes it stale
    assert not probe(tmp_path, toml, overwrite=True)[0].cached


def test_results_do_not_depend_on_the_run(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2, strength=0.3))
    first, second = (probe(tmp_path, toml, overwrite=True)[0].result for _ in range(2))
    assert first.scores == second.scores
    assert first.layer_weights == second.layer_weights


def test_windows_of_a_clip_are_scored_as_the_mean_of_their_logits(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=1, strength=0.6, windows=3)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), states)
    one = probe(tmp_path, toml)[0]
    saved = np.load(one.path.with_suffix(".npz"))
    ids = saved["clip_id"]
    unique = list(dict.fromkeys(ids.tolist()))
    logits = np.stack([saved["outputs"][:, ids == i].mean(axis=1) for i in unique], axis=1)
    target = np.array([saved["target"][ids == i][0] for i in unique])
    expected = (logits.argmax(axis=2) == target).mean(axis=1)
    assert one.result.ranked["per_seed"] == pytest.approx(expected.tolist())
    assert one.result.counts["test"] == {"clips": 24, "windows": 72, "groups": 2}


def test_a_head_stops_by_itself_and_keeps_its_best_state(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    protocol = Protocol(hidden=0, learning_rates=(1e-4, 1.0), seeds=1, patience=3, max_epochs=60)
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    fitted = fit(features, protocol, 16)
    for bank, score in ((f.bank, f.score) for f in fitted):
        again = features.ranked(features.outputs(bank, "valid"), "valid")
        assert again == pytest.approx(score)  # the state that is kept is the one that scored
    assert max(f.epochs.max() for f in fitted) <= 60
    assert len({int(e) for f in fitted for e in f.epochs}) > 1
    cache.close()


def test_the_grid_is_every_layer_rate_and_seed():
    assert len(specs(Protocol(), 13)) == 14 * 6 * 5
    assert len(specs(Protocol(), 1)) == 6 * 5
    assert {s.layer for s in specs(Protocol(single_layers=False), 13)} == {WEIGHTED_SUM}


def test_the_hash_covers_every_field():
    changed = [
        Protocol(**{name: value})
        for name, value in {
            "name": "x", "hidden": 7, "dropout": 0.1, "scale_layers": False, "mix_learning_rate": 0.5,
            "learning_rates": (1.0,), "single_layers": False, "batch_size": 3, "frame_batch_size": 3,
            "max_epochs": 3, "patience": 3, "plateau_patience": 3, "plateau_factor": 0.1, "seeds": 3,
        }.items()
    ]  # fmt: skip
    assert len(changed) == len(Protocol.__dataclass_fields__)
    assert len({p.hash for p in [*changed, *PRESETS.values()]}) == len(changed) + len(PRESETS)


def test_missing_clips_are_refused_unless_allowed(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=2)
    states.pop(clips[0].id)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), states)
    with pytest.raises(ProbeError, match="1 of 120 clips are missing.*--allow-missing"):
        probe(tmp_path, toml)
    result = probe(tmp_path, toml, allow_missing=True)[0].result
    assert result.counts["missing"] == 1


def test_a_result_with_unknown_keys_is_refused(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    path = probe(tmp_path, toml)[0].path
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"extra": 1}))
    with pytest.raises(ProbeError, match="extra"):
        result_file.load(path)
    path.write_text(json.dumps(body | {"schema": 99}))
    with pytest.raises(ProbeError, match="schema"):
        result_file.load(path)


def test_a_tag_without_a_positive_in_the_test_split_is_said_and_left_out(tmp_path):
    rows = [
        {"path": f"{n}.wav", "target": ("a|b" if n % 2 else "a") if s != "test" else "b" * (n % 2), "split": s}
        for s, r in (("train", range(20)), ("valid", range(20, 28)), ("test", range(28, 36)))
        for n in r
    ]
    toml = write_task(tmp_path, "tags", "multilabel", rows)
    task = api.load_task(str(toml))
    rng = np.random.default_rng(0)
    write_cache(
        tmp_path / "f",
        header(task, layers=1, dim=4),
        {c.id: [rng.normal(size=(1, 1, 4)) + ("b" in c.target)] for c in task.clips(tmp_path)},
    )
    one = probe(tmp_path, toml)[0]
    assert one.result.counts["undefined"] == ["a"]
    assert one.result.ranked["mean"] > 0.8  # of b alone
    assert "no positive or no negative: a." in api.leaderboard(tmp_path / "r", tmp_path / "l.md")


def test_beats_may_be_picked_as_peaks(tmp_path):
    toml, kind = kind_of_task(tmp_path, "beats")
    toml.write_text(toml.read_text() + 'beat_decoder = "peaks"\n')
    task = api.load_task(str(toml))
    times = 0.0125 + np.arange(100) / 50
    logits = np.full((1, 100, 1), -4.0)
    logits[0, [10, 21, 80]] = 3.0  # no tempo that a model of tempo would believe
    (found,) = kinds.decode(task, torch.from_numpy(logits), times)
    np.testing.assert_allclose(found, times[[10, 21, 80]])
    one = probe(tmp_path, toml, Protocol(name="quick", hidden=0, learning_rates=(1e-2,), max_epochs=2, seeds=1))[0]
    assert one.result.task["beat_decoder"] == "peaks"
    toml.write_text(toml.read_text().replace('"peaks"', '"dbn"'))
    assert not probe(tmp_path, toml, Protocol(name="quick", hidden=0, learning_rates=(1e-2,), max_epochs=2, seeds=1))[
        0
    ].cached
