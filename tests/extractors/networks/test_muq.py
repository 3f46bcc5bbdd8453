"""MuQ, MuQ-MuLan's audio tower and MusicFM: equal to the originals, exact in any batch."""

import copy
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch
from safetensors.torch import save_file

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.native import NativeExtractor
from svuprobe.extractors.networks import muq, musicfm

DATA = Path(__file__).parents[2] / "data" / "networks"
spec = importlib.util.spec_from_file_location("make_muq", DATA / "make_muq.py")
make_muq = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_muq)

ORIGINAL = np.load(DATA / "muq.npz")
KINDS = ("muq", "mulan", "musicfm")
PREFIXES = {"muq": "model.", "mulan": "mulan.audio.model.model.", "musicfm": "model."}
MULAN = {
    "mulan": {"sr": 24_000, "clip_secs": 10},
    "audio_model": {"name": "OpenMuQ/MuQ-large-msd-iter", "use_layer_idx": -1},
    "audio_transformer": {"dim": 768},
}
HEADS, INNER = make_muq.BLOCKS["num_attention_heads"], make_muq.BLOCKS["intermediate_size"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Make the sizes that no file of these two checkpoints says those of the references."""
    for module, kind in ((muq, "mulan"), (musicfm, "musicfm")):
        depth = make_muq.DEPTH[kind]
        sizes = muq.MuQConfig(8, 32, depth, num_attention_heads=HEADS, intermediate_size=INNER)
        monkeypatch.setattr(module, "SIZES", sizes)


def state_of(kind):
    """Draw a checkpoint's weights, and noise for what is computed and must not be read."""
    layout = json.loads(str(ORIGINAL[f"{kind}_layout"]))
    # MusicFM's prefix is of the trainer that saved it, and not of the network's own names.
    own = PREFIXES[kind] if kind == "musicfm" else ""
    drawn = seeded.weights({name.removeprefix(own): shape for name, shape in layout.items()})
    return {own + name: torch.from_numpy(values) for name, values in drawn.items()}


def clip_of(samples):
    return torch.from_numpy(seeded.audio(samples, rate=make_muq.RATE))


def published(kind, folder, state=None):
    """Write a checkpoint as it is published, and return its name."""
    state = state_of(kind) if state is None else state
    if kind == "musicfm":
        (folder / "fma_stats.json").write_text(json.dumps(make_muq.STATISTICS["musicfm"]))
        renamed = {}
        for name, value in state.items():  # by a torch that had no parametrizations
            older = re.sub(r"parametrizations.weight.original([01])", r"weight_\1", name)
            renamed[older.replace("weight_0", "weight_g").replace("weight_1", "weight_v")] = value
        torch.save({"state_dict": renamed, "epochs": {1, 2}}, folder / "pretrained_fma.pt")
    else:
        described = make_muq.muq_config(make_muq.DEPTH["muq"]) if kind == "muq" else MULAN
        (folder / "config.json").write_text(json.dumps(described))
        save_file(state, folder / "model.safetensors")
    return f"hf:{folder}"


def run(model, *clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    audio = torch.zeros(len(clips), int(lengths.max()))
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = torch.as_tensor(clip)
    return model(audio, lengths)


def error(values, expected):
    assert values.shape == expected.shape
    return float((values.double() - expected.double()).norm() / expected.double().norm())


# -- what it computes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_that_of_the_original(kind, tmp_path):
    model = load(published(kind, tmp_path))
    assert len(model.layer_names) == make_muq.DEPTH[kind] + 1
    for samples in make_muq.LENGTHS[kind]:
        expected = torch.from_numpy(ORIGINAL[f"{kind}_{samples}"])
        states, frames = run(model, clip_of(samples))
        assert int(frames) == states.shape[2] == -(-(samples // 240) // 4)
        for layer, reference in zip(states[0], expected, strict=True):
            assert error(layer, reference) <= 1e-5


@pytest.fixture(scope="module")
def model():
    """Make a MuQ of three blocks that no test changes."""
    torch.manual_seed(0)
    sizes = muq.MuQConfig(8, 32, 3, num_attention_heads=HEADS, intermediate_size=INNER)
    network = muq.MuQ(sizes, tuple(muq.MSD_STATISTICS.values()))
    return extractor_of(network)


def extractor_of(network):
    return NativeExtractor(network, name="tiny", revision=40 * "0")


def test_clips_of_any_lengths_share_a_batch_exactly(model):
    clips = [clip_of(samples) for samples in (9_600, 1_025, 6_001, 24_239)]
    states, frames = run(model, *clips)
    for row, clip in enumerate(clips):
        alone, own = run(model, clip)
        assert int(own) == int(frames[row])
        torch.testing.assert_close(states[row, :, : int(own)], alone[0], atol=2e-6, rtol=1e-5)
        assert not states[row, :, int(own) :].any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_keeps_the_contract(model, dtype):
    report = check(extractor_of(model.network), "cpu", dtype)
    assert report.ok, "\n".join(report.lines())
    model.network.float()


def test_long_clips_pass_the_convolutions_in_pieces_of_the_same_result(model, monkeypatch):
    spectrogram = torch.randn(203, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model.network.conv(spectrogram)
        monkeypatch.setattr(muq, "_PIECE", 7)
        pieces = model.network.conv(spectrogram)
    assert len(whole) == 51
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=1e-5)


def test_bfloat16_is_close(tmp_path):
    name = published("muq", tmp_path)
    exact, rounded = load(name), load(name)
    rounded.to("cpu", torch.bfloat16)
    clip = clip_of(24_000)
    for layer, reference in zip(run(rounded, clip)[0][0], run(exact, clip)[0][0], strict=True):
        assert layer.dtype == torch.bfloat16
        assert error(layer, reference) <= 2e-2


def test_frame_i_is_centred_on_sample_960_i(model):
    """Of symmetric kernels, frames on either side hear an impulse in the middle alike."""
    network = copy.deepcopy(model.network)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data += module.weight.data.flip(-1)
    symmetric, silence = extractor_of(network), torch.zeros(48_000)
    still = run(symmetric, silence)[0][0, 0]

    def heard(sample):
        clip = silence.clone()
        clip[sample] = 1.0
        return (run(symmetric, clip)[0][0, 0] - still).norm(dim=-1)

    for frame in (12, 31):
        middle, late = heard(960 * frame), heard(960 * frame + 120)
        assert int(middle.argmax()) in (frame - 1, frame, frame + 1)
        torch.testing.assert_close(
            middle[frame - 5 : frame], middle[frame + 1 : frame + 6].flip(0), atol=1e-3, rtol=1e-3
        )
        assert error(late[frame - 5 : frame], late[frame + 1 : frame + 6].flip(0)) > 0.02
        # The grid is 5 ms late, which is what the module's docstring says.
        assert network.grid.centres(frame + 1)[frame] == (960 * frame + 120) / 24_000


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wrapper", "dtype"),
    [
        ("muq", "module.", torch.float16),
        ("muq", "_orig_mod.", torch.bfloat16),
        ("mulan", "model.", torch.bfloat16),
        ("musicfm", "", torch.float16),
        ("musicfm", "module.", torch.float32),
    ],
)
def test_wrappers_and_half_precision_of_storage_are_read(kind, wrapper, dtype, tmp_path):
    state = {wrapper + name: value.to(dtype) for name, value in state_of(kind).items()}
    model = load(published(kind, tmp_path, state))
    assert {weights.dtype for weights in model.network.parameters()} == {torch.float32}
    samples = make_muq.LENGTHS[kind][-1]
    last = run(model, clip_of(samples))[0][0, -1]
    allowed = 1e-5 if dtype == torch.float32 else 5e-2
    assert error(last, torch.from_numpy(ORIGINAL[f"{kind}_{samples}"][-1])) <= allowed


@pytest.mark.parametrize("kind", KINDS)
def test_each_weight_is_used_or_explained(kind, tmp_path):
    names, prefix = set(state_of(kind)), PREFIXES[kind]
    network = load(published(kind, tmp_path)).network
    used = {prefix + name for name in network.state_dict()}
    assert used <= names
    for name in names - used:
        reasons = [each for each in muq.UNNEEDED if re.fullmatch(prefix + each.pattern, name)]
        if name.startswith(prefix):
            assert len(reasons) == 1, name
        else:  # the parts of MuQ-MuLan that come after, and of text
            assert re.match(r"mulan\.(text|contrast|audio_to_latents|audio\.(?!model))", name), name


def test_statistics_of_two_models_differ_and_count(tmp_path):
    first = load(published("musicfm", tmp_path))
    other = make_muq.STATISTICS["muq"]
    (tmp_path / "fma_stats.json").write_text(json.dumps(other))
    second = load(f"hf:{tmp_path}")
    clip = clip_of(4_000)
    assert error(run(second, clip)[0], run(first, clip)[0]) > 0.01
    # A revision covers every file that is read.
    assert first.revision != second.revision == local_revision(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv.linear.bias"), "lacks weights .*: 1, such as conv.linear.bias"),
        (lambda s: s.update(extra=torch.ones(2)), "has unknown weights .*: 1, such as extra"),
        (
            lambda s: s.update({"conformer.layer_norm.bias": torch.ones(2)}),
            "has misshapen weights .*: 1, such as conformer.layer_norm.bias",
        ),
        (
            lambda s: s["conv.conv.1.bn2.running_var"].fill_(torch.inf),
            "conv.conv.1.bn2.running_var holds values that aren't finite",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_are_refused_in_a_line(kind, change, message, tmp_path):
    prefix = PREFIXES[kind]
    own = {
        name.removeprefix(prefix): value
        for name, value in state_of(kind).items()
        if name.startswith(prefix)
    }
    change(own)
    with pytest.raises(ExtractError, match=message):
        load(published(kind, tmp_path, {prefix + name: value for name, value in own.items()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_rate": 50}, "label_rate is 50, and only 25 is known"),
        ({"n_mels": 64}, "n_mels is 64, and only 128 is known"),
        ({"encoder_depth": 0}, "encoder_depth is 0"),
        ({"encoder_dim": 36}, "encoder_dim = 36 must be a multiple of twice"),
        ({"w2v2_config": 5}, "w2v2_config is 5"),
        ({"w2v2_config": {"conv_depthwise_kernel_size": 30}}, "kernel_size = 30 must be odd"),
        ({"w2v2_config": {"hidden_act": "gelu"}}, "hidden_act is 'gelu', and only 'swish'"),
        (
            {"w2v2_config": {"position_embeddings_type": "relative"}},
            "position_embeddings_type is 'relative', and only 'rotary' is known",
        ),
        ({"stat": {}}, "no spectrogram has melspec_2048_mean = None"),
        (
            {"stat": {"melspec_2048_mean": -3, "melspec_2048_std": 0}},
            "no spectrogram has melspec_2048_std = 0",
        ),
    ],
)
def test_configurations_that_cant_be_are_refused(change, message, tmp_path):
    name = published("muq", tmp_path)
    described = make_muq.muq_config(make_muq.DEPTH["muq"]) | change
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ExtractError, match=message):
        load(name)


def test_flash_attention_is_no_other_network(tmp_path):
    name = published("muq", tmp_path)
    described = make_muq.muq_config(make_muq.DEPTH["muq"]) | {"is_flash": True}
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert len(load(name).layer_names) == 13


def test_another_audio_tower_is_refused(tmp_path):
    name = published("mulan", tmp_path)
    described = MULAN | {"audio_model": {"name": "m-a-p/MERT-v1-330M"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ExtractError, match="its audio tower is 'm-a-p/MERT-v1-330M', not MuQ-l"):
        load(name)


def test_weights_and_statistics_of_musicfm_belong_together(tmp_path):
    name = published("musicfm", tmp_path)
    (tmp_path / "fma_stats.json").rename(tmp_path / "msd_stats.json")
    with pytest.raises(ExtractError, match=r"pretrained_fma.pt need fma_stats.json, which isn't"):
        load(name)
    # Weights under a name of one's own belong to the only statistics.
    (tmp_path / "pretrained_fma.pt").rename(tmp_path / "mine.pt")
    assert load(name).layer_names[-1] == "block03"
    (tmp_path / "fma_stats.json").write_bytes((tmp_path / "msd_stats.json").read_bytes())
    with pytest.raises(ExtractError, match=r"msd_stats.json and fma_stats.json belong to two"):
        load(name)


def test_a_folder_of_all_of_musicfm_names_both(tmp_path):
    name = published("musicfm", tmp_path)
    for kind in ("stats.json", "pt"):
        first = next(tmp_path.glob(f"*fma*{kind}"))
        (tmp_path / first.name.replace("fma", "msd")).write_bytes(first.read_bytes())
    with pytest.raises(ExtractError, match="belong to two models; leave one of them, beside"):
        load(name)
    one = f"{name}/pretrained_fma.pt"
    assert load(one).revision == local_revision(one)


# -- the hub ---------------------------------------------------------------------------------------


@pytest.fixture(params=[("config.json", "adapter_config.json"), ()])
def hub(request, tmp_path, monkeypatch):
    """Make an offline machine whose cache holds MusicFM with its four files; it knows that others
    don't exist, or, after a download of all files, nothing of others.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--minzwon--MusicFM", "c0ffee" + 34 * "0"
    snapshot, unknown = repository / "snapshots" / commit, repository / ".no_exist" / commit
    for folder in (snapshot, unknown, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    published("musicfm", snapshot)
    state = {name: 1.5 * value for name, value in state_of("musicfm").items()}
    torch.save({"state_dict": state}, snapshot / "pretrained_msd.pt")
    (snapshot / "msd_stats.json").write_text(json.dumps(make_muq.STATISTICS["muq"]))
    for file in request.param:
        (unknown / file).touch()
    return snapshot


def test_both_of_a_repository_load_by_their_names(hub):
    fma, msd = load("musicfm-fma"), load("musicfm-msd")
    assert fma.revision == msd.revision == hub.name
    assert fma.digest != msd.digest
    assert (fma.network.mean, msd.network.mean) == (3.0710578151459664, 6.768444971712967)
    samples = 12_345
    expected = torch.from_numpy(ORIGINAL[f"musicfm_{samples}"])
    assert error(run(fma, clip_of(samples))[0][0], expected) <= 1e-5


def test_a_repository_of_several_models_is_no_name_of_one(hub):
    for name in ("hf:minzwon/MusicFM", "hf:minzwon/MusicFM@main"):
        with pytest.raises(ExtractError, match="several models; write musicfm-msd or musicfm-fma"):
            load(name)


def test_a_missing_file_of_weights_is_named(hub):
    (hub / "pretrained_msd.pt").unlink()
    (hub.parents[1] / ".no_exist" / hub.name / "pretrained_msd.pt").touch()
    with pytest.raises(ExtractError, match="musicfm-msd: the repository has no pretrained_msd.pt"):
        load("musicfm-msd")


# -- random weights --------------------------------------------------------------------------------


def test_random_twins_are_of_the_cards_and_of_their_seed():
    first, again, other = (load(f"random:musicfm-fma#{seed}") for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.network.mean == 3.0710578151459664
    assert load("random:musicfm-msd#1").network.mean == 6.768444971712967
