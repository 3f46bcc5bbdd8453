"""One model against another: the leaderboard's test, task by task."""

import json

import pytest
from click.testing import CliRunner
from made import made, saved

import svuprobe
from svuprobe import cli
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.stats.compare import compare
from svuprobe.probe.stats.pairs import holm


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    entries = saved(
        folder,
        made("wavlm-base-plus", 0.95),
        made("logmel", 0.4, layers=1),
        made("wavlm-base-plus", 0.8, task="genre"),
        made("logmel", 0.8, layers=1, task="genre"),
        made("wavlm-base-plus", 0.8, task="key"),
    )
    return folder, entries


def test_each_task_that_both_have_is_tested_and_corrected_together(world):
    folder, entries = world
    rows, problems = svuprobe.compare("wavlm-base-plus", "logmel", folder)
    assert problems == []
    assert [row.task for row in rows] == ["genre", "technique"]  # key is of one alone
    genre, technique = rows
    alone = compare(entries[:2])
    assert technique.difference == alone.difference[0, 1] > 0.3
    assert (technique.low, technique.high) == (alone.low[0, 1], alone.high[0, 1])
    assert technique.low > 0
    assert genre.low < 0 < genre.high
    assert [genre.p_holm, technique.p_holm] == holm([genre.p, technique.p]).tolist()
    assert technique.p_holm < 0.05 < genre.p_holm
    assert (technique.clips, technique.groups) == (60, 12)


def test_the_other_way_round_it_is_the_same_with_the_other_sign(world):
    rows, _ = svuprobe.compare("wavlm-base-plus", "logmel", world[0])
    turned, _ = svuprobe.compare("logmel", "wavlm-base-plus@01234567", world[0])
    for row, other in zip(rows, turned, strict=True):
        assert other.difference == pytest.approx(-row.difference)
        # Seeds of either are drawn in their order, so the ends move by what resampling leaves.
        assert (other.low, other.high) == pytest.approx((-row.high, -row.low), abs=0.03)


