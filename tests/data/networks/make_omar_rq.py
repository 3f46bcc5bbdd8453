"""Make ``omar_rq.npz``: hidden states of the package ``omar-rq`` on seeded weights and audio.

The steps, in an environment of their own:

1. ``pip install omar-rq==0.2.1`` (it was run beside transformers 5, which it doesn't use here).
2. ``PYTHONPATH=tests/support python tests/data/networks/make_omar_rq.py``

The package is called and nothing of it is in here: its code has another licence (AGPL-3.0). No
weight is in the file either: both sides draw them by name (``tests/support/seeded.py``). For each
of ``omar_rq_*.gin`` beside this file and `SAMPLES` it holds ``NAME/SAMPLES``, (layers, frames, dim)
float32: what the patches are embedded as, and what leaves each block.
"""

from pathlib import Path

import gin
import numpy as np
import seeded
import torch
from omar_rq import get_model

HERE = Path(__file__).parent
SAMPLES = {"waveform": (960, 10_100, 34_000), "mel": (768, 9000, 36_000)}


def main() -> None:
    """Write the file."""
    arrays = {}
    for name, lengths in SAMPLES.items():
        gin.clear_config()
        config = HERE / f"omar_rq_{name}.gin"
        model = get_model(config_file=config, device="cpu", load_weights=False).eval()
        shapes = {
            key: tuple(value.shape)
            for key, value in model.state_dict().items()
            if key.startswith(("net.", "embedding_layer."))
            and not key.endswith(("rotary_emb.freqs", "num_batches_tracked"))
        }
        drawn = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
        model.load_state_dict(drawn, strict=False)
        for samples in lengths:
            audio = torch.from_numpy(seeded.audio(samples))[None]
            arrays[f"{name}/{samples}"] = _states(model, audio)
    np.savez_compressed(HERE / "omar_rq.npz", **arrays)


def _states(model: torch.nn.Module, audio: torch.Tensor) -> np.ndarray:
    """Return (layers, frames, dim) of a clip."""
    embedded: list[torch.Tensor] = []
    hook = model.embedding_layer.register_forward_hook(lambda *call: embedded.append(call[2]))
    with torch.no_grad():
        blocks = model.extract_embeddings(audio, layers=set(range(len(model.net.layers))))
    hook.remove()
    return torch.cat([embedded[0], blocks[:, 0]]).numpy()


if __name__ == "__main__":
    main()
