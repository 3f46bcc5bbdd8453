"""Extractors against transformers itself, and hand-made front ends against what sounds are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from torch import nn

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.loading import load
from svuprobe.extractors.models import feature_encoder, handmade, transformer
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.extractors.names import canonical, check_name, folder_here, is_control, slug
from svuprobe.extractors.networks.table import FAMILIES

KINDS = list(checkpoints.LAYOUTS)
LOADABLE = [name for name, card in CATALOGUE.items() if card.hub or card.source]
# Of the five families of waveform models; those that ship are in test_shipped.
PRETRAINED = [name for name, card in CATALOGUE.items() if card.family in checkpoints.LAYOUTS]
HANDMADE = ["logmel", "logmel-context", "mfcc", "chroma"]
TINY = "random:wav2vec2-tiny"


def noise(samples: int, clips: int = 1, seed: int = 0) -> torch.Tensor:
    """(clips, samples) of quiet noise with an offset, which normalisation must remove."""
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed)) + 0.02


def tone(hz: float, seconds: float = 1.0, amplitude: float = 0.5) -> torch.Tensor:
    """(1, samples) of a sine at 16 kHz."""
    time = torch.arange(round(16000 * seconds)) / 16000
    return amplitude * torch.sin(2 * torch.pi * hz * time)[None]


def full(audio: torch.Tensor) -> torch.Tensor:
    """Lengths of clips that fill the batch."""
    return torch.full((len(audio),), audio.shape[1], dtype=torch.int64)


@pytest.fixture(scope="module")
def tiny() -> TransformerExtractor:
    extractor = load(TINY)
    assert isinstance(extractor, TransformerExtractor)
    return extractor


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *LOADABLE,
        "hf:m-a-p/MERT-v1-95M",
        "hf:m-a-p/MERT-v1-95M@main",
        "hf:org/name@refs/pr/3",
        "hf:/a/b",
        "hf:./b",
        "hf:~/b",
        "random:wavlm-large",
        "random:wav2vec2-tiny#12",
    ],
)
def test_every_kind_of_name_is_accepted_and_its_canonical_spelling_is_stable(name: str) -> None:
    check_name(name)
    assert canonical(canonical(name)) == canonical(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", slug(name))
    assert slug(canonical(name)) == slug(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wavlm-base-pluss", "unknown model 'wavlm-base-pluss'; did you mean wavlm-base-plus"),
        ("MERT-v1-95M", "did you mean mert-v1-95m"),
        ("qqqq", "unknown model 'qqqq'; svuprobe models shows all"),
        ("panns:cnn14", "unknown model 'panns:cnn14'; svuprobe models shows all"),
        (
            "random:wavlm-bas",
            "unknown model 'random:wavlm-bas'; did you mean random:wavlm-base or random:wavlm",
        ),
        (
            "random:x",
            "'random:x'; a name of the catalogue stands after it, as in random:wavlm-base; ",
        ),
        # Of a front end nothing is drawn at random, so none is offered.
        ("random:mfc", "'random:mfc'; a name of the catalogue stands after it"),
        (
            "random:wavlm-base#x",
            "the seed must be a whole number from 0 up, as in random:wavlm-base#1",
        ),
        ("random:wavlm-base#", "the seed must be"),
        ("random:logmel", "'random:logmel': logmel has no weights to draw at random: use logmel"),
        (
            "hf:wavlm",
            "unknown model 'hf:wavlm'; write hf:ORG/NAME, hf:ORG/NAME@REVISION, hf:/folder",
        ),
        ("hf:", "write hf:ORG/NAME"),
        ("hf:tests", "write hf:ORG/NAME"),
        ("hf:a--b/c", "the hub has no such names; ORG and NAME have up to 96 letters"),
        ("hf:org/name.git", "without .git at the end"),
        ("hf:org/a..b", "the hub has no such names"),
        ("hf:org/-name", "the hub has no such names"),
        ("hf:org-/name", "the hub has no such names"),
        (f"hf:org/{97 * 'n'}", "the hub has no such names"),
        ("hf:org/caf\xe9", "write hf:ORG/NAME"),
        ("hf:org//name", "write hf:ORG/NAME"),
        ("hf:org/name@", "write hf:ORG/NAME"),
        ("hf:org/name@a..b", "a revision is a branch, a tag or a commit"),
        ("hf:org/name@/main", "a revision is a branch, a tag or a commit"),
        ("hf:org/name@main.lock", "a revision is a branch, a tag or a commit"),
        (f"random:wavlm-base#{2**64}", "and at most 18446744073709551615"),
        (f"random:wavlm-base#{5000 * '9'}", "the seed must be a whole number from 0 up"),
        ("hf:/a\nb", "model 'hf:/a\\nb': a name has no control characters"),
        ("hf:/a\0b", "a name has no control characters"),
        ("hf:/a\udce9", "a name has no control characters"),
        ("py:a\x1b[31m.py:Net", "a name has no control characters"),
        ("hear:a,w\r.pt", "a name has no control characters"),
        ("", "unknown model ''"),
        ("mine.py", "an extractor of your own is py:FILE.py:CLASS, here py:mine.py:CLASS"),
        ("a/mine.py:Mine", "an extractor of your own is py:FILE.py:CLASS, here py:a/mine.py:Mine"),
        (
            "model.ckpt",
            "a checkpoint on this disk is hf:/folder or hf:./folder, here hf:./model.ckpt",
        ),
        ("model.safetensors", "a checkpoint is named by the folder of its files, here hf:."),
        ("a/w.bin", "is named by the folder of its files, here hf:./a"),
        ("../a/config.json", "is named by the folder of its files, here hf:../a"),
        ("~/a/w.bin", "is named by the folder of its files, here hf:~/a"),
        ("py:a/mine.py", "an extractor of your own is py:FILE.py:CLASS, here py:a/mine.py:CLASS"),
        ("../there", "on this disk is hf:/folder or hf:./folder, here hf:../there"),
        ("m-a-p/MERT-v1-95M", "its name here is mert-v1-95m"),
        ("org/name", "a checkpoint on the Hugging Face hub is hf:org/name"),
        ("random:", "unknown model 'random:'"),
        (
            "beats-iter3",
            "isn't on the Hugging Face hub: download BEATs_iter3.pt of github.com/microsoft/unilm",
        ),
        ("wav2vec2-tiny", "without published weights: use random:wav2vec2-tiny"),
    ],
)
def test_names_that_cannot_be_read_are_refused_with_what_to_type(name: str, message: str) -> None:
    for function in (check_name, slug, load):
        with pytest.raises(ExtractError, match=re.escape(message)) as caught:
            function(name)
        assert "\n" not in str(caught.value)


def test_names_of_the_hub_are_those_that_huggingface_hub_takes() -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    def taken_by(function: Callable[[str], object], name: str) -> bool:
        try:
            function(name)
        except (HFValidationError, ExtractError):
            return False
        return True

    generator = np.random.default_rng(0)
    pieces = ["a", "B", "7", "-", "_", ".", "--", "..", ".git", "/", "git", 95 * "x", "\xe9", " "]
    for _ in range(3000):
        name = "o/" * generator.integers(2) + "".join(
            generator.choice(pieces, size=generator.integers(1, 6))
        )
        # Hf:NAME needs its ORG, hf:./NAME is a folder.
        if name.count("/") == 1 and not name.startswith((".", "/")):
            assert taken_by(check_name, f"hf:{name}") == taken_by(validate_repo_id, name), name


def test_a_folder_here_is_offered_and_names_of_any_length_have_a_slug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExtractError, match=re.escape("the folder here is hf:./mine")):
        check_name("hf:mine")
    part = 96 * "n"
    names = [f"hf:{part}/{part}@{end * 200}" for end in "ab"]
    names += [f"hf:/{250 * 'n'}{end}" for end in "ab"]
    names += [f"py:/{250 * 'n'}.py:{250 * 'C'}{end}" for end in "ab"]
    names += [f"hear:{250 * 'm'}{end},/{250 * 'w'}{other}" for end in "ab" for other in "ab"]
    slugs = {slug(name) for name in names}
    assert len(slugs) == len(names)
    # A revision, and the ending of an unfinished file, come after.
    assert max(map(len, slugs)) <= 200
    for name in (f"hf:/{'n/' * 3000}", f"hf:/{300 * 'n'}", f"py:/{300 * 'n'}.py:Net"):
        with pytest.raises(ExtractError, match="there is no "):
            load(name)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("typed_folder", ["copy", "./copy", "/absolute", "hf:./copy", "hf:copy"])
@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("model.safetensors", "hf:{}"),
        ("w.bin", "hf:{}"),
        ("config.json", "hf:{}"),
        ("w.pt", "hf:{}/w.pt"),
        ("mine.py", "py:{}/mine.py:CLASS"),
    ],
)
def test_a_file_is_answered_with_the_form_that_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    typed_folder: str,
    file: str,
    form: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy").mkdir()
    if there:
        (tmp_path / "copy" / file).touch()
    here = typed_folder.replace("/absolute", str(tmp_path / "copy"))
    name = folder_here(f"{here}/{file}")
    if name.startswith("hf:") and (file == "w.pt" if there else here == "hf:copy"):
        return  # a file of the form that works, or a repository of the hub
    # What was read as hf:FOLDER is absolute; else the folder is as it was typed, and hf: needs ./
    place = "./copy" if form.startswith("hf:") and here == "copy" else here
    place = str(tmp_path / "copy") if here.startswith("hf:") else place
    with pytest.raises(ExtractError) as caught:
        load(name)
    assert str(caught.value).endswith(f"here {form.format(place)}")
    check_name(form.format(place))


def test_a_file_that_no_model_is_read_from_says_which_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.onnx").touch()
    for name in ("a/m.onnx", "./a/m.onnx", "hf:./a/m.onnx"):
        with pytest.raises(ExtractError, match="no model is read from such a file; a checkpoint"):
            load(name)


def test_any_seed_that_torch_takes_is_taken() -> None:
    assert load(f"{TINY}#{2**64 - 1}").digest != load(f"{TINY}#{2**63}").digest


def test_random_without_a_seed_is_seed_0_and_folders_become_absolute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        canonical("random:wavlm-base") == canonical("random:wavlm-base#0") == "random:wavlm-base#0"
    )
    assert canonical("random:wavlm-base#007") == "random:wavlm-base#7"
    monkeypatch.chdir("/")
    assert canonical("hf:./models/x/") == "hf:/models/x" == canonical("hf:/models/../models/x")


def test_slugs_of_different_models_differ() -> None:
    names = [
        *LOADABLE,
        *(f"random:{name}#{seed}" for name in PRETRAINED for seed in (0, 1, 10)),
        "hf:/a/b/c",
        "hf:/a/x/c",
        "hf:/a/b-c",
        "hf:a/b-c",
        "hf:a-b/c",
        "hf:a/b",
        "hf:a/b@c",
        "hf:a/b@refs/c",
        "hf:a/b@refs-c",
        "hf:facebook/wav2vec2-base",
    ]
    assert len({slug(name) for name in names}) == len(names)


def test_controls_are_random_weights_and_handmade_features() -> None:
    assert all(is_control(name) for name in [*HANDMADE, TINY, "random:mert-v1-95m#3"])
    assert not any(is_control(name) for name in ["wavlm-base", "mert-v0", "hf:a/b", "hf:/a/logmel"])


def test_the_catalogue_imports_no_heavy_library() -> None:
    code = (
        "import sys, svuprobe.extractors.base; before = set(sys.modules)\n"
        "from svuprobe.extractors import names\n"
        "names.slug('random:wavlm-base'); names.check_name('hf:a/b')\n"
        "print({m.partition('.')[0] for m in set(sys.modules) - before} - "
        "set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'svuprobe'}"


# -- the catalogue's facts -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRETRAINED)
def test_architectures_have_the_size_of_the_published_models(name: str) -> None:
    card = CATALOGUE[name]
    with torch.device("meta"):
        model = transformer.architecture(card.family, card.config)
    assert card.parameters is not None
    assert sum(weights.numel() for weights in model.parameters()) == pytest.approx(
        card.parameters, rel=0.02
    )
    config: Any = model.config
    assert (config.num_hidden_layers + 1, config.hidden_size) == (card.layers, card.dim)
    assert feature_encoder.conv_geometry(config.conv_kernel, config.conv_stride) == (320, 400)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("wav2vec2-base", 94.4),
        ("wavlm-base-plus", 94.4),
        ("hubert-base", 94.4),
        ("data2vec-audio-base", 93.2),
        ("mert-v1-95m", 94.4),
        ("wav2vec2-large-lv60", 315.4),
        ("wavlm-large", 315.5),
        ("hubert-large", 315.4),
        ("mert-v1-330m", 315.4),
    ],
)
def test_cards_state_the_parameters_of_the_papers(name: str, millions: float) -> None:
    assert CATALOGUE[name].parameters == pytest.approx(millions * 1e6, rel=0.005)


def test_of_transformers_on_the_waveform_mert_v1_hears_24_khz_and_the_others_16() -> None:
    others = [card for card in CATALOGUE.values() if card.family not in FAMILIES]
    rates = {card.name: card.sample_rate for card in others}
    assert {name for name, rate in rates.items() if rate == 24000} == {
        "mert-v1-95m",
        "mert-v1-330m",
    }
    assert set(rates.values()) == {16000, 24000}


# -- checkpoints as published ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_states_equal_those_of_transformers_on_each_clip_alone(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.write(tmp_path / kind, kind)
    extractor = TransformerExtractor.from_folder(folder)
    plain = checkpoints.plain_model(folder, kind)
    audio = noise(4000, clips=2)
    states, frames = extractor(audio, full(audio))
    for clip, own in zip(audio, states, strict=True):
        with torch.no_grad():
            expected = torch.stack(
                plain(prepared(folder, clip), output_hidden_states=True).hidden_states, dim=1
            )
        assert own.shape == (checkpoints.LAYERS, 12, 32)
        torch.testing.assert_close(own[None], expected, rtol=1e-5, atol=1e-5)
    assert frames.tolist() == [12, 12]
    assert states.std(dim=(0, 2, 3)).min() > 0.1


def prepared(folder: Path, clip: torch.Tensor) -> torch.Tensor:
    """A clip as transformers prepares it for this checkpoint, (1, samples)."""
    from transformers import Wav2Vec2FeatureExtractor

    if not (folder / "preprocessor_config.json").exists():
        front = Wav2Vec2FeatureExtractor()
    else:
        front = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    prepared = front(clip.numpy(), sampling_rate=front.sampling_rate, return_tensors="pt")
    return prepared["input_values"]


@pytest.mark.parametrize("kind", KINDS)
def test_facts_come_from_the_checkpoint(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.write(tmp_path / kind, kind)
    extractor = load(f"hf:{folder}")
    fresh = checkpoints.LAYOUTS[kind].preprocessor or {}
    assert extractor.name == f"hf:{folder}"
    assert extractor.sample_rate == fresh.get("sampling_rate", 16000)
    normalized = extractor.normalization == "zero-mean-unit-variance"
    assert normalized == fresh.get("do_normalize", True)
    assert extractor.layer_names == ("input", "block01", "block02", "block03")
    assert (extractor.hop, extractor.receptive_field, extractor.dim) == (320, 400, 32)
    assert load(f"hf:{folder}", normalize=not normalized).normalization != extractor.normalization


def test_loading_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(f"hf:{checkpoints.write(tmp_path, 'mert-v1')}")
    assert capfd.readouterr() == ("", "")


def test_revision_and_digest_tell_weights_and_configurations_apart(tmp_path: Path) -> None:
    first = TransformerExtractor.from_folder(checkpoints.write(tmp_path / "a", "hubert"))
    again = TransformerExtractor.from_folder(checkpoints.write(tmp_path / "b", "hubert"))
    other = TransformerExtractor.from_folder(checkpoints.write(tmp_path / "c", "hubert", seed=1))
    assert (first.revision, first.digest) == (again.revision, again.digest)
    assert first.revision[:8] != other.revision[:8]
    assert first.digest != other.digest
    checkpoints.edit(tmp_path / "b", layer_norm_eps=1e-3)
    edited = TransformerExtractor.from_folder(tmp_path / "b")
    assert edited.revision[:8] != first.revision[:8]
    assert edited.digest == first.digest
    assert re.fullmatch(r"[0-9a-f]{40}", first.revision)
    assert re.fullmatch(r"[0-9a-f]{64}", first.digest)


def test_a_sharded_checkpoint_equals_the_whole_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    whole = checkpoints.write(tmp_path / "whole", "wavlm-large")
    sharded = checkpoints.write(tmp_path / "sharded", "wavlm-large")
    state = checkpoints.read(sharded)
    keys = sorted(state)
    shards = {
        "model-00001-of-00002.safetensors": keys[::2],
        "model-00002-of-00002.safetensors": keys[1::2],
    }
    for file, part in shards.items():
        save_file({key: state[key] for key in part}, sharded / file)
    weight_map = {key: file for file, part in shards.items() for key in part}
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (sharded / "model.safetensors").unlink()
    assert (
        TransformerExtractor.from_folder(sharded).digest
        == TransformerExtractor.from_folder(whole).digest
    )


def test_a_half_precision_checkpoint_is_computed_in_float32(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path, "hubert")
    state = {key: tensor.half() for key, tensor in checkpoints.read(folder).items()}
    checkpoints.save(folder, state, safetensors=False)
    extractor = TransformerExtractor.from_folder(folder)
    audio = noise(800)
    assert extractor(audio, full(audio))[0].dtype == torch.float32


# -- checkpoints to refuse -------------------------------------------------------------------------


def refused(folder: Path, message: str) -> None:
    """Assert that a checkpoint is refused in one line, which names it."""
    with pytest.raises(ExtractError, match=re.escape(message)) as caught:
        load(f"hf:{folder}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"hf:{folder}: ")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"feature_extractor_cqt": True},
            "also reads a constant-Q transform (feature_extractor_cqt)",
        ),
        ({"deepnorm": True}, "scales its residual connections (deepnorm)"),
        (
            {"model_type": "bert"},
            "model_type 'bert' isn't supported; supported are ",
        ),
        ({"model_type": None}, "model_type None isn't supported"),
        ({"num_hidden_layers": 4}, "the checkpoint lacks weights of the mert encoder"),
        ({"num_hidden_layers": 2}, "the checkpoint has unknown weights of the mert encoder"),
        ({"intermediate_size": 64}, "the checkpoint has misshapen weights of the mert encoder"),
        ({"conv_dim": [16] * 6}, "config.json describes no usable mert model"),
        ({"hidden_size": "many"}, "config.json describes no usable mert model"),
    ],
)
def test_a_configuration_that_is_not_the_weights_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    refused(checkpoints.write(tmp_path, "mert-v1", **config), message)


def test_a_projection_that_reads_cqt_bins_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path, "mert-v1")
    state = checkpoints.read(folder)
    state["feature_projection.projection.weight"] = torch.zeros(32, 16 + 336)
    checkpoints.save(folder, state, safetensors=False)
    refused(folder, "the projection takes 352 features but the convolutions make 16")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_weight_is_named(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.write(tmp_path, kind)
    state = checkpoints.read(folder)
    lost = next(
        key
        for key in state
        if "pos_conv_embed" in key and key.endswith(("weight_g", "conv.weight"))
    )
    del state[lost]
    checkpoints.save(folder, state, safetensors=checkpoints.LAYOUTS[kind].safetensors)
    refused(folder, "such as encoder.pos_conv_embed.")


def test_weights_only_training_needs_may_be_missing(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path, "wavlm")
    state = checkpoints.read(folder)
    before = TransformerExtractor.from_folder(folder).digest
    del state["masked_spec_embed"]
    checkpoints.save(folder, state, safetensors=False)
    assert TransformerExtractor.from_folder(folder).digest == before


def test_a_weight_norm_that_was_not_restored_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.write(tmp_path, "hubert")
    assign = nn.Module.load_state_dict

    def forget_g(module: nn.Module, state: dict[str, torch.Tensor], **options: Any) -> Any:
        """What torch and transformers did together for a while: g stays at its initial value."""
        gain = "encoder.pos_conv_embed.conv.parametrizations.weight.original0"
        return assign(module, {**state, gain: torch.ones_like(state[gain])}, **options)

    monkeypatch.setattr(nn.Module, "load_state_dict", forget_g)
    refused(folder, "the weight norm of encoder.pos_conv_embed.conv wasn't restored")


class Malicious:
    """Runs a command when unpickled without weights_only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "model", "hubert")
    state: dict[str, Any] = {**checkpoints.read(folder), "extra": Malicious(tmp_path / "owned")}
    torch.save(state, folder / "pytorch_model.bin")
    refused(folder, "holds more than tensors and is refused because it could run code")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["hubert", "music2vec"])
