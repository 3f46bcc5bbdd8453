"""Checkpoints as transformers, peft and training scripts save them: each is read as it says, or
refused by name.

Every head class of the supported families is saved by transformers itself and must give the
features of its bare encoder; wrappers' prefixes, nested pickles and shards likewise. What is left
out, or can't be read, is said.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_own_models import TINY as OTHERS

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints import find_weights, in_folder
from svuprobe.extractors.loading import load, local_revision
from svuprobe.extractors.models.frontends import FAMILIES

# Small heads, for every class that has one.
HEADS = {
    "vocab_size": 20,
    "num_labels": 3,
    "classifier_proj_size": 8,
    "tdnn_dim": [8, 8, 8],
    "tdnn_kernel": [5, 3, 1],
    "tdnn_dilation": [1, 2, 1],
    "xvector_output_dim": 8,
    "codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "proj_codevector_dim": 8,
    "num_clusters": 8,
}
BLOCKS = {**checkpoints.TINY, "layerdrop": 0.0}
# model_type: configuration class, its fields, beginning of its classes' names, model class
FAMILY = {
    "wav2vec2": ("Wav2Vec2Config", BLOCKS, "Wav2Vec2", "Wav2Vec2Model"),
    "wavlm": ("WavLMConfig", BLOCKS, "WavLM", "WavLMModel"),
    "hubert": ("HubertConfig", BLOCKS, "Hubert", "HubertModel"),
    "data2vec-audio": (
        "Data2VecAudioConfig",
        {**BLOCKS, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19},
        "Data2VecAudio",
        "Data2VecAudioModel",
    ),
    **{
        kind: (config, fields, FAMILIES[kind].model.removesuffix("Model"), FAMILIES[kind].model)
        for kind, (config, fields, _) in OTHERS.items()
    },
}
NO_ENCODER = {"WhisperForCausalLM"}  # a decoder
NAMES = dir(transformers)  # it takes a second to say them


def head_classes(kind: str) -> list[str]:
    """The names of all classes of a family in transformers that hold its encoder and more."""
    beginning = re.escape(FAMILY[kind][2])
    names = [name for name in NAMES if re.fullmatch(rf"{beginning}(For[A-Z]\w+|Model)", name)]
    return [name for name in names if name not in NO_ENCODER]


CLASSES = [(kind, name) for kind in FAMILY for name in head_classes(kind)]


def made(kind: str, class_name: str, **fields: Any) -> Any:
    """A model with random weights, the same ones every time."""
    config_class, own, _, _ = FAMILY[kind]
    heads = {} if kind in ("whisper", "moonshine") else HEADS
    if kind == "audio-spectrogram-transformer":
        heads = {"num_labels": 3}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        config = getattr(transformers, config_class)(**{**heads, **own, **fields})
        return getattr(transformers, class_name)(config)


def saved(
    folder: Path, kind: str, class_name: str | None = None, **fields: Any
) -> tuple[Path, Any]:
    """A checkpoint and its model as transformers saves them, with the settings of a feature
    extractor.
    """
    model = made(kind, class_name or FAMILY[kind][3], **fields)
    model.save_pretrained(folder)
    front = OTHERS[kind][2]() if kind in OTHERS else transformers.Wav2Vec2FeatureExtractor()
    front.save_pretrained(folder)
    return folder, model.eval()


def bare(model: Any) -> Any:
    """The encoder inside a model with a head."""
    inner = getattr(model, model.base_model_prefix, model)
    return inner.encoder if model.config.is_encoder_decoder else inner


def refused(folder: Path, *texts: str) -> None:
    """Assert that a checkpoint is refused in one line that names it and says these."""
    with pytest.raises(ExtractError) as caught:
        load(f"hf:{folder}")
    told = str(caught.value)
    assert told.startswith(f"hf:{folder}: ")
    assert "\n" not in told
    for text in texts:
        assert text in told, told


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain checkpoint, not to be changed."""
    return saved(tmp_path_factory.mktemp("wavlm"), "wavlm")[0]


