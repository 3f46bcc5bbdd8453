"""OMAR-RQ: the package's states in every layer, and only the kinds that are known to be right."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.native import from_random
from svuprobe.extractors.networks.gin import read_gin
from svuprobe.extractors.networks.omar_rq import OmarRq
from svuprobe.extractors.networks.omar_rq_config import OmarConfig, described_by_gin

DATA = Path(__file__).parents[2] / "data" / "networks"
REFERENCE = np.load(DATA / "omar_rq.npz")
# Samples between frames, and of one.
GRIDS = {"waveform": (24_000, 960, 960), "mel": (16_000, 1024, 768)}


def configuration(kind: str) -> str:
    return (DATA / f"omar_rq_{kind}.gin").read_text()


def published(kind: str) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under its own names, with what else it holds."""
    described = described_by_gin(read_gin(DATA / f"omar_rq_{kind}.gin", kind), kind)
    assert described is not None
    network = OmarRq(OmarConfig.of(described, kind))
    own = network.state_dict()
    shapes = {k: tuple(v.shape) for k, v in own.items() if not k.endswith("num_batches_tracked")}
    state = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
    state |= {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    for block in range(3):
        state[f"net.layers.{block}.attention.rotary_emb.freqs"] = torch.zeros(6)
    state["linear.weight"], state["linear.bias"] = torch.zeros(8, 48), torch.zeros(8)
    state["quantizers.0.0.codebook"] = torch.zeros(8, 4)
    state["representation.0.mel_scale.fb"] = torch.zeros(257, 96)
    return state


def saved(folder: Path, kind: str, gin: str | None = None) -> Path:
    """A folder as the repositories have it: Lightning's checkpoint beside config.gin."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": published(kind), "epoch": 3}, folder / "model.ckpt")
    (folder / "config.gin").write_text(configuration(kind) if gin is None else gin)
    return folder


@pytest.mark.parametrize("kind", GRIDS)
def test_states_of_every_layer_are_those_of_the_package(tmp_path, kind):
    model = load(f"hf:{saved(tmp_path, kind)}")
    assert (model.sample_rate, model.hop, model.receptive_field) == GRIDS[kind]
    assert model.layer_names == ("input", "block01", "block02", "block03")
    for key in REFERENCE.files:
        name, _, samples = key.partition("/")
        if name != kind:
            continue
        wanted = torch.from_numpy(REFERENCE[key])
        states, frames = model(
            torch.from_numpy(seeded.audio(int(samples)))[None], torch.tensor([int(samples)])
        )
        assert int(frames) == wanted.shape[1]
        for state, original in zip(states[0], wanted, strict=True):
            assert (state - original).abs().max() <= 1e-5 * original.abs().max()


@pytest.mark.parametrize("kind", GRIDS)
def test_clips_of_any_lengths_share_a_batch_exactly(tmp_path, kind):
    model = load(f"hf:{saved(tmp_path, kind)}")
    lengths = torch.tensor([60_000, 1_000, 21_111, 47_000])
    audio = torch.full((4, 60_000), 7.0)  # what follows a clip is ignored
    for row, samples in enumerate(lengths.tolist()):
        audio[row, :samples] = torch.from_numpy(seeded.audio(samples, seed=row))
    states, frames = model(audio, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone, one = model(audio[row : row + 1, :samples], torch.tensor([samples]))
        assert int(one) == int(frames[row])
        torch.testing.assert_close(states[row, :, : int(one)], alone[0], rtol=1e-5, atol=1e-5)
        assert not states[row, :, int(one) :].any()


@pytest.mark.parametrize("kind", GRIDS)
def test_bfloat16_is_near_float32(tmp_path, kind):
    model = load(f"hf:{saved(tmp_path, kind)}")
    for block in model.network.net["layers"]:  # their sums count four times
        block.ff1.module[4].weight /= 4
        block.ff2.module[4].weight /= 4
    audio, lengths = torch.from_numpy(seeded.audio(48_000))[None], torch.tensor([48_000])
    exact, _ = model(audio, lengths)
    model.to("cpu", torch.bfloat16)
    rough, _ = model(audio, lengths)
    for layer, state in zip(exact[0], rough[0].float(), strict=True):
        assert (state - layer).norm() <= 2e-2 * layer.norm()


@pytest.mark.parametrize("kind", GRIDS)
def test_the_contract_of_an_extractor_is_kept(tmp_path, kind):
    report = check(load(f"hf:{saved(tmp_path, kind)}"))
    assert report.ok, [each for each in report.checks if not each.ok]


def test_attention_sees_the_past_alone(tmp_path):
    model = load(f"hf:{saved(tmp_path, 'waveform')}")
    audio = torch.from_numpy(seeded.audio(96_000))[None]
    changed = audio.clone()
    changed[:, 72_000:] += 0.1  # from frame 75 on
    states, _ = model(torch.cat([audio, changed]), torch.tensor([96_000] * 2))
    # Three convolutions of 31 frames see 45 ahead.
    torch.testing.assert_close(states[0, :, :30], states[1, :, :30], rtol=0, atol=0)
    assert not torch.allclose(states[0, -1, 40:75], states[1, -1, 40:75])


def test_the_configuration_is_in_the_revision(tmp_path):
    folder = saved(tmp_path, "waveform")
    model = load(f"hf:{folder}")
    assert model.revision == local_revision(f"hf:{folder}")
    assert load(f"hf:{folder / 'model.ckpt'}").digest == model.digest
    (folder / "config.gin").write_text(configuration("waveform") + "\n# edited\n")
    assert local_revision(f"hf:{folder}") != model.revision


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Conformer.depth = 3", "Conformer.depth = 4", "lacks weights of the omar-rq network"),
        ("Conformer.depth = 3", "Conformer.depth = 2", "has unknown weights of the omar-rq"),
        ("mlp_ratio = 2.0", "mlp_ratio = 3.0", "has misshapen weights of the omar-rq network"),
        ("depth = 3", "depth = True", "config.gin describes no usable model: depth is True"),
        ("num_heads = 4", "num_heads = 5", "embed_dim must be a multiple of twice num_heads"),
        ("use_rope = True", "use_rope = False", "use_rope is False; all published ones have True"),
        ("(1, 960)", "960", "patch_size in config.gin must be two numbers, not 960"),
        (
            "@nets.conformer.Conformer",
            "@nets.transformer.Transformer",
            "Transformer on nets.waveform.Waveform; it computes the Conformer on Waveform or Mel",
        ),
        (
            "input_representation = @nets.waveform.Waveform",
            "input_representation = @nets.encodec.EnCodec",
            "nets.conformer.Conformer on nets.encodec.EnCodec; it computes",
        ),
    ],
)
def test_a_configuration_that_is_no_such_network_is_refused(tmp_path, old, new, message):
    gin = configuration("waveform")
    assert old in gin
    with pytest.raises(ExtractError, match=message) as caught:
        load(f"hf:{saved(tmp_path, 'waveform', gin.replace(old, new))}")
    assert "\n" not in str(caught.value)


def test_a_spectrogram_of_other_rules_is_refused(tmp_path):
    gin = configuration("mel").replace('mel_scale = "slaney"', 'mel_scale = "htk"')
    with pytest.raises(ExtractError, match="mel_scale is 'htk'; all published ones have 'slaney'"):
        load(f"hf:{saved(tmp_path, 'mel', gin)}")


def test_another_program_s_config_gin_is_none(tmp_path):
    folder = saved(tmp_path, "mel", "train.steps = 3\n")
    with pytest.raises(ExtractError, match="there is no config.json"):
        load(f"hf:{folder}")


def test_gin_is_read_as_data(tmp_path):
    path = tmp_path / "config.gin"
    path.write_text(
        "import os\n"
        "# nets.A.commented = 1\n"
        "rate = 24000\n"
        'nets.A.many = {\n    "a": [1, 2],  # why\n    "b": None\n}\n'
        "nets.deep.A.rate = %rate\n"
        "A.text = 'a # b'\n"
        "A.ref = @os.system  # not called\n"
        "A.call = __import__('os')\n"
    )
    assert read_gin(path, "it") == {
        "rate": 24000,
        "A.many": {"a": [1, 2], "b": None},
        "A.rate": 24000,
        "A.text": "a # b",
        "A.ref": "@os.system",
        "A.call": "__import__('os')",
    }
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExtractError, match=r"it: can't read config\.gin"):
        read_gin(path, "it")


def test_the_catalogue_has_the_published_sizes():
    cards = [card for card in CATALOGUE.values() if card.family == "omar-rq"]
    assert len(cards) == 5
    for card in cards:
        with torch.device("meta"):
            network = OmarRq(OmarConfig.of(card.config, card.name))
        size = sum(weights.numel() for weights in network.parameters())
        assert size == pytest.approx(card.parameters, rel=0.005)
        facts = (len(network.layer_names), network.dim, network.grid.sample_rate)
        assert facts == (card.layers, card.dim, card.sample_rate)


def test_random_twins_are_of_their_seed():
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    card = CATALOGUE["omar-rq-base"]
    card = replace(card, config={**card.config, **small})
    first, again, other = (from_random(card, seed, name="random") for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    states, _ = first(torch.from_numpy(seeded.audio(16_000))[None], torch.tensor([16_000]))
    assert states.isfinite().all()
    assert states.std(dim=(0, 2, 3)).min() > 0.01
