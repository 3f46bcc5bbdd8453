"""Checkpoints of self-supervised transformers: finding, reading and checking them.

No code of a checkpoint runs: config.json is read as data, weights are safetensors or a pickle read with
``weights_only``. Weights are assigned here, not by ``from_pretrained``, so that one missing, superfluous or
misshapen weight is an error whatever the version of transformers.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError

if TYPE_CHECKING:
    from svuprobe.extractors.catalogue import ModelCard


# family -> configuration class, model class, prefix of the encoder's keys in checkpoints saved with a head
_FAMILIES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model", "wav2vec2."),
    "wavlm": ("WavLMConfig", "WavLMModel", "wavlm."),
    "hubert": ("HubertConfig", "HubertModel", "hubert."),
    "data2vec": ("Data2VecAudioConfig", "Data2VecAudioModel", "data2vec_audio."),
    "mert": ("HubertConfig", "HubertModel", "hubert."),
}


# model_type in config.json -> family
MODEL_TYPES = {
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "hubert": "hubert",
    "data2vec-audio": "data2vec",
    "mert_model": "mert",
}


# Training only. Without masking there is no masked_spec_embed to load; adapters come after the last layer.
_OFF = {
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "add_adapter": False,
}


# Fields the encoder doesn't need. music2vec's vocab_size is a string, which a strict configuration refuses.
_UNUSED = {"vocab_size", "num_feat_extract_layers"}


# Names of the weight norm before torch 2.1, in which the published checkpoints were saved.
_WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


Find = Callable[[str], Path | None]


def architecture(family: str, fields: Mapping[str, Any]) -> nn.Module:
    """An encoder with fresh weights, on torch's default device.

    Parameters
    ----------
    family
        wav2vec2, wavlm, hubert, data2vec or mert.
    fields
        The entries of a config.json, or those that differ from the defaults. Entries that say nothing about
        the architecture are ignored; what only serves training is switched off.
    """
    import transformers

    config_class, model_class, _ = _FAMILIES[family]
    make_config = getattr(transformers, config_class)
    general = transformers.PretrainedConfig().to_dict().keys() | _UNUSED
    known = make_config().to_dict().keys() - general
    chosen = {**fields, **_OFF}
    config = make_config(**{key: value for key, value in chosen.items() if key in known})
    # The class picks torch's fused attention where it has it (all but WavLM, whose scores carry a bias).
    return getattr(transformers, model_class)(config)


def empty(family: str, config: dict[str, Any], name: str) -> nn.Module:
    """The encoder that a config.json describes, without memory for its weights."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return architecture(family, config)
    except Exception as error:  # the configuration classes raise other types in every version
        reason = " ".join(str(error).split())
        raise ExtractError(f"{name}: config.json describes no usable {family} model: {reason}") from None


def find_weights(find: Find, name: str) -> tuple[Path, ...]:
    """The file or files with the weights, safetensors before pickles."""
    unreachable = None
    for file in _WEIGHT_FILES:
        try:
            if (single := find(file)) is not None:
                return (single,)
            if (index := find(f"{file}.index.json")) is not None:
                shards = sorted(set(read_json(index, name).get("weight_map", {}).values()))
                return tuple(path for shard in shards if (path := find(shard)) is not None)
        except ExtractError as error:  # offline: the cache may hold the other kind of file
            unreachable = unreachable or error
    raise unreachable or ExtractError(f"{name}: the checkpoint has neither {' nor '.join(_WEIGHT_FILES)}")


def download(hub: str, file: str, revision: str | None, name: str) -> Path | None:
    """A file of a repository on the hub; None if the repository is known not to have it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub, file, revision=revision))
    except Exception as error:  # network, authorisation, unknown repository: types differ between versions
        remote = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        cached = try_to_load_from_cache(hub, file, revision=revision)
        # Neither a path nor None is the cache's marker for a file that this commit is known not to have.
        if remote or (cached is not None and not isinstance(cached, str)):
            return None
        raise ExtractError(
            f"{name}: can't get {file} of {hub} from the Hugging Face hub, and the local cache lacks it "
            f"({type(error).__name__}); check the name and the network, or use a downloaded copy, "
            "hf:/local/folder, or random weights, random:NAME"
        ) from None


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExtractError(f"{name}: can't read {path.name}: {error}") from None
    if not isinstance(content, dict):
        raise ExtractError(f"{name}: {path.name} must hold a JSON object")
    return content


def family_of(config: dict[str, Any], name: str) -> str:
    """Family of a config.json, if svuprobe computes exactly what the checkpoint was trained to compute."""
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        supported = ", ".join(sorted(MODEL_TYPES))
        raise ExtractError(f"{name}: model_type {model_type!r} isn't supported; supported are {supported}")
    if config.get("feature_extractor_cqt"):
        raise ExtractError(
            f"{name}: this MERT also reads a constant-Q transform (feature_extractor_cqt), which HuBERT "
            "doesn't; use one without, such as mert-v1-95m"
        )
    if config.get("deepnorm"):
        raise ExtractError(
            f"{name}: this MERT scales its residual connections (deepnorm), which HuBERT doesn't; "
            "use one without, such as mert-v1-95m"
        )
    return MODEL_TYPES[model_type]


def waveform_of(
    preprocessor: dict[str, Any] | None, card: ModelCard | None, config: dict[str, Any]
) -> tuple[int, bool]:
    """Sample rate in Hz, and whether to normalise; see the module's conventions."""
    if preprocessor is not None:
        return int(preprocessor.get("sampling_rate", 16000)), bool(preprocessor.get("do_normalize", True))
    if card is not None:
        return card.sample_rate, card.normalize
    return int(config.get("sample_rate", 16000)), True


