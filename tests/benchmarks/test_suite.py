"""Suites: what they say, what `svuprobe run` makes of them, and that it makes nothing twice."""

import csv
import json
import re
import shutil
from pathlib import Path

import manifest
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from svuprobe import api, cli
from svuprobe.benchmarks import real_audio, suite
from svuprobe.benchmarks.published import FILE
from svuprobe.extractors import names
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import TABLE

HEAD = 'name = "x"\ntasks = ["key"]\n'
QUICK = '{ base = "linear", seeds = 2, max_epochs = 2, learning_rates = [0.01] }'


def call(*words):
    return CliRunner().invoke(cli.main, [str(w) for w in words])


def write(folder, tasks=("tones.toml",), controls=("logmel", "mfcc"), name="small", more=""):
    """A suite on a task of three pitches, and the task."""
    (folder / "audio").mkdir(exist_ok=True)
    lines = ["path,target,split,group"]
    for take in range(8):
        for midi in (57, 64, 71):
            path = folder / "audio" / f"{midi}-{take}.wav"
            wave = np.sin(
                2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * np.arange(8000) / 16000 + take
            )
            soundfile.write(path, 0.1 * wave, 16000)
            split = "train" if take < 2 else "valid" if take < 3 else "test"
            lines.append(f"audio/{path.name},{midi},{split},{path.name}")
    (folder / "tones.csv").write_text("\n".join(lines) + "\n")
    (folder / "tones.toml").write_text(
        'name = "tones"\nkind = "multiclass"\nmetadata = "tones.csv"\n'
    )
    toml = folder / f"{name}.toml"
    listed = "".join(
        f"{key} = {json.dumps(list(these))}\n"
        for key, these in (("tasks", tasks), ("controls", controls))
    )
    toml.write_text(f'name = "{name}"\n{listed}protocols = [{QUICK}]\n{more}')
    return toml


def results(folder):
    """Result files and when they were written."""
    return {
        p.relative_to(folder): p.stat().st_mtime_ns
        for p in sorted(folder.glob("results/*/*/*.json"))
    }


@pytest.fixture(scope="module")
def as_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    done = call("run", write(folder), "--out", folder / "out")
    assert done.exit_code == 0, done.output
    return folder, done.output


@pytest.fixture
def ran(as_run, tmp_path):
    """A suite that was run once, in a copy of each test's own."""
    folder, said = as_run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml", tmp_path / "out", said


@pytest.mark.parametrize("name", suite.shipped())
def test_a_shipped_suite_names_tasks_and_models_that_exist(name):
    plan = suite.load(name)
    assert plan.name == name
    assert plan.description
    for model in plan.all_models:
        names.check_name(model)
    assert set(map(names.is_control, plan.models)) <= {False}
    assert all(map(names.is_control, plan.controls))
    assert set(plan.tasks) <= set(real_audio.TASKS if plan.prepare == "real_audio" else TABLE)


def test_the_suites_of_the_papers_are_theirs():
    svu, mir = suite.load("svu"), suite.load("mir13")
    assert svu.models == ("wav2vec2-base", "wavlm-base-plus", "mert-v0-public", "music2vec-v1")
    assert svu.tasks == ("singer-artist20", "transcription", "technique")
    assert svu.protocols_of("transcription") == (preset("linear"),)
    assert len(mir.tasks) == 13
    assert {"hubert-base", "data2vec-audio-base", "music2vec-v1"} <= set(mir.models)
    assert mir.protocols_of("key") == (preset("ma2023"), preset("svuprobe"))
    for plan in (svu, mir):
        assert {"logmel", "mfcc"} < set(plan.controls)


def test_marble15_has_the_fifteen_metrics_of_the_table_that_stands_beside_it():
    plan = suite.load("marble15")
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"].startswith("MERT-v2 model")]
    assert len({(row["task"], row["metric"]) for row in rows}) == 15
    assert {row["task"] for row in rows} == set(plan.tasks)
    weighted, best = plan.protocols
    assert (weighted, weighted.select, weighted.seeds) == (preset("svuprobe"), "sum", 5)
    assert (best, best.select) == (preset("marble", seeds=5), "best")
    assert {"muq-large", "mert-v2-30s", "mert-v2-fullsong", "musicfm-msd", "musicfm-fma"} <= set(
        plan.models
    )