def test_names_that_say_too_little_are_one_line(world, tmp_path):
    with pytest.raises(ProbeError, match="no result of a model 'logml'; did you mean logmel"):
        svuprobe.compare("wavlm-base-plus", "logml", world[0])
    saved(
        tmp_path,
        made("hubert-base", 0.8),
        made("logmel", 0.5, layers=1, task="genre"),
    )
    with pytest.raises(ProbeError, match="no task and protocol in common"):
        svuprobe.compare("hubert-base", "logmel", tmp_path)
    with pytest.raises(ProbeError, match="logmel and logmel@01234567 are the same model"):
        svuprobe.compare("logmel", "logmel@01234567", world[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProbeError, match="empty: no results; run svuprobe probe"):
        svuprobe.compare("hubert-base", "logmel", tmp_path / "empty")


def test_the_command_prints_a_table_and_json(world):
    words = ["compare", "wavlm-base-plus", "logmel", "--results", str(world[0])]
    table = CliRunner().invoke(cli.main, words)
    assert table.exit_code == 0, table.output
    (line,) = [line for line in table.output.splitlines() if line.startswith("technique")]
    rows, _ = svuprobe.compare("wavlm-base-plus", "logmel", world[0])
    shown = [f"{100 * value:.1f}" for value in (rows[1].first, rows[1].second)]
    assert line.split()[2:5] == [*shown, f"+{100 * rows[1].difference:.1f}"]
    rows = json.loads(CliRunner().invoke(cli.main, [*words, "--json"]).output)
    assert [row["task"] for row in rows] == ["genre", "technique"]
    twice = CliRunner().invoke(cli.main, ["compare", "logmel", "logmel"])
    assert twice.exit_code == 2
    assert "name two models, not logmel twice" in twice.output


def test_shares_of_the_training_set_are_rows_of_their_own(tmp_path):
    for protocol in (Protocol(), Protocol(train_fraction=0.5)):
        saved(
            tmp_path,
            made("hubert-base", 0.9, protocol=protocol),
            made("logmel", 0.5, layers=1, protocol=protocol),
        )
    rows, _ = svuprobe.compare("hubert-base", "logmel", tmp_path)
    assert len({row.protocol for row in rows}) == 2


LINEAR = Protocol(name="linear", hidden=0, dropout=0.0)
POOLED = Protocol(name="linear", hidden=0, dropout=0.0, pooling="mean_std")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Two models under two poolings; one of them under another head too."""
    folder = tmp_path_factory.mktemp("heads")
    entries = saved(
        folder,
        made("hubert-base", 0.95, protocol=POOLED),
        made("hubert-base", 0.4, protocol=LINEAR),
        made("logmel", 0.6, layers=1, protocol=POOLED),
        made("logmel", 0.6, layers=1, protocol=LINEAR),
        made("logmel", 0.6, layers=1),
    )
    return folder, entries


def test_two_protocols_of_a_model_are_tested_as_two_models_are(heads):
    folder, entries = heads
    first, second = entries[0][1].stem, entries[1][1].stem
    rows, problems = svuprobe.compare_protocols(f"linear-{POOLED.hash[:8]}*", second, folder)
    assert problems == []
    assert [row.model for row in rows] == ["hubert-base@01234567", "logmel"]
    hubert, logmel = rows
    assert (hubert.protocol, hubert.against) == (first, second)
    alone = compare(entries[:2], across_protocols=True)
    assert hubert.difference == alone.difference[0, 1] > 0.3
    assert (hubert.low, hubert.high) == (alone.low[0, 1], alone.high[0, 1])
    assert [hubert.p_holm, logmel.p_holm] == holm([hubert.p, logmel.p]).tolist()
    assert hubert.p_holm < 0.05
    (one,), _ = svuprobe.compare_protocols(first, second, folder, models="hubert-base")
    assert one.p_holm == one.p == hubert.p
    with pytest.raises(ProbeError, match="protocol .* can't be compared"):
        compare(entries[:2])


def test_a_protocol_that_is_named_by_too_little_is_one_line(heads):
    folder, entries = heads
    for names, message in [
        (("linear", "svuprobe"), "'linear' is 2 protocols; name one, by its file or hash: linear-"),
        (("linea", "svuprobe"), "no result of a protocol 'linea'; there are linear-"),
        (("svuprobe", POOLED.hash), None),
        (("svuprobe", Protocol().hash), "are the same protocol; name two"),
    ]:
        if message is None:
            (row,), _ = svuprobe.compare_protocols(*names, folder)
            assert row.model == "logmel"
            continue
        with pytest.raises(ProbeError, match=message):
            svuprobe.compare_protocols(*names, folder)
    with pytest.raises(ProbeError, match="no result of a protocol 'svuprobe'"):
        svuprobe.compare_protocols("svuprobe", POOLED.hash, folder, models=["hubert-base"])


def test_the_command_compares_protocols_of_one_model_or_of_all(heads):
    folder, entries = heads
    asked = ["--protocol", POOLED.hash, "--protocol", entries[1][1].stem]
    for models, shown in [
        (["hubert-base"], ["hubert-base@01234567"]),
        (["hubert-base", "hubert-base"], ["hubert-base@01234567"]),
        ([], ["hubert-base@01234567", "logmel"]),
    ]:
        words = ["compare", *models, *asked, "--results", str(folder)]
        table = CliRunner().invoke(cli.main, words)
        assert table.exit_code == 0, table.output
        lines = [line for line in table.output.splitlines() if line.startswith("technique")]
        assert [line.split()[2] for line in lines] == shown
        rows = json.loads(CliRunner().invoke(cli.main, [*words, "--json"]).output)
        assert [row["model"] for row in rows] == shown
    for models in ([], ["logmel"], ["a", "b", "c"]):
        done = CliRunner().invoke(cli.main, ["compare", *models, "--protocol", "linear"])
        assert done.exit_code == 2
        assert "name two models" in done.output
    for names, given in [(["linear", "linear"], "linear twice"), (["a", "b", "c"], "3")]:
        heads_asked = [word for name in names for word in ("--protocol", name)]
        done = CliRunner().invoke(cli.main, ["compare", *heads_asked])
        assert done.exit_code == 2
        assert f"name two protocols, not {given}" in done.output


def test_a_head_without_seeds_is_no_reason_to_doubt_one_with_seeds(tmp_path):
    (regression,) = saved(tmp_path, made("logmel", 0.5, layers=1, protocol=PRESETS["logistic"]))
    entries = [*saved(tmp_path, made("logmel", 0.6, layers=1)), regression]
    assert compare(entries, across_protocols=True).caveat == ""