@pytest.fixture
def folder(wavlm: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(wavlm, tmp_path / "model"))


# -- heads -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize(("kind", "class_name"), CLASSES)
def test_every_head_class_of_every_family_gives_the_features_of_its_encoder(
    tmp_path: Path, kind: str, class_name: str
) -> None:
    path, model = saved(tmp_path, kind, class_name)
    extractor: Any = load(f"hf:{path}")
    theirs = bare(model).state_dict()
    ours = extractor.model.state_dict()
    assert ours.keys() ^ theirs.keys() <= {"masked_spec_embed"}  # of training
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key


def test_an_x_vector_model_has_the_hidden_states_of_transformers(tmp_path: Path) -> None:
    path, model = saved(tmp_path, "wavlm", "WavLMForXVector")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(path)
    audio = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.stack(model(audio, output_hidden_states=True).hidden_states, dim=1)
    states, _ = load(f"hf:{path}")(audio, torch.tensor([4000]))
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


def test_the_encoder_of_a_speech_encoder_decoder_is_its_own_checkpoint(
    tmp_path: Path, wavlm: Path
) -> None:
    config = transformers.AutoConfig.from_pretrained(wavlm).to_dict()
    whole = {
        "model_type": "speech-encoder-decoder",
        "encoder": config,
        "decoder": {"model_type": "bert"},
    }
    (tmp_path / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    shutil.copy(wavlm / "preprocessor_config.json", tmp_path)
    state = {
        f"encoder.{key}": tensor for key, tensor in load_file(wavlm / "model.safetensors").items()
    }
    save_file(
        {**state, "decoder.encoder.layer_norm.weight": torch.zeros(3)},
        tmp_path / "model.safetensors",
    )
    assert load(f"hf:{tmp_path}").digest == load(f"hf:{wavlm}").digest
    checkpoints.edit(tmp_path, encoder="wavlm")
    refused(tmp_path, "encoder in config.json of a speech-encoder-decoder must be an object")


# -- the feature extractor's settings --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", FAMILY)
def test_settings_inside_a_processor_count_and_come_first(tmp_path: Path, kind: str) -> None:
    path, _ = saved(tmp_path, kind)
    settings = json.loads((path / "preprocessor_config.json").read_text(encoding="utf-8"))
    nested = {
        "feature_extractor": {**settings, "sampling_rate": 12000, "hop_length": 120},
        "processor_class": "SomeProcessor",
    }
    alone = local_revision(f"hf:{path}")
    (path / "processor_config.json").write_text(json.dumps(nested), encoding="utf-8")
    both = load(f"hf:{path}")
    assert both.sample_rate == 12000  # as transformers 5 does
    assert alone != both.revision == local_revision(f"hf:{path}")
    (path / "preprocessor_config.json").unlink()
    assert load(f"hf:{path}").sample_rate == 12000
    (path / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (path / "processor_config.json").write_text(
        '{"processor_class": "SomeProcessor"}', encoding="utf-8"
    )
    assert load(f"hf:{path}").sample_rate == 16000


@pytest.mark.filterwarnings("ignore:At least one mel filter")
# One for each front.
@pytest.mark.parametrize("kind", ["wavlm", "sew", "moonshine", "wav2vec2-bert", "whisper"])
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_settings_of_a_wrong_kind_are_one_line(tmp_path: Path, kind: str, file: str) -> None:
    path, _ = saved(tmp_path, kind)
    settings = json.loads((path / "preprocessor_config.json").read_text(encoding="utf-8"))
    for rate in ("16000", 16000.5, 0, -1, [16000], None, True, 10**30):
        changed = {**settings, "sampling_rate": rate}
        content = changed if file.startswith("pre") else {"feature_extractor": changed}
        (path / file).write_text(json.dumps(content), encoding="utf-8")
        refused(path, "sampling_rate must be a whole number of Hz from 1,000 to 768,000, not ")
    (path / file).write_text(
        '{"feature_extractor": [1]}' if file.startswith("pro") else "[1]", encoding="utf-8"
    )
    refused(path, "must ")
    (path / file).write_text(48 * "[" + "\0", encoding="utf-8")
    refused(path, f"can't read {file}")


def test_normalisation_must_be_said_with_true_or_false(folder: Path) -> None:
    settings = folder / "preprocessor_config.json"
    for value in ("false", 0, None, []):
        settings.write_text(json.dumps({"do_normalize": value}), encoding="utf-8")
        refused(folder, "do_normalize of the feature extractor must be true or false, not ")
    settings.unlink()
    checkpoints.edit(folder, sample_rate="24k")
    refused(folder, "sample_rate must be a whole number of Hz")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("whisper", {"feature_size": 40}, "makes 40 features a frame, and the encoder takes 80"),
        ("whisper", {"chunk_length": 30}, "makes 3000 frames of 30 s, and the encoder takes 600"),
        ("whisper", {"dither": 1.0}, "dither adds noise"),
        (
            "whisper",
            {"feature_extractor_type": "ASTFeatureExtractor"},
            "takes the input of a WhisperFeatureExtractor",
        ),
        ("whisper", {"hop_length": 0}, "transformers can't load this whisper checkpoint"),
        ("wav2vec2-bert", {"stride": 3}, "makes 240 features a frame, and the encoder takes 160"),
    ],
)
def test_settings_that_are_of_another_encoder_are_refused(
    tmp_path: Path, kind: str, settings: dict[str, Any], message: str
) -> None:
    path, _ = saved(tmp_path, kind)
    file = path / "preprocessor_config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text(encoding="utf-8")), **settings}), encoding="utf-8"
    )
    refused(path, message)


