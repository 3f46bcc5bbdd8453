"""Codecs' latent vectors are those of transformers' own models, and lie where the grid says."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import saved
import seeded
import torch
import transformers
from safetensors.torch import load_file, save_file

from svuprobe.extractors.base import ExtractError, FrameGrid
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.native import from_random

BOOK = {"codebook_size": 16}
ENCODEC = {"num_filters": 2, "hidden_size": 6, **BOOK}
MIMI = {
    "num_filters": 2,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "upsample_groups": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 2,
    **BOOK,
}
DAC = {"encoder_hidden_size": 2, "decoder_hidden_size": 16, "n_codebooks": 2, **BOOK}
# name in the catalogue: beginning of the classes' names, sizes
CODECS = {
    "encodec-24khz": ("Encodec", ENCODEC),
    "encodec-32khz": (
        "Encodec",
        {
            **ENCODEC,
            "sampling_rate": 32_000,
            "upsampling_ratios": [8, 5, 4, 4],
            "use_causal_conv": False,
            "use_conv_shortcut": False,
        },
    ),
    "dac-16khz": (
        "Dac",
        {**DAC, "downsampling_ratios": [2, 4, 5, 8], "sampling_rate": 16_000},
    ),
    "dac-44khz": ("Dac", {**DAC, "sampling_rate": 44_100}),
    "mimi": ("Mimi", MIMI),
}
SAMPLES = (9_600, 8_000, 7_999, 5_121, 1_100)


def made(name):
    beginning, sizes = CODECS[name]
    config = getattr(transformers, f"{beginning}Config")(**sizes)
    with torch.random.fork_rng(devices=[]):
        return saved.filled(getattr(transformers, f"{beginning}Model")(config))


def feature_extractor(name, model):
    rate = model.config.sampling_rate
    if name.startswith("dac"):
        hop = model.config.hop_length
        return transformers.DacFeatureExtractor(sampling_rate=rate, hop_length=hop)
    return transformers.EncodecFeatureExtractor(sampling_rate=rate)


@pytest.fixture(scope="module", params=CODECS)
def codec(request, tmp_path_factory):
    """The catalogue's name, the folder of a checkpoint, and transformers' model of it."""
    folder = tmp_path_factory.mktemp(request.param)
    model = made(request.param)
    saved.published(folder, model, feature_extractor(request.param, model))
    return request.param, folder, type(model).from_pretrained(folder).eval()


def latents(name, model, clip):
    """What transformers' own model gives its quantiser of a clip: (frames, dim)."""
    given = feature_extractor(name, model)(
        clip.numpy(), sampling_rate=model.config.sampling_rate, return_tensors="pt"
    )
    seen = []
    hook = model.quantizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    # EnCodec and Mimi call a method of their quantisers.
    encode = getattr(model.quantizer, "encode", None)
    if encode is not None:
        model.quantizer.encode = lambda states, *_: seen.append(states) or encode(states, *_)
    with torch.inference_mode():
        model.encode(given["input_values"])
    hook.remove()
    if encode is not None:
        del model.quantizer.encode
    return seen[0][0].T


def audio():
    return [torch.from_numpy(seeded.audio(samples, seed=samples)) for samples in SAMPLES]


def test_latents_are_transformers_own_in_a_batch_of_all_lengths(codec):
    name, folder, whole = codec
    model = load(f"hf:{folder}")
    lag, silence = model.network.lag, model.network.silence
    assert model.layer_names == ("latent",)
    states, frames = model(*saved.padded(audio()))
    for clip, state, count in zip(audio(), states[:, 0], frames.tolist(), strict=True):
        # A causal one hears silence after a clip, and its frames come later.
        followed = torch.nn.functional.pad(clip, (0, silence))
        expected = latents(name, whole, followed)[lag:]
        assert 0 <= len(expected) - count <= (3 if lag else 1)  # those that aren't whole
        assert saved.relative_error(state[:count], expected[:count]) < 1e-5
        assert not state[count:].any()
        if lag and count > 2 * lag:
            # As long as they hear nothing of it, they are those of the clip alone.
            alone = latents(name, whole, clip)[lag:-1]
            assert saved.relative_error(state[: len(alone)], alone) < 1e-5