def test_damaged_weights_are_refused(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.write(tmp_path, kind)
    path = next(path for path in folder.iterdir() if path.suffix in (".bin", ".safetensors"))
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        refused(folder, f"{path.name} is damaged")


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", f"there is no folder {tmp_path / 'none'}")
    refused(tmp_path, "there is no config.json, so this isn't a transformers checkpoint")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "can't read config.json")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, "config.json must hold a JSON object")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused(tmp_path, "model_type 'bert' isn't supported")  # before anyone downloads the weights
    checkpoints.write(tmp_path, "hubert")
    (tmp_path / "pytorch_model.bin").unlink()
    refused(tmp_path, "has neither model.safetensors nor pytorch_model.bin")


# -- the hub ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An offline machine whose cache holds m-a-p/MERT-v0 as transformers leaves it there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--m-a-p--MERT-v0", "c0ffee" + 34 * "0"
    checkpoints.write(repository / "snapshots" / commit, "mert-v0")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / ".no_exist" / commit).mkdir(parents=True)
    (repository / ".no_exist" / commit / "preprocessor_config.json").touch()
    return repository


@pytest.mark.parametrize("name", ["mert-v0", "hf:m-a-p/MERT-v0", "hf:m-a-p/MERT-v0@main"])
def test_a_cached_checkpoint_loads_offline_at_its_commit(hub: Path, name: str) -> None:
    extractor = load(name)
    assert extractor.name == name
    assert extractor.revision == "c0ffee" + 34 * "0"
    # No preprocessor_config.json: the catalogue knows.
    assert (extractor.sample_rate, extractor.normalization) == (16000, "zero-mean-unit-variance")


