"""Dasheng computes what its own code does, from both layouts of its checkpoints."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch
from safetensors.torch import save_file

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.checkpoints import in_folder
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.native import from_random
from svuprobe.extractors.networks.dasheng import recognise

# tests/data/networks/make_dasheng.py made it, and has the sizes, lengths and statistics
ORIGINAL = np.load(Path(__file__).parents[2] / "data" / "networks" / "dasheng.npz")
SAMPLES = (480, 3000, 6400, 15_000)
STATISTICS = {"init_bn.1.running_mean": (50.0, -20.0), "init_bn.1.running_var": (300.0, 0.0)}
FIELDS = {
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 4.0,
    "patch_size": [64, 4],
    "patch_stride": [64, 4],
    "target_length": 40,
}
CONFIG = {
    "architectures": ["DashengModel"],
    "auto_map": {"AutoModel": "modeling_dasheng.DashengModel"},
    "encoder_kwargs": FIELDS,
    "loss": "BCELoss",
    "model_type": "dasheng",
    "name": "dasheng-tiny",
}


def weights():
    """All the weights that the original code saves."""
    shapes = {}
    for name in ORIGINAL["names"]:
        key, sizes = re.fullmatch(r"(\S+) \((.*)\)", name).groups()
        shapes[key] = tuple(int(size) for size in sizes.split(",") if size.strip())
    counted = [key for key in shapes if key.endswith("num_batches_tracked")]
    drawn = seeded.weights({key: shape for key, shape in shapes.items() if key not in counted})
    state = {key: torch.from_numpy(value) for key, value in drawn.items()}
    for key, (factor, summand) in STATISTICS.items():
        state[key] = factor * state[key] + summand
    computed = {key: torch.from_numpy(ORIGINAL[key]) for key in shapes.keys() & set(ORIGINAL.files)}
    return state | computed | {key: torch.tensor(0) for key in counted}


def on_hub(folder, config=CONFIG, change=None):
    """Write a checkpoint as the hub's class saves it, which leaves the spectrogram out."""
    state = {key: value for key, value in weights().items() if "front_end" not in key}
    if change:
        change(state)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {f"encoder.{key}": value for key, value in state.items()}, folder / "model.safetensors"
    )
    return f"hf:{folder}"


def by_authors(folder, config=FIELDS, name="tiny.pt"):
    """Write a checkpoint as the authors' training does."""
    torch.save({"model": weights(), "config": config}, folder / name)
    return f"hf:{folder}"


@pytest.fixture(scope="module", params=[on_hub, by_authors])
def model(request, tmp_path_factory):
    return load(request.param(tmp_path_factory.mktemp("dasheng")))


@pytest.fixture(scope="module")
def batch():
    lengths = torch.tensor(SAMPLES)
    clips = [torch.from_numpy(seeded.audio(samples)) for samples in SAMPLES]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


def relative_error(values, expected):
    assert values.shape == expected.shape
    return float((values - expected).norm() / expected.norm())


def test_every_state_is_the_original_one_in_a_batch_of_all_lengths(model, batch):
    states, frames = model(*batch)
    assert model.layer_names == ("input", "block01", "block02", "block03")
    for samples, state, count in zip(SAMPLES, states, frames.tolist(), strict=True):
        expected = torch.from_numpy(ORIGINAL[f"states/{samples}"])
        assert count == (1 + samples // 160) // 4 == expected.shape[1]
        assert not state[:, count:].any()
        for own, original in zip(state[:, :count], expected, strict=True):
            assert relative_error(own, original) < 1e-5


def test_the_spectrogram_is_computed_as_the_checkpoint_holds_it(model):
    frontend = model.network.frontend
    assert np.array_equal(frontend.bank, ORIGINAL["front_end.0.mel_scale.fb"])
    assert np.array_equal(frontend.window, ORIGINAL["front_end.0.spectrogram.window"])


def test_a_loud_clip_beside_it_changes_nothing(model):
    clip = torch.from_numpy(seeded.audio(3000))
    clip[1000:1500] = 0  # silence, 120 dB below what is loudest
    alone = model(clip[None], torch.tensor([3000]))[0]
    together = model(torch.stack([clip, 1e4 * clip]), torch.tensor([3000, 3000]))[0]
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)


def test_it_keeps_the_contract_of_extractors(model):
    report = check(model)
    assert report.ok, [line.seen for line in report.checks if not line.ok]


def test_in_bfloat16_states_stay_near_and_decibels_stay_float32(tmp_path, model, batch):
    rounded = load(on_hub(tmp_path))
    rounded.to("cpu", torch.bfloat16)
    network = rounded.network
    assert network.init_bn["1"].weight.dtype == network.frontend.bank.dtype == torch.float32
    states, expected = rounded(*batch)[0], model(*batch)[0]
    assert states.dtype == torch.bfloat16
    assert relative_error(states.float(), expected) < 2e-2


def test_random_twins_are_those_of_their_seed():
    card = replace(CATALOGUE["dasheng-base"], config=FIELDS)
    digests = [from_random(card, seed, name="random:tiny").digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dasheng-base", (768, 12, 12)),
        ("dasheng-0.6B", (1280, 32, 16)),
        ("dasheng-1.2B", (1536, 40, 24)),
    ],
)
def test_the_name_in_config_json_says_the_sizes(tmp_path, name, sizes):
    plain = {key: value for key, value in CONFIG.items() if key != "encoder_kwargs"}
    (tmp_path / "config.json").write_text(json.dumps(plain | {"name": name}))
    described = recognise(in_folder(tmp_path))
    assert tuple(described[key] for key in ("embed_dim", "depth", "num_heads")) == sizes
    card = CATALOGUE[name.lower()]
    assert (card.dim, card.layers) == (sizes[0], sizes[1] + 1)


def test_the_name_of_the_authors_file_says_the_sizes(tmp_path):
    by_authors(tmp_path, FIELDS, "dasheng_06b.pt")
    described = recognise(in_folder(tmp_path))
    assert (described["embed_dim"], described["target_length"]) == (1280, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), r"lacks weights .* 1, such as blocks\.1"),
        (lambda s: s.pop("init_bn.1.running_var"), "running_var"),
        (lambda s: s.update({"blocks.3.x": torch.ones(1)}), r"unknown weights.* blocks\.3\.x"),
        (lambda s: s.update({"time_pos_embed": torch.ones(1, 24, 1, 9)}), "has misshapen"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_one_line(tmp_path, change, message):
    with pytest.raises(ExtractError, match=message) as raised:
        load(on_hub(tmp_path, change=change))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "token"}, "pooling is 'token'; all published ones have 'mean'"),
        ({"num_heads": 5}, "embed_dim = 24 must be a multiple of num_heads = 5"),
        ({"patch_size": [16, 16]}, r"patch_size = \[16, 16\] must begin with n_mels = 64"),
        ({"patch_stride": [64, 2]}, r"patch_stride = \[64, 2\] must be patch_size"),
        ({"win_size": 400}, "win_size = 400 must be n_fft = 512"),
        ({"target_length": 3}, "target_length = 3 must be a patch at least"),
        ({"depth": -1}, "depth is -1"),
    ],
)
def test_a_configuration_that_is_not_computed_is_one_line(tmp_path, fields, message):
    with pytest.raises(ExtractError, match=message):
        load(on_hub(tmp_path, CONFIG | {"encoder_kwargs": FIELDS | fields}))
