"""Heads of scikit-learn give what plain scikit-learn gives, and are chosen, kept and used like
others.
"""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache, write_task
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svuprobe import api
from svuprobe.benchmarks import plots
from svuprobe.cli import main
from svuprobe.probe import trained
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.classic.logistic import ABSENT, solve
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.protocol_fields import GRIDS
from svuprobe.probe.training.heads import CONCAT, Bank, Shape, Spec
from svuprobe.probe.training.layer_sets import bank_of
from svuprobe.tasks.kinds.base import Problem

LAYERS, DIM = 3, 6
ONE_C = {"strengths": (0.5,)}


def made(folder, kind="multiclass", per_class=25, **keys):
    """A task whose classes or values are told by layer 1, with its cache; returns the TOML."""
    rng = np.random.default_rng(0)
    if kind == "multiclass":
        toml, clips = classes(folder, n_classes=3, per_class=per_class, **keys)
        states = planted_states(clips, layer=1, layers=LAYERS, dim=DIM, strength=0.7, windows=2)
    else:
        rows, states = [], {}
        for n in range(80):
            hidden = rng.normal(size=DIM)
            tags = [f"t{i}" for i in range(2) if hidden[i] + 0.5 * rng.normal() > 0.3]
            values = "|".join(f"{v:.3f}" for v in hidden[:2] * [3, 1] + [50, 0])
            rows.append({
                "path": f"{n}.wav", "target": "|".join(tags) if kind == "multilabel" else values,
                "split": ["train", "train", "train", "valid", "test"][n % 5], "group": f"g{n}",
            })  # fmt: skip
            window = rng.normal(size=(1, LAYERS, DIM))
            window[0, 1] += 2 * hidden
            states[f"{n}"] = [window]
        toml = write_task(folder, kind, kind, rows, **keys)
        clips = api.load_task(str(toml)).clips(folder)
        states = {clip.id: states[clip.path.split("/")[-1].removesuffix(".wav")] for clip in clips}
    write_cache(folder / "f", header(api.load_task(str(toml)), LAYERS, DIM), states)
    return toml, clips, {i: np.concatenate(w).astype(np.float16) for i, w in states.items()}


def probe(folder, toml, name="logistic", **changes):
    places = {"features": folder / "f", "results": folder / "r"}
    return api.probe([str(toml)], **places, protocol=preset(name, **changes))[0]


def split(clips, states, name, layer=1):
    """Rows of a layer, or of all one after the other, and the clip of each."""
    own = [clip for clip in clips if clip.split == name]
    x = np.concatenate([states[clip.id].astype(np.float64) for clip in own])
    pick = x.reshape(len(x), -1) if layer is None else x[:, layer]
    return pick, [clip for clip in own for _ in states[clip.id]]


def test_coefficients_are_those_of_plain_scikit_learn(tmp_path):
    toml, clips, states = made(tmp_path)
    probed = probe(tmp_path, toml, select="1", **ONE_C)
    x, of = split(clips, states, "train")
    plain = LogisticRegression(C=0.5, max_iter=1000)
    plain.fit(StandardScaler().fit_transform(x), [clip.target for clip in of])
    heads = trained.load(probed.path)
    np.testing.assert_allclose(heads.tensors["weight0"][0].T, plain.coef_, atol=2e-3)
    np.testing.assert_allclose(heads.tensors["bias0"][0, 0], plain.intercept_, atol=2e-3)
    assert heads.tensors["mix"].tolist() == [[0.0, 1.0, 0.0]]
    result = probed.result
    # One head: no spread over seeds, which is not a spread of 0; and no weights of layers.
    assert (result.ranked.std, len(result.ranked.per_seed)) == (None, 1)
    assert (result.layer_weights, result.selected.head.learning_rate) == (None, None)
    assert result.selected.head.setting == "C = 0.5"
    assert list(result.layer_curve) == ["input", "block01", "block02"]
    assert api.load_result(probed.path).scores == result.scores
    assert len(result.layers_frame()) == LAYERS


