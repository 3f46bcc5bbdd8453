"""Cross-validation: each fold is the task it would be alone, and all folds are one score."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from planted import header, write_cache, write_task

from svuprobe import api
from svuprobe._run_options import RunOptions
from svuprobe.extractors.cache import FeatureCache
from svuprobe.probe import trained
from svuprobe.probe.per_label import per_label
from svuprobe.probe.probing import probe
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.stats.compare import compare
from svuprobe.tasks import folds, load, manifest
from svuprobe.tasks.kinds.metrics import METRICS, mean_over_folds

QUICK = Protocol(
    name="quick",
    epoch_updates=1,
    hidden=0,
    learning_rates=(1e-2, 1e-1),
    widen=0,
    max_epochs=6,
    seeds=2,
)
LAYERS, DIM = 3, 6


def rows_of(kind, n=30, n_folds=3):
    """Clips of two windows in groups of three, whose targets the features carry in layer 1."""
    rows = []
    for k in range(n):
        targets = {
            "multiclass": "ab"[k % 2],
            "multilabel": ["a", "b", "a|b"][k % 3],
            "regression": f"{(k * 7 % 11) / 3:.3f}",
            "beats": f"{'even' if k % 2 else 'odd'}.beats",
        }
        group = k // 3
        row = {"path": f"{k}.wav", "target": targets[kind], "group": f"g{group}"}
        rows.append(row | {"fold": f"f{group % n_folds}"})
    return rows


def made(folder, kind, n_folds=3, **keys):
    (folder / "odd.beats").parent.mkdir(parents=True, exist_ok=True)
    (folder / "odd.beats").write_text("0.2\n0.6\n1.0\n")
    (folder / "even.beats").write_text("0.1\n0.5\n0.9\n1.3\n")
    if kind == "beats":
        keys["beat_decoder"] = "peaks"  # the other one takes a second a clip
    toml = write_task(folder, "mine", kind, rows_of(kind, n_folds=n_folds), **keys)
    task = load(str(toml))
    rng = np.random.default_rng(0)
    in_frames = kind == "beats"
    states = {}
    for k, clip in enumerate(task.clips(folder)):
        windows = rng.normal(size=(2, 20 if in_frames else 1, LAYERS, DIM))
        windows[..., 1, 0] += k % 2 if kind != "regression" else clip.target[0]
        states[clip.id] = list(windows)
    cache = write_cache(folder / "f", header(task, layers=LAYERS, dim=DIM), states)
    ((listed,), _) = manifest.find(folder / "f", str(toml))
    return listed, cache, toml


def probed(folder, kind, protocol=QUICK, n_folds=3, **keys):
    listed, path, toml = made(folder, kind, n_folds, **keys)
    with FeatureCache(path) as cache:
        return (listed, path, *probe(cache, listed, protocol, RunOptions()))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return probed(tmp_path_factory.mktemp("folds"), "multiclass", scored="window")


def test_every_clip_is_tested_once_by_heads_that_learnt_from_other_groups(classes):
    listed, _, result, predictions, _ = classes
    by_clip = Counter(predictions["clip_id"].tolist())
    assert by_clip == {clip.id: 2 for clip in listed.clips}  # two windows each
    fold_of = {clip.id: clip.fold for clip in listed.clips}
    assert [fold_of[i] for i in predictions["clip_id"]] == predictions["fold"].tolist()
    assert result.task.folds == 3
    assert [fold.name for fold in result.folds] == ["f0", "f1", "f2"]
    assert result.task.splits == {"train": 10, "valid": 10, "test": 30}
    assert (result.counts.test.clips, result.counts.test.groups) == (30, 10)
    assert sum(fold.test.clips for fold in result.folds) == 30


@pytest.mark.parametrize(
    ("kind", "select"),
    [("multiclass", "best"), ("multilabel", "sum"), ("regression", "sum"), ("beats", "sum")],
)
def test_a_fold_is_what_its_splits_would_be_as_a_task_of_their_own(tmp_path, kind, select):
    protocol = replace(QUICK, select=select, max_epochs=3)
    listed, path, result, predictions, heads = probed(tmp_path, kind, protocol)
    assert not np.isnan(list(result.ranked.per_seed)).any()
    with FeatureCache(path) as cache:
        for fold, info in zip(folds.names(listed.clips), result.folds, strict=True):
            clips = tuple(folds.as_splits(listed.task, listed.clips, fold))
            alone, said, own = probe(cache, replace(listed, clips=clips), protocol, RunOptions())
            assert info.scores == {name: s.per_seed for name, s in alone.scores.items()}
            assert info.selected == alone.selected
            assert info.layer_curve == alone.layer_curve
            assert (info.train, info.valid, info.test) == (
                alone.counts.train,
                alone.counts.valid,
                alone.counts.test,
            )
            mine = predictions["fold"] == fold
            assert predictions["clip_id"][mine].tolist() == said["clip_id"].tolist()
            if kind != "beats":
                assert np.array_equal(predictions["outputs"][:, mine], said["outputs"])
            for name, tensor in own.tensors.items():
                assert np.array_equal(heads.folds[fold].tensors[name], tensor), name


def test_metrics_of_single_clips_are_pooled_and_those_that_rank_are_averaged(tmp_path):
    _, _, result, said, _ = probed(tmp_path / "a", "multiclass", scored="window")
    right = said["outputs"].argmax(axis=2) == said["target"]
    assert result.ranked.per_seed == pytest.approx(right.mean(axis=1).tolist())
    sizes = [fold.test.windows for fold in result.folds]
    means = np.average([fold.scores["accuracy"] for fold in result.folds], axis=0, weights=sizes)
    assert result.ranked.per_seed == pytest.approx(means.tolist())

    _, _, result, _, _ = probed(tmp_path / "b", "multilabel")
    means = np.mean([fold.scores["roc_auc"] for fold in result.folds], axis=0)
    assert result.ranked.per_seed == pytest.approx(means.tolist())

    _, _, result, _, _ = probed(tmp_path / "c", "beats")
    sizes = [fold.test.clips for fold in result.folds]
    ranked = [fold.scores[result.task.ranked] for fold in result.folds]
    assert result.ranked.per_seed == pytest.approx(np.average(ranked, axis=0, weights=sizes))


def test_a_metric_that_ranks_is_not_changed_by_what_one_fold_adds_to_its_outputs():
    rng = np.random.default_rng(0)
    target = (rng.random((60, 3)) < 0.4).astype(float)
    output, fold, group = target + rng.normal(size=(60, 3)), np.arange(60) % 3, np.arange(60) // 6
    metric = mean_over_folds(METRICS["roc_auc"], fold)
    counts = np.ones((1, 10))
    shifted = output + 5 * fold[:, None]
    assert metric(target, shifted, group, counts) == metric(target, output, group, counts)
    pooled = METRICS["roc_auc"](target, shifted, group, counts)
    assert pooled < METRICS["roc_auc"](target, output, group, counts) - 0.1
    # A fold without a positive has no score; the mean is over the others.
    target[fold == 0] = 0
    others = fold > 0
    alone = mean_over_folds(METRICS["roc_auc"], fold[others])
    assert metric(target, output, group, counts) == alone(
        target[others], output[others], group[others], counts
    )


def test_a_frame_has_a_row_for_each_fold_metric_and_seed(classes):
    pandas = pytest.importorskip("pandas")
    _, _, result, _, _ = classes
    frame = result.folds_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 3 * len(result.scores) * 2
    accuracy = frame[(frame.metric == "accuracy") & (frame.fold == "f1")]
    assert tuple(accuracy.value) == result.folds[1].scores["accuracy"]


def test_layers_are_means_over_folds(classes):
    _, _, result, _, _ = classes
    softmax = np.mean([fold.softmax for fold in result.folds], axis=0)
    assert np.allclose(result.layer_weights.softmax, softmax)
    assert np.allclose(softmax.sum(axis=1), 1)
    for name, per_seed in result.layer_curve.items():
        folds_of = [fold.layer_curve[name] for fold in result.folds]
        sizes = [fold.test.windows for fold in result.folds]
        assert per_seed == pytest.approx(np.average(folds_of, axis=0, weights=sizes).tolist())


def test_new_audio_is_answered_by_the_mean_of_all_folds_heads(classes, tmp_path):
    import torch

    *_, heads = classes
    heads.write(tmp_path / "r.safetensors")
    states = torch.randn(5, LAYERS, DIM)
    own = torch.stack([one(states, 1) for one in heads.folds.values()])
    assert torch.allclose(heads(states, 1), own.mean(dim=0))
    assert not torch.allclose(own[0], own[1])
    assert (heads.seeds, trained.FoldedHeads) == (2, type(heads))


def test_a_result_in_folds_is_kept_read_again_compared_and_in_the_leaderboard(tmp_path):
    listed, path, toml = made(tmp_path, "multilabel")
    names = {"features": tmp_path / "f", "results": tmp_path / "r"}
    (first,) = api.probe([str(toml)], **names, protocol=QUICK)
    assert api.load_result(first.path).folds == first.result.folds
    assert api.probe([str(toml)], **names, protocol=QUICK)[0].cached
    assert list(trained.load(first.path).folds) == ["f0", "f1", "f2"]
    # A test takes the predictions as the score does: averaged over folds.
    ((mean, *_),) = compare([(first.result, first.path)]).mean[None]
    assert mean == pytest.approx(first.result.ranked.mean, abs=1e-6)
    labels = per_label(first.result, first.path)
    each = [labels[label]["roc_auc"].mean for label in first.result.task.labels]
    assert np.mean(each) == pytest.approx(first.result.ranked.mean, abs=0.02)
    board = api.leaderboard(tmp_path / "r", tmp_path / "board.md")
    assert (
        "Clips: 30 in **3 folds**, each tested by heads that learnt from others: 10 train" in board
    )


@pytest.mark.parametrize("change", ["fold", "folds"])
def test_other_folds_are_another_result(tmp_path, change):
    listed, path, toml = made(tmp_path, "multiclass")
    names = {"features": tmp_path / "f", "results": tmp_path / "r"}
    protocol = replace(QUICK, max_epochs=1)
    api.probe([str(toml)], **names, protocol=protocol)
    if change == "fold":
        text = (tmp_path / "mine.csv").read_text()
        (tmp_path / "mine.csv").write_text(text.replace("g0,f0", "g0,f1"))
    else:
        rows = rows_of("multiclass")
        for row in rows:
            del row["fold"]
        write_task(tmp_path, "mine", "multiclass", rows, folds=3)
    (again,) = api.probe([str(toml)], **names, protocol=protocol)
    assert "clips" in again.replaced


@pytest.mark.parametrize("extra", [{"train_fraction": 0.5}, {"shuffle_labels": True}])
def test_controls_and_fractions_are_drawn_within_folds(tmp_path, extra):
    protocol = replace(QUICK, **extra, max_epochs=3)
    _, _, result, predictions, _ = probed(tmp_path, "multiclass", protocol)
    share = 0.5 if "train_fraction" in extra else 1
    assert [fold.train.clips for fold in result.folds] == pytest.approx(
        [share * n for n in (9, 12, 9)], abs=1
    )
    assert len(predictions["clip_id"]) == 60
    if "shuffle_labels" in extra:
        assert result.ranked.mean < 0.75


def test_two_folds_have_validation_splits_of_their_own(tmp_path):
    _, _, result, _, _ = probed(tmp_path, "multiclass", n_folds=2)
    assert [fold.test.clips for fold in result.folds] == [15, 15]
    assert [fold.valid.clips for fold in result.folds] == [3, 3]


def test_a_fold_that_nothing_can_be_chosen_in_is_named(tmp_path):
    with pytest.raises(ProbeError, match="fold f.: .*no clip with features in the"):
        _fold_gone(tmp_path)


def _fold_gone(folder):
    listed, path, _ = made(folder, "multiclass")
    kept = tuple(c for c in listed.clips if c.fold != "f2")
    gone = tuple(replace(c, id=f"gone{c.id}") for c in listed.clips if c.fold == "f2")
    with FeatureCache(path) as cache:
        probe(cache, replace(listed, clips=kept + gone), QUICK, RunOptions(allow_missing=True))
