"""Fine-tuning over folds: each fold is the task it would be alone, and all folds are one score."""

import checkpoints
import numpy as np
import pytest
import soundfile
from planted import write_task
from test_finetune import NO_DROPOUT, SMALL, tuned

from svuprobe import api
from svuprobe.probe.asked_protocol import preset as probe_preset
from svuprobe.probe.finetune.protocol import FinetuneProtocol
from svuprobe.probe.finetune.run import finetune
from svuprobe.probe.finetune.saved import RunFolder, fold_names, load_predictor
from svuprobe.probe.predict import predict
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import folds
from svuprobe.tasks.manifest import ClipList, labels_of

QUICK = {"frozen_epochs": 1, "epochs": 1, "batch_size": 4}
FOLDS = ("1", "2", "10")


def tones(folder, kind, **keys):
    """Low and high tones of half a second, with a note each, in three folds."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, seconds = [], np.arange(8000) / 16000
    for n in range(12):
        wave = 0.2 * np.sin(2 * np.pi * (300 + 900 * (n % 2) + 10 * n) * seconds)
        soundfile.write(folder / f"{n}.wav", wave, 16000)
        (folder / f"{n}.csv").write_text(f"onset_s,offset_s,midi\n0.1,0.4,{62 + 24 * (n % 2)}\n")
        target = f"{n}.csv" if kind == "notes" else "ab"[n % 2]
        fold = FOLDS[n // 2 % 3]
        rows.append({"path": f"{n}.wav", "target": target, "group": f"g{n}", "fold": fold})
    return write_task(folder, f"folded-{kind}", kind, rows, **keys)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return f"hf:{checkpoints.write(folder, 'wav2vec2', **NO_DROPOUT)}"


@pytest.fixture(scope="module")
def classes(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("folds")
    task = tones(folder, "multiclass")
    return task, tuned(task, model, folder / "r", seeds=2, **QUICK)


def test_a_fold_is_fine_tuned_as_the_task_it_would_be_alone(classes, model, tmp_path):
    path, one = classes
    assert [fold.name for fold in one.result.folds] == list(FOLDS)
    task = api.load_task(str(path))
    clips = task.clips(path.parent)
    for fold in one.result.folds[::2]:
        own = tuple(folds.as_splits(task, clips, fold.name))
        listed = ClipList(task, own, labels_of(task, own), False)
        protocol = FinetuneProtocol(**SMALL | {"seeds": 2} | QUICK)
        alone, _, _ = finetune(listed, model, protocol, tmp_path / fold.name)
        assert fold.scores["accuracy"] == alone.ranked.per_seed
        assert fold.selected == alone.selected
        assert fold.softmax == alone.layer_weights.softmax


def test_every_clip_is_tested_once_and_all_folds_are_one_score(classes):
    _, one = classes
    with np.load(one.path.with_suffix(".npz")) as kept:
        assert sorted(kept["clip_id"]) == sorted(set(kept["clip_id"]))
        assert len(kept["clip_id"]) == 12
        assert list(dict.fromkeys(kept["fold"])) == list(FOLDS)
    of_folds = [fold.scores["accuracy"] for fold in one.result.folds]
    assert one.result.ranked.per_seed == pytest.approx(np.mean(of_folds, axis=0).tolist())
    assert len(one.result.model.finetune.stages) == len(FOLDS) * 2
    assert (one.result.counts.train.clips, one.result.counts.test.clips) == (4, 12)


def test_a_run_goes_on_with_the_folds_that_are_not_trained(classes, model, tmp_path):
    path, one = classes
    results = one.path.parents[2]
    folder = RunFolder(one.path).path
    names = sorted(file.name for file in folder.iterdir())
    assert names == sorted(f"fold{k}-seed{n}.safetensors" for k in (1, 2, 10) for n in (0, 1))
    one.path.unlink()
    (folder / "fold2-seed1.safetensors").unlink()
    times = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = tuned(path, model, results, resume=True, seeds=2, **QUICK)
    assert again.result.ranked == one.result.ranked
    assert again.result.folds == one.result.folds
    kept = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert times.items() <= kept.items()
    assert sorted(kept) == names
    assert tuned(path, model, results, seeds=2, **QUICK).cached


def test_new_audio_is_answered_by_the_mean_of_all_folds_networks(classes):
    path, one = classes
    predictor = load_predictor(one.path, seed=1)
    rng = np.random.default_rng(0)
    windows = [0.1 * rng.normal(size=8000).astype(np.float32) for _ in range(2)]
    own = [predictor.runtime.logits(network, windows) for network in predictor.networks]
    assert len(own) == 3
    np.testing.assert_allclose(predictor.logits(windows), np.mean(own, axis=0), rtol=1e-6)
    (found,) = predict.predict(predictor, [path.parent / "3.wav"], jobs=0)
    assert not found.failure
    (RunFolder(one.path).path / "fold10-seed1.safetensors").rename(path.parent / "away")
    with pytest.raises(ProbeError, match="lacks networks of seed 1"):
        load_predictor(one.path, seed=1)
    with pytest.raises(ProbeError, match="seed 2: the result has the networks of seeds 0 to 1"):
        load_predictor(one.path, seed=2)
    (path.parent / "away").rename(RunFolder(one.path).path / "fold10-seed1.safetensors")


def test_events_are_found_in_folds(tmp_path, model):
    path = tones(tmp_path, "notes", window_s=0.25)
    one = tuned(path, model, tmp_path / "r", frame_batch_size=4, **QUICK)
    assert [fold.test.clips for fold in one.result.folds] == [4, 4, 4]
    text = api.leaderboard(tmp_path / "r", tmp_path / "board.md")
    assert "in **3 folds**" in text
    assert load_predictor(one.path).task.kind == "notes"


def test_it_starts_from_the_heads_that_a_probe_trained_for_the_same_fold(tmp_path, model):
    path = tones(tmp_path, "multiclass")
    options = api.RunOptions(device="cpu", dtype="float32", jobs=0)
    api.extract([str(path)], [model], data=tmp_path, features=tmp_path / "f", options=options)
    quick = probe_preset(
        "svuprobe", hidden=16, max_epochs=3, seeds=1, learning_rates=(1e-2,), single_layers=False
    )
    (probed,) = api.probe(
        [str(path)], [model], features=tmp_path / "f", results=tmp_path / "r", protocol=quick
    )
    still = {"frozen_epochs": 1, "epochs": 0, "head_learning_rate": 1e-9, "mix_learning_rate": 1e-9}
    one = tuned(path, model, tmp_path / "r", start=probed.path, **still)
    for mine, theirs in zip(one.result.folds, probed.result.folds, strict=True):
        assert mine.scores["accuracy"] == theirs.scores["accuracy"]
    # A head must not be tested on clips that it was trained on.
    text = (tmp_path / "folded-multiclass.csv").read_text()
    (tmp_path / "folded-multiclass.csv").write_text(text.replace("g0,1", "g0,2"))
    with pytest.raises(ProbeError, match="their splits, folds or groups, are not those of"):
        tuned(path, model, tmp_path / "r", start=probed.path, **still)


def unfinished(result):
    """Leave of a run what one has whose result was not written yet."""
    for file in (result, result.with_suffix(".npz")):
        file.unlink()


def test_a_run_goes_on_with_networks_of_its_own_folds_alone(tmp_path, model):
    in_folds = (tmp_path / "folded-multiclass.csv", tones(tmp_path, "multiclass"))
    table = in_folds[0].read_text()
    on_splits = table.replace("fold\n", "split\n")
    for fold, split in zip(FOLDS, ("train", "valid", "test"), strict=True):
        on_splits = on_splits.replace(f",{fold}\n", f",{split}\n")
    for before, after in ((table, on_splits), (on_splits, table)):
        results = tmp_path / f"r{len(before)}"
        in_folds[0].write_text(before)
        first = tuned(in_folds[1], model, results, **QUICK)
        left = {file.name for file in RunFolder(first.path).path.iterdir()}
        unfinished(first.path)
        in_folds[0].write_text(after)
        with pytest.raises(ProbeError, match="on other folds or splits.*--overwrite"):
            tuned(in_folds[1], model, results, resume=True, **QUICK)
        assert {file.name for file in RunFolder(first.path).path.iterdir()} == left
        again = tuned(in_folds[1], model, results, overwrite=True, **QUICK)
        names = {file.name for file in RunFolder(again.path).path.iterdir()}
        assert not names & left
        assert names == {name.removeprefix("/") for name in again.result.files if name != ".npz"}
        load_predictor(again.path)


def test_a_fold_whose_clips_are_missing_is_named(tmp_path, model):
    path = tones(tmp_path, "multiclass")
    for n in (2, 3, 8, 9):  # all of fold 2, by which fold 1 is chosen
        (tmp_path / f"{n}.wav").unlink()
    options = api.FinetuneOptions(device="cpu", jobs=0, allow_missing=True)
    with pytest.raises(ProbeError, match="fold 1: .*no clip in the valid split"):
        api.finetune([str(path)], [model], data=tmp_path, results=tmp_path / "r", options=options)


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("0", "1", "2"), ["0", "1", "2"]),  # a column that counts from 0, as messages then do
        (("1", "2", "10"), ["1", "2", "10"]),
        (("fold00", "fold01"), ["fold00", "fold01"]),
        (("north/east", "south"), ["1", "2"]),
        (("A", "a"), ["1", "2"]),  # one file on a disk that knows no capitals
    ],
)
def test_files_name_folds_as_messages_do(names, files):
    assert fold_names(names) == files
