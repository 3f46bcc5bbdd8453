"""Make the encoder that a checkpoint's config.json and feature extractor's settings describe.

`svuprobe.extractors.checkpoints.source` finds the files, `svuprobe.extractors.checkpoints.weights`
reads the tensors. No code of a checkpoint runs: both are data. Weights are assigned here, not by
``from_pretrained``, so that one missing, superfluous or misshapen weight is an error whatever the
version of transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.checkpoints.weights import check_values, select

# family -> configuration class, model class
_FAMILIES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "hubert": ("HubertConfig", "HubertModel"),
    "data2vec": ("Data2VecAudioConfig", "Data2VecAudioModel"),
    "mert": ("HubertConfig", "HubertModel"),
}

# Under which the encoder's weights are saved by classes with a head.
_PREFIXES = {
    "wav2vec2": ("wav2vec2.",),
    "wavlm": ("wavlm.",),
    "hubert": ("hubert.",),
    "data2vec": ("data2vec_audio.",),
    "mert": ("hubert.", "mert_model."),
}

# model_type in config.json -> family
MODEL_TYPES = {
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "hubert": "hubert",
    "data2vec-audio": "data2vec",
    "mert_model": "mert",
}


# Training only. Without masking there is no masked_spec_embed
# to load; adapters come after the last layer.
_OFF = {
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "add_adapter": False,
}


# Fields the encoder doesn't need. music2vec's vocab_size
# is a string, which a strict configuration refuses.
_UNUSED = {"vocab_size", "num_feat_extract_layers"}


# Names of the weight norm before torch 2.1, in which the published checkpoints were saved.
_WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


_RATES = (1000, 768_000)  # Hz

# More than any model has; config.json is data from
# elsewhere, and a thousand million blocks take for ever.
_MOST_BLOCKS, _LARGEST = 1000, 2**24

# Wrappers of a whole encoder, whose own configuration lies inside theirs.
_WRAPPING = {"speech-encoder-decoder": "encoder"}


def architecture(family: str, fields: Mapping[str, Any]) -> nn.Module:
    """Make an encoder with fresh weights, on torch's default device.

    Parameters
    ----------
    family
        wav2vec2, wavlm, hubert, data2vec or mert.
    fields
        The entries of a config.json, or those that differ from the defaults. Entries that say
        nothing about the architecture are ignored; what only serves training is switched off.
    """
    import transformers

    config_class, model_class = _FAMILIES[family]
    make_config = getattr(transformers, config_class)
    # What every configuration of transformers has (labels, generation) is not architecture.
    general = transformers.PretrainedConfig().to_dict().keys() | _UNUSED
    known = make_config().to_dict().keys() - general
    chosen = {**fields, **_OFF}
    config = make_config(**{key: value for key, value in chosen.items() if key in known})
    # The class picks torch's fused attention where it
    # has it (all but WavLM, whose scores carry a bias).
    return getattr(transformers, model_class)(config)


def empty(family: str, config: dict[str, Any], name: str) -> nn.Module:
    """Make the encoder that a config.json describes, without memory for its weights."""
    try:
        # Random numbers of initial weights must not move the caller's generator.
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return architecture(family, config)
    except Exception as error:  # the configuration classes raise other types in every version
        reason = " ".join(str(error).split())
        raise ExtractError(
            f"{name}: config.json describes no usable {family} model: {reason}"
        ) from None


def encoder_config(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the encoder's part of a config.json: all of it, unless there is a decoder too.

    Raises
    ------
    ExtractError
        Quantised weights, a model type that isn't a name, or absurd sizes.
    """
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in _WRAPPING:
        inner = config.get(_WRAPPING[model_type])
        if not isinstance(inner, dict):
            raise ExtractError(
                f"{name}: {_WRAPPING[model_type]} in config.json of a {model_type} must be an "
                "object"
            )
        config = {**inner, "quantization_config": config.get("quantization_config")}
    if (quantized := config.get("quantization_config")) is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ExtractError(
            f"{name}: the weights are quantised ({method!s:.40}: quantization_config in "
            "config.json), which svuprobe doesn't unpack; save the model in float32, float16 or "
            "bfloat16, or use the one it was made of"
        )
    # Sizes come from elsewhere: an absurd one would fill the memory before anything failed.
    for key, value in config.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        most = _MOST_BLOCKS if "layers" in key else _LARGEST
        if -most <= value <= most:
            continue
        if "size" in key or "layers" in key or "dim" in key or key.startswith("num_"):
            raise ExtractError(
                f"{name}: config.json describes no usable model: {key} is {value!r:.40}"
            )
    return config


