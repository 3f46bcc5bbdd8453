"""Tiny checkpoints with random weights, laid out file by file and key by key like the published
ones.

What is real: the names of files and weights (prefixes, heads, the old weight norm names), the
fields of config.json that differ between families, preprocessor_config.json. What is not: the sizes
and the values.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 16,
    # 16 channels a group: torch 2.13 gets bfloat16 convolutions of less wrong on CPUs with AMX.
    "num_conv_pos_embedding_groups": 2,
    # Published values: SpecAugment and layerdrop are on
    # in config.json and must not reach the features.
    "apply_spec_augment": True,
    "mask_time_prob": 0.5,
    "mask_time_length": 2,
    "layerdrop": 0.3,
}
LAYERS = TINY["num_hidden_layers"] + 1


@dataclass(frozen=True)
class Layout:
    """How a family is published.

    Attributes
    ----------
    config_class, model_class
        Plain classes of transformers that compute it.
    saved_class
        Class whose state is in the file, when that has a head.
    fields
        On top of `TINY`, what transformers needs to know.
    extra
        On top of that, what else is in config.json.
    preprocessor
        preprocessor_config.json; None if there is none.
    safetensors
        Whether the weights are safetensors or a pickle.
    """

    config_class: str
    model_class: str
    saved_class: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    preprocessor: dict[str, Any] | None = None
    safetensors: bool = False


def _preprocessor(do_normalize: bool, rate: int = 16000) -> dict[str, Any]:
    return {
        "do_normalize": do_normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": rate,
    }


# Left-overs of fairseq that config.json files carry and no configuration class knows.
_FAIRSEQ = {"mask_channel_length": 10, "mask_channel_prob": 0.0, "gradient_checkpointing": False}
_DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
_STABLE = {"do_stable_layer_norm": True}
_MERT: dict[str, Any] = {
    "model_type": "mert_model",
    "architectures": ["MERTModel"],
    "auto_map": {
        "AutoConfig": "configuration_MERT.MERTConfig",
        "AutoModel": "modeling_MERT.MERTModel",
    },
    "feature_extractor_cqt": False,
    "feature_extractor_cqt_bins": 336,
    "deepnorm": False,
    "attention_relax": -1.0,
    "tokenizer_class": "Wav2Vec2CTCTokenizer",
    **_FAIRSEQ,
}

LAYOUTS = {
    "wav2vec2": Layout(
        "Wav2Vec2Config",
        "Wav2Vec2Model",
        saved_class="Wav2Vec2ForPreTraining",
        fields={"codevector_dim": 8, "num_codevectors_per_group": 4, "proj_codevector_dim": 8},
        extra={"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForPreTraining"], **_FAIRSEQ},
        preprocessor=_preprocessor(True),
    ),
    "wavlm": Layout(
        "WavLMConfig",
        "WavLMModel",
        fields={"num_buckets": 32, "max_bucket_distance": 80},
        extra={"model_type": "wavlm", "architectures": ["WavLMModel"], **_FAIRSEQ},
        preprocessor=_preprocessor(False),
    ),
    "wavlm-large": Layout(
        "WavLMConfig",
        "WavLMModel",
        fields={
            "num_buckets": 32,
            "max_bucket_distance": 80,
            "feat_extract_norm": "layer",
            **_STABLE,
        },
        extra={"model_type": "wavlm", "architectures": ["WavLMModel"]},
        preprocessor=_preprocessor(True),
        safetensors=True,
    ),
    "hubert": Layout(
        "HubertConfig",
        "HubertModel",
        extra={"model_type": "hubert", "architectures": ["HubertModel"], **_FAIRSEQ},
        preprocessor=_preprocessor(True),
    ),
    "data2vec": Layout(
        "Data2VecAudioConfig",
        "Data2VecAudioModel",
        saved_class="Data2VecAudioForCTC",
        fields={**_DATA2VEC, "vocab_size": 32},
        extra={
            "model_type": "data2vec-audio",
            "architectures": ["Data2VecAudioForCTC"],
            "feat_extract_norm": "layer",
        },
        preprocessor=_preprocessor(True),
    ),
    "mert-v0": Layout("HubertConfig", "HubertModel", extra=_MERT),
    "mert-v1": Layout(
        "HubertConfig",
        "HubertModel",
        extra={**_MERT, "sample_rate": 24000},
        preprocessor=_preprocessor(False, 24000),
    ),
    "mert-330m": Layout(
        "HubertConfig",
        "HubertModel",
        fields=_STABLE,
        extra={**_MERT, "sample_rate": 24000, "attention_relax": 32.0},
        preprocessor=_preprocessor(False, 24000),
        safetensors=True,
    ),
    "music2vec": Layout(
        "Data2VecAudioConfig",
        "Data2VecAudioModel",
        fields=_DATA2VEC,
        extra={
            "model_type": "data2vec-audio",
            "architectures": ["Data2VecAudioModel"],
            "vocab_size": "32",
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
        },
        preprocessor=_preprocessor(True),
        safetensors=True,
    ),
}


def write(folder: Path, kind: str, *, seed: int = 0, **config: Any) -> Path:
    """Write a checkpoint and return its folder.

    Parameters
    ----------
    folder
        Is made if it doesn't exist.
    kind
        A key of `LAYOUTS`.
    seed
        Of the weights.
    **config
        Entries of config.json to add or replace, after the weights were made without them.
    """
    layout = LAYOUTS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    content = {**TINY, **layout.fields, **layout.extra, "transformers_version": "4.24.0", **config}
    (folder / "config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    if layout.preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(
            json.dumps(layout.preprocessor), encoding="utf-8"
        )
    save(folder, make_state(kind, seed), safetensors=layout.safetensors)
    return folder


def make_state(kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint under the names they are published with, the caller's to change."""
    return {key: tensor.clone() for key, tensor in _made_state(kind, seed).items()}


