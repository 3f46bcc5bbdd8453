"""The leaderboard: from results and their predictions alone, and saying what may be compared with
what.
"""

import csv
import json
from pathlib import Path

import pytest
from made import changed, made, saved

from svuprobe import api
from svuprobe.benchmarks import leaderboard, suite, tables
from svuprobe.benchmarks.leaderboard import number, render
from svuprobe.benchmarks.published import FILE, published
from svuprobe.benchmarks.suite import Wanted
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result_json import to_json
from svuprobe.tasks import TABLE, load


def shown(*results, wanted=()):
    """The Markdown of results without predictions."""
    return render([(r, Path("nowhere", f"{n}.json")) for n, r in enumerate(results)], wanted)


def sections(text):
    """Tables of one task each."""
    return [part for part in text.split("\n## ") if "Across tasks" not in part][1:]


def across(text):
    return next(part for part in text.split("\n## ") if part.startswith("Across tasks"))


def cells(table):
    """Rows of a Markdown table, without the head."""
    return [
        [c.strip() for c in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ][2:]


def test_rows_are_ranked_with_spread_and_interval_apart_and_controls_marked():
    text = shown(
        made("logmel", 0.4, layers=1),
        made("wavlm-base-plus", 0.7),
        made("random:hubert-base#0", 0.5),
    )
    (table,) = sections(text)
    rows = [row for row in cells(table) if "published" not in row[1]]
    names = [row[1] for row in rows]
    assert names == [
        "wavlm-base-plus@01234567",
        "random:hubert-base#0 *(control)*",
        "logmel *(control)*",
        "*chance*",
    ]
    assert rows[0][2:5] == ["70.0", "1.4", "60.0 to 80.0"]
    assert [row[0] for row in rows] == ["1", "2", "3", ""]
    assert rows[-1][2] == "10.0"


def test_scores_that_older_results_lack_are_columns_all_the_same():
    more = made("hubert-base", 0.6)
    body = {"scores.rmse": to_json(more)["scores"]["accuracy"], "chance.rmse": 2.0}
    (table,) = sections(shown(made("wavlm-base-plus", 0.7), changed(more, body)))
    by_name = {row[1].split("@")[0]: row[-1] for row in cells(table)}
    assert by_name["hubert-base"] == "0.600 ± 0.014"
    assert by_name["wavlm-base-plus"] == "–"
    assert by_name["*chance*"] == "2.000"


def test_the_best_layer_is_the_one_that_validation_chose():
    # The curve is best at the input, validation at the last block.
    (table,) = sections(shown(made()))
    assert "block02 (70.0)" in table
    assert "input" not in table


@pytest.mark.parametrize(
    "other",
    [
        made("logmel", protocol=preset("linear")),
        made("logmel", protocol=Protocol(seeds=3)),
        made("logmel", split_sha256="ef" * 32),
        made("logmel", target_sha256="ef" * 32),
        made("logmel", version=2),
        made("logmel", synthetic=True),
        made("logmel", task="singer"),
    ],
)
def test_what_differs_in_task_split_targets_or_protocol_never_shares_a_table(other):
    assert len(sections(shown(made(), made("mfcc")))) == 1
    assert len(sections(shown(made(), other))) == 2


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (preset("linear"), ""),
        (preset("logistic"), ""),
        (preset("linear", widen=4, search="halving"), " with search = halving, widen = 4"),
        (preset("linear", learning_rates=(1e-3, 0.1)), " with learning_rates = 0.001 0.1"),
        (preset("marble", single_layers=True, select="sum"), " with select = sum"),
        (preset("linear", pooling="mean_std"), " with pooling = mean_std"),
        (Protocol(name="mine", hidden=64), ""),
    ],
)
def test_a_preset_that_options_changed_is_not_taken_for_another_of_its_name(protocol, said):
    text = shown(made(protocol=protocol), made(protocol=protocol, task="vowel"))
    assert f"`{protocol.name}` (`{protocol.hash}`){said}\n" in across(text)
    assert f"`{protocol.name}` (`{protocol.hash}`){said}, " in sections(text)[0]


def test_the_number_of_seeds_is_said_once_in_a_table_and_tells_two_across_tasks_apart():
    three = preset("linear", seeds=3)
    text = shown(made(protocol=three), made(protocol=three, task="vowel"))
    assert text.count("seeds = 3") == across(text).count("seeds = 3") == 1
    assert " seeds; split" in sections(text)[0]