def test_the_grid_is_that_of_the_published_model(codec):
    name, folder, _ = codec
    model = load(f"hf:{folder}")
    lags = {"encodec-24khz": (4, 482), "mimi": (1, 520)}
    lag, field = lags.get(name, (0, model.hop))
    assert (model.network.lag, model.receptive_field) == (lag, field)
    assert FrameGrid.of(model).frame_rate == pytest.approx(
        {
            "encodec-24khz": 75,
            "encodec-32khz": 50,
            "dac-16khz": 50,
            "dac-44khz": 86.13,
            "mimi": 12.5,
        }[name],
        rel=1e-4,
    )


def test_a_frame_stands_in_the_middle_of_what_it_hears(codec):
    """Measured by gradients: no sample outside the field, and as many before as after its place."""
    name, folder, _ = codec
    if name == "mimi":
        pytest.skip("its transformer hears all that was before")
    network = load(f"hf:{folder}").network
    clip = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    if name.startswith("encodec"):
        for module in network.modules():  # which remembers all that was before
            if isinstance(module, torch.nn.LSTM):
                for weights in module.parameters():
                    torch.nn.init.zeros_(weights)
    frame = 20
    state = network.states(clip, torch.tensor([24_000]))[0][0, frame]
    (heard,) = torch.autograd.grad(state.square().sum(), clip)
    first, last = heard[0].nonzero().flatten()[[0, -1]].tolist()
    place = frame * network.grid.hop + network.grid.receptive_field / 2
    assert last - first < network.sees
    assert last - first > 0.95 * network.sees
    assert (first + last) / 2 == pytest.approx(place, abs=0.06 * network.grid.hop)


def test_it_keeps_the_contract_of_extractors(codec):
    if codec[0] in ("encodec-32khz", "dac-44khz"):
        pytest.skip("the same code as another")
    report = check(load(f"hf:{codec[1]}"))
    assert report.ok, [line.seen for line in report.checks if not line.ok]


def test_bfloat16_is_near(codec):
    model = load(f"hf:{codec[1]}")
    batch = saved.padded(audio()[:3])
    exact, _ = model(*batch)
    model.to("cpu", torch.bfloat16)
    near, _ = model(*batch)
    assert near.dtype == torch.bfloat16
    assert saved.relative_error(near, exact) < 2e-2


def test_the_weight_norm_of_older_files_is_the_same(codec, tmp_path):
    name, folder, _ = codec
    if not name.startswith("encodec"):
        pytest.skip("its files hold no weight norm")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    state = load_file(copy / "model.safetensors")
    old = {
        key.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    save_file(old, copy / "model.safetensors")
    assert load(f"hf:{copy}").digest == load(f"hf:{folder}").digest


def test_random_weights_are_the_same_for_a_seed_and_have_a_value():
    card = replace(CATALOGUE["mimi"], config={"model_type": "mimi", **MIMI})
    first, again, other = (from_random(card, seed, name="random:tiny") for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert not any(value.is_meta for value in first.network.buffers())


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("config.json", {"audio_channels": 2}, "takes 2 channels, and svuprobe gives mono"),
        ("config.json", {"chunk_length_s": 1.0}, "whose frames lie on no one grid"),
        ("config.json", {"normalize": True}, "whose frames lie on no one grid"),
        (
            "config.json",
            {"norm_type": "time_group_norm"},
            "is causal and normalises over the whole",
        ),
        ("config.json", {"sampling_rate": 16_000}, "gives audio at 24000 Hz, and config.json"),
        ("config.json", {"num_filters": 3}, "has misshapen weights"),
        ("config.json", {"num_residual_layers": 2}, "lacks weights"),
        ("config.json", {"norm_type": "none"}, "describes no usable model"),
        ("config.json", {"hidden_size": 10**12}, "hidden_size is 1000000000000"),
    ],
)
def test_another_codec_is_refused_in_one_line(tmp_path, file, entries, message):
    model = made("encodec-24khz")
    name = saved.published(tmp_path, model, feature_extractor("encodec-24khz", model))
    saved.edit(tmp_path, file, **entries)
    with pytest.raises(ExtractError) as caught:
        load(name)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_a_weight_that_nobody_explains_is_refused(tmp_path):
    name = saved.published(tmp_path, made("dac-44khz"))
    state = load_file(tmp_path / "model.safetensors")
    save_file({**state, "encoder.extra": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ExtractError, match=r"has unknown weights .* such as encoder\.extra"):
        load(name)
