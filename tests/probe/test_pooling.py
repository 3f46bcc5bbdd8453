"""What heads read of a window: its mean, or mean and deviation."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache, write_task

from svuprobe import api
from svuprobe.benchmarks import leaderboard
from svuprobe.cli import main
from svuprobe.probe import trained
from svuprobe.probe.protocol import Protocol

QUICK = Protocol(
    name="quick", epoch_updates=5, hidden=0, dropout=0.0, learning_rates=(1e-2, 1e-1), widen=0,
    seeds=2, max_epochs=25,
)  # fmt: skip
BOTH = replace(QUICK, pooling="mean_std")


def probe(tmp_path, toml, protocol):
    places = {"features": tmp_path / "f", "results": tmp_path / "r"}
    return api.probe([str(toml)], **places, protocol=protocol)[0]


def unlike_deviations(tmp_path, layer=2, layers=4, dim=6):
    """Windows of 200 frames with one mean; in one layer the class is how much the frames vary."""
    toml, clips = classes(tmp_path, n_classes=3, per_class=60)
    rng = np.random.default_rng(0)
    states = {}
    for clip in clips:
        frames = rng.normal(size=(200, layers, dim))
        frames[:, layer] *= 1 + int(clip.target[-1])
        frames += rng.normal(size=(layers, dim)) - frames.mean(axis=0)
        states[clip.id] = [np.stack([frames.mean(axis=0), frames.std(axis=0)])]
    made_with = header(api.load_task(str(toml)), layers=layers, dim=dim)
    write_cache(tmp_path / "f", replace(made_with, pooling="mean_std"), states)
    return toml


def test_the_deviation_tells_what_the_mean_can_not(tmp_path):
    toml = unlike_deviations(tmp_path)
    mean, both = probe(tmp_path, toml, QUICK), probe(tmp_path, toml, BOTH)
    assert mean.result.ranked.mean < 0.55  # a third is chance
    assert both.result.ranked.mean > 0.9
    # One weight a layer, for its mean and its deviation.
    weights = np.array(both.result.layer_weights.softmax)
    assert weights.shape == (2, 4)
    assert (weights.argmax(axis=1) == 2).all()
    assert len(both.result.layer_weights.rms) == 4
    assert max(both.result.layer_curve, key=both.result.layer_curve.get) == "block02"
    # Each is centred and scaled by itself; heads have an input for each.
    heads = trained.load(both.path)
    assert heads.pooling == "mean_std"
    assert heads.tensors["scale"].shape == (4, 12)
    assert heads.tensors["weight0"].shape == (2, 12, 3)
    assert trained.load(mean.path).pooling == "mean"


def test_means_are_read_from_a_cache_with_deviations_as_from_one_without(tmp_path):
    toml, clips = classes(tmp_path)
    states = planted_states(clips, layer=1, layers=3)
    beside = {i: [np.concatenate([w, w + 1]) for w in several] for i, several in states.items()}
    made_with = header(api.load_task(str(toml)), layers=3)
    write_cache(tmp_path / "f", made_with, states)
    alone = probe(tmp_path, toml, QUICK)
    write_cache(tmp_path / "g" / "f", replace(made_with, pooling="mean_std"), beside)
    (tmp_path / "g" / "f" / "tasks").mkdir(exist_ok=True)
    again = api.probe(
        [str(toml)], features=tmp_path / "g" / "f", results=tmp_path / "r", protocol=QUICK
    )[0]
    assert again.cached  # the same result, to the last part of its identity
    assert again.path == alone.path


def test_both_poolings_stand_apart_in_the_leaderboard(tmp_path):
    toml = unlike_deviations(tmp_path)
    command = ["probe", "--task", str(toml), "--features", str(tmp_path / "f")]
    command += ["--results", str(tmp_path / "r"), "--protocol", "linear", "--seeds", "1"]
    for more in ([], ["--pooling", "mean_std"]):
        done = CliRunner().invoke(main, [*command, "--max-epochs", "3", *more])
        assert done.exit_code == 0, done.output
    assert "(pooling mean_std)" in done.output
    names = sorted(path.name.rsplit("-", 1)[0] for path in (tmp_path / "r").rglob("*.json"))
    assert names == ["linear", "linear-mean_std"]
    files, problems = leaderboard.files(tmp_path / "r", tmp_path / "board.md")
    assert not problems
    text = files[tmp_path / "board.md"]
    assert "shapes, mean and deviation" in text


def test_what_can_not_be_pooled_so_is_one_line(tmp_path):
    toml, clips = classes(tmp_path)
    made_with = header(api.load_task(str(toml)), layers=3)
    folder = write_cache(tmp_path / "f", made_with, planted_states(clips, layer=1, layers=3))
    with pytest.raises(api.PartlyDone) as error:
        probe(tmp_path, toml, BOTH)
    assert error.value.problems == [
        f"{folder}: holds means alone, as it is of an older svuprobe; for deviations, too, run "
        f"svuprobe cache prune {folder} --model hf:made/up, then svuprobe extract again"
    ]
    splits = ["train", "valid", "test"]
    rows = [{"path": f"{n}.wav", "target": f"{n}.txt", "split": splits[n % 3]} for n in range(6)]
    for row in rows:
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / row["target"]).write_text("0.1\n0.5\n")
    beats = write_task(tmp_path / "b", "taps", "beats", rows)
    task = api.load_task(str(beats))
    rng = np.random.default_rng(0)
    frames = {c.id: [rng.normal(size=(50, 3, 4))] for c in task.clips(tmp_path / "b")}
    write_cache(tmp_path / "f", header(task, layers=3, dim=4), frames)
    with pytest.raises(api.PartlyDone) as error:
        probe(tmp_path, beats, BOTH)
    assert error.value.problems == [
        "task taps: pooling = 'mean_std' is of the frames of a window, and beats are found in "
        "single frames, which nothing pools; probe it with pooling = 'mean'"
    ]
