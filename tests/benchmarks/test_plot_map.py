"""Maps of features: from caches alone, the same each time, coloured by what a task asks for."""

import csv

import numpy as np
import pytest
from made import changed, made
from planted import classes, header, planted_states, write_cache, write_task
from test_plot_layout import drawing, require_readable

import svuprobe
from svuprobe import api
from svuprobe._errors import OptionError
from svuprobe.api import maps
from svuprobe.benchmarks import projection
from svuprobe.benchmarks.plots import scatter
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.tasks import TaskError, load

SPLITS = ["train", "valid", "test", "test"]


def own_task(folder, kind, target, n=40, **keys):
    """A task of one kind with features of three layers; the first value of a clip shows in them."""
    rows = []
    for clip in range(n):
        row = {"path": f"{clip}.wav", "target": target(clip), "split": SPLITS[clip % 4]}
        rows.append(row | {"group": f"g{clip}"})
    path = write_task(folder, "own", kind, rows, **keys)
    task = load(str(path))
    rng = np.random.default_rng(0)
    states = {}
    for number, clip in enumerate(task.clips(folder)):
        states[clip.id] = [number / n + rng.normal(size=(1, 3, 8)) / 50]
    write_cache(folder / "features", header(task, layers=3, dim=8), states)
    return path


def rows_of(paths):
    with paths[-1].open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Four classes, told apart in the third of five layers alone; two models of these features."""
    folder = tmp_path_factory.mktemp("shapes")
    path, clips = classes(folder, per_class=20)
    states = planted_states(clips, layer=3, layers=5, strength=8.0)
    task = load(str(path))
    for name in ("hf:made/up", "logmel"):
        write_cache(folder / "features", header(task, layers=5, name=name), states)
    return path


def gap(rows):
    """How far classes lie apart, in deviations within one."""
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    labels = np.array([row["label"] for row in rows])
    centres = np.array([points[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = [points[labels == label].std(axis=0).mean() for label in np.unique(labels)]
    return centres.std(axis=0).mean() / np.mean(within)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_shows_the_classes_of_the_layer_that_tells_them_apart(shapes, tmp_path, method):
    def draw(out, layer):
        options = svuprobe.MapOptions(layer=layer, method=method, split="all")
        return svuprobe.plot_map(
            str(shapes),
            ["hf:made/up"],
            features=shapes.parent / "features",
            out=tmp_path / out,
            options=options,
        )

    paths = draw("a", "3")
    assert [path.name for path in paths] == [
        f"map-shapes-{method}.{s}" for s in ("png", "svg", "csv")
    ]
    rows = rows_of(paths)
    assert len(rows) == 80
    assert {row["layer"] for row in rows} == {"block03"}
    assert {row["label"] for row in rows} == {"class0", "class1", "class2", "class3"}
    assert gap(rows) > 2
    assert gap(rows_of(draw("b", "block01"))) < 1
    again = draw("again", "3")
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_the_layer_is_the_best_of_a_result_else_the_last(shapes, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(scatter, "draw", lambda figure, map_: shown.append(map_))

    def layers(results):
        paths = api.plot_map(
            str(shapes), features=shapes.parent / "features", out=tmp_path / "p", results=results
        )
        words = {points.model: points.layer for points in shown[-1].models}
        return words, {row["model"]: row["layer"] for row in rows_of(paths)}

    words, names = layers(None)
    assert set(words.values()) == {"layer 4 (the last)"}
    assert set(names.values()) == {"block04"}
    # A result of one of them, whose head on block02 is best on validation.
    (folder,) = (shapes.parent / "features").glob("hf-made*up@*")
    result = made("hf:made/up", layers=5)
    choice = {"layer": "block02", "learning_rate": 1e-3, "valid": 0.99}
    result = changed(result, {"selected.layers": {**vars_of(result), "block02": choice}})
    predictions = {"outputs": np.zeros((5, 1, 2)), "clip_id": ["c"], "group": ["g"], "target": [0]}
    path = tmp_path / "results" / folder.name / "shapes" / "svuprobe.json"
    result_file.save(result, path, predictions)
    words, names = layers(tmp_path / "results")
    assert words == {
        "hf:made/up": "layer 2 (best on validation)",
        "logmel (control)": "layer 4 (the last)",
    }
    assert names == {"hf:made/up": "block02", "logmel": "block04"}
    # What macOS leaves, damage and a control on shuffled labels say nothing, and hold up nothing.
    path.with_name("._a.json").write_bytes(b"\0")
    path.with_name("a.json").write_text("{")
    control = changed(result, {"protocol.fields.shuffle_labels": True})
    other = {"layer": "block01", "learning_rate": 1e-3, "valid": 0.99}
    control = changed(control, {"selected.layers": {**vars_of(result), "block01": other}})
    result_file.save(control, path.with_name("b.json"), predictions)
    result_file.save(result, path.with_name("linear.json"), predictions)
    result_file.remove(path)
    assert layers(tmp_path / "results")[1] == names


def vars_of(result):
    """The choices of single layers as JSON has them."""
    return {name: dict(vars(choice)) for name, choice in result.selected.layers.items()}


def test_many_windows_are_drawn_by_chance_and_said_to_be(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "MOST_POINTS", 10)
    shown = []
    monkeypatch.setattr(scatter, "draw", lambda figure, map_: shown.append(map_))

    def clips(seed):
        options = svuprobe.MapOptions(split="all", seed=seed)
        features = shapes.parent / "features"
        paths = api.plot_map(
            str(shapes), features=features, out=tmp_path / "m.pdf", options=options
        )
        assert [path.name for path in paths] == ["m.pdf", "m.csv"]
        by_model = {}
        for row in rows_of(paths):
            by_model.setdefault(row["model"], []).append(row["clip_id"])
        first, second = by_model.values()
        assert first == second
        return first

    assert len(clips(0)) == 10
    assert clips(0) != clips(1)
    assert "10 windows drawn from 80 by chance, seed 0" in shown[0].note


def two_values(n):
    return f"{n / 9:.3f}|{n % 3}"


def six_tags(n):
    """Tags a to f, each more seldom than the one before."""
    return "|".join(tag for k, tag in enumerate("abcdef") if n % (k + 1) == 0)


@pytest.mark.parametrize(
    ("kind", "target", "keys", "columns"),
    [
        ("regression", two_values, {"targets": ["height", "mood"]}, ["height", "mood"]),
        ("multilabel", six_tags, {}, list("abcdef")),
        ("multiclass", str, {}, ["label"]),
    ],
)
def test_each_kind_colours_by_what_it_asks_for(tmp_path, monkeypatch, kind, target, keys, columns):
    toml = own_task(tmp_path, kind, target, **keys)
    figures = []

    def keep(draw, out, rows, **_):
        figures.append(drawing(draw))
        return [rows]

    monkeypatch.setattr(maps.saving, "save", keep)
    options = svuprobe.MapOptions(split="all")
    features = tmp_path / "features"
    (rows,) = api.plot_map(str(toml), features=features, out=tmp_path, options=options)
    assert list(rows[0])[8:] == columns
    (figure,) = figures
    require_readable(figure)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == min(4, len(columns))
    # Forty classes that are numbers are a scale, as values are; tags are none.
    scales = [axes for axes in figure.axes if axes not in panels]
    assert len(scales) == (0 if kind == "multilabel" else len(panels))


def test_many_classes_with_long_names_keep_the_most_frequent(tmp_path, monkeypatch):
    def target(n):
        return f"a-class-of-forty-letters-and-more-than-that-{n if n < 20 else 0}"

    toml = own_task(tmp_path, "multiclass", target)
    figures = []
    monkeypatch.setattr(
        maps.saving, "save", lambda draw, *_, **__: figures.append(drawing(draw)) or []
    )
    options = svuprobe.MapOptions(split="all", method="pca")
    api.plot_map(str(toml), features=tmp_path / "features", out=tmp_path, options=options)
    require_readable(figures[0])
    words = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert len(words) == 15
    assert words[-1] == "6 other classes"


def test_a_task_without_a_label_of_its_own_is_refused_in_a_line(tmp_path):
    (tmp_path / "n.csv").write_text("onset_s,offset_s,midi\n0,1,60\n")
    rows = [{"path": f"{s}.wav", "target": "n.csv", "split": s, "group": s} for s in set(SPLITS)]
    toml = write_task(tmp_path, "sung", "notes", rows)
    with pytest.raises(TaskError, match="task sung: is of kind notes, .* choose a task of whole"):
        api.plot_map(str(toml), features=tmp_path / "features", out=tmp_path)


def test_what_can_not_be_mapped_is_one_line(shapes, tmp_path):
    features = shapes.parent / "features"

    def draw(models=(), **options):
        options = svuprobe.MapOptions(**options)
        return api.plot_map(str(shapes), models, features=features, out=tmp_path, options=options)

    with pytest.raises(ProbeError, match="no layer 'block9'; did you mean block0"):
        draw(layer="block9")
    with pytest.raises(OptionError, match="method = 'umap'"):
        svuprobe.MapOptions(method="umap")
    with pytest.raises(OptionError, match="split = 'tests'; did you mean test"):
        svuprobe.MapOptions(split="tests")
    with pytest.raises(ProbeError, match="no features of mfcc for task shapes"):
        draw(["mfcc"])
    with pytest.raises(ProbeError, match="'X' is for mfcc, which is none of the models here"):
        draw(names={"mfcc": "X"})
    with pytest.raises(ProbeError, match="'X' stands for mfcc and logmel"):
        svuprobe.MapOptions(names={"mfcc": "X", "logmel": "X"})
    with pytest.raises(ProbeError, match="4 points; a map takes 5 or more"):
        projection.project(np.eye(4), "pca", 0)
    with pytest.raises(ProbeError, match="no feature differs"):
        projection.project(np.ones((9, 3)), "pca", 0)


def test_pca_has_the_shares_and_places_of_a_singular_value_decomposition(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 1)) * rng.normal(size=(1, 12)) + rng.normal(size=(60, 12))
    features[:, 5] = 3.0  # constant, as of a dead unit
    found = projection.project(features, "pca", 0)
    varying = np.delete(features, 5, axis=1)
    left, values, _ = np.linalg.svd(
        (varying - varying.mean(0)) / varying.std(0), full_matrices=False
    )
    np.testing.assert_allclose(np.abs(found.places), np.abs(left * values)[:, :2], atol=1e-9)
    np.testing.assert_allclose(found.shares, (values**2 / (values**2).sum())[:2])
    # Of large matrices only the first vectors are found; they are the same.
    monkeypatch.setattr(projection, "_LARGE", 5)
    iterated = projection.project(features, "pca", 0)
    np.testing.assert_allclose(iterated.places, found.places, atol=1e-7)
    np.testing.assert_allclose(iterated.shares, found.shares)