# -- adapters --------------------------------------------------------------------------------------


def trained_adapter(folder: Path, base: Path) -> Any:
    """A LoRA on a checkpoint, as peft trains it; its weights aren't zero."""
    import peft

    model = transformers.WavLMModel.from_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        wrapped = peft.get_peft_model(
            model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
        )
    wrapped.save_pretrained(folder)
    return wrapped


# peft on this transformers.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_an_adapter_that_is_not_merged_is_never_left_out(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plain = load(f"hf:{folder}").digest
    wrapped = trained_adapter(tmp_path / "alone", folder)
    refused(
        tmp_path / "alone",
        "is only a trained LORA adapter (adapter_config.json)",
        "merge_and_unload()",
        str(folder),
    )
    wrapped.save_pretrained(folder)
    refused(folder, "holds, beside its weights, a trained LORA adapter", "merge_and_unload()")
    (folder / "adapter_config.json").unlink()
    refused(folder, "a trained adapter (adapter_model.safetensors)")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(wrapped.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(folder, "hold an adapter of peft that isn't merged, such as base_model.model.")
    wrapped.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert load(f"hf:{tmp_path / 'merged'}").digest != plain


def test_a_language_adapter_counts_when_it_is_in_the_weights(tmp_path: Path) -> None:
    path, model = saved(
        tmp_path, "wav2vec2", "Wav2Vec2ForCTC", adapter_attn_dim=4, do_stable_layer_norm=True
    )
    assert any("adapter_layer" in key for key in load(f"hf:{path}").model.state_dict())
    own = {key: tensor.clone() for key, tensor in model._get_adapters().items()}
    other = {key: tensor + 1 for key, tensor in own.items()}
    save_file(other, path / "adapter.fra.safetensors")
    refused(
        path,
        "adapter.fra.safetensors is a trained adapter that isn't in the weights",
        "target_lang='fra'",
    )
    torch.save(own, path / "adapter.eng.bin")
    load(f"hf:{path}")


def test_a_repository_of_the_hub_is_read_by_the_same_rules(
    wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--made--up", "c0ffee" + 34 * "0"
    snapshot, unknown = repository / "snapshots" / commit, repository / ".no_exist" / commit
    shutil.copytree(wavlm, snapshot)
    unknown.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    load("hf:made/up")
    settings = {"feature_extractor": {"sampling_rate": 24000, "do_normalize": False}}
    (snapshot / "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    extractor = load("hf:made/up")
    assert (extractor.sample_rate, extractor.normalization, extractor.revision) == (
        24000,
        "none",
        commit,
    )
    (snapshot / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(ExtractError, match="beside its weights, a trained LORA adapter"):
        load("hf:made/up")
    for file in ("config.json", "model.safetensors"):
        (snapshot / file).unlink()
        (unknown / file).touch()
    with pytest.raises(
        ExtractError, match="hf:made/up: the checkpoint is only a trained LORA adapter"
    ):
        load("hf:made/up")


# -- prefixes and nesting --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        *(
            ("wavlm", p)
            for p in (
                "module.",
                "_orig_mod.",
                "model.",
                "encoder.",
                "module._orig_mod.",
                "net.wavlm.",
            )
        ),
        *((kind, "module._orig_mod.model.") for kind in OTHERS),
    ],
)
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_weights_under_one_prefix_are_those_of_the_encoder(
    tmp_path: Path, kind: str, prefix: str
) -> None:
    path, _ = saved(tmp_path, kind)
    plain = load(f"hf:{path}").digest
    file = path / "model.safetensors"
    state = load_file(file)
    save_file(
        {f"{prefix}{key}": tensor for key, tensor in state.items()}
        | {"head.weight": torch.zeros(2)},
        file,
    )
    assert load(f"hf:{path}").digest == plain
    # Names of compiled or checkpointed parts, in the middle.
    save_file(
        {key.replace("layers.", "layers._orig_mod."): tensor for key, tensor in state.items()}, file
    )
    assert load(f"hf:{path}").digest == plain


def test_two_encoders_are_refused_with_their_prefixes_unless_one_is_where_transformers_looks(
    folder: Path,
) -> None:
    plain = load(f"hf:{folder}").digest
    file = folder / "model.safetensors"
    state = load_file(file)

    def under(*prefixes: str) -> dict[str, torch.Tensor]:
        return {
            f"{p}{k}": tensor + n for n, p in enumerate(prefixes) for k, tensor in state.items()
        }

    save_file(under("student.", "teacher."), file)
    refused(folder, "hold 2 wavlm encoders, under the prefixes 'student.' and 'teacher.'")
    for first in ("wavlm.", ""):
        save_file(under(first, "teacher."), file)
        assert load(f"hf:{folder}").digest == plain
    save_file({"a.b.c": torch.zeros(1), "z": torch.zeros(1)}, file)
    refused(
        folder,
        "lacks weights of the wavlm encoder",
        "all of them; it holds 2 others, such as those under a.b, z",
    )
    lost = next(iter(under("module.")))
    save_file({key: tensor for key, tensor in under("module.").items() if key != lost}, file)
    refused(
        folder,
        "the checkpoint lacks weights of the wavlm encoder",
        f"such as {lost.removeprefix('module.')}",
    )


@pytest.mark.parametrize(
    ("name", "nest"),
    [
        *(
            (name, None)
            for name in ("pytorch_model.bin", "model.pt", "best.pth", "own.safetensors")
        ),
        *(
            ("epoch=3.ckpt", nest)
            for nest in ("state_dict", "model", "module", "model_state_dict", "weights")
        ),
    ],
)
def test_the_one_file_of_weights_may_have_any_name_and_nest_its_tensors(
    folder: Path, name: str, nest: str | None
) -> None:
    plain = load(f"hf:{folder}").digest
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"step": 1}, folder / "optimizer.pt")  # of training, beside them
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save(
            state if nest is None else {nest: state, "epoch": 3, "optimizer": {"lr": 0.1}},
            folder / name,
        )
    assert load(f"hf:{folder}").digest == plain


