"""Weights that have moved find their features, their results and their names again."""

import shutil
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import soundfile

import svuprobe
from svuprobe import api, suites
from svuprobe._run_options import FinetuneOptions, RunOptions
from svuprobe.extractors.found_again import named_in
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.suites import run_suite

QUICK = Protocol(name="quick", seeds=1, max_epochs=2, learning_rates=(1e-3,), hidden=0)
SUITE = """
name = "small"
description = "x"
tasks = ["own.toml"]
models = ["hf:models/{name}"]
protocols = [{{ base = "linear", seeds = 1, max_epochs = 2 }}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Make a project with a task of one's own and a checkpoint at ``models/old``, extracted and
    probed.
    """
    place = tmp_path_factory.mktemp("made")
    rows = ["path,target,split"]
    for n in range(12):
        tone = np.sin(np.arange(8000) * (0.02 + 0.02 * (n % 2))) / 2
        soundfile.write(place / f"{n}.wav", tone, 16000)
        rows.append(f"{n}.wav,{'ab'[n % 2]},{('train', 'valid', 'test')[n // 4]}")
    (place / "own.csv").write_text("\n".join(rows) + "\n")
    (place / "own.toml").write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n')
    checkpoints.write(place / "models/old", "music2vec")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        said = extract("hf:models/old", names={"hf:models/old": "Mine"})
        assert any("taken as the folder here, hf:./models/old" in line for line in said)
        probe("hf:models/old")
    return place


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """Copy the project, with the checkpoint moved to ``models/new``."""
    # Caches and results carry the path as it was: the copy is as good as a move.
    shutil.copytree(made, tmp_path / "p")
    (tmp_path / "p/models/old").rename(tmp_path / "p/models/new")
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


def extract(*models, task="own.toml", **options) -> list[str]:
    said: list[str] = []
    options = RunOptions(reporter=api.Reporter(said.append), jobs=0, **options)
    api.extract([task], list(models), data="data", features="features", options=options)
    return said


def probe(*models, **options):
    options = RunOptions(**options)
    (probed,) = api.probe(
        ["own"], models, features="features", results="results", protocol=QUICK, options=options
    )
    return probed


def test_a_moved_checkpoint_has_nothing_to_do_and_its_result_and_name(project):
    before = sorted(Path("features").glob("*/*/*.h5"))
    said = extract("hf:models/new", names={"hf:models/new": "Renamed"})
    assert any("has the weights of hf:/" in line for line in said)
    assert "0 clips done, 12 already cached" in said[-1]
    assert sorted(Path("features").glob("*/*/*.h5")) == before

    said = []
    probed = probe("hf:models/new", reporter=api.Reporter(said.append))
    assert probed.cached
    assert probed.result.model.display == "Renamed"
    assert any("whose features are there" in line for line in said)
    again = probe("hf:models/new", names={"hf:models/new": "Other"})
    assert again.cached
    assert again.result.model.display == "Other"
    with svuprobe.load_features("features", "own", "hf:models/new") as cache:
        assert len(cache) == 12


def test_what_an_interruption_left_is_gone_on_with_under_its_name(project):
    (folder,) = Path("features").glob("local-*/*")
    for file in folder.glob("features.h5*"):
        file.unlink()
    assert "12 already cached" in extract("hf:models/new")[-1]


@pytest.mark.parametrize("what", ["weights", "settings", "dtype", "window", "level"])
def test_nothing_that_differs_is_taken_for_the_same(project, what):
    options = {}
    if what == "weights":
        checkpoints.save(
            Path("models/new"), checkpoints.make_state("music2vec", 1), safetensors=True
        )
    elif what == "settings":
        checkpoints.edit(Path("models/new"), layer_norm_eps=1e-3)
    elif what == "dtype":
        options = {"dtype": "bfloat16"}
    if what in ("window", "level"):
        asked = {"window_s": 0.3} if what == "window" else {"frames": True}
        (report,) = api.extract(
            ["own.toml"], ["hf:models/new"], data="data", features="features", **asked
        )
        assert (report.done, report.directory.parent.name[:9]) == (12, "local-new")
    else:
        said = extract("hf:models/new", **options)
        assert not any("has the weights" in line for line in said)
        assert "12 clips done" in said[-1]
    if what in ("weights", "settings"):
        assert named_in(Path("features"), "hf:./models/new") == f"hf:{project}/models/new"