def _read_weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, without running any code it may hold."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, Mapping) and all(isinstance(value, torch.Tensor) for value in state.values()):
            return dict(state)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError):
        pass  # what they say differs; what a user can do about it doesn't
    raise ExtractError(
        f"{name}: {path.name} is damaged, or holds more than tensors and is refused because it could run "
        "code; download it again, or convert it to safetensors"
    )


def fill(model: nn.Module, files: tuple[Path, ...], family: str, name: str) -> None:
    """Give every weight of a model on the meta device its value from the files, in the model's type."""
    prefix = _FAMILIES[family][2]
    stored: dict[str, torch.Tensor] = {}
    for path in files:
        stored.update(_read_weights(path, name))
    state = {_current_key(key, prefix): tensor for key, tensor in stored.items()}
    wanted = model.state_dict()
    _check_state(state, wanted, family, name)
    model.load_state_dict({key: state[key].to(like.dtype) for key, like in wanted.items()}, assign=True)
    _check_weight_norm(model, stored, prefix, name)


def _current_key(key: str, prefix: str) -> str:
    """Name in the encoder of today's transformers of a weight in a checkpoint."""
    key = key.removeprefix(prefix)
    for old, new in _WEIGHT_NORM.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _check_state(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], family: str, name: str
) -> None:
    """Refuse a checkpoint unless it holds exactly the weights of the encoder, in their shapes.

    Other weights (heads, quantisers) are fine, but one more inside the encoder means that config.json
    describes another model than the weights belong to.
    """
    projection = "feature_projection.projection.weight"
    if family == "mert" and projection in state:
        takes, makes = state[projection].shape[-1], wanted[projection].shape[-1]
        if takes > makes:
            raise ExtractError(
                f"{name}: the projection takes {takes} features but the convolutions make {makes}: "
                "this MERT also reads a constant-Q transform, which HuBERT doesn't"
            )
    parts = {key.partition(".")[0] for key in wanted}
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted and key.partition(".")[0] in parts]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    for what, keys in (("lacks", missing), ("has unknown", extra), ("has misshapen", misshapen)):
        if keys:
            raise ExtractError(
                f"{name}: the checkpoint {what} weights of the {family} encoder that config.json describes: "
                f"{len(keys)}, such as {keys[0]}"
            )


def _check_weight_norm(model: nn.Module, stored: Mapping[str, torch.Tensor], prefix: str, name: str) -> None:
    """Compare the positional convolution's effective weight with g * v / ||v|| of the file.

    Versions of transformers and torch disagree on where g and v are kept; some silently left them random.
    """
    for key in stored:
        stem = key.removesuffix(".weight_g")
        if stem == key or not stem.removeprefix(prefix).startswith("encoder."):
            continue
        g, v = stored[key].float(), stored[f"{stem}.weight_v"].float()
        expected = g * v / v.norm(dim=(0, 1), keepdim=True)  # one g for each position in the kernel
        weight = model.get_submodule(stem.removeprefix(prefix)).weight
        if not torch.allclose(weight, expected, rtol=1e-4, atol=1e-6):  # type: ignore[arg-type]
            raise ExtractError(
                f"{name}: the weight norm of {stem} wasn't restored (this is a bug: please report it "
                "with the versions of torch and transformers)"
            )


def digest_state(model: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def folder_revision(folder: Path, name: str) -> str:
    """Return the digest of a checkpoint's files in a folder, which is its revision, without loading them.

    Raises
    ------
    ExtractError
        No such folder, or one without config.json or weights.
    """
    if not folder.is_dir():
        raise ExtractError(f"{name}: there is no folder {folder}")

    def find(file: str) -> Path | None:
        return folder / file if (folder / file).is_file() else None

    described = find("config.json")
    if described is None:
        raise ExtractError(f"{name}: there is no config.json, so this isn't a transformers checkpoint")
    return digest_files(described, find("preprocessor_config.json"), *find_weights(find, name))[:40]


def digest_files(*paths: Path | None) -> str:
    """Return the SHA-256 of the names and the bytes of files; None stands for one that isn't there.

    A file is read once as long as it stays what it is: a suite asks for a model's revision before every result.
    """
    return _digest_unchanged(tuple((path, *_state_of(path)) for path in paths if path is not None))


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file does: which one it is, its size and its times in nanoseconds."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=256)
def _digest_unchanged(files: tuple[tuple[Any, ...], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
