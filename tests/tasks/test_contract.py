"""What holds for every task: a new one is checked by being in the table."""

import importlib
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from svuprobe import api
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import (
    TABLE,
    check_name,
    find_clips,
    folds,
    kinds,
    load,
    manifest,
    types as task_types,
)
from svuprobe.tasks.datasets import DATASETS, embedded_folder
from svuprobe.tasks.kinds.metrics import ERRORS
from svuprobe.tasks.synth import CORPORA

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
QUICK = preset("linear", learning_rates=(5e-3,), seeds=1, max_epochs=60, single_layers=False)
FRAMES = Protocol(
    name="quick",
    hidden=0,
    learning_rates=(5e-2,),
    seeds=1,
    single_layers=False,
    epoch_updates=4,
    max_epochs=12,
)
HERE = api.RunOptions(jobs=0)  # no processes to start for a few clips
# How far above chance a linear head on time means (or frames) of a hand-made front end gets on the
# synthetic copy, or on the recordings that come with svuprobe: the ranked metric must exceed chance
# by this much.
MARGIN = {
    "technique": 0.15,
    "technique-marble": 0.15,
    "singer": 0.15,
    "transcription": 0.05,
    "genre": 0.3,
    "beat": 0.3,
    "key": 0.3,
    "emotion": 0.3,
    "instrument": 0.3,
    "pitch": 0.3,
    "singer-artist20": 0.2,
    "singer-artist20-released": 0.2,
    "singer-cross-technique": 0.08,
    "tagging": 0.08,
    "mtg-instrument": 0.1,
    "mtg-moodtheme": 0.15,
    "mtg-genre": 0.1,
    "mtg-top50": 0.1,
    "melody": 0.2,
    "melody-medleydb": 0.1,
    "chords": 0.2,
    "technique-detection": 0.05,
    "structure": 0.4,
    "singing-quality": 0.5,
    "starter-digits": 0.1,
    "starter-family": 0.05,
    "starter-pitch": 0.4,
    "starter-pitch-height": 0.3,
}
# By how much an answer is late that is worth little, where it is not a quarter of a second.
LATE_S = {"melody": 1.0, "chords": 0.6, "segments": 5.0, "structure": 3.0}
# Synthetic copies that are large by default and tell the same with fewer clips.
CLIPS = {
    "vocalset": 160,
    "giantsteps": 72,
    "magnatagatune": 60,
    "mtg-jamendo": 44,
    "nsynth": 99,
    "gtzan": 45,
    "artist20": 24,
    "chords1217": 30,
    "emomusic": 36,
    "mir-st500": 12,
    "vocadito": 5,
    "medleydb-melody": 12,
    "gtsinger": 70,
    "harmonix": 9,
    "singmos": 75,
}
# Tasks whose test split is one group: their results say that they have no interval.
OF_ONE_VOICE = {"starter-digits"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, sung_once):
    """Where a task's dataset is: in the package, or a synthetic copy, made when first asked for."""
    root = tmp_path_factory.mktemp("data")

    def place(task):
        if not embedded_folder(task.dataset) and not (root / task.dataset).exists():
            api.synth([task.name], root, clips=CLIPS.get(task.dataset))
        return api.Data(root)

    return place


@pytest.fixture(scope="module")
def folder(data):
    """The folder of a task's dataset."""
    return lambda task: data(task).folder(task.dataset)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Where features are: tasks of one dataset and windowing share them, as everybody's do."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(params=TABLE)
def task(request):
    return load(request.param)


def test_a_task_says_what_it_is(task):
    assert task.name in TABLE
    assert check_name(task.name) is None
    assert task.reference
    assert task.licence
    assert task.version >= 1
    assert task.kind in kinds.TABLE
    assert task.scored in ("clip", "window")
    assert task.dataset in DATASETS
    assert importlib.import_module(TABLE[task.name].split(":")[0]).__doc__
    assert set(task.expected) <= set(task_types.SPLITS)
    if task.labels is not None and task.kind != "regression":
        assert list(task.labels) == sorted(set(task.labels))


