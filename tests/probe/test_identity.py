"""A result is of everything that determines it: what changes makes it again, what may not matter
keeps it.
"""

import contextlib
import copy
import csv
import dataclasses
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from svuprobe import api
from svuprobe.api import probing
from svuprobe.api.results import lines_of
from svuprobe.probe import identity
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.suites import run_suite
from svuprobe.tasks import own
from svuprobe.tasks.types import Task, Windowing

PROTOCOL = Protocol(
    hidden=0, learning_rates=(0.01, 0.1), widen=0, seeds=2, max_epochs=4, single_layers=False
)
SPLITS = ("train", "train", "train", "valid", "test")

MODEL = """
import torch
from torch import nn

class Means(nn.Module):
    sample_rate, hop, receptive_field, layer_names, dim = 8000, 80, 80, ("means",), 8

    def __init__(self):
        super().__init__()
        weight = torch.linspace(-1, 1, 640).view(8, 80) * SCALE
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, audio, lengths):
        frames = audio.unfold(1, 80, 80) @ self.weight.T.to(audio.dtype)
        return frames.abs()[:, None], 1 + (lengths - 80) // 80
"""


class Project:
    """A folder with audio, a task on it, features and results; ``probe`` says what was made and
    what was kept.
    """

    def __init__(self, root: Path, kind: str = "multiclass") -> None:
        self.root, self.kind, self.model = root, kind, "logmel"
        self.keys = {"window_s": 1.0}
        (root / "audio").mkdir(parents=True)
        self.rows = []
        for n in range(20):
            self.write_audio(n, 300 + 300 * (n % 2) + 5 * n)
            target = {
                "multiclass": "ab"[n % 2],
                "regression": f"{n % 2}.5",
                "multilabel": ("a", "a|b")[n % 2],
            }[kind]
            split = SPLITS[n // 2 % 5]
            self.rows.append(
                {
                    "id": f"c{n}",
                    "path": f"audio/{n}.wav",
                    "target": target,
                    "split": split,
                    "group": f"g{n}",
                }
                | {"start": "0", "end": "2"}
            )

    def write_audio(self, n: int, pitch: float) -> None:
        time = np.arange(2 * 8000) / 8000
        sf.write(self.root / "audio" / f"{n}.wav", 0.3 * np.sin(2 * np.pi * pitch * time), 8000)

    def toml(self) -> str:
        with (self.root / "own.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.keys.items()]
        text = "\n".join(['name = "own"', f'kind = "{self.kind}"', 'metadata = "own.csv"', *lines])
        (self.root / "own.toml").write_text(text + "\n")
        return str(self.root / "own.toml")

    def extract(self, **options) -> None:
        how = api.RunOptions(**{"dtype": "float32", "jobs": 0} | options)
        api.extract(
            [self.toml()], [self.model], data=self.root, features=self.root / "f", options=how
        )

    def probe(self, protocol=PROTOCOL, **options):
        (one,) = api.probe(
            [self.toml()],
            [self.model],
            features=self.root / "f",
            results=self.root / "r",
            protocol=protocol,
            options=api.RunOptions(**options),
        )
        return one

    def both(self, **options):
        self.extract()
        return self.probe(**options)


@pytest.fixture(scope="module")
def as_made(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("identity") / "p")
    assert not made.both().cached
    assert made.both().cached  # nothing changed
    return made


@pytest.fixture
def project(as_made, tmp_path):
    """A copy, features and result with it, of which a test may change what it likes."""
    mine = copy.deepcopy(as_made)
    mine.root = tmp_path / "p"
    shutil.copytree(as_made.root, mine.root)
    return mine


# -- what changes makes it again -------------------------------------------------------------------

TOML_CHANGES = {
    "window_s": 0.5,
    "tail_s": 0.3,
    "trim": True,
    "scored": "window",
    "class_weight_alpha": 1.0,
    "targets": ["a", "b", "c"],
    "disjoint_groups": False,
    "licence": "CC0",
    "reference": "another",
    "dataset": "another",
    "metric": "macro_f1",
}
NOT_OF_A_RESULT = {
    "name",
    "kind",
    "metadata",
    "split_seed",
    "beat_decoder",
    "folds",
    *("folder", "columns", "group_pattern", "namespace"),
    *("unit", "casefold", "alphabet"),
}  # other files; no split is drawn; beats alone; in place of a split; test_sequence has those


def test_every_key_of_a_toml_is_tried():
    assert TOML_CHANGES.keys() | NOT_OF_A_RESULT == own.KEYS.keys()


@pytest.mark.parametrize("key", TOML_CHANGES)
def test_a_changed_key_of_the_toml_makes_the_result_again(project, key):
    project.keys[key] = TOML_CHANGES[key]
    again = project.both()
    assert not again.cached
    assert "task" in again.replaced
    assert project.probe().cached


CSV_CHANGES = {
    "target": ("target", "b"),
    "split": ("split", "valid"),
    "group": ("group", "g1"),
    "id": ("id", "other"),
}


@pytest.mark.parametrize("what", CSV_CHANGES)
def test_a_changed_clip_makes_the_result_again(project, what):
    column, value = CSV_CHANGES[what]
    project.keys["disjoint_groups"] = False
    project.both()
    project.rows[0][column] = value
    again = project.both()
    assert "clips" in again.replaced
    assert project.probe().cached


def test_a_clip_more_or_less_makes_the_result_again(project):
    gone = project.rows.pop()
    assert "clips" in project.both().replaced
    project.rows.append(gone)
    assert "clips" in project.both().replaced


@pytest.mark.parametrize("what", ["start", "end", "audio", "all audio"])
def test_other_audio_is_refused_by_the_probe_until_it_is_extracted_anew(project, what):
    if what in ("start", "end"):
        project.rows[0][what] = {"start": "0.5", "end": "1.5"}[what]
    else:
        for n in range(20 if what == "all audio" else 1):
            project.write_audio(n, 1000)
    with pytest.raises(
        ProbeError, match=r"made from other audio, or another part of it.*svuprobe extract --task"
    ):
        project.probe()
    shutil.rmtree(project.root / "f")
    again = project.both()
    assert not again.cached
    assert "audio" in again.replaced


def test_other_weights_have_a_result_of_their_own(tmp_path):
    project = Project(tmp_path / "p")
    file = project.root / "means.py"
    project.model = f"py:{file}:Means"
    paths = set()
    for scale in ("1.0", "2.0"):
        file.write_text(MODEL.replace("SCALE", scale))
        project.extract()
        made = api.probe(
            [project.toml()],
            features=project.root / "f",
            results=project.root / "r",
            protocol=PROTOCOL,
        )
        paths |= {one.path for one in made}
    assert len(paths) == 2


def test_another_number_format_makes_the_result_again(tmp_path):
    project = Project(tmp_path / "p")
    project.model = "random:wav2vec2-tiny"
    project.rows = [row | {"end": "0.2"} for row in project.rows]
    assert not project.both().cached
    shutil.rmtree(project.root / "f")
    project.extract(dtype="bfloat16")
    again = project.probe()
    assert again.replaced == ("features",)
    rounded = project.probe(dtype="float32")
    assert rounded.replaced == ("protocol",)  # of the products of training
    assert "a result with other protocol or rounding (--dtype)" in lines_of(rounded)[1]


VALUES = {  # of the fields of a protocol that other rules bind
    "name": "other",
    "learning_rates": (0.02, 0.1),
    "mix_layers": "blocks",
    "mix_start": "normal",
    "start": "torch",
    "ties": "first",
    "select": "best",
    "stopping": "marble",
    "single_layers": True,
    "train_fraction": 0.5,
    "plateau_factor": 1.0,
    "dropout": 0.1,
    "pooling": "mean_std",
    "head": "knn",
    "strengths": (1.0,),
    "neighbours": (1.0,),
    "search": "halving",
}
# What heads of scikit-learn have alone, and the preset that has it.
OF_PRESETS = {"head": "logistic", "strengths": "logistic", "neighbours": "knn", "pca": "knn"}


def changed(value):
    if isinstance(value, bool):
        return not value
    return (
        value + 1
        if isinstance(value, int)
        else value / 2 + 0.01
        if isinstance(value, float)
        else None
    )


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Protocol)])
def test_every_field_of_a_protocol_has_a_digest_and_a_file_of_its_own(field):
    base = replace(PROTOCOL, single_layers=True)
    if field in OF_PRESETS:
        base = PRESETS[OF_PRESETS[field]]
    other = VALUES.get(field, changed(getattr(base, field)))
    if other == getattr(base, field):
        base = replace(base, single_layers=False)
    made = replace(base, **{field: other})
    assert made.hash != base.hash
    assert made.file_name != base.file_name
    assert identity.of_protocol(made.hash, "auto") != identity.of_protocol(base.hash, "auto")


