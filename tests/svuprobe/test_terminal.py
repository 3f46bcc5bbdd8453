"""What commands say: tables that fit, colours where they belong, nothing but JSON for programs."""

import json
import re

import pytest
from click.testing import CliRunner
from made import made, saved

import svuprobe
from svuprobe import cli
from svuprobe.api import display
from svuprobe.benchmarks.selection import told_apart
from svuprobe.benchmarks.tables import build
from svuprobe.cli import results_table, table
from svuprobe.cli.output import Output
from svuprobe.cli.shared import MODEL
from svuprobe.cli.table import Column, breadth, shortened
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file

LONG = "hf:organisation-of-somebody/a-model-with-a-name-of-many-letters-{}"


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    return saved(
        tmp_path_factory.mktemp("results"),
        made(LONG.format("one"), 0.95),
        made(LONG.format("two"), 0.9),
        made("logmel", 0.4, layers=1),
        made("logmel", 0.6, layers=1, task="genre", ci95=None),
    )


@pytest.fixture(scope="module")
def tables(entries):
    return build(told_apart(entries))


def plain(several):
    return [re.sub("\x1b\\[[0-9;]*m", "", line) for line in several]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_results_fit_the_terminal_and_stay_told_apart(tables, width, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = results_table.lines(tables, width)
    assert any("\x1b[" in line for line in coloured)
    lines = plain(coloured)
    assert max(map(breadth, lines)) <= width
    genre = next(n for n, line in enumerate(lines) if line.startswith("genre: accuracy in %"))
    technique = next(n for n, line in enumerate(lines) if line.startswith("technique"))
    assert genre < technique
    first, second, third = [line for line in lines[technique:] if re.match(r"[123]  ", line)]
    # Best first; scores are never cut, a control keeps its mark.
    assert "95.0 ± 1.4" in first
    assert "90.0 ± 1.4" in second
    assert "* logmel" in third
    names = [re.split(" {2,}", line)[1] for line in (first, second)]
    assert len(set(names)) == 2
    assert any("chance" in line and "10.0" in line for line in lines[technique:])
    assert ("95 % interval" in lines[1]) == (width >= 80)
    assert ("block02 (70.0)" in first) == (width >= 80)
    words = " ".join(line.strip() for line in lines)
    assert "* a control: random weights" in words
    assert "test groups too few, or too alike, for an interval" in words


def test_a_file_or_another_program_gets_whole_names_and_no_colours(tables, monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert table.terminal_width() is None
    lines = results_table.lines(tables, None)
    assert lines == plain(lines)
    assert any(LONG.format("one") in line for line in lines)


@pytest.mark.parametrize(
    ("environment", "tty", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_are_for_terminals_and_for_who_asks(environment, tty, coloured, monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty, raising=False)
    assert table.has_colours() is coloured


def test_a_long_table_says_how_many_more_there_are(tmp_path):
    several = [made(f"hf:a/m{n}", 0.9 - n / 100) for n in range(results_table.MOST_ROWS + 3)]
    lines = results_table.lines(build(saved(tmp_path, *several)), 80)
    assert any("and 3 more, which svuprobe leaderboard shows" in line for line in lines)


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 30, "a" * 31],
        ["start-one-" + "x" * 30, "start-two-" + "x" * 30],
        ["x" * 30 + "-one", "x" * 30 + "-two"],
        ["x" * 20 + "one" + "y" * 20, "x" * 20 + "two" + "y" * 20],
        ["模型" * 20, "模型" * 19 + "型"],
        ["short", "short"],
    ],
)
def test_names_that_differ_are_never_cut_to_the_same(names):
    for width in (10, 16):
        cut = shortened(names, width)
        assert len(set(cut)) == len(set(names))
        assert max(map(breadth, cut)) <= width


def test_numbers_stay_whole_and_columns_go_by_their_rank():
    columns = (Column("name", least=12), Column("n", right=True), Column("more", dropped=1))
    rows = [["a name of some length", "1,234", "words"], ["b", "5", ""]]
    assert table.lines(columns, rows, 20) == [
        "name               n",
        "-------------  -----",
        "a name…length  1,234",
        "b                  5",
    ]
    assert table.lines(columns, rows, None)[2] == "a name of some length  1,234  words"


# -- for programs ----------------------------------------------------------------------------------


def test_json_is_one_document_and_messages_go_to_standard_error(entries, capsys):
    output = Output(as_json=True)
    output.reporter.say("a message")
    output.say("another")
    output.results(entries[:1], ["a problem"])
    out, err = capsys.readouterr()
    body = json.loads(out)
    (row,) = body["results"]
    assert (row["mean"], row["metric"], row["control"]) == (0.95, "accuracy", False)
    assert row["path"] == str(entries[0][1])
    assert body["problems"] == ["a problem"]
    assert err.splitlines() == ["a message", "another"]


def test_quiet_says_nothing(entries, capsys):
    output = Output(quiet=True)
    output.reporter.say("a message")
    output.say("another")
    output.results(entries)
    assert capsys.readouterr() == ("", "")


def test_people_see_the_table(entries, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    Output().results(entries)
    out = capsys.readouterr().out
    assert "technique: accuracy in %, protocol svuprobe" in out
    assert "\x1b[" not in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "name",
    ["extract", "probe", "finetune", "run", "leaderboard", "report", "export", "predict", "embed"],
)
def test_what_scripts_call_takes_quiet_and_json(name):
    names = {option.name for option in cli.main.commands[name].params}
    assert names >= {"quiet", "as_json"}


def test_so_does_every_plot():
    for command in cli.main.commands["plot"].commands.values():
        assert {option.name for option in command.params} >= {"quiet", "as_json"}


def test_commands_that_write_name_their_files_in_the_document(entries, tmp_path):
    results = entries[0][1].parents[2]
    runner = CliRunner()
    words = ["--results", str(results), "--task", "genre"]
    done = runner.invoke(
        cli.main, ["leaderboard", *words, "--out", str(tmp_path / "b.md"), "--json"]
    )
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)["written"]
    assert written == [str(tmp_path / f"b.{suffix}") for suffix in ("md", "csv", "json")]
    assert f"{tmp_path / 'b.md'}: written" in done.stderr
    out = str(tmp_path / "t.tex")
    done = runner.invoke(cli.main, ["export", *words, "--format", "latex", "--out", out, "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    done = runner.invoke(cli.main, ["export", *words, "--format", "latex", "--out", out, "--json"])
    assert json.loads(done.stdout) == {"written": [out], "problems": []}
    assert done.stderr == ""


# -- display names are kept ------------------------------------------------------------------------


def test_a_display_name_is_kept_with_features_and_in_results(tmp_path):
    saved(tmp_path, made("logmel", 0.4, layers=1), made("mfcc", 0.5, layers=1))
    before = {path: path.read_bytes() for path in result_file.paths(tmp_path)}
    display.rename_all(tmp_path, {"logmel": "Log mel"})
    named, other = [result_file.load(path) for path in sorted(before)]
    assert (named.model.display, other.model.display) == ("Log mel", None)
    # Nothing else of any file is another now.
    for path, old in before.items():
        body = json.loads(path.read_text())
        body["model"].pop("display", None)
        assert body == json.loads(old)
        result_file.require_unchanged(result_file.load(path), path, ".npz")
    display.save_in_features(tmp_path, {"logmel": "Log mel"})
    display.save_in_features(tmp_path, {"mfcc": "MFCC"})
    assert display.of_features(tmp_path) == {"logmel": "Log mel", "mfcc": "MFCC"}
    (tmp_path / "display-names.json").write_text("[1]")
    with pytest.raises(ProbeError, match="no display names by model"):
        display.of_features(tmp_path)


def test_a_display_name_for_a_model_that_nobody_asked_for_is_one_line(tmp_path):
    with pytest.raises(ProbeError, match="'X' is for mfcc, which is none of the models here"):
        svuprobe.extract(
            ["technique"],
            ["logmel"],
            data=tmp_path,
            features=tmp_path,
            options=svuprobe.RunOptions(names={"mfcc": "X"}),
        )


# -- lists, and tasks by name ----------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("command", ["tasks", "protocols"])
def test_lists_fit_the_terminal_and_names_stay_whole(command, width):
    done = CliRunner().invoke(cli.main, [command], env={"COLUMNS": str(width)})
    body = done.output.split("\n\n")[0].splitlines()
    assert max(map(breadth, body)) <= width
    rows = json.loads(CliRunner().invoke(cli.main, [command, "--json"]).output)
    assert [line.split()[0] for line in body[2:]] == [row["name"] for row in rows]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_comparison_fits_the_terminal(entries, width):
    first, second = LONG.format("one"), LONG.format("two")
    words = ["compare", first, second, "--results", str(entries[0][1].parents[2])]
    done = CliRunner().invoke(cli.main, words, env={"COLUMNS": str(width)})
    body = done.output.splitlines()
    assert max(map(breadth, body[:3])) <= width
    ((row,), _) = svuprobe.compare(first, second, entries[0][1].parents[2])
    assert f"+{100 * row.difference:.1f}" in body[2].split()
    assert "Protocol svuprobe" in done.output


def test_an_own_task_is_known_by_its_name_once_it_has_features(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "digits.json").write_text("{}")
    words = ["probe", "--features", str(tmp_path), "--results", str(tmp_path / "results")]
    unknown = CliRunner().invoke(cli.main, [*words, "--task", "digit"])
    assert unknown.exit_code == 2
    assert f"{tmp_path} has features of digits" in unknown.output
    known = CliRunner().invoke(cli.main, [*words, "--task", "digits"])
    assert known.exit_code == 1  # this list is none, which is said of the list and not of the name
    assert "digits.json: is no list of a task's clips" in known.output


def test_a_folder_that_is_here_is_taken_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert MODEL.convert("hf:models/x", None, None) == "hf:models/x"
    (tmp_path / "models" / "x").mkdir(parents=True)
    assert MODEL.convert("hf:models/x", None, None) == "hf:./models/x"
    assert "hf:models/x: taken as the folder here, hf:./models/x" in capsys.readouterr().err
    assert MODEL.convert("hf:models", None, None) == "hf:./models"
    capsys.readouterr()
    (tmp_path / "models" / "w.pt").touch()
    assert MODEL.convert("hf:models/w.pt", None, None) == "hf:./models/w.pt"
    assert "taken as the file here, hf:./models/w.pt" in capsys.readouterr().err
    for name in ("hf:models/x@main", "hf:./models/x", "logmel"):
        assert MODEL.convert(name, None, None) == name
    assert capsys.readouterr().err == ""
