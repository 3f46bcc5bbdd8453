"""CLAP's audio tower is transformers' own, block by block, without its chances."""

from dataclasses import replace

import pytest
import saved
import seeded
import torch
import transformers

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.native import from_random

# An image of 16 x 16 patches in two stages; pieces of 1 s
AUDIO = {
    "spec_size": 64,
    "num_mel_bins": 16,
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "depths": [2, 2],
    "num_attention_heads": [2, 2],
    "window_size": 4,
}
TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 20,
}
RATE, PIECE = 16_000, 16_000
SETTINGS = {
    "feature_size": 16,
    "sampling_rate": RATE,
    "hop_length": 320,
    "max_length_s": 1,
    "fft_window_size": 512,
    "frequency_min": 50,
    "frequency_max": 7_000,
}
TRUNCATION = {False: "rand_trunc", True: "fusion"}
SAMPLES = (16_000, 11_000, 5_333, 600)
FRAME = 500  # 32 steps of time in a piece


def feature_extractor(fused, **changes):
    return transformers.ClapFeatureExtractor(truncation=TRUNCATION[fused], **(SETTINGS | changes))


def made(fused):
    config = transformers.ClapConfig(
        audio_config=AUDIO | {"enable_fusion": fused}, text_config=dict(TEXT), projection_dim=8
    )
    with torch.random.fork_rng(devices=[]):
        model = saved.filled(transformers.ClapModel(config))
    norm = model.audio_model.audio_encoder.batch_norm  # of decibels
    norm.running_mean.sub_(40)
    norm.running_var.mul_(100)
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def clap(request, tmp_path_factory):
    """Whether it has fusion, the folder of a checkpoint, and transformers' model of it."""
    folder = tmp_path_factory.mktemp("clap")
    saved.published(folder, made(request.param), feature_extractor(request.param))
    return request.param, folder, transformers.ClapModel.from_pretrained(folder).eval()


def audio():
    return [torch.from_numpy(seeded.audio(n, seed=n, rate=RATE)) for n in SAMPLES]


def patches(whole, fused, clip):
    """What transformers computes for a clip: patches of every block, and the embedding's input."""
    mel = feature_extractor(fused)(clip.numpy(), sampling_rate=RATE, return_tensors="pt")
    seen = []
    hooks = [
        block.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out[0])))
        for stage in whole.audio_model.audio_encoder.layers
        for block in stage.blocks
    ]
    with torch.inference_mode():
        # The feature extractor marks one clip of a batch as longer than it is, by chance.
        out = whole.audio_model(mel["input_features"], is_longer=torch.zeros(1, 1).bool())
    for hook in hooks:
        hook.remove()
    return [seen[0][0], *(output for _, output in seen)], out.pooler_output[0]


def frames_of(state):
    """Frames (32, dim) of patches (1, rows * columns, features), taken one by one."""
    rows = columns = round(state.shape[1] ** 0.5)
    image = state[0].reshape(rows, columns, -1)
    part = rows // 4
    times = []
    for time in range(4 * columns):
        above, column = divmod(time, columns)
        times.append(torch.cat([image[above * part + row, column] for row in range(part)]))
    merged = len(times) // 32
    return torch.stack([torch.stack(times[merged * n :][:merged]).mean(0) for n in range(32)])


def test_every_block_is_transformers_own_in_a_batch_of_all_lengths(clap):
    fused, folder, whole = clap
    model = load(f"hf:{folder}")
    assert model.layer_names == ("input", *(f"block0{n}" for n in (1, 2, 3, 4)), "output")
    assert (model.hop, model.receptive_field, model.dim) == (FRAME, FRAME, 32)
    states, frames = model(*saved.padded(audio()))
    for clip, own, count in zip(audio(), states, frames.tolist(), strict=True):
        expected, _ = patches(whole, fused, clip)
        assert count == len(clip) // FRAME
        assert not own[:, count:].any()
        for state, original in zip(own[:-1, :count], expected, strict=True):
            assert saved.relative_error(state, frames_of(original)[:count]) < 1e-5