@pytest.mark.parametrize("pca", [0, 4])
@pytest.mark.parametrize("layer", [1, None])
def test_logits_are_those_of_plain_scikit_learn_whatever_is_read(tmp_path, layer, pca):
    toml, clips, states = made(tmp_path)
    select = "concat" if layer is None else "1"
    probed = probe(tmp_path, toml, select=select, pca=pca, **ONE_C)
    x, of = split(clips, states, "train", layer)
    steps = [StandardScaler(), *[PCA(pca)] * (pca > 0), LogisticRegression(C=0.5, max_iter=1000)]
    plain = make_pipeline(*steps).fit(x, [clip.target for clip in of])
    expected = plain.decision_function(split(clips, states, "test", layer)[0])
    with np.load(probed.path.with_suffix(".npz")) as stored:
        np.testing.assert_allclose(stored["outputs"][0], expected, atol=5e-3)
        alone = trained.load(probed.path)(torch.from_numpy(states[stored["clip_id"][0]]), 0)
        np.testing.assert_allclose(alone, stored["outputs"][0, :2], atol=1e-4)


def test_more_features_than_rows_change_nothing(tmp_path):
    toml, clips, states = made(tmp_path, per_class=5)
    probed = probe(tmp_path, toml, select="concat", **ONE_C)
    x, of = split(clips, states, "train", None)
    assert x.shape[0] == x.shape[1] == 18
    x, of = x[:17], of  # a test of the solver alone, below
    targets = np.arange(17) % 3
    ((weights, bias),) = solve(x, Problem(slice(None), "classes", targets), 3, [0.5])
    plain = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(x, targets)
    np.testing.assert_allclose(weights, plain.coef_, atol=2e-3)
    np.testing.assert_allclose(bias, plain.intercept_, atol=2e-3)
    assert probed.result.selected.head.layer == "concat"


def test_values_are_those_of_ridge_and_tags_of_one_against_the_rest(tmp_path):
    toml, clips, states = made(tmp_path / "v", "regression")
    probed = probe(tmp_path / "v", toml, select="1", **ONE_C)
    x, of = split(clips, states, "train")
    y = np.array([clip.target for clip in of])
    scaled = (y - y.mean(axis=0)) / y.std(axis=0)
    scaler = StandardScaler().fit(x)
    test_x, test_of = split(clips, states, "test")
    ridge = Ridge(alpha=2.0).fit(scaler.transform(x), scaled)
    expected = ridge.predict(scaler.transform(test_x)) * y.std(axis=0) + y.mean(axis=0)
    with np.load(probed.path.with_suffix(".npz")) as stored:
        np.testing.assert_allclose(stored["outputs"][0], expected, rtol=1e-3, atol=1e-3)
    assert probed.result.selected.head.setting == "alpha = 2"
    scores = probed.result.scores
    assert {"r2", "mae", "rmse", "pearson", "spearman"} <= set(scores)
    assert -1 < scores["pearson"].ci95[0] < scores["pearson"].mean < scores["pearson"].ci95[1] < 1
    toml, clips, states = made(tmp_path / "t", "multilabel")
    probed = probe(tmp_path / "t", toml, select="1", **ONE_C)
    x, of = split(clips, states, "train")
    tags = np.array([[label in clip.target for label in ("t0", "t1")] for clip in of])
    scaler = StandardScaler().fit(x)
    rest = OneVsRestClassifier(LogisticRegression(C=0.5)).fit(scaler.transform(x), tags)
    with np.load(probed.path.with_suffix(".npz")) as stored:
        expected = rest.decision_function(scaler.transform(split(clips, states, "test")[0]))
        np.testing.assert_allclose(stored["outputs"][0], expected, atol=5e-3)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_answer_as_those_of_scikit_learn(tmp_path, monkeypatch, kind, metric):
    monkeypatch.setattr("svuprobe.probe.classic.votes.METRICS", (metric,))
    toml, clips, states = made(tmp_path, kind)
    probed = probe(tmp_path, toml, "knn", select="1", neighbours=(5.0,))
    assert probed.result.selected.head.setting == f"k = 5, {metric}"
    x, of = split(clips, states, "train")
    test_x, _ = split(clips, states, "test")
    scaler = StandardScaler().fit(x)
    targets = np.array([clip.target for clip in of]) if kind != "multilabel" else np.array(
        [[label in clip.target for label in ("t0", "t1")] for clip in of]
    )  # fmt: skip
    plain = KNeighborsRegressor if kind == "regression" else KNeighborsClassifier
    plain = plain(5, metric=metric).fit(scaler.transform(x), targets)
    expected = plain.predict(scaler.transform(test_x))
    with np.load(probed.path.with_suffix(".npz")) as stored:
        outputs, first = stored["outputs"][0], stored["clip_id"][0]
    if kind == "multiclass":
        assert [f"class{n}" for n in outputs.argmax(axis=1)] == expected.tolist()
    elif kind == "multilabel":
        np.testing.assert_array_equal(outputs > 0, expected)
    else:
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    heads = trained.load(probed.path)
    alone = heads(torch.from_numpy(states[first]), 0).numpy()
    np.testing.assert_allclose(alone, outputs[: len(alone)], rtol=1e-5, atol=1e-5)
    assert heads.seeds == 1


