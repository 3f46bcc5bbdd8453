"""BEATs and OpenBEATs: their own code's states in every layer, from files as they are published."""

import json
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
from svuprobe.extractors.checkpoints import Source
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.native import from_random
from svuprobe.extractors.networks.beats import Beats, recognise
from svuprobe.extractors.networks.beats_config import BeatsConfig

REFERENCE = np.load(Path(__file__).parents[2] / "data" / "networks" / "beats.npz")
SMALL = {
    "input_patch_size": 16,
    "embed_dim": 24,
    "conv_bias": False,
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "conv_pos": 16,
    "conv_pos_groups": 3,
    "relative_position_embedding": True,
    "num_buckets": 32,
    "max_distance": 24,
    "gru_rel_pos": True,
    "encoder_layerdrop": 0.05,
}
CONFIGS = {
    "microsoft": SMALL | {"deep_norm": True, "layer_norm_first": False, "finetuned_model": False},
    "norm_first": SMALL | {"deep_norm": False, "layer_norm_first": True, "finetuned_model": True},
    "openbeats": SMALL
    | {
        "deep_norm": True,
        "layer_norm_first": False,
        "encoder_embed_dim": 24,
        "encoder_attention_heads": 3,
        "conv_pos": 15,
        "fbank_mean": 11.7,
        "fbank_std": 4.1,
    },
}
TABLE = "self_attn.relative_attention_bias.weight"