TASK_VALUES = {
    "windowing": Windowing(1.0, trim=True),
    "metrics": ("macro_f1",),
    "labels": ("a",),
    "kind": "multilabel",
    "scored": "window",
    "beat_decoder": "peaks",
}
TASK = Task(
    "t",
    "d",
    "multiclass",
    ("accuracy",),
    lambda root: [],
    Windowing(1.0),
    "CC0",
    "somebody",
    labels=("a", "b"),
)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Task)])
def test_every_field_of_a_task_counts_or_is_named_as_one_that_does_not(field):
    old = getattr(TASK, field)
    new = TASK_VALUES.get(field, f"{old}x" if isinstance(old, str) else changed(old))
    made = replace(TASK, **{field: {"x": 1} if field == "expected" else new})
    same = identity.of_task(made, made.labels or ()) == identity.of_task(TASK, TASK.labels)
    assert same == (field in {"clips", "source", "expected", "hours"})


def test_the_scoring_version_counts(project, monkeypatch):
    monkeypatch.setattr(identity, "SCORING", identity.SCORING + 1)
    assert project.probe().replaced == ("scoring",)


# -- what may not matter keeps it ------------------------------------------------------------------


def test_the_order_of_rows_and_the_number_of_processes_keep_the_result(project):
    project.rows.reverse()
    project.extract(jobs=2)
    assert project.probe().cached
    shutil.rmtree(project.root / "f")
    project.extract(jobs=2, batch_s=3.0)
    assert project.probe(memory=1 << 30, device="cpu").cached


