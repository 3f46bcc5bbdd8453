"""data2vec and HuBERT against their losses written out with numpy and plain torch."""

import math

import numpy as np
import pytest
import torch
from pretraining import TINY, recipe_of
from torch import nn
from torch.nn import functional

from svuprobe.pretrain.masking import mask_frames
from svuprobe.pretrain.networks import build
from svuprobe.pretrain.objectives import objective_of
from svuprobe.pretrain.objectives.clusters import CosineLogits
from svuprobe.pretrain.recipe import PretrainError

NO_DROPOUT = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "input_dropout": 0.0,
    "layerdrop": 0.0,
}
SAMPLES, FRAMES = 8080, 25


def data2vec(**changes):
    recipe = recipe_of("music2vec", **TINY | NO_DROPOUT | {"learning_rate": 1e-3} | changes)
    return objective_of(recipe, build(recipe), [])


def hubert(targets=("mfcc39:7",), **changes):
    recipe = recipe_of("musichubert", **TINY | NO_DROPOUT | {"targets": targets} | changes)
    clusters = [int(name.partition(":")[2]) for name in targets]
    return objective_of(recipe, build(recipe), clusters)


def batch(clips=3, clusters=(), seed=0):
    rng = np.random.default_rng(seed)
    audio = torch.from_numpy(rng.normal(size=(clips, SAMPLES)).astype(np.float32))
    mask = mask_frames(rng, clips, FRAMES, probability=0.65, span=5, least=1)
    codes = [torch.from_numpy(rng.integers(0, k, (clips, FRAMES))) for k in clusters]
    return audio, torch.from_numpy(mask), codes


# data2vec


def feed_forward_outputs(encoder, hidden):
    """The output of every block's feed-forward part, before the residual, block by block.

    Written out as the papers' post-norm transformer; only attention is transformers' own.
    """
    positions = encoder.pos_conv_embed(hidden)
    hidden = encoder.layer_norm(hidden + positions)
    outputs = []
    for block in encoder.layers:
        attended = block.attention(hidden)[0]
        hidden = block.layer_norm(hidden + attended)
        dense, out = block.feed_forward.intermediate_dense, block.feed_forward.output_dense
        inner = functional.gelu(hidden @ dense.weight.T + dense.bias)
        outputs.append(inner @ out.weight.T + out.bias)
        hidden = block.final_layer_norm(hidden + outputs[-1])
    return outputs


def over_time(values):
    """Zero mean and unit variance over the frames of each clip and feature, in float64."""
    values = values.double().numpy()
    mean, variance = values.mean(axis=1, keepdims=True), values.var(axis=1, keepdims=True)
    return (values - mean) / np.sqrt(variance + 1e-5)


@pytest.mark.parametrize("top", [1, 8, 12])
def test_data2vec_targets_are_the_mean_of_normalised_feed_forward_outputs(top):
    objective = data2vec(top_layers=top).eval()
    audio, _, _ = batch()
    with torch.no_grad():
        frames, _ = objective.body.frames(audio)
        wanted = np.mean(
            [over_time(o) for o in feed_forward_outputs(objective.teacher, frames)[-top:]], axis=0
        )
        targets = objective.targets(frames)
    assert targets.shape == (3, FRAMES, 96)
    assert targets.numpy() == pytest.approx(wanted, abs=1e-4)
    # Instance norm leaves no mean over time.
    assert targets.mean(dim=1).abs().max() < 1e-5


def test_data2vec_loss_is_the_squared_error_of_masked_frames_over_the_root_of_the_width():
    objective = data2vec().eval()
    audio, mask, _ = batch()
    loss, measures = objective(audio, mask, [])
    with torch.no_grad():
        frames, _ = objective.body.frames(audio)
        targets = np.mean(
            [over_time(o) for o in feed_forward_outputs(objective.teacher, frames)[-8:]], axis=0
        )
        hidden = frames.clone()
        hidden[mask] = objective.body.model.masked_spec_embed
        states = objective.body.model.encoder(hidden).last_hidden_state
        predicted = (states @ objective.head.weight.T + objective.head.bias).double().numpy()
    where = mask.numpy()
    errors = ((predicted - targets) ** 2).sum(axis=-1)[where] / math.sqrt(96)
    assert loss.item() == pytest.approx(errors.mean(), rel=1e-4)
    # fairseq's compute_var: the standard deviation over frames, averaged over the width.
    for name, values in (("target std", targets), ("prediction std", predicted)):
        std = np.sqrt(values[where].var(axis=0, ddof=1) + 1e-6).mean()
        assert measures[name].item() == pytest.approx(std, rel=1e-4)


