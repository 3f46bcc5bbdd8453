"""The plots: PNG, SVG and the numbers; readable in grey; nothing in one picture that may not be
compared.
"""

import csv
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from made import changed, made

from svuprobe.benchmarks import plots
from svuprobe.benchmarks.plots import heatmap
from svuprobe.cli import plots as plots_cli
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError, Protocol


def fractions(*models):
    """Results on one, five, twenty-five and a hundred per cent of the training set."""
    found = []
    for model in models:
        for n, part in enumerate((0.01, 0.05, 0.25, 1.0)):
            result = made(model, 0.3 + 0.1 * n, layers=1 if model == "mfcc" else 3)
            other_protocol = {"protocol.fields.train_fraction": part, "protocol.hash": f"{n}" * 16}
            found.append(changed(result, other_protocol))
    return found


def rows(paths, name):
    with next(p for p in paths if p.name == f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", plots.KINDS)
def test_plots_come_as_png_svg_and_csv_and_the_same_each_time(tmp_path, kind):
    if kind == "data-efficiency":
        results = fractions("hubert-base", "mfcc")
    else:
        results = [
            made(),
            made("hubert-base", 0.6, layers=4),
            made("logmel", 0.3, layers=1, ci95=None),
        ]
    first, second = (plots.KINDS[kind](results, tmp_path / name) for name in "ab")
    assert [p.suffix for p in first] == [".png", ".svg", ".csv"]
    assert first[0].read_bytes()[:4] == b"\x89PNG"
    assert first[0].name.startswith(kind)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_one_picture_is_a_file_of_its_ending_and_the_same_each_time(tmp_path):
    results = [made(), made("logmel", 0.3, layers=1)]
    for ending, start in ((".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")):
        out = tmp_path / f"figure{ending}"
        assert plots.scores(results, out) == [out, tmp_path / "figure.csv"]
        first = out.read_bytes()
        assert first.startswith(start)
        plots.scores(results, out)
        assert out.read_bytes() == first
    two = [made(), made(protocol=preset("linear"))]
    with pytest.raises(ProbeError, match="2 pictures .*scores-linear.*; name a folder"):
        plots.scores(two, tmp_path / "figure.pdf")
    with pytest.raises(ProbeError, match=r"figure.jpg: .* as .png, .svg, .pdf"):
        plots.scores(results, tmp_path / "figure.jpg")


def test_the_command_line_knows_every_kind():
    assert list(plots_cli.KINDS) == list(plots.KINDS)
    assert set(plots_cli.plot.commands) == {*plots.KINDS, "map"}


def test_csv_files_hold_what_is_drawn(tmp_path):
    results = [made(), made("hubert-base", 0.6, layers=4), made("logmel", 0.3, layers=1)]
    weights = rows(plots.layer_weights(results, tmp_path), "layer-weights-svuprobe")
    assert len(weights) == 5 * (3 + 4)  # seeds x layers of those that have several
    assert {float(r["weight"]) for r in weights if r["model"] == "wavlm-base-plus"} == {1 / 3}
    curves = rows(plots.layer_curves(results, tmp_path), "layer-curves-technique-svuprobe")
    mine = [
        float(r["accuracy"]) for r in curves if r["model"] == "wavlm-base-plus" and r["seed"] == "0"
    ]
    np.testing.assert_allclose(mine, [0.9, 0.8, 0.7])
    dots = rows(plots.scores(results, tmp_path), "scores-svuprobe")
    assert [(r["model"], float(r["mean"]), r["ci95_low"]) for r in dots][-1] == (
        "logmel",
        0.3,
        "0.6",
    )
    share = rows(
        plots.data_efficiency(fractions("hubert-base"), tmp_path),
        "data-efficiency-technique-svuprobe",
    )
    assert [(float(r["train_fraction"]), round(float(r["mean"]), 1)) for r in share] == [
        (0.01, 0.3),
        (0.05, 0.4),
        (0.25, 0.5),
        (1.0, 0.6),
    ]


def test_what_may_not_be_compared_gets_pictures_of_its_own(tmp_path):
    several = [
        made(),
        made(protocol=preset("linear")),
        made(protocol=Protocol(seeds=2)),
        made(synthetic=True),
    ]
    for draw in (plots.scores, plots.layer_curves):
        names = [p.stem for p in draw(several, tmp_path) if p.suffix == ".png"]
        assert len(set(names)) == 4
        assert sum(name.endswith("synthetic") for name in names) == 1
        assert sum("linear" in name for name in names) == 1
    edited = plots.layer_curves([made(), made(target_sha256="ef" * 32)], tmp_path)
    assert len(set(edited)) == 6


def test_a_weight_heatmap_has_a_panel_per_task_and_shows_each_number(tmp_path):
    results = [made(task=t) for t in ("technique", "singer", "pitch", "key")]
    paths = plots.layer_weights(results, tmp_path)
    assert len(paths) == 3
    assert {r["task"] for r in rows(paths, "layer-weights-svuprobe")} == {
        "technique",
        "singer",
        "pitch",
        "key",
    }


def test_unscaled_states_are_also_shown_times_their_size(tmp_path):
    times_rms = {"layer_weights.times_rms": [[0.1, 0.2, 0.7]] * 5}
    raw = changed(made(protocol=preset("ma2023")), times_rms)
    names = [p.stem for p in plots.layer_weights([raw], tmp_path) if p.suffix == ".png"]
    assert names == ["layer-weights-ma2023", "layer-weights-times-rms-ma2023"]


def test_weights_of_a_fine_tuned_model_are_drawn_though_no_single_layer_was_probed(tmp_path):
    tuned = replace(made("hubert-base"), layer_curve={}, layer_ci95={}, layer_drop={})
    tuned = changed(tuned, {"selected.layers": {}})
    assert {
        r["drop"] for r in rows(plots.layer_weights([tuned], tmp_path), "layer-weights-svuprobe")
    } == {""}
    with pytest.raises(ProbeError, match="no result with more than one layer"):
        plots.layer_curves([tuned], tmp_path)


def test_shuffled_labels_are_in_no_picture(tmp_path):
    shuffled = changed(made("hubert-base", 0.1), {"protocol.fields.shuffle_labels": True})
    assert {
        r["model"] for r in rows(plots.scores([made(), shuffled], tmp_path), "scores-svuprobe")
    } == {"wavlm-base-plus"}


def test_the_colours_of_weights_survive_greyscale():
    rgb = matplotlib.colormaps[heatmap.COLOUR_MAP](np.linspace(0, 1, 64))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16  # CIE L*
    steps = -np.diff(lightness)
    assert steps.min() > 0.5 * steps.mean()  # falls, and falls evenly
    assert steps.max() < 1.5 * steps.mean()
    assert lightness[0] > 95
    assert lightness[-1] < 25


def test_nothing_to_draw_says_what_to_run(tmp_path):
    one = made("logmel", layers=1)
    for draw in (plots.layer_weights, plots.layer_curves):
        with pytest.raises(ProbeError, match="no result with more than one layer"):
            draw([one], tmp_path)
    with pytest.raises(ProbeError, match="--train-fraction"):
        plots.data_efficiency([one], tmp_path)