def test_synthetic_data_are_marked_everywhere_and_meet_no_published_number():
    text = shown(made(synthetic=True), made(synthetic=True, task="vowel"))
    assert sections(text)[0].startswith("technique (synthetic)")
    assert "**Synthetic audio**" in text
    assert "technique (synthetic)<br>accuracy" in text
    assert "published" not in sections(text)[0]
    assert "synthetic" not in shown(made()).lower()


def test_published_numbers_are_rows_of_their_own_with_their_source_and_no_rank():
    (table,) = sections(shown(made()))
    rows = {row[1]: row for row in cells(table)}
    hubert = rows["*hubert-base (published, Ma et al. 2023, Table 1)*"]
    assert hubert[:3] == ["", *[hubert[1]], "61.0"]
    assert rows["*mert-v1-330m (published, MARBLE, Table 3)*"][2] == "76.9 ?"
    assert "arXiv 2307.05161" in table
    assert "published" not in sections(shown(made(task="digits")))[0]


def test_scores_on_audio_that_a_model_was_trained_on_are_marked_with_a_footnote():
    models = ("hf:mispeech/dasheng-base", "hf:descript/dac_44khz", "mert-v1-95m", "hubert-base")
    several = [made(name, task="mtg-genre", dataset="mtg-jamendo") for name in models[::2]]
    several += [made(name) for name in models]
    text = shown(*several, made("logmel"), made("hf:org/other"), made("hf:/a/b/c"))
    marks = {}
    for table in sections(text):
        for row in cells(table):
            marks[table.split(":")[0], row[1].partition("@")[0]] = row[2].partition(" ")[2]
    assert marks["mtg-genre", "hf:mispeech/dasheng-base"] == "†"
    assert marks["technique", "hf:mispeech/dasheng-base"] == ""
    assert marks["technique", "hf:descript/dac_44khz"] == "†"
    assert marks["technique", "mert-v1-95m"] == marks["mtg-genre", "mert-v1-95m"] == "?"
    assert marks["technique", "hubert-base"] == marks["technique", "logmel *(control)*"] == ""
    assert marks["technique", "hf:org/other"] == marks["technique", "hf:c"] == "?"
    assert "† trained on audio of this dataset. hf:mispeech/dasheng-base: it was trained on" in text
    assert "Jamendo/train in its configuration" in text
    # In the table across tasks a mark stands at the task that it is of.
    (row,) = [row for row in cells(across(text)) if row[0].startswith("hf:mispeech")]
    assert [cell.endswith("†") for cell in row[1:3]] == [True, False]


def test_synthetic_audio_and_data_of_ones_own_carry_no_mark():
    text = shown(made("mert-v1-95m", synthetic=True), made("mert-v1-95m", dataset="mine"))
    rows = [row for table in sections(text) for row in cells(table) if "published" not in row[1]]
    assert [row[2] for row in rows if row[1].startswith("mert")] == ["70.0", "70.0"]


def test_published_numbers_match_our_tasks_and_metrics():
    names = {
        "tagging": "roc_auc",
        "key": "key_weighted",
        "emotion": "r2_arousal",
        "transcription": "conpoff_f",
    }
    for task, metric in names.items():
        assert published(task, [metric]), task
    assert {p.source[:6] for p in published("beat", ["beat_f_20ms"])} == {"Ma et "}
    assert {p.source[:6] for p in published("beat", ["beat_f_pooled"])} == {"MARBLE", "MERT-v"}
    assert {p.system for p in published("beat", ["beat_f_pooled"])} >= {"MERT-v2-30s", "MuQ"}
    assert published("technique", ["macro_f1"]) == []
    with FILE.open() as file:
        assert (
            sum(row["note"].startswith("pre-training ablation") for row in csv.DictReader(file))
            > 100
        )
    assert not any("span=" in p.system for p in published("genre", ["accuracy"]))


def test_every_published_number_is_of_a_task_and_metric_that_there_are_and_stands_once():
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    places = [
        tuple(row[k] for k in ("source", "table", "system", "task", "metric")) for row in rows
    ]
    assert len(set(places)) == len(places) > 500
    assert all(row["note"] and row["source"] for row in rows)
    # A paper's own average over its tasks is no task of ours.
    assert {row["task"] for row in rows} <= {*TABLE, "average"}
    assert all(-100 < float(row["value_percent"]) <= 100 for row in rows)
    for row in rows:
        if row["task"] != "average":
            ours = {"f_measure", "weighted_score", *load(row["task"]).metrics}
            assert row["metric"] in ours, row


