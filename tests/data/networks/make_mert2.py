"""Make mert2.npz: what MERT-v2's own code computes with the weights and clips of a seed.

In an environment of its own, with torch, torchaudio, transformers and numpy::

    PYTHONPATH=tests/support:FOLDER python tests/data/networks/make_mert2.py

FOLDER holds a package ``mert2`` with ``modeling_mert2.py`` and ``configuration_mert2.py`` of
m-a-p/MERT-v2-30s as they are published (and a package ``shared.attention``, where the copy calls
it: torch's scaled dot product of (batch, frames, heads, width)).

Loaded by ``from_pretrained`` of transformers 5, that code's rotary frequencies are whatever lay in
memory, as they are a buffer outside its weights and its constructor runs on the meta device. Here
the constructor runs as it is written, and the frequencies are compared with the formula.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import seeded
import torch
import transformers
from mert2.configuration_mert2 import MERT2Config
from mert2.modeling_mert2 import MERT2Model

FIELDS = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 24,
    "num_attention_heads": 2,
    "num_mel_bins": 12,
    "subsampling_channels": [12, 20, 16],
    "subsampling_depths": [3, 4, 5],
    "conv_depthwise_kernel_size": 31,
}
SAMPLES = (1025, 5000, 12_345, 19_199)  # at 24 kHz: the least, and three that end inside a frame
# What is drawn near 1 is multiplied and shifted to what decibels of music have.
STATISTICS = {
    "feature_extractor.mel_mean": (20.0, -20.0),
    "feature_extractor.mel_std": (15.0, 0.0),
}
COMPUTED = ("feature_extractor.spectrogram.window", "feature_extractor.mel_scale.fb")


def main() -> None:
    """Run the original code and store its states."""
    config = MERT2Config(**FIELDS)
    config._attn_implementation = "sdpa"
    model = MERT2Model(config).eval()
    width = config.hidden_size // config.num_attention_heads
    powers = torch.arange(0, width, 2, dtype=torch.float32) / width
    model.embed_positions.inv_freq = 1.0 / config.rotary_embedding_base**powers
    own = model.state_dict()
    shapes = {name: value.shape for name, value in own.items() if name not in COMPUTED}
    drawn = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
    for name, (factor, summand) in STATISTICS.items():
        drawn[name] = factor * drawn[name] + summand
    model.load_state_dict(drawn | {name: own[name] for name in COMPUTED})
    arrays = {name: own[name].numpy() for name in COMPUTED}
    with torch.inference_mode():
        for samples in SAMPLES:
            clip = torch.from_numpy(seeded.audio(samples, rate=config.sampling_rate))[None]
            states = model(clip, output_hidden_states=True).hidden_states
            arrays[f"states{samples}"] = torch.cat(states).numpy()  # (24, frames, dim)
        far = model.embed_positions(torch.zeros(1, 9000, 1))  # of 360 s
    arrays["far"] = torch.stack([turn[0, -1, 0] for turn in far]).numpy()
    names = sorted(f"{name} {tuple(value.shape)}" for name, value in own.items())
    target = Path(__file__).with_name("mert2.npz")
    np.savez_compressed(target, names=names, **arrays)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print({name: array.shape for name, array in arrays.items()}, target.stat().st_size)


if __name__ == "__main__":
    main()
