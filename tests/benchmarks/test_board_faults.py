"""Leaderboard and pictures of results that are undefined, damaged, hostile or many: the rest is
shown.
"""

import csv
import io
import json
import re
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from made import changed, made, saved
from matplotlib.figure import Figure

import svuprobe
from svuprobe import api, cli
from svuprobe._text import as_csv as csv_text, markdown, picture
from svuprobe.benchmarks import plots, tables
from svuprobe.benchmarks.across import across as across_tasks
from svuprobe.benchmarks.leaderboard import as_csv, as_json, render
from svuprobe.benchmarks.plots import saving, style
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.score import Score
from svuprobe.probe.stats.compare import MOST_MODELS

HOSTILE = {
    "html": "<img src=x onerror=alert(1)><script>x</script>",
    "link": "[click](javascript:alert(1)) ![x](http://e/x.png)",
    "table": "a|b||c\n| d |",
    "heading": "# Heading",
    "list": "1. one",
    "emphasis": "*a* _b_ **c** ~~d~~ `e` __f__",
    "control": "a\x1b[31mb\x00c\u202ed\u2028e",
    "mathtext": r"$\frac{$ \alpha $1_2^",
    "formula": '=HYPERLINK("http://e","x")',
    "foreign": "日本語 🎵 _leading",
    "long": "name " * 40,
    "hidden": "_hidden",
}


def shown(*results):
    """Markdown, CSV and JSON."""
    entries = [(r, Path("nowhere", f"{n}.json")) for n, r in enumerate(results)]
    several = tables.build(entries)
    across = across_tasks(several)
    return render(entries), as_csv(several), as_json(several, across)


def without_files(draw, out, rows, *, one_file=False):
    """Lay a picture out as for a file, and write none: that takes most of the time."""
    with matplotlib.rc_context(style.STYLE):
        figure = Figure()
        draw(figure)
        figure.draw_without_rendering()
    return [out.with_name(f"{out.name}.png")]


def drawn(results, out):
    """Every kind of picture but that of several shares of a training set."""
    return [
        path
        for kind in ("scores", "layer-weights", "layer-curves")
        for path in plots.KINDS[kind](results, out)
    ]


def rename_layers(body, names):
    """Give the layers of a result's JSON other names, wherever they stand."""
    for part in (
        body["layer_curve"],
        body["layer_ci95"],
        body["layer_drop"],
        body["selected"]["layers"],
    ):
        for old, new in zip(body["model"]["layer_names"], names, strict=True):
            part[new] = part.pop(old)
    body["model"]["layer_names"] = names


def lacking(what):
    """A result with one thing undefined or not there."""
    result = made("hubert-base", 0.6, layers=4)
    if what == "nan":  # as a metric computes it
        return replace(
            result, scores=result.scores | {"accuracy": Score.of_seeds([float("nan")] * 2, None)}
        )

    def edit(body):
        score, layers = body["scores"]["accuracy"], body["selected"]["layers"]
        of_layers = (body["layer_curve"], body["layer_ci95"], body["layer_drop"], layers)
        if what == "score":
            score |= {"mean": None, "std": None, "ci95": None, "per_seed": [None, None]}
        elif what == "every score":
            for one in body["scores"].values():
                one |= {"mean": None, "std": None, "ci95": None, "per_seed": [None, None]}
        elif what == "std":
            score["std"] = None
        elif what == "interval":
            score["ci95"] = None
        elif what == "an end of the interval":
            score["ci95"] = [None, 0.9]
        elif what == "a seed":
            score |= {"mean": None, "std": None, "per_seed": [None, 0.5]}
        elif what == "a layer":
            body["layer_curve"]["block01"] = [None] * 5
            body["layer_ci95"]["block01"] = None
        elif what == "a seed of a layer":
            body["layer_curve"]["block02"] = [None, 0.5]
        elif what == "a layer's validation":
            layers["block03"]["valid"] = None
        elif what == "all validation":
            for one in layers.values():
                one["valid"] = None
        elif what == "layers of the curve":
            for part in of_layers:
                del part["input"], part["block02"]
        elif what == "curve":
            for part in of_layers:
                part.clear()
        elif what == "drop":
            body["layer_drop"]["block01"] = [None]
        elif what == "chance":
            body["chance"]["accuracy"] = None

    return changed(result, edit)