@pytest.mark.parametrize("name", ["logistic", "knn"])
def test_validation_finds_the_layer_and_a_second_run_finds_the_result(tmp_path, name):
    toml, *_ = made(tmp_path)
    probed = probe(tmp_path, toml, name)
    assert probed.path.name == f"{name}.json"
    assert probed.result.best_layer == "block01"
    assert probed.result.selected.head.layer in ("block01", "concat")
    assert set(probed.result.layer_sets) == {"mean", "concat"}
    assert probe(tmp_path, toml, name).cached
    again = api.probe(
        [str(toml)], features=tmp_path / "f", results=tmp_path / "again", protocol=preset(name)
    )[0]
    assert again.result.scores == probed.result.scores
    # Where clips or labels are dealt to seeds, their heads differ.
    control = probe(tmp_path, toml, name, shuffle_labels=True, seeds=3, select="1").result
    assert len(control.ranked.per_seed) == 3
    assert control.ranked.mean < probed.result.ranked.mean - 0.15
    with pytest.raises(ProbeError, match="heads of scikit-learn learn none; draw layer-curves"):
        plots.layer_weights([probed.result], tmp_path / "p")
    assert plots.layer_curves([probed.result], tmp_path / "p")


def test_a_class_without_a_training_clip_is_never_the_answer(tmp_path):
    rows = []
    for n in range(40):
        split_name = ["train", "train", "valid", "test"][n % 4]
        label = "ab"[n // 4 % 2] if split_name == "train" else "abc"[n // 4 % 3]
        rows.append({"path": f"{n}.wav", "target": label, "split": split_name, "group": f"g{n}"})
    toml = write_task(tmp_path, "three", "multiclass", rows)
    clips = api.load_task(str(toml)).clips(tmp_path)
    states = planted_states(clips, layer=1, layers=LAYERS, dim=DIM)
    write_cache(tmp_path / "f", header(api.load_task(str(toml)), LAYERS, DIM), states)
    for name in ("logistic", "knn"):
        probed = probe(tmp_path, toml, name)
        with np.load(probed.path.with_suffix(".npz")) as stored:
            assert np.isfinite(stored["outputs"]).all()
            assert (stored["outputs"].argmax(axis=2) < 2).all()
        assert probed.result.ranked.mean > 0.5


@pytest.mark.parametrize("answers", ["values", "tag", "classes"])
@pytest.mark.parametrize("dim", [3, 30])
def test_the_solvers_bear_every_strength_that_may_be_asked_for(answers, dim):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, dim))
    targets = rng.normal(size=(20, 1)) if answers == "values" else rng.permutation(20) % 2
    problem = Problem(slice(None), answers, targets)
    n_outputs = 2 if answers == "classes" else 1
    sizes = []
    for weights, bias in solve(rows, problem, n_outputs, GRIDS["strengths"]):  # a warning raises
        assert np.isfinite(weights).all()
        assert np.isfinite(bias).all()
        sizes.append(np.abs(weights).max())
    assert sizes[0] < 1e-9 < 1e-2 < sizes[1]


