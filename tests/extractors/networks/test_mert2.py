"""MERT-v2 computes what its own code does, from a checkpoint laid out like the published one."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch
from safetensors.torch import save_file

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.native import from_random
from svuprobe.extractors.networks.rotary import rotation

# tests/data/networks/make_mert2.py made it, and has the sizes, lengths and statistics
ORIGINAL = np.load(Path(__file__).parents[2] / "data" / "networks" / "mert2.npz")
RATE = 24_000
SAMPLES = (1025, 5000, 12_345, 19_199)
STATISTICS = {
    "feature_extractor.mel_mean": (20.0, -20.0),
    "feature_extractor.mel_std": (15.0, 0.0),
}
CONFIG = {
    "architectures": ["MERT2Model"],
    "auto_map": {"AutoModel": "modeling_mert2.MERT2Model"},
    "model_type": "mert2",
    "variant": "30s",
    "context_seconds": 30.0,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 24,
    "num_attention_heads": 2,
    "num_mel_bins": 12,
    "subsampling_channels": [12, 20, 16],
    "subsampling_depths": [3, 4, 5],
    "conv_depthwise_kernel_size": 31,
    "rotary_embedding_base": 10000,
    "layer_norm_eps": 1e-05,
    "subsampling_layer_norm_eps": 1e-06,
}


def published(folder, fields=CONFIG, change=None):
    """Write a checkpoint with all the weights that the original code saves."""
    shapes = {}
    for name in ORIGINAL["names"]:
        key, sizes = re.fullmatch(r"(\S+) \((.*)\)", name).groups()
        shapes[key] = [int(size) for size in sizes.split(",") if size.strip()]
    state = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
    for key, (factor, summand) in STATISTICS.items():
        state[key] = factor * state[key] + summand
    for key in state.keys() & set(ORIGINAL.files):
        state[key] = torch.from_numpy(ORIGINAL[key])
    if change:
        change(state)
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(state, folder / "model.safetensors")
    return f"hf:{folder}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(published(tmp_path_factory.mktemp("mert2")))


def relative_error(values, expected):
    assert values.shape == expected.shape
    return float((values - expected).norm() / expected.norm())


def padded(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


@pytest.fixture(scope="module")
def batch():
    return padded([torch.from_numpy(seeded.audio(samples, rate=RATE)) for samples in SAMPLES])


def test_every_state_is_the_original_one_in_a_batch_of_all_lengths(model, batch):
    states, frames = model(*batch)
    assert model.layer_names == tuple(f"block{i:02d}" for i in range(1, 25))
    for samples, state, count in zip(SAMPLES, states, frames.tolist(), strict=True):
        expected = torch.from_numpy(ORIGINAL[f"states{samples}"])
        assert count == samples // 960 == expected.shape[1]
        assert not state[:, count:].any()
        for own, original in zip(state[:, :count], expected, strict=True):
            assert relative_error(own, original) < 1e-5


def test_spectrogram_and_positions_are_computed_as_the_checkpoint_holds_them(model):
    frontend = model.network.frontend
    assert np.array_equal(frontend.bank, ORIGINAL["feature_extractor.mel_scale.fb"])
    assert np.array_equal(frontend.window, ORIGINAL["feature_extractor.spectrogram.window"])
    cosine, sine = rotation(9000, 8, torch.zeros(1))  # six minutes
    assert np.array_equal(torch.stack([cosine[-1], sine[-1]]), ORIGINAL["far"])


@pytest.fixture(scope="module")
def twin():
    """A network with the weights that a training would start from."""
    card = replace(CATALOGUE["mert-v2-30s"], config=CONFIG | {"num_hidden_layers": 2})
    return from_random(card, 0, name="random:tiny")


def test_it_keeps_the_contract_of_extractors(twin):
    report = check(twin)
    assert report.ok, [line.seen for line in report.checks if not line.ok]


def test_a_frame_is_made_of_four_of_the_spectrogram(twin):
    stages = copy.deepcopy(twin.network.subsampling_module)
    for block in (block for stage in stages for block in stage.convnext_layers):
        torch.nn.init.zeros_(block.pointwise_block["4"].weight)  # what reaches around stays away
    mel = torch.randn(1, 22, 12, generator=torch.Generator().manual_seed(0))

    def out(x):
        for stage in stages:
            x = stage(x)
        return x[0]

    centres = FrameGrid.of(twin).centres(5) * RATE
    for column in range(22):
        changed = mel.clone()
        changed[0, column] *= -1
        rows = (out(changed) != out(mel)).any(dim=1).nonzero().flatten().tolist()
        assert rows == [column // 4][: column < 20]
        # Columns lie around every 240th sample: the middle of four is 5 ms before the grid's.
        middle = 240 * (4 * (column // 4) + 1.5)
        assert column >= 20 or centres[column // 4] - middle == pytest.approx(0.005 * RATE)


def test_random_twins_are_those_of_their_seed(twin):
    card = replace(CATALOGUE["mert-v2-30s"], config=CONFIG | {"num_hidden_layers": 2})
    assert from_random(card, 0, name="again").digest == twin.digest
    assert from_random(card, 1, name="another").digest != twin.digest


def test_in_bfloat16_states_stay_near_and_spectrogram_and_statistics_stay_float32(
    tmp_path, model, batch
):
    rounded = load(published(tmp_path))
    rounded.to("cpu", torch.bfloat16)
    network = rounded.network
    assert network.feature_extractor.mel_mean.dtype == network.frontend.bank.dtype == torch.float32
    states, expected = rounded(*batch)[0], model(*batch)[0]
    assert states.dtype == torch.bfloat16
    # Of the first six blocks: rounding adds up over the 24 random ones of width 16.
    assert relative_error(states[:, :6], expected[:, :6]) < 2e-2


def test_prefixes_and_half_precision_of_storage_don_t_matter(tmp_path, model, batch):
    def change(state):
        for key in list(state):
            state[f"module._orig_mod.encoder.{key}"] = state.pop(key).half()

    stored = load(published(tmp_path, change=change))
    assert {weights.dtype for weights in stored.network.parameters()} == {torch.float32}
    assert relative_error(stored(*batch)[0][:, 0], model(*batch)[0][:, 0]) < 1e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layers.3.attn.key_proj.bias"), r"lacks weights .* 1, such as layers\.3"),
        (lambda s: s.pop("feature_extractor.mel_std"), "mel_std"),
        (lambda s: s.update({"layers.24.x": torch.ones(1)}), r"unknown weights.* layers\.24\.x"),
        (lambda s: s.update({"feature_extractor.mel_mean": torch.ones(3)}), "has misshapen"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_one_line(tmp_path, change, message):
    with pytest.raises(ExtractError, match=message) as raised:
        load(published(tmp_path, change=change))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 3}, "hidden_size = 16 must be a multiple of twice"),
        ({"subsampling_channels": [16, 20, 16]}, "must begin with num_mel_bins = 12"),
        ({"subsampling_channels": [12, 16]}, r"subsampling_channels is \[12, 16\]"),
        ({"subsampling_depths": "many"}, "subsampling_depths is 'many'"),
        ({"conv_depthwise_kernel_size": 30}, "conv_depthwise_kernel_size = 30 must be odd"),
        ({"win_length": 1024}, "win_length = 1024 must be n_fft = 2048"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000"),
        ({"layer_norm_eps": True}, "layer_norm_eps is True"),
    ],
)
def test_a_configuration_that_the_original_refuses_is_one_line(tmp_path, fields, message):
    with pytest.raises(ExtractError, match=message):
        load(published(tmp_path, CONFIG | fields))


def test_clips_too_short_to_be_mirrored_are_refused_by_the_models_name(model):
    with pytest.raises(ExtractError) as caught:
        model(torch.zeros(1, 1024), torch.tensor([1024]))
    line = f"{model.name}: a clip of 1024 samples is too short for a spectrogram of windows of 2048"
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("at least 1025")