def family_of(config: dict[str, Any], name: str) -> str:
    """Return the family of a config.json, if svuprobe computes exactly what the model was trained
    to.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        supported = ", ".join(sorted(MODEL_TYPES))
        raise ExtractError(
            f"{name}: model_type {model_type!r} isn't supported; supported are {supported}"
        )
    if config.get("feature_extractor_cqt"):
        raise ExtractError(
            f"{name}: this MERT also reads a constant-Q transform (feature_extractor_cqt), which "
            "HuBERT doesn't; use one without, such as mert-v1-95m"
        )
    if config.get("deepnorm"):
        raise ExtractError(
            f"{name}: this MERT scales its residual connections (deepnorm), which HuBERT doesn't; "
            "use one without, such as mert-v1-95m"
        )
    return MODEL_TYPES[model_type]


def waveform_of(
    settings: dict[str, Any] | None, card: ModelCard | None, config: dict[str, Any], name: str
) -> tuple[int, bool]:
    """Return the sample rate in Hz and whether to normalise
    (`svuprobe.extractors.models.transformer`).
    """
    if settings is not None:
        normalize = settings.get("do_normalize", True)
        if not isinstance(normalize, bool):
            raise ExtractError(
                f"{name}: do_normalize of the feature extractor must be true or false, not "
                f"{normalize!r}"
            )
        return sample_rate_of(settings, "sampling_rate", name), normalize
    if card is not None:
        return card.sample_rate, card.normalize
    return sample_rate_of(config, "sample_rate", name), True


def sample_rate_of(entries: Mapping[str, Any], key: str, name: str) -> int:
    """Return the sample rate in Hz that a JSON file says; 16 kHz, transformers' default, if
    none.
    """
    rate = entries.get(key, 16000)
    least, most = _RATES
    if isinstance(rate, bool) or not isinstance(rate, int) or not least <= rate <= most:
        raise ExtractError(
            f"{name}: {key} must be a whole number of Hz from {least:,} to {most:,}, not "
            f"{rate!r:.40}"
        )
    return rate


def fill(model: nn.Module, state: Mapping[str, torch.Tensor], family: str, name: str) -> None:
    """Give every weight of a model on the meta device its value, in the model's type.

    Parameters
    ----------
    model
        From `empty`.
    state
        All weights of the checkpoint, from `svuprobe.extractors.checkpoints.weights.read_state`.
    family, name
        Of the model.

    Raises
    ------
    ExtractError
        Weights that aren't exactly those of the model, that aren't plain numbers, or that weren't
        restored.
    """
    wanted = model.state_dict()
    # The names of the weight norm in the file are older than the model's.
    names = {*wanted, *(older_key(key) for key in wanted)}
    stored = select(state, names, _PREFIXES[family], kind=family, name=name)
    current = {current_key(key): tensor for key, tensor in stored.items()}
    _check_state(current, wanted, family, name)
    check_values({key: current[key] for key in wanted}, wanted, name)
    model.load_state_dict(
        {key: current[key].to(like.dtype) for key, like in wanted.items()}, assign=True
    )
    _check_weight_norm(model, stored, name)


def current_key(key: str) -> str:
    """Return the name in today's transformers of a weight in a checkpoint."""
    for old, new in _WEIGHT_NORM.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def older_key(key: str) -> str:
    """Return the name before torch 2.1 of a weight in today's transformers."""
    for old, new in _WEIGHT_NORM.items():
        if key.endswith(new):
            return key.removesuffix(new) + old
    return key


def _check_state(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], family: str, name: str
) -> None:
    """Refuse a checkpoint unless it holds exactly the weights of the encoder, in their shapes.

    Other weights (heads, quantisers) are fine, but one more inside the encoder means that
    config.json describes another model than the weights belong to.
    """
    projection = "feature_projection.projection.weight"
    if family == "mert" and projection in state:
        takes, makes = state[projection].shape[-1], wanted[projection].shape[-1]
        if takes > makes:
            raise ExtractError(
                f"{name}: the projection takes {takes} features but the convolutions make {makes}: "
                "this MERT also reads a constant-Q transform, which HuBERT doesn't"
            )
    # Heads and quantisers lie beside the encoder's parts, not inside them.
    parts = {key.partition(".")[0] for key in wanted}
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted and key.partition(".")[0] in parts]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    for what, keys in (("lacks", missing), ("has unknown", extra), ("has misshapen", misshapen)):
        if keys:
            raise ExtractError(
                f"{name}: the checkpoint {what} weights of the {family} encoder that config.json "
                f"describes: {len(keys)}, such as {keys[0]}"
            )


def _check_weight_norm(model: nn.Module, stored: Mapping[str, torch.Tensor], name: str) -> None:
    """Compare the positional convolution's effective weight with g * v / ||v|| of the file.

    Versions of transformers and torch disagree on where g and v are kept; some silently left them
    random.
    """
    for key in stored:
        stem = key.removesuffix(".weight_g")
        if stem == key or not stem.startswith("encoder."):
            continue
        g, v = stored[key].float(), stored[f"{stem}.weight_v"].float()
        expected = g * v / v.norm(dim=(0, 1), keepdim=True)  # one g for each position in the kernel
        weight = model.get_submodule(stem).weight
        if not torch.allclose(weight, expected, rtol=1e-4, atol=1e-6):  # type: ignore[arg-type]
            raise ExtractError(
                f"{name}: the weight norm of {stem} wasn't restored (this is a bug: please report "
                "it with the versions of torch and transformers)"
            )


def digest_state(model: nn.Module) -> str:
    """Digest the names, types, shapes and bytes of all weights: SHA-256."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