def test_a_suite_finds_a_moved_checkpoint_s_results(project, monkeypatch):
    for name in ("old", "new"):
        (project / f"{name}.toml").write_text(SUITE.format(name=name))
    # Pictures and the page take long, and are not what is asked here.
    monkeypatch.setattr(suites, "show", lambda *args: (True, []))
    (project / "models/new").rename(project / "models/old")
    first = run_suite("old.toml", data=".", out="out")
    assert first == []
    (project / "models/old").rename(project / "models/new")
    said: list[str] = []
    options = RunOptions(reporter=api.Reporter(said.append))
    again = run_suite("new.toml", data=".", out="out", options=options)
    assert again == []
    assert "suite small: 1 results, 1 of them there" in said
    assert len(list(Path("out/results").glob("local-*"))) == 1


def test_a_result_that_is_made_again_keeps_its_display_name(project):
    probe("hf:models/new", names={"hf:models/new": "Given"})
    shutil.rmtree("features/tasks", ignore_errors=False)
    Path("features/display-names.json").unlink()
    extract("hf:models/new")
    again = probe("hf:models/new", overwrite=True)
    assert not again.cached
    assert again.result.model.display == "Given"
    assert (
        probe("hf:models/new", names={"hf:models/new": "New"}, overwrite=True).result.model.display
        == "New"
    )


def test_a_fine_tuned_result_is_found_and_keeps_its_name_too(project):
    quick = svuprobe.FinetuneProtocol(frozen_epochs=1, epochs=0, seeds=1)

    def tune(name, **options):
        (tuned,) = svuprobe.finetune(
            ["own.toml"], [f"hf:models/{name}"], data="data", results="results",
            protocols=[quick], options=FinetuneOptions(jobs=0, **options),
        )  # fmt: skip
        return tuned

    assert not tune("new", names={"hf:models/new": "Tuned"}).cached
    shutil.copytree("models/new", "models/newer")
    found = tune("newer")
    assert found.cached
    assert found.result.model.display == "Tuned"
    again = tune("new", overwrite=True)
    assert not again.cached
    assert again.result.model.display == "Tuned"


@pytest.mark.parametrize("tuned", [False, True])
def test_a_result_whose_checkpoint_moved_answers_once_it_is_told_where(project, tuned):
    if tuned:
        (project / "models/new").rename(project / "models/old")
        quick = svuprobe.FinetuneProtocol(frozen_epochs=1, epochs=0, seeds=1)
        (one,) = svuprobe.finetune(
            ["own.toml"], ["hf:models/old"], data="data", results="tuned",
            protocols=[quick], options=FinetuneOptions(jobs=0),
        )  # fmt: skip
        (expected,) = svuprobe.predict(one.path, ["0.wav"])
        run = one.path
        (project / "models/old").rename(project / "models/new")
    else:
        # Where it was made, the checkpoint is there to this day: only the copy's is gone.
        (run,) = Path("results").glob("*/own/*.json")
        (expected,) = svuprobe.predict(run, ["0.wav"])
        folder = api.load_result(run).model.name.removeprefix("hf:")
        Path(folder).rename(Path(folder).with_name("away"))
    try:
        words = r"nothing is there; if the checkpoint was moved, say where it is with --model"
        with pytest.raises(ProbeError, match=words):
            list(svuprobe.predict(run, ["0.wav"]))
        (found,) = svuprobe.predict(run, ["0.wav"], model="hf:models/new")
        np.testing.assert_array_equal(found.outputs, expected.outputs)
        checkpoints.save(
            Path("models/new"), checkpoints.make_state("music2vec", 1), safetensors=True
        )
        with pytest.raises(ProbeError, match="its weights .* name where those of"):
            list(svuprobe.predict(run, ["0.wav"], model="hf:models/new"))
    finally:
        if not tuned:
            Path(folder).with_name("away").rename(folder)