def published(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under its own names, with what else it holds."""
    config = CONFIGS[name]
    network = Beats(BeatsConfig.of(config, name))
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
    for block in range(1, config["encoder_layers"]):  # the one table is saved with each
        state[f"encoder.layers.{block}.{TABLE}"] = state[f"encoder.layers.0.{TABLE}"]
    if config.get("finetuned_model"):
        state["predictor.weight"] = torch.zeros(527, config["encoder_embed_dim"])
        state["predictor.bias"] = torch.zeros(527)
    if name == "openbeats":
        state["patch_embedding_pad.weight"] = torch.ones(1, 1, 16, 16)
        state["raw2fbank_pad.weight"] = torch.ones(1, 1, 400)
    return {prefix + key: value for key, value in state.items()}


def saved(folder: Path, name: str, **more: object) -> Path:
    """A file as Microsoft's and OpenBEATs' repositories have it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "BEATs_iter3_plus_AS2M.pt"
    torch.save({"cfg": CONFIGS[name], "model": published(name), **more}, file)
    return file


@pytest.mark.parametrize("name", CONFIGS)
def test_states_of_every_layer_are_those_of_the_original_code(tmp_path, name):
    model = load(f"hf:{saved(tmp_path, name)}")
    assert model.layer_names == ("input", "block01", "block02", "block03")
    for key in REFERENCE.files:
        config, _, samples = key.partition("/")
        if config != name:
            continue
        audio = torch.from_numpy(seeded.audio(int(samples)))[None]
        wanted = torch.from_numpy(REFERENCE[key])
        with torch.inference_mode():
            patches = model.network.encoder(model.network.patches(audio), None)
        for state, original in zip(patches, wanted, strict=True):
            assert (state[0] - original).abs().max() <= 1e-5 * original.abs().max()
        states, frames = model(audio, torch.tensor([int(samples)]))
        assert int(frames) == 1 + (int(samples) - 2800) // 2560
        # Eight patches of one time are a frame.
        means = wanted.unflatten(1, (-1, 8)).mean(dim=2)
        torch.testing.assert_close(states[0], means, rtol=1e-5, atol=1e-5)


def test_clips_of_any_lengths_share_a_batch_exactly(tmp_path, monkeypatch):
    model = load(f"hf:{saved(tmp_path, 'microsoft')}")
    lengths = torch.tensor([16_000, 2800, 7_920, 5_360])
    audio = torch.full((4, 16_000), 7.0)  # what follows a clip is ignored
    for row, samples in enumerate(lengths.tolist()):
        audio[row, :samples] = torch.from_numpy(seeded.audio(samples, seed=row))
    states, frames = model(audio, lengths)
    assert frames.tolist() == [6, 1, 3, 2]
    # Also where the scores of a clip don't fit the memory at once.
    monkeypatch.setattr("svuprobe.extractors.networks.beats._SCORES", 1000)
    for row, samples in enumerate(lengths.tolist()):
        alone, one = model(audio[row : row + 1, :samples], torch.tensor([samples]))
        torch.testing.assert_close(states[row, :, : int(one)], alone[0], rtol=1e-5, atol=1e-5)
        assert not states[row, :, int(one) :].any()


def test_bfloat16_is_near_float32(tmp_path):
    model = load(f"hf:{saved(tmp_path, 'microsoft')}")
    audio = torch.from_numpy(seeded.audio(16_000))[None]
    exact, _ = model(audio, torch.tensor([16_000]))
    model.to("cpu", torch.bfloat16)
    rough, _ = model(audio, torch.tensor([16_000]))
    for layer, state in zip(exact[0], rough[0].float(), strict=True):
        assert (state - layer).norm() <= 2e-2 * layer.norm()


@pytest.mark.parametrize(
    "place", ["BEATs_iter3.pt", "OpenBEATs-Large-i2.pth", "exp/large2/epoch_latest.pt"]
)
def test_a_file_is_found_under_its_own_name_and_in_inner_folders(tmp_path, place):
    plain = load(f"hf:{saved(tmp_path / 'plain', 'openbeats')}")
    path = tmp_path / "model" / place
    path.parent.mkdir(parents=True)
    saved(tmp_path, "openbeats", label_dict={0: "/m/09x0r"}).rename(path)
    (path.parent / "config.yaml").write_text("encoder: beats\n")
    model = load(f"hf:{tmp_path / 'model'}")
    assert model.digest == plain.digest
    assert model.revision == local_revision(f"hf:{tmp_path / 'model'}")
    assert load(f"hf:{path}").digest == plain.digest
    # A configuration is read with the weights, so it is part of the revision.
    (path.parent / "config.yaml").write_text("encoder: beats\nseed: 1\n")
    assert local_revision(f"hf:{tmp_path / 'model'}") != model.revision


def test_the_weight_norm_of_newer_files_is_the_same(tmp_path):
    plain = load(f"hf:{saved(tmp_path / 'plain', 'microsoft')}")
    state = published("microsoft")
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        value = state.pop(f"encoder.pos_conv.0.{old}")
        state[f"encoder.pos_conv.0.parametrizations.weight.{new}"] = value
    torch.save({"cfg": CONFIGS["microsoft"], "model": state}, tmp_path / "BEATs_newer.pt")
    assert load(f"hf:{tmp_path / 'BEATs_newer.pt'}").digest == plain.digest


def test_one_of_several_files_is_named(tmp_path):
    first = saved(tmp_path, "microsoft").rename(tmp_path / "BEATs_iter1.pt")
    saved(tmp_path, "openbeats")
    assert load(f"hf:{first}").dim == 48
    with pytest.raises(ExtractError, match=rf"BEATs_iter3_plus_AS2M\.pt .* name it: hf:{first}"):
        load(f"hf:{tmp_path}")


def test_the_encoder_of_a_tokenizer_and_of_espnet_s_whole_model_is_the_same(tmp_path):
    plain = load(f"hf:{saved(tmp_path / 'plain', 'microsoft')}")
    state = published("microsoft") | {
        "quantize.embedding.weight": torch.zeros(4, 4),
        "quantize_layer.0.weight": torch.zeros(48, 48),
    }
    torch.save(
        {"cfg": CONFIGS["microsoft"] | {"quant_n": 4}, "model": state}, tmp_path / "Tokenizer.pt"
    )
    assert load(f"hf:{tmp_path / 'Tokenizer.pt'}").digest == plain.digest
    state = published("microsoft", prefix="encoder.") | {"decoder.linear_out.bias": torch.zeros(3)}
    torch.save({"cfg": CONFIGS["microsoft"], "model": state}, tmp_path / "espnet.pth")
    assert load(f"hf:{tmp_path / 'espnet.pth'}").digest == plain.digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_layers": 4}, "lacks weights of the beats-encoder network"),
        ({"encoder_layers": 2}, "has unknown weights of the beats-encoder network"),
        ({"encoder_ffn_embed_dim": 97}, "has misshapen weights of the beats-encoder network"),
        ({"activation_fn": "glu"}, "activation_fn is 'glu'; all published ones have 'gelu'"),
        ({"gru_rel_pos": False}, "gru_rel_pos is False; all published ones have True"),
        ({"encoder_layers": 10**9}, "cfg describes no usable model: encoder_layers is 1000000000"),
        ({"encoder_attention_heads": 5}, "must be a multiple of encoder_attention_heads"),
        ({"input_patch_size": 129}, "input_patch_size must be at most 128"),
        ({"num_buckets": 30}, "num_buckets must be a multiple of 4"),
        ({"max_distance": 8}, "max_distance must be above a quarter of num_buckets"),
        ({"layer_norm_first": True}, "deep_norm and layer_norm_first exclude each other"),
        ({"conv_pos_groups": 5}, "encoder_embed_dim must be a multiple of conv_pos_groups"),
    ],
)
def test_a_configuration_that_is_no_such_network_is_refused(tmp_path, fields, message):
    torch.save(
        {"cfg": CONFIGS["microsoft"] | fields, "model": published("microsoft")},
        tmp_path / "BEATs.pt",
    )
    with pytest.raises(ExtractError, match=message):
        load(f"hf:{tmp_path}")


