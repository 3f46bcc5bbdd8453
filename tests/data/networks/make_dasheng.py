"""Make ``dasheng.npz``: hidden states of Dasheng's own code on seeded weights and audio.

The steps, in an environment of their own with torch and torchaudio:

1. Get ``dasheng`` 0.0.9 from PyPI, with einops and pytorch_ignite.
2. ``PYTHONPATH=tests/support python tests/data/networks/make_dasheng.py``

No weight is in the file: both sides draw them by name (``tests/support/seeded.py``). For each of
`SAMPLES` it holds ``states/SAMPLES``, (layers, frames, dim) float32: what enters the first block,
what leaves each but the last, and what the model returns. Clips of more than ten frames go through
the blocks in pieces, as the original cuts them.
"""

from pathlib import Path

import numpy as np
import seeded
import torch
from dasheng.pretrained.pretrained import Dasheng

FIELDS = {
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 4.0,
    "patch_size": [64, 4],
    "patch_stride": [64, 4],
    "target_length": 40,
}
# At 16 kHz: one frame, four, ten, and twenty-three in three pieces.
SAMPLES = (480, 3000, 6400, 15_000)
COMPUTED = ("front_end.0.spectrogram.window", "front_end.0.mel_scale.fb")
# What is drawn near 0 and 1 is multiplied and shifted to what decibels of such audio have.
STATISTICS = {"init_bn.1.running_mean": (50.0, -20.0), "init_bn.1.running_var": (300.0, 0.0)}


def main() -> None:
    """Write the file."""
    model = Dasheng(**FIELDS).eval()
    own = model.state_dict()
    kept = [name for name in own if name in COMPUTED or name.endswith("num_batches_tracked")]
    shapes = {name: tuple(value.shape) for name, value in own.items() if name not in kept}
    drawn = {name: torch.from_numpy(value) for name, value in seeded.weights(shapes).items()}
    for name, (factor, summand) in STATISTICS.items():
        drawn[name] = factor * drawn[name] + summand
    model.load_state_dict(drawn | {name: own[name] for name in kept})
    arrays = {name: own[name].numpy() for name in COMPUTED}
    for samples in SAMPLES:
        arrays[f"states/{samples}"] = _states(model, torch.from_numpy(seeded.audio(samples)))
    names = sorted(f"{name} {tuple(value.shape)}" for name, value in own.items())
    np.savez_compressed(Path(__file__).with_name("dasheng.npz"), names=names, **arrays)
    print(f"torch {torch.__version__}", {name: array.shape for name, array in arrays.items()})


def _states(model: Dasheng, clip: torch.Tensor) -> np.ndarray:
    """Run the model and catch what goes in and out of its blocks, piece by piece."""
    caught: list[list[torch.Tensor]] = [[] for _ in range(len(model.blocks))]
    hooks = [
        block.register_forward_pre_hook(
            lambda _, inputs, pieces=pieces: pieces.append(inputs[0].clone())
        )
        for block, pieces in zip(model.blocks, caught, strict=True)
    ]
    with torch.inference_mode():
        last = model(clip[None])
    for hook in hooks:
        hook.remove()
    layers = [torch.cat(pieces, dim=1) for pieces in caught]
    return torch.cat([*layers, last]).numpy()


if __name__ == "__main__":
    main()