def test_offline_and_not_cached_is_one_line_with_the_next_command(hub: Path) -> None:
    with pytest.raises(
        ExtractError, match="wavlm-base: can't get config.json of microsoft/wavlm-base"
    ) as caught:
        load("wavlm-base")
    assert "hf:/local/folder" in str(caught.value)
    assert "random:NAME" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_offline_an_unknown_preprocessor_is_not_guessed(hub: Path) -> None:
    next(hub.glob(".no_exist/*/preprocessor_config.json")).unlink()
    with pytest.raises(ExtractError, match="can't get preprocessor_config.json"):
        load("mert-v0")


# -- random weights --------------------------------------------------------------------------------


def test_random_weights_depend_on_the_seed_only() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = load(TINY)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert load(f"{TINY}#0").digest == first.digest
    other = load(f"{TINY}#1")
    assert other.digest != first.digest
    assert other.revision[:8] != first.revision[:8]
    assert first.revision == first.digest[:40]
    assert first.name == "random:wav2vec2-tiny#0"


def test_loading_a_checkpoint_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path, "wavlm")
    before = torch.random.get_rng_state()
    load(f"hf:{folder}")
    assert torch.equal(torch.random.get_rng_state(), before)


# -- frames and batches ----------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 721, 3999, 4000, 16000, 16079, 16080])
def test_frames_follow_from_samples(tiny: TransformerExtractor, samples: int) -> None:
    audio = noise(samples)
    states, frames = tiny(audio, full(audio))
    expected = 1 + (samples - tiny.receptive_field) // tiny.hop
    assert frames.tolist() == [expected]
    assert states.shape == (1, 13, expected, 96)
    assert frames.dtype == torch.int64