def test_a_protocol_may_be_a_preset_with_fields_changed(tmp_path):
    plan = suite.load(str(write(tmp_path)))
    assert plan.protocols == (preset("linear", seeds=2, max_epochs=2, learning_rates=(0.01,)),)
    (tmp_path / "wide.toml").write_text("hidden = 1024\n")
    (tmp_path / "x.toml").write_text(
        HEAD + 'models = ["mfcc"]\nprotocols = ["wide.toml", { train_fraction = 1 }]\n'
    )
    wide, whole = suite.load(str(tmp_path / "x.toml")).protocols
    assert (wide.name, wide.hidden) == ("wide", 1024)
    assert whole == preset("svuprobe")


MISTAKES = {
    "no such file": (None, ["can't be read", "TOML"]),
    "not TOML": ("name = \n", ["not TOML"]),
    "unknown key": (HEAD + 'modles = ["mfcc"]\n', ["'modles'", "did you mean models?"]),
    "wrong type": (HEAD + 'models = "mfcc"\n', ["models = 'mfcc'", "list"]),
    "no tasks": ('name = "x"\nmodels = ["mfcc"]\n', ["'tasks' is missing"]),
    "no models": (HEAD, ["names no model"]),
    "a path as its name": (
        'name = "a/b"\ntasks = ["key"]\nmodels = ["mfcc"]\n',
        ["'a/b'", "letters"],
    ),
    "unknown preset": (HEAD + 'models = ["mfcc"]\nprotocols = ["liner"]\n', ["'liner'", "linear"]),
    "unknown field": (
        HEAD + 'models = ["mfcc"]\nprotocols = [{ sedes = 3 }]\n',
        ["'sedes'", "seeds"],
    ),
    "wrong type of a field": (
        HEAD + 'models = ["mfcc"]\nprotocols = [{ seeds = "3" }]\n',
        ["seeds = '3'", "whole number"],
    ),
    "a number as a protocol": (HEAD + 'models = ["mfcc"]\nprotocols = [3]\n', ["protocol 3"]),
    "no protocol": (HEAD + 'models = ["mfcc"]\nprotocols = []\n', ["list of presets"]),
    "protocol of a task that is not in it": (
        HEAD + 'models = ["mfcc"]\n[task_protocols]\nbeat = ["linear"]\n',
        ["'beat'", "not among its tasks"],
    ),
    "unknown preparation": (
        HEAD + 'models = ["mfcc"]\nprepare = "magic"\n',
        ["'magic'", "real_audio"],
    ),
    "unknown task": ('name = "x"\ntasks = ["kay"]\nmodels = ["mfcc"]\n', ["'kay'", "key"]),
    "unknown model": (HEAD + 'models = ["mfccc"]\n', ["'mfccc'", "mfcc"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_suite_is_one_line(tmp_path, mistake):
    text, told = MISTAKES[mistake]
    if text is not None:
        (tmp_path / "x.toml").write_text(text)
    done = call("run", tmp_path / "x.toml", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    for words in told:
        assert words in done.output
    assert not (tmp_path / "out").exists()


def test_an_unknown_suite_answers_with_the_close_match():
    with pytest.raises(ProbeError, match="did you mean mir13"):
        suite.load("mir1")


def test_a_run_leaves_results_leaderboard_and_plots(ran):
    _, out, said = ran
    assert "suite small: 2 results, 0 of them there" in said
    assert len(results(out)) == 2
    assert "## tones: accuracy" in (out / "leaderboard.md").read_text()
    assert {p.name for p in (out / "plots").iterdir()} == {
        f"scores-linear.{s}" for s in ("png", "svg", "csv")
    }
    with (out / "leaderboard.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"logmel", "mfcc", "chance"}
    assert (
        call(
            "leaderboard", "--results", out / "results", "--out", out / "leaderboard.md", "--check"
        ).exit_code
        == 0
    )


def test_a_second_run_does_nothing_and_says_so(ran, monkeypatch):
    toml, out, _ = ran
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    for stage in ("extract", "probe", "plot"):
        monkeypatch.setattr(api, stage, lambda *a, **k: pytest.fail("there was nothing to do"))
    done = call("run", toml, "--out", out)
    assert done.exit_code == 0
    assert "2 of them there" in done.output
    assert "nothing to do" in done.output
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_results_need_neither_features_nor_audio_any_more(ran):
    toml, out, _ = ran
    for path in [
        *(toml.parent / "audio").iterdir(),
        *(p for p in (out / "features").rglob("*") if p.is_file()),
    ]:
        path.unlink()
    done = call("run", toml, "--out", out)
    assert done.exit_code == 0
    assert "nothing to do" in done.output


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    toml, out = write(tmp_path, controls=("logmel", "mfcc", "chroma")), tmp_path / "out"
    probe, calls = api.probe, []

    def counted(tasks, models, **options):
        calls.append(models[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return probe(tasks, models, **options)

    monkeypatch.setattr(api, "probe", counted)
    done = call("run", toml, "--out", out)
    assert done.exit_code == 130
    assert "the same command goes on" in done.output
    first = results(out)
    assert len(first) == 1
    assert call("run", toml, "--out", out).exit_code == 0
    assert calls == ["logmel", "mfcc", "mfcc", "chroma"]
    assert len(results(out)) == 3
    assert first.items() <= results(out).items()


def test_a_task_without_data_is_named_with_the_command_and_the_rest_goes_on(tmp_path):
    toml = write(tmp_path, tasks=("technique", "tones.toml", "key", "emotion"), controls=("mfcc",))
    done = call("run", toml, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert (
        f"technique: {tmp_path}/data/vocalset: no such folder; get it with svuprobe data prepare"
        in done.output
    )
    assert "emotion: " in done.output
    assert "svuprobe data check --task emotion" in done.output
    assert done.output.splitlines()[-1].startswith("Error: 3 parts of the suite are missing")
    assert len(results(tmp_path / "out")) == 1
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "technique<br>accuracy" in text  # shown as missing
    assert "`svuprobe run small" in text


def test_a_model_that_is_not_to_be_had_leaves_the_others_alone(tmp_path):
    toml, out = write(tmp_path, controls=("mfcc", f"hf:{tmp_path}/nothing")), tmp_path / "out"
    done = call("run", toml, "--out", out)
    assert done.exit_code == 1
    assert "1 parts of the suite are missing" in done.output
    assert [p.parts[1] for p in results(out)] == ["mfcc@v1"]


def test_models_beside_one_that_is_not_to_be_had_share_each_decoded_clip(tmp_path, monkeypatch):
    asked, extract = [], api.extract

    def counted(tasks, models, **options):
        asked.append(len(models))
        return extract(tasks, models, **options)

    monkeypatch.setattr(api, "extract", counted)
    gone = f"hf:{tmp_path}/nothing"
    toml = write(tmp_path, controls=("logmel", gone, "mfcc"))
    done = call("run", toml, "--out", tmp_path / "out")
    assert asked == [3, 2]
    assert len(results(tmp_path / "out")) == 2
    # Said at once, and once more at the end; the model is named once in a line.
    lines = [line.strip() for line in done.output.splitlines() if gone in line]
    assert lines[0].startswith(f"left out: {gone}: there is no folder")
    assert lines[1].startswith(f"{gone}: there is no folder")
    assert len(lines) == 2


@pytest.mark.parametrize("name", suite.shipped())
def test_the_help_of_run_names_every_suite(name):
    said = call("run", "--help").output
    assert name in re.findall(r"[\w-]+", said)


def test_other_targets_another_protocol_and_damage_are_probed_again(ran):
    toml, out, _ = ran
    listed = toml.parent / "tones.csv"
    listed.write_text(listed.read_text().replace("57-0.wav,57,train", "57-0.wav,64,train"))
    assert "2 results, 0 of them there" in call("run", toml, "--out", out).output
    damaged = out / next(iter(results(out)))
    damaged.write_text("{")
    assert "2 results, 1 of them there" in call("run", toml, "--out", out).output
    toml.write_text(toml.read_text().replace("seeds = 2", "seeds = 3"))
    assert "2 results, 0 of them there" in call("run", toml, "--out", out).output
    assert len(results(out)) == 4  # the old protocol's stay, in tables of their own


def test_an_edited_leaderboard_is_written_again(ran):
    toml, out, _ = ran
    board = out / "leaderboard.md"
    text = board.read_text()
    board.write_text(text.replace("100.0", "99.9"))
    done = call("run", toml, "--out", out)
    assert "nothing to do" not in done.output
    assert board.read_text() == text


def test_an_unreadable_clip_is_a_failure_unless_clips_may_be_missing(tmp_path):
    toml, out = write(tmp_path, controls=("mfcc",)), tmp_path / "out"
    (tmp_path / "audio" / "57-0.wav").write_text("not audio")
    done = call("run", toml, "--out", out)
    assert done.exit_code == 1
    assert "57-0.wav" in done.output
    assert results(out) == {}
    assert call("run", toml, "--out", out, "--allow-missing").exit_code == 0
    assert "nothing to do" in call("run", toml, "--out", out, "--allow-missing").output
    assert "Clips without features: mfcc 1" in (out / "leaderboard.md").read_text()


def test_all_models_see_a_dataset_in_one_go(tmp_path, monkeypatch):
    toml = write(tmp_path, tasks=("tones.toml",), controls=("mfcc", "logmel", "chroma"))
    extract, calls = api.extract, []
    monkeypatch.setattr(api, "extract", lambda *a, **k: (calls.append(a), extract(*a, **k))[1])
    assert call("run", toml, "--out", tmp_path / "out").exit_code == 0
    assert calls == [([str(tmp_path / "tones.toml")], ["mfcc", "logmel", "chroma"])]


@pytest.mark.usefixtures("sung_once")
def test_a_suite_of_synthetic_data_makes_its_own_and_marks_it(tmp_path):
    toml = write(
        tmp_path,
        ("technique",),
        ("mfcc",),
        more='prepare = "synth"\n[synth_clips]\ntechnique = 60\n',
    )
    out = tmp_path / "out"
    done = call("run", toml, "--data", tmp_path / "mine", "--out", out)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "mine").exists()
    assert (out / "data" / "vocalset" / "SYNTHETIC.json").is_file()
    assert "**Synthetic audio**" in (out / "leaderboard.md").read_text()
    assert "nothing to do" in call("run", toml, "--data", tmp_path / "mine", "--out", out).output


def test_the_suite_of_recordings_writes_its_tasks_from_their_manifest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        api, "extract", lambda tasks, models, **k: calls.append((models, tasks)) or []
    )
    monkeypatch.setattr(api, "probe", lambda *a, **k: [])
    manifest.write(tmp_path / "audio")
    done = call("run", "real", "--data", tmp_path / "audio", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "suite real: 20 results, 0 of them there" in done.output
    assert [[Path(t).stem for t in tasks] for _, tasks in calls] == [
        ["digits", "speakers"],
        ["families"],
        ["songs"],
    ]
    wanted = ["svuprobe-small", "random:svuprobe-small#0", "logmel", "logmel-context", "mfcc"]
    assert all(models == wanted for models, _ in calls)
    gone = call("run", "real", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert gone.exit_code == 1
    assert "manifest.csv: no such file; point --data at the folder" in gone.output


def test_a_protocol_is_the_same_in_a_suite_and_in_a_file_of_its_own(tmp_path):
    (tmp_path / "mine.toml").write_text("learning_rates = [1, 10]\nown_scale = 1\n")
    (tmp_path / "s.toml").write_text(
        'name = "s"\ntasks = ["technique"]\nmodels = ["mfcc"]\nprotocols = [{ base = "svuprobe", '
        'name = "mine", learning_rates = [1, 10], own_scale = 1 }, "mine.toml"]\n'
    )
    inside, alone = suite.load(str(tmp_path / "s.toml")).protocols
    assert inside == alone
    assert inside.hash == alone.hash


@pytest.mark.parametrize("name", ["./starter", "starter/", "mine.tml", "../starter"])
def test_a_path_is_no_name_of_a_suite_that_ships(name):
    with pytest.raises(ProbeError, match="a suite of your own is a file that ends in .toml"):
        suite.load(name)
