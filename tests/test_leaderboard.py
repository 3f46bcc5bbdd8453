"""The leaderboard and the plots: from results alone, and saying what may be compared with what."""

import csv
from dataclasses import asdict, replace

import numpy as np
import pytest

from svuprobe.benchmarks import plots
from svuprobe.benchmarks.leaderboard import number, render
from svuprobe.probe.protocol import ProbeError, Protocol, preset
from svuprobe.probe.result import Result


def made(model="wavlm-base-plus", mean=0.7, *, layers=3, task="technique", protocol=None, ci95=(0.6, 0.8), **changes):
    """A result as the probe writes it."""
    protocol = protocol or Protocol()
    names = ["input", *(f"block{n:02d}" for n in range(1, layers))]
    task_keys = {
        "name": task, "version": 1, "kind": "multiclass", "dataset": "vocalset", "synthetic": False,
        "ranked": "accuracy", "scored": "window", "labels": ["a", "b"], "licence": "CC BY", "reference": "Somebody",
        "splits": {"train": 30, "valid": 10, "test": 12}, "split_sha256": "ab" * 32, "target_sha256": "cd" * 32,
    }  # fmt: skip
    score = {"per_seed": [mean - 0.01, mean + 0.01], "mean": mean, "std": 0.014, "ci95": ci95}
    layer = {name: {"layer": name, "learning_rate": 1e-3, "valid": 0.5 + 0.1 * n} for n, name in enumerate(names)}
    return Result(
        task=task_keys | changes,
        model={
            "name": model, "revision": "0123456789", "digest": "d", "parameters": 1, "dim": 4, "sample_rate": 16000,
            "frame_rate": 50.0, "normalization": "none", "dtype": "float32", "layer_names": names,
            "control": model in ("logmel", "mfcc") or model.startswith("random:"),
        },
        protocol={"name": protocol.name, "hash": protocol.hash, "fields": asdict(protocol)},
        scores={"accuracy": score, "macro_f1": score},
        chance={"accuracy": 0.1, "macro_f1": 0.05},
        layer_weights={"softmax": [[1 / layers] * layers] * 2, "times_rms": [[1 / layers] * layers] * 2, "rms": [1]},
        layer_curve={name: [0.9 - 0.1 * n, 0.9 - 0.1 * n] for n, name in enumerate(names)},
        selected={"head": {"layer": "sum", "learning_rate": 1e-3, "valid": 0.7}, "layers": layer},
        counts={s: {"clips": 12, "windows": 20, "groups": 12} for s in ("train", "valid", "test")} | {"missing": 0},
        timings={"train_s": 1.0},
        environment={"python": "3"},
        date="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def tables(text):
    return [part for part in text.split("\n## ") if "Across tasks" not in part][1:]


def test_rows_are_ranked_with_spread_interval_and_controls_marked():
    text = render([made("logmel", 0.4, layers=1), made("wavlm-base-plus", 0.7), made("random:hubert-base#0", 0.5)])
    (table,) = tables(text)
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")][2:]
    names = [row[2].strip() for row in rows]
    assert names == ["wavlm-base-plus@01234567", "random:hubert-base#0 *(control)*", "logmel *(control)*", "*chance*"]
    assert [cell.strip() for cell in rows[0][3:5]] == ["70.0 ± 1.4", "60.0 to 80.0"]
    assert rows[-1][3].strip() == "10.0"


def test_the_best_layer_is_the_one_that_validation_chose():
    (table,) = tables(render([made()]))  # the curve is best at the input, validation at the last block
    assert "block02 (70.0)" in table
    assert "input" not in table


@pytest.mark.parametrize(
    "other",
    [
        made("logmel", protocol=preset("linear")),
        made("logmel", protocol=Protocol(seeds=3)),
        made("logmel", split_sha256="ef" * 32),
        made("logmel", version=2),
        made("logmel", synthetic=True),
        made("logmel", task="singer"),
    ],
)
def test_what_differs_in_task_split_or_protocol_never_shares_a_table(other):
    assert len(tables(render([made(), made("mfcc")]))) == 1
    assert len(tables(render([made(), other]))) == 2


def test_synthetic_data_are_marked_everywhere():
    text = render([made(synthetic=True)])
    assert "technique (synthetic)" in tables(text)[0].splitlines()[0]
    assert "**Synthetic audio**" in text
    assert "technique (synthetic)<br>accuracy" in text
    assert "synthetic" not in render([made()]).lower()


def test_missing_scores_are_shown_as_missing():
    text = render([made(), made("mfcc", task="singer")])
    across = next(part for part in text.split("\n## ") if "Across tasks" in part)
    assert across.count("–") == 2
    none = made(ci95=None)
    none.counts["test"]["groups"] = 1
    assert "there is no interval" in render([none])
    few = made()
    few.counts["test"]["groups"] = 5
    assert "Only 5 groups" in render([few])
    lacking = made()
    lacking.counts["missing"] = 3
    assert "Clips without features: wavlm-base-plus 3" in render([lacking])


def test_the_order_of_results_does_not_matter():
    results = [made(), made("mfcc", 0.7), made("logmel", 0.2, task="singer"), made("chroma", 0.3)]
    assert render(results) == render(results[::-1])


def test_shares_are_per_cent_and_errors_are_not():
    assert number("accuracy", 0.1234) == "12.3"
    assert number("r2", 0.1234) == number("mae", 0.1234) == "0.123"
    assert number("accuracy", None) == "–"


@pytest.mark.parametrize("draw", [plots.layer_weights, plots.layer_curves])
def test_plots_come_as_png_svg_and_the_numbers(tmp_path, draw):
    results = [made(), made("hubert-base", 0.6, layers=4), made("logmel", 0.3, layers=1), made(task="singer")]
    paths = draw(results, tmp_path)
    assert sorted({p.suffix for p in paths}) == [".csv", ".png", ".svg"]
    assert len(paths) == 6
    assert all(path.stat().st_size > 100 for path in paths)
    assert paths[0].read_bytes()[:4] == b"\x89PNG"
    with next(p for p in paths if p.name.startswith("technique") and p.suffix == ".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (3 + 4 + 1)  # seeds x layers
    column = "weight" if draw is plots.layer_weights else "accuracy"
    first = [float(r[column]) for r in rows if r["model"] == "wavlm-base-plus" and r["seed"] == "0"]
    np.testing.assert_allclose(first, [1 / 3] * 3 if column == "weight" else [0.9, 0.8, 0.7])


def test_plots_are_the_same_bytes_each_time(tmp_path):
    first, second = (plots.layer_curves([made()], tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_groups_that_may_not_be_compared_get_files_of_their_own(tmp_path):
    paths = plots.layer_curves([made(), made(protocol=preset("linear"))], tmp_path)
    assert len(set(paths)) == 6


def test_one_layer_has_no_layers_to_draw(tmp_path):
    with pytest.raises(ProbeError, match="no result with more than one layer"):
        plots.layer_weights([replace(made("logmel", layers=1))], tmp_path)