def test_pickles_that_hold_more_than_one_state_are_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for content, message in (
        ({"model": state, "state_dict": state}, "weights under each of state_dict, model"),
        ({"epoch": 3, "net": state}, "entries such as 'epoch', 'net'"),
        ([state], "a list"),
        ({"model": {"model": state}}, "entries such as 'model'"),
        (torch.zeros(3), "a Tensor"),
    ):
        torch.save(content, folder / "pytorch_model.bin")
        refused(folder, "pytorch_model.bin holds more than tensors, or holds them deeper", message)


# -- what lies there instead -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_what_stands_in_place_of_weights_is_said(folder: Path, name: str) -> None:
    file = folder / name
    if not file.exists():
        torch.save(load_file(folder / "model.safetensors"), file)
        (folder / "model.safetensors").unlink()
    whole = file.read_bytes()
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 377\n"
    for content, message in (
        (lfs, "a pointer of Git LFS in place of the file; run git lfs pull"),
        (
            b"/annex/objects/SHA256E-s1--0.safetensors\n",
            f"a pointer of git-annex in place of the file; run git annex get {name}",
        ),
        (b"<!DOCTYPE html><html>", "a web page in place of the file"),
        (b"<?xml version='1.0'?><Error/>", "a web page in place of the file"),
        (b"", "it is empty"),
        (whole[:-500], "download it again"),
        (whole[:100], "download it again"),
        (b"Entry not found", "download it again"),
    ):
        file.write_bytes(content)
        refused(folder, f"{name} is damaged", message)
    file.unlink()
    file.symlink_to(".git/annex/objects/gone")
    refused(folder, f"{name} is a link to .git/annex/objects/gone, which isn't there")
    file.unlink()
    (folder / f"{name}.incomplete").touch()
    refused(folder, "has neither", f"its download isn't finished: {name}.incomplete")
    (folder / "config.json").write_bytes(lfs)
    refused(folder, "can't read config.json: it is a pointer of Git LFS")


