"""Exports: what papers, model cards and pandas read holds the numbers of the results."""

import io
import json
import re
import shutil
import subprocess
from datetime import datetime

import numpy as np
import pytest
from click.testing import CliRunner
from made import made, saved

import svuprobe
from svuprobe import cli
from svuprobe.api import ExportOptions, LeftOut
from svuprobe.benchmarks.exports import FORMATS
from svuprobe.benchmarks.latex import escape
from svuprobe.probe.per_label import confusion_matrix
from svuprobe.probe.protocol import ProbeError, Protocol


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two models and a control on two tasks, one of which one model lacks."""
    folder = tmp_path_factory.mktemp("results")
    saved(
        folder,
        made("wavlm-base-plus", 0.95),
        made("hubert-base", 0.93),
        made("logmel", 0.2, layers=1),
        made("wavlm-base-plus", 0.9, task="genre"),
        made("logmel", 0.3, layers=1, task="genre"),
        made("hubert-base", 0.1, protocol=Protocol(name="shuffled", shuffle_labels=True)),
    )
    return folder


def rows(text):
    """Cells of each line of a LaTeX table's body."""
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and " & " in line]
    return {line.split(" & ")[0]: line[:-2].strip().split(" & ")[1:] for line in lines}


def test_latex_marks_the_best_and_what_is_not_told_apart_from_it(results, tmp_path):
    (path,) = svuprobe.export("latex", results, tmp_path / "table.tex")
    first, *others = path.read_text(encoding="utf-8").split(r"\begin{table}")[1:]
    table = rows(first)
    assert table["wavlm-base-plus@01234567"] == [
        r"\textbf{90.0} $\pm$ 1.4",
        r"\textbf{95.0} $\pm$ 1.4",
    ]
    # Of sixty clips two more are right: no test tells these apart. A control is far away.
    assert table["hubert-base@01234567"] == ["--", r"93.0$^\dagger$ $\pm$ 1.4"]
    assert table["logmel"] == [r"30.0 $\pm$ 1.4", r"20.0 $\pm$ 1.4"]
    # Controls stand below a rule.
    assert first.index(r"\midrule", first.index("hubert")) < first.index("logmel")
    # What heads reach on shuffled labels is no row of its own.
    assert not others


@pytest.mark.parametrize(
    ("spread", "cell"),
    [("none", "95.0}"), ("std", r"95.0} $\pm$ 1.4"), ("interval", "95.0} [60.0, 80.0]")],
)
def test_latex_shows_the_spread_that_is_asked_for(results, tmp_path, spread, cell):
    options = ExportOptions(spread=spread)
    (path,) = svuprobe.export("latex", results, tmp_path / "table.tex", options=options)
    assert rows(path.read_text())["wavlm-base-plus@01234567"][1] == r"\textbf{" + cell


def test_latex_is_balanced_and_names_print_as_they_are(results, tmp_path):
    assert escape(r"a_b#1 100% {x} \y~^&$") == (
        r"a\_b\#1 100\% \{x\} \textbackslash{}y\textasciitilde{}\textasciicircum{}\&\$"
    )
    (path,) = svuprobe.export("latex", results, tmp_path / "table.tex")
    text = path.read_text(encoding="utf-8")
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    for line in bare.splitlines():
        if " & " in line:  # every row has as many cells as there are columns
            (columns,) = {len(m) for m in re.findall(r"\{l(r+)\}", bare.split("midrule")[0])}
            break
    assert all(len(cells) in (columns, 1) for cells in rows(text).values())


@pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="no LaTeX here (texlive-latex-recommended)"
)
def test_latex_compiles_in_a_minimal_document(tmp_path):
    saved(
        tmp_path / "results",
        made(r"hf:a/b_c#1%&$~^{\x}", 0.9),
        made("wavlm-base-plus", 0.8),
        made("naïve-ß-model", 0.7),
    )
    (path,) = svuprobe.export("latex", tmp_path / "results", tmp_path / "table.tex")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}"
    (tmp_path / "paper.tex").write_text(document + r"\end{document}", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").is_file()


def test_csv_is_read_by_pandas_in_one_line(results, tmp_path):
    import pandas

    (path,) = svuprobe.export("csv", results, tmp_path / "scores.csv")
    frame = pandas.read_csv(path)
    chosen = frame[(frame.kind == "model") & (frame.model == "hubert-base") & frame.ranked]
    assert chosen["mean"].tolist() == [0.93]
    (again,) = svuprobe.export("json", results, tmp_path / "scores.json")
    assert {t["task"] for t in json.loads(again.read_text())["tables"]} == {"technique", "genre"}


def test_each_label_has_its_own_scores(results, tmp_path):
    import pandas

    (path,) = svuprobe.export("labels", results, tmp_path / "labels.csv")
    frame = pandas.read_csv(path)
    of_one = frame[(frame.model == "logmel") & (frame.task == "genre")]
    assert sorted(of_one.label.unique()) == ["a", "b"]
    assert set(of_one.metric) == {"recall", "precision", "f1", "support"}
    # Both classes have thirty clips, so the mean recall is the share of clips that are right.
    files = [p for p in results.rglob("*.json") if "genre" in str(p) and "logmel" in str(p)]
    with np.load(files[0].with_suffix(".npz")) as stored:
        right = (stored["outputs"].argmax(axis=2) == stored["target"]).mean()
    assert of_one[of_one.metric == "recall"]["mean"].mean() == pytest.approx(right)
    assert of_one[of_one.metric == "support"]["mean"].tolist() == [30, 30]
    matrix = confusion_matrix(svuprobe.load_result(files[0]), files[0])
    assert matrix.sum(axis=1).tolist() == pytest.approx([30, 30])
    assert np.trace(matrix) / 60 == pytest.approx(right)


def test_the_model_index_is_read_back_by_the_hub_library(results, tmp_path):
    from huggingface_hub import ModelCard

    paths = svuprobe.export("model-index", results, tmp_path / "cards")
    # Cards are of models; a control has none.
    assert sorted(path.name for path in paths) == ["hubert-base.md", "wavlm-base-plus.md"]
    card = ModelCard.load(tmp_path / "cards" / "wavlm-base-plus.md")
    scores = {(r.task_name, r.metric_type): r for r in card.data.eval_results}
    assert scores["genre", "accuracy"].metric_value == 0.9
    found = scores["technique", "accuracy"]
    assert (found.metric_value, found.dataset_split) == (0.95, "test")
    assert "± 1.4 over 2 seeds" in found.metric_name
    assert "95 % interval 60.0 to 80.0" in found.metric_name
    assert "revision 0123456789" in found.metric_args["svuprobe"]


def test_eval_results_are_read_back_by_the_hub_library(results, tmp_path):
    import yaml
    from huggingface_hub import parse_eval_result_entries

    with pytest.raises(ProbeError, match="give --hub-dataset ORG/NAME"):
        svuprobe.export("eval-results", results, tmp_path / "cards")
    options = ExportOptions(hub_dataset="org/benchmark")
    paths = svuprobe.export("eval-results", results, tmp_path / "cards", options=options)
    assert {path.parent.name for path in paths} == {".eval_results"}
    text = (tmp_path / "cards" / "wavlm-base-plus" / ".eval_results" / "svuprobe.yaml").read_text()
    entries = parse_eval_result_entries(yaml.safe_load(io.StringIO(text)))
    assert {(e.dataset_id, e.task_id, e.value) for e in entries} == {
        ("org/benchmark", "genre", 0.9),
        ("org/benchmark", "technique", 0.95),
    }


def test_a_file_a_result_has_what_mteb_asks_of_one(results, tmp_path):
    paths = svuprobe.export("mteb", results, tmp_path / "mteb")
    assert len(paths) == 5  # shuffled labels are no result of a model
    folder = tmp_path / "mteb" / "wavlm-base-plus" / "0123456789"
    (path,) = folder.glob("genre.*.json")
    body = json.loads(path.read_text())
    # The fields of mteb's TaskResult with their types, and what it asks of each of its scores.
    types = {
        "dataset_revision": str, "task_name": str, "mteb_version": type(None), "scores": dict,
        "evaluation_time": float, "kg_co2_emissions": type(None), "date": str,
    }  # fmt: skip
    assert {name: type(value) for name, value in body.items()} == types
    assert datetime.fromisoformat(body["date"]).tzinfo is not None
    # Older versions of from_disk compare it with versions of mteb, and refuse what is none.
    assert body["mteb_version"] is None
    (score,) = body["scores"]["test"]
    assert isinstance(score["main_score"], float)
    assert isinstance(score["hf_subset"], str)
    assert all(re.fullmatch("[a-z]{3}-[A-Z][a-z]{3}", code) for code in score["languages"])
    assert score["svuprobe_version"]
    assert (score["main_score"], score["accuracy_ci95"]) == (0.9, [0.6, 0.8])


def test_data_frames_hold_each_seed_and_layer():
    result = made("wavlm-base-plus", 0.7)
    scores, layers = result.scores_frame(), result.layers_frame()
    accuracy = scores[scores.metric == "accuracy"]
    assert accuracy["value"].tolist() == list(result.scores["accuracy"].per_seed)
    assert set(accuracy["chance"]) == {0.1}
    assert len(layers) == 3 * result.protocol.fields["seeds"]
    means = layers.groupby("layer")["value"].mean()
    assert means["block01"] == pytest.approx(0.8)
    assert layers.groupby("seed")["weight"].sum().tolist() == pytest.approx([1.0] * 5)


def test_nothing_to_export_and_unknown_formats_are_one_line(results, tmp_path):
    with pytest.raises(ProbeError, match="no results; run svuprobe probe"):
        svuprobe.export("csv", tmp_path, tmp_path / "x.csv")
    with pytest.raises(ProbeError, match="no format 'latx'; did you mean latex"):
        svuprobe.export("latx", results, tmp_path / "x.tex")


@pytest.mark.parametrize("kind", ["model-index", "eval-results"])
def test_a_card_of_controls_alone_is_refused(tmp_path, kind):
    saved(tmp_path / "results", made("logmel", 0.2, layers=1))
    options = ExportOptions(hub_dataset="org/benchmark")
    with pytest.raises(ProbeError, match="not of controls; --format csv takes all"):
        svuprobe.export(kind, tmp_path / "results", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_a_damaged_result_is_left_out_and_named(tmp_path):
    saved(tmp_path / "results", made("hubert-base", 0.8))
    bad = tmp_path / "results" / "x@1" / "technique" / "bad.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    with pytest.raises(LeftOut, match=r"bad\.json"):
        svuprobe.export("csv", tmp_path / "results", tmp_path / "x.csv")
    assert "hubert-base" in (tmp_path / "x.csv").read_text()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_names_what_it_wrote(results, tmp_path, kind):
    words = ["export", "--results", str(results), "--format", kind, "--out", str(tmp_path / "out")]
    if kind == "eval-results":
        words += ["--hub-dataset", "org/benchmark"]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out") in done.output.replace("\n", "")


def test_predictions_that_are_damaged_are_named(tmp_path):
    entries = saved(tmp_path / "results", made("hubert-base", 0.8), made("wavlm-base", 0.7))
    entries[0][1].with_suffix(".npz").write_bytes(b"damaged")
    with pytest.raises(LeftOut, match=r"\.npz"):
        svuprobe.export("latex", tmp_path / "results", tmp_path / "table.tex")
    assert "hubert-base" in (tmp_path / "table.tex").read_text()
