"""Steps of a training: parts, processes, the optimiser, the curve, and when it has to end."""

import numpy as np
import pytest
import torch
from pretraining import RATE, TINY, note, recipe_of, recordings_of

from svuprobe._distributed import Distributed
from svuprobe.pretrain import train as module
from svuprobe.pretrain.clusters import Codes
from svuprobe.pretrain.crops import Crops
from svuprobe.pretrain.going_on import Run
from svuprobe.pretrain.networks import build
from svuprobe.pretrain.objectives import objective_of
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.schedules import learning_rate
from svuprobe.pretrain.train import Training

PLAIN = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "input_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_span": 5,
    "crop_s": 0.5,
    "least_s": 0.3,
    "batch_s": 3.5,
}
CLUSTERS = 5


def training(tmp_path, preset="musichubert", *, processes=None, keep=None, options=None, **changes):
    """A training on seven recordings, with targets that are drawn."""
    rng = np.random.default_rng(0)
    arrays = [note(220 + 40 * n, 0.5) + 0.01 * rng.normal(size=8000) for n in range(7)]
    recordings = recordings_of(tmp_path / "audio", arrays)
    size = {} if preset == "small" else TINY
    recipe = recipe_of(preset, **size | PLAIN | changes)
    body = build(recipe)
    starts = np.arange(8) * 24
    codes = []
    for name in recipe.targets if recipe.objective == "clusters" else ():
        drawn = rng.integers(0, CLUSTERS, 7 * 24).astype(np.uint16)
        codes.append(Codes(name, CLUSTERS, "", drawn, starts))
    return Training(
        objective_of(recipe, body, [CLUSTERS] * len(codes)),
        Crops(recordings, recipe, body.grid.hop, body.grid.samples(recipe.mask_span + 2)),
        codes,
        recipe=recipe,
        options=PretrainOptions(device="cpu", **options or {}),
        processes=processes or Distributed(),
        checkpoint=tmp_path / "checkpoint.safetensors",
        run=Run(recipe, (), "", ()),
        keep=keep or (lambda done: None),
    )


def gradients(training, monkeypatch):
    """The gradients of the first step, before the optimiser uses them."""
    taken = {}

    def take(*args, **options):
        for name, parameter in training.objective.named_parameters():
            if parameter.grad is not None:
                taken[name] = parameter.grad.clone()

    monkeypatch.setattr(training.optimiser, "step", take)
    # Clipping is of the whole gradient, and nothing here is to be clipped.
    monkeypatch.setattr(module.torch.nn.utils, "clip_grad_norm_", lambda *args: torch.zeros(()))
    (step,) = training.crops.epoch(0)
    assert len(step.crops) == 7
    training.objective.train()
    measures = training._step(training._parts(step, 0))
    return taken, measures


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        size = max(1e-3, value.abs().max().item())
        assert torch.allclose(value, theirs[name], atol=1e-5 * size, rtol=1e-4), name


PRESETS = ["small", "musichubert", "music2vec"]
AUGMENTED = {"gain_db": 6.0, "mix_probability": 0.5}


@pytest.mark.parametrize("preset", PRESETS)
def test_parts_of_a_step_give_the_gradient_of_the_whole(tmp_path, monkeypatch, preset):
    whole, measures = gradients(training(tmp_path, preset, **AUGMENTED), monkeypatch)
    # 7 crops of half a second at most: parts of three, two and two.
    made = training(tmp_path, preset, options={"part_s": 1.5}, **AUGMENTED)
    (step,) = made.crops.epoch(0)
    parts = made._parts(step, 0)
    assert [len(part.audio) for part in parts] == [3, 2, 2]
    assert sum(part.share for part in parts) == pytest.approx(1)
    ours, watched = gradients(made, monkeypatch)
    same(whole, ours)
    assert watched["loss"] == pytest.approx(measures["loss"], rel=1e-5)


class Rank(Distributed):
    """One of several processes, whose sums are kept instead of added to the others'."""

    def __init__(self, rank, world):
        super().__init__()
        self.rank, self.world = rank, world

    def sum(self, values):
        self.totals = values[0].clone()

    def wait(self):
        raise AssertionError("a step waits for nobody but in its sum")


@pytest.mark.parametrize(("preset", "world"), [("musichubert", 2), ("music2vec", 3)])
def test_processes_share_a_step_whose_gradient_stays_the_same(tmp_path, monkeypatch, preset, world):
    whole, measures = gradients(training(tmp_path, preset, **AUGMENTED), monkeypatch)
    summed, loss = {}, 0.0
    for rank in range(world):
        processes = Rank(rank, world)
        mine, _ = gradients(
            training(tmp_path, preset, processes=processes, **AUGMENTED), monkeypatch
        )
        loss += processes.totals[0].item()
        for name, value in mine.items():
            summed[name] = summed.get(name, 0) + value
    same(whole, summed)
    assert loss == pytest.approx(measures["loss"], rel=1e-5)


def test_more_processes_than_crops_leave_some_with_nothing_to_do(tmp_path, monkeypatch):
    made = training(tmp_path, processes=Rank(8, 9))
    (step,) = made.crops.epoch(0)
    assert made._parts(step, 0) == []
    mine, _ = gradients(made, monkeypatch)
    assert all(not value.any() for value in mine.values())


