"""Tracking: the same logs through three packages; results are the same to the bit; no error of a
tracker reaches a training.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
from planted import write_task
from pretraining import TINY, melodies
from safetensors.torch import load_file

from svuprobe import api
from svuprobe._distributed import Distributed
from svuprobe._errors import OptionError
from svuprobe._progress import Reporter
from svuprobe._tracking import TRACKERS, tracking

QUICK = api.FinetuneProtocol(frozen_epochs=1, epochs=1, seeds=1)


class Run:
    """A run as trackio, wandb and tensorboard's writer have it; it may fail after some logs."""

    def __init__(self, name, config, fails_at=None):
        self.name, self.config, self.fails_at = name, config, fails_at
        self.logged, self.finished = [], False

    def log(self, values, step=None):
        if self.fails_at is not None and len(self.logged) == self.fails_at:
            raise ConnectionError("the server\nis gone")
        self.logged.append((step, values))

    def finish(self):
        self.finished = True

    def add_text(self, tag, text):
        self.config = text

    def add_scalar(self, tag, value, step):
        self.log({tag: value}, step)

    close = finish


def put(monkeypatch, name, **contents):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def runs(monkeypatch):
    """All three packages, made up; the runs that are begun. ``runs.fails_at`` makes them fail."""
    begun = SimpleNamespace(all=[], fails_at=None)

    def init(*, project, name, config):
        assert project == "svuprobe"
        begun.all.append(Run(name, config, begun.fails_at))
        return begun.all[-1]

    put(monkeypatch, "trackio", init=init)
    put(monkeypatch, "wandb", init=init)
    put(monkeypatch, "tensorboard")
    writer = SimpleNamespace(
        SummaryWriter=lambda log_dir: init(project="svuprobe", name=log_dir, config=None)
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writer)
    return begun


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Fine-tune a network on eight short tones: the function, and the weights without a tracker."""
    folder = tmp_path_factory.mktemp("tuned")
    rng, rows = np.random.default_rng(0), []
    for n in range(8):
        soundfile.write(folder / f"{n}.wav", rng.normal(size=4000) / 9, 16000)
        split = ("train", "train", "valid", "test")[n // 2]
        rows.append({"path": f"{n}.wav", "target": f"c{n % 2}", "split": split, "group": f"g{n}"})
    toml = write_task(folder, "tones", "multiclass", rows)

    def run(name, track=None, said=None):
        options = api.FinetuneOptions(
            device="cpu",
            jobs=0,
            track=track,
            reporter=Reporter(([] if said is None else said).append),
        )
        (done,) = api.finetune(
            [str(toml)],
            ["random:wav2vec2-tiny"],
            data=folder,
            results=folder / name,
            protocols=[QUICK],
            options=options,
        )
        return done.result, load_file(next((folder / name).rglob("seed0.safetensors")))

    return run, run("plain")


def require_same(first, second):
    (one, weights), (other, others) = first, second
    assert one.scores == other.scores
    assert one.protocol.hash == other.protocol.hash
    assert weights.keys() == others.keys()
    assert all(tensor.equal(others[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("name", TRACKERS)
def test_fine_tuning_logs_each_step_and_epoch_and_changes_no_bit(tuned, runs, name):
    run, plain = tuned
    require_same(run(name, name), plain)
    (log,) = runs.all
    assert log.finished
    assert QUICK.hash in str(log.config)
    assert "random:wav2vec2-tiny" in str(log.config)
    steps = [step for step, values in log.logged if "loss" in values]
    assert steps == list(range(1, len(steps) + 1))
    logged = {key for _, values in log.logged for key in values}
    assert logged >= {"learning rate/group 0", "epoch/loss", "epoch/validation accuracy"}
    losses = [v["epoch/loss"] for _, v in log.logged if "epoch/loss" in v]
    assert losses == [epoch.loss for epoch in plain[0].model.finetune.epochs[0]]


@pytest.mark.parametrize("fails_at", [0, 2])
def test_a_tracker_that_fails_is_said_once_and_stops_nothing(tuned, runs, fails_at):
    run, plain = tuned
    runs.fails_at, said = fails_at, []
    require_same(run(f"fails{fails_at}", "wandb", said), plain)
    assert len(runs.all[0].logged) == fails_at
    lines = [line for line in said if "stopped" in line]
    assert lines == [
        "wandb stopped (ConnectionError: the server is gone); training goes on without it"
    ]


def test_a_tracker_that_can_not_begin_stops_nothing(monkeypatch, tmp_path):
    def init(**options):
        raise RuntimeError("not logged in")

    put(monkeypatch, "wandb", init=init)
    said = []
    with tracking("wandb", "r", {}, folder=tmp_path, reporter=Reporter(said.append)) as tracker:
        tracker.log({"loss": 1.0}, 1)
    assert said == ["wandb stopped (RuntimeError: not logged in); training goes on without it"]


def test_pre_training_logs_its_curve_and_changes_no_bit(tmp_path, runs, monkeypatch):
    audio = melodies(tmp_path / "audio", 4)

    def run(name, track=None):
        options = api.PretrainOptions(device="cpu", jobs=0, log_every=2, track=track)
        changes = TINY | {"targets": ("mfcc39:4",)}
        return api.pretrain("small", audio, out=tmp_path / name, changes=changes, options=options)

    plain, tracked = run("plain"), run("tracked", "tensorboard")
    weights = [load_file(model.folder / "model.safetensors") for model in (plain, tracked)]
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())
    (log,) = runs.all
    assert log.name.startswith(str(tracked.folder / "run" / "tensorboard" / "small-"))
    assert plain.recipe.hash in log.config
    wanted = []
    for row in plain.curve:
        for name, value in row.items():
            if name not in ("step", "seconds"):
                wanted.append((row["step"], {name: value}))
    assert log.logged == wanted
    # Of several processes only the first one logs.
    monkeypatch.setattr(Distributed, "first", property(lambda self: False))
    runs.all.clear()
    tmp_path.joinpath("tracked", "run", "checkpoint.safetensors").unlink()
    run("tracked", "tensorboard")
    assert runs.all == []


def test_a_tracker_that_is_not_there_is_one_line(monkeypatch):
    with pytest.raises(OptionError, match="track = 'wandbb'; did you mean wandb?"):
        api.FinetuneOptions(track="wandbb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for options in (api.FinetuneOptions, api.PretrainOptions):
        with pytest.raises(OptionError, match="^--track trackio needs .*: pip install trackio$"):
            options(track="trackio")