def test_one_sample_changes_only_the_frames_that_see_it(tmp_path: Path) -> None:
    # data2vec, because its convolutions have no group
    # norm, which would spread a change over all frames
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "data2vec"))
    encoder = extractor.model.feature_extractor.double()
    audio = noise(4000).double()
    for sample in (0, 319, 320, 399, 400, 1999, 3679, 3919, 3920, 3999):
        changed = audio.clone()
        changed[0, sample] += 1.0
        difference = encoder(changed) - encoder(audio)  # type: ignore[operator]
        difference = difference.abs().amax(dim=(0, 1))
        starts = np.arange(len(difference)) * extractor.hop
        sees = (starts <= sample) & (sample < starts + extractor.receptive_field)
        assert ((difference > 0).numpy() == sees).all()


def test_calls_are_repeatable_even_after_train_on_a_part(tmp_path: Path) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "wav2vec2"))
    audio = noise(8000)
    first, _ = extractor(audio, full(audio))
    assert torch.equal(extractor(audio, full(audio))[0], first)
    extractor.model.encoder.train()
    assert torch.equal(extractor(audio, full(audio))[0], first)
    extractor.model.train()
    assert torch.equal(extractor(audio, full(audio))[0], first)


def test_extractors_are_frozen(tiny: TransformerExtractor) -> None:
    assert not any(weights.requires_grad for weights in tiny.model.parameters())
    assert tiny.parameters == sum(weights.numel() for weights in tiny.model.parameters())