UNDEFINED = [
    "score", "nan", "every score", "std", "interval", "an end of the interval", "a seed", "a layer",
    "a seed of a layer", "a layer's validation", "all validation", "layers of the curve", "curve",
    "drop", "chance",
]  # fmt: skip


@pytest.mark.parametrize("what", UNDEFINED)
def test_what_is_undefined_is_shown_as_such_and_the_rest_as_ever(what):
    one, other = lacking(what), made("mfcc", 0.5, layers=1)
    text, table, body = shown(one, other)
    assert "nan" not in text.lower().replace("financ", "")
    assert "None" not in text + table
    assert "NaN" not in body
    undefined = one.ranked.mean is None
    rows = [
        r
        for r in csv.DictReader(io.StringIO(table))
        if r["ranked"] == "True" and r["kind"] == "model"
    ]
    ranks = {row["model"]: row["rank"] for row in rows}
    assert ranks == (
        {"hubert-base": "", "mfcc": "1"} if undefined else {"hubert-base": "1", "mfcc": "2"}
    )
    assert ("No rank, as the score is undefined: hubert-base." in text) == undefined


def test_pictures_leave_out_what_is_undefined(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "save", without_files)
    # Takes most of the time.
    monkeypatch.setitem(style.STYLE, "figure.constrained_layout.use", False)
    everyone = [
        changed(lacking(what), {"model.name": f"model{n}"}) for n, what in enumerate(UNDEFINED)
    ]
    alone = [
        [lacking(what)]
        for what in ("every score", "a layer", "curve", "chance", "layers of the curve")
    ]
    for results in (everyone, *alone):
        assert plots.scores(results, tmp_path)
        assert plots.layer_weights(results, tmp_path)
        assert plots.layer_curves(results, tmp_path) if results[0].layer_curve else True
        part = changed(
            results[0], {"protocol.fields.train_fraction": 0.1, "protocol.hash": "5" * 16}
        )
        assert plots.data_efficiency([*results, part], tmp_path)


def test_a_picture_says_what_is_undefined(tmp_path):
    results = [lacking("score"), made("mfcc", 0.5, layers=1)]
    for draw in (plots.scores, plots.layer_curves):
        svg = next(path for path in draw(results, tmp_path) if path.suffix == ".svg")
        assert "undefined" in svg.read_text(encoding="utf-8")


def test_one_seed_has_no_spread():
    result = made("hubert-base", 0.7, protocol=Protocol(seeds=1))
    one_seed = Score.of_seeds([0.7], None)
    result = replace(result, scores=dict.fromkeys(result.scores, one_seed))
    text, table, _ = shown(result)
    assert "70.0 ±" not in text
    assert "| 70.0           | –" in text
    assert ", 1 seed;" in text
    assert next(csv.DictReader(io.StringIO(table)))["std"] == ""


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_data_is_text_in_every_document(name):
    text = HOSTILE[name]
    caveat = f"class {text!r} has no training clip"
    result = made(text, task="task", reference=text, labels=[text, "b"], caveats=[caveat])
    other = made("mfcc", 0.3, task=re.sub(r"[\x00-\x1f/\\]", "", text)[:200])
    result = changed(result, lambda body: rename_layers(body, [text, "block01", "block02"]))
    best = {**result.selected.layers, text: replace(result.selected.layers[text], valid=0.99)}
    result = replace(result, selected=replace(result.selected, layers=best))
    board, table, body = shown(result, other)
    # Without what is escaped, and code.
    plain = re.sub(r"`[^`\n]*`", "", re.sub(r"\\[^\w\s]", "", board))
    assert not re.search(r"<(?!!--|br>)", plain)
    assert "](" not in plain.replace(")](", "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e\u2028]", board)
    for block in re.findall(r"(?:^\|.*\n)+", plain, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert len(re.findall(r"^#", board, re.M)) == 1 + len(re.findall(r"^## ", board, re.M))
    for row in csv.reader(io.StringIO(table)):
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or float(cell) < 0
    assert any(row["model"] == text for t in json.loads(body)["tables"] for row in t["rows"])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("conpoff_f", "conpoff_f"),
        ("random:wav2vec2-base#0", "random:wav2vec2-base#0"),
        ("_x_", r"\_x\_"),
        ("a|b", r"a\|b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("# x", r"\# x"),
        ("- x", r"\- x"),
        ("12. x", r"12\. x"),
        ("a\r\nb\tc", "a b c"),
        (r"\[x](y)", r"\\\[x\](y)"),
    ],
)
def test_markdown_is_escaped_where_it_means_something(text, escaped):
    assert markdown(text) == escaped