def test_a_cut_safetensors_file_says_how_much_of_it_is_there(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-500])
    refused(folder, f"it ends after {len(whole) - 500:,} of {len(whole):,} bytes")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../other.safetensors"}, "which isn't a file of its own folder"),
        ({"a": "/etc/passwd"}, "which isn't a file of its own folder"),
        ({"a": "sub/model.safetensors"}, "which isn't a file of its own folder"),
        ({"a": "sub\\model.safetensors"}, "which isn't a file of its own folder"),
        ({"a": ".."}, "which isn't a file of its own folder"),
        ({"a": ""}, "which isn't a file of its own folder"),
        ({"a": 3}, "names 3, which isn't a file"),
        ({"a": ["x"]}, "which isn't a file of its own folder"),
        (
            {"a": "model-00002-of-00002.safetensors"},
            "names model-00002-of-00002.safetensors, which isn't there",
        ),
        ({}, '"weight_map" in model.safetensors.index.json must say'),
        (["x"], '"weight_map" in model.safetensors.index.json must say'),
        (None, '"weight_map" in model.safetensors.index.json must say'),
    ],
)
def test_an_index_names_files_of_its_own_folder_and_all_are_there(
    folder: Path, weight_map: object, message: str
) -> None:
    for place in (folder.parent / "other.safetensors", folder / "sub" / "model.safetensors"):
        place.parent.mkdir(exist_ok=True)
        shutil.copy(folder / "model.safetensors", place)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map}), encoding="utf-8"
    )
    refused(folder, message)