def test_normalised_features_ignore_gain_and_offset(tiny: TransformerExtractor) -> None:
    audio = noise(4000)
    assert tiny.normalization == "zero-mean-unit-variance"
    louder, quiet = tiny(3 * audio + 0.1, full(audio))[0], tiny(audio, full(audio))[0]
    torch.testing.assert_close(louder, quiet, rtol=1e-4, atol=1e-4)


def test_silence_stays_finite(tiny: TransformerExtractor) -> None:
    audio = torch.zeros(1, 4000)
    assert tiny(audio, full(audio))[0].isfinite().all()


def test_bfloat16_is_normalised_in_float32() -> None:
    extractor = load(TINY)
    audio = noise(8000) + 5.0  # the offset would swallow the noise in eight bits
    exact, _ = extractor(audio, full(audio))
    extractor.to("cpu", torch.bfloat16)
    rounded, _ = extractor(audio, full(audio))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05


def test_what_is_no_batch_is_refused(tiny: TransformerExtractor) -> None:
    audio = noise(4000, clips=2)
    for samples in (audio[0], audio[:, None]):
        with pytest.raises(ValueError, match=r"audio must be \(batch, samples\)"):
            tiny(samples, torch.tensor([4000, 3000]))
    with pytest.raises(
        ValueError, match=r"lengths \(batch,\) at most samples, not \(2, 4000\) and \[4000, 4001\]"
    ):
        tiny(audio, torch.tensor([4000, 4001]))


