"""Pictures stay readable: no word is cut or lies over another, and a model has one look."""

import matplotlib
import numpy as np
import pytest
from made import changed, made
from matplotlib.figure import Figure
from matplotlib.text import Text

from svuprobe.benchmarks import plots
from svuprobe.benchmarks.plots import layout, looks, style

LONG = (
    "hf:/data/projects/checkpoints/mert-v1-95m-trained-further-on-vocals",
    "hf:/elsewhere/mert-v1-95m-trained-further-on-vocals",
    "hf:facebook/wav2vec2-large-xlsr-53-espeak-cv-ft",
    "random:a-large-audio-encoder-of-forty-letters-x#3",
    "py:/home/models/my_convolutions.py:ConvolutionsWithAttention",
)
TASK = "singer-cross-technique-of-many-letters-x"


def some(models, tasks=1, *, layers=13, long=True, fractions=(1.0,)):
    """Results of some models on some tasks; the score of the first model is undefined."""
    found = []
    for task in range(tasks):
        for n in range(models):
            name = f"{LONG[n % len(LONG)]}-{n // len(LONG)}" if long else f"model{n}"
            for number, share in enumerate(fractions):
                mean = 0.3 + 0.5 * n / models + 0.02 * number
                of_model = 1 if layers == 1 or n == 3 else layers
                task_name = f"{TASK if long else 'task'}{task}"
                result = made(name, mean, layers=of_model, task=task_name, ci95=(mean, mean + 0.1))
                edit = {"protocol.fields.train_fraction": share, "protocol.hash": f"{number}" * 16}
                curve = dict.fromkeys(result.model.layer_names, [mean] * 5)
                edit |= {"layer_curve": curve, "layer_ci95": {}}
                if n == 0:
                    no_score = {"per_seed": [None, 0.5], "mean": None, "std": None, "ci95": None}
                    edit["scores.accuracy"] = no_score
                found.append(changed(result, edit))
    return found


def drawing(draw):
    """A figure, laid out."""
    with matplotlib.rc_context(style.STYLE):
        figure = Figure()
        draw(figure)
        figure.draw_without_rendering()
    return figure


def drawn(monkeypatch, tmp_path, kind, results):
    """The figures of a kind of picture, laid out."""
    figures = []

    def keep(draw, *_, **__):
        figures.append(drawing(draw))
        return []

    monkeypatch.setattr(plots.saving, "save", keep)
    plots.KINDS[kind](results, tmp_path)
    return figures


def unseen(figure):
    """Texts that nobody sees: of hidden panels, and of ticks beyond the end of an axis."""
    for axes in figure.axes:
        if not axes.get_visible():
            yield from axes.findobj(Text)
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    yield from tick.findobj(Text)


def words(figure):
    """Every text that is seen, and their boxes in pixels: left, bottom, right, top."""
    hidden = set(map(id, unseen(figure)))
    texts = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            texts.append(text)
    return texts, np.array([text.get_window_extent().extents for text in texts])


def require_readable(figure):
    texts, boxes = words(figure)
    width, height = figure.bbox.size
    outside = (boxes[:, :2] < -1).any(axis=1) | (boxes[:, 2:] > (width + 1, height + 1)).any(axis=1)
    assert [t.get_text() for t, out in zip(texts, outside, strict=True) if out] == []
    # The box of a slanted text is larger than the text.
    flat = np.array([text.get_rotation() % 90 == 0 for text in texts])
    texts, boxes = [t for t, is_flat in zip(texts, flat, strict=True) if is_flat], boxes[flat]
    inner = boxes + np.array([1, 1, -1, -1])
    across = (inner[:, None, :2] < inner[None, :, 2:]).all(axis=2)
    overlap = np.argwhere(np.triu(across & across.T, 1))
    assert [(texts[a].get_text(), texts[b].get_text()) for a, b in overlap] == []


CASES = {
    "one": {"models": 1, "long": False},
    "three": {"models": 3, "layers": 25},
    "eight": {"models": 8, "layers": 9},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", plots.KINDS)
def test_no_word_is_cut_or_lies_over_another(monkeypatch, tmp_path, kind, case):
    shares = (0.01, 0.02, 1.0) if kind == "data-efficiency" else (1.0,)
    # Pictures of these kinds have a panel per task, others are of one task.
    tasks = 2 if kind in ("scores", "layer-weights") else 1
    results = some(**CASES[case], tasks=tasks, fractions=shares)
    figures = drawn(monkeypatch, tmp_path, kind, results)
    assert len(figures) == 1
    require_readable(figures[0])


def test_a_picture_of_many_models_is_readable_in_smaller_letters(monkeypatch, tmp_path):
    results = some(40, layers=1)
    (figure,) = drawn(monkeypatch, tmp_path, "scores", results)
    require_readable(figure)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(names)) == 40


def test_a_name_is_as_short_as_tells_it_apart():
    several = [made(name, layers=1) for name in LONG]
    several += [changed(made("mfcc"), {"model.revision": f"v{n}"}) for n in (1, 2)]
    # Alike but for what a cut leaves out.
    middle = [f"hf:someone-with-a-long-name/model-{n}-of-a-series-that-goes-on" for n in "ab"]
    several += [made(name) for name in middle]
    found = looks.Looks(several)
    names = [found.name(result) for result in several]
    assert len(set(names)) == len(names)
    # The same weights in two folders are told apart without a path.
    assert names[0].startswith("hf:mert-v1-95m-trained-further-on-vocals@01234567 (1)")
    assert names[1].endswith("(2)")
    assert names[2].startswith("hf:facebook/wav2vec2")
    assert "@" not in names[2]
    assert names[5:7] == ["mfcc@v1 (control)", "mfcc@v2 (control)"]
    assert names[7:] == [f"{name}@01234567" for name in middle]


def test_a_model_has_one_look_and_a_control_another():
    models = [made(f"model{n}") for n in range(30)]
    controls = [made("logmel"), made("mfcc"), made("chroma"), made("random:hubert-base")]
    found = looks.Looks([*models, *controls])
    of_models, of_controls = ([found.of(r) for r in group] for group in (models, controls))
    each = {(look.colour, look.marker, str(look.dash)) for look in of_models + of_controls}
    assert len(each) == 34
    assert not {look.colour for look in of_models} & {look.colour for look in of_controls}
    assert {look.face for look in of_controls} == {"white"}
    assert "white" not in {look.face for look in of_models}
    # In another order, on another task and beside few others it is the same.
    again = looks.Looks([models[4], controls[2]], [*controls[::-1], *models[::-1]])
    assert again.of(changed(models[4], {"task.name": "pitch"})) == found.of(models[4])
    assert again.of(controls[2]) == found.of(controls[2])


def test_words_are_wrapped_by_what_they_measure():
    text = "hf:/a/path/without-any-blank_" + "x" * 40
    lines = layout.wrapped(text, 1.5, 9).split("\n")
    assert "".join(lines) == text
    assert max(layout.width_of(line, 9) for line in lines) <= 1.5
    assert layout.wrapped("short", 1.5, 9) == "short"