@pytest.mark.parametrize("preset", ["musichubert", "music2vec"])
def test_dropout_follows_from_the_seed_and_the_step(tmp_path, monkeypatch, preset):
    dropouts = {"dropout": 0.2, "attention_dropout": 0.2, "layerdrop": 0.2}
    first, again = (
        gradients(training(tmp_path, preset, **dropouts), monkeypatch)[0] for _ in range(2)
    )
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = gradients(training(tmp_path, preset, seed=1, **dropouts), monkeypatch)[0]
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_nothing_seeds_the_global_generator(tmp_path):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    training(tmp_path, steps=1).run()
    assert torch.equal(torch.random.get_rng_state(), before)


def adam(weights, gradients, rates, recipe):
    """Adam with decay apart from the gradient (Loshchilov and Hutter 2019), in float64."""
    m = v = np.zeros_like(weights)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        weights = weights * (1 - rate * recipe.weight_decay)
        m = 0.9 * m + 0.1 * gradient
        v = recipe.beta2 * v + (1 - recipe.beta2) * gradient**2
        mean, square = m / (1 - 0.9**step), v / (1 - recipe.beta2**step)
        weights = weights - rate * mean / (np.sqrt(square) + recipe.epsilon)
    return weights


@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_weights_follow_adam_with_decay_at_the_rate_of_each_step(tmp_path, monkeypatch, clip_norm):
    made = training(tmp_path, steps=4, learning_rate=0.01, weight_decay=0.1, clip_norm=clip_norm)
    name = "heads.0.projection.weight"
    parameter = dict(made.objective.named_parameters())[name]
    first = parameter.detach().double().numpy().copy()
    seen, norms = [], []
    step = made.optimiser.step

    def watched(*args, **options):
        seen.append(parameter.grad.double().numpy().copy())
        norms.append(torch.cat([p.grad.flatten() for p in made.learning]).norm().item())
        step()

    monkeypatch.setattr(made.optimiser, "step", watched)
    made.run()
    rates = [learning_rate(made.recipe, done) for done in range(4)]
    wanted = adam(first, seen, rates, made.recipe)
    assert parameter.detach().numpy() == pytest.approx(wanted, abs=1e-5)
    if clip_norm:
        assert norms == pytest.approx([clip_norm] * 4, rel=1e-3)
    else:
        assert max(norms) > 1


def test_the_teacher_moves_after_each_step(tmp_path):
    made = training(tmp_path, "music2vec", steps=3, ema_start=0.5, ema_end=0.5)
    name = "layers.0.feed_forward.output_dense.weight"
    teacher = [made.objective.teacher.state_dict()[name].clone()]
    student = []
    after = made.objective.after_step

    def watched(done):
        student.append(made.objective.body.model.encoder.state_dict()[name].clone())
        after(done)
        teacher.append(made.objective.teacher.state_dict()[name].clone())

    made.objective.after_step = watched
    made.run()
    for old, learnt, new in zip(teacher, student, teacher[1:], strict=False):
        assert torch.allclose(new, (old + learnt) / 2, atol=1e-7)


def test_the_curve_is_the_mean_since_the_last_row(tmp_path, monkeypatch):
    made = training(tmp_path, steps=5, options={"log_every": 2})
    seen = []
    watch = made._watch
    monkeypatch.setattr(made, "_watch", lambda m: (seen.append(m), watch(m)))
    state = made.run()
    assert [row["step"] for row in state.rows] == [2, 4, 5]
    for row, steps in zip(state.rows, ([0, 1], [2, 3], [4]), strict=True):
        for name in ("loss", "loss mfcc39", "accuracy mfcc39", "gradient norm", "learning rate"):
            assert row[name] == pytest.approx(np.mean([seen[n][name] for n in steps]))
    assert state.rows[-1]["hours"] * 3600 == pytest.approx(5 * 7 * 8000 / RATE)
    assert state.audio_s == pytest.approx(5 * 3.5)


def test_models_are_kept_on_the_way_and_not_at_the_end(tmp_path):
    kept = []
    training(tmp_path, steps=6, keep=kept.append, options={"keep_every": 2}).run()
    assert kept == [2, 4]


def test_bfloat16_rounds_the_network_and_not_the_weights(tmp_path):
    made = training(tmp_path, "music2vec", steps=1, options={"dtype": "bfloat16"})
    state = made.run()
    assert np.isfinite(state.rows[0]["loss"])
    assert {p.dtype for p in made.objective.parameters()} == {torch.float32}


# When it has to end


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    made = training(tmp_path, steps=4, learning_rate=1e-3)
    after = made.objective.after_step

    def broken(done):
        after(done)
        if done == 2:
            with torch.no_grad():
                made.objective.heads[0].projection.bias.fill_(float("nan"))

    monkeypatch.setattr(made.objective, "after_step", broken)
    with pytest.raises(PretrainError) as caught:
        made.run()
    assert str(caught.value) == (
        "the loss is nan at step 3; try a lower learning_rate (now 0.001), a clip_norm, or "
        "--dtype float32"
    )
    # The weights from before are those of the last checkpoint: a bad step is not taken.
    assert made.state.done == 2


def test_frames_that_have_become_alike_end_the_training(tmp_path):
    made = training(tmp_path, "music2vec", steps=5, guard_from=2, least_prediction_std=1000.0)
    with pytest.raises(PretrainError) as caught:
        made.run()
    line = str(caught.value)
    assert line.startswith("step 3: the prediction std is ")
    assert "less than 1000: all frames have become alike" in line
    assert made.state.done == 2


def test_targets_that_have_become_alike_end_the_training(tmp_path):
    made = training(tmp_path, "music2vec", steps=2, guard_from=0, least_target_std=10.0)
    with pytest.raises(PretrainError, match="step 1: the target std is .*, less than 10: all"):
        made.run()
