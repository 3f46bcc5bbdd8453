"""Say how many frames a second a model of the catalogue has, without loading it."""

from __future__ import annotations

from svuprobe.extractors.base import ModelCard

# Samples between frames, by family; a test compares them with the models themselves.
_OF_FAMILY = {
    **dict.fromkeys(("wav2vec2", "wavlm", "hubert", "data2vec", "mert", "handmade"), 320),
    "mel-conformer": 320,
    "beats-encoder": 2560,
    **dict.fromkeys(("muq", "musicfm", "mert2"), 960),
    "audio-tower": 320,
    "clap": 15_000,
    "dasheng": 640,
}
# Codecs differ, and what OMAR-RQ reads.
_OF_MODEL = {
    **dict.fromkeys(("omar-rq-base", "omar-rq-multicodebook"), 1024),
    "omar-rq-multifeature": 1280,
    **dict.fromkeys(("omar-rq-multifeature-25hz", "omar-rq-multifeature-25hz-fsq"), 960),
    "encodec-24khz": 320,
    "encodec-32khz": 640,
    "dac-16khz": 320,
    "dac-24khz": 320,
    "dac-44khz": 512,
    "mimi": 1920,
}


def frame_rate(card: ModelCard) -> float | None:
    """Return the frames per second of a model; None of a family that the table lacks."""
    hop = _OF_MODEL.get(card.name) or _OF_FAMILY.get(card.family)
    return card.sample_rate / hop if hop else None