def test_a_project_that_was_moved_keeps_its_results(project):
    moved = project.root.with_name("moved")
    project.root.rename(moved)
    project.root = moved
    assert project.probe().cached
    project.extract()
    assert project.probe().cached


def test_without_audio_results_are_found_and_probing_goes_on(project):
    shutil.rmtree(project.root / "audio")
    assert project.probe().cached
    assert not project.probe(replace(PROTOCOL, seeds=3)).cached


def test_another_result_beside_it_keeps_it(project):
    project.probe(replace(PROTOCOL, seeds=1))
    assert project.probe().cached


# -- a suite finds the same ------------------------------------------------------------------------


def suite_of(project):
    path = project.root / "suite.toml"
    path.write_text(
        f'name = "mine"\nmodels = ["logmel"]\ntasks = ["{Path(project.toml()).name}"]\n'
        'protocols = [{ base = "linear", seeds = 2, max_epochs = 3, single_layers = false }]\n'
    )
    return str(path)


@pytest.mark.parametrize("change", ["nothing", "window_s", "scored", "target", "audio"])
def test_a_suite_makes_again_what_changed_and_nothing_else(tmp_path, change):
    project, said = Project(tmp_path / "p"), []

    def run():
        said.clear()
        failures = run_suite(
            suite_of(project),
            data=project.root,
            out=project.root / "out",
            options=api.RunOptions(reporter=api.Reporter(said.append)),
        )
        assert failures == []
        return next(line for line in said if line.startswith("suite"))

    assert run().endswith("0 of them there")
    if change == "audio":
        for n in range(20):
            project.write_audio(n, 800 + 20 * n)
        shutil.rmtree(project.root / "out" / "features")
    elif change == "target":
        project.rows[0]["target"] = "b"
    elif change != "nothing":
        project.keys[change] = TOML_CHANGES[change]
    assert run().endswith("1 of them there" if change == "nothing" else "0 of them there")
    assert run().endswith("1 of them there")