@pytest.mark.parametrize(
    "value", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-inf()"]
)
def test_a_formula_is_text_in_csv(value):
    lines = csv.reader(io.StringIO(csv_text([{"a": value}], ["a"]), newline=""))
    assert list(lines)[1] == [f"'{value}".replace("\r", "\n")]


@pytest.mark.parametrize("value", [-1.5, "-1.5", "+2", "1e-3", -3, "plain", "", "a=b"])
def test_numbers_and_plain_text_stay_as_they_are_in_csv(value):
    assert list(csv.reader(io.StringIO(csv_text([{"a": value, "b": 1}], ["a", "b"]))))[1] == [
        str(value),
        "1",
    ]


def named(text, model="hubert-base"):
    """A result whose model, task, protocol and first layer are of that name."""
    file_name = re.sub(r"[\x00-\x1f/\\]", "", text)

    def edit(body):
        body["task"]["name"] = body["protocol"]["name"] = file_name
        body["model"]["name"] = text
        rename_layers(body, [text, "first", "second"])

    return changed(made(model, 0.6), edit)


def test_pictures_show_names_as_they_are(tmp_path, monkeypatch):
    """Warnings are errors: none of a sign that the font lacks, of a hidden entry of a legend, of
    collapsed panels.
    """
    monkeypatch.setattr(saving, "save", without_files)
    stems = drawn([named(text) for text in HOSTILE.values()], tmp_path)
    assert len(set(stems)) == 3 * len(HOSTILE)
    assert all(stem.parent == tmp_path and len(stem.name.encode()) < 200 for stem in stems)
    assert all(picture(text).isprintable() for text in HOSTILE.values())


def test_a_dollar_is_a_dollar_in_files_too(tmp_path):
    paths = drawn([named(HOSTILE["mathtext"]), made("mfcc", 0.4, layers=1)], tmp_path)
    assert {path.suffix for path in paths} == {".png", ".svg", ".csv"}


def test_layers_stand_under_their_own_names(tmp_path):
    def drawn_names(result):
        svg = next(p for p in plots.layer_weights([result], tmp_path) if p.suffix == ".svg")
        return re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"))

    own = replace(made("own", layers=3), layer_curve={}, layer_ci95={}, layer_drop={})
    own = changed(
        own, {"selected.layers": {}, "model.layer_names": ["first", "blockbuster", "third"]}
    )
    names = drawn_names(own)
    assert {"first", "blockbuster", "third"} <= set(names)
    assert not any("block outputs" in name for name in names)
    names = drawn_names(made(layers=12))
    assert {"input", "1", "11"} <= set(names)
    assert any("block outputs" in name for name in names)


def test_pictures_of_many_models_show_the_best_and_say_so(tmp_path):
    results = [made(f"model-{n:03d}", 0.3 + 0.005 * n, layers=2) for n in range(70)]
    _, svg, table = plots.scores(results, tmp_path)
    text = svg.read_text(encoding="utf-8")
    assert "best 60 of 70" in text
    assert "model-069" in text
    assert "model-000" not in text
    assert "model-000" in table.read_text(encoding="utf-8")


