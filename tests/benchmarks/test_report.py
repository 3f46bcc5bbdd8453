"""The page of all results: its numbers are those of the files, whatever is hostile or damaged."""

import html as html_lib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made import changed, made, saved

import svuprobe
from svuprobe import api, cli
from svuprobe._files import parse_toml
from svuprobe.benchmarks import report
from svuprobe.benchmarks.report import charts, prose
from svuprobe.benchmarks.report.html import tag
from svuprobe.probe import at_hand, clip_answers, commands
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.finetune.protocol import (
    FinetuneProtocol,
    RecipeProtocol,
    preset as finetune_preset,
)
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results.result import ProtocolInfo
from svuprobe.tasks import kinds
from svuprobe.tasks.types import Clip

HOSTILE = "<img src=x onerror=alert(1)><script>x()</script>\"'`&amp;\u202e"


class Page(HTMLParser):
    """Elements with their attributes, tables as texts, and what is within a script or style."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self._cell = []
            self.tables[-1][-1].append(self._cell)

    def handle_endtag(self, name):
        if name in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)

    def rows(self, table):
        return [["".join(cell).strip() for cell in row] for row in self.tables[table]]


@pytest.fixture
def results(tmp_path):
    saved(tmp_path / "results", made("wavlm-base-plus", 0.9), made("logmel", 0.6, layers=1))
    return tmp_path / "results"


def written(results, **options):
    out = results.parent / "report"
    return svuprobe.report(results, out, **options).read_text(encoding="utf-8")


def test_scores_and_both_kinds_of_uncertainty_are_those_of_the_json(results):
    text = written(results)
    page = Page(text)
    body = json.loads(next(results.glob("wavlm*/*/*.json")).read_text())
    score = body["scores"]["accuracy"]
    row = next(row for row in page.rows(0) if row[0] == "1")
    low, high = score["ci95"]
    shown = [f"{100 * score['mean']:.1f}", f"{100 * score['std']:.1f}"]
    assert row[2].split()[0] == shown[0]
    assert row[3] == shown[1]
    assert row[4] == f"{100 * low:.1f} to {100 * high:.1f}"
    for layer, per_seed in body["layer_curve"].items():
        mean = float(np.mean(per_seed))
        assert f"<title>{layer}: {100 * mean:.1f}" in text
        assert f"({mean:.6g})</title>" in text
    for weight in np.mean(body["layer_weights"]["softmax"], axis=0):
        assert f'data-v="{weight:.6g}"' in text
    assert body["task"]["licence"] in text
    assert body["protocol"]["hash"] in text


def took(audio_s, wall_s, device="Some CPU", **others):
    told = {"dtype": "float32", "compiled": False, "cpu_s": 1.0, "cache_bytes": 3 << 20}
    return {"device": device, "threads": 2, "audio_s": audio_s, "wall_s": wall_s} | told | others


def test_speed_stands_beside_the_score_and_is_compared_on_one_machine_alone(tmp_path):
    key = "timings.extraction"
    one = changed(made("wavlm-base-plus", 0.9), {key: took(600.0, 8.0)})
    # A second task on the same cache says the same of it, which counts once.
    same = changed(made("wavlm-base-plus", 0.9, task="singer"), {key: took(600.0, 8.0)})
    other = changed(made("wavlm-base-plus", 0.9, task="vowel"), {key: took(100.0, 2.0)})
    silent = made("logmel", 0.6, layers=1)
    saved(tmp_path / "results", one, same, other, silent)

    def cost(text):
        page = Page(text)
        (table,) = (rows for rows in map(page.rows, range(len(page.tables)))
                    if "caches" in rows[0])  # fmt: skip
        return table, [a for n, a in page.elements if n == "th" and a.get("class", "") != "num"]

    (head, *rows), heads = cost(written(tmp_path / "results"))
    place = head.index("times real time")
    assert {row[0].split()[0]: row[place] for row in rows} == {"wavlm-base-plus@01234567": "70",
                                                               "logmel": "–"}  # fmt: skip
    assert rows[0][-1] == "6 MiB"
    assert not any("unsorted" in each.get("class", "") for each in heads)
    text = written(tmp_path / "results")
    assert "as extraction measured it on Some CPU, 2 threads, float32" in text
    saved(tmp_path / "results", changed(silent, {key: took(9.0, 1.0, "A GPU", threads=0)}))
    (head, *rows), heads = cost(written(tmp_path / "results"))
    assert rows[1][place] == "9 A GPU, float32"
    assert any("unsorted" in each.get("class", "") for each in heads)


def in_folds(result):
    """The result as one over two folds, of which the second chose a single layer."""
    size = {"clips": 6, "windows": 10, "groups": 6}

    def edit(body):
        body["task"]["folds"] = 2
        body["folds"] = []
        for name, layer, scores in (("a", "sum", [0.5, 0.7]), ("b", "block01", [0.8, 0.8])):
            chosen = {"layer": layer, "learning_rate": 0.01, "valid": 0.5}
            fold = {"name": name, "train": size, "valid": size, "test": size}
            fold |= {"scores": {"accuracy": scores}, "layer_curve": {}}
            body["folds"].append(fold | {"selected": {"head": chosen, "layers": {}}})

    return changed(result, edit)


def test_a_cross_validation_shows_each_fold_and_says_what_its_numbers_are_over(tmp_path):
    several = in_folds(made("wavlm-base-plus", 0.9)), in_folds(made("logmel", 0.6, layers=1))
    saved(tmp_path / "results", *several)
    text = written(tmp_path / "results")
    page = Page(text)
    (head, *rows) = next(
        rows for rows in map(page.rows, range(len(page.tables))) if "fold a" in "".join(rows[0])
    )
    assert head == ["model", "fold a6 clips, 6 groups", "fold b6 clips, 6 groups"]
    assert [row[1:] for row in rows] == [["60.0 ± 14.1", "80.0 ± 0.0"]] * 2
    assert 'data-tip="fold a: 60.0 ± 14.1 (0.6), weighted sum, learning rate 0.01"' in text
    assert "(0.8), block01, learning rate 0.01" in text
    assert "on validation in the mean over folds" in text
    assert "over all folds, mean over seeds" in text


def test_a_single_split_speaks_of_no_folds(results):
    assert ">Folds<" not in written(results)


def test_without_a_speed_in_any_result_there_is_no_column_for_it(results):
    assert "times real time" not in written(results)


def test_every_model_looks_the_same_everywhere_and_controls_are_hollow(results):
    text = written(results)
    classes = set(re.findall(r'class="(?:forest|row model|row) (m0 \w+)"', text))
    assert classes == {"m0 c0"}
    assert "#dot-hollow" in text


def test_nothing_on_the_page_reaches_for_the_network_and_the_policy_forbids_it(results):
    text = written(results)
    page = Page(text)
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    loading = [a for n, a in page.elements if n in ("link", "img", "iframe", "script", "use")]
    assert all((a.get("src") or a.get("href") or "#").startswith("#") for a in loading)


def test_hostile_names_stay_the_characters_that_they_are(tmp_path):
    result = made("wavlm", 0.8, layers=2, caveats=(HOSTILE,), reference=HOSTILE, licence=HOSTILE)
    result = changed(
        result, {"model.name": "w" + HOSTILE.replace("/", ""), "task.labels": [HOSTILE, "b"]}
    )
    saved(tmp_path / "results", replace(result, files={}))
    (tmp_path / "results" / "about.md").write_text(f"{HOSTILE} [x](javascript:alert(1))")
    text = written(tmp_path / "results")
    page = Page(text)
    counts = Counter(name for name, _ in page.elements)
    assert counts["script"] == 1
    assert counts["img"] == 0
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    assert not any(str(a.get("href")).startswith("javascript") for _, a in page.elements)
    assert "\u202e" not in text


def test_a_damaged_result_is_named_and_the_rest_is_there(results):
    (next(results.glob("logmel*/*/*.json"))).write_text("{")
    (next(results.glob("wavlm*/*/*.npz"))).write_bytes(b"other")
    out = results.parent / "report"
    done = CliRunner().invoke(cli.main, ["report", "--results", str(results), "--out", str(out)])
    assert done.exit_code == 1, done.output
    assert "not JSON" in done.output
    text = (out / "index.html").read_text()
    assert "2 files could not be used" in text
    assert "not JSON" in text
    assert "wavlm-base-plus" in text


def test_sections_of_one_task_are_told_apart_by_what_options_changed(tmp_path):
    changed = ({}, {"widen": 4}, {"search": "halving"}, {"seeds": 3})
    several = [made("logmel", protocol=preset("linear", **options)) for options in changed]
    # (Of one task there is no table across tasks.)
    saved(
        tmp_path / "results",
        *several,
        *(replace(r, task=replace(r.task, name="vowel")) for r in several),
    )
    text = written(tmp_path / "results")
    links = re.findall(r'<a href="#task-[^"]*">(.*?)</a>', text)
    names = ["linear", "linear, search = halving", "linear, seeds = 3", "linear, widen = 4"]
    assert sorted(links) == [f"{task}, {name}" for task in ("technique", "vowel") for name in names]
    for name in names[1:]:
        assert f"protocol {name}: test scores" in text
        assert f"protocol {name}</span>" in text
    for name, result in zip(["linear", *names[3:], *names[1:3]], several, strict=True):
        assert f">{name} ({result.protocol.hash[:8]})</option>" in text


def test_a_folder_of_something_else_is_left_alone(results, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    with pytest.raises(ProbeError, match="folder of something else"):
        svuprobe.report(results, other)
    assert [path.name for path in other.iterdir()] == ["index.html"]
    written(results)
    (tmp_path / "report" / "index.html").write_text("edited")
    with pytest.raises(ProbeError, match="folder of something else"):
        written(results)
    with pytest.raises(ProbeError, match="is a file"):
        svuprobe.report(results, other / "index.html")
    with pytest.raises(ProbeError, match="did you mean copies"):
        written(results, audio="copy")


def test_whoever_is_killed_leaves_the_old_page_with_its_audio(results, monkeypatch):
    before = written(results)

    def killed(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_text", killed)
    saved(results, made("mert", 0.7))
    with pytest.raises(KeyboardInterrupt):
        written(results)
    assert (results.parent / "report" / "index.html").read_text() == before
    monkeypatch.undo()
    assert "mert" in written(results)


def test_a_selection_chooses_and_names(results):
    text = written(
        results, selection=svuprobe.Selection(models=["wavlm*"], names={"wavlm-base-plus": "WavLM"})
    )
    assert ">WavLM<" in text
    assert ">logmel<" not in text


def test_shares_of_the_training_set_are_a_curve(tmp_path):
    several = []
    for share in (0.1, 1.0):
        several.append(
            made("wavlm", 0.5 + 0.3 * share, protocol=preset("linear", train_fraction=share))
        )
    saved(tmp_path / "results", *several)
    text = written(tmp_path / "results")
    assert text.count("<h3>Data efficiency</h3>") == 1
    assert "wavlm@01234567, 10 %: 53.0" in text


def test_clips_play_as_copies_and_as_links(results, tmp_path, monkeypatch):
    import soundfile

    clips = {}
    for n in range(60):
        path = tmp_path / f"{n} #1.wav"
        if n < 59:  # the last is not there
            soundfile.write(path, np.zeros(800), 8000)
        clips[f"clip{n}"] = Clip(f"clip{n}", str(path), "test", "a", "g", start=0.0)
    clips["clip1"] = replace(clips["clip1"], start=0.05, end=0.09)
    monkeypatch.setattr(at_hand.AtHand, "clips", lambda self, task: clips)
    monkeypatch.setattr("svuprobe.benchmarks.report.clips.MOST_CLIPS", 60)
    text = written(results, audio="links")
    links = re.findall(r'<audio [^>]*src="([^"]+)"', text)
    assert links
    assert all("%20%231.wav" in link for link in links)
    text = written(results, audio="copies")
    copies = set(re.findall(r'src="(audio/[^"]+)"', text))
    folder = tmp_path / "report"
    assert copies
    assert {f"audio/{path.name}" for path in (folder / "audio").iterdir()} == copies
    # Without audio the copies go, and the file of somebody else stays.
    (folder / "audio" / "notes.txt").write_text("mine")
    written(results)
    assert [path.name for path in (folder / "audio").iterdir()] == ["notes.txt"]


def test_an_excerpt_is_the_clip_alone(tmp_path):
    import soundfile

    path = tmp_path / "long.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 8000), 8000)
    clip = Clip("c", str(path), "test", "a", "g", start=0.25, end=0.75)
    name = at_hand.excerpt_name(clip)
    assert name.endswith(".flac")
    assert at_hand.excerpt_name(replace(clip, end=0.5)) != name
    at_hand.write_excerpt(clip, tmp_path / name)
    assert soundfile.info(tmp_path / name).duration == pytest.approx(0.5, abs=0.01)
    whole = replace(clip, start=0.0, end=None)
    at_hand.write_excerpt(whole, tmp_path / "copy.wav")
    assert (tmp_path / "copy.wav").read_bytes() == path.read_bytes()


def test_answers_of_classes_are_wrong_as_often_as_the_score_says(results):
    path = next(results.glob("wavlm*/*/*.json"))
    result = svuprobe.load_result(path)
    answers = clip_answers.clip_answers(result, path)
    with np.load(path.with_suffix(".npz")) as stored:
        right = (stored["outputs"].argmax(2) == stored["target"]).mean()
    assert 1 - np.mean([answer.wrong for answer in answers]) == pytest.approx(right)
    assert {answer.truth for answer in answers} == {"a", "b"}


def stored(outputs, target, clips):
    return {
        "outputs": np.array(outputs, dtype=np.float32),
        "target": np.array(target),
        "clip_id": np.array(clips),
        "group": np.array(clips),
    }


def test_each_kind_says_how_wrong_an_answer_is():
    of_tags = kinds.named("multilabel").answers(
        ("x", "y", "z"),
        "roc_auc",
        # The right tag is second of three in one clip; the other clip has none.
        stored([[[2, 1, 0], [0, 1, 2]]], [[0, 1, 0], [0, 0, 0]], ["a", "b"]),
    )
    assert [(answer.truth, answer.wrong) for answer in of_tags] == [("y", 0.5), ("no tag", 0.0)]
    assert of_tags[0].answer.startswith("x 88 %")
    of_values = kinds.named("regression").answers(
        ("v",), "r2", stored([[[1.0], [3.0], [5.0]]], [[0.0], [2.0], [2.0]], ["a", "b", "b"])
    )
    assert [(a.truth, a.answer, a.wrong) for a in of_values] == [("0", "1", 1.0), ("2", "4", 2.0)]
    notes = kinds.named("notes")
    (of_notes,) = notes.answers(
        (),
        "conpoff_f",
        {
            "score_conpoff_f": np.array([[0.5], [0.7]]),
            "clip_id": np.array(["a"]),
            "group": np.array(["a"]),
            "estimate": np.array([[0, 0, 0.1, 0.2, 60], [0, 1, 0.3, 0.4, 61]]),
        },
    )
    assert of_notes.wrong == pytest.approx(0.4)
    assert of_notes.answer == "1 notes"
    assert notes.marks(of_notes.events) == [(0.1, 0.2, 60.0)]
    assert notes.height_name(60) == "C4"


def test_each_kind_of_events_draws_references_and_estimates_alike():
    beats = kinds.named("beats")
    assert beats.marks((0.5, 1.0)) == [(0.5, 0.5, None), (1.0, 1.0, None)]
    assert beats.marks(np.array([[0.5]])) == [(0.5, 0.5, None)]
    melody = kinds.named("melody")
    contour = [(0.0, 440.0), (0.1, 442.0), (0.2, 0.0), (0.3, 440.0)]
    found = melody.marks(contour)
    assert [mark[2] for mark in found] == [69.0, 69.0]
    assert found[0][:2] == pytest.approx((0.0, 0.2))
    assert found[1][0] == 0.3
    chords = kinds.named("chords")
    (reference,) = chords.marks([(0.0, 1.0, "C:maj")])
    assert chords.marks(np.array([reference])) == [reference]
    assert chords.height_name(int(reference[2])) == "C:maj"
    segments = kinds.named("segments").with_labels(("belt", "vibrato"))
    assert segments.marks([(0.0, 1.0, "vibrato")]) == [(0.0, 1.0, 1.0)]
    assert segments.height_name(1) == "vibrato"


def test_clips_at_hand_are_those_of_the_result_or_none():
    info = made().task
    assert at_hand.AtHand().clips(info) == {}
    path = Path(__file__).parents[2] / "benchmarks/results/logmel@v1/starter-digits/svuprobe.json"
    task = svuprobe.load_result(path).task
    clips = at_hand.AtHand().clips(task)
    assert len(clips) == sum(task.splits.values())
    assert all(Path(c.path).is_file() for c in clips.values())
    assert at_hand.AtHand().clips(replace(task, target_sha256="00" * 32)) == {}


def test_commands_make_the_same_protocol_again():
    protocol = preset("linear", seeds=3, train_fraction=0.1, single_layers=False)
    info = ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields)
    command, others = commands.train_command(["t.toml"], ["hf:a b"], 2.0, info)
    assert others == []
    words = command.split(" --")
    assert words[0] == "svuprobe probe"
    assert set(words[1:]) == {
        "task t.toml",
        "model 'hf:a b'",
        "window 2",
        "protocol linear",
        "seeds 3",
        "train-fraction 0.1",
        "no-single-layers",
    }
    changed_margin = preset("linear", margin=5.0)
    info = ProtocolInfo(name="linear", hash=changed_margin.hash, fields=changed_margin.fields)
    assert commands.train_command(["t"], ["m"], None, info)[1] == ["margin = 5.0"]


@pytest.mark.parametrize(
    ("protocol", "words", "others"),
    [
        (finetune_preset("yamamoto2023"), "--preset yamamoto2023", []),
        (
            finetune_preset("yamamoto2023", epochs=3, lora_rank=4, spec_augment=True, dropout=0.25),
            "--preset yamamoto2023 --epochs 3 --lora 4 --dropout 0.25 --spec-augment",
            [],
        ),
        (
            finetune_preset("released-code", batch_size=4, frame_batch_size=4, seeds=1),
            "--preset released-code --batch-size 4 --seeds 1",
            [],
        ),
        (
            finetune_preset("yamamoto2023", start="linear 0123", hidden=0, dropout=0.0),
            "--preset yamamoto2023 --from PROBE.json",
            [],
        ),
        (FinetuneProtocol(layers="last", relu=True), "--preset yamamoto2023", ["layers", "relu"]),
        (RecipeProtocol(epochs=3, batch_size=2), "--epochs 3 --batch-size 2", []),
    ],
)
def test_commands_fine_tune_again_with_options_that_there_are(protocol, words, others):
    info = ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields)
    command, without = commands.train_command(["t"], ["m"], None, info)
    assert command == f"svuprobe finetune --task t --model m --data DATA {words}"
    assert [line.partition(" = ")[0] for line in without] == others
    known = {option for each in cli.main.commands["finetune"].params for option in each.opts}
    assert {word for word in command.split() if word.startswith("--")} <= known


def test_words_are_markup_only_where_markdown_says_so():
    assert prose.inline(r"a \*b\* *c* **d** `e<f` &lt;g&gt;") == (
        "a *b* <em>c</em> <strong>d</strong> <code>e&lt;f</code> &lt;g&gt;"
    )
    assert "<a" not in prose.inline("[x](javascript:alert)")
    assert "<a" in prose.inline("[x](https://y)")
    assert prose.blocks("# A\n\n- b\n- c\n\nd") == (
        "<p><strong>A</strong></p><ul><li>b</li><li>c</li></ul><p>d</p>"
    )
    assert tag("p", "<b>", tag("i", "&"), None, [1, "x"]) == "<p>&lt;b&gt;<i>&amp;</i>1x</p>"


def test_axes_are_round_and_hold_what_is_drawn():
    assert charts.ticks(0.12, 0.93) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert charts.ticks(0.5, 0.5) == [0.5]
    scale = charts.score_scale("accuracy", [0.98, 0.99], 0.25)
    assert not scale.holds(0.25)
    assert scale.holds(0.99)
    assert scale.high <= 1
    assert charts.score_scale("accuracy", [0.5, 0.9], 0.25).holds(0.25)


def test_heads_that_weigh_no_layers_have_curves_alone(tmp_path):
    saved(tmp_path / "results", replace(made("wavlm", 0.7), layer_weights=None))
    text = written(tmp_path / "results")
    assert "Scores of each layer" in text
    assert "Layer weights" not in text


def test_fields_stand_as_a_toml_file_has_them(tmp_path):
    made_of = Protocol(name="mine", hidden=0, dropout=0.0, learning_rates=(1e-3, 0.1), seeds=2)
    saved(tmp_path / "results", made("wavlm", 0.7, protocol=made_of))
    text = html_lib.unescape(written(tmp_path / "results"))
    for line in ("standardize = true", "learning_rates = [0.001, 0.1]", 'select = "sum"'):
        assert f"<code>{line}</code>" in text
    assert "= True" not in text
    lines = [f"{k} = {v}" for k, v in re.findall(r"<code>(\w+) = ([^<]+)</code>", text)]
    read = parse_toml("\n".join(dict.fromkeys(lines)))
    assert {name: read[name] for name in ("hidden", "seeds")} == {"hidden": 0, "seeds": 2}


def test_there_is_no_page_of_no_results(tmp_path):
    with pytest.raises(api.ProbeError, match="no such folder"):
        svuprobe.report(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_data_that_can_t_be_used_is_named_and_the_page_is_there(results, tmp_path):
    (tmp_path / "data" / "vocalset").mkdir(parents=True)
    with pytest.raises(api.LeftOut, match=r"vocalset: no .*") as told:
        written(results, data=tmp_path / "data")
    assert len(told.value.problems) == 1
    assert (tmp_path / "report" / "index.html").is_file()