def test_one_class_or_none_is_no_reason_to_fail():
    rows = np.random.default_rng(0).normal(size=(6, 3))
    for index in range(2):
        only = Problem(slice(None), "classes", np.full(6, index))
        ((weights, bias),) = solve(rows, only, 2, [1.0])
        assert not weights.any()
        assert bias.tolist() == [0.0 if n == index else ABSENT for n in range(2)]
        tag = Problem(slice(0, 1), "tag", np.full(6, index))
        ((weights, bias),) = solve(rows, tag, 1, [1.0])
        assert not weights.any()
        assert bias[0] > 0 if index else bias[0] < 0
    # Rows without a class, as frames of chords that no class says, are no part of it.
    targets, known = np.array([0, 1, 2, 0, 0, 0]), np.array([1.0, 1, 1, 1, 0, 0])
    some = Problem(slice(None), "classes", targets, known)
    alone = Problem(slice(None), "classes", targets[:4])
    ((weights, _),), ((expected, _),) = (
        solve(rows, some, 3, [1.0]), solve(rows[:4], alone, 3, [1.0]),
    )  # fmt: skip
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["beats", "notes"])
def test_frames_are_learnt_by_logistic_regression_where_they_fit(tmp_path, kind, monkeypatch):
    rng = np.random.default_rng(0)
    rows, frames = [], {}
    for n in range(12):
        times = [0.3, 0.8, 1.3, 1.8, 2.3]
        lines = times if kind == "beats" else [f"{t},{t + 0.3},{60 + n % 3}" for t in times]
        target = f"{n}.txt" if kind == "beats" else f"{n}.csv"
        (tmp_path / target).write_text("\n".join(map(str, lines)) + "\n")
        name = ["train", "train", "valid", "test"][n % 4]
        rows.append({"path": f"{n}.wav", "target": target, "split": name, "group": f"g{n}"})
        states = rng.normal(size=(150, LAYERS, DIM))
        for time in times:
            at = round(time * 50)
            states[at - 1 : at + 2, 1, 0] += 6
            states[at : at + 15, 1, 1] += 6
            states[at : at + 15, 1, 2 + n % 3] += 6
        frames[f"{n}.wav"] = [states]
    toml = write_task(tmp_path, "events", kind, rows)
    task = api.load_task(str(toml))
    clips = task.clips(tmp_path)
    states = {clip.id: frames[clip.path.split("/")[-1]] for clip in clips}
    write_cache(tmp_path / "f", header(task, LAYERS, DIM), states)
    probed = probe(tmp_path, toml, strengths=(0.1, 1.0))
    assert probed.result.best_layer == "block01"
    assert probed.result.ranked.mean > 0.7
    linear = Protocol(hidden=0, dropout=0, learning_rates=(0.1,), seeds=1, max_epochs=1)
    network = api.probe(
        [str(toml)], features=tmp_path / "f", results=tmp_path / "r", protocol=linear
    )[0].result
    assert network.model.layer_names == probed.result.model.layer_names
    with pytest.raises(api.PartlyDone, match="head = 'knn' compares whole windows, and"):
        probe(tmp_path, toml, "knn")
    monkeypatch.setattr("svuprobe.probe.classic.inputs.memory_allowed", lambda device: 50_000)
    with pytest.raises(api.PartlyDone, match="training rows of .* of memory are allowed; allow"):
        probe(tmp_path, toml, select="1")


def test_mistakes_are_one_line(tmp_path):
    toml, *_ = made(tmp_path)
    with pytest.raises(api.PartlyDone, match="pca = 7: input has 6 features and 90 training rows"):
        probe(tmp_path, toml, pca=7)
    with pytest.raises(api.PartlyDone, match=r"'3': the model has layers 0 \(input\) to 2"):
        probe(tmp_path, toml, select="3")
    probed = probe(tmp_path, toml, select="2", **ONE_C)
    with pytest.raises(ProbeError, match="its heads are logistic, and fine-tuning goes on with"):
        api.finetune(
            [str(toml)], ["hf:made/up"], data=tmp_path, results=tmp_path / "r", start=probed.path
        )


