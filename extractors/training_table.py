"""List what audio published models were trained on: the table, and nothing else.

It is keyed by the Hugging Face id, or by the name in the catalogue where a model has no repository
or shares one. Each claim has its source. ``holds`` is what the authors say; ``may_hold`` is where
they name a collection that a dataset of our tasks was drawn from too, and nobody has published how
far the two overlap. Where the authors don't say what they trained on, ``published`` is False: then
whatever is in neither is unknown, and else it comes from places that have nothing to do with the
data of ours. ``read`` is False where the source was not at hand when the entry was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainingData:
    """Say what a model was trained on.

    Attributes
    ----------
    domain
        ``speech``, ``music``, ``general audio`` or ``codecs``: the groups of ``svuprobe models``.
    hours
        Of audio, as the authors count them; None where they don't say.
    sets
        Names of the collections, in few words.
    source
        Where that stands.
    crop_s, crop_source
        Seconds that training saw at once, at most, and where that stands; None where nobody says.
    holds, may_hold
        Dataset of a task -> why.
    published
        Whether the authors say what they trained on.
    read
        Whether the source was read for this entry.
    crop_read
        Whether that of its seconds was read, too.
    """

    domain: str
    hours: float | None
    sets: str
    source: str
    crop_s: float | None = None
    crop_source: str = ""
    # Not hashed, as a dict can't be.
    holds: Mapping[str, str] = field(default_factory=dict, hash=False)
    may_hold: Mapping[str, str] = field(default_factory=dict, hash=False)
    published: bool = True
    read: bool = True
    crop_read: bool = True


# fmt: off
_FAIRSEQ = "github.com/facebookresearch/fairseq"
_MAP = "table in the model cards of m-a-p"

# Why a collection may hold audio of a dataset.
_OF_FMA = {"emomusic": "EmoMusic's songs are of the Free Music Archive"}
_RECORDS = {
    "gtzan": "it holds commercial recordings, as GTZAN does",
    "artist20": "it holds commercial recordings, as Artist20 does",
}
_VIDEOS = {
    **dict.fromkeys(("gtzan", "artist20"), "it holds sound of YouTube, where such songs are"),
    "mir-st500": "it holds sound of YouTube, where MIR-ST500 is from",
}
_JAMENDO = {"mtg-jamendo": "it was trained on audio of Jamendo, as MTG-Jamendo is"}


def _speech(
    hours: float, sets: str, source: str, crop_s: float, crop_source: str, crop_read: bool = True
) -> TrainingData:
    return TrainingData("speech", hours, sets, source, crop_s, crop_source, crop_read=crop_read)


def _map(hours: float, sets: str, crop_s: float) -> TrainingData:
    """Describe a model of m-a-p whose music nobody lists."""
    return TrainingData("music", hours, sets, _MAP, crop_s, _MAP, published=False)


_LIBRISPEECH, _LIBRILIGHT = "LibriSpeech", "Libri-Light"
_WAVLM = "github.com/microsoft/unilm: wavlm/README.md"
_WAVLM_SETS = "Libri-Light 60,000 h, GigaSpeech 10,000 h, VoxPopuli 24,000 h"
_SIZE = "max_sample_size there"
# 250,000 and 320,000 samples at 16 kHz.
_15_S, _20_S = 15.6, 20.0

_SPEECH = {
    "facebook/wav2vec2-base": _speech(
        960, _LIBRISPEECH, f"{_FAIRSEQ}: wav2vec2_base_librispeech.yaml", _15_S, _SIZE),
    "facebook/wav2vec2-large": _speech(
        960, _LIBRISPEECH, f"{_FAIRSEQ}: examples/wav2vec/README.md",
        _20_S, "Baevski et al. 2020, arXiv:2006.11477, section 4.2", crop_read=False),
    "facebook/wav2vec2-large-lv60": _speech(
        60_000, _LIBRILIGHT, f"{_FAIRSEQ}: wav2vec2_large_librivox.yaml", _20_S, _SIZE),
    "microsoft/wavlm-base": _speech(
        960, _LIBRISPEECH, _WAVLM, _15_S, "as HuBERT, whose setup it follows", crop_read=False),
    "microsoft/wavlm-base-plus": _speech(
        94_000, _WAVLM_SETS, _WAVLM, _15_S, "as HuBERT, whose setup it follows", crop_read=False),
    "microsoft/wavlm-large": _speech(
        94_000, _WAVLM_SETS, _WAVLM, _15_S, "as HuBERT, whose setup it follows", crop_read=False),
    "facebook/hubert-base-ls960": _speech(
        960, _LIBRISPEECH, f"{_FAIRSEQ}: hubert_base_librispeech.yaml", _15_S, _SIZE),
    "facebook/hubert-large-ll60k": _speech(
        60_000, _LIBRILIGHT, f"{_FAIRSEQ}: hubert_large_librivox.yaml", _15_S, _SIZE),
    "facebook/data2vec-audio-base": _speech(
        960, _LIBRISPEECH, f"{_FAIRSEQ}: examples/data2vec/README.md",
        _20_S, "max_sample_size of base_librispeech.yaml there"),
    "facebook/data2vec-audio-large": _speech(
        60_000, _LIBRILIGHT, f"{_FAIRSEQ}: examples/data2vec/README.md",
        _20_S, "as data2vec-audio-base", crop_read=False),
    "facebook/w2v-bert-2.0": TrainingData(
        "speech", 4_500_000, "speech in more than 143 languages; not listed",
        "github.com/huggingface/transformers: docs/source/en/model_doc/wav2vec2-bert.md",
        published=False),
    "openai/whisper-large-v3": TrainingData(
        "speech", 5_000_000,
        "sound of the web, a fifth with its transcripts, else with large-v2's; not listed",
        "model card of whisper-large-v3", 30.0, "chunk_length of its feature extractor",
        published=False),
}

_OMAR = TrainingData(
    "music", 330_000, "Discotube: sound of YouTube that Discogs links to",
    "model card of mtg-upf/omar-rq-multicodebook; github.com/MTG/omar-rq: cfg/fsq",
    30.0, "AudioDataset.num_frames there: 480,000 samples at 16 kHz",
    may_hold={**_VIDEOS, "giantsteps": "it holds electronic records that Discogs lists"})
_MUSICGEN = TrainingData(
    "music", 20_000, "Meta Sound Collection, Shutterstock, Pond5 (licensed), vocals removed",
    "github.com/facebookresearch/audiocraft: model_cards/MUSICGEN_MODEL_CARD.md",
    30.0, "Copet et al. 2023, arXiv:2306.05284, section 4.1")
_MUQ = "README of github.com/tencent-ailab/MuQ"
_MUSICFM = "README of github.com/minzwon/musicfm"
_MUSIC = {
    "m-a-p/MERT-v0": _map(1_000, "music that is not listed", 5.0),
    "m-a-p/MERT-v0-public": TrainingData(
        "music", 900, "Music4All; one version of the card adds a part of FMA",
        "model card of MERT-v0-public", 5.0, _MAP, may_hold={**_RECORDS, **_OF_FMA}),
    "m-a-p/MERT-v1-95M": _map(20_000, "music of the internet that is not listed", 5.0),
    "m-a-p/MERT-v1-330M": _map(160_000, "music of the internet that is not listed", 5.0),
    "m-a-p/music2vec-v1": _map(1_000, "music that is not listed", 30.0),
    "m-a-p/MERT-v2-30s": TrainingData(
        "music", None, "music that is not named", "model card of MERT-v2-30s",
        30.0, "its name; MERT-v2-FullSong continues it to complete songs", published=False),
    "m-a-p/MERT-v2-FullSong": TrainingData(
        "music", None, "music that is not named", "model card of MERT-v2-FullSong",
        360.0, "songs of 30 to 360 s (model card)", published=False),
    "OpenMuQ/MuQ-large-msd-iter": TrainingData(
        "music", None, "Million Song Dataset (the paper's 160,000 h are of another model)", _MUQ,
        30.0, "Zhu et al. 2025, MuQ, arXiv:2501.01108", may_hold=_RECORDS, crop_read=False),
    "OpenMuQ/MuQ-MuLan-large": TrainingData(
        "music", None, "MuQ's, then music with texts that is not listed", _MUQ,
        10.0, "clip_secs in src/muq/muq_mulan/muq_mulan.py there",
        may_hold=_RECORDS, published=False),
    "musicfm-msd": TrainingData(
        "music", None, "Million Song Dataset", _MUSICFM,
        30.0, "its example; Won et al. 2024, arXiv:2311.03318", may_hold=_RECORDS),
    "musicfm-fma": TrainingData(
        "music", 888, "FMA-large (106,574 clips of 30 s)", _MUSICFM,
        30.0, "its example; Won et al. 2024, arXiv:2311.03318", may_hold=_OF_FMA),
    **dict.fromkeys(
        ("mtg-upf/omar-rq-base", "mtg-upf/omar-rq-multicodebook", "mtg-upf/omar-rq-multifeature",
         "mtg-upf/omar-rq-multifeature-25hz", "mtg-upf/omar-rq-multifeature-25hz-fsq"), _OMAR),
    **dict.fromkeys(
        ("facebook/musicgen-small", "facebook/musicgen-medium", "facebook/musicgen-large"),
        _MUSICGEN),
}

_BEATS = TrainingData(
    "general audio", 5_800, "AudioSet", "Chen et al. 2023, BEATs, arXiv:2212.09058, section 4.1",
    10.0, "clips of AudioSet last 10 s", may_hold=_VIDEOS, read=False)
_OPENBEATS = TrainingData(
    "general audio", 20_000, "sound of several domains, with AudioSet and FMA",
    "Bharadwaj et al. 2025, OpenBEATs, arXiv:2507.14129",
    10.0, "clips of AudioSet last 10 s",
    may_hold={**_VIDEOS, **_OF_FMA, "mtg-jamendo": "it holds several open sets of music"},
    read=False)
_DASHENG = TrainingData(
    "general audio", 272_000, "ACAV100M, AudioSet, VGGSound, MTG-Jamendo",
    "github.com/XiaoMi/dasheng: README.md, dasheng/train/config/dasheng_base.yaml",
    10.0, "chunk_length there",
    holds={"mtg-jamendo": "it was trained on MTG-Jamendo (Jamendo/train in its configuration)"},
    may_hold=_VIDEOS)
_CLAP = TrainingData(
    "general audio", 4_300, "LAION-Audio-630k, AudioCaps, Clotho, AudioSet",
    "Wu et al. 2023, LAION-CLAP, arXiv:2211.06687",
    10.0, "section 3.4 there", may_hold=_VIDEOS, read=False)


def _larger_clap(sets: str, may_hold: Mapping[str, str]) -> TrainingData:
    """Describe one of the three larger CLAPs, whose music and speech nobody lists."""
    return TrainingData(
        "general audio", None, sets, "README of github.com/LAION-AI/CLAP, update of 2023-04-07",
        10.0, "max_len in src/laion_clap/training/data.py there: 480,000 samples at 48 kHz",
        may_hold=may_hold, published=False)


_GENERAL = {
    **dict.fromkeys(
        ("beats-iter1", "beats-iter2", "beats-iter3", "beats-iter3-plus", "beats-iter3-plus-ft"),
        _BEATS),
    **dict.fromkeys(
        ("shikhar7ssu/OpenBEATs-Base-i3", "shikhar7ssu/OpenBEATs-Large-i2",
         "shikhar7ssu/OpenBEATs-Large-i3"), _OPENBEATS),
    **dict.fromkeys(
        ("mispeech/dasheng-base", "mispeech/dasheng-0.6B", "mispeech/dasheng-1.2B"), _DASHENG),
    **dict.fromkeys(("laion/clap-htsat-unfused", "laion/clap-htsat-fused"), _CLAP),
    "laion/larger_clap_music": _larger_clap(
        "LAION-Audio-630k, AudioSet and music that is not listed", _VIDEOS),
    "laion/larger_clap_music_and_speech": _larger_clap(
        "LAION-Audio-630k, music and speech that are not listed", {}),
    "laion/larger_clap_general": _larger_clap(
        "LAION-Audio-630k, AudioSet, music and speech that are not listed", _VIDEOS),
    "MIT/ast-finetuned-audioset-10-10-0.4593": TrainingData(
        "general audio", None, "AudioSet with its labels, after pictures of ImageNet",
        "README of github.com/YuanGongND/ast",
        10.24, "1,024 frames of 10 ms (input_tdim there)", may_hold=_VIDEOS),
    "Qwen/Qwen2-Audio-7B": TrainingData(
        "general audio", None, "Whisper large-v3's, then speech, sound and music; not listed",
        "Chu et al. 2024, arXiv:2407.10759; Chu et al. 2023, arXiv:2311.07919", 30.0, "as Whisper",
        may_hold={"nsynth": "Qwen-Audio has notes of music among its tasks and is tested on it"},
        published=False, read=False),
    "nvidia/audio-flamingo-3-hf": TrainingData(
        "general audio", None, "Whisper large-v3's, then open sets of speech, sound and music",
        "Goel et al. 2025, Audio Flamingo 3, arXiv:2507.08128", 30.0, "windows of its model card",
        published=False, read=False),
    "nvidia/music-flamingo-hf": TrainingData(
        "music", None, "audio-flamingo-3's, then MF-Skills: songs of many cultures; not listed",
        "Ghosh et al. 2025, Music Flamingo, arXiv:2511.10289", 30.0, "windows of its model card",
        published=False, read=False),
}

_ENCODEC = "Defossez et al. 2022, EnCodec, arXiv:2210.13438, section 4.1"
_DAC = TrainingData(
    "codecs", None,
    "DAPS, VCTK, VocalSet, Common Voice, MUSDB18, Jamendo, AudioSet and other speech",
    "github.com/descriptinc/descript-audio-codec: conf/final/44khz.yml",
    0.38, "train/AudioDataset.duration there",
    holds={"vocalset": "it was trained on VocalSet (/data/vocalset in its configuration)",
           **_JAMENDO},
    may_hold=_VIDEOS)
_CODECS = {
    "facebook/encodec_24khz": TrainingData(
        "codecs", None, "DNS Challenge 4, Common Voice, AudioSet, FSD50K, Jamendo, own music",
        _ENCODEC, 1.0, "section 4.1 there", holds=_JAMENDO, may_hold=_VIDEOS, published=False,
        read=False),
    "facebook/encodec_48khz": TrainingData(
        "codecs", None, "Jamendo and own music", _ENCODEC, 1.0, "section 4.1 there",
        holds=_JAMENDO, published=False, read=False),
    "facebook/encodec_32khz": TrainingData(
        "codecs", 20_000, _MUSICGEN.sets, _MUSICGEN.source,
        1.0, "segment_duration in config/solver/compression/default.yaml there"),
    **dict.fromkeys(("descript/dac_44khz", "descript/dac_24khz", "descript/dac_16khz"), _DAC),
    "kyutai/mimi": TrainingData(
        "codecs", 7_000_000, "sound of the web, for the most part English speech; not listed",
        "Defossez et al. 2024, Moshi, arXiv:2410.00037, section 4.2",
        12.0, "section 3.3 there", published=False, read=False),
}
# fmt: on

TABLE: Mapping[str, TrainingData] = {**_SPEECH, **_MUSIC, **_GENERAL, **_CODECS}