def test_the_table_of_the_mert_v2_card_is_there_and_marked_as_not_like_for_like():
    (table,) = sections(shown(made(task="genre", dataset="gtzan")))
    rows = {row[1]: row for row in cells(table)}
    row = rows["*MERT-v2-30s (published, MERT-v2 model card 2026-09, tables of MARBLE)*"]
    assert row[2].startswith("91.7")
    assert row[0] == ""
    assert "(huggingface.co/m-a-p/MERT-v2-30s): not like for like: frozen; best layer and" in table
    of_card = [p for p in published("genre", ["accuracy"]) if "model card" in p.source]
    assert len(of_card) == 11


def test_models_that_are_told_apart_get_different_letters(tmp_path):
    saved(tmp_path, made("hubert-base", 0.97), made("logmel", 0.95), made("mfcc", 0.5), groups=20)
    (table,) = tables.build(result_file.read_all(tmp_path)[0])
    letters = {row.model: row.group for row in table.models()}
    assert letters == {"hubert-base": "a", "logmel": "a", "mfcc": "b"}
    assert 0 < table.detectable < 0.5
    text = api.leaderboard(tmp_path, tmp_path / "board.md")
    assert f"Minimum detectable difference: {100 * table.detectable:.1f} points" in text


def test_without_predictions_nothing_is_called_different(tmp_path):
    entries = saved(tmp_path, made("hubert-base", 0.97), made("mfcc", 0.5))
    entries[1][1].with_suffix(".npz").unlink()
    text = render(entries)
    assert (
        "Not compared, as the predictions beside the result are missing or damaged: mfcc." in text
    )
    assert "| group" not in text


def test_few_groups_are_said_and_not_tested(tmp_path):
    few = [
        changed(made(m, s, ci95=None), {"counts.test.groups": 2})
        for m, s in (("hubert-base", 0.7), ("mfcc", 0.3))
    ]
    text = render(saved(tmp_path, *few, groups=2))
    assert text.count("Only 2 groups in test, under 5") == 1
    assert "| group" not in text
    assert cells(sections(text)[0])[0][4] == "–"


def test_what_is_missing_is_shown_with_the_command_that_makes_it():
    text = across(shown(made(), made("mfcc", task="singer")))
    assert sum(row.count("–") for row in cells(text)) >= 2
    words = "--task singer --task technique --model wavlm-base-plus --model mfcc"
    assert f"svuprobe probe {words} --protocol svuprobe" in text
    lacking = changed(made(), {"counts.missing": 3})
    assert "Clips without features: wavlm-base-plus 3" in shown(lacking)


def asked(model, task, protocol=None):
    protocol = protocol or Protocol()
    return Wanted("svu", model, False, task, "accuracy", False, protocol.name, protocol.hash)


def test_what_a_suite_asks_for_is_missing_until_it_is_there():
    wanted = [
        asked(m, t) for m in ("wavlm-base-plus", "hubert-base") for t in ("technique", "singer")
    ]
    text = shown(made(), wanted=wanted)
    assert [row[0] for row in cells(across(text))] == ["hubert-base", "wavlm-base-plus@01234567"]
    assert "singer<br>accuracy" in across(text)
    assert "svuprobe run svu" in across(text)
    (table,) = sections(text)
    assert ["", "hubert-base", "–"] in [row[:3] for row in cells(table)]
    whole = shown(made(), made("hubert-base"), wanted=[asked("hubert-base", "technique")])
    assert "no result yet" not in whole


def test_ranks_across_tasks_say_when_they_are_too_few():
    models = {"hubert-base": 0.7, "mfcc": 0.5, "logmel": 0.4}
    few = [made(m, score, task=t) for m, score in models.items() for t in ("technique", "singer")]
    text = across(shown(*few))
    assert "over 2 tasks" in text
    assert "no test across tasks is possible" in text
    rows = {row[0]: row for row in cells(text)}
    assert rows["hubert-base@01234567"][-2:] == ["1.00", "4"]
    assert rows["logmel *(control)*"][-2:] == ["3.00", "0"]
    enough = [made(m, score, task=f"task{t}") for m, score in models.items() for t in range(12)]
    text = across(shown(*enough))
    assert "over 12 tasks. Friedman" in text
    assert "Nemenyi's critical difference, 5 %" in text
    assert {row[0]: row[-1] for row in cells(text)} == {
        "hubert-base@01234567": "a",
        "mfcc *(control)*": "b",
        "logmel *(control)*": "c",
    }


def test_a_model_with_half_the_tasks_does_not_take_ranks_from_the_others():
    three = [
        made(m, task=t)
        for m in ("hubert-base", "mfcc", "logmel")
        for t in ("technique", "singer", "pitch")
    ]
    text = across(shown(*three, made("chroma", task="pitch")))
    assert "over 3 tasks" in text
    assert {row[0]: row[-1] for row in cells(text)}["chroma *(control)*"] == "–"