def test_a_clip_shorter_than_a_frame_is_refused(tiny: TransformerExtractor) -> None:
    audio = noise(399)
    message = (
        "random:wav2vec2-tiny#0: a clip of 399 samples is shorter than one frame, 400 samples at "
        "16000 Hz"
    )
    with pytest.raises(ExtractError, match=message):
        tiny(audio, full(audio))


# -- hand-made front ends --------------------------------------------------------------------------


def features(name: str, audio: torch.Tensor) -> torch.Tensor:
    """(frames, dim) of one clip."""
    return load(name)(audio, full(audio))[0][0, 0]


@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_cards_and_extractors_agree(name: str, tiny: TransformerExtractor) -> None:
    extractor, card = load(name), CATALOGUE[name]
    assert (extractor.sample_rate, extractor.dim) == (card.sample_rate, card.dim)
    assert (len(extractor.layer_names), extractor.parameters) == (card.layers, 0)
    assert (extractor.normalization, extractor.revision) == ("none", "v1")
    assert re.fullmatch(r"[0-9a-f]{64}", extractor.digest)
    # One frame of a control for one frame of a model, so that frame tasks compare like with like.
    assert (extractor.hop, extractor.sample_rate) == (tiny.hop, tiny.sample_rate)


def test_handmade_digests_differ() -> None:
    assert len({load(name).digest for name in HANDMADE}) == len(HANDMADE)