def test_data2vecs_teacher_sees_what_is_masked_and_gets_no_gradient():
    objective = data2vec()
    audio, mask, _ = batch()
    objective.train()
    assert not objective.teacher.training
    with torch.no_grad():
        frames, _ = objective.body.frames(audio)
        before = objective.targets(frames)
        assert torch.equal(objective.targets(frames), before)
        assert not torch.equal(objective.targets(objective.body.masked(frames, mask)), before)
    objective(audio, mask, [])[0].backward()
    assert all(p.grad is None for p in objective.teacher.parameters())
    assert objective.body.model.masked_spec_embed.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("done", "decay"), [(1, 0.5 + 0.4 * 1 / 10), (5, 0.7), (10, 0.9), (99, 0.9)]
)
def test_data2vecs_teacher_is_a_moving_average_but_for_the_positions(done, decay):
    objective = data2vec(ema_start=0.5, ema_end=0.9, ema_steps=10)
    old = {name: value.clone() for name, value in objective.teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in objective.body.model.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    objective.after_step(done)
    student = objective.body.model.encoder.state_dict()
    copied = 0
    for name, value in objective.teacher.state_dict().items():
        if "pos_conv" in name:
            assert torch.equal(value, student[name])
            copied += 1
        else:
            wanted = decay * old[name].double() + (1 - decay) * student[name].double()
            assert torch.allclose(value.double(), wanted, atol=1e-6), name
    assert copied >= 5


def test_data2vecs_teacher_starts_as_the_student():
    objective = data2vec()
    student = objective.body.model.encoder.state_dict()
    for name, value in objective.teacher.state_dict().items():
        assert torch.equal(value, student[name])


@pytest.mark.parametrize(
    ("measures", "name"),
    [
        ({"target std": 0.09, "prediction std": 1.0}, "target std is 0.09, less than 0.1"),
        ({"target std": 1.0, "prediction std": 0.009}, "prediction std is 0.009, less than 0.01"),
    ],
)
def test_data2vec_says_that_it_has_collapsed_after_5000_steps(measures, name):
    objective = data2vec()
    assert objective.collapsed(5_000, measures) == ""
    assert name in objective.collapsed(5_001, measures)
    assert objective.collapsed(9_999, {"target std": 0.1, "prediction std": 0.01}) == ""


def test_data2vec_cannot_average_more_blocks_than_there_are():
    with pytest.raises(PretrainError, match="top_layers = 13; the network has 12 blocks"):
        data2vec(top_layers=13)


def test_data2vec_positions_are_five_convolutions_of_width_19():
    body = build(recipe_of("music2vec", size="tiny"))
    layers = [m for m in body.model.encoder.pos_conv_embed.modules() if isinstance(m, nn.Conv1d)]
    assert [layer.kernel_size for layer in layers] == [(19,)] * 5
    # Every convolution on the waveform has a layer norm, where HuBERT's first has a group norm.
    norms = [layer.layer_norm for layer in body.model.feature_extractor.conv_layers]
    assert {type(norm) for norm in norms} == {nn.LayerNorm}


# HuBERT


def nce_logits(states, projection, embeddings, target, temperature):
    """HuBERT's compute_nce of one frame: the right embedding first, then all of them.

    An entry that equals the right one is left out of the others.
    """
    projected = projection.weight.double() @ states.double() + projection.bias.double()
    logits = []
    for row in (embeddings[target], *embeddings):
        row = row.double()
        logits.append(float(projected @ row / projected.norm() / row.norm() / temperature))
    return logits[:1] + [v for k, v in enumerate(logits[1:]) if k != target]


def test_huberts_logits_are_cosines_to_embeddings_over_the_temperature():
    objective = hubert(targets=("mfcc39:7",)).eval()
    audio, mask, (codes,) = batch(clusters=(7,))
    loss, measures = objective(audio, mask, [codes])
    head = objective.heads[0]
    with torch.no_grad():
        frames, _ = objective.body.frames(audio)
        states = objective.body.states(objective.body.masked(frames, mask))[mask]
        losses, right = [], []
        for state, target in zip(states, codes[mask].tolist(), strict=True):
            logits = nce_logits(state, head.projection, head.embeddings, target, 0.1)
            losses.append(math.log(sum(math.exp(v - logits[0]) for v in logits)))
            right.append(logits[0] >= max(logits))
    assert measures["loss mfcc39"].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert measures["accuracy mfcc39"].item() == pytest.approx(np.mean(right))
    with torch.no_grad():
        features = objective.body.model.feature_extractor(audio)
    penalty = features.double().square().mean().item()
    assert loss.item() == pytest.approx(np.mean(losses) + 10 * penalty, rel=1e-4)


def test_huberts_embeddings_are_drawn_between_0_and_1_and_logits_within_the_temperature():
    head = CosineLogits(96, 256, 500, 0.1)
    assert head.embeddings.shape == (500, 256)
    assert 0 <= head.embeddings.min() < 0.01
    assert 0.99 < head.embeddings.max() < 1
    with torch.no_grad():
        assert head(torch.randn(40, 96)).abs().max() <= 10 + 1e-4


def test_losses_of_several_sets_of_targets_add_up():
    both = ("mfcc39:7", "chroma12:5")
    objective = hubert(targets=both, feature_penalty=0.0).eval()
    audio, mask, codes = batch(clusters=(7, 5))
    loss, measures = objective(audio, mask, codes)
    assert objective.measures[:2] == ("loss mfcc39", "loss chroma12")
    total = measures["loss mfcc39"] + measures["loss chroma12"]
    assert loss.item() == pytest.approx(total.item(), rel=1e-6)


def test_the_same_features_in_more_and_in_fewer_clusters_are_told_apart():
    objective = hubert(targets=("mfcc39:7", "mfcc39:5"))
    assert objective.measures[:2] == ("loss mfcc39:7", "loss mfcc39:5")


@pytest.mark.parametrize(("masked_weight", "unmasked_weight"), [(1.0, 0.5), (0.0, 1.0), (2.0, 0.0)])
def test_unmasked_frames_count_as_in_huberts_criterion(masked_weight, unmasked_weight):
    """The sum over frames is divided by how many of them have a weight."""
    objective = hubert(
        masked_weight=masked_weight, unmasked_weight=unmasked_weight, feature_penalty=0.0
    ).eval()
    audio, mask, (codes,) = batch(clusters=(7,))
    loss, _ = objective(audio, mask, [codes])
    with torch.no_grad():
        frames, _ = objective.body.frames(audio)
        states = objective.body.states(objective.body.masked(frames, mask))
        each = functional.cross_entropy(
            objective.heads[0](states).transpose(1, 2), codes, reduction="none"
        )
    total = masked_weight * each[mask].sum() + unmasked_weight * each[~mask].sum()
    count = mask.sum() * (masked_weight > 0) + (~mask).sum() * (unmasked_weight > 0)
    assert loss.item() == pytest.approx((total / count).item(), rel=1e-5)


def test_linear_logits_are_one_layer_a_set():
    objective = hubert(logits="linear", targets=("mfcc39:7",)).eval()
    head = objective.heads[0]
    assert isinstance(head, nn.Linear)
    assert head.weight.shape == (7, 96)


def test_the_gradient_of_the_convolutions_is_a_tenth():
    """fairseq's GradMultiply: the penalty's gradient shrinks with the rest."""
    gradients = []
    for factor in (1.0, 0.1):
        objective = hubert(feature_gradient=factor)
        audio, mask, codes = batch(clusters=(7,))
        objective(audio, mask, codes)[0].backward()
        gradients.append(
            {n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, whole in gradients[0].items():
        factor = 0.1 if ".feature_extractor." in name else 1.0
        size = whole.abs().max().item()
        assert torch.allclose(gradients[1][name], factor * whole, atol=1e-5 * size, rtol=1e-4), name


def test_masked_frames_are_replaced_by_one_learnt_vector():
    body = hubert().body.eval()
    audio, mask, _ = batch()
    with torch.no_grad():
        frames, _ = body.frames(audio)
        masked = body.masked(frames, mask)
    assert torch.equal(masked[~mask], frames[~mask])
    assert (masked[mask] == body.model.masked_spec_embed).all()
    # What is predicted under the mask does not know what was there.
    assert 0 <= body.model.masked_spec_embed.min() <= body.model.masked_spec_embed.max() <= 1


def test_hubert_has_base_geometry():
    config = build(recipe_of("musichubert", size="tiny")).model.config
    assert config.num_hidden_layers == 12
    assert config.feat_extract_norm == "group"
    base = recipe_of("musichubert")
    assert base.size == "base"


@pytest.mark.parametrize("preset", ["small", "music2vec", "musichubert"])
def test_first_weights_follow_from_the_seed_and_touch_no_global_generator(preset):
    changes = {} if preset == "small" else {"size": "tiny"}
    state = torch.random.get_rng_state()
    built = [build(recipe_of(preset, seed=seed, **changes)) for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = (each.model.state_dict() for each in built)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