def test_shuffled_labels_are_a_column_beside_the_true_ones():
    true = made("hubert-base", 0.7)
    other_protocol = {"protocol.fields.shuffle_labels": True, "protocol.hash": "5" * 16}
    shuffled = changed(made("hubert-base", 0.15), other_protocol)
    (table,) = sections(shown(true, shuffled, made("mfcc", 0.4, layers=1)))
    head = [
        c.strip()
        for c in next(line for line in table.splitlines() if line.startswith("|")).split("|")[1:-1]
    ]
    rows = {row[1]: row[head.index("selectivity")] for row in cells(table)}
    assert rows["hubert-base@01234567"] == "55.0"
    assert rows["mfcc *(control)*"] == "–"
    (alone,) = sections(shown(shuffled))
    assert "training labels shuffled" in alone


def test_a_part_of_the_training_set_is_a_table_of_its_own():
    other_protocol = {"protocol.fields.train_fraction": 0.05, "protocol.hash": "5" * 16}
    part = changed(made("hubert-base", 0.5), other_protocol)
    text = shown(made("hubert-base", 0.7), part)
    titles = {s.splitlines()[0] for s in sections(text)}
    assert titles == {"technique: accuracy", "technique, 5 % of the training set: accuracy"}
    assert "heads see 5 % of it" in text


def test_fine_tuned_models_are_marked():
    tuned = changed(made("hubert-base"), {"protocol.fields.finetune": True})
    assert "hubert-base@01234567 *(fine-tuned)*" in sections(shown(tuned))[0]


def test_a_table_says_why_a_model_has_no_interval_though_there_are_groups():
    text = shown(made("logmel", 1.0, ci95=None), made("mfcc", 0.6))
    assert text.count("No interval for logmel: the groups in test are too alike, or") == 1
    assert "No interval" not in shown(made("logmel"), made("mfcc", 0.6))


def test_the_order_of_results_does_not_matter(tmp_path):
    results = [made(), made("mfcc", 0.7), made("logmel", 0.2, task="singer"), made("chroma", 0.3)]
    entries = saved(tmp_path, *results)
    assert render(entries) == render(entries[::-1])


def test_csv_and_json_say_what_extraction_took_where_a_result_does(tmp_path):
    took = {
        "device": "Some GPU", "threads": 0, "dtype": "bfloat16", "compiled": True,
        "audio_s": 90.0, "wall_s": 0.5, "cpu_s": 0.5, "cache_bytes": 4096,
    }  # fmt: skip
    known = changed(made("wavlm-base-plus", 0.9), {"timings.extraction": took})
    older = made("logmel", 0.6, layers=1)
    for several, columns in (((known, older), True), ((older,), False)):
        tables_made = tables.build(saved(tmp_path / str(columns), *several))
        rows = list(csv.DictReader(leaderboard.as_csv(tables_made).splitlines()))
        in_json = json.loads(leaderboard.as_json(tables_made, []))["tables"][0]["rows"]
        assert rows[0]["parameters"] == "1"
        assert in_json[0]["parameters"] == 1
        assert ("machine" in rows[0]) == ("machine" in in_json[0]) == columns
        assert "machine" not in in_json[-1]
        assert "parameters" not in in_json[-1]
        if columns:
            told = {"times_real_time": "180.0", "machine": "Some GPU, bfloat16, compiled"}
            assert told.items() <= rows[0].items()
            assert in_json[0]["cache_bytes"] == 4096


def test_csv_and_json_say_the_same_as_the_tables(tmp_path):
    saved(tmp_path / "r", made("hubert-base", 0.9), made("mfcc", 0.5))
    suite.save_wanted(tmp_path / "r", "svu", [asked("music2vec-v1", "technique")])
    api.leaderboard(tmp_path / "r", tmp_path / "board.md")
    with (tmp_path / "board.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    assert (first["model"], first["rank"], first["metric"], first["mean"]) == (
        "hubert-base",
        "1",
        "accuracy",
        "0.9",
    )
    assert (first["ci95_low"], first["ci95_high"]) == ("0.6", "0.8")
    assert {row["kind"] for row in rows} == {"model", "missing", "chance", "published"}
    body = json.loads((tmp_path / "board.json").read_text())
    (table,) = body["tables"]
    assert [row["model"] for row in table["rows"]][:3] == ["hubert-base", "mfcc", "music2vec-v1"]
    assert body["across"][0]["missing"] == [["music2vec-v1", "technique"]]


