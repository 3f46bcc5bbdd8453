"""SingMOS: the authors' split, and correlations of systems as scipy computes them."""

import re

import numpy as np
import pytest
import scipy.stats

from svuprobe.tasks import find_clips, singing_quality
from svuprobe.tasks.kinds.regression import REGRESSION
from svuprobe.tasks.types import TaskError

TASK = singing_quality.TASK
ROWS = (
    ("sys0001-utt0001", "4.2", "train"),
    ("sys0001-utt0002", "3.4", "valid"),
    ("sys0002-utt0001", "1", "eval_v1"),
    ("sys0002-utt0002", "5.0", "eval_v2"),
)


def put(root, rows=ROWS):
    lines = ["utt_id,file_name,mos,split"]
    (root / "wav").mkdir(exist_ok=True)
    for name, mos, split in rows:
        lines.append(f"{name},wav/{name}.wav,{mos},{split}")
        (root / "wav" / f"{name}.wav").touch()
    (root / singing_quality.METADATA).write_text("\n".join(lines) + "\n")
    return root


def test_the_split_is_the_authors_and_the_group_the_system(tmp_path):
    put(tmp_path)
    (tmp_path / "wav" / "sys0001-utt0002.wav").unlink()
    found = [(c.id, c.split, c.group, c.target) for c in find_clips(TASK, tmp_path)]
    assert found == [
        ("sys0001-utt0001", "train", "sys0001", (4.2,)),
        ("sys0002-utt0001", "test", "sys0002", (1.0,)),
        ("sys0002-utt0002", "test", "sys0002", (5.0,)),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("sys0001-utt0003", "0", "train"), "mos 0 in line 6 is not from 1 to 5"),
        (("sys0001-utt0003", "nan", "train"), "mos nan in line 6"),
        (("sys0001-utt0003", "good", "train"), "could not convert string to float"),
        (("sys0001-utt0003", "4", "dev"), "split 'dev' is none of train, valid, eval_v1, eval_v2"),
    ],
)
def test_a_row_that_can_t_be_is_named(tmp_path, row, said):
    put(tmp_path, [*ROWS, row])
    with pytest.raises(TaskError, match=re.escape(said)) as caught:
        singing_quality.clips(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_absent_or_of_another_form_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"metadata\.csv: no such file; it comes with SingMOS"):
        singing_quality.clips(tmp_path)
    (tmp_path / singing_quality.METADATA).write_text("name,score\na,1\n")
    with pytest.raises(TaskError, match="not SingMOS's columns file_name, mos, split"):
        singing_quality.clips(tmp_path)


def draws(seed, n_systems=9, n=60):
    """Scores of clips with ties, their predictions, their systems and how often those are drawn."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, n_systems, n)
    group[:n_systems] = np.arange(n_systems)
    target = rng.integers(5, 26, (n, 1)) / 5
    output = target + rng.normal(0, 1, (n, 1))
    counts = np.stack([np.ones(n_systems), *rng.multinomial(n_systems, [1 / n_systems] * 9, 4)])
    return target, output, group, counts


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "of_scipy"),
    [
        ("system_srcc", lambda a, b: scipy.stats.spearmanr(a, b)[0]),
        ("system_lcc", lambda a, b: scipy.stats.pearsonr(a, b)[0]),
        ("system_ktau", lambda a, b: scipy.stats.kendalltau(a, b)[0]),
        ("system_mse", lambda a, b: np.mean((a - b) ** 2)),
    ],
)
def test_scores_of_systems_are_scipy_s_in_every_resampling(seed, name, of_scipy):
    target, output, group, counts = draws(seed)
    if name == "system_ktau":  # with means that are alike
        target, output = np.rint(target / 2), np.rint(output)
    found = REGRESSION.metric(name, ("mos",))(target, output, group, counts)
    for value, drawn in zip(found, counts.astype(int), strict=True):
        systems = np.repeat(np.arange(len(drawn)), drawn)
        means = []
        for values in (target, output):
            means.append(np.array([values[group == system].mean() for system in systems]))
        assert value == pytest.approx(of_scipy(*means))


def test_a_predictor_of_clips_that_is_blind_to_systems_is_seen_through():
    # Right within systems, and wrong about which system is good.
    group = np.repeat([0, 1, 2], 20)
    within = np.tile(np.linspace(-0.5, 0.5, 20), 3)
    target = (group + 2.0 + within)[:, None]
    output = (4.0 - group + within)[:, None]
    counts = np.ones((1, 3))
    values = {
        name: REGRESSION.metric(name, ("mos",))(target, output, group, counts)[0]
        for name in TASK.metrics
    }
    assert values["system_srcc"] == pytest.approx(-1.0)
    assert values["system_ktau"] == pytest.approx(-1.0)
    assert values["system_mse"] == pytest.approx(8 / 3)


def test_a_constant_answer_has_no_correlation():
    target, output, group, counts = draws(0)
    for name in ("system_srcc", "system_lcc", "system_ktau"):
        metric = REGRESSION.metric(name, ("mos",))
        assert np.isnan(metric(target, np.full_like(output, 3.0), group, counts)).all()
