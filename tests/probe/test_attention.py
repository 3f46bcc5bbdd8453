"""Attention over the frames of a window: exact gradients and masks, and an event that a mean
loses.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from planted import classes, header, write_cache

from svuprobe import api
from svuprobe.cli import main
from svuprobe.probe import trained
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.attention import AttentionBank, FrameBlock, Frames, Windows
from svuprobe.probe.training.features import Block, FeatureStats
from svuprobe.probe.training.heads import WEIGHTED_SUM, Bank, Shape, Spec

LENGTHS = [7, 1, 12, 5]
LAYERS, DIM, OUTPUTS = 3, 4, 2
QUICK = Protocol(
    name="quick", pooling="attention", epoch_updates=5, hidden=0, dropout=0.0,
    learning_rates=(2e-1,), mix_learning_rate=3e-2, seeds=2, max_epochs=40,
)  # fmt: skip


def block(layers=LAYERS, dim=DIM, used=True):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(sum(LENGTHS), layers, dim, generator=generator).half()
    length = torch.tensor(LENGTHS)
    frames = Frames(states, length.cumsum(0) - length, length)
    stats = FeatureStats.over(frames.means(), used)
    return FrameBlock(frames, torch.zeros(len(LENGTHS)), stats)


def bank(layers, hidden, seeds=(0, 1)):
    shape = Shape(LAYERS, DIM, OUTPUTS, hidden=hidden, mix_normal=True)
    made = AttentionBank([Spec(n, 1e-2, seed) for n in layers for seed in seeds], shape)
    generator = torch.Generator().manual_seed(1)
    for values in made.parameters.values():  # away from the zeros that queries start at
        values += torch.randn(values.shape, generator=generator)
    return made


def alone(bank, head, values, frames):
    """One head on the frames (F, L, D) of one window, in plain torch."""
    if bank.sums:
        mixed = torch.einsum("l,fld->fd", values["mix"].softmax(0), frames)
    else:
        mixed = frames[:, bank.specs[head].layer]
    weights = (mixed @ values["query"] / DIM**0.5).softmax(0)
    x = weights @ mixed
    if bank.shape.hidden:
        x = (x @ values["weight0"] + values["bias0"][0]).relu()
    return values["weight"] @ x + values["bias"][:, 0]


@pytest.mark.parametrize("layers", [[WEIGHTED_SUM], [0, 1, 2], [1]])
@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("used", [True, False])
def test_outputs_and_gradients_are_those_of_each_head_alone(layers, hidden, used):
    data, many = block(used=used), bank(layers, hidden)
    rows = torch.tensor([2, 0, 3, 1])
    states = data.read(many, rows)
    states._at_once = 3  # of several chunks
    logits, seen = many.forward(states)
    wanted = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    into = {name: torch.zeros_like(value) for name, value in many.parameters.items()}
    many.backward(states, seen, wanted, into)
    stats = data.feature_stats
    for head in range(len(many)):
        values = {
            name: value[head].clone().requires_grad_() for name, value in many.parameters.items()
        }
        outputs = []
        for row in rows.tolist():
            start, n = int(data.states.start[row]), LENGTHS[row]
            frames = data.states.states[start : start + n].float()
            if used:
                frames = (frames - stats.mean) / stats.scale
            outputs.append(alone(many, head, values, frames))
        expected = torch.stack(outputs)
        torch.testing.assert_close(logits[head], expected.detach(), rtol=1e-4, atol=1e-5)
        (expected * wanted[head]).sum().backward()
        for name, value in values.items():
            torch.testing.assert_close(into[name][head], value.grad, rtol=1e-4, atol=1e-4)
    many.backward(states, seen, wanted, twice := {k: v.clone() for k, v in into.items()}, add=True)
    for name, value in into.items():
        torch.testing.assert_close(twice[name], 2 * value, rtol=1e-4, atol=1e-4)


def test_a_window_is_the_same_in_any_batch():
    data, many = block(), bank([WEIGHTED_SUM], 0)
    together = many(data.read(many, slice(0, 4)))
    for row in range(4):
        single = many(data.read(many, torch.tensor([row])))
        torch.testing.assert_close(single[:, 0], together[:, row], rtol=1e-5, atol=1e-6)
    (x, valid), *_ = Windows(data, slice(None), [0, 2])
    assert valid.sum(1).tolist() == [7, 12]
    assert not x[:, 0, 7:].any()


def test_heads_start_as_those_on_the_mean():
    data = block()
    shape = Shape(LAYERS, DIM, OUTPUTS, hidden=5)
    specs = [Spec(WEIGHTED_SUM, 1e-2, seed) for seed in range(2)]
    means = torch.cat(list(data.states.means()))
    of_means = Block(means, data.targets, data.feature_stats)
    one, other = AttentionBank(specs, shape), Bank(specs, shape)
    everything = slice(0, 4)
    torch.testing.assert_close(
        one(data.read(one, everything)), other(of_means.read(other, everything)), rtol=1e-4,
        atol=1e-5,
    )  # fmt: skip


def probe(tmp_path, toml, protocol):
    places = {"features": tmp_path / "f", "results": tmp_path / "r"}
    return api.probe([str(toml)], **places, protocol=protocol)[0]


def test_a_short_event_is_found_that_the_mean_loses(tmp_path, monkeypatch):
    """Four frames in eighty, in one layer, tell the class; in the rest all is noise."""
    layers, dim = 3, 6
    toml, clips = classes(tmp_path, n_classes=3, per_class=60)
    rng = np.random.default_rng(0)
    events = 7 * np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    frames, means = {}, {}
    for clip in clips:
        made = rng.normal(size=(int(rng.integers(60, 100)), layers, dim))
        made += rng.normal(size=(layers, dim))  # windows differ by more than the event moves them
        at = int(rng.integers(0, len(made) - 4))
        made[at : at + 4, 1] = events[3] + events[int(clip.target[-1])]
        frames[clip.id] = [made]
        means[clip.id] = [made.mean(axis=0, keepdims=True)]
    task = api.load_task(str(toml))
    write_cache(tmp_path / "f", header(task, layers, dim, level="frame"), frames)
    write_cache(tmp_path / "f", header(task, layers, dim), means)
    mean = probe(tmp_path, toml, replace(QUICK, pooling="mean"))
    found = probe(tmp_path, toml, QUICK)
    assert mean.result.ranked.mean < 0.6  # a third is chance
    assert found.result.layer_curve["block01"][0] > 0.9
    assert found.result.ranked.mean > 0.8
    weights = np.array(found.result.layer_weights.softmax)
    assert (weights.argmax(axis=1) == 1).all()
    # The heads beside the result say what was scored.
    heads = trained.load(found.path)
    assert heads.tensors["query"].shape == (2, dim)
    with np.load(found.path.with_suffix(".npz")) as stored:
        for clip_id, outputs in zip(stored["clip_id"], stored["outputs"][1], strict=True):
            own = torch.from_numpy(np.float16(frames[clip_id][0]))
            np.testing.assert_allclose(heads(own, 1)[0], outputs, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr("svuprobe.probe.training.attention.memory_allowed", lambda device: 100_000)
    with pytest.raises(api.PartlyDone) as error:
        probe(tmp_path, toml, replace(QUICK, seeds=1))
    (said,) = error.value.problems
    assert "of memory are allowed; allow more with --memory, or probe with pooling" in said


def test_frames_are_kept_and_used_where_they_are_asked_for(tmp_path):
    toml, clips = classes(tmp_path, n_classes=2, per_class=10, window_s=0.5)
    rng = np.random.default_rng(0)
    for clip in clips:
        tone = np.sin(2 * np.pi * 220 * (1 + int(clip.target[-1])) * np.arange(9600) / 16000)
        soundfile.write(clip.path, 0.1 * tone + 0.01 * rng.normal(size=9600), 16000)
    common = ["--task", str(toml), "--features", str(tmp_path / "f")]
    results = ["--results", str(tmp_path / "r"), "--protocol", "linear", "--seeds", "1"]
    asked = ["probe", *common, *results, "--max-epochs", "3", "--pooling", "attention"]

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    extract = ["extract", *common, "--model", "logmel", "--jobs", "0"]
    assert run(*extract).exit_code == 0
    refused = run(*asked, "--model", "logmel")
    assert refused.exit_code == 1
    assert "no frames of logmel for task shapes (there are: none)" in refused.output
    assert "svuprobe extract --frames --model logmel --task" in refused.output
    assert run(*extract, "--frames").exit_code == 0
    done = run(*asked)
    assert done.exit_code == 0, done.output
    assert "(pooling attention)" in done.output
    (path,) = (tmp_path / "r").rglob("linear-attention-*.json")
    with np.load(path.with_suffix(".npz")) as stored:
        ids, outputs = stored["clip_id"].tolist(), stored["outputs"][0]
    by_id = {clip.id: clip for clip in clips}
    options = api.RunOptions(jobs=0)
    (prediction,) = api.predict(path, [Path(by_id[ids[0]].path)], options=options)
    logits = outputs[[n for n, i in enumerate(ids) if i == ids[0]]].astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prediction.window_outputs, expected, atol=2e-3)
