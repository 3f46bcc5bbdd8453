"""List the models svuprobe knows by name: the table, and nothing else.

To add a model, add one line to it. How names are read is in `svuprobe.extractors.names`, how models
are made of them in `svuprobe.extractors.loading`. Nothing here imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping

from svuprobe.extractors.base import ModelCard

# Every SSL model here keeps the convolution stack of wav2vec 2.0 (kernels
# 10,3,3,3,3,2,2, strides 5,2,...,2: 400 samples seen every 320), 12 blocks of
# 768 (base) or 24 of 1024 (large), and, except data2vec, one positional
# convolution of width 128. These are the defaults of the configuration classes.
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
# The large models, but for wav2vec2-large, normalise layers where the base models normalise groups.
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
# Five positional convolutions of width 19 replace
# the single one (Baevski et al. 2022, section 4.2).
_DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
_TINY = {
    "hidden_size": 96,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    # 24 channels a group: torch 2.13 gets bfloat16
    # convolutions of less than 16 wrong on CPUs with AMX.
    "num_conv_pos_embedding_groups": 4,
}

# As in the files' own "cfg"; the large OpenBEATs have 24 blocks of 1024.
_BEATS = {"max_distance": 800, "deep_norm": True}
_BEATS_LARGE = {
    **_BEATS,
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
}
# Mean and deviation of the decibels of the two sets
# that MusicFM was trained on: its two stats.json.
_MUSICFM_MSD = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
_MUSICFM_FMA = {"melspec_2048_mean": 3.0710578151459664, "melspec_2048_std": 20.999089814337626}
# As in the files' config.gin. The defaults are those of a waveform in patches of 40 ms.
_OMAR_MEL = {
    "sr": 16000,
    "patch": 4,
    "n_mel": 96,
    "norm_mean": 2.06755686098554,
    "norm_std": 1.268292820667291,
}

# Of transformers' own networks: what differs from the defaults of their configuration classes, and
# the settings of their feature extractors.
_CLAP = {
    "model_type": "clap",
    "audio_config": {},
    "feature_extractor": {"truncation": "rand_trunc"},
}
_CLAP_FUSED = {
    **_CLAP,
    "audio_config": {"enable_fusion": True},
    "feature_extractor": {"truncation": "fusion"},
}
_CLAP_LARGER = {
    **_CLAP,
    "audio_config": {
        "patch_embeds_hidden_size": 128,
        "hidden_size": 1024,
        "depths": (2, 2, 12, 2),
    },
}
_TOWER = {"audio_config": {}, "feature_extractor": {"feature_size": 128}}
_ENCODEC_MUSIC = {
    "model_type": "encodec",
    "sampling_rate": 32000,
    "num_filters": 64,
    "upsampling_ratios": (8, 5, 4, 4),
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}
_DAC_SMALLER = {"model_type": "dac", "downsampling_ratios": (2, 4, 5, 8)}

_WAV2VEC2 = "Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477"
_WAVLM = "Chen et al. 2022, WavLM, arXiv:2110.13900"
_HUBERT = "Hsu et al. 2021, HuBERT, arXiv:2106.07447"
_DASHENG = "Dinkel et al. 2024, Dasheng, arXiv:2406.06992"
_D2V = "Baevski et al. 2022, data2vec, arXiv:2202.03555"
_MERT = "Li et al. 2024, MERT, arXiv:2306.00107"
_MERT_V2 = "MERT-v2, 2026: no paper yet; Li et al. 2024, MERT, arXiv:2306.00107"
_MERT_V0 = "Li et al. 2022, arXiv:2212.02508; Li et al. 2024, MERT, arXiv:2306.00107"
_MUSIC2VEC = "Li et al. 2022, MAP-Music2Vec, arXiv:2212.02508"
_CHEN = "Chen et al. 2023, BEATs, arXiv:2212.09058"
_OPENBEATS = "Bharadwaj et al. 2025, OpenBEATs, arXiv:2507.14129"
_OPENBEATS_LICENCE = "CC-BY-4.0 (as ESPnet's fine-tuned ones)"
_OMAR = "Alonso-Jimenez et al. 2025, OMAR-RQ, arXiv:2507.03482"
_WU = "Wu et al. 2023, CLAP, arXiv:2211.06687"
_ENCODEC = "Defossez et al. 2022, EnCodec, arXiv:2210.13438"
_KUMAR = "Kumar et al. 2023, DAC, arXiv:2306.06546"
_NVIDIA = "NVIDIA OneWay Noncommercial"
_UNILM = "of github.com/microsoft/unilm/tree/master/beats"
_MUQ = "Zhu et al. 2025, MuQ, arXiv:2501.01108"
_MUSICFM = "Won et al. 2024, MusicFM, arXiv:2311.03318"
_WAVLM_LICENCE = "MIT (repository) / CC-BY-SA-3.0 (card)"
_NC = "CC-BY-NC-4.0"
_NC_SA = "CC-BY-NC-SA-4.0"
_HANDMADE = "svuprobe.extractors.models.handmade"

# fmt: off
_CARDS = (
    ModelCard("wav2vec2-base", "facebook/wav2vec2-base", "wav2vec2", 16000, 13, 768, 94_400_000,
              True, "Apache-2.0", _WAV2VEC2),
    ModelCard("wav2vec2-large", "facebook/wav2vec2-large", "wav2vec2", 16000, 25, 1024,
              315_000_000, True, "Apache-2.0", _WAV2VEC2, config=_LARGE),
    ModelCard("wav2vec2-large-lv60", "facebook/wav2vec2-large-lv60", "wav2vec2", 16000, 25, 1024,
              315_000_000, True, "Apache-2.0", _WAV2VEC2,
              config={**_LARGE, **_LAYER_NORM, "conv_bias": True}),
    ModelCard("wavlm-base", "microsoft/wavlm-base", "wavlm", 16000, 13, 768, 94_400_000, False,
              _WAVLM_LICENCE, _WAVLM),
    ModelCard("wavlm-base-plus", "microsoft/wavlm-base-plus", "wavlm", 16000, 13, 768, 94_400_000,
              False, _WAVLM_LICENCE, _WAVLM),
    ModelCard("wavlm-large", "microsoft/wavlm-large", "wavlm", 16000, 25, 1024, 315_000_000, True,
              _WAVLM_LICENCE, _WAVLM, config={**_LARGE, **_LAYER_NORM}),
    ModelCard("hubert-base", "facebook/hubert-base-ls960", "hubert", 16000, 13, 768, 94_400_000,
              True, "Apache-2.0", _HUBERT),
    ModelCard("hubert-large", "facebook/hubert-large-ll60k", "hubert", 16000, 25, 1024,
              315_000_000, True, "Apache-2.0", _HUBERT,
              config={**_LARGE, **_LAYER_NORM, "conv_bias": True}),
    # Only pretrained; MARBLE's "data2vec" is -base-960h, fine-tuned on text.
    ModelCard("data2vec-audio-base", "facebook/data2vec-audio-base", "data2vec", 16000, 13, 768,
              93_200_000, True, "Apache-2.0", _D2V, config=_DATA2VEC),
    ModelCard("data2vec-audio-large", "facebook/data2vec-audio-large", "data2vec", 16000, 25, 1024,
              313_000_000, True, "Apache-2.0", _D2V, config={**_LARGE, **_DATA2VEC}),
    ModelCard("mert-v0", "m-a-p/MERT-v0", "mert", 16000, 13, 768, 94_400_000, True, _NC, _MERT_V0),
    ModelCard("mert-v0-public", "m-a-p/MERT-v0-public", "mert", 16000, 13, 768, 94_400_000, True,
              _NC, _MERT_V0),
    ModelCard("mert-v1-95m", "m-a-p/MERT-v1-95M", "mert", 24000, 13, 768, 94_400_000, False, _NC,
              _MERT),
    # Pre-norm blocks, yet the group norm of the base models: as its config.json says.
    ModelCard("mert-v1-330m", "m-a-p/MERT-v1-330M", "mert", 24000, 25, 1024, 315_000_000, False,
              _NC, _MERT, config={**_LARGE, "do_stable_layer_norm": True}),
    # One architecture: FullSong was trained on from 30s, with songs of 30 to 360 s.
    ModelCard("mert-v2-30s", "m-a-p/MERT-v2-30s", "mert2", 24000, 24, 1024, 632_000_000, False,
              _NC, _MERT_V2),
    ModelCard("mert-v2-fullsong", "m-a-p/MERT-v2-FullSong", "mert2", 24000, 24, 1024, 632_000_000,
              False, _NC, _MERT_V2),
    ModelCard("music2vec-v1", "m-a-p/music2vec-v1", "data2vec", 16000, 13, 768, 93_200_000, True,
              _NC, _MUSIC2VEC, config=_DATA2VEC),
    # Several iterations of training; "ft" is fine-tuned on the labels of AudioSet.
    ModelCard("beats-iter3", None, "beats-encoder", 16000, 13, 768, 90_300_000, False, "MIT",
              _CHEN, download=f"BEATs_iter3.pt {_UNILM}", config=_BEATS),
    ModelCard("beats-iter3-plus", None, "beats-encoder", 16000, 13, 768, 90_300_000, False, "MIT",
              _CHEN, download=f"BEATs_iter3_plus_AS2M.pt {_UNILM}", config=_BEATS),
    ModelCard("beats-iter3-plus-ft", None, "beats-encoder", 16000, 13, 768, 90_300_000, False,
              "MIT", _CHEN, config=_BEATS,
              download=f"BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt {_UNILM}"),
    ModelCard("openbeats-base-i3", "shikhar7ssu/OpenBEATs-Base-i3", "beats-encoder", 16000, 13,
              768, 90_300_000, False, _OPENBEATS_LICENCE, _OPENBEATS, config=_BEATS),
    ModelCard("openbeats-large-i2", "shikhar7ssu/OpenBEATs-Large-i2", "beats-encoder", 16000, 25,
              1024, 311_000_000, False, _OPENBEATS_LICENCE, _OPENBEATS, config=_BEATS_LARGE),
    ModelCard("openbeats-large-i3", "shikhar7ssu/OpenBEATs-Large-i3", "beats-encoder", 16000, 25,
              1024, 311_000_000, False, _OPENBEATS_LICENCE, _OPENBEATS, config=_BEATS_LARGE),
    ModelCard("dasheng-base", "mispeech/dasheng-base", "dasheng", 16000, 13, 768, 85_400_000,
              False, "Apache-2.0", _DASHENG),
    ModelCard("dasheng-0.6b", "mispeech/dasheng-0.6B", "dasheng", 16000, 33, 1280, 630_000_000,
              False, "Apache-2.0", _DASHENG,
              config={"embed_dim": 1280, "depth": 32, "num_heads": 16}),
    ModelCard("dasheng-1.2b", "mispeech/dasheng-1.2B", "dasheng", 16000, 41, 1536, 1_134_000_000,
              False, "Apache-2.0", _DASHENG,
              config={"embed_dim": 1536, "depth": 40, "num_heads": 24}),
    ModelCard("muq-large", "OpenMuQ/MuQ-large-msd-iter", "muq", 24000, 13, 1024, 316_000_000,
              False, _NC, _MUQ),
    # The MuQ in its audio tower, as contrastive training with text changed it.
    ModelCard("muq-mulan-large", "OpenMuQ/MuQ-MuLan-large", "muq", 24000, 13, 1024, 316_000_000,
              False, _NC, _MUQ),
    ModelCard("musicfm-msd", "minzwon/MusicFM", "musicfm", 24000, 13, 1024, 316_000_000, False,
              "MIT", _MUSICFM, file="pretrained_msd.pt", config=_MUSICFM_MSD),
    ModelCard("musicfm-fma", "minzwon/MusicFM", "musicfm", 24000, 13, 1024, 316_000_000, False,
              "MIT", _MUSICFM, file="pretrained_fma.pt", config=_MUSICFM_FMA),
    ModelCard("omar-rq-base", "mtg-upf/omar-rq-base", "omar-rq", 16000, 25, 1024, 581_000_000,
              False, _NC_SA, _OMAR, config=_OMAR_MEL),
    ModelCard("omar-rq-multicodebook", "mtg-upf/omar-rq-multicodebook", "omar-rq", 16000, 25, 1024,
              581_000_000, False, _NC_SA, _OMAR, config=_OMAR_MEL),
    ModelCard("omar-rq-multifeature", "mtg-upf/omar-rq-multifeature", "omar-rq", 24000, 25, 1024,
              581_000_000, False, _NC_SA, _OMAR, config={"patch": 1280}),
    ModelCard("omar-rq-multifeature-25hz", "mtg-upf/omar-rq-multifeature-25hz", "omar-rq", 24000,
              25, 1024, 581_000_000, False, _NC_SA, _OMAR),
    ModelCard("omar-rq-multifeature-25hz-fsq", "mtg-upf/omar-rq-multifeature-25hz-fsq", "omar-rq",
              24000, 25, 1024, 581_000_000, False, _NC_SA, _OMAR),
    ModelCard("clap-htsat-unfused", "laion/clap-htsat-unfused", "clap", 48000, 14, 1536, 27_500_000,
              False, "Apache-2.0", _WU, config=_CLAP),
    ModelCard("clap-htsat-fused", "laion/clap-htsat-fused", "clap", 48000, 14, 1536, 27_500_000,
              False, "Apache-2.0", _WU, config=_CLAP_FUSED),
    ModelCard("clap-music", "laion/larger_clap_music", "clap", 48000, 20, 2048, 67_800_000, False,
              "Apache-2.0", _WU, config=_CLAP_LARGER),
    ModelCard("clap-music-speech", "laion/larger_clap_music_and_speech", "clap", 48000, 20, 2048,
              67_800_000, False, "Apache-2.0", _WU, config=_CLAP_LARGER),
    # Of language models of 8,000 million weights, the encoder.
    ModelCard("qwen2-audio", "Qwen/Qwen2-Audio-7B", "audio-tower", 16000, 33, 1280, 637_000_000,
              False, "Apache-2.0", "Chu et al. 2024, Qwen2-Audio, arXiv:2407.10759",
              config={"model_type": "qwen2_audio", **_TOWER}),
    ModelCard("audio-flamingo-3", "nvidia/audio-flamingo-3-hf", "audio-tower", 16000, 33, 1280,
              637_000_000, False, _NVIDIA, "Goel et al. 2025, Audio Flamingo 3, arXiv:2507.08128",
              config={"model_type": "audioflamingo3", **_TOWER}),
    ModelCard("music-flamingo", "nvidia/music-flamingo-hf", "audio-tower", 16000, 33, 1280,
              637_000_000, False, _NVIDIA, "Ghosh et al. 2025, Music Flamingo, arXiv:2511.10289",
              config={"model_type": "audioflamingo3", **_TOWER}),
    # Of codecs, the encoder.
    ModelCard("encodec-24khz", "facebook/encodec_24khz", "codec", 24000, 1, 128, 7_430_000, False,
              "MIT (repository)", _ENCODEC, config={"model_type": "encodec"}),
    ModelCard("encodec-32khz", "facebook/encodec_32khz", "codec", 32000, 1, 128, 28_400_000, False,
              "CC-BY-NC-4.0 (as MusicGen's)",
              "Copet et al. 2023, MusicGen, arXiv:2306.05284", config=_ENCODEC_MUSIC),
    ModelCard("dac-16khz", "descript/dac_16khz", "codec", 16000, 1, 1024, 21_500_000, False, "MIT",
              _KUMAR, config={**_DAC_SMALLER, "sampling_rate": 16000}),
    ModelCard("dac-24khz", "descript/dac_24khz", "codec", 24000, 1, 1024, 21_500_000, False, "MIT",
              _KUMAR, config={**_DAC_SMALLER, "sampling_rate": 24000}),
    ModelCard("dac-44khz", "descript/dac_44khz", "codec", 44100, 1, 1024, 22_300_000, False, "MIT",
              _KUMAR, config={"model_type": "dac", "sampling_rate": 44100}),
    ModelCard("mimi", "kyutai/mimi", "codec", 24000, 1, 512, 38_900_000, False, "CC-BY-4.0",
              "Defossez et al. 2024, Moshi, arXiv:2410.00037", config={"model_type": "mimi"}),
    # Pre-trained by `svuprobe pretrain small` on the audio of `svuprobe.pretrain.open_audio`.
    ModelCard("svuprobe-small", None, "mel-conformer", 16000, 5, 192, 2_670_000, False,
              "CC-BY-SA-4.0", "recipe small of svuprobe", folder="svuprobe-small"),
    ModelCard("logmel", None, "handmade", 16000, 1, 128, 0, False, "Apache-2.0",
              "128 mel bands, log power", f"{_HANDMADE}:logmel"),
    ModelCard("logmel-context", None, "handmade", 16000, 1, 1408, 0, False, "Apache-2.0",
              "logmel with 200 ms on either side", f"{_HANDMADE}:logmel_context"),
    ModelCard("mfcc", None, "handmade", 16000, 1, 60, 0, False, "Apache-2.0",
              "Davis and Mermelstein 1980, 20 coefficients with both deltas", f"{_HANDMADE}:mfcc"),
    ModelCard("chroma", None, "handmade", 16000, 1, 12, 0, False, "Apache-2.0",
              "Fujishima 1999, 12 pitch classes", f"{_HANDMADE}:chroma"),
    # For demos and tests: the layers and the frame grid of wav2vec2-base, small.
    ModelCard("wav2vec2-tiny", None, "wav2vec2", 16000, 13, 96, 955_000, True,
              "none: there are no weights", _WAV2VEC2, config=_TINY),
)
# fmt: on

CATALOGUE: Mapping[str, ModelCard] = {card.name: card for card in _CARDS}
