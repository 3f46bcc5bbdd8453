"""Make muq.npz: hidden states of the originals of MuQ, MuQ-MuLan and MusicFM, tiny, on noise.

It ran with muq 0.1.0 (PyPI), github.com/minzwon/musicfm at b83ebed as the package ``musicfm``,
transformers 4.49.0, torchaudio 2.11.1 and torch 2.13.0:

    PYTHONPATH=tests/support python tests/data/networks/make_muq.py

Nothing is downloaded: networks that the originals would fetch are made of tiny configurations. No
weight is in the file: both sides draw them by name (``tests/support/seeded.py``). What the
originals compute themselves, such as filters, they keep, and the tests draw noise in its place. The
file has, for each of the three, the layout of its checkpoint (names and shapes) and each clip's
hidden states (layers, frames, dim).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import seeded

RATE = 24_000
LENGTHS = {"muq": (1025, 2399, 24_777), "mulan": (5_000,), "musicfm": (1440, 12_345)}  # samples
DEPTH = {"muq": 12, "mulan": 2, "musicfm": 3}  # blocks
COMPUTED = ("inv_freq", "mel_stft", "position_ids")  # parts of names

SIZES = {"conv_dim": 8, "encoder_dim": 32, "codebook_size": 64}
BLOCKS = {
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_depthwise_kernel_size": 31,
    "rotary_embedding_base": 10_000,
    "position_embeddings_type": "rotary",
    "hidden_act": "swish",
    "layer_norm_eps": 1e-5,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": [512] * 7,
    "feat_extract_activation": "gelu",
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "conformer_conv_dropout": 0.1,
    "layerdrop": 0.0,
}
STATISTICS = {
    "muq": {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623},
    "musicfm": {"melspec_2048_mean": 3.0710578151459664, "melspec_2048_std": 20.999089814337626},
}


def muq_config(depth: int) -> dict[str, object]:
    """Return what MuQ's config.json says."""
    return {
        **SIZES,
        "encoder_depth": depth,
        "label_rate": 25,
        "use_rvq_target": True,
        "rvq_n_codebooks": 2,
        "is_flash": False,
        "stat": STATISTICS["muq"],
        "w2v2_config": BLOCKS,
    }


def main() -> None:
    """Run the originals and write the file."""
    import torch

    arrays: dict[str, np.ndarray] = {}
    for kind, make in (("muq", _muq), ("mulan", _mulan), ("musicfm", _musicfm)):
        model, states = make()
        layout = {name: list(value.shape) for name, value in model.state_dict().items()}
        drawn = {
            name: torch.from_numpy(values)
            for name, values in seeded.weights(layout).items()
            if not any(part in name for part in COMPUTED)
        }
        model.load_state_dict(drawn, strict=False)
        model.eval()
        if kind == "musicfm":  # as the published files have it
            layout = {f"model.{name}": shape for name, shape in layout.items()}
        arrays[f"{kind}_layout"] = np.array(json.dumps(layout))
        for samples in LENGTHS[kind]:
            with torch.inference_mode():
                layers = states(torch.from_numpy(seeded.audio(samples, rate=RATE))[None])
            arrays[f"{kind}_{samples}"] = torch.cat(list(layers)).numpy()
    np.savez_compressed(Path(__file__).with_name("muq.npz"), **arrays)


def _muq():
    from muq import MuQ

    model = MuQ(muq_config(DEPTH["muq"]))
    return model, lambda audio: model(audio).hidden_states


def _mulan():
    from muq import MuQ, MuQMuLan
    from transformers import XLMRobertaConfig, XLMRobertaModel

    small = {"dim": 32, "tf_depth": 1, "heads": 2, "dim_head": 8}
    text = XLMRobertaConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=12,
    )
    MuQ.from_pretrained = lambda name, **_: MuQ(muq_config(DEPTH["mulan"]))
    XLMRobertaModel.from_pretrained = lambda name, **_: XLMRobertaModel(text)
    model = MuQMuLan(
        {
            "mulan": {"sr": 24_000, "clip_secs": 10, "dim_latent": 16},
            "audio_model": {
                "name": "OpenMuQ/MuQ-large-msd-iter",
                "model_dim": 32,
                "use_layer_idx": -1,
            },
            "text_model": {"name": "xlm-roberta-base", "model_dim": 16},
            "audio_transformer": small,
            "text_transformer": small,
        }
    )
    return model, model.mulan.audio._forward_pretrained_model


def _musicfm():
    from musicfm.model.musicfm_25hz import MusicFM25Hz
    from transformers import Wav2Vec2ConformerConfig

    Wav2Vec2ConformerConfig.from_pretrained = lambda name: Wav2Vec2ConformerConfig(**BLOCKS)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as statistics:
        json.dump(STATISTICS["musicfm"], statistics)
        statistics.flush()
        model = MusicFM25Hz(
            **SIZES, encoder_depth=DEPTH["musicfm"], stat_path=statistics.name, model_path=None
        )
    return model, lambda audio: model.get_predictions(audio)[1]


if __name__ == "__main__":
    main()
