"""Load models in a process whose fresh memory holds a chosen byte, and digest what they compute.

glibc fills what it hands out, and what is given back, with a byte and its complement where asked
to: values that nobody wrote differ between two processes with two such bytes, and others don't.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.loading import load
from svuprobe.extractors.models import native
from svuprobe.extractors.networks.table import FAMILIES, architecture_of

# Fields of small networks of the families whose sizes a configuration says; the others are compared
# without running them.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "beats-encoder": {
        "encoder_layers": 2,
        "encoder_embed_dim": 48,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
        "embed_dim": 24,
        "conv_pos": 16,
        "conv_pos_groups": 3,
        "num_buckets": 32,
        "max_distance": 24,
        "deep_norm": True,
    },
    "audio-tower": {
        "model_type": "qwen2_audio",
        "audio_config": {
            "d_model": 24,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "num_mel_bins": 20,
            "max_source_positions": 50,
        },
        "feature_extractor": {"feature_size": 20, "chunk_length": 1},
    },
    "clap": {
        "model_type": "clap",
        "audio_config": {
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "depths": [2, 2],
            "num_attention_heads": [2, 2],
        },
        "feature_extractor": {"max_length_s": 2, "truncation": "rand_trunc"},
    },
    "codec": {
        "model_type": "mimi",
        "num_filters": 2,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "upsample_groups": 16,
    },
    "dasheng": {"embed_dim": 24, "depth": 2, "num_heads": 3, "target_length": 40},
    "mel-conformer": {"hidden_size": 32, "blocks": 2, "heads": 2, "inner_size": 48},
    "mert2": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_mel_bins": 12,
        "subsampling_channels": [12, 20, 16],
    },
    "muq": {
        "conv_dim": 8,
        "encoder_dim": 32,
        "encoder_depth": 2,
        "w2v2_config": {"num_attention_heads": 4, "intermediate_size": 48},
        "stat": {"melspec_2048_mean": 6.8, "melspec_2048_std": 18.4},
    },
    "omar-rq": {"embed_dim": 48, "depth": 2, "num_heads": 4},
}


class Unwritten(nn.Module):
    """A network at fault: its positions are whatever lies in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        with torch.device("cpu"):
            self.register_buffer("positions", torch.empty(3000), persistent=False)


def computed(network: nn.Module) -> Iterator[torch.Tensor]:
    """Yield what a network holds that no checkpoint gives it: buffers, and tensors beside them."""
    learnt = network.state_dict().keys()
    for path, module in network.named_modules():
        for name, value in {**module._buffers, **vars(module)}.items():
            known = f"{path}.{name}".lstrip(".") in learnt
            if isinstance(value, torch.Tensor) and not value.is_meta and not known:
                yield value


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Digest shapes and bytes."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def states_of(model: Any) -> str:
    """Digest the states of a clip of half a second, in a batch with a shorter one."""
    samples = model.sample_rate // 2
    clip = torch.randn(samples, generator=torch.Generator().manual_seed(0)) / 10
    lengths = torch.tensor([samples, samples // 2])
    audio = clip.repeat(2, 1)
    audio[1, samples // 2 :] = 0
    states, frames = model(audio, lengths)
    return digest([states, frames])


def small(family: str) -> native.NativeExtractor:
    """Load a small network with seeded weights as a checkpoint's are loaded."""
    architecture = architecture_of(family)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        state = architecture.build(SMALL[family], family).state_dict()
    network = native._empty(architecture, SMALL[family], family)
    native.fill(network, state, architecture, family)
    return native.NativeExtractor(network, name=family, revision="0" * 40)


def main(byte: int, folder: Path, out: Path) -> None:
    """Digest every family with ``byte`` in fresh memory; writes one JSON object, by name."""
    # glibc's malloc.h: M_PERTURB is -6.
    assert ctypes.CDLL(None).mallopt(-6, byte) == 1
    digests = {"a network at fault": digest(computed(Unwritten()))}
    for card in {card.family: card for card in CATALOGUE.values()}.values():
        if card.family in FAMILIES:
            network = native._empty(architecture_of(card.family), card.config, card.name)
            digests[f"computed of {card.family}"] = digest(computed(network))
    for family in SMALL:
        digests[f"states of {family}"] = states_of(small(family))
    for checkpoint in sorted(folder.iterdir()):
        digests[f"states of {checkpoint.name}"] = states_of(load(f"hf:{checkpoint}"))
    out.write_text(json.dumps(digests))