def test_every_other_state_of_a_folder_says_what_is_there(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    refused(weights, f"{weights} is a file; a checkpoint is named by the folder of its files, here")
    refused(tmp_path, "there is no config.json", "there is one in model: name that folder")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    refused(
        folder, "there are shards, such as model-00001-of-00002.safetensors, without their index"
    )
    (folder / "model-00001-of-00002.safetensors").rename(folder / "a.pt")
    (folder / "b.pt").touch()
    refused(folder, "but a.pt, b.pt; leave one of them, or call it pytorch_model.bin")
    (folder / "a.pt").unlink()
    (folder / "b.pt").unlink()
    (folder / "tf_model.h5").touch()
    refused(folder, "tf_model.h5 holds weights of TensorFlow")


def test_weights_that_are_no_plain_numbers_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    key = "encoder.layers.0.attention.q_proj.weight"
    for tensor, message in (
        (state[key].to(torch.int8), f"{key} is stored as int8 (quantised or packed)"),
        (state[key].to(torch.float8_e4m3fn), "is stored as float8_e4m3fn"),
        (state[key] / 0, f"{key} holds values that aren't finite"),
    ):
        save_file({**state, key: tensor}, file)
        refused(folder, message)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        save_file({key: tensor.to(dtype) for key, tensor in state.items()}, file)
        assert {w.dtype for w in load(f"hf:{folder}").model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            "quantised (bitsandbytes",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "quantised (gptq: quantization_config",
        ),
        ({"quantization_config": "awq"}, "quantised (awq"),
        ({"model_type": ["wavlm"]}, "model_type ['wavlm'] isn't supported"),
        ({"model_type": {"wavlm": 1}}, "isn't supported"),
        ({"num_hidden_layers": 10**9}, "no usable model: num_hidden_layers is 1000000000"),
        ({"hidden_size": 1e300}, "no usable model: hidden_size is 1e+300"),
    ],
)
@pytest.mark.parametrize("kind", ["wavlm", "sew"])
def test_a_configuration_that_cannot_be_meant_is_refused(
    tmp_path: Path, kind: str, config: dict[str, Any], message: str
) -> None:
    path, _ = saved(tmp_path, kind)
    checkpoints.edit(path, **config)
    refused(path, message)


@pytest.mark.parametrize("kind", ["wavlm", "sew"])
def test_how_the_weights_were_stored_changes_no_feature(tmp_path: Path, kind: str) -> None:
    path, _ = saved(tmp_path, kind)
    plain = load(f"hf:{path}").digest
    for key in ("dtype", "torch_dtype"):
        for value in ("float16", "floaty", 3):
            checkpoints.edit(path, **{key: value})
            assert load(f"hf:{path}").digest == plain


def test_files_that_say_nothing_about_features_are_no_part_of_the_revision(folder: Path) -> None:
    name = f"hf:{folder}"
    before = load(name).revision
    for file in (
        "generation_config.json",
        "tokenizer_config.json",
        "vocab.json",
        "README.md",
        "training_args.bin",
    ):
        (folder / file).write_bytes(b"{}")
    (folder / "modeling_wavlm.py").write_text("raise SystemExit", encoding="utf-8")
    assert before == load(name).revision == local_revision(name)


def test_reading_stops_at_a_folder_of_weights_when_the_name_is_taken_by_a_folder(
    folder: Path,
) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    refused(folder, "has neither model.safetensors nor pytorch_model.bin")


# -- hostile checkpoints ---------------------------------------------------------------------------


class Calls:
    """Calls a function when it is unpickled without weights_only."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "adapter.fra.bin", "shard"])
@pytest.mark.parametrize("legacy", [False, True])
def test_no_pickle_runs_code_wherever_it_lies(
    folder: Path, tmp_path: Path, name: str, legacy: bool
) -> None:
    import os

    state = load_file(folder / "model.safetensors")
    if name != "adapter.fra.bin":
        (folder / "model.safetensors").unlink()
    if name == "shard":
        name = "pytorch_model-00001-of-00001.bin"
        (folder / "pytorch_model.bin.index.json").write_text(
            json.dumps({"weight_map": {"a": name}}), encoding="utf-8"
        )
    content = {"state_dict": state, "hook": Calls(os.mkdir, str(tmp_path / "owned"))}
    torch.save(content, folder / name, _use_new_zipfile_serialization=not legacy)
    refused(
        folder,
        f"{name} is damaged, or holds more than tensors and is refused because it could run code",
    )
    assert not (tmp_path / "owned").exists()


def test_the_weights_of_a_folder_are_found_without_opening_them(folder: Path) -> None:
    assert [path.name for path in find_weights(in_folder(folder))] == ["model.safetensors"]
