"""Say what a checkpoint is that svuprobe knows of and doesn't load: the table, and how it is read.

A model that people compare gets a line here as long as no network computes it exactly, so that its
name is met with what it is and why it isn't loaded instead of a list of those that are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.source import Source


@dataclass(frozen=True)
class Refused:
    """Describe a model that isn't loaded.

    Attributes
    ----------
    what
        Its name, and what it is.
    why
        Why it isn't loaded.
    model_types
        In a config.json.
    names
        Patterns, in small letters, of ``org/name`` on the hub, of folders and of files.
    """

    what: str
    why: str
    model_types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


_OWN_CODE = "its network is code of its own repository, which svuprobe never runs"

REFUSED = (
    Refused(
        "MusicGen, a language model over codes of EnCodec (Copet et al. 2023, arXiv:2306.05284)",
        "it reads four streams of codes, each a step behind the one before, so a state belongs to "
        "no one moment; its codec is encodec-32khz",
        ("musicgen", "musicgen_melody", "musicgen_decoder", "musicgen_melody_decoder"),
        ("facebook/musicgen-*", "musicgen-*"),
    ),
    Refused(
        "Audio Flamingo 3 or Music Flamingo in its first layout, of several models in folders",
        "use the one for transformers: nvidia/audio-flamingo-3-hf or nvidia/music-flamingo-hf, "
        "audio-flamingo-3 and music-flamingo here",
        ("llava_llama",),
        ("nvidia/audio-flamingo-3", "nvidia/audio-flamingo-3-chat", "nvidia/music-flamingo"),
    ),
    Refused(
        "EAT, a transformer on patches of a mel spectrogram (Chen et al. 2024, arXiv:2401.03497)",
        _OWN_CODE,
        ("eat",),
        ("worstchan/eat*", "eat-base*", "eat-large*"),
    ),
    Refused(
        "SSLAM, EAT's network trained on mixtures (Alex et al. 2025, arXiv:2506.12222)",
        _OWN_CODE,
        ("sslam",),
        ("ta012/sslam*", "sslam*"),
    ),
    Refused(
        "M2D, a transformer on patches of a mel spectrogram (Niizumi et al. 2024, "
        "arXiv:2404.06095)",
        _OWN_CODE,
        ("m2d",),
        ("nttcslab/m2d*", "m2d_vit*", "m2d_clap*", "m2d_as*"),
    ),
    Refused(
        "PaSST, a transformer on patches of a mel spectrogram (Koutini et al. 2022, "
        "arXiv:2110.05069)",
        _OWN_CODE + "; the package hear21passt runs as hear:hear21passt.base",
        ("passt",),
        ("passt*", "kkoutini/passt*"),
    ),
    Refused(
        "AudioMAE, a transformer on patches of a mel spectrogram (Huang et al. 2022, "
        "arXiv:2207.06405)",
        _OWN_CODE,
        ("audiomae",),
        ("*audiomae*",),
    ),
    Refused(
        "ATST, transformers on mel frames (Li et al. 2024, arXiv:2306.04186)",
        _OWN_CODE,
        ("atst",),
        ("atstframe*", "atst_*", "atst-*"),
    ),
    Refused(
        "XEUS, an E-Branchformer for speech (Chen et al. 2024, arXiv:2407.00837)",
        "it is computed by ESPnet alone",
        ("xeus",),
        ("espnet/xeus*", "xeus*"),
    ),
    Refused(
        "SPEAR, a Zipformer (arXiv:2510.25955)",
        "its layers have different frame rates, and features of svuprobe lie on one grid",
        ("spear", "zipformer"),
        ("marcoyang/spear*", "spear-*"),
    ),
    Refused(
        "MULE, a convolutional network in TensorFlow (McCallum et al. 2022, arXiv:2210.03799)",
        "it gives one vector for three seconds and has no layers on a grid of frames",
        ("mule",),
        ("pandoramedia/*", "mule*"),
    ),
    Refused(
        "Jukebox, a language model over codes of music (Dhariwal et al. 2020, arXiv:2005.00341)",
        "transformers no longer has it, and its prior alone has 5,000 million weights",
        ("jukebox", "jukebox_prior", "jukebox_vqvae"),
        ("openai/jukebox*", "jukebox*"),
    ),
    Refused(
        "CLaMP 3, a model of scores, text and features of audio (Wu et al. 2025, arXiv:2502.10362)",
        "it hears through MERT, of which it takes means over layers and five seconds: probe "
        "mert-v1-95m",
        ("clamp3",),
        ("sander-wood/clamp3*", "weights_clamp3*", "*clamp3*.pth"),
    ),
    Refused(
        "USAD, a transformer distilled from models of speech and of sound (Chang et al. 2025, "
        "arXiv:2506.18843)",
        _OWN_CODE,
        ("usad", "usad2"),
        ("mit-sls/usad*", "usad*"),
    ),
    Refused(
        "PupuM2D or PupuJEPA, transformers on patches of a mel spectrogram",
        _OWN_CODE,
        ("pupum2d", "pupujepa"),
        ("spellbrush/pupu*", "pupum2d*", "pupujepa*"),
    ),
)


def refuse_known(source: Source, model_type: object = None) -> None:
    """Raise an ExtractError if a checkpoint that nothing loads is one of `REFUSED`.

    Parameters
    ----------
    source
        The checkpoint.
    model_type
        What its config.json says; None where there is none.
    """
    names = _names(source)
    for refused in REFUSED:
        by_name = any(fnmatchcase(name, pattern) for pattern in refused.names for name in names)
        if model_type in refused.model_types or by_name:
            raise ExtractError(
                f"{source.name}: this is {refused.what}, which svuprobe doesn't load: "
                f"{refused.why}; any model runs as py:FILE.py:CLASS (see CONTRIBUTING.md)"
            )


def _names(source: Source) -> set[str]:
    """Return what a checkpoint is called: its repository or folder and its files."""
    names = {name.rpartition("/")[2] for name in source.names()}
    if source.hub is not None:
        names |= {source.hub, source.hub.rpartition("/")[2]}
    if source.folder is not None and source.file is None:
        names.add(source.folder.name)
    return {name.lower() for name in names}