def test_a_model_that_espnet_fine_tuned_says_which_one_to_use(tmp_path):
    torch.save(published("openbeats", prefix="encoder."), tmp_path / "11epoch.pth")
    (tmp_path / "config.yaml").write_text("seed: 1\nencoder: beats\nencoder_conf:\n    x: 1\n")
    with pytest.raises(ExtractError, match="use the OpenBEATs it began with"):
        load(f"hf:{tmp_path}")


def test_nothing_of_the_hub_is_downloaded_to_see_whether_it_is_one(monkeypatch, tmp_path):
    def find(source, file):
        assert file == "exp/config.yaml", f"{file} would be downloaded"
        (tmp_path / "config.yaml").write_text("encoder: beats\nencoder_conf:\n    x: 1\n")
        return tmp_path / "config.yaml"

    monkeypatch.setattr(Source, "find_if_known", lambda source, file: None)
    monkeypatch.setattr(Source, "find", find)
    files = ("README.md", "exp/11epoch.pth")
    assert recognise(Source("hf:org/other", hub="org/other", commit="c", files=files)) is None
    tuned = Source("hf:espnet/OpenBEATS-x", hub="espnet/OpenBEATS-x", commit="c")
    with pytest.raises(ExtractError, match="use the OpenBEATs it began with"):
        recognise(replace(tuned, files=(*files, "exp/config.yaml")))


def test_pickles_that_run_code_are_refused_before_their_configuration_is_read(tmp_path):
    torch.save({"cfg": Path("."), "model": published("microsoft")}, tmp_path / "BEATs.pt")
    with pytest.raises(ExtractError, match="is refused because it could run code"):
        load(f"hf:{tmp_path}")


@pytest.mark.parametrize("absent_is_known", [True, False])
def test_a_repository_without_config_json_is_read_by_the_same_rules(
    tmp_path, monkeypatch, absent_is_known
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "c0ffee" + 34 * "0"
    repository = tmp_path / "models--shikhar7ssu--OpenBEATs-Large-i2"
    saved(repository / "snapshots" / commit / "work/exp/large2", "openbeats")
    if absent_is_known:  # the hub was asked for them; a download of all files leaves no such mark
        (repository / ".no_exist" / commit).mkdir(parents=True)
        (repository / ".no_exist" / commit / "config.json").touch()
        (repository / ".no_exist" / commit / "adapter_config.json").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    model = load("openbeats-large-i2")
    assert (model.revision, model.dim) == (commit, 24)
    with pytest.raises(ExtractError, match="can't get config.json of shikhar7ssu/OpenBEATs-Base"):
        load("openbeats-base-i3")


@pytest.mark.parametrize(
    "name", [name for name, card in CATALOGUE.items() if card.family == "beats-encoder"]
)
def test_the_catalogue_has_the_published_sizes(name):
    card = CATALOGUE[name]
    with torch.device("meta"):
        network = Beats(BeatsConfig.of(card.config, name))
    size = sum(weights.numel() for weights in network.parameters())
    assert size == pytest.approx(card.parameters, rel=0.005)
    assert (len(network.layer_names), network.dim) == (card.layers, card.dim)


def test_random_twins_are_of_their_seed():
    card = replace(CATALOGUE["beats-iter3"], config=CONFIGS["microsoft"])
    first, again, other = (from_random(card, seed, name="random") for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    audio = torch.from_numpy(seeded.audio(16_000))[None]
    states, _ = first(audio, torch.tensor([16_000]))
    assert states.isfinite().all()
    assert states.std(dim=(0, 2, 3)).min() > 0.01


def test_the_contract_of_an_extractor_is_kept(tmp_path):
    report = check(load(f"hf:{saved(tmp_path, 'microsoft')}"))
    assert report.ok


def test_a_checkpoint_of_transformers_is_none(tmp_path):
    state = {key: tensor.clone() for key, tensor in published("microsoft").items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ExtractError, match="wav2vec2 encoder"):
        load(f"hf:{tmp_path}")
