"""Make ``beats.npz``: hidden states of BEATs' and OpenBEATs' own code on seeded weights and audio.

The steps, in an environment of their own with torch and torchaudio:

1. Get ``BEATs.py``, ``backbone.py`` and ``modules.py`` from the folder ``beats`` of
   github.com/microsoft/unilm, and ``openbeats`` 0.1.1 from PyPI.
2. ``PYTHONPATH=FOLDER_OF_BEATS:tests/support python tests/data/networks/make_beats.py``

No weight is in the file: both sides draw them by name (``tests/support/seeded.py``). For each of
`CONFIGS` and `SAMPLES` it holds ``CONFIG/SAMPLES``, (layers, patches, dim) float32: what enters the
first block and what leaves each.
"""

from pathlib import Path

import numpy as np
import seeded
import torch
from BEATs import BEATs, BEATsConfig
from openbeats.beats_encoder import BeatsEncoder

SAMPLES = (3200, 8400, 13_456)
_SMALL = {
    "input_patch_size": 16,
    "embed_dim": 24,
    "conv_bias": False,
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "conv_pos": 16,
    "conv_pos_groups": 3,
    "relative_position_embedding": True,
    "num_buckets": 32,
    "max_distance": 24,
    "gru_rel_pos": True,
}
CONFIGS = {
    # As published: BEATs_iter3.pt and the others have these, at their own sizes.
    "microsoft": _SMALL | {"deep_norm": True, "layer_norm_first": False, "finetuned_model": False},
    "norm_first": _SMALL | {"deep_norm": False, "layer_norm_first": True, "finetuned_model": True},
    "openbeats": _SMALL
    | {
        "deep_norm": True,
        "layer_norm_first": False,
        "encoder_embed_dim": 24,
        "encoder_attention_heads": 3,
        "conv_pos": 15,
        "fbank_mean": 11.7,
        "fbank_std": 4.1,
    },
}


def main() -> None:
    """Write the file."""
    arrays: dict[str, np.ndarray] = {}
    for name, config in CONFIGS.items():
        model = _original(name, config).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        drawn = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
        for key in drawn:  # one table, which is saved with every block
            if key.endswith("relative_attention_bias.weight"):
                drawn[key] = drawn["encoder.layers.0.self_attn.relative_attention_bias.weight"]
        model.load_state_dict(drawn)
        for samples in SAMPLES:
            audio = torch.from_numpy(seeded.audio(samples))[None]
            arrays[f"{name}/{samples}"] = _states(name, model, audio)
    np.savez_compressed(Path(__file__).with_name("beats.npz"), **arrays)


def _original(name: str, config: dict[str, object]) -> torch.nn.Module:
    if name != "openbeats":
        return BEATs(BEATsConfig(config))
    mean, std = config["fbank_mean"], config["fbank_std"]
    return BeatsEncoder(0, beats_config=config, fbank_mean=mean, fbank_std=std)


def _states(name: str, model: torch.nn.Module, audio: torch.Tensor) -> np.ndarray:
    """Return what passes between the blocks, (layers, patches, dim)."""
    states: list[torch.Tensor] = []
    blocks = model.encoder.layers
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        for block in blocks
    ]
    hooks.append(blocks[-1].register_forward_hook(lambda _, __, outputs: states.append(outputs[0])))
    with torch.no_grad():
        if name == "openbeats":
            model(audio, torch.tensor([audio.shape[1]]))
        else:
            model.extract_features(audio)
    for hook in hooks:
        hook.remove()
    layers = [state.transpose(0, 1)[0] for state in states]
    if name == "norm_first":
        layers[-1] = model.encoder.layer_norm(layers[-1]).detach()
    return torch.stack(layers).numpy()


if __name__ == "__main__":
    main()