@pytest.mark.parametrize("suffix", [".md", ".csv", ".json"])
def test_check_fails_when_any_of_the_three_files_was_edited(tmp_path, suffix):
    saved(tmp_path / "r", made("hubert-base", 0.9))
    out = tmp_path / "board.md"
    api.leaderboard(tmp_path / "r", out)
    api.leaderboard(tmp_path / "r", out, check=True)
    file = out.with_suffix(suffix)
    file.write_text(file.read_text() + " ")
    with pytest.raises(
        ProbeError, match=rf"board{suffix}: is not what the results say; run svuprobe leaderboard"
    ):
        api.leaderboard(tmp_path / "r", out, check=True)
    file.unlink()
    with pytest.raises(ProbeError, match=rf"board{suffix}: is missing"):
        api.leaderboard(tmp_path / "r", out, check=True)


def test_shares_are_per_cent_and_errors_are_not():
    assert number("accuracy", 0.1234) == "12.3"
    assert number("r2", 0.1234) == number("mae", 0.1234) == number("pearson", 0.1234) == "0.123"
    assert number("accuracy", None) == "–"


def test_an_empty_folder_of_results_replaces_no_leaderboard(tmp_path):
    (tmp_path / "r").mkdir()
    out = tmp_path / "leaderboard.md"
    out.write_text("of last week")
    for make in (
        lambda: api.leaderboard(tmp_path / "r", out),
        lambda: api.export("csv", tmp_path / "r", tmp_path / "x.csv"),
        lambda: api.plot("scores", tmp_path / "r", tmp_path / "p"),
        lambda: api.report(tmp_path / "r", tmp_path / "page"),
        lambda: api.compare("a", "b", tmp_path / "r"),
        lambda: api.compare_protocols("a", "b", tmp_path / "r"),
    ):
        with pytest.raises(ProbeError, match="r: no results; run svuprobe probe --results"):
            make()
    assert out.read_text() == "of last week"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaderboard.md", "r"]


def test_one_task_is_no_table_across_tasks_and_fine_tuned_rows_are_marked(tmp_path):
    tuned = [
        changed(made("hubert-base", 0.8, task=task), {"protocol.fields.finetune": True})
        for task in ("technique", "genre")
    ]
    alone = saved(tmp_path / "one", made("logmel", 0.5), made("hubert-base", 0.8))
    assert "Across tasks" not in render(alone)
    both = saved(tmp_path / "two", *tuned, made("logmel", 0.5))
    text = render(both)
    assert text.count("## Across tasks") == 1
    (row,) = [line for line in text.splitlines() if line.startswith("| hubert-base@01234567")]
    assert "*(fine-tuned)*" in row
    cut = [
        changed(made("logmel", 0.5, task=task), {"task.window_s": 0.5}) for task in ("key", "genre")
    ]
    assert "## Across tasks, windows of 0.5 s: protocol" in render(saved(tmp_path / "cut", *cut))


def test_protocols_of_one_name_say_in_what_they_differ(tmp_path):
    mine = [Protocol(name="mine", hidden=hidden, seeds=2, widen=0) for hidden in (8, 16)]
    text = render(saved(tmp_path, *(made("logmel", 0.5, protocol=each) for each in mine)))
    for each in mine:
        heading = f"protocol `mine` (`{each.hash}`) with hidden = {each.hidden}"
        assert heading.casefold() in text.casefold()
    assert "widen = " not in text
    # Another head is told by the head: its fields are not held against those it has not.
    other = Protocol(name="mine", head="knn", select="best")
    mixed = [Protocol(name="mine", seeds=2), other]
    text = render(saved(tmp_path / "mixed", *(made("logmel", 0.5, protocol=p) for p in mixed)))
    assert "head = knn" in text
    assert "head = network" in text
    assert "dropout = " not in text
    assert "neighbours = " not in text
    # Alone, a name says enough.
    alone = render(saved(tmp_path / "alone", made("logmel", 0.5, protocol=mine[0])))
    assert "hidden = " not in alone


def test_an_older_result_shows_no_metric_that_is_always_1():
    def with_top(n_labels):
        score = {"per_seed": [1.0, 1.0], "mean": 1.0, "std": 0.0, "ci95": None}
        edit = {"task.labels": list("abcd"[:n_labels])}
        return changed(
            changed(made(), lambda body: body["scores"].update(top2=score, top3=score)), edit
        )

    for n_labels, there in ((2, []), (3, ["top2"]), (4, ["top2", "top3"])):
        text = shown(with_top(n_labels))
        assert [name for name in ("top2", "top3") if f"| {name}" in text] == there
