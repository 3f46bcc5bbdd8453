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


def dasheng(state: Mapping[str, Tensor]) -> Callable[[Tensor], Any]:
    """Make the base model of the package ``dasheng`` 0.0.9, which needs torchaudio.

    It returns its last state alone: the others are caught on their way.
    """
    from dasheng.pretrained.pretrained import Dasheng

    model = Dasheng(embed_dim=768, depth=12, num_heads=12).eval()
    own = {key: value for key, value in model.state_dict().items() if "front_end" in key}
    model.load_state_dict(dict(state) | own)

    def run(audio: Tensor) -> list[Tensor]:
        states: list[Tensor] = []
        hooks = [
            block.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
            for block in model.blocks
        ]
        last = model(audio)
        for hook in hooks:
            hook.remove()
        return [*states, last]

    return run


def mert2(state: Mapping[str, Tensor]) -> Callable[[Tensor], Any]:
    """Make MERT-v2 of its own code, a package ``mert2`` as ``make_mert2.py`` of the tests says."""
    from mert2.configuration_mert2 import MERT2Config
    from mert2.modeling_mert2 import MERT2Model

    config = MERT2Config()
    config._attn_implementation = "sdpa"
    model = MERT2Model(config).eval()  # constructed as it is written, its positions are right
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown, unknown
    assert set(missing) == {
        "feature_extractor.spectrogram.window",
        "feature_extractor.mel_scale.fb",
    }, missing
    return lambda audio: model(audio, output_hidden_states=True).hidden_states
