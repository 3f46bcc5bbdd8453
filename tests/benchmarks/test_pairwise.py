"""One model against another: the leaderboard's test, task by task."""

import json

import pytest
from click.testing import CliRunner
from made import made, saved

import svuprobe
from svuprobe import cli
from svuprobe.probe.protocol import ProbeError, Protocol
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
    with pytest.raises(ProbeError, match="empty: no results to compare; run svuprobe probe"):
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