@functools.cache
def _made_state(kind: str, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint, made once: to make a network takes longer than to copy it."""
    import transformers

    layout = LAYOUTS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = getattr(transformers, layout.saved_class or layout.model_class)(plain_config(kind))
        # Fresh biases are 0 and fresh norms 1: move them
        # all, or a test could not see them swapped or lost.
        state = {
            key: tensor + 0.1 * torch.randn(tensor.shape)
            for key, tensor in model.state_dict().items()
        }
    return {_old_key(key): tensor for key, tensor in state.items()}


def plain_config(kind: str) -> Any:
    """Configuration of the plain class of transformers."""
    import transformers

    layout = LAYOUTS[kind]
    return getattr(transformers, layout.config_class)(**{**TINY, **layout.fields})


def plain_model(folder: Path, kind: str) -> Any:
    """The checkpoint as transformers itself loads it, in eval mode."""
    import transformers

    model_class = getattr(transformers, LAYOUTS[kind].model_class)
    return model_class.from_pretrained(folder, config=plain_config(kind)).eval()


def read(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint."""
    from safetensors.torch import load_file

    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


def save(folder: Path, state: dict[str, torch.Tensor], *, safetensors: bool) -> None:
    """Write the weights of a checkpoint."""
    from safetensors.torch import save_file

    if safetensors:
        save_file(
            {key: tensor.contiguous() for key, tensor in state.items()},
            folder / "model.safetensors",
        )
    else:
        torch.save(state, folder / "pytorch_model.bin")


def edit(folder: Path, **config: Any) -> None:
    """Change entries of config.json."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **config}
    path.write_text(json.dumps(content), encoding="utf-8")


def _old_key(key: str) -> str:
    """Name of a weight as torch before 2.1 saved it."""
    key = key.replace(".parametrizations.weight.original0", ".weight_g")
    return key.replace(".parametrizations.weight.original1", ".weight_v")
