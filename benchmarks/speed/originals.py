"""Original implementations of encoders, for ``encoders.py --original originals:FUNCTION``.

Each takes svuprobe's network, whose weights it copies. Most need a package that svuprobe doesn't
and run in an environment that has both; `clap`, `audio_tower` and `codec` are transformers' own
models, called as its users call them. None of it is in a wheel.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Plain = Callable[[Tensor], Any]


def muq(network: Any) -> Plain:
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
    unknown = model.model.load_state_dict(network.state_dict(), strict=False).unexpected_keys
    assert not unknown, unknown
    return lambda audio: model(audio).hidden_states


def musicfm(network: Any) -> Plain:
    """Make MusicFM of github.com/minzwon/musicfm at b83ebed, in the environment of `muq`.

    The statistics are those of the model trained on the Million Song Dataset.
    """
    from musicfm.model.musicfm_25hz import MusicFM25Hz
    from transformers import Wav2Vec2ConformerConfig

    # What facebook/wav2vec2-conformer-rope-large-960h-ft says, which it would download.
    published = Wav2Vec2ConformerConfig(
        num_attention_heads=16,
        intermediate_size=4096,
        hidden_act="swish",
        position_embeddings_type="rotary",
    )
    Wav2Vec2ConformerConfig.from_pretrained = lambda name: published
    statistics = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(statistics, file)
        file.flush()
        model = MusicFM25Hz(stat_path=file.name, model_path=None).eval()
    unknown = model.load_state_dict(network.state_dict(), strict=False).unexpected_keys
    assert not unknown, unknown
    return lambda audio: model.get_predictions(audio)[1]


def dasheng(network: Any) -> Plain:
    """Make a model of the package ``dasheng`` 0.0.9, which needs torchaudio.

    It returns its last state alone: the others are caught on their way.
    """
    from dasheng.pretrained.pretrained import Dasheng

    state = network.state_dict()
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    model = Dasheng(
        embed_dim=network.dim, depth=len(blocks), num_heads=network.blocks[0].attn.heads
    ).eval()
    own = {key: value for key, value in model.state_dict().items() if "front_end" in key}
    model.load_state_dict(state | own)

    def run(audio: Tensor) -> list[Tensor]:
        last: list[Tensor] = []
        states = _caught(lambda given: last.append(model(given)), list(model.blocks), audio)
        return [*states[:-1], *last]

    return run


def mert2(network: Any) -> Plain:
    """Make MERT-v2 of its own code, a package ``mert2`` as ``make_mert2.py`` of the tests says."""
    from mert2.configuration_mert2 import MERT2Config
    from mert2.modeling_mert2 import MERT2Model

    config = MERT2Config()
    config._attn_implementation = "sdpa"
    model = MERT2Model(config).eval()  # constructed as it is written, its positions are right
    missing, unknown = model.load_state_dict(network.state_dict(), strict=False)
    assert not unknown, unknown
    assert set(missing) == {
        "feature_extractor.spectrogram.window",
        "feature_extractor.mel_scale.fb",
    }, missing
    return lambda audio: model(audio, output_hidden_states=True).hidden_states


def beats(network: Any) -> Plain:
    """Make BEATs of ``BEATs.py``, from the folder ``beats`` of github.com/microsoft/unilm."""
    from BEATs import BEATs, BEATsConfig

    model = BEATs(BEATsConfig(_described(network))).eval()
    _share_table(model.load_state_dict(network.state_dict(), strict=False))
    return partial(_timed_first, model.extract_features, list(model.encoder.layers))


def openbeats(network: Any) -> Plain:
    """Make OpenBEATs of the package ``openbeats`` 0.1.1."""
    from openbeats.beats_encoder import BeatsEncoder

    described = _described(network)
    mean, std = described["fbank_mean"], described["fbank_std"]
    model = BeatsEncoder(0, beats_config=described, fbank_mean=mean, fbank_std=std).eval()
    _share_table(model.load_state_dict(network.state_dict(), strict=False))
    run = lambda audio: model(audio, torch.tensor([audio.shape[1]]))  # noqa: E731
    return partial(_timed_first, run, list(model.encoder.layers))


def clap(network: Any) -> Plain:
    """Call transformers' ClapAudioModel on what its feature extractor makes of a clip.

    Models with fusion are told that no clip is longer than they see; their feature extractor
    says so of one clip of each batch that it draws at random.
    """
    from transformers import ClapFeatureExtractor

    model, front = copy.deepcopy(network.audio_model), network.frontend
    encoder = model.audio_encoder
    fused = encoder.patch_embed.enable_fusion
    extract = ClapFeatureExtractor(
        padding=front.padding, truncation="fusion" if fused else "rand_trunc"
    )
    call = partial(model, is_longer=torch.zeros(1, 1, dtype=torch.bool)) if fused else model
    blocks = [block for stage in encoder.layers for block in stage.blocks]

    def run(audio: Tensor) -> list[Tensor]:
        made = extract(audio[0].numpy(), sampling_rate=extract.sampling_rate, return_tensors="pt")
        states = _caught(call, [*blocks, encoder.norm], made["input_features"])
        return [network._frames(state) for state in states]

    return run


def audio_tower(network: Any) -> Plain:
    """Call transformers' encoder on what its feature extractor makes of a clip: 30 s, padded."""
    tower = copy.deepcopy(network.audio_tower)

    def run(audio: Tensor) -> list[Tensor]:
        made = network.extract(
            audio[0].numpy(),
            sampling_rate=network.grid.sample_rate,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = made["attention_mask"]
        if type(tower).__name__ == "Qwen2AudioEncoder":
            # As Qwen2AudioForConditionalGeneration makes it for the encoder.
            counts = (mask.sum(dim=1) - 1) // 2 + 1
            padding = torch.arange(mask.shape[1] // 2) >= counts[:, None]
            added = torch.where(padding, -torch.inf, 0.0)[:, None, None]
            call = partial(tower, attention_mask=added.expand(-1, 1, padding.shape[1], -1))
        else:
            call = partial(tower, input_features_mask=mask)
        states = _caught(call, list(tower.layers), made["input_features"])
        frames = network.grid.n_frames(audio.shape[1])
        return [state[:, :frames] for state in states]

    return run


def codec(network: Any) -> Plain:
    """Call transformers' convolutions, and Mimi's transformer, on a clip."""
    model = copy.deepcopy(network)

    def run(audio: Tensor) -> list[Tensor]:
        followed = nn.functional.pad(audio[:, None], (0, model.silence))
        hidden = model.encoder(nn.functional.pad(followed, (0, -audio.shape[1] % model.grid.hop)))
        if hasattr(model, "downsample"):
            hidden = model.encoder_transformer(hidden.transpose(1, 2)).last_hidden_state
            hidden = model.downsample(hidden.transpose(1, 2))
        frames = model.grid.n_frames(audio.shape[1])
        return [hidden.transpose(1, 2)[:, model.lag : model.lag + frames]]

    return run


def _described(network: Any) -> dict[str, Any]:
    """Return BEATs' ``cfg``, as it lies beside the weights."""
    own = dataclasses.asdict(network.config)
    return own | {
        "conv_bias": False,
        "activation_fn": "gelu",
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "finetuned_model": False,
    }


def _share_table(keys: Any) -> None:
    """Check what is missing: copies of the one table of position biases, ones that carry a mask
    along, and classes.
    """
    assert not keys.unexpected_keys, keys.unexpected_keys
    known = ("relative_attention_bias", "patch_embedding_pad", "raw2fbank_pad", "predictor")
    own = [key for key in keys.missing_keys if not any(name in key for name in known)]
    assert not own, own


def _timed_first(run: Callable[[Tensor], Any], blocks: list[nn.Module], audio: Tensor) -> Any:
    """Turn states (time, batch, dim), as fairseq's have them, into (batch, time, dim)."""
    return [state.transpose(0, 1) for state in _caught(run, blocks, audio)]


def _caught(run: Callable[[Tensor], Any], blocks: list[nn.Module], audio: Tensor) -> list[Tensor]:
    """Run a model: what enters the first block, and what leaves each."""
    states: list[Tensor] = []

    def leaves(_: nn.Module, __: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [blocks[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))]
    hooks += [block.register_forward_hook(leaves) for block in blocks]
    run(audio)
    for hook in hooks:
        hook.remove()
    return states