@pytest.mark.parametrize("hz", [220.0, 440.0, 1000.0, 3520.0])
def test_a_tone_peaks_in_the_mel_band_around_it(hz: float) -> None:
    import librosa

    edges = librosa.mel_frequencies(n_mels=130, fmin=0.0, fmax=8000.0)
    band = int(features("logmel", tone(hz)).mean(dim=0).argmax())
    assert edges[band] < hz < edges[band + 2]


def test_a_full_scale_sine_has_a_power_of_one() -> None:
    loudest = features("logmel", tone(1000.0, amplitude=1.0)).max()
    assert loudest.exp() == pytest.approx(1.0, abs=0.5)  # a band sums the bins of the peak
    assert features("logmel", torch.zeros(1, 4000)).max() == pytest.approx(np.log(1e-10), abs=1e-4)


@pytest.mark.parametrize(("hz", "pitch_class"), [(440.0, 9), (220.0, 9), (261.63, 0), (783.99, 7)])
def test_chroma_of_a_note_is_its_pitch_class(hz: float, pitch_class: int) -> None:
    chroma = features("chroma", tone(hz))
    assert (chroma.argmax(dim=-1) == pitch_class).all()
    torch.testing.assert_close(chroma.amax(dim=-1), torch.ones(len(chroma)))


