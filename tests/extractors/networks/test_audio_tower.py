"""The audio encoders of language models compute what transformers' own models do before pooling,
and none of the language model's files is opened.
"""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import saved
import seeded
import torch
import transformers

from svuprobe.extractors import checkpoints
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.check_model import check
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.native import from_random

BLOCKS = 3
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
    "pad_token_id": 0,
}
QWEN = {
    "model_type": "qwen2_audio_encoder",
    "d_model": 24,
    "encoder_layers": BLOCKS,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 20,
    "max_source_positions": 50,
}
FLAMINGO = {
    "model_type": "audioflamingo3_encoder",
    "hidden_size": 24,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_mel_bins": 20,
    "max_source_positions": 50,
}
# model_type -> beginning of its classes' names, the configuration of its encoder
MODELS = {
    "qwen2_audio": ("Qwen2Audio", QWEN),
    "audioflamingo3": ("AudioFlamingo3", FLAMINGO),
    "musicflamingo": ("MusicFlamingo", FLAMINGO),
}
ROTARY = {"musicflamingo": {"rope_parameters": {"rope_type": "default", "rope_theta": 1200.0}}}
SAMPLES = (16_000, 9_000, 4_321, 200)  # a piece is 1 s


def feature_extractor():
    return transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)


class EnoughError(Exception):
    """Ends a run of transformers' model where the average of two frames begins."""


def made(kind):
    beginning, encoder = MODELS[kind]
    own = {"audio_token_index": 3} if kind == "qwen2_audio" else {"audio_token_id": 3}
    config = getattr(transformers, f"{beginning}Config")(
        audio_config=dict(encoder), text_config=dict(TEXT), **own, **ROTARY.get(kind, {})
    )
    with torch.random.fork_rng(devices=[]):
        return saved.filled(getattr(transformers, f"{beginning}ForConditionalGeneration")(config))


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    """A checkpoint in several shards."""
    place = tmp_path_factory.mktemp(request.param)
    saved.published(place, made(request.param), feature_extractor(), max_shard_size="25KB")
    return place


def audio():
    return [torch.from_numpy(seeded.audio(samples, seed=samples)) for samples in SAMPLES]