# -- together or not at all ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut", "another's"])
def test_what_does_not_belong_to_a_result_is_never_taken_for_its_own(project, suffix, damage):
    one = project.probe()
    other = project.probe(replace(PROTOCOL, seeds=3))
    beside = one.path.with_suffix(suffix)
    if damage == "gone":
        beside.unlink()
    elif damage == "cut":
        beside.write_bytes(beside.read_bytes()[:-9])
    else:
        shutil.copy(other.path.with_suffix(suffix), beside)
    said = []
    assert not project.probe(reporter=api.Reporter(said.append)).cached
    assert f"{beside}" in said[0]
    assert project.probe().cached


@pytest.mark.parametrize("fails_at", range(8))
def test_a_result_that_cannot_be_written_leaves_the_old_one_whole(project, monkeypatch, fails_at):
    """The system refuses at each call of fsync and rename in turn."""
    one = project.probe()
    before = {p.name: p.read_bytes() for p in one.path.parent.iterdir()}
    calls = iter(range(100))

    def refusing(real):
        def call(*words, **options):
            if next(calls) == fails_at:
                raise OSError(28, "No space left on device")
            return real(*words, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(os.fsync))
        patch.setattr(os, "replace", refusing(os.replace))
        patch.setattr(identity, "SCORING", identity.SCORING + 1)
        with contextlib.suppress(ProbeError):  # one line, as a PartlyDone
            project.probe()
    there = {p.name: p.read_bytes() for p in one.path.parent.iterdir()}
    assert not [name for name in there if ".tmp-" in name or ".lock" in name]
    if one.path.exists():  # whole, of the one run or of the other
        found = result_file.load(one.path)
        for suffix in found.files:
            result_file.require_unchanged(found, one.path, suffix)
    if fails_at < 3:
        assert there == before
    assert not project.probe(overwrite=True).cached
    assert project.probe().cached


def test_two_processes_that_probe_the_same_make_one_result(project):
    """As threads: the lock is of the open file, so it holds between them as between processes."""
    shutil.rmtree(project.root / "r")
    project.toml()
    outcomes = []

    def work():
        torch.manual_seed(0)
        one = api.probe(
            [str(project.root / "own.toml")],
            features=project.root / "f",
            results=project.root / "r",
            protocol=PROTOCOL,
        )
        outcomes.append(one[0].cached)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, True, True]
    assert not list((project.root / "r").rglob("*.lock"))


def test_a_result_that_came_after_the_first_look_is_not_made_again(project, monkeypatch):
    """Another process made it, and gave its lock back, between the look and the lock."""
    one = project.probe()
    aside = {p: p.read_bytes() for p in one.path.parent.iterdir() if p.is_file()}
    result_file.remove(one.path)
    real = probing.locked

    def made_meanwhile(path, **options):
        for file, content in aside.items():
            file.write_bytes(content)
        return real(path, **options)

    monkeypatch.setattr(probing, "locked", made_meanwhile)
    assert project.probe().cached


def test_one_seed_has_no_spread(project):
    said = []
    one = project.probe(replace(PROTOCOL, seeds=1), reporter=api.Reporter(said.append))
    assert one.result.ranked.std is None
    assert "±" not in said[0]


def test_controls_say_what_they_are(project):
    said = []
    project.probe(replace(PROTOCOL, shuffle_labels=True), reporter=api.Reporter(said.append))
    project.probe(replace(PROTOCOL, train_fraction=0.5), reporter=api.Reporter(said.append))
    text = "\n".join(said)
    assert "training labels shuffled: a control" in text
    assert "50 % of the training clips" in text
