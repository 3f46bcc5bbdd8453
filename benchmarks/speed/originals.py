"""Original implementations of encoders, for ``encoders.py --original originals:FUNCTION``.

Each takes the weights of svuprobe's network by name and needs a package that svuprobe doesn't; it
is run in an environment that has both. None of it is in a wheel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def muq(state: Mapping[str, Tensor]) -> Callable[[Tensor], Any]:
    """Make MuQ of the package ``muq`` 0.1.0, which needs torchaudio and transformers 4."""
    from muq import MuQ
    from transformers import Wav2Vec2ConformerConfig

    blocks = Wav2Vec2ConformerConfig(
        hidden_size=1024,
        num_attention_heads=16,
        intermediate_size=4096,
        hidden_act="swish",
        position_embeddings_type="rotary",
    )
    statistics = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
    described = json.loads(blocks.to_json_string(use_diff=False))
    model = MuQ({"stat": statistics, "w2v2_config": described}).eval()
    unknown = model.model.load_state_dict(state, strict=False).unexpected_keys
    assert not unknown, unknown
    return lambda audio: model(audio).hidden_states