def test_the_mean_of_the_last_layer_is_what_clap_projects(clap):
    fused, folder, whole = clap
    model = load(f"hf:{folder}")
    clip = audio()[0]
    last = model(*saved.padded([clip]))[0][0, -1]
    _, pooled = patches(whole, fused, clip)
    rows_of_frequency = last.mean(dim=0).reshape(-1, len(pooled))
    assert saved.relative_error(rows_of_frequency.mean(dim=0), pooled) < 1e-5


def test_spectrograms_are_those_of_the_feature_extractor(clap):
    fused, folder, _ = clap
    frontend = load(f"hf:{folder}").network.frontend
    for padding in ("repeatpad", "repeat", "pad"):
        frontend.padding = padding
        extract = feature_extractor(fused, padding=padding)
        for clip in audio():
            expected = extract(clip.numpy(), sampling_rate=RATE, return_tensors="pt")
            own = frontend(clip[None], torch.tensor([len(clip)]))
            worst = (own[0] - expected["input_features"][0, 0]).abs().max()
            assert worst < 1e-3  # decibels


def test_nothing_is_drawn_by_chance_and_longer_clips_go_through_in_pieces(clap):
    _, folder, _ = clap
    model = load(f"hf:{folder}")
    assert model.at_once == 32
    clip = torch.from_numpy(seeded.audio(2 * PIECE + 3_000, rate=RATE))
    states, frames = model(*saved.padded([clip]))
    again, _ = model(*saved.padded([clip]))
    assert torch.equal(states, again)
    assert int(frames) == 32 + 32 + 6
    pieces = [clip[PIECE * n :][:PIECE] for n in range(3)]
    alone = torch.cat([model(*saved.padded([piece]))[0] for piece in pieces], dim=2)
    assert saved.relative_error(states, alone) < 1e-6


def test_it_keeps_the_contract_of_extractors(clap):
    report = check(load(f"hf:{clap[1]}"))
    assert report.ok, [line.seen for line in report.checks if not line.ok]


def test_bfloat16_is_near(clap):
    model = load(f"hf:{clap[1]}")
    exact, _ = model(*saved.padded(audio()))
    model.to("cpu", torch.bfloat16)
    near, _ = model(*saved.padded(audio()))
    assert near.dtype == torch.bfloat16
    for state, original in zip(near.unbind(1), exact.unbind(1), strict=True):
        assert saved.relative_error(state, original) < 2e-2


def test_random_weights_are_the_same_for_a_seed():
    config = {
        "model_type": "clap",
        "audio_config": AUDIO,
        "feature_extractor": SETTINGS | {"truncation": "rand_trunc"},
    }
    card = replace(CATALOGUE["clap-music"], config=config)
    first, again, other = (from_random(card, seed, name="random:tiny") for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("config.json", {"audio_config": [1]}, "audio_config in config.json of a clap must be"),
        ("config.json", {"audio_config": AUDIO | {"depths": [2, 3]}}, "lacks weights"),
        ("config.json", {"audio_config": AUDIO | {"depths": [2, 1]}}, "has unknown weights"),
        ("config.json", {"audio_config": AUDIO | {"mlp_ratio": 3.0}}, "has misshapen weights"),
        ("config.json", {"audio_config": AUDIO | {"spec_size": 48}}, "gives no whole frames"),
        ("preprocessor_config.json", {"padding": "mirror"}, "padding of the feature extractor"),
        ("preprocessor_config.json", {"truncation": "none"}, "truncation of the feature extract"),
        ("preprocessor_config.json", {"feature_size": 20}, "makes 20 features a frame"),
    ],
)
def test_another_tower_is_refused_in_one_line(tmp_path, file, entries, message):
    name = saved.published(tmp_path, made(False), feature_extractor(False))
    saved.edit(tmp_path, file, **entries)
    with pytest.raises(ExtractError) as caught:
        load(name)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