def test_data_at_hand_are_whole_learnable_in_every_split_and_disjoint(task, data, folder):
    assert (task.dataset in CORPORA) != bool(embedded_folder(task.dataset))
    # Refuses repeated ids and, where the protocol says so, groups across splits.
    clips = find_clips(task, folder(task))
    # In folds each clip is tested, and each fold is another's training and validation.
    in_folds = len(folds.names(clips)) >= 3
    assert {c.split for c in clips} == ({"test"} if in_folds else set(task_types.SPLITS))
    assert all(Path(c.path).is_file() for c in clips)
    labels = manifest.labels_of(task, clips)
    if task.kind == "multiclass":
        train = {c.target for c in clips if c.split == "train"}
        assert {c.target for c in clips} <= train
        assert train <= set(labels)
    assert api.check(task.name, data(task))
    assert (len({c.group for c in clips if c.split == "test"}) == 1) == (task.name in OF_ONE_VOICE)


def test_perfect_predictions_score_1_on_every_metric_and_shuffled_ones_chance(task, folder):
    clips = find_clips(task, folder(task))
    if kinds.of(task).level == "frame":
        for clip in clips[:3]:
            kind = kinds.of(task, manifest.labels_of(task, clips))
            estimate = kind.as_events(clip.target)
            scores = kind.score(clip.target, estimate)
            assert set(task.metrics) <= set(scores)
            assert all(scores[name] == pytest.approx(1.0) for name in task.metrics)
            times = {1: 1, 2: np.array([1, 0]), 3: np.array([1, 1, 0])}[estimate[:1].size]
            late = estimate + LATE_S.get(task.kind, 0.25) * times
            assert kind.score(clip.target, late)[task.metrics[0]] < 0.6
        return
    labels = manifest.labels_of(task, clips)
    target = kinds.of(task).encode(task, labels, clips)
    outputs = (
        9.0 * np.eye(len(labels))[target] if task.kind == "multiclass" else target.astype(float)
    )
    group, everyone = np.arange(len(clips)), np.ones((1, len(clips)))
    order = np.random.default_rng(0).permutation(len(clips))
    for name in task.metrics:
        perfect = kinds.of(task).metric(name, labels)(target, outputs, group, everyone)[0]
        assert perfect == pytest.approx(float(name not in ERRORS)), name
    shuffled = kinds.of(task).metric(task.metrics[0], labels)(
        target, outputs[order], group, everyone
    )[0]
    assert shuffled < 0.65


def test_tasks_of_one_dataset_share_clip_ids_and_files(folder):
    seen = {}
    for name in TABLE:
        one = load(name)
        for clip in find_clips(one, folder(one)):
            key = (one.dataset, one.windowing, kinds.of(one).level, clip.id)
            assert seen.setdefault(key, clip.path) == clip.path


def test_every_task_goes_from_audio_to_a_score_above_chance(task, data, features, tmp_path):
    api.extract([task.name], ["logmel"], data=data(task), features=features, options=HERE)
    protocol = FRAMES if kinds.of(task).level == "frame" else QUICK
    (one,) = api.probe([task.name], features=features, results=tmp_path / "r", protocol=protocol)
    ranked = task.metrics[0]
    # Guesses that are all alike have no correlation with anything.
    chance = one.result.chance[ranked] or 0.0
    assert one.result.ranked.mean > chance + MARGIN[task.name], one.result.scores
    assert one.result.task.synthetic == (embedded_folder(task.dataset) is None)


@pytest.mark.usefixtures("sung_once")
def test_the_example_in_contributing_works_as_it_stands(monkeypatch, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(), flags=re.DOTALL)
    # test_own_models.py runs the model.
    (code,) = [block for block in blocks if "TASK = Task(" in block]
    assert len(code.splitlines()) < 60
    module = types.ModuleType("svuprobe.tasks.vowel")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "svuprobe.tasks.vowel", module)
    monkeypatch.setitem(TABLE, "vowel", "svuprobe.tasks.vowel:TASK")
    api.synth(["vowel"], tmp_path / "d", clips=120)
    api.extract(["vowel"], ["mfcc"], data=tmp_path / "d", features=tmp_path / "f", options=HERE)
    (one,) = api.probe(["vowel"], features=tmp_path / "f", results=tmp_path / "r", protocol=QUICK)
    assert one.result.task.labels == ("a", "e", "i", "o", "u")
    assert one.result.ranked.mean > one.result.chance["accuracy"] + 0.1