def run(*args):
    done = CliRunner().invoke(cli.main, [str(a) for a in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def spoil(entry, how):
    """Damage a result in one way."""
    path = entry[1]
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "shape":
        path.write_text(path.read_text().replace('"scores": {', '"scores": [], "x": {'))
    elif how == "binary":
        path.write_bytes(bytes(range(256)))
    elif how == "no predictions":
        path.with_suffix(".npz").unlink()
    elif how == "cut predictions":
        path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:-9])


@pytest.mark.parametrize(
    "how", ["cut", "empty", "shape", "binary", "no predictions", "cut predictions"]
)
def test_a_bad_file_is_named_and_the_rest_is_shown(tmp_path, how):
    results, out = tmp_path / "r", tmp_path / "b.md"
    entries = saved(results, made("hubert-base", 0.9), made("mfcc", 0.5), made("logmel", 0.6))
    spoil(entries[0], how)
    done = run("leaderboard", "--results", results, "--out", out)
    assert done.exit_code == 1
    stem = entries[0][1].relative_to(results).with_suffix("")
    assert str(stem) in done.stderr.replace("\n", "")
    assert "svuprobe probe" in done.stderr
    text = out.read_text(encoding="utf-8")
    assert "mfcc *(control)*" in text
    assert ("hubert-base@" in text) == ("predictions" in how)
    if "predictions" in how:
        assert "the predictions beside the result are missing or damaged: hubert-base." in text
    assert str(tmp_path) not in text + out.with_suffix(".json").read_text(encoding="utf-8")
    checked = run("leaderboard", "--results", results, "--out", out, "--check")
    assert checked.exit_code == 1
    assert str(stem) in checked.stderr.replace("\n", "")
    if "predictions" not in how:
        plotted = run("plot", "scores", "--results", results, "--out", tmp_path / "p")
        assert plotted.exit_code == 1
        assert str(stem) in plotted.stderr.replace("\n", "")
        assert (tmp_path / "p" / "scores-svuprobe.png").is_file()


def test_a_copy_of_a_result_is_no_other_model(tmp_path):
    """In the same folder, in a copy of it, and as another task's: named, and counted once."""
    ((_, path), _) = saved(tmp_path / "r", made("hubert-base", 0.8), made("logmel", 0.5, layers=1))
    wanted = svuprobe.leaderboard(tmp_path / "r", tmp_path / "before.md")
    copies = []
    for folder, stem in (
        (path.parent, f"{path.stem} (1)"),
        (tmp_path / "r" / f"a{path.parent.parent.name}" / path.parent.name, path.stem),
        (path.parent.with_name("another-task"), path.stem),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in (".json", ".npz"):
            shutil.copy(path.with_suffix(suffix), folder / f"{stem}{suffix}")
        copies.append(folder / f"{stem}.json")
    entries, problems = result_file.read_all(tmp_path / "r")
    assert [kept for _, kept in entries].count(path) == 1
    assert len(entries) == 2
    assert problems == sorted(problems)
    for copy, problem in zip(sorted(copies), problems, strict=True):
        assert problem.startswith(f"{copy}: is of the same model, task and protocol as {path}")
    with pytest.raises(api.LeftOut) as error:
        svuprobe.leaderboard(tmp_path / "r", tmp_path / "after.md")
    assert error.value.problems == problems
    assert (tmp_path / "after.md").read_text() == wanted


def test_where_nothing_is_left_to_draw_all_of_it_is_said(tmp_path):
    results = tmp_path / "r"
    results.mkdir()
    for kind in plots.KINDS:
        done = run("plot", kind, "--results", results, "--out", tmp_path / "p")
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert "svuprobe probe" in done.stderr or "probe a transformer" in done.stderr
    entry, _ = saved(results, made("hubert-base", 0.9), made("mfcc", 0.5))
    spoil(entry, "cut")
    done = run("plot", "data-efficiency", "--results", results, "--out", tmp_path / "p")
    assert done.exit_code == 1
    assert entry[1].name in done.stderr
    assert "--train-fraction 0.05 and more" in done.stderr


def test_files_that_the_system_leaves_are_no_results(tmp_path):
    (_, path), _ = saved(tmp_path / "r", made("hubert-base", 0.9), made("mfcc", 0.5))
    path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "r" / "._x.suite.json").write_bytes(b"\x00\x05\x16\x07")
    assert (
        run("leaderboard", "--results", tmp_path / "r", "--out", tmp_path / "b.md").exit_code == 0
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '[{"suite": "x"}]',
        "[" * 100_000,
        '[{"suite": 1, "model": 2, "control": 3, "task": 4, "metric": 5, "synthetic": 6, '
        '"protocol": 7, "hash": 8}]',
    ],
)
def test_a_bad_list_of_what_a_suite_asks_for_is_named(tmp_path, text):
    saved(tmp_path / "r", made("hubert-base", 0.9))
    (tmp_path / "r" / "x.suite.json").write_text(text)
    done = run("leaderboard", "--results", tmp_path / "r", "--out", tmp_path / "b.md")
    assert (done.exit_code, "hubert-base" in (tmp_path / "b.md").read_text()) == (
        (0 if text == "{}" else 1),
        True,
    )
    assert text == "{}" or "x.suite.json" in done.stderr


