"""What transformers 4 does otherwise than 5 changes no feature and keeps no model from loading."""

from types import SimpleNamespace

import pytest
import saved
import seeded
import torch
import transformers
from torch import nn

from svuprobe.extractors.loading import load
from svuprobe.extractors.models.frontends import FAMILIES, hidden_states
from svuprobe.extractors.networks.audio_tower import AudioTower

CONVOLUTIONS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
# model_type -> configuration class, its fields
PRE_NORM = {
    "unispeech": ("UniSpeechConfig", {"do_stable_layer_norm": True}),
    "unispeech-sat": ("UniSpeechSatConfig", {"do_stable_layer_norm": True}),
    "wav2vec2-conformer": ("Wav2Vec2ConformerConfig", {}),
}


def clip(samples):
    return torch.from_numpy(seeded.audio(samples))[None], torch.tensor([samples])


def checkpoint(folder, model_type):
    config_class, fields = PRE_NORM[model_type]
    config = getattr(transformers, config_class)(**CONVOLUTIONS, **fields)
    with torch.random.fork_rng(devices=[]):
        model = saved.filled(getattr(transformers, FAMILIES[model_type].model)(config))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    return saved.published(folder, model, extractor), model


@pytest.mark.parametrize("model_type", PRE_NORM)
def test_the_last_layer_is_what_leaves_the_last_block(model_type, tmp_path):
    name, model = checkpoint(tmp_path, model_type)
    left = []
    model.encoder.layers[-1].register_forward_hook(
        lambda _, __, output: left.append(output[0] if isinstance(output, tuple) else output)
    )
    audio, lengths = clip(8_000)
    with torch.inference_mode():
        model(audio)
    states, _ = load(name)(audio, lengths)
    assert saved.relative_error(states[:, -1], left[0]) < 1e-6


def test_also_where_transformers_gives_it_with_the_final_norm():
    class Older(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

        def forward(self, inputs, output_hidden_states):
            return SimpleNamespace(hidden_states=(inputs, self.norm(self.block(inputs))))

    model, inputs = Older(), torch.arange(8.0).view(1, 2, 4)
    first, last = hidden_states(model, inputs, model.block)
    assert torch.equal(first, inputs)
    assert torch.equal(last, model.block(inputs))
    assert torch.equal(hidden_states(model, inputs, None)[1], model.norm(last))


def test_no_argument_is_asked_for_whose_name_changed(tmp_path, monkeypatch):
    """Until 4.56 the type of weights was ``torch_dtype``, and ``dtype`` went to the model."""
    name, model = checkpoint(tmp_path, "wav2vec2-conformer")
    model.half().save_pretrained(tmp_path)
    own, given = transformers.PreTrainedModel.from_pretrained.__func__, {}

    def from_pretrained(cls, path, **arguments):
        given.update(arguments)
        return own(cls, path, **arguments)

    monkeypatch.setattr(
        transformers.PreTrainedModel, "from_pretrained", classmethod(from_pretrained)
    )
    weights = load(name).model.parameters()
    assert given.keys() == {"config", "state_dict", "output_loading_info"}
    assert {each.dtype for each in weights} == {torch.float32}


def test_clap_loads_where_its_constructor_computes(tmp_path, monkeypatch):
    """Until transformers 5 it reads the rates of dropped paths off a tensor."""

    class Older(transformers.ClapAudioModel):
        def __init__(self, config):
            super().__init__(config)
            self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]

    audio_config = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 4,
    }
    text_config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text_config |= {"intermediate_size": 8, "vocab_size": 20}
    config = transformers.ClapConfig(
        audio_config=audio_config, text_config=text_config, projection_dim=8
    )
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, hop_length=320, max_length_s=1, frequency_max=7_000
    )
    with torch.random.fork_rng(devices=[]):
        model = saved.filled(transformers.ClapModel(config))
    name = saved.published(tmp_path, model, extractor)
    plain = load(name)
    monkeypatch.setattr(transformers, "ClapAudioModel", Older)
    assert load(name).digest == plain.digest


def test_blocks_of_an_audio_tower_that_want_a_mask_of_heads_get_none():
    class Older(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, hidden, attention_mask, layer_head_mask):
            assert layer_head_mask is None
            return (self.block(hidden, attention_mask=attention_mask), None)

    config = transformers.Qwen2AudioEncoderConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        num_mel_bins=20,
        max_source_positions=50,
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    with torch.random.fork_rng(devices=[]):
        tower = saved.filled(transformers.Qwen2AudioEncoder(config))
    audio, lengths = clip(7_000)
    with torch.inference_mode():
        plain = AudioTower(tower, extractor).states(audio, lengths)
        tower.layers = nn.ModuleList(Older(block) for block in tower.layers)
        older = AudioTower(tower, extractor).states(audio, lengths)
    for state, same in zip(plain, older, strict=True):
        assert torch.equal(state, same)
