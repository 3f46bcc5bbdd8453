"""A task on own data goes by its name in every command, once extraction has listed it."""

import shlex

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from svuprobe import api
from svuprobe.cli import main

TUNING = ("--one-stage", "--epochs", "1", "--seeds", "1", "--device", "cpu", "--jobs", "0")


def write_task(folder, *, swapped=False):
    """Write two tones for each split and their list; ``swapped`` has the other labels."""
    folder.mkdir()
    lines = ["path,target,split"]
    time_s = np.arange(8000) / 16000
    for split in ("train", "valid", "test"):
        for label, pitch in (("low", 200), ("high", 900)):
            soundfile.write(
                folder / f"{split}-{label}.wav", np.sin(2 * np.pi * pitch * time_s) / 4, 16000
            )
            target = {"low": "high", "high": "low"}[label] if swapped else label
            lines.append(f"{split}-{label}.wav,{target},{split}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    (folder / "own.toml").write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n')
    return folder / "own.toml"


def extract(task):
    said = []
    options = api.RunOptions(device="cpu", jobs=0, reporter=api.Reporter(said.append))
    api.extract([str(task)], ["logmel"], data="data", features="features", options=options)
    return said


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Go to a folder where ``one/own.toml`` was extracted."""
    monkeypatch.chdir(tmp_path)
    assert not replacing(extract(write_task(tmp_path / "one")))
    return tmp_path


def replacing(said):
    return [line for line in said if "was made from" in line]


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_extract_and_finetune_take_the_name(project):
    before = (project / "features/tasks/own.json").read_bytes()
    done = run("extract", "--task", "own", "--model", "mfcc", "--device", "cpu", "--jobs", "0")
    assert done.exit_code == 0, done.output
    assert (project / "features/tasks/own.json").read_bytes() == before
    assert list(project.glob("features/mfcc*/own*"))
    # The folder of features may be anywhere, for finetune too.
    (project / "features").rename(project / "elsewhere")
    command = ("finetune", "--task", "own", "--model", "random:wav2vec2-tiny", *TUNING)
    refused = run(*command)
    assert refused.exit_code == 2
    assert "unknown task 'own'" in refused.output
    done = run(*command, "--features", "elsewhere")
    assert done.exit_code == 0, done.output
    assert list(project.glob("results/*/own/*.json"))


def test_before_features_are_there_the_command_named_makes_them(project):
    (project / "features").rename(project / "elsewhere")
    task = str(project / "one" / "own.toml")
    refused = run("probe", "--task", task)
    assert refused.exit_code == 1
    command = shlex.split(refused.output.partition("run svuprobe ")[2].removesuffix(" first\n"))
    assert command == ["extract", "--task", task, "--model", "M"]
    done = run(*command[:-1], "mfcc", "--device", "cpu", "--jobs", "0")
    assert done.exit_code == 0, done.output


def test_a_file_that_is_no_result_is_not_to_be_deleted(project):
    for command in (
        ("predict", "--run", "one/own.csv", "--audio", "one/test-low.wav"),
        ("finetune", "--task", "own", "--model", "random:wav2vec2-tiny", "--from", "one/own.csv"),
    ):
        refused = run(*command)
        assert refused.exit_code == 1
        assert "one/own.csv: no result of svuprobe; name the JSON file" in refused.output
        assert "delete" not in refused.output


def test_a_name_of_a_file_beside_is_answered_with_it(project):
    (project / "two.toml").write_text((project / "one" / "own.toml").read_text())
    refused = run("extract", "--task", "two", "--model", "mfcc")
    assert refused.exit_code == 2
    assert "unknown task 'two'; of the file that is there: two.toml" in refused.output


@pytest.mark.parametrize("command", ["extract", "finetune"])
def test_what_no_list_names_or_whose_data_are_gone_is_one_line(project, command):
    arguments = (command, "--model", "random:wav2vec2-tiny", "--device", "cpu", "--task")
    refused = run(*arguments, "owl")
    assert refused.exit_code == 2
    assert "unknown task 'owl'" in refused.output
    assert "features has features of own" in refused.output
    (project / "one").rename(project / "gone")
    refused = run(*arguments, "own")
    assert refused.exit_code == 1, refused.output
    assert "one/own.toml, which is gone; run svuprobe extract --task with" in refused.output
    assert "Traceback" not in refused.output


def test_another_file_of_the_same_name_is_said_to_replace_the_list(project):
    quick = api.Protocol(seeds=1, max_epochs=1, learning_rates=(1e-3,), hidden=0)
    places = {"features": "features", "results": "results", "protocol": quick}
    api.probe(["own"], ["logmel"], **places)
    shards = {path: path.stat().st_mtime_ns for path in project.glob("features/*/own*/**/*.h5")}
    (line,) = replacing(extract(write_task(project / "two", swapped=True)))
    assert f"{project / 'one/own.toml'} and is from now on of {project / 'two/own.toml'}" in line
    # What the line says: features stay, and the result is made again.
    assert shards
    assert all(path.stat().st_mtime_ns == time for path, time in shards.items())
    (again,) = api.probe(["own"], ["logmel"], **places)
    assert not again.cached
    assert again.replaced
    # By its name it is the other one now, and nothing is replaced; nor is it where all moved.
    assert not replacing(extract("own"))
    (project / "moved").mkdir()
    for folder in ("two", "features"):
        (project / folder).rename(project / "moved" / folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project / "moved")
        assert not replacing(extract("own"))