def test_chroma_of_silence_is_zero() -> None:
    assert (features("chroma", torch.zeros(1, 8000)) == 0).all()


def test_louder_sound_changes_only_the_first_mfcc() -> None:
    audio = noise(16000)
    change = (features("mfcc", 2 * audio) - features("mfcc", audio)).abs()
    torch.testing.assert_close(
        change[:, 0], torch.full((len(change),), 2 * np.log(2)).float(), rtol=0, atol=1e-3
    )
    assert change[:, 1:].max() < 1e-3


def test_mfcc_are_the_cepstrum_of_logmel() -> None:
    from scipy.fft import dct

    audio = noise(8000)
    expected = dct(features("logmel", audio).numpy(), norm="ortho", axis=-1)[:, :20] / np.sqrt(128)
    np.testing.assert_allclose(features("mfcc", audio)[:, :20].numpy(), expected, atol=1e-5)


def test_deltas_are_slopes() -> None:
    ramp = 3.0 * torch.arange(10.0)[None, :, None]
    slope = handmade.deltas(ramp, torch.tensor([10]), width=2)[0, :, 0]
    torch.testing.assert_close(slope[2:-2], torch.full((6,), 3.0))
    assert (slope[:2] < 3.0).all()  # the first frame repeated before the start
    assert (handmade.deltas(torch.ones(1, 10, 1), torch.tensor([10]), width=2) == 0).all()


@pytest.mark.parametrize("name", HANDMADE)
def test_a_padded_batch_of_handmade_features_equals_one_by_one(name: str) -> None:
    lengths = torch.tensor([16000, 300, 5000, 1, 9999])
    # What follows a clip is not silence here, and still must not matter.
    audio = noise(16000, clips=5)
    states, frames = load(name)(audio, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, own = load(name)(audio[row : row + 1, :length], lengths[row : row + 1])
        assert own.tolist() == [frames[row]] == [alone.shape[2]]
        torch.testing.assert_close(states[row, :, : frames[row]], alone[0], rtol=1e-5, atol=1e-5)
        assert (states[row, :, frames[row] :] == 0).all()


@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_frames_follow_from_samples(name: str) -> None:
    extractor = load(name)
    for samples in (1, 1023, 1024, 1343, 1344, 4096, 4415, 4416, 16000):
        audio = noise(samples)
        expected = 1 + max(0, samples - extractor.receptive_field) // extractor.hop
        assert extractor(audio, full(audio))[1].tolist() == [expected]


@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_features_take_the_type_asked_for(name: str) -> None:
    extractor = load(name)
    audio = noise(8000)
    exact = extractor(audio, full(audio))[0]
    extractor.to("cpu", torch.bfloat16)
    rounded = extractor(audio, full(audio))[0]
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.01, atol=0.01)


def test_handmade_front_ends_refuse_what_has_no_frames() -> None:
    extractor = load("logmel")
    with pytest.raises(ExtractError, match="logmel: a clip of 0 samples has no features"):
        extractor(torch.zeros(1, 100), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"lengths \(batch,\) at most samples"):
        extractor(torch.zeros(1, 100), torch.tensor([101]))
    with pytest.raises(
        ExtractError, match="logmel: this model has no waveform normalisation to switch on"
    ):
        load("logmel", normalize=True)
