"""However a checkpoint is stored, and whatever wrapped its model, its weights are the same.

Number formats, shards, pickles of training and the names that wrappers give, for every family.
"""

import json

import pytest
import saved
import test_audio_tower
import test_checkpoint_files
import test_clap
import test_codec
import test_dasheng
import test_mert2
import test_muq
import test_own_models
import torch
from safetensors.torch import load_file, save_file

from svuprobe.extractors.loading import load
from svuprobe.extractors.networks.mel_conformer import MelConformer, MelConformerConfig


def _writes(kind):
    """Make what writes a checkpoint of a family, with its settings, into a folder."""
    if kind in test_checkpoint_files.FAMILY:
        return lambda folder: test_checkpoint_files.saved(folder, kind)
    if kind in test_codec.CODECS:
        return lambda folder: saved.published(
            folder,
            model := test_codec.made(kind),
            test_codec.feature_extractor(kind, model),
        )
    return lambda folder: saved.published(
        folder, test_audio_tower.made(kind), test_audio_tower.feature_extractor()
    )


def _mel_conformer(folder):
    """Write a network of svuprobe's own, as pre-training does."""
    torch.manual_seed(0)
    config = MelConformerConfig(hidden_size=32, blocks=2, heads=2, inner_size=48, kernel=5)
    (folder / "config.json").write_text(json.dumps(config.json()))
    save_file(MelConformer(config).state_dict(), folder / "model.safetensors")


# BEATs, OMAR-RQ and MusicFM are published as one pickle each, whose forms their own tests try.
FAMILIES = {
    **{
        kind: _writes(kind)
        for kind in (
            *test_checkpoint_files.FAMILY,
            *test_audio_tower.MODELS,
            *("encodec-24khz", "dac-16khz", "mimi"),
        )
    },
    "clap": lambda folder: saved.published(
        folder, test_clap.made(True), test_clap.feature_extractor(True)
    ),
    "mert2": test_mert2.published,
    "muq": lambda folder: test_muq.published("muq", folder),
    "dasheng": test_dasheng.on_hub,
    "mel-conformer": _mel_conformer,
}

BATCH_NORMS = {kind: FAMILIES[kind] for kind in ("muq", "dasheng", "clap")} | {
    "wav2vec2-conformer": lambda folder: test_own_models.write(folder, "wav2vec2-conformer")
}


def weights(folder):
    """The weights that are read, on their way through a network or transformers' class."""
    extractor = load(f"hf:{folder}")
    return getattr(extractor, "network", getattr(extractor, "model", None)).state_dict()


def same(read, plain, dtype=torch.float32):
    """Whether weights are others, after these have gone through a number format."""
    assert read.keys() == plain.keys()
    for key, value in plain.items():
        rounded = value.to(dtype).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(read[key], rounded), key
    return True


def in_format(state, dtype):
    return {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()
    }


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", FAMILIES)
def test_how_weights_are_stored_changes_none_but_by_rounding(tmp_path, kind):
    FAMILIES[kind](tmp_path)
    file = tmp_path / "model.safetensors"
    state, plain = load_file(file), weights(tmp_path)
    file.unlink()

    # Two shards of half precision; each weight is in the one that the index says.
    halves, index = ({}, {}), {}
    for number, (key, value) in enumerate(in_format(state, torch.float16).items()):
        halves[number % 2][key] = value
        index[key] = f"model-0000{1 + number % 2}-of-00002.safetensors"
    for name, half in zip(sorted(set(index.values())), halves, strict=True):
        save_file(half, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(weights(tmp_path), plain, torch.float16)
    for name in ("model.safetensors.index.json", *set(index.values())):
        (tmp_path / name).unlink()

    # bfloat16, as DistributedDataParallel saves it, beside what else a training keeps.
    wrapped = {f"module.{key}": value for key, value in in_format(state, torch.bfloat16).items()}
    torch.save({"model": wrapped, "epoch": 3}, tmp_path / "last.pt")
    assert same(weights(tmp_path), plain, torch.bfloat16)
    (tmp_path / "last.pt").unlink()

    # torch.compile around Lightning's, with a head beside it, and settings inside a processor.
    settings = tmp_path / "preprocessor_config.json"
    if settings.exists():
        inner = {"feature_extractor": json.loads(settings.read_text())}
        (tmp_path / "processor_config.json").write_text(json.dumps(inner))
        settings.unlink()
    for name, nest, prefix in (
        ("epoch=3.ckpt", "state_dict", "model._orig_mod."),
        ("best.pth", "model_state_dict", "_orig_mod.module.model."),
    ):
        wrapped = {f"{prefix}{key}": value for key, value in state.items()}
        torch.save({nest: {**wrapped, "head.weight": torch.zeros(2)}}, tmp_path / name)
        assert same(weights(tmp_path), plain)
        (tmp_path / name).unlink()


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_how_many_batches_a_norm_has_seen_is_not_needed(tmp_path, kind):
    BATCH_NORMS[kind](tmp_path)
    file = tmp_path / "model.safetensors"
    state, plain = load_file(file), weights(tmp_path)
    assert any(key.endswith("num_batches_tracked") for key in state)
    save_file({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, file)
    read = weights(tmp_path)
    learnt = {key: value for key, value in plain.items() if value.is_floating_point()}
    assert same({key: read[key] for key in learnt}, learnt)
