"""A head in a batch is the head it would be alone, and both are what torch's own layers and Adam
make.
"""

import numpy as np
import pytest
import torch
from planted import classes, header, planted_states, write_cache
from test_probe import features_of, kind_of_task

from svuprobe import api
from svuprobe.extractors.batching import native_dtype
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.adam import Adam
from svuprobe.probe.training.bank_run import Run
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.heads import WEIGHTED_SUM, Bank, Shape, Spec
from svuprobe.probe.training.train import fit, make_banks
from svuprobe.probe.training.workers import Workers, matmul_precision_for, matmul_rounding
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds import ctc

KINDS = [
    "multiclass",
    "multilabel",
    "regression",
    "notes",
    "beats",
    "melody",
    "chords",
    "segments",
    "structure",
    "sequence",
]


def run_for(features, bank, protocol, epochs):
    run = Run(bank, features, protocol)
    for epoch in range(epochs):
        for block, steps in features.epoch(epoch, bank.specs[0].seed):
            run.learn(block, steps)
    return run.bank


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 12])
def test_heads_in_a_batch_equal_heads_alone(tmp_path, kind, hidden):
    toml, features_kind = kind_of_task(tmp_path, kind)
    protocol = Protocol(
        epoch_updates=1,
        hidden=hidden,
        learning_rates=(1e-3, 1e-2),
        seeds=2,
        batch_size=8,
        frame_batch_size=8,
    )
    features, cache = features_of(tmp_path, toml, protocol, features_kind)
    looked_at = (Spec(WEIGHTED_SUM, 1e-2, 1), Spec(2, 1e-3, 0), Spec(0, 1e-2, 1))
    banks = [
        bank
        for bank in make_banks(features, protocol, 8)
        if not {*looked_at}.isdisjoint(bank.specs)
    ]
    # More than 50 steps.
    together = [run_for(features, bank, protocol, epochs=13) for bank in banks]
    for spec in looked_at:
        alone = run_for(features, Bank([spec], banks[0].shape), protocol, epochs=13)
        bank, n = next((b, b.specs.index(spec)) for b in together if spec in b.specs)
        for name, value in alone.parameters.items():
            torch.testing.assert_close(bank.parameters[name][n], value[0], atol=1e-4, rtol=1e-4)
    cache.close()