def test_all_layers_in_a_row_train_as_one_layer_of_their_features():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(LAYERS, 7, DIM, generator=generator)
    joined = states.transpose(0, 1).reshape(1, 7, -1)
    shape = Shape(LAYERS, DIM, 2, hidden=5)
    for hidden in (0, 5):
        shape = replace(shape, hidden=hidden)
        many = bank_of([Spec(CONCAT, 1e-2, seed) for seed in (0, 1)], shape, "cpu")
        wide = replace(shape, layers=1, dim=LAYERS * DIM)
        plain = Bank([Spec(0, 1e-2, seed) for seed in (0, 1)], wide)
        logits, seen = many.forward(states)
        expected, seen_plain = plain.forward(joined)
        torch.testing.assert_close(logits, expected)
        gradients = []
        for bank, what, given in ((many, seen, states), (plain, seen_plain, joined)):
            into = {name: torch.zeros_like(value) for name, value in bank.parameters.items()}
            bank.backward(given, what, torch.ones_like(logits), into)
            gradients.append(into)
        for name, value in gradients[0].items():
            torch.testing.assert_close(value, gradients[1][name])


def test_networks_may_read_all_layers_in_a_row_or_one(tmp_path):
    toml, _, states = made(tmp_path)
    quick = {"learning_rates": (0.1,), "seeds": 2, "max_epochs": 30}
    probed = probe(tmp_path, toml, "linear", select="concat", **quick)
    assert probed.result.selected.head.layer == "concat"
    assert set(probed.result.layer_sets) == {"concat"}
    assert probed.result.ranked.mean > 0.6
    assert len(probed.result.layer_weights.softmax) == 2  # the sum is trained beside it
    heads = trained.load(probed.path)
    with np.load(probed.path.with_suffix(".npz")) as stored:
        alone = heads(torch.from_numpy(states[stored["clip_id"][0]]), 1)
        np.testing.assert_allclose(alone, stored["outputs"][1, :2], rtol=1e-3, atol=1e-3)
    one = probe(tmp_path, toml, "linear", select="1", **quick).result
    assert one.selected.head.layer == "block01"
    assert one.ranked.per_seed == one.layer_curve["block01"]


def test_new_audio_is_answered_as_the_test_split_was(tmp_path):
    toml, clips = classes(tmp_path, n_classes=2, per_class=10, window_s=0.5)
    rng = np.random.default_rng(0)
    for clip in clips:
        tone = np.sin(2 * np.pi * 220 * (1 + int(clip.target[-1])) * np.arange(9600) / 16000)
        soundfile.write(clip.path, 0.1 * tone + 0.05 * rng.normal(size=9600), 16000)
    common = ["--task", str(toml), "--features", str(tmp_path / "f")]

    def run(*words):
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    run("extract", *common, "--model", "logmel", "--jobs", "0", "--frames")
    for protocol, pooling in (("logistic", "first"), ("knn", "max"), ("linear", "max")):
        few = ["--max-epochs", "3", "--seeds", "1"] if protocol == "linear" else []
        results = ["--results", str(tmp_path / "r"), "--protocol", protocol]
        said = run("probe", *common, *results, "--pooling", pooling, *few)
        assert f"pooling {pooling}" in said
        (path,) = (tmp_path / "r").rglob(f"{protocol}-{pooling}-*.json")
        heads = trained.load(path)
        with np.load(path.with_suffix(".npz")) as stored:
            clip_id, outputs = stored["clip_id"][0], stored["outputs"][0, 0]
        audio = next(clip.path for clip in clips if clip.id == clip_id)
        (prediction,) = api.predict(path, [audio])
        shares = np.exp(outputs) / np.exp(outputs).sum()
        np.testing.assert_allclose(prediction.window_outputs[0], shares, atol=2e-3)
        assert heads.pooling == pooling
