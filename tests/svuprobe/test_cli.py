"""The command line: a user's mistake is one line and the right exit code; a bug keeps its
traceback.
"""

import json
import shutil

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache

from svuprobe import api, cli
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.results import result_file


def call(*words):
    return CliRunner().invoke(cli.main, [str(w) for w in words])


def own_task(folder, name="tones", kind="multiclass", **changes):
    """Three pitches, five takes each: a task on audio files, and its TOML."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    lines = ["path,target,split"]
    for take in range(10):
        for midi in (57, 64, 71):
            time = np.arange(8000) / 16000
            wave = 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * time + take)
            soundfile.write(folder / "audio" / f"{midi}-{take}.wav", wave, 16000)
            split = "train" if take < 6 else "valid" if take < 8 else "test"
            lines.append(f"audio/{midi}-{take}.wav,pitch{midi},{split}")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    text = f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n'
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


@pytest.fixture(scope="module")
def as_cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached")
    toml, clips = classes(folder)
    task = api.load_task(str(toml))
    write_cache(folder / "f", header(task, layers=3), planted_states(clips, layer=1, layers=3))
    quick = preset("linear", learning_rates=(1e-2,), seeds=2, max_epochs=2)
    api.probe([str(toml)], features=folder / "f", results=folder / "r", protocol=quick)
    return folder


@pytest.fixture
def cached(as_cached, tmp_path):
    """A task with a cache and a result, and nothing behind it; each test has its own copy."""
    return shutil.copytree(as_cached, tmp_path, dirs_exist_ok=True)


EXTRACT = (
    "extract",
    "--model",
    "logmel",
    "--features",
    "{tmp}/f",
    "--data",
    "{tmp}/data",
    "--task",
)
# Words of the command, exit code, and what the one
# line says: the value, the rule, the next command.
MISTAKES = {
    "unknown task": (
        ("extract", "--model", "logmel", "--task", "tecnique"),
        2,
        ["'tecnique'", "technique"],
    ),
    "unknown model": (
        ("extract", "--model", "logmell", "--task", "technique"),
        2,
        ["'logmell'", "logmel"],
    ),
    "random of an unknown model": (("probe", "--model", "random:hubert-bass"), 2, ["hubert-base"]),
    "unknown protocol": (("probe", "--protocol", "svuprob"), 2, ["'svuprob'", "svuprobe"]),
    "unknown command": (("extrakt",), 2, ["extrakt"]),
    "unknown option": (("probe", "--modle", "x"), 2, ["--modle"]),
    "shard out of range": (
        ("extract", "--model", "logmel", "--task", "singer", "--shard", "3/2"),
        2,
        ["'3/2'", "i/n"],
    ),
    "no model": (("extract", "--task", "technique"), 2, ["--model"]),
    "two roots": ((*EXTRACT, "technique", "--data", "a", "--data", "b"), 2, ["DATASET=PATH"]),
    "missing dataset": (
        (*EXTRACT, "technique"),
        1,
        ["{tmp}/data/vocalset", "svuprobe data synth --task technique"],
    ),
    "missing TOML": ((*EXTRACT, "{tmp}/none.toml"), 1, ["{tmp}/none.toml", "no such file"]),
    "malformed TOML": ((*EXTRACT, "{tmp}/bad.toml"), 1, ["{tmp}/bad.toml", "line 1"]),
    "malformed CSV": ((*EXTRACT, "{tmp}/csv.toml"), 1, ["{tmp}/csv.csv:3", "split 'trane'"]),
    "local folder without a checkpoint": (
        (
            "extract",
            "--model",
            "hf:{tmp}/nothing",
            "--features",
            "{tmp}/f",
            "--task",
            "{tmp}/shapes.toml",
        ),
        1,
        ["{tmp}/nothing"],
    ),
    "no features at all": (
        ("probe", "--features", "{tmp}/none"),
        1,
        ["{tmp}/none", "svuprobe extract"],
    ),
    "no features of the task": (
        ("probe", "--features", "{tmp}/f", "--task", "technique"),
        1,
        ["svuprobe extract"],
    ),
    "no features of the model": (
        ("probe", "--features", "{tmp}/f", "--task", "{tmp}/shapes.toml", "--model", "mfcc"),
        1,
        ["no features of mfcc", "hf-made--up@01234567", "svuprobe extract --model mfcc"],
    ),
    "features of another revision": (
        (
            "probe",
            "--features",
            "{tmp}/f",
            "--task",
            "{tmp}/shapes.toml",
            "--model",
            "hf:made/up@v2",
        ),
        1,
        ["no features of hf:made/up@v2", "hf-made--up@01234567"],
    ),
    "a learning rate below zero": (
        ("probe", "--features", "{tmp}/f", "--learning-rate", "-1"),
        2,
        ["--learning-rate", "-1"],
    ),
    "no results": (("leaderboard", "--results", "{tmp}/none"), 1, ["{tmp}/none", "svuprobe probe"]),
    "a stale leaderboard": (
        ("leaderboard", "--results", "{tmp}/r", "--out", "{tmp}/stale.md", "--check"),
        1,
        ["{tmp}/stale.md", "svuprobe leaderboard"],
    ),
    "nothing to draw": (("plot", "layer-weights", "--results", "{tmp}/none"), 1, ["{tmp}/none"]),
    "unknown plot": (("plot", "layer-colours"), 2, ["layer-colours", "layer-curves"]),
    "no synthetic copy of own data": (
        ("data", "synth", "--task", "{tmp}/shapes.toml", "--out", "{tmp}/o"),
        1,
        ["shapes"],
    ),
    "somebody's data in the way": (
        ("data", "synth", "--task", "technique", "--out", "{tmp}/real"),
        1,
        ["real/vocalset"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_the_right_exit_code(cached, mistake):
    (cached / "bad.toml").write_text("name = \n")
    (cached / "csv.toml").write_text('name = "csv"\nkind = "multiclass"\nmetadata = "csv.csv"\n')
    (cached / "csv.csv").write_text("path,target,split\na.wav,x,train\nb.wav,y,trane\n")
    (cached / "stale.md").write_text("old")
    (cached / "real" / "vocalset").mkdir(parents=True)
    (cached / "real" / "vocalset" / "mine.wav").write_text("precious")
    words, code, told = MISTAKES[mistake]
    before = sorted(p for p in cached.rglob("*") if p.is_file())
    done = call(*(w.format(tmp=cached) for w in words))
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)
    lines = [line for line in done.output.splitlines() if line]
    assert "Traceback" not in done.output
    assert lines[-1].startswith("Error: ")
    # Usage errors show the usage first.
    assert len(lines) == 1 or code == 2 or "clips (" in lines[0]
    for text in told:
        assert text.format(tmp=cached) in lines[-1]
    # Nothing lost.
    assert sorted(p for p in cached.rglob("*") if p.is_file() and "tasks" not in p.parts) == before


def test_unreadable_audio_is_listed_and_the_rest_is_done(tmp_path):
    toml = own_task(tmp_path)
    (tmp_path / "audio" / "57-3.wav").write_text("not audio")
    done = call("extract", "--model", "logmel", "--task", toml, "--features", tmp_path / "f")
    assert done.exit_code == 1
    assert '"audio/57-3.wav": ' in done.output
    assert "can't be decoded" in done.output
    assert done.output.splitlines()[-1].startswith("Error: 1 clips failed, the others are done")
    refused = call("probe", "--features", tmp_path / "f", "--results", tmp_path / "r")
    assert refused.exit_code == 1
    assert "--allow-missing" in refused.output


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def broken(*args, **options):
        raise KeyError("a bug")

    monkeypatch.setattr(api, "leaderboard", broken)
    done = call("leaderboard", "--results", tmp_path)
    assert isinstance(done.exception, KeyError)


def test_own_audio_goes_from_files_to_leaderboard(tmp_path, monkeypatch):
    toml = own_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    models = ("--model", "logmel", "--model", "random:wav2vec2-tiny")
    assert call("extract", *models, "--task", toml).exit_code == 0
    for path in (tmp_path / "audio").iterdir():
        path.unlink()  # probing never opens audio
    done = call("probe", "--seeds", 2, "--max-epochs", 30, "--learning-rate", 0.01)
    assert done.exit_code == 0, done.output
    assert call("leaderboard").exit_code == 0
    text = (tmp_path / "leaderboard.md").read_text()
    assert "## tones: accuracy" in text
    assert "random:wav2vec2-tiny#0 *(control)*" in text
    assert "*chance*" in text
    results = {r.model.name: r for r, _ in result_file.read_all(tmp_path / "results")[0]}
    assert results["logmel"].ranked.mean == 1.0  # three pitches are three bands
    assert call("leaderboard", "--check").exit_code == 0
    (tmp_path / "leaderboard.md").write_text(text.replace("100.0", "100.1"))
    assert call("leaderboard", "--check").exit_code == 1
    for kind in ("layer-weights", "layer-curves"):
        done = call("plot", kind, "--out", "plots")
        assert [line.rsplit(".")[-1] for line in done.output.split()] == ["png", "svg", "csv"]
    again = call("probe", "--seeds", 2, "--max-epochs", 30, "--learning-rate", 0.01)
    assert again.output.count("already there") == 2


@pytest.mark.parametrize("command", ["models", "tasks", "protocols"])
def test_what_there_is_comes_as_a_table_and_as_json(command):
    table, rows = call(command), json.loads(call(command, "--json").output)
    assert table.exit_code == 0
    for row in rows:
        assert row["name"] in table.output


def test_the_models_fit_a_terminal_of_80_columns_in_groups_with_what_they_were_trained_on():
    text, rows = call("models").output, json.loads(call("models", "--json").output)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines if line.endswith("licence")][:2] == [
        "SPEECH",
        "MUSIC",
    ]
    hubert = lines.index(next(line for line in lines if line.startswith("hubert-base ")))
    assert " ".join(lines[hubert].split()) == "hubert-base 94.4 M 13 x 768 16 50 Apache-2.0"
    assert lines[hubert + 1] == "    trained on 960 h: LibriSpeech; 15.6 s at once"
    # Nothing that a column has no room for is cut: JSON has all of it.
    by_name = {row["name"]: row for row in rows}
    assert by_name["mert-v1-95m"]["frame_rate"] == 75.0
    assert by_name["mert-v1-95m"]["training_data"]["hours"] == 20000
    assert by_name["mert-v1-95m"]["hub"] == "m-a-p/MERT-v1-95M"
    assert by_name["logmel"]["training_data"] is None
    assert " ".join(by_name["wavlm-base"]["licence"].split()) in " ".join(text.split())


def test_every_command_explains_itself():
    for words in (*((name,) for name in cli.main.commands), ("data", "synth")):
        done = call(*words, "--help")
        assert done.exit_code == 0
        assert "Usage:" in done.output