def hidden_states(whole, clip):
    """What transformers' whole model computes for a clip, up to the average of two frames."""
    mel = feature_extractor()(
        clip.numpy(), sampling_rate=16_000, return_attention_mask=True, return_tensors="pt"
    )
    features, mask = mel["input_features"], mel["attention_mask"]
    seen = []

    def stop(module, inputs):
        raise EnoughError

    tower = whole.audio_tower
    hooks = [
        block.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out)))
        for block in tower.layers
    ]
    hooks.append(tower.avg_pooler.register_forward_pre_hook(stop))
    if whole.config.model_type == "qwen2_audio":
        tokens = torch.full((1, 25), 3)
        inputs = {"input_ids": tokens, "feature_attention_mask": mask}
        run = partial(whole, input_features=features, **inputs)
    else:
        run = partial(tower, features, input_features_mask=mask)
    with torch.inference_mode(), pytest.raises(EnoughError):
        run()
    for hook in hooks:
        hook.remove()
    frames = -(-len(clip) // 320)
    return [state[0, :frames] for state in (seen[0][0], *(out for _, out in seen))]


def test_every_state_is_transformers_own_in_a_batch_of_all_lengths(folder):
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    model = load(f"hf:{folder}")
    assert model.layer_names == ("input", "block01", "block02", "block03")
    states, frames = model(*saved.padded(audio()))
    for clip, own, count in zip(audio(), states, frames.tolist(), strict=True):
        expected = hidden_states(whole, clip)
        assert not own[:, count:].any()
        for state, original in zip(own[:, :count], expected, strict=True):
            assert saved.relative_error(state, original) < 1e-5


def test_only_shards_with_the_encoder_are_opened(folder, tmp_path):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    of_encoder = {file for key, file in index.items() if key.startswith("audio_tower.")}
    others = set(index.values()) - of_encoder
    assert of_encoder
    assert others
    copy = shutil.copytree(folder, tmp_path / "copy")
    for file in others:
        (copy / file).unlink()
    model, revision = load(f"hf:{copy}"), local_revision(f"hf:{copy}")
    assert model.digest == load(f"hf:{folder}").digest
    assert model.revision == revision == local_revision(f"hf:{folder}")
    (copy / min(of_encoder)).unlink()
    with pytest.raises(ExtractError, match=f"names {min(of_encoder)}, which isn't there"):
        load(f"hf:{copy}")


def test_of_the_hub_nothing_else_is_asked_for(folder, monkeypatch):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    asked = set()

    def download(hub, file, revision, name):
        asked.add(file)
        return folder / file if (folder / file).is_file() else None

    monkeypatch.setattr(checkpoints.source, "download", download)
    load("hf:org/name")
    shards = {file for file in asked if "-of-" in file}
    assert shards == {file for key, file in index.items() if key.startswith("audio_tower.")}


def test_of_a_single_file_only_the_encoder_is_read(tmp_path, monkeypatch):
    saved.published(tmp_path, made("qwen2_audio"), feature_extractor())
    (path,) = checkpoints.find_weights(checkpoints.in_folder(tmp_path))
    state = checkpoints.read_state([path], "name", "audio_tower")
    assert {key.partition(".")[0] for key in state} == {"audio_tower"}
    assert len(checkpoints.read_state([path], "name")) > len(state)


@pytest.fixture(scope="module")
def twin():
    card = replace(
        CATALOGUE["qwen2-audio"],
        config={
            "model_type": "qwen2_audio",
            "audio_config": QWEN,
            "feature_extractor": feature_extractor().to_dict(),
        },
    )
    return from_random(card, 0, name="random:tiny")


def test_it_keeps_the_contract_of_extractors(twin):
    report = check(twin)
    assert report.ok, [line.seen for line in report.checks if not line.ok]


def test_longer_clips_go_through_in_pieces_on_one_grid(folder):
    model = load(f"hf:{folder}")
    assert model.at_once == 50
    clip = torch.from_numpy(seeded.audio(20_000))
    states, frames = model(*saved.padded([clip]))
    first, _ = model(*saved.padded([clip[:16_000]]))
    second, _ = model(*saved.padded([clip[16_000:]]))
    assert int(frames) == 63
    joined = torch.cat([first, second], dim=2)
    assert saved.relative_error(states, joined) < 1e-6


def test_bfloat16_is_near(folder):
    model = load(f"hf:{folder}")
    exact, _ = model(*saved.padded(audio()))
    model.to("cpu", torch.bfloat16)
    near, _ = model(*saved.padded(audio()))
    assert near.dtype == torch.bfloat16
    for state, original in zip(near.unbind(1), exact.unbind(1), strict=True):
        assert saved.relative_error(state, original) < 2e-2


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("config.json", {"audio_config": None}, "audio_config in config.json of a qwen2_audio"),
        ("config.json", {"audio_config": QWEN | {"encoder_layers": 4}}, "lacks weights"),
        ("config.json", {"audio_config": QWEN | {"encoder_layers": 2}}, "has unknown weights"),
        ("config.json", {"audio_config": QWEN | {"encoder_ffn_dim": 31}}, "has misshapen weights"),
        ("config.json", {"audio_config": QWEN | {"encoder_layers": 10**9}}, "no usable model"),
        ("config.json", {"audio_config": QWEN | {"encoder_attention_heads": 5}}, "no usable model"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantised (gptq"),
        ("config.json", {"audio_config": QWEN | {"num_mel_bins": 21}}, "makes 20 features a frame"),
        ("preprocessor_config.json", {"chunk_length": 2, "nb_max_frames": 200}, "frames of 2 s"),
        ("preprocessor_config.json", {"dither": 0.1}, "dither adds noise"),
        ("preprocessor_config.json", {"feature_extractor_type": "Other"}, "not of 'Other'"),
    ],
)
def test_a_checkpoint_that_is_no_such_encoder_is_refused_in_one_line(
    tmp_path, file, entries, message
):
    name = saved.published(tmp_path, made("qwen2_audio"), feature_extractor())
    saved.edit(tmp_path, file, **entries)
    with pytest.raises(ExtractError) as caught:
        load(name)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_settings_may_lie_in_a_processor_and_must_lie_somewhere(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(ExtractError, match=r"there is no preprocessor_config\.json"):
        load(f"hf:{copy}")
    settings = {"feature_extractor": feature_extractor().to_dict()}
    (copy / "processor_config.json").write_text(json.dumps(settings))
    assert load(f"hf:{copy}").digest == load(f"hf:{folder}").digest
