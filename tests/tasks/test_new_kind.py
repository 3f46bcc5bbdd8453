"""A whole new kind is one file and one line in a table: nothing else knows which kinds there
are.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from planted import write_task

from svuprobe import api
from svuprobe.probe.asked_protocol import preset
from svuprobe.tasks import kinds

# The whole file of a kind stands in CONTRIBUTING, as it would lie in tasks/kinds.
CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
BLOCKS = re.findall(
    r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.DOTALL
)
(COUNT,) = [block for block in BLOCKS if "(ClipKind)" in block]


@pytest.fixture
def count(tmp_path, monkeypatch):
    """The kind, as its file and its line make it."""
    (tmp_path / "count_kind.py").write_text(COUNT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "count_kind", raising=False)
    monkeypatch.setitem(kinds.TABLE, "count", "count_kind:COUNT")
    return kinds.named("count")


def chords(folder, clips=50, rate=16000):
    """Write sounds of one to five harmonics in noise; the target is how many."""
    rng = np.random.default_rng(0)
    times = np.arange(rate // 2) / rate
    rows = []
    for n in range(clips):
        target = 1 + n % 5
        harmonics = [np.sin(2 * np.pi * 400 * k * times) for k in range(1, target + 1)]
        sound = 0.1 * np.sum(harmonics, axis=0) + 0.02 * rng.normal(size=len(times))
        soundfile.write(folder / f"{n}.wav", sound, rate)
        split = ("train", "train", "train", "valid", "test")[n // 5 % 5]
        rows.append({"path": f"{n}.wav", "target": target, "split": split, "group": f"g{n}"})
    return rows


def test_a_new_kind_goes_from_a_table_to_a_prediction(tmp_path, count):
    assert len(COUNT.splitlines()) < 80
    rows = chords(tmp_path)
    toml = str(write_task(tmp_path, "voices", "count", rows))
    features, results = tmp_path / "features", tmp_path / "results"
    here = api.RunOptions(jobs=0)
    api.extract([toml], ["logmel", "mfcc"], data=tmp_path, features=features, options=here)
    protocol = preset("linear", learning_rates=(1e-2,), seeds=1, max_epochs=40, single_layers=False)
    done = api.probe([toml], features=features, results=results, protocol=protocol)
    mfcc = next(one for one in done if one.result.model.name == "mfcc")
    assert set(mfcc.result.scores) == {"exact", "within_1"}
    assert mfcc.result.scores["within_1"].mean > mfcc.result.chance["within_1"] + 0.1
    api.leaderboard(results, tmp_path / "board.md")
    board = (tmp_path / "board.md").read_text(encoding="utf-8")
    assert "voices" in board
    assert "exact" in board
    assert "voices" in api.report(results, tmp_path / "report").read_text(encoding="utf-8")
    test = [row for row in rows if row["split"] == "test"]
    predictions = api.predict(mfcc.path, [tmp_path / row["path"] for row in test], options=here)
    written = list(api.save_predictions(predictions, tmp_path / "out", plots=True))
    heard = np.array([prediction.outputs[0] for prediction, _ in written])
    near = np.abs(np.rint(heard) - [row["target"] for row in test]) < 1.5
    assert near.mean() == pytest.approx(mfcc.result.scores["within_1"].mean)
    assert {path.suffix for _, files in written for path in files} == {".csv", ".png"}


def test_the_gradient_of_a_new_kind_is_that_of_its_loss(count):
    outputs = torch.randn((3, 8, 1), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(8.0)[:, None]
    asked = outputs.clone().requires_grad_()
    count.loss(asked, targets).sum().backward()
    torch.testing.assert_close(count.gradient(outputs, targets), asked.grad)