def test_the_markdown_is_never_written_over_its_own_csv(tmp_path):
    saved(tmp_path / "r", made("hubert-base", 0.9))
    for suffix in (".csv", ".json"):
        with pytest.raises(ProbeError, match="the leaderboard is Markdown"):
            api.leaderboard(tmp_path / "r", tmp_path / f"board{suffix}")


def test_what_a_folder_says_of_its_results_stands_above_the_tables(tmp_path):
    saved(tmp_path / "r", made("hubert-base", 0.9))
    (tmp_path / "r" / "about.md").write_text(
        "**Mine alone**, <script>x</script>\n", encoding="utf-8"
    )
    text = api.leaderboard(tmp_path / "r", tmp_path / "b.md")
    assert text.index("**Mine alone**, &lt;script>") < text.index("## technique")
    (tmp_path / "r" / "about.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProbeError, match=r"about.md: can't be read as UTF-8"):
        api.leaderboard(tmp_path / "r", tmp_path / "b.md")


def test_caveats_stand_under_the_table_with_the_models_they_are_of():
    of_both = "5 of 14 tags scored in the test split: 'a' has no positive or no negative there"
    one = made("hubert-base", 0.7, caveats=[of_both])
    other = made("mfcc", 0.4, caveats=[of_both, "class 'b' has no training clip"])
    text, _, _ = shown(one, other)
    assert text.count("Caution: 5 of 14 tags scored") == 1
    assert "Caution: class 'b' has no training clip (mfcc)." in text


def test_parts_of_the_training_set_and_shuffled_labels_are_told_apart_in_csv(tmp_path):
    several = (
        [preset("svuprobe")]
        + [Protocol(train_fraction=f) for f in (0.1, 0.3)]
        + [Protocol(shuffle_labels=True)]
    )
    results = [made("hubert-base", 0.5 + 0.1 * n, protocol=p) for n, p in enumerate(several)]
    entries = [(r, Path(f"{p.file_name}.json")) for r, p in zip(results, several, strict=True)]
    rows = list(csv.DictReader(io.StringIO(as_csv(tables.build(entries)))))
    ranked = [r for r in rows if r["kind"] == "model" and r["ranked"] == "True"]
    assert {r["train_fraction"] for r in ranked} == {"1.0", "0.1", "0.3"}
    assert len({r["file"] for r in ranked}) == len(ranked)
    assert all(
        f"train{r['train_fraction']}" in r["file"] for r in ranked if r["train_fraction"] != "1.0"
    )
    assert {r["mean_shuffled"] for r in ranked if r["file"] == "svuprobe"} == {"0.8"}
    alone = list(csv.DictReader(io.StringIO(as_csv(tables.build(entries[-1:])))))
    assert {r["shuffled_labels"] for r in alone} == {"True"}
    others = [(replace(r, task=replace(r.task, name="vowel")), path) for r, path in entries]
    assert "10 % of the training set: protocol `svuprobe`" in render([*entries, *others])


def test_many_models_are_tested_among_the_first_and_the_table_says_so(tmp_path):
    """Before, no letter of more than 32 models differed: no p-value could pass Holm's first
    step.
    """
    results = [made(f"model-{n:03d}", 0.95 - 0.01 * n) for n in range(MOST_MODELS + 8)]
    entries = saved(tmp_path, *results, groups=20)
    (table,) = tables.build(entries)
    rows = table.models()
    assert all(row.group for row in rows[:MOST_MODELS])
    assert not any(row.group for row in rows[MOST_MODELS:])
    assert len({row.group for row in rows[:MOST_MODELS]}) > 1
    assert f"among the first {MOST_MODELS} models alone; the other 8 have no letter" in render(
        entries
    )
    entries[0][1].with_suffix(".npz").unlink()
    (table,) = tables.build(entries)
    assert [bool(row.group) for row in table.models()] == [False] + [True] * MOST_MODELS + [
        False
    ] * 7


def test_mutated_results_end_in_a_line_or_a_table(tmp_path):
    """Any value of a result replaced by any other: what passes the check of its shape can be shown
    and drawn.
    """
    rng = np.random.default_rng(0)
    body = json.loads(saved(tmp_path / "r", made("hubert-base", 0.7, layers=3))[0][1].read_text())
    path = next((tmp_path / "r").glob("*/*/*.json"))
    shown_whole = 0
    for _ in range(300):
        changed = deepcopy(body)
        place = changed
        while True:  # walk to a random value
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = keys[rng.integers(len(keys))] if len(keys) else None
            below = place[key] if key is not None else None
            if not isinstance(below, (dict, list)) or not below or rng.random() < 0.15:
                break
            place = below
        if key is not None:
            odd = [
                None,
                0,
                -1,
                1.5,
                1e9,
                "",
                "x",
                [],
                {},
                [None],
                ["x"],
                {"x": 1},
                True,
                [[]],
                "<b>",
                10**20,
            ]
            place[key] = odd[rng.integers(len(odd))]
        path.write_text(json.dumps(changed))
        entries, _ = result_file.read_all(tmp_path / "r")
        shown_whole += bool(entries)
        render(entries)
        as_csv(tables.build(entries))
    assert shown_whole > 20


@pytest.mark.parametrize(
    "make",
    [
        lambda folder, out: api.report(folder, out / "page"),
        lambda folder, out: api.leaderboard(folder, out / "board.md"),
        lambda folder, out: api.plot("scores", folder, out / "plots"),
        lambda folder, out: api.export("csv", folder, out / "table.csv"),
        lambda folder, out: api.compare("logmel", "mfcc", folder),
    ],
    ids=["report", "leaderboard", "plot", "export", "compare"],
)
def test_a_folder_above_the_results_is_named_and_nothing_is_replaced(tmp_path, make):
    (tmp_path / "features" / "tasks").mkdir(parents=True)
    (tmp_path / "features" / "tasks" / "x.json").write_text('{"task": "x", "clips": []}')
    (tmp_path / "out").mkdir()
    for name in ("board.md", "board.csv", "board.json", "table.csv"):
        (tmp_path / "out" / name).write_text("what was made of good results")
    with pytest.raises(ProbeError, match="x.json: no result of svuprobe; name the folder"):
        make(tmp_path, tmp_path / "out")
    left = [path.read_text() for path in (tmp_path / "out").iterdir()]
    assert left == ["what was made of good results"] * 4
