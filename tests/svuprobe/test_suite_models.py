"""Models that a suite pre-trains: made once, and ranked by their recipe."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from svuprobe import suite_models
from svuprobe.benchmarks import suite
from svuprobe.probe.protocol import ProbeError
from svuprobe.suites import run_suite

SUITE = """
name = "study"
description = "**No replication.**"
tasks = ["own.toml"]
protocols = [{ base = "linear", seeds = 2, max_epochs = 2 }]

[pretrain]
recipes = ["music2vec", "music2vec-span5"]
scale = 0.000005

[pretrain.changes]
size = "tiny"
least_s = 0.4
batch_s = 4.0
"""


def test_a_suite_trains_its_models_once_and_ranks_them_by_their_recipes(tmp_path, monkeypatch):
    rows, files = ["path,target,split"], []
    for n in range(12):
        tone = np.sin(np.arange(8000) * (0.02 + 0.02 * (n % 2))) / 2
        soundfile.write(tmp_path / f"{n}.wav", tone, 16000)
        rows.append(f"{n}.wav,{'ab'[n % 2]},{('train', 'valid', 'test')[n // 4]}")
        files.append(f"{tmp_path / f'{n}.wav'}\n")
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.toml").write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n')
    (tmp_path / "study.toml").write_text(SUITE)
    monkeypatch.setattr(suite_models, "_training_recordings", lambda: "".join(files))

    out = tmp_path / "out"
    assert run_suite(str(tmp_path / "study.toml"), data=tmp_path, out=out) == []
    board = (out / "leaderboard.md").read_text()
    assert "**No replication.**" in board
    for name in ("music2vec", "music2vec-span5"):
        plan = suite.load(str(tmp_path / "study.toml"))
        recipe = suite_models.recipe_of(plan, name, out / "models")
        assert recipe.steps == 2
        assert f"pretrained:{name}-{recipe.hash[:8]}@" in board
    assert str(out) not in board

    weights = out / "models" / "music2vec" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert run_suite(str(tmp_path / "study.toml"), data=tmp_path, out=out) == []
    assert weights.stat().st_mtime_ns == before


def test_the_papers_study_has_its_twelve_recipes_and_a_second_iteration_on_the_first():
    plan = suite.load("ma2023-ablations")
    assert len(plan.pretrain["recipes"]) == 12
    assert "no replication" in plan.description
    second = suite_models.recipe_of(plan, "musichubert-iter2", Path("/somewhere"))
    assert second.teacher == "hf:/somewhere/musichubert"
    # Wherever the folder lies the recipe is the same.
    assert second.hash == suite_models.recipe_of(plan, "musichubert-iter2", Path("/other")).hash


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("recipe = []", "unknown key 'recipe' of pretrain; did you mean recipes?"),
        ("scale = 0.5", "pretrain names no recipes"),
        ('recipes = "music2vec"', "pretrain.recipes = 'music2vec'; it is a list"),
        ('recipes = ["music2vec"]\nscale = 0.0', "pretrain.scale = 0.0; it is a number up to 100"),
    ],
)
def test_a_table_of_models_that_says_something_else_is_refused(tmp_path, table, said):
    path = tmp_path / "odd.toml"
    path.write_text(f'name = "odd"\ntasks = ["technique"]\n\n[pretrain]\n{table}\n')
    with pytest.raises(ProbeError) as caught:
        suite.load(str(path))
    assert said in str(caught.value)
