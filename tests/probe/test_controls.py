"""Every seed of a control has a shuffle and a subset of its own, and its interval says how sure
chance is.
"""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import classes, header, planted_states, write_cache, write_task
from test_probe import features_of, kind_of_task, probe

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.stats.intervals import interval
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.splits import training_clips, validation_clips
from svuprobe.probe.training.train import fit

KINDS = ["multiclass", "multilabel", "regression", "notes", "beats"]
QUICK = Protocol(
    name="quick", hidden=0, learning_rates=(1e-2,), max_epochs=2, seeds=3, epoch_updates=1
)


def split_of(tmp_path, split, **options):
    path, clips = classes(tmp_path, **options)
    return api.load_task(str(path)), tuple(c for c in clips if c.split == split)


def test_every_seed_has_a_shuffle_of_its_own_of_training_and_validation_targets(tmp_path):
    task, train = split_of(tmp_path, "train", n_classes=5, per_class=100)
    shuffled = replace(QUICK, shuffle_labels=True)
    for deal in (training_clips, validation_clips):
        several = [deal(train, task, shuffled, seed) for seed in range(20)]
        assert several == [deal(train, task, shuffled, seed) for seed in range(20)]
        for dealt in several:
            assert [c.id for c in dealt] == [c.id for c in train]
            assert sorted(c.target for c in dealt) == sorted(c.target for c in train)
        same = [
            np.mean([a.target == b.target for a, b in zip(x, y, strict=True)])
            for n, x in enumerate(several)
            for y in (train, *several[:n])
        ]
        assert np.mean(same) == pytest.approx(0.2, abs=0.01)  # of five classes: no two seeds alike
        assert max(same) < 0.35
    assert validation_clips(train, task, QUICK, 0) == train


def test_every_seed_has_a_subset_of_its_own_smaller_within_larger(tmp_path):
    task, train = split_of(tmp_path, "train", n_classes=5, per_class=100)
    tenths = []
    for seed in range(4):
        nested = [
            training_clips(train, task, replace(QUICK, train_fraction=f), seed)
            for f in (0.01, 0.1, 0.5, 1.0)
        ]
        assert [len(some) for some in nested] == [5, 30, 150, 300]
        for smaller, larger in zip(nested, nested[1:], strict=False):
            assert set(smaller) < set(larger)
        tenths.append(set(nested[1]))
    shared = [len(a & b) for n, a in enumerate(tenths) for b in tenths[:n]]
    assert 0 < np.mean(shared) < 8  # 3 of 30 by chance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{"shuffle_labels": True}, {"train_fraction": 0.3}])
def test_heads_of_a_seed_learn_from_what_it_was_dealt(tmp_path, kind, changes):
    toml, level = kind_of_task(tmp_path, kind)
    protocol = replace(QUICK, **changes)
    features, cache = features_of(tmp_path, toml, protocol, level)
    learnt = {}
    for seed in range(3):
        blocks = list(features.epoch(0, seed))
        learnt[seed] = [block.targets[torch.cat(steps)] for block, steps in blocks if steps]
        wanted = features.splits["train"].of(seed)
        used = sum(len(rows) for _, steps in blocks for rows in steps)
        assert used == (
            len(wanted.row) if level is ClipFeatures else int(cache.n_frames[wanted.row].sum())
        )
    if kind not in ("notes", "beats"):  # there all files say the same
        assert (
            not torch.equal(learnt[0][0].sort(0).values, learnt[1][0])
            or "train_fraction" in changes
        )
        values = [torch.cat(some).float() for some in learnt.values()]
        assert any(len(a) != len(b) or not torch.equal(a, b) for a in values for b in values)
    cache.close()
    counted = probe(tmp_path, toml, protocol)[0].result.counts.train.clips
    assert counted == (24 if "shuffle_labels" in changes else 6 if kind == "multiclass" else 7)


def test_a_stream_deals_as_memory_does(tmp_path):
    toml, _ = kind_of_task(tmp_path, "notes")
    protocol = replace(QUICK, train_fraction=0.5, single_layers=False)
    made, memory = [], None
    for _ in range(2):
        features, cache = features_of(tmp_path, toml, protocol, FrameFeatures, memory=memory)
        fitted = fit(features, protocol, 8)
        made.append({spec: f.score[n] for f in fitted for n, spec in enumerate(f.bank.specs)})
        memory = math.prod(cache.features.shape)  # bytes: half of what the features take
        cache.close()
    assert features.resident is False
    assert set(made[0]) == set(made[1])
    assert len(set(made[0].values())) == 3
    for spec, score in made[0].items():
        assert score == pytest.approx(made[1][spec], rel=0.2)  # the order of batches differs


def test_the_interval_of_draws_is_wider_by_their_spread():
    rng = np.random.default_rng(0)
    right = rng.random(40) < 0.5

    def score(counts):
        return counts @ right / counts.sum(1)

    of_groups = interval(score, 40)
    none, some = (
        interval(score, 40, draws=draws) for draws in ([0.5] * 5, [0.1, 0.3, 0.5, 0.7, 0.9])
    )
    assert np.diff(none)[0] == pytest.approx(np.diff(of_groups)[0], rel=0.05)
    assert np.diff(some)[0] > 1.5 * np.diff(of_groups)[0]
    assert interval(score, 40, draws=[0.5]) is None


def control(folder, number):
    """Score, chance and interval of the shuffled control of a simulated task whose features tell
    the class.
    """
    rng = np.random.default_rng(number)
    n_classes, per_class = int(rng.integers(2, 7)), {"train": 6, "valid": 4, "test": 8}
    rows = [
        {
            "path": f"{split}{c}-{n}.wav",
            "target": f"class{c}",
            "split": split,
            "group": f"{split}{c}-{n // 2}",
        }
        for split, count in per_class.items()
        for c in range(n_classes)
        for n in range(count)
    ]
    toml = write_task(folder, f"sim{number}", "multiclass", rows)
    clips = api.load_task(str(toml)).clips(folder)
    states = planted_states(
        clips, layer=0, layers=1, dim=8, strength=rng.uniform(0.3, 3), seed=number
    )
    write_cache(folder / "f", header(api.load_task(str(toml)), layers=1, dim=8), states)
    protocol = replace(
        QUICK, learning_rates=(1e-2, 1e-1), widen=0, max_epochs=8, seeds=5, shuffle_labels=True
    )
    result = api.probe([str(toml)], features=folder / "f", results=folder / "r", protocol=protocol)[
        0
    ].result
    return result.ranked, result.chance["accuracy"]


def simulate(folder, tasks):
    """Say of each task whether the interval of its control holds chance."""
    held = []
    for number in range(tasks):
        (folder / f"{number}").mkdir()
        score, chance = control(folder / f"{number}", number)
        low, high = score.ci95
        held.append(low <= chance <= high)
    return held


def test_the_control_lies_within_its_interval_of_chance(tmp_path):
    assert sum(simulate(tmp_path, 20)) >= 18


if __name__ == "__main__":  # python tests/probe/test_controls.py 100
    with tempfile.TemporaryDirectory() as folder:
        held = simulate(Path(folder), int(sys.argv[1]))
    print(
        f"chance lies in the interval of the shuffled control in {sum(held)} of {len(held)} tasks"
    )
