"""Models that users bring: other transformers, HEAR modules, a class in a file; and what
check-model says of them.
"""

import re
import warnings
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from torch import nn
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.frontends import FAMILIES
from svuprobe.extractors.names import canonical, check_name, is_control, slug

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"

BLOCKS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
# 16 channels a group: torch 2.13 gets bfloat16 convolutions of less wrong on CPUs with AMX.
CONVOLUTIONS = {
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
ENCODER = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48}
TOKENS = {
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
MOONSHINE = {
    **{f"{part}_num_attention_heads": 2 for part in ("encoder", "decoder")},
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 1,
}
# model_type: configuration class, its fields, what makes the input
TINY = {
    "audio-spectrogram-transformer": (  # 2.6 s instead of 10.24 s
        "ASTConfig",
        BLOCKS | {"max_length": 256},
        lambda: transformers.ASTFeatureExtractor(max_length=256),
    ),
    "moonshine": (
        "MoonshineConfig",
        {"hidden_size": 32, "intermediate_size": 48, **MOONSHINE, **TOKENS},
        lambda: Wav2Vec2FeatureExtractor(do_normalize=False),
    ),
    "sew": ("SEWConfig", BLOCKS | CONVOLUTIONS | {"conv_dim": [16] * 13}, Wav2Vec2FeatureExtractor),
    "sew-d": (
        "SEWDConfig",
        BLOCKS | CONVOLUTIONS | {"conv_dim": [16] * 13},
        Wav2Vec2FeatureExtractor,
    ),
    "unispeech": ("UniSpeechConfig", BLOCKS | CONVOLUTIONS, Wav2Vec2FeatureExtractor),
    "unispeech-sat": (
        "UniSpeechSatConfig",
        BLOCKS | CONVOLUTIONS | {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
        Wav2Vec2FeatureExtractor,
    ),
    "wav2vec2-bert": (
        "Wav2Vec2BertConfig",
        BLOCKS | {"output_hidden_size": 32},
        SeamlessM4TFeatureExtractor,
    ),
    "wav2vec2-conformer": (
        "Wav2Vec2ConformerConfig",
        BLOCKS | CONVOLUTIONS,
        Wav2Vec2FeatureExtractor,
    ),
    "whisper": (  # 6 s instead of 30 s
        "WhisperConfig",
        {"d_model": 32, "max_source_positions": 300, **ENCODER, **DECODER, **TOKENS},
        lambda: WhisperFeatureExtractor(chunk_length=6),
    ),
}


def front_of(model_type):
    with warnings.catch_warnings():
        # AST's own filter bank
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)
        return TINY[model_type][2]()


def write(folder, model_type, **changes):
    """A checkpoint with random weights as transformers saves it."""
    config_class, fields, _ = TINY[model_type]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = getattr(transformers, FAMILIES[model_type].model)(
            getattr(transformers, config_class)(**(fields | changes))
        )
    model.save_pretrained(folder)
    front_of(model_type).save_pretrained(folder)
    return folder, model.eval()


def noise(samples, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def one(extractor, clip):
    return extractor(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))


def refused(name, *texts):
    with pytest.raises(ExtractError) as caught:
        load(name)
    assert str(caught.value).startswith(f"{name}: ")
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def failed(report):
    return {c.what: c.seen for c in report.checks if not c.ok}


# -- names -----------------------------------------------------------------------------------------


def test_names_have_one_spelling_and_a_folder_of_their_own(monkeypatch):
    monkeypatch.chdir("/")
    assert (
        canonical("py:a/mine.py:Net") == "py:/a/mine.py:Net" == canonical("py:/a/b/../mine.py:Net")
    )
    assert canonical("hear:panns") == "hear:panns"
    assert canonical("hear:my.panns,w/x.pt") == "hear:my.panns,/w/x.pt"
    names = (
        *("py:/a/mine.py:Net", "py:/b/mine.py:Net", "py:/a/mine.py:Other", "py:/a/mi ne.py:Net"),
        *("hear:panns", "hear:panns,/a.pt", "hear:panns,/b/a.pt", "hear:my.panns", "hf:my/panns"),
    )
    assert len({slug(name) for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", slug(name))
        assert canonical(canonical(name)) == name
        assert not is_control(name)


@pytest.mark.parametrize(
    "name",
    ["py:mine:Net", "py:mine.py:", "hear:", "hear:a,", "hear:../a", "hear:a b"],
)
def test_a_name_that_cannot_be_read_says_how_to_write_it(name):
    with pytest.raises(ExtractError, match=re.escape(f"unknown model {name!r}; write ")):
        check_name(name)


def test_a_file_without_its_class_says_where_the_class_stands():
    with pytest.raises(ExtractError, match=re.escape("here py:mine.py:CLASS")):
        check_name("py:mine.py")


# -- other transformers ----------------------------------------------------------------------------


def own_forward(model_type, model, clip):
    """What transformers computes for a clip by itself: hidden states of valid frames, (layers,
    frames, dim).
    """
    made = front_of(model_type)(clip, sampling_rate=16000, return_tensors="pt")
    encoder = model.encoder if FAMILIES[model_type].decoder else model
    with torch.inference_mode():
        hidden = torch.stack(encoder(**made, output_hidden_states=True).hidden_states)[:, 0]
    if model_type == "whisper":
        return hidden[:, : -(-len(clip) // 320)]
    if model_type == "wav2vec2-bert":
        return hidden[:, : int(made["attention_mask"].sum())]
    if model_type == "audio-spectrogram-transformer":
        # 12 patches in frequency, 25 in time
        grid = hidden[:, 2:].reshape(len(hidden), 12, 25, -1).mean(1)
        return grid[:, : 1 + (1 + (len(clip) - 400) // 160 - 16) // 10]
    return hidden


@pytest.mark.parametrize("model_type", TINY)
def test_another_transformer_is_what_transformers_computes_and_keeps_the_contract(
    tmp_path, model_type
):
    folder, model = write(tmp_path, model_type)
    extractor = load(f"hf:{folder}")
    clip = noise(16160 + 77)
    states, frames = one(extractor, clip)
    expected = own_forward(model_type, model, clip)
    assert states[0].shape == expected.shape
    assert states.shape[2] == int(frames)
    torch.testing.assert_close(states[0], expected, rtol=1e-4, atol=1e-5)
    assert failed(check(extractor)) == {}
    extractor.to("cpu", torch.bfloat16)
    half = one(extractor, clip)[0][0].float()
    assert (half - expected).norm() < 0.05 * expected.norm()


def test_only_the_first_half_of_an_encoder_decoder_is_kept(tmp_path):
    folder, model = write(tmp_path, "whisper")
    assert load(f"hf:{folder}").parameters == sum(w.numel() for w in model.encoder.parameters())


@pytest.mark.parametrize(
    ("model_type", "frames"), [("whisper", 300), ("audio-spectrogram-transformer", 25)]
)
def test_a_clip_longer_than_the_model_sees_at_once_goes_through_in_pieces_on_one_grid(
    tmp_path, model_type, frames
):
    folder, model = write(tmp_path, model_type)
    extractor = load(f"hf:{folder}")
    assert extractor.at_once == frames
    hop, field, longest = extractor.hop, extractor.receptive_field, extractor.frontend.longest
    clip = noise(hop * (2 * frames + 6) + field)  # two pieces and seven frames
    # Whisper's last frames hear the samples to the very end of a piece.
    first, expected = noise(longest), own_forward(model_type, model, noise(longest))
    torch.testing.assert_close(one(extractor, first)[0][0], expected, rtol=1e-4, atol=1e-5)
    states, count = one(extractor, clip)
    assert int(count) == states.shape[2] == 2 * frames + 7
    for start, end in ((0, frames), (frames, 2 * frames), (2 * frames, 2 * frames + 7)):
        alone, _ = one(extractor, clip[hop * start :][:longest])
        own = end - start
        torch.testing.assert_close(states[:, :, start:end], alone[:, :, :own], rtol=1e-4, atol=1e-5)
    short = noise(hop * 3 + field)
    together = torch.zeros(2, len(clip))
    together[0, : len(short)], together[1] = torch.as_tensor(short), torch.as_tensor(clip)
    both, counts = extractor(together, torch.tensor([len(short), len(clip)]))
    assert counts.tolist() == [4, 2 * frames + 7]
    torch.testing.assert_close(both[1:], states, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[:1, :, :4], one(extractor, short)[0], rtol=1e-4, atol=1e-5)
    assert not both[0, :, 4:].any()


def test_a_clip_shorter_than_a_frame_is_refused(tmp_path):
    extractor = load(f"hf:{write(tmp_path, 'unispeech')[0]}")
    with pytest.raises(
        ExtractError, match="a clip of 399 samples is shorter than one frame, 400 samples"
    ):
        extractor(torch.zeros(2, 800), torch.tensor([800, 399]))


def test_training_options_of_a_checkpoint_do_not_reach_the_features(tmp_path):
    plain = load(f"hf:{write(tmp_path / 'a', 'wav2vec2-conformer')[0]}")
    options = {
        "mask_time_prob": 0.5,
        "layerdrop": 0.9,
        "add_adapter": True,
        "output_hidden_size": 32,
    }
    busy, _ = write(tmp_path / "b", "wav2vec2-conformer", **options)
    extractor = load(f"hf:{busy}")
    assert extractor.layer_names == plain.layer_names == ("input", "block01", "block02")
    states, _ = one(extractor, noise(8000))
    torch.testing.assert_close(one(extractor, noise(8000))[0], states, rtol=0, atol=0)
    assert states.shape == (1, 3, 24, 32)


def test_revision_and_digest_follow_the_weights(tmp_path):
    first, again = (load(f"hf:{write(tmp_path / x, 'sew')[0]}") for x in "ab")
    other = load(f"hf:{write(tmp_path / 'c', 'sew', hidden_size=64)[0]}")
    assert first.digest == again.digest != other.digest
    assert first.revision == again.revision != other.revision


def test_checkpoints_that_are_not_their_configuration_are_refused(tmp_path):
    folder, _ = write(tmp_path / "a", "sew")
    config = folder / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    refused(f"hf:{folder}", "lacks weights of the sew encoder", "encoder.layers.2")
    config.write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    refused(f"hf:{folder}", "has unknown weights of the sew encoder", "encoder.layers.1")
    config.write_text(text.replace('"hidden_size": 32', '"hidden_size": 64'))
    refused(f"hf:{folder}", "transformers can't load this sew checkpoint")
    config.write_text(text)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(
        f"hf:{folder}", "model.safetensors is damaged: its header isn't whole; download it again"
    )
    weights.unlink()
    refused(f"hf:{folder}", "has neither model.safetensors nor pytorch_model.bin")
    folder, _ = write(tmp_path / "b", "whisper")
    (folder / "preprocessor_config.json").unlink()
    refused(
        f"hf:{folder}",
        "there is no preprocessor_config.json, which says how the spectrograms are made",
    )


def test_an_unsupported_kind_is_refused_with_those_that_are(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "speecht5"}')
    told = refused(f"hf:{tmp_path}", "model_type 'speecht5' isn't supported", "py:FILE.py:CLASS")
    for model_type in (*FAMILIES, "wavlm", "data2vec-audio"):
        assert model_type in told


def test_normalisation_is_overridden_only_where_there_is_some(tmp_path):
    folder, _ = write(tmp_path / "a", "unispeech")
    assert load(f"hf:{folder}").normalization == "zero-mean-unit-variance"
    assert load(f"hf:{folder}", normalize=False).normalization == "none"
    folder, _ = write(tmp_path / "b", "whisper")
    with pytest.raises(ExtractError, match="no waveform normalisation to switch on"):
        load(f"hf:{folder}", normalize=True)


def test_a_cached_checkpoint_of_the_hub_loads_offline_at_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--made--up", "c0ffee" + 34 * "0"
    write(repository / "snapshots" / commit, "whisper")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in ("hf:made/up", "hf:made/up@main"):
        extractor = load(name)
        assert (extractor.name, extractor.revision) == (name, commit)
    refused("hf:made/other", "can't get config.json of made/other", "hf:/local/folder")


# -- HEAR ------------------------------------------------------------------------------------------

HEAR = '''
"""Energies of {width} bands, every {hop} samples from sample {first} on; a scene is the maximum."""
import torch

class Model(torch.nn.Module):
    sample_rate, timestamp_embedding_size, scene_embedding_size = {rate}, {width}, {scene}
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones({width}))

def load_model(path=""):
    model = Model()
    if path:
        model.load_state_dict(torch.load(path, weights_only=True))
    return model

def get_timestamp_embeddings(audio, model):
    frames = {frames}
    centres = {first} + {hop} * torch.arange(frames)
    padded = torch.nn.functional.pad(audio, (256, 1024))
    starts = [round(float(centre)) for centre in centres]
    pieces = torch.stack([padded[:, start : start + 512] for start in starts], dim=1)
    bands = torch.fft.rfft(pieces).abs()[..., : {width}] * model.gain
    return bands, (centres * 1000.0 / model.sample_rate).expand(len(audio), -1)

def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].max(dim=1).values[:, : {scene}]
'''
WHOLE_HOPS = "audio.shape[1] // 400"
HEAR_DEFAULTS = {
    "rate": 16000,
    "width": 24,
    "scene": 24,
    "hop": 400,
    "first": 0,
    "frames": f"{WHOLE_HOPS} + 1",
}


@pytest.fixture
def hear(tmp_path, monkeypatch):
    """Writes a HEAR module and returns its model name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(module, **changes):
        (tmp_path / f"{module}.py").write_text(HEAR.format(**(HEAR_DEFAULTS | changes)))
        return f"hear:{module}"

    return make


# first centre and hop in samples, frames -> hop and
# receptive field that the contract's formula needs
GRIDS = {
    "from the start on, one more than fits": (0, 400, "audio.shape[1] // 400 + 1", 400, 1),
    "from the start on, only whole hops": (0, 400, "audio.shape[1] // 400", 400, 1),
    "only what fits": (256, 320, "1 + (audio.shape[1] - 512) // 320", 320, 512),
    "centred hops": (200, 400, "audio.shape[1] // 400", 400, 400),
    "a hop between two samples": (0, 400.5, "1 + int(audio.shape[1] / 400.5)", 400, 1),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_a_hear_module_keeps_the_contract_whatever_its_grid(hear, grid):
    first, hop, frames, contract_hop, field = GRIDS[grid]
    extractor = load(hear(f"grid_{list(GRIDS).index(grid)}", first=first, hop=hop, frames=frames))
    assert (extractor.hop, extractor.receptive_field) == (contract_hop, field)
    for dtype in ("float32", "bfloat16"):
        assert failed(check(extractor, dtype=dtype)) == {}


def test_frames_of_a_hear_module_are_its_timestamps_and_clips_its_scenes(hear):
    extractor = load(hear("scenes"))
    clips = torch.zeros(2, 16000)
    clips[0], clips[1, :7000] = torch.from_numpy(noise(16000)), torch.from_numpy(noise(7000, 1))
    lengths = torch.tensor([16000, 7000])
    states, frames = extractor(clips, lengths)
    assert frames.tolist() == [40, 18]
    expected, _ = extractor.module.get_timestamp_embeddings(clips[1:, :7000], extractor.model)
    torch.testing.assert_close(states[1, 0, :18], expected[0])
    assert not states[1, 0, 18:].any()
    scene = extractor.module.get_scene_embeddings(clips[1:, :7000], extractor.model)
    torch.testing.assert_close(extractor.pooled(clips, lengths)[1], scene)
    assert extractor.layer_names == ("embedding",)


def test_scenes_of_another_size_than_the_timestamps_leave_the_mean_of_frames(hear):
    extractor = load(hear("unequal", scene=12))
    assert extractor.layer_names == ("timestamp",)
    assert extractor.pooled is None
    assert failed(check(extractor)) == {}


def test_weights_go_to_load_model_and_change_the_digest(hear, tmp_path):
    name = hear("weighty")
    torch.save({"gain": torch.full((24,), 2.0)}, tmp_path / "w.pt")
    plain, loaded = load(name), load(f"{name},{tmp_path / 'w.pt'}")
    torch.testing.assert_close(one(loaded, noise(4000))[0], 2 * one(plain, noise(4000))[0])
    assert plain.digest != loaded.digest
    assert plain.revision != loaded.revision
    assert loaded.parameters == 24
    refused(f"{name},{tmp_path / 'none.pt'}", f"there is no file {tmp_path / 'none.pt'}")


def test_what_is_no_hear_module_is_refused_in_one_line(hear, tmp_path):
    refused("hear:no_such_module", "there is no module no_such_module", "PYTHONPATH")
    refused("hear:json.no_such_part", "there is no module json.no_such_part")
    refused(
        "hear:json", "module json lacks load_model, get_timestamp_embeddings, get_scene_embeddings"
    )
    name = hear("sizes", width=24, scene=24)
    path = tmp_path / "sizes.py"
    path.write_text(path.read_text().replace("timestamp_embedding_size, scene", "wrong, scene"))
    refused(name, "what its load_model returns lacks timestamp_embedding_size")
    refused(
        hear("irregular", frames="audio.shape[1] // 400 + 1", first="audio.shape[1] / 100"),
        "must be one grid",
    )
    refused(hear("lone", frames="1"), "at least two in 4 s")
    name = hear("wide")
    path = tmp_path / "wide.py"
    path.write_text(
        path.read_text().replace("[..., : 24]", "[..., : 25]").replace("* model.gain", "")
    )
    refused(name, "timestamp embeddings must be a torch tensor of shape", "25")


def test_frames_without_a_timestamp_near_them_are_refused(hear):
    # Nothing after 10 s.
    extractor = load(hear("cut", frames="min(audio.shape[1] // 400 + 1, 400)"))
    one(extractor, noise(160000))
    with pytest.raises(
        ExtractError, match=r"400 timestamps up to 9975 ms .* a hop, 25 ms, is allowed"
    ):
        one(extractor, noise(200000))


def test_errors_inside_a_users_module_keep_their_traceback(hear, tmp_path):
    hear("broken")
    (tmp_path / "broken.py").write_text("import no_such_dependency")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load("hear:broken")


# -- a class in a file -----------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path):
    """The example of CONTRIBUTING as a file."""
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(), flags=re.DOTALL)
    (code,) = [block for block in blocks if "nn.Module" in block]
    assert len(code.splitlines()) < 40
    path = tmp_path / "mine.py"
    path.write_text(code)
    return path


def test_the_model_in_contributing_keeps_the_contract_as_it_stands(example):
    extractor = load(f"py:{example}:Convolutions")
    assert extractor.name == f"py:{example}:Convolutions"
    assert extractor.parameters == 64 * 400 + 64 + 64 * 64 + 64
    for dtype in ("float32", "bfloat16"):
        assert failed(check(extractor, dtype=dtype)) == {}
    with pytest.raises(ExtractError, match="a clip of 399 samples is shorter than one frame"):
        one(extractor, noise(399))


def test_a_class_in_a_file_goes_from_audio_to_features(example, tmp_path):
    from test_cli import call, own_task

    from svuprobe.extractors.cache import FeatureCache, find

    toml = own_task(tmp_path)
    name = f"py:{example}:Convolutions"
    done = call(
        "extract",
        "--model",
        name,
        "--task",
        toml,
        "--features",
        tmp_path / "f",
        "--dtype",
        "float32",
    )
    assert done.exit_code == 0, done.output
    (folder,) = find(tmp_path / "f", slug(name), "*", "*", "*")
    with FeatureCache(folder) as cache:
        assert (cache.header.model, cache.header.layer_names) == (name, ("first", "second"))
        assert len(cache.clip_id) == 30


def test_the_digest_of_a_class_follows_its_file_and_its_weights_unless_it_has_its_own(example):
    name = f"py:{example}:Convolutions"
    first, again = load(name), load(name)
    assert (first.digest, first.revision) == (again.digest, again.revision)
    code = example.read_text()
    example.write_text(code + "# edited\n")
    assert load(name).digest != first.digest
    head = "class Convolutions(nn.Module):\n"
    example.write_text(code.replace(head, f'{head}    digest, revision = "abc", "v1"\n'))
    assert (load(name).digest, load(name).revision) == ("abc", "v1")


def test_a_class_may_hold_its_modules_and_pool_its_clips(tmp_path):
    path = tmp_path / "holder.py"
    path.write_text(
        "import torch\n"
        "class Holder:\n"
        "    sample_rate, hop, receptive_field, layer_names, dim = 8000, 80, 200, ['only'], 8\n"
        "    def __init__(self):\n"
        "        self.net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 200, stride=80), "
        "torch.nn.Dropout(0.5))\n"
        "    def to(self, device, dtype):\n"
        "        self.net.to(device, dtype)\n"
        "    def __call__(self, audio, lengths):\n"
        "        return self.net(audio[:, None])[:, None].transpose(2, 3), 1 + (lengths - 200) "
        "// 80\n"
        "    def pooled(self, audio, lengths):\n"
        "        states, frames = self(audio, lengths)\n"
        "        return torch.stack([s[:, :n].amax(1) for s, n in zip(states, frames)])\n"
    )
    extractor = load(f"py:{path}:Holder")
    assert extractor.layer_names == ("only",)
    assert extractor.parameters == 8 * 201
    assert not extractor.net.training
    report = check(extractor)
    assert failed(report) == {}
    assert "2 of" not in {c.what: c.seen for c in report.checks}["gradients off"]


def test_a_file_edited_within_a_second_is_the_new_one_and_leaves_nothing_beside_it(example):
    load(f"py:{example}:Convolutions")
    before = example.read_text()
    example.write_text(before.replace("16000, 160, 400", "16000, 160, 401"))  # as many letters
    assert load(f"py:{example}:Convolutions").receptive_field == 401
    assert not (example.parent / "__pycache__").exists()


def test_the_digest_follows_everything_that_a_class_or_a_module_holds(tmp_path, hear):
    path, values = tmp_path / "held.py", tmp_path / "values.pt"
    path.write_text(
        "import torch\n"
        "class Held:\n"
        "    sample_rate, hop, receptive_field, layer_names, dim = 8000, 80, 200, ['only'], 8\n"
        "    def __init__(self):\n"
        f"        values = torch.load({str(values)!r}, weights_only=True)\n"
        "        linear = torch.nn.Linear(1, 1)\n"
        "        torch.nn.init.constant_(linear.weight, values['list'])\n"
        "        torch.nn.init.constant_(linear.bias, 0)\n"
        "        self.nets = {'a': [linear, torch.nn.Dropout(0.5)]}\n"
        "        self.table = values['tensor']\n"
        "        self.array = values['array'].numpy()\n"
        "    def to(self, device, dtype):\n"
        "        pass\n"
        "    def __call__(self, audio, lengths):\n"
        "        raise NotImplementedError\n"
    )
    seen = []
    for changed in (None, "list", "tensor", "array"):
        torch.save(
            {key: 2.0 if key == changed else 1.0 for key in ("list",)}
            | {
                key: torch.full((3,), 2.0 if key == changed else 1.0) for key in ("tensor", "array")
            },
            values,
        )
        extractor = load(f"py:{path}:Held")
        assert not any(module.training for module in extractor.nets["a"])
        seen.append(extractor.revision)
    assert len(set(seen)) == 4
    name, folder = hear("foldered"), tmp_path / "weights"
    (tmp_path / "foldered.py").write_text(
        (tmp_path / "foldered.py").read_text().replace("if path:", "if 0:")
    )
    folder.mkdir()
    revisions = set()
    for content in "ab":
        (folder / "part.bin").write_text(content)
        revisions.add(load(f"{name},{folder}").revision)
    assert len(revisions) == 2


def test_what_a_file_lacks_is_one_line(example, tmp_path):
    refused(f"py:{tmp_path / 'none.py'}:Net", f"there is no file {tmp_path / 'none.py'}")
    refused(f"py:{example}:Net", "there is no class Net in", "there are: Convolutions")
    code = example.read_text()
    example.write_text(
        code.replace("sample_rate, hop,", "rate, hop,").replace("layer_names, dim", "names, dim")
    )
    refused(
        f"py:{example}:Convolutions",
        "the class lacks sample_rate, layer_names; extractors/base.py says",
    )
    example.write_text(code.replace("= 16000, 160, 400", "= 16000, 160.0, 400"))
    refused(f"py:{example}:Convolutions", "hop must be a whole number from 1 up, not 160.0")
    example.write_text(code.replace('("first", "second"), 64', '"first", 64'))
    refused(f"py:{example}:Convolutions", "layer_names must be a tuple of strings", "not 'first'")
    example.write_text(code.replace("def __init__(self)", "def __init__(self, size)"))
    refused(f"py:{example}:Convolutions", "Convolutions() is called without arguments", "'size'")


def test_errors_inside_a_users_file_keep_their_traceback(example):
    example.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load(f"py:{example}:Net")


# -- check-model -----------------------------------------------------------------------------------


class Honest:
    """Energy of frames and its square: keeps the contract."""

    name, revision, digest, parameters, normalization = "honest", "v1", "0", 0, "none"
    sample_rate, hop, receptive_field, layer_names, dim = 8000, 100, 300, ("a", "b"), 3

    def __init__(self):
        self.net = nn.Linear(300, 3).requires_grad_(False).eval()

    def to(self, device, dtype):
        self.net.to(device, dtype)

    def __call__(self, audio, lengths):
        if lengths.min() < 300:
            raise ExtractError("too short")
        states = self.net(audio.unfold(-1, 300, 100).to(self.net.weight.dtype))
        return torch.stack([states, states**2], dim=1), 1 + (lengths - 300) // 100


class PadsItsBatch(Honest):
    def __call__(self, audio, lengths):
        return super().__call__(audio - audio.mean(), lengths)


class CountsThePadding(Honest):
    def __call__(self, audio, lengths):
        states, frames = super().__call__(audio, lengths)
        return states, torch.full_like(frames, states.shape[2])


class DropsOut(Honest):
    def to(self, device, dtype):
        super().to(device, dtype)
        self.drop = nn.Dropout(0.1)

    def __call__(self, audio, lengths):
        states, frames = super().__call__(audio, lengths)
        return self.drop(states), frames


class DividesByPower(Honest):
    def __call__(self, audio, lengths):
        states, frames = super().__call__(audio, lengths)
        return states / states.norm(dim=-1, keepdim=True) * (
            audio.abs().amax() / audio.abs().amax()
        ), frames


class SaysAnotherHop(Honest):
    hop = 101


class RunsBackwards(Honest):
    def __call__(self, audio, lengths):
        states, frames = super().__call__(audio, lengths)
        for state, n in zip(states, frames, strict=True):
            state[:, :n] = state[:, :n].flip(1)
        return states, frames


class LeavesGradientsOn(Honest):
    def to(self, device, dtype):
        super().to(device, dtype)
        self.net.requires_grad_(True)


class HasALayerTooMany(Honest):
    layer_names = ("a",)


class NeedsASecond(Honest):
    def __call__(self, audio, lengths):
        if lengths.min() < 8000:
            raise RuntimeError("kernel size can't be greater than input")
        return super().__call__(audio, lengths)


class ReturnsDoubles(Honest):
    def __call__(self, audio, lengths):
        states, frames = super().__call__(audio, lengths)
        return states.double(), frames


class PoolsThePadding(Honest):
    def pooled(self, audio, lengths):
        return self(audio, lengths)[0].mean(2)


def test_a_model_that_keeps_the_contract_passes_on_one_screen():
    report = check(Honest())
    assert report.ok
    lines = list(report.lines())
    assert len(lines) <= 24
    assert "80 per second" in "\n".join(lines)
    assert report.speed > 0


# The promise that each of them breaks, and what the screen says of it.
BREAKERS = {
    PadsItsBatch: ({"batch equals single"}, "is allowed"),
    CountsThePadding: ({"batch equals single"}, "frames"),
    DropsOut: (
        {"determinism", "eval mode", "batch equals single", "frame times"},
        "1 of 2 modules are in training mode",
    ),
    DividesByPower: ({"finite"}, "not finite on silence"),
    SaysAnotherHop: ({"shapes", "frames of a clip"}, "1 + (length - 300) // 101"),
    RunsBackwards: ({"frame times"}, "ms from it (44 is allowed)"),
    LeavesGradientsOn: ({"gradients off"}, "2 of 2 weights require gradients"),
    HasALayerTooMany: ({"shapes"}, "expected (2, 1, 78, 3)"),
    NeedsASecond: (
        {"shortest clip"},
        "not refused with an ExtractError: RuntimeError: kernel size",
    ),
    ReturnsDoubles: ({"shapes"}, "torch.float64"),
    PoolsThePadding: ({"pooled"}, "between batch and single"),
}


@pytest.mark.parametrize("model", BREAKERS, ids=lambda model: model.__name__)
def test_every_broken_promise_is_found_and_said(model):
    promises, told = BREAKERS[model]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # of dropout
        report = check(model())
    assert failed(report).keys() == promises
    assert told in "\n".join(report.lines())


def test_the_command_says_whether_and_ends_accordingly(example):
    from svuprobe.cli import main

    done = CliRunner().invoke(main, ["check-model", "mfcc"])
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.output
    assert "100 h of audio take" in done.output
    example.write_text(example.read_text().replace("16000, 160, 400", "16000, 160, 401"))
    done = CliRunner().invoke(main, ["check-model", f"py:{example}:Convolutions"])
    assert done.exit_code == 0, done.output  # a wider kernel is another model, and as good
    example.write_text(example.read_text().replace("stride=self.hop", "stride=150"))
    done = CliRunner().invoke(main, ["check-model", f"py:{example}:Convolutions"])
    assert done.exit_code == 1
    assert "frames of a clip     FAILED" in done.output
    assert done.output.splitlines()[-1].startswith("Error: py:")


def test_the_list_of_models_names_every_form():
    from svuprobe.cli import main

    shown = CliRunner().invoke(main, ["models"]).output
    for form in ("hf:ORG/NAME", "hear:MODULE", "py:FILE.py:CLASS", "random:NAME"):
        assert form in shown


# -- revisions of local models ---------------------------------------------------------------------


def test_the_revision_of_a_local_model_is_known_before_it_is_loaded_and_follows_its_files(
    tmp_path, example, hear
):
    other, _ = write(tmp_path / "sew", "sew")
    own = checkpoints.write(tmp_path / "hubert", "hubert")
    module = hear("followed")
    weights = tmp_path / "w.pt"
    torch.save({"gain": torch.full((24,), 2.0)}, weights)
    edits = {
        f"hf:{other}": lambda: checkpoints.edit(other, layer_norm_eps=1e-3),
        f"hf:{own}": lambda: checkpoints.write(own, "hubert", seed=1),
        f"py:{example}:Convolutions": lambda: example.write_text(
            example.read_text() + "# edited\n"
        ),
        module: lambda: hear("followed", width=23, scene=23),
        f"{module},{weights}": lambda: torch.save({"gain": torch.full((24,), 3.0)}, weights),
    }
    for name, edit in edits.items():
        before = local_revision(name)
        assert before == load(name).revision
        edit()
        assert before != local_revision(name) == load(name).revision
        hear("followed")
    for name in ("mfcc", "wavlm-base", "hf:org/name", "random:wavlm-base"):
        assert local_revision(name) is None
    for name in (
        f"hf:{tmp_path / 'none'}",
        f"py:{tmp_path / 'none.py'}:Net",
        "hear:no_such_module",
    ):
        with pytest.raises(ExtractError, match="there is no"):
            local_revision(name)


# -- frames far apart ------------------------------------------------------------------------------


def test_a_model_whose_frames_are_ten_seconds_apart_is_checked_like_others(tmp_path):
    (tmp_path / "slow.py").write_text(
        """
import torch

class Slow:
    sample_rate, hop, receptive_field, layer_names, dim = 16000, 160_000, 160_000, ("only",), 4

    def to(self, device, dtype):
        self.dtype = dtype

    def __call__(self, audio, lengths):
        seen = audio.unfold(1, 160_000, 160_000)[..., :400]  # (batch, frames, samples)
        states = torch.fft.rfft(seen).abs()[..., 1:5].to(self.dtype)
        return states[:, None], 1 + (lengths - 160_000) // 160_000
""",
        encoding="utf-8",
    )
    report = check(load(f"py:{tmp_path / 'slow.py'}:Slow"))
    seen = {one.what: one for one in report.checks}
    assert not any("Error" in one.seen for one in report.checks), report.checks
    assert seen["frame times"].ok or "a change shows most" in seen["frame times"].seen