@pytest.mark.parametrize("hidden", [0, 12])
@pytest.mark.parametrize("layer", [1, WEIGHTED_SUM])
def test_a_bank_is_torchs_own_layers_and_adam(tmp_path, hidden, layer):
    toml, _ = kind_of_task(tmp_path, "multiclass")
    protocol = Protocol(
        hidden=hidden,
        dropout=0.0,
        learning_rates=(1e-2,),
        seeds=1,
        batch_size=8,
        mix_learning_rate=0.05,
    )
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    shape = Shape(layers=4, dim=8, outputs=3, hidden=hidden)
    bank = Bank([Spec(layer, 1e-2, 0)], shape)
    sizes = [8, hidden, 3] if hidden else [8, 3]
    linears = [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    plain = torch.nn.Sequential(
        *(linears if not hidden else [linears[0], torch.nn.ReLU(), linears[1]])
    )
    scalars = torch.nn.Parameter(torch.zeros(4))
    with torch.no_grad():
        if hidden:
            linears[0].weight.copy_(bank.parameters["weight0"][0].T)
            linears[0].bias.copy_(bank.parameters["bias0"][0, 0])
        linears[-1].weight.copy_(bank.parameters["weight"][0])
        linears[-1].bias.copy_(bank.parameters["bias"][0, :, 0])
    groups = [{"params": plain.parameters()}, {"params": [scalars], "lr": 0.05}]
    optimiser = torch.optim.Adam(groups, lr=1e-2)
    moments = features.feature_stats
    for epoch in range(5):
        for block, steps in features.epoch(epoch, 0):
            for rows in steps:
                states = (block.states[rows].float() - moments.mean) / moments.scale
                x = (
                    torch.einsum("l,bld->bd", scalars.softmax(0), states)
                    if layer == WEIGHTED_SUM
                    else states[:, 1]
                )
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(plain(x), block.targets[rows]).backward()
                optimiser.step()
    made = run_for(features, bank, protocol, epochs=5).parameters
    torch.testing.assert_close(made["weight"][0], linears[-1].weight.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        made["bias"][0, :, 0], linears[-1].bias.detach(), atol=1e-5, rtol=1e-4
    )
    if layer == WEIGHTED_SUM:
        torch.testing.assert_close(made["mix"][0], scalars.detach(), atol=1e-5, rtol=1e-4)
    cache.close()


@pytest.mark.parametrize(
    ("kind", "weighted"), [*((kind, False) for kind in KINDS), ("multiclass", True)]
)
def test_gradients_are_those_of_the_losses(kind, weighted):
    generator = torch.Generator().manual_seed(0)
    n, classes = 40, {"notes": 20, "beats": 1, "melody": 361, "chords": 61}.get(kind, 6)
    outputs = torch.randn((3, n, classes), generator=generator) * 3
    targets = {
        "multiclass": lambda: torch.randint(0, 6, (n,), generator=generator),
        "multilabel": lambda: torch.randint(0, 2, (n, 6), generator=generator).float(),
        "regression": lambda: torch.randn((n, 6), generator=generator),
        "notes": lambda: torch.stack(
            [torch.randint(0, k, (n,), generator=generator) for k in (2, 2, 5, 13)], 1
        ),
        "beats": lambda: torch.randint(0, 2, (n,), generator=generator).float(),
        "melody": lambda: torch.rand(n, generator=generator) * 400 - 40,
        "chords": lambda: torch.randint(-1, 61, (n,), generator=generator),
        "segments": lambda: torch.randint(0, 2, (n, 6), generator=generator).float(),
        "structure": lambda: torch.randint(-1, 6, (n,), generator=generator),
        "sequence": lambda: torch.from_numpy(
            np.concatenate([ctc.rasterise([1, 2, 2, 5], 25), ctc.rasterise([3], 15)])
        ),
    }[kind]()
    weights = torch.rand(6, generator=generator) + 0.1 if weighted else None
    asked = outputs.clone().requires_grad_()
    kinds.named(kind).loss(asked, targets, weights).sum().backward()
    written_out = kinds.named(kind).gradient(outputs, targets, weights)
    torch.testing.assert_close(written_out, asked.grad, atol=1e-7, rtol=1e-5)


def bank_and_states(specs, hidden=12, rows=20, **shape):
    shape = Shape(layers=4, dim=8, outputs=3, hidden=hidden, **shape)
    states = torch.randn((4, rows, 8), generator=torch.Generator().manual_seed(1))
    return Bank(specs, shape), states


@pytest.mark.parametrize("rows", [20, 200])  # as at clip level, and as on frames
@pytest.mark.parametrize("hidden", [0, 12])
@pytest.mark.parametrize(
    "specs",
    [
        [Spec(2, 0.1, 0), Spec(2, 0.2, 1)],  # one layer, read once
        [Spec(0, 0.1, 0), Spec(3, 0.1, 0)],  # several, as MLPs on a GPU
        # Some of the layers, as linear heads on a CPU.
        [Spec(1, 0.1, 0), Spec(1, 0.2, 0), Spec(3, 0.1, 0)],
        [Spec(WEIGHTED_SUM, 0.1, 0), Spec(WEIGHTED_SUM, 0.1, 1)],
    ],
)
def test_backward_is_autograds(specs, hidden, rows):
    bank, states = bank_and_states(specs, hidden, rows, dropout=0.5)
    seen_by_bank = states if bank.sums else states[bank.layers[0] : bank.layers[-1] + 1]
    keep = (torch.rand((len(bank.seeds), rows, hidden)) > 0.5) * 2.0 if hidden else None
    for value in bank.parameters.values():
        value.requires_grad_()
    p = bank.parameters
    if bank.sums:
        x = torch.einsum("hl,lbd->hbd", p["mix"].softmax(1), states)
    else:
        x = states[bank.layer]
    if hidden:
        x = (x @ p["weight0"] + p["bias0"]).relu() * keep[bank.seed]
    wanted = x @ p["weight"].mT + p["bias"].mT
    upstream = torch.randn(wanted.shape)
    (wanted * upstream).sum().backward()
    grads = {name: value.grad for name, value in p.items()}
    with torch.no_grad():
        logits, seen = bank.forward(seen_by_bank, keep)
        torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)
        made = {name: torch.full_like(value, torch.nan) for name, value in p.items()}
        bank.backward(seen_by_bank, seen, upstream, made)
        twice = {name: value.clone() for name, value in made.items()}
        bank.backward(seen_by_bank, seen, upstream, twice, add=True)
    for name, value in grads.items():
        torch.testing.assert_close(made[name], value, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(twice[name], 2 * value, atol=1e-4, rtol=1e-4)


def test_a_step_in_parts_is_the_step_as_a_whole(tmp_path, monkeypatch):
    toml, kind = kind_of_task(tmp_path, "notes")
    protocol = Protocol(
        epoch_updates=1, hidden=12, learning_rates=(1e-2,), seeds=1, frame_batch_size=8
    )
    features, cache = features_of(tmp_path, toml, protocol, kind)
    made = []
    for rows in (10**6, 50):
        monkeypatch.setattr(
            "svuprobe.probe.training.features.rows_at_once", lambda bank, rows=rows: rows
        )
        bank = Bank([Spec(WEIGHTED_SUM, 1e-2, 0)], make_banks(features, protocol, 8)[0].shape)
        made.append(run_for(features, bank, protocol, epochs=2).parameters)
    for name in made[0]:
        torch.testing.assert_close(made[0][name], made[1][name], atol=1e-4, rtol=1e-4)
    cache.close()


def test_each_head_has_its_own_rate_and_leaves_without_a_trace():
    bank, states = bank_and_states([Spec(1, rate, 0) for rate in (0.0, 0.1, 0.2)])
    adam = Adam(bank, 0.0)
    before = {name: value.clone() for name, value in bank.parameters.items()}
    for value in adam.gradients.values():
        value.fill_(1.0)
    adam.step()  # the first step of Adam is the learning rate itself
    for name, value in bank.parameters.items():
        moved = (before[name] - value).flatten(1).mean(1)
        np.testing.assert_allclose(moved, [0, 0.1, 0.2], atol=1e-5)
    adam.scale([1.0, 0.5, 1.0])
    adam.select([1])
    for value in adam.gradients.values():
        value.fill_(1.0)
    kept = adam.bank.parameters["bias"].clone()
    adam.step()
    np.testing.assert_allclose((kept - adam.bank.parameters["bias"]).flatten(), 0.05, atol=1e-5)


def test_a_layer_left_out_gives_its_weight_to_the_others():
    bank, states = bank_and_states([Spec(WEIGHTED_SUM, 0.1, 0)])
    bank.parameters["mix"] = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    weights = bank.mix_weights()[0]
    without = bank.without(2).mix_weights()[0]
    assert without[2] == 0
    torch.testing.assert_close(without[[0, 1, 3]], weights[[0, 1, 3]] / (1 - weights[2]))
    torch.testing.assert_close(bank.mix_weights()[0], weights)


def test_a_mix_may_leave_out_the_first_layer_and_start_at_random():
    bank, _ = bank_and_states(
        [Spec(WEIGHTED_SUM, 0.1, s) for s in range(200)], mix_from=1, mix_normal=True
    )
    assert (bank.mix_weights()[:, 0] == 0).all()
    assert bank.parameters["mix"].std() == pytest.approx(1, abs=0.1)
    plain, _ = bank_and_states([Spec(WEIGHTED_SUM, 0.1, s) for s in range(200)])
    torch.testing.assert_close(plain.parameters["weight0"], bank.parameters["weight0"])
    torch.testing.assert_close(plain.mix_weights(), torch.full((200, 4), 0.25))


def test_heads_of_a_seed_start_alike_whatever_their_layer_and_rate():
    layers, _ = bank_and_states([Spec(0, 0.1, 3), Spec(2, 0.2, 3), Spec(2, 0.2, 4)])
    sums, _ = bank_and_states([Spec(WEIGHTED_SUM, 0.1, 3)])
    for name in ("weight0", "bias0", "weight", "bias"):
        first, second, other = layers.parameters[name]
        assert torch.equal(first, second)
        assert torch.equal(first, sums.parameters[name][0])
        assert not torch.equal(first, other)


def test_a_bank_holds_one_kind_of_head():
    with pytest.raises(ValueError, match="not both"):
        bank_and_states([Spec(WEIGHTED_SUM, 0.1, 0), Spec(1, 0.1, 0)])


def test_products_may_be_rounded_and_heads_learn_the_same(tmp_path):
    toml, clips = classes(tmp_path, per_class=60)
    write_cache(
        tmp_path / "f",
        header(api.load_task(str(toml)), layers=5, dim=64),
        planted_states(clips, layer=3, layers=5, dim=64),
    )
    protocol = Protocol(
        epoch_updates=1, hidden=64, learning_rates=(1e-3, 5e-3), widen=0, seeds=2, max_epochs=15
    )
    features, cache = features_of(tmp_path, toml, protocol, ClipFeatures)
    before = torch.get_float32_matmul_precision()
    exact, again, coarse = (
        np.concatenate([f.score for f in fit(features, protocol, 64, matmul_precision=precision)])
        for precision in ("float32", "float32", "bfloat16")
    )
    assert torch.get_float32_matmul_precision() == before
    np.testing.assert_array_equal(exact, again)
    assert exact.max() > 0.9
    assert abs(exact - coarse).mean() < 0.02
    cache.close()


def test_products_are_rounded_as_asked_or_as_the_hardware_likes():
    mlp, linear = preset("svuprobe"), preset("linear")
    assert matmul_precision_for(linear, "cuda:1") == matmul_precision_for(mlp, "cuda:1") == "tf32"
    assert matmul_precision_for(mlp, "cpu") == native_dtype("cpu")
    assert matmul_precision_for(linear, "cpu") == "float32"
    assert (
        matmul_precision_for(mlp, "cpu", "float32")
        == matmul_precision_for(mlp, "cuda", "float32")
        == "float32"
    )
    assert matmul_precision_for(linear, "cpu", "bfloat16") == "bfloat16"
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    with matmul_rounding("bfloat16"):
        error = float((a @ b - (a.double() @ b.double()).float()).abs().max())
    assert error > 1e-3 or native_dtype("cpu") == "float32"  # of products about 16
    assert error < 0.5


def test_numbers_too_small_for_float32_are_zeros_while_heads_train_and_only_there():
    tiny = torch.full((64,), 1e-39)
    with Workers("cpu") as workers:
        (kept,) = workers.map(lambda t: int((t * 0.5).count_nonzero()), [tiny])
    assert kept == 0
    assert (tiny * 0.5).count_nonzero() == 64
