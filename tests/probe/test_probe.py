"""Heads: planted truths are found, and a head in a batch is the head it would be alone."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made import changed, made
from planted import classes, header, planted_states, write_cache, write_task

from svuprobe import api
from svuprobe._progress import Reporter
from svuprobe.api.results import Probed, at_the_edge
from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe import trained
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result_folds import SplitCounts
from svuprobe.probe.training import frames as frame_level
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.heads import WEIGHTED_SUM
from svuprobe.probe.training.splits import rows_by_split
from svuprobe.probe.training.train import fit, specs
from svuprobe.probe.training.workers import matmul_precision_for
from svuprobe.tasks import kinds, manifest

QUICK = Protocol(
    name="quick",
    epoch_updates=1,
    hidden=32,
    learning_rates=(1e-3, 1e-2),
    widen=0,
    max_epochs=25,
    seeds=2,
)


def probe(tmp_path, toml, protocol=QUICK, **options):
    options = api.RunOptions(**options)
    return api.probe(
        [str(toml)],
        features=tmp_path / "f",
        results=tmp_path / "r",
        protocol=protocol,
        options=options,
    )


def features_of(tmp_path, toml, protocol, kind, memory=None):
    listed = manifest.find(tmp_path / "f", str(toml))[0][0]
    cache = FeatureCache(next((tmp_path / "f").glob("*/*/features.h5")).parent)
    splits, _ = rows_by_split(cache, listed, False, protocol)
    return kind(cache, splits, listed, protocol, "cpu", memory), cache


@pytest.mark.parametrize(("name", "layer"), [("svuprobe", 5), ("linear", 0), ("ma2023", 12)])
def test_the_planted_layer_has_the_largest_weight_and_the_best_curve(tmp_path, layer, name):
    toml, clips = classes(tmp_path, per_class=60)
    write_cache(
        tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=layer)
    )
    # Two of its rates: each takes as long as all layers.
    rates = preset(name).learning_rates[1:3] or preset(name).learning_rates
    protocol = preset(name, seeds=2, max_epochs=20, learning_rates=rates, widen=0)
    result = probe(tmp_path, toml, protocol)[0].result
    weights = np.array(result.layer_weights.softmax)
    curve = {name: np.mean(scores) for name, scores in result.layer_curve.items()}
    assert (weights.argmax(axis=1) == layer).all()
    assert max(curve, key=lambda name: curve[name]) == result.model.layer_names[layer]
    assert curve[result.model.layer_names[layer]] > 0.9
    others = [score for n, score in curve.items() if n != result.model.layer_names[layer]]
    assert np.mean(others) < 0.4  # 0.25 is chance
    assert result.ranked.mean > 0.6  # with so few clips the weights are still on their way
    assert np.allclose(weights.sum(axis=1), 1)
    drop = {name: np.mean(lost) for name, lost in result.layer_drop.items()}
    assert max(drop, key=lambda name: drop[name]) == result.model.layer_names[layer]
    assert drop[result.model.layer_names[layer]] > 0.3
    assert set(drop) == set(result.model.layer_names)
    assert (np.array(result.layer_weights.entropy) < np.log(13)).all()


def test_shuffled_labels_score_chance(tmp_path):
    toml, clips = classes(tmp_path, per_class=60)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=5),
        planted_states(clips, layer=3, layers=5),
    )
    true = probe(tmp_path, toml)[0]
    control = probe(tmp_path, toml, replace(QUICK, shuffle_labels=True))[0]
    assert true.result.ranked.mean > 0.7
    assert abs(control.result.ranked.mean - 0.25) < 2.5 * np.sqrt(0.25 * 0.75 / 48)
    assert control.result.chance["accuracy"] == pytest.approx(0.25, abs=0.03)
    assert max(np.mean(scores) for scores in control.result.layer_curve.values()) < 0.5
    assert control.path.name.startswith("quick-shuffled-")
    assert control.path != true.path


def test_scores_rise_with_the_training_fraction(tmp_path):
    toml, clips = classes(tmp_path, per_class=100)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=5),
        planted_states(clips, layer=3, layers=5, strength=0.8),
    )
    made = [
        probe(tmp_path, toml, replace(QUICK, train_fraction=f))[0].result for f in (0.01, 0.1, 1.0)
    ]
    assert [one.counts.train.clips for one in made] == [4, 24, 240]
    assert len({one.task.split_sha256 for one in made}) == 1
    scores = [max(np.mean(scores) for scores in one.layer_curve.values()) for one in made]
    assert scores[0] < scores[1] < scores[2]


def test_weights_ignore_a_layer_that_is_merely_louder(tmp_path):
    toml, clips = classes(tmp_path, per_class=60)
    states = planted_states(clips, layer=4, layers=6)
    for windows in states.values():
        for window in windows:
            window[0, 2] *= 100
    write_cache(tmp_path / "f", header(api.load_task(str(toml)), layers=6), states)
    protocol = preset("svuprobe", hidden=64, seeds=2, max_epochs=60, single_layers=False)
    result = probe(tmp_path, toml, protocol)[0].result
    assert np.mean(result.layer_weights.softmax, axis=0).argmax() == 4
    assert result.layer_weights.rms[2] > 20 * result.layer_weights.rms[4]


def kind_of_task(tmp_path, kind):
    rng = np.random.default_rng(3)
    splits = ["train", "train", "train", "valid", "test"]
    target = {
        "multiclass": lambda n: f"c{n % 3}",
        "multilabel": lambda n: "|".join(t for t in "abc" if rng.random() < 0.5),
        "regression": lambda n: "|".join(f"{v:.3f}" for v in rng.normal(size=2)),
        "notes": lambda n: f"t{n}.csv",
        "beats": lambda n: f"t{n}.txt",
        "melody": lambda n: f"f{n}.csv",
        **dict.fromkeys(("chords", "segments", "structure"), lambda n: f"c{n}.lab"),
        "sequence": lambda n: "abba cab"[n % 4 :],
    }[kind]
    rows = [
        {"path": f"{n}.wav", "target": target(n), "split": splits[n % 5], "group": n}
        for n in range(40)
    ]
    for n in range(40):
        (tmp_path / f"t{n}.csv").write_text("onset_s,offset_s,midi\n0.1,0.5,60\n0.6,1.1,64\n")
        (tmp_path / f"t{n}.txt").write_text("0.2\n0.7\n1.2\n")
        (tmp_path / f"c{n}.lab").write_text("0.1 0.5 C\n0.5 1.1 A:min\n")
        (tmp_path / f"f{n}.csv").write_text("0.1,220\n0.15,230\n0.2,0\n0.9,440\n")
    toml = write_task(tmp_path, "some", kind, rows)
    task = api.load_task(str(toml))
    frames = 25 if kinds.of(task).level == "frame" else 1  # two windows of half a second
    states = {
        c.id: [rng.normal(size=(frames, 4, 8)) for _ in range(1 if kind == "sequence" else 2)]
        for c in task.clips(tmp_path)
    }
    write_cache(tmp_path / "f", header(task, layers=4, dim=8), states)
    return toml, FrameFeatures if kinds.of(task).level == "frame" else ClipFeatures


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "notes", "beats"])
def test_every_kind_of_task_goes_from_cache_to_result(tmp_path, kind):
    toml, _ = kind_of_task(tmp_path, kind)
    protocol = replace(QUICK, hidden=8, max_epochs=3)
    one = probe(tmp_path, toml, protocol)[0]
    result = result_file.load(one.path)
    assert result.scores == one.result.scores
    assert set(result.layer_curve) == {"input", "block01", "block02", "block03"}
    assert all(len(scores) == 2 for scores in result.layer_curve.values())
    assert set(result.layer_ci95) == set(result.layer_drop) == set(result.layer_curve)
    assert len(result.ranked.per_seed) == 2
    assert result.selected.head.learning_rate in (1e-3, 1e-2)
    assert one.path.with_suffix(".npz").exists()
    assert result.environment["products"] == matmul_precision_for(protocol, "cpu")


def test_a_result_says_where_it_stands_and_is_not_made_twice(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=4),
        planted_states(clips, layer=2, layers=4),
    )
    first = probe(tmp_path, toml)[0]
    again = probe(tmp_path, toml)[0]
    assert (first.cached, again.cached) == (False, True)
    name = f"quick-{QUICK.hash[:8]}.json"
    assert first.path == tmp_path / "r" / "hf-made--up@01234567" / "shapes" / name
    text = (tmp_path / "shapes.csv").read_text()
    (tmp_path / "shapes.csv").write_text(text.replace("c0-0.wav,class0", "c0-0.wav,class1"))
    assert not probe(tmp_path, toml)[0].cached  # an edited label makes it stale
    assert not probe(tmp_path, toml, overwrite=True)[0].cached


@pytest.mark.parametrize(
    ("head", "setting", "grid", "said"),
    [
        ("logistic", "C = 1", (0.1, 1, 10), ""),
        ("logistic", "C = 10", (10, 1, 0.1), "the C chosen .*strengths.*: .* \\(10, the largest"),
        ("logistic", "C = 0.1", (0.1, 1), "\\(0.1, the smallest"),
        ("logistic", "C = 0.1", (0.1,), ""),
        # Ridge: alpha = 1 / C, printed to six digits.
        ("logistic", "alpha = 0.333333", (0.1, 3), "the alpha chosen .*\\(0.333333, the smallest"),
        ("logistic", "alpha = 10", (0.1, 3), "\\(10, the largest"),
        ("knn", "k = 50, cosine", (1, 5, 50), "the k chosen .*neighbours.*\\(50, the largest"),
        ("knn", "k = 1, cosine", (1, 5, 50), ""),  # nobody asks fewer
        ("knn", "k = 3, euclidean", (3, 5, 50), "\\(3, the smallest"),
    ],
)
def test_the_setting_of_each_head_at_the_edge_of_its_grid_is_said(head, setting, grid, said):
    chosen = {"layer": "sum", "valid": 0.5, "setting": setting}
    field = "neighbours" if head == "knn" else "strengths"
    result = changed(
        made("logmel", 0.6, protocol=preset(head, **{field: tuple(map(float, grid))})),
        {"selected.head": chosen},
    )
    lines = at_the_edge([Probed(result, Path("r.json"), cached=False)])
    assert len(lines) == bool(said)
    if said:
        assert re.search(said, lines[0])


@pytest.mark.parametrize(
    ("rates", "said"),
    [((1e-2, 1e-9), "(0.01, the largest)"), ((1e-2, 1e3), "(0.01, the smallest)"), ((1e-2,), "")],
)
def test_learning_rates_at_the_edge_of_the_grid_are_said_once_at_the_end(tmp_path, rates, said):
    for name in ("shapes", "colours"):
        toml, clips = classes(tmp_path, per_class=60, name=name)
        write_cache(
            tmp_path / "f",
            header(api.load_task(str(toml)), layers=6),
            planted_states(clips, layer=5, layers=6),
        )
    both = [str(tmp_path / "shapes.toml"), str(tmp_path / "colours.toml")]
    lines = []
    protocol = replace(QUICK, learning_rates=rates, single_layers=False, widen=0)
    probe(tmp_path, tmp_path / "shapes.toml", protocol, reporter=api.Reporter(lines.append))
    options = api.RunOptions(reporter=api.Reporter(lines.append))
    api.probe(
        both, features=tmp_path / "f", results=tmp_path / "r", protocol=protocol, options=options
    )
    told = [line for line in lines if "edge of those tried" in line]
    if not said:
        assert not told
        return
    assert [line.count(said) for line in told] == [1, 2]  # a line for each call
    assert lines[-1] == told[-1]


def test_results_do_not_depend_on_the_run(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=4),
        planted_states(clips, layer=2, layers=4, strength=0.3),
    )
    first, second = (probe(tmp_path, toml, overwrite=True)[0].result for _ in range(2))
    assert first.scores == second.scores
    assert first.layer_weights == second.layer_weights


def test_windows_of_a_clip_are_scored_as_the_mean_of_their_logits(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=1, layers=3, strength=0.6, windows=3)
    write_cache(tmp_path / "f", header(api.load_task(str(toml)), layers=3), states)
    one = probe(tmp_path, toml)[0]
    saved = np.load(one.path.with_suffix(".npz"))
    ids = saved["clip_id"]
    unique = list(dict.fromkeys(ids.tolist()))
    logits = np.stack([saved["outputs"][:, ids == i].mean(axis=1) for i in unique], axis=1)
    target = np.array([saved["target"][ids == i][0] for i in unique])
    expected = (logits.argmax(axis=2) == target).mean(axis=1)
    assert one.result.ranked.per_seed == pytest.approx(expected.tolist())
    assert one.result.counts.test == SplitCounts(clips=24, windows=72, groups=2)


def test_a_head_stops_by_itself_and_keeps_its_best_state(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    protocol = Protocol(
        epoch_updates=1, hidden=0, learning_rates=(1e-4, 1.0), seeds=1, patience=3, max_epochs=60
    )
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    fitted = fit(features, protocol, 16)
    for bank, score in ((f.bank, f.score) for f in fitted):
        again = features.ranked(features.outputs(bank, "valid"), "valid")
        assert again == pytest.approx(score)  # the state that is kept is the one that scored
    assert max(f.epochs.max() for f in fitted) <= 60
    assert len({int(e) for f in fitted for e in f.epochs}) > 1
    cache.close()


def test_the_grid_is_every_layer_rate_and_seed():
    assert len(specs(Protocol(), 13)) == 14 * 5 * 5
    assert len(specs(Protocol(), 1)) == 5 * 5
    assert {s.layer for s in specs(Protocol(single_layers=False), 13)} == {WEIGHTED_SUM}
    assert len(specs(preset("marble"), 13)) == 84


def test_missing_clips_are_refused_unless_allowed(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=2, layers=3)
    states.pop(clips[0].id)
    write_cache(tmp_path / "f", header(api.load_task(str(toml)), layers=3), states)
    with pytest.raises(ProbeError, match="1 of 120 clips are missing.*--allow-missing"):
        probe(tmp_path, toml)
    result = probe(tmp_path, toml, allow_missing=True)[0].result
    assert result.counts.missing == 1


def test_a_result_with_unknown_keys_is_refused(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=3),
        planted_states(clips, layer=2, layers=3),
    )
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
        {
            "path": f"{n}.wav",
            "target": ("a|b" if n % 2 else "a") if s != "test" else "b" * (n % 2),
            "split": s,
        }
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
    assert one.result.counts.undefined == ("a",)
    assert one.result.ranked.mean > 0.8  # of b alone
    assert "1 of 2 tags scored in the test split: 'a'" in api.leaderboard(
        tmp_path / "r", tmp_path / "l.md"
    )


def test_beats_may_be_picked_as_peaks(tmp_path):
    toml, kind = kind_of_task(tmp_path, "beats")
    toml.write_text(toml.read_text() + 'beat_decoder = "peaks"\n')
    task = api.load_task(str(toml))
    times = 0.0125 + np.arange(100) / 50
    logits = np.full((1, 100, 1), -4.0)
    logits[0, [10, 21, 80]] = 3.0  # no tempo that a model of tempo would believe
    (found,) = kinds.of(task).decode(task, torch.from_numpy(logits), times)
    np.testing.assert_allclose(found, times[[10, 21, 80]])
    one = probe(
        tmp_path,
        toml,
        Protocol(
            name="quick", epoch_updates=1, hidden=0, learning_rates=(1e-2,), max_epochs=2, seeds=1
        ),
    )[0]
    assert one.result.task.beat_decoder == "peaks"
    toml.write_text(toml.read_text().replace('"peaks"', '"dbn"'))
    assert not probe(
        tmp_path,
        toml,
        Protocol(
            name="quick", epoch_updates=1, hidden=0, learning_rates=(1e-2,), max_epochs=2, seeds=1
        ),
    )[0].cached


def song_states(toml, frames=60, layers=4, dim=8, strength=1.0):
    """Two windows a song; layer 2 tells the onset, the silence, the octave and the pitch class of
    each frame.
    """
    task = api.load_task(str(toml))
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(100, dim))
    states = {}
    for clip in task.clips(toml.parent):
        made = rng.normal(size=(2 * frames, layers, dim))
        labels = kinds.named("notes").rasterise(
            clip.target, (np.arange(2 * frames) * 320 + 200) / 16000
        )
        for column in range(4):
            made[:, 2] += strength * directions[labels[:, column] + 20 * column]
        states[clip.id] = np.split(made, 2)
    return states


def songs(tmp_path, **options):
    toml, _ = kind_of_task(tmp_path, "notes")
    write_cache(
        tmp_path / "s" / "f",
        header(api.load_task(str(toml)), layers=4, dim=8),
        song_states(toml, **options),
    )
    task = api.load_task(str(toml))
    manifest.save(tmp_path / "s" / "f", manifest.listed(task, task.clips(tmp_path), False))
    return toml


def test_streaming_from_the_disk_learns_what_memory_does(tmp_path):
    toml = songs(tmp_path)
    protocol = Protocol(
        epoch_updates=1, hidden=0, learning_rates=(1e-2,), seeds=1, frame_batch_size=3, max_epochs=4
    )
    made = []
    for resident in (True, False):
        features, cache = features_of(
            tmp_path / "s", toml, protocol, FrameFeatures, memory=8 * 700 * 2 * 4 * 8
        )
        assert not features.resident
        if resident:
            features.resident = True
            features._held = {s: features._held_block(s) for s in ("train", "valid")}
        made.append(fit(features, protocol, 8))
        blocks = list(features.epoch(0))
        cache.close()
    assert len(blocks) > 2  # of the stream
    assert sorted(len(rows) for _, steps in blocks for rows in steps)[-1] == 3 * 60
    assert sum(len(rows) for _, steps in blocks for rows in steps) == 24 * 2 * 60
    by_head = [
        {
            spec: (f.score[n], f.bank.parameters["weight"][n])
            for f in fitted
            for n, spec in enumerate(f.bank.specs)
        }
        for fitted in made
    ]
    for spec, (score, weight) in by_head[0].items():
        assert score == pytest.approx(by_head[1][spec][0], rel=1e-4)
        torch.testing.assert_close(weight, by_head[1][spec][1], atol=1e-4, rtol=1e-4)


def test_what_a_stream_holds_is_bounded_and_read_once(tmp_path, monkeypatch):
    toml = songs(tmp_path)
    protocol = Protocol(
        epoch_updates=1, hidden=0, learning_rates=(1e-2,), seeds=1, frame_batch_size=3
    )
    memory = 40 * 60 * 2 * 4 * 8
    features, cache = features_of(tmp_path / "s", toml, protocol, FrameFeatures, memory=memory)
    frames = []
    load = features._load
    monkeypatch.setattr(features, "_load", lambda *a: frames.append(len(load(*a))) or load(*a))
    learnt = [bool(steps) for _, steps in features.epoch(0)]
    assert learnt == sorted(learnt, reverse=True)  # validation follows training
    assert set(learnt) == {True, False}
    assert sum(frames) == 32 * 2 * 60  # every frame of both splits
    assert max(frames) * 2 * 4 * 8 <= memory / 8
    cache.close()


def test_notes_are_found_in_the_layer_that_has_them(tmp_path):
    toml = songs(tmp_path, strength=3.0)
    protocol = Protocol(
        name="quick", epoch_updates=1, hidden=0, learning_rates=(3e-2,), seeds=2, max_epochs=60
    )
    result = probe(tmp_path / "s", toml, protocol)[0].result
    curve = {name: np.mean(scores) for name, scores in result.layer_curve.items()}
    assert max(curve, key=lambda name: curve[name]) == "block02"
    assert (np.array(result.layer_weights.softmax).argmax(axis=1) == 2).all()
    drop = {name: np.mean(lost) for name, lost in result.layer_drop.items()}
    assert max(drop, key=lambda name: drop[name]) == "block02"


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "notes", "beats"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_the_heads_beside_a_result_say_what_was_scored(tmp_path, kind, hidden):
    toml, features_kind = kind_of_task(tmp_path, kind)
    protocol = Protocol(
        name="quick", epoch_updates=1, hidden=hidden, learning_rates=(1e-2,), max_epochs=3, seeds=2
    )
    one = probe(tmp_path, toml, protocol)[0]
    heads = trained.load(one.path)
    assert heads.seeds == 2
    features, cache = features_of(tmp_path, toml, protocol, features_kind)
    if features_kind is ClipFeatures:
        made = torch.stack([heads(features.blocks["test"].states, seed) for seed in range(2)])
        wanted = np.load(one.path.with_suffix(".npz"))["outputs"]
        torch.testing.assert_close(made, torch.from_numpy(wanted), atol=1e-4, rtol=1e-4)
    else:
        rows = features.splits["test"]
        states = [torch.from_numpy(cache.read(r)) for r in rows.row[rows.clip == 0]]
        (found,) = features.kind.decode(
            features.task, heads(torch.cat(states), 1)[None], features.times["test"][0]
        )
        flat = np.load(one.path.with_suffix(".npz"))["estimate"]
        wanted = flat[(flat[:, 0] == 0) & (flat[:, 1] == 1)][:, 2:]
        np.testing.assert_allclose(found.ravel(), wanted.ravel(), atol=1e-6)
    cache.close()


def test_marble_ranks_the_best_of_sum_and_layers_and_batches_files(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=5, strength=1.0, windows=3)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), states)
    protocol = preset("marble", batch_size=10, learning_rates=(1e-3, 1e-2), hidden=32)
    result = probe(tmp_path, toml, protocol)[0].result
    valid = {name: one.valid for name, one in result.selected.layers.items()}
    assert result.selected.head.valid >= max(valid.values())
    assert result.selected.head.layer in ("sum", "block05")
    assert max(valid, key=lambda name: valid[name]) == "block05"
    assert np.array(result.layer_weights.softmax)[:, 0].max() == 0
    assert set(result.layer_drop) == set(result.model.layer_names[1:])
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    _, steps = next(features.epoch(0, 0))
    assert [len(rows) for rows in steps] == [30] * 7 + [6]
    for rows in steps:
        assert (
            np.bincount(features.splits["train"].clip[rows])[features.splits["train"].clip[rows]]
            == 3
        ).all()
    cache.close()


def test_an_interrupt_stops_the_banks(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    features, cache = features_of(
        tmp_path, toml, replace(QUICK, max_epochs=10**6, patience=10**6), ClipFeatures
    )

    class Bar:
        def __init__(self, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, heads):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(features, features.protocol, 16, Reporter(make_bar=Bar))
    cache.close()


@pytest.mark.parametrize("kind", ["notes", "beats"])
def test_clips_are_decoded_and_scored_alike_on_one_core_and_on_all(tmp_path, monkeypatch, kind):
    toml, frames = kind_of_task(tmp_path, kind)
    protocol = Protocol(epoch_updates=1, hidden=0, learning_rates=(1e-2,), seeds=2, max_epochs=2)
    features, cache = features_of(tmp_path, toml, protocol, frames)
    banks = [fitted.bank for fitted in fit(features, protocol, 8)]
    one = list(features.answers(banks, "test"))
    monkeypatch.setattr("svuprobe.probe.training.frames._SERIAL_FRAMES", 0)
    started = []
    real = frame_level.Parallel
    monkeypatch.setattr(
        frame_level, "Parallel", lambda n, **more: started.append(n) or real(n, **more)
    )
    several = list(features.answers(banks, "test"))
    assert started == [frame_level.cpu_count()]
    assert len(one) == len(several) == len(features.splits["test"].clips)
    for a, b in zip(one, several, strict=True):
        assert len(a) == sum(map(len, banks))
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x.estimate, y.estimate)
            assert x.scores == y.scores
    cache.close()
