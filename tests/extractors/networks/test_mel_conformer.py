"""svuprobe-small's network: exact in any batch, loudness kept, and only its own weights taken."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.loading import load
from svuprobe.extractors.networks.mel_conformer import MelConformer, MelConformerConfig
from svuprobe.extractors.networks.rotary import rotated, rotation

SMALL = MelConformerConfig(hidden_size=32, blocks=2, heads=2, inner_size=48, kernel=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MelConformer(SMALL).eval()


@pytest.fixture
def folder(network, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL.json()))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_clips_of_any_lengths_share_a_batch_exactly(folder):
    torch.manual_seed(1)
    model = load(f"hf:{folder}")
    lengths = torch.tensor([16_000, 700, 5_432, 560])
    audio = torch.zeros(4, 16_000)
    for clip, samples in zip(audio, lengths, strict=True):
        clip[:samples] = torch.randn(int(samples)) / 10
    states, frames = model(audio, lengths)
    assert states.shape == (4, 3, frames.max(), 32)
    for row, samples in enumerate(lengths.tolist()):
        alone, one = model(audio[row : row + 1, :samples], torch.tensor([samples]))
        assert int(one) == int(frames[row]) == (samples - 560) // 320 + 1
        torch.testing.assert_close(states[row, :, : int(one)], alone[0], atol=1e-5, rtol=1e-5)
        assert not states[row, :, int(one) :].any()


def test_the_input_is_log_energy_on_a_fixed_scale(network):
    audio = torch.randn(1, 8_000) / 100
    quiet, loud = network.frontend(audio), network.frontend(10 * audio)
    # Ten times the amplitude is a hundred times the energy, in every band and frame.
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, 4.60517), atol=1e-3, rtol=0)
    with torch.inference_mode():
        first, second = network.frames(audio), network.frames(10 * audio)
        shift = network.projection.weight.sum(dim=1) * 4.60517 / 5
    torch.testing.assert_close(second - first, shift.expand_as(first), atol=1e-3, rtol=0)


def test_rotary_scores_depend_on_the_distance_alone():
    torch.manual_seed(2)
    query, key = torch.randn(16), torch.randn(16)
    by = rotation(40, 16, query)
    queries = rotated(query.expand(40, 16), by)
    scores = queries @ rotated(key.expand(40, 16), by).T
    for distance in (0, 1, 7, -5):
        along = torch.diagonal(scores, distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)


def test_half_precision_of_storage_is_read_as_float32(folder, network):
    state = {key: value.half() for key, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    model = load(f"hf:{folder}")
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks", 0, "blocks is 0"),
        ("heads", True, "heads is True"),
        ("hidden_size", 31, "hidden_size = 31 must be a multiple"),
        ("kernel", 4, "kernel = 4 must be odd"),
        ("blocks", 3, "lacks weights"),
        ("blocks", 1, "has unknown weights"),
        ("inner_size", 49, "has misshapen weights"),
    ],
)
def test_a_folder_that_is_no_such_network_is_refused(folder, key, value, message):
    (folder / "config.json").write_text(json.dumps(SMALL.json() | {key: value}))
    with pytest.raises(ExtractError, match=message):
        load(f"hf:{folder}")


def test_weights_that_are_not_finite_are_refused(folder):
    state = load_file(folder / "model.safetensors")
    state["projection.bias"][3] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ExtractError, match=r"projection\.bias holds values that aren't finite"):
        load(f"hf:{folder}")
