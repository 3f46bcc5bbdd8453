"""Which results are read, and what their models are called: the same words everywhere."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from made import made, saved

import svuprobe
from svuprobe import cli
from svuprobe.benchmarks.selection import Selection
from svuprobe.benchmarks.suite import Wanted, read_wanted, save_wanted
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.naming import without_folders

LOCAL = "hf:/home/somebody/models/mine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("results")
    saved(
        where,
        made("wavlm-base-plus", 0.95),
        made("logmel", 0.4, layers=1),
        made(LOCAL, 0.6),
        made("wavlm-base-plus", 0.8, task="genre"),
        made("logmel", 0.8, layers=1, task="genre"),
    )
    return where


def run(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def chosen(folder, **patterns):
    entries = Selection(**patterns).read(folder).entries
    return sorted((result.task.name, result.model.name) for result, _ in entries)


COMMANDS = (
    ("leaderboard", "--out", "board.md"),
    ("report", "--out", "report"),
    ("plot", "layer-curves", "--out", "plots"),
    ("export", "--format", "csv", "--out", "results.csv"),
    ("compare", "wavlm-base-plus", "logmel"),
)


@pytest.fixture
def of_a_run(folder, tmp_path, monkeypatch):
    """The folder of a suite's run, with features and a leaderboard beside the results; we are in
    it.
    """
    shutil.copytree(folder, tmp_path / "out" / "results")
    (tmp_path / "out" / "features" / "tasks").mkdir(parents=True)
    (tmp_path / "out" / "features" / "tasks" / "technique.json").write_text("{}")
    (tmp_path / "out" / "leaderboard.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("below", ["", "results/logmel@01234567", "results/logmel@01234567/genre"])
def test_a_folder_around_or_within_the_results_is_answered_with_theirs(of_a_run, command, below):
    done = run(*command, "--results", f"out/{below}")
    assert done.exit_code == 1
    assert "results lie in out/results; give --results out/results" in done.output
    assert {path.name for path in of_a_run.iterdir()} == {"out"}
    assert run(*command, "--results", "out/results").exit_code == 0


def test_a_relative_folder_is_answered_with_a_relative_one(of_a_run, monkeypatch):
    monkeypatch.chdir(of_a_run / "out" / "results" / "logmel@01234567")
    assert "results lie in ..; give" in run("leaderboard", "--results", "genre").output
    assert "results lie in ..; give" in run("leaderboard", "--results", ".").output


@pytest.mark.parametrize("below", ["", "/results", "/results/logmel@01234567"])
def test_a_result_that_is_named_by_a_folder_is_answered_with_a_file(of_a_run, below):
    done = run("predict", "--run", f"out{below}", "--audio", "x.wav")
    assert done.exit_code == 1
    named = re.search("name the JSON file of a result, such as (.*)", done.output)[1]
    assert named.startswith(f"out{below}/")
    assert result_file.load(Path(named)).scores
    other = Path(named).with_suffix(".npz")
    done = run("predict", "--run", other, "--audio", "x.wav")
    assert f"{other}: name the JSON file of the result, {named}" in done.output
    done = run("predict", "--run", "out/features", "--audio", "x.wav")
    assert "out/features: is a folder; name the JSON file of a result\n" in done.output


def test_patterns_choose_by_task_model_and_protocol(folder):
    assert len(chosen(folder)) == 5
    assert chosen(folder, tasks=["gen*"]) == [("genre", "logmel"), ("genre", "wavlm-base-plus")]
    assert chosen(folder, models=["wavlm*"], tasks="technique") == [
        ("technique", "wavlm-base-plus")
    ]
    assert len(chosen(folder, models=["logmel", "wavlm-base-plus@01234567"])) == 4
    assert (
        chosen(folder, models=["hf:mine"])
        == [("technique", LOCAL)]
        == chosen(folder, models=[LOCAL])
    )
    assert len(chosen(folder, protocols=["svu*"])) == 5
    assert chosen(folder, tasks=["g*n*e*"], models=["*mel"]) == [("genre", "logmel")]
    # (As a regular expression this would go on for hours.)
    with pytest.raises(ProbeError, match="no result of a task"):
        chosen(folder, tasks=["*" * 40 + "x"])
    # Parts of a pattern share no letters.
    with pytest.raises(ProbeError, match=r"no result of a task 'gen\*nre'"):
        chosen(folder, tasks=["gen*nre"])
    # Only the star is special: a name is no regular expression.
    with pytest.raises(ProbeError, match="no result of a model 'w.vlm-base-plus'"):
        chosen(folder, models=["w.vlm-base-plus"])


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ({"tasks": ["techniqe"]}, "a task 'techniqe'; did you mean technique"),
        ({"models": ["zzz*"]}, r"a model 'zzz\*'; there are hf:mine, logmel, wavlm-base-plus"),
        ({"protocols": ["lineal"]}, "a protocol 'lineal'; there are svuprobe"),
        ({"tasks": ["genre"], "models": [LOCAL]}, "each of genre, hf:.* has results, but none has"),
        ({"names": {"logml": "L"}}, "a model 'logml', which was to be called 'L'; did you mean"),
        ({"names": {"logmel": " "}}, "display name ' ': it is 1 to 80 printable"),
        ({"names": {"a": "A", "b": "A"}}, "display name 'A' stands for a and b"),
    ],
)
def test_what_matches_nothing_is_one_line_that_says_what_there_is(folder, patterns, words):
    with pytest.raises(ProbeError, match=words) as caught:
        chosen(folder, **patterns)
    assert "\n" not in str(caught.value)


def test_display_names_stand_everywhere_in_place_of_models(folder, tmp_path):
    out = tmp_path / "board.md"
    words = ("--results", folder, "--task", "technique", "--as", f"Mine = 1={LOCAL}")
    # Of the first sign: the rest is the model.
    assert run("leaderboard", *words, "--out", out).exit_code == 1
    words = ("--results", folder, "--task", "technique", "--as", f"Our model={LOCAL}")
    assert run("leaderboard", *words, "--out", out).exit_code == 0
    text = out.read_text()
    assert "Our model" in text
    assert "somebody" not in text
    assert "genre" not in text
    (row,) = [
        row
        for table in json.loads(out.with_suffix(".json").read_text())["tables"]
        for row in table["rows"]
        if row.get("display")
    ]
    assert (row["display"], row["model"]) == ("Our model", "hf:mine")
    with out.with_suffix(".csv").open() as file:
        assert {r["display"] for r in csv.DictReader(file)} == {"", "Our model"}
    assert run("leaderboard", *words, "--out", out, "--check").exit_code == 0
    plain = run("leaderboard", "--results", folder, "--out", out, "--check")
    assert plain.exit_code == 1
    assert "is not what the results say" in plain.output
    assert run("export", "--format", "latex", *words, "--out", tmp_path / "t.tex").exit_code == 0
    assert "Our model" in (tmp_path / "t.tex").read_text()
    assert run("plot", "scores", *words, "--out", tmp_path / "plots").exit_code == 0
    (table,) = (tmp_path / "plots").glob("*.csv")
    assert "Our model" in table.read_text()
    assert "somebody" not in table.read_text()
    compared = run("compare", "Our model", "logmel", *words)
    assert compared.exit_code == 0, compared.output
    assert "Our model" in compared.output


def test_a_name_that_is_kept_in_results_is_shown_and_no_part_of_the_identity(folder, tmp_path):
    named = made("logmel", 0.4, layers=1)
    saved(tmp_path, named)
    (path,) = result_file.paths(tmp_path)
    stored = json.loads(path.read_text())
    assert "display" not in stored["model"]  # as in all results before there were such names
    stored["model"]["display"] = "Mel"
    path.write_text(json.dumps(stored))
    (entry,) = Selection().read(tmp_path).entries
    assert entry[0].identity == named.identity
    assert "Mel" in svuprobe.leaderboard(tmp_path, tmp_path / "board.md")
    # What is asked for now stands in place of what is stored.
    text = svuprobe.leaderboard(
        tmp_path, tmp_path / "board.md", selection=Selection(names={"Mel": "Log mel"})
    )
    assert "Log mel" in text


def test_two_models_of_one_display_name_are_told_apart(tmp_path):
    saved(tmp_path, made("logmel", 0.4, layers=1), made("mfcc", 0.5, layers=1))
    for path in result_file.paths(tmp_path):
        stored = json.loads(path.read_text())
        stored["model"]["display"] = "Mine"
        path.write_text(json.dumps(stored))
    shown = {result.model.display for result in Selection().read(tmp_path).results}
    assert shown == {"Mine@01234567 (1)", "Mine@01234567 (2)"}


def test_no_folder_of_this_machine_stands_in_a_table(folder):
    assert without_folders(LOCAL) == "hf:mine"
    assert without_folders("hear:module,/a/b/w.pt") == "hear:module,w.pt"
    assert without_folders("py:/a/b/mine.py:Net") == "py:mine.py:Net"
    assert without_folders("hf:org/name@main") == "hf:org/name@main"


def test_what_a_suite_waits_for_is_chosen_and_named_too(folder, tmp_path):
    saved(tmp_path, made("logmel", 0.4, layers=1))
    one = Wanted("s", "hf:/a/b", False, "technique", "accuracy", False, "svuprobe", "0" * 16)
    save_wanted(tmp_path, "s", [one])
    assert read_wanted(tmp_path)[0] == [one]
    assert "display" not in (tmp_path / "s.suite.json").read_text()
    read = Selection(models=["Other"], names={"hf:/a/b": "Other"}).read(tmp_path)
    assert (read.entries, [each.display for each in read.wanted]) == ([], ["Other"])


def test_of_a_bad_option_the_form_is_said():
    bad = run("leaderboard", "--as", "nonsense")
    assert bad.exit_code == 2
    assert "'nonsense' is not NAME=MODEL" in bad.output
    twice = run("leaderboard", "--as", "A=logmel", "--as", "B=logmel")
    assert twice.exit_code == 2
    assert "two names for logmel" in twice.output
