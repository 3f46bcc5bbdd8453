"""The models svuprobe knows by name, and how every model name is read.

A model name is one of

- a name of the catalogue: ``wavlm-base-plus``, ``mert-v1-95m``, ``logmel``, ...
- ``hf:ORG/NAME[@REVISION]``: a checkpoint on the Hugging Face hub,
- ``hf:/local/folder``, ``hf:./folder``, ``hf:~/folder``: a checkpoint in a folder,
- ``random:NAME[#SEED]``: the architecture of a catalogue entry with random weights, a control,
- ``hear:MODULE[,WEIGHTS]``: a Python module with the HEAR 2021 API, and the file that its ``load_model`` takes,
- ``py:FILE.py:CLASS``: an extractor of your own, a class in a file.

To add a model, add one line to the table. Nothing here imports torch or transformers before `load`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svuprobe.extractors.base import ExtractError

if TYPE_CHECKING:
    from svuprobe.extractors.base import Extractor


@dataclass(frozen=True)
class ModelCard:
    """What is known about a model without loading it.

    Attributes
    ----------
    name
        As typed on the command line.
    hub
        Hugging Face id; None for hand-made front ends and for architectures without weights.
    family
        wav2vec2, wavlm, hubert, data2vec, mert or handmade.
    sample_rate
        Hz.
    layers, dim
        Hidden states (the input of the first block counts) and features of each.
    parameters
        Weights, to three digits; 0 for hand-made front ends.
    normalize
        Whether each clip is scaled to zero mean and unit variance. A checkpoint's own feature extractor comes
        first; this is for checkpoints without one and for random weights.
    licence, reference
        Of the weights, and the paper.
    source
        ``module:function`` that makes a hand-made front end.
    config
        What differs from the defaults of the family's transformers configuration class.
    """

    name: str
    hub: str | None
    family: str
    sample_rate: int
    layers: int
    dim: int
    parameters: int | None
    normalize: bool
    licence: str
    reference: str
    source: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


# Every SSL model here keeps the convolution stack of wav2vec 2.0 (kernels 10,3,3,3,3,2,2, strides 5,2,...,2:
# 400 samples seen every 320), 12 blocks of 768 (base) or 24 of 1024 (large), and, except data2vec, one
# positional convolution of width 128. These are the defaults of the configuration classes.
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
# Five positional convolutions of width 19 replace the single one (Baevski et al. 2022, section 4.2).
_DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
_TINY = {
    "hidden_size": 96,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    # 24 channels a group: torch 2.13 gets bfloat16 convolutions of less than 16 wrong on CPUs with AMX.
    "num_conv_pos_embedding_groups": 4,
}

_WAV2VEC2 = "Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477"
_WAVLM = "Chen et al. 2022, WavLM, arXiv:2110.13900"
_HUBERT = "Hsu et al. 2021, HuBERT, arXiv:2106.07447"
_D2V = "Baevski et al. 2022, data2vec, arXiv:2202.03555"
_MERT = "Li et al. 2024, MERT, arXiv:2306.00107"
_MERT_V0 = "Li et al. 2022, arXiv:2212.02508; Li et al. 2024, MERT, arXiv:2306.00107"
_MUSIC2VEC = "Li et al. 2022, MAP-Music2Vec, arXiv:2212.02508"
_WAVLM_LICENCE = "MIT (repository) / CC-BY-SA-3.0 (card)"
_NC = "CC-BY-NC-4.0"
_HANDMADE = "svuprobe.extractors.models.handmade"

# fmt: off
_CARDS = (
    ModelCard("wav2vec2-base", "facebook/wav2vec2-base", "wav2vec2", 16000, 13, 768, 94_400_000, True,
              "Apache-2.0", _WAV2VEC2),
    ModelCard("wav2vec2-large", "facebook/wav2vec2-large", "wav2vec2", 16000, 25, 1024, 315_000_000, True,
              "Apache-2.0", _WAV2VEC2, config=_LARGE),
    ModelCard("wav2vec2-large-lv60", "facebook/wav2vec2-large-lv60", "wav2vec2", 16000, 25, 1024, 315_000_000,
              True, "Apache-2.0", _WAV2VEC2, config={**_LARGE, **_LAYER_NORM, "conv_bias": True}),
    ModelCard("wavlm-base", "microsoft/wavlm-base", "wavlm", 16000, 13, 768, 94_400_000, False,
              _WAVLM_LICENCE, _WAVLM),
    ModelCard("wavlm-base-plus", "microsoft/wavlm-base-plus", "wavlm", 16000, 13, 768, 94_400_000, False,
              _WAVLM_LICENCE, _WAVLM),
    ModelCard("wavlm-large", "microsoft/wavlm-large", "wavlm", 16000, 25, 1024, 315_000_000, True,
              _WAVLM_LICENCE, _WAVLM, config={**_LARGE, **_LAYER_NORM}),
    ModelCard("hubert-base", "facebook/hubert-base-ls960", "hubert", 16000, 13, 768, 94_400_000, True,
              "Apache-2.0", _HUBERT),
    ModelCard("hubert-large", "facebook/hubert-large-ll60k", "hubert", 16000, 25, 1024, 315_000_000, True,
              "Apache-2.0", _HUBERT, config={**_LARGE, **_LAYER_NORM, "conv_bias": True}),
    # The checkpoint that was only pretrained; MARBLE's "data2vec" is fine-tuned on transcripts (-base-960h).
    ModelCard("data2vec-audio-base", "facebook/data2vec-audio-base", "data2vec", 16000, 13, 768, 93_200_000,
              True, "Apache-2.0", _D2V, config=_DATA2VEC),
    ModelCard("data2vec-audio-large", "facebook/data2vec-audio-large", "data2vec", 16000, 25, 1024,
              313_000_000, True, "Apache-2.0", _D2V, config={**_LARGE, **_DATA2VEC}),
    ModelCard("mert-v0", "m-a-p/MERT-v0", "mert", 16000, 13, 768, 94_400_000, True, _NC, _MERT_V0),
    ModelCard("mert-v0-public", "m-a-p/MERT-v0-public", "mert", 16000, 13, 768, 94_400_000, True, _NC,
              _MERT_V0),
    ModelCard("mert-v1-95m", "m-a-p/MERT-v1-95M", "mert", 24000, 13, 768, 94_400_000, False, _NC, _MERT),
    # Pre-norm blocks, yet the group norm of the base models in the convolutions: as its config.json says.
    ModelCard("mert-v1-330m", "m-a-p/MERT-v1-330M", "mert", 24000, 25, 1024, 315_000_000, False, _NC, _MERT,
              config={**_LARGE, "do_stable_layer_norm": True}),
    ModelCard("music2vec-v1", "m-a-p/music2vec-v1", "data2vec", 16000, 13, 768, 93_200_000, True, _NC,
              _MUSIC2VEC, config=_DATA2VEC),
    ModelCard("logmel", None, "handmade", 16000, 1, 128, 0, False, "Apache-2.0", "128 mel bands, log power",
              f"{_HANDMADE}:logmel"),
    ModelCard("mfcc", None, "handmade", 16000, 1, 60, 0, False, "Apache-2.0",
              "Davis and Mermelstein 1980, 20 coefficients with both deltas", f"{_HANDMADE}:mfcc"),
    ModelCard("chroma", None, "handmade", 16000, 1, 12, 0, False, "Apache-2.0",
              "Fujishima 1999, 12 pitch classes", f"{_HANDMADE}:chroma"),
    # For demos and tests: the layers and the frame grid of wav2vec2-base, small enough for any laptop.
    ModelCard("wav2vec2-tiny", None, "wav2vec2", 16000, 13, 96, 955_000, True, "none: there are no weights",
              _WAV2VEC2, config=_TINY),
)
# fmt: on

CATALOGUE: Mapping[str, ModelCard] = {card.name: card for card in _CARDS}

OTHER_FORMS = (
    "hf:ORG/NAME[@REVISION], hf:/local/folder, hear:MODULE[,WEIGHTS], py:FILE.py:CLASS, "
    "and random:NAME[#SEED] as a control"
)

_HUB_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
# As huggingface_hub's validate_repo_id, which takes seconds to import; of revisions, what git allows.
_HUB_ID = re.compile(r"\b[\w.-]{1,96}\b/\b(?!.*\.git$)[\w.-]{1,96}\b", re.ASCII)
_REVISION = re.compile(r"(?![./-])[\w./-]{1,200}(?<![./])(?<!\.lock)", re.ASCII)

# Control characters, line ends, and halves of characters from file names that aren't text.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Seeds from 0 up that torch's generators take.
_MOST_SEED = 2**64 - 1

# File systems allow 255 letters for a folder's name; a revision, and the ending of an unfinished file, come after.
_LONGEST_SLUG = 200


def names() -> list[str]:
    """Catalogue names that `load` accepts as they are, in the order of the table.

    ``wav2vec2-tiny`` is in `CATALOGUE` but not here: it has no weights, only ``random:wav2vec2-tiny``.
    """
    return [name for name, card in CATALOGUE.items() if card.hub or card.source]


def canonical(name: str) -> str:
    """The one spelling of a model's name, which results and caches carry.

    ``random:NAME`` becomes ``random:NAME#0``, a local folder or file becomes absolute; the rest stays as it is.

    Raises
    ------
    ExtractError
        For a name that can't be read, or that isn't in the catalogue.
    """
    if _UNWRITABLE.search(name):
        raise ExtractError(
            f"model {name!r}: a name has no control characters or line ends; rename the file or folder"
        )
    if name.startswith("random:"):
        card, seed = _parse_random(name)
        return f"random:{card.name}#{seed}"
    if _is_folder(name):
        return f"hf:{os.path.abspath(os.path.expanduser(name[3:]))}"
    if name.startswith("hear:"):
        module, weights = _parse_hear(name)
        return f"hear:{module}" + (f",{weights}" if weights else "")
    if name.startswith("py:"):
        return "py:{}:{}".format(*_parse_py(name))
    if name.startswith("hf:"):
        _parse_hub(name)
    else:
        _card(name)
    return name


def check_name(name: str) -> None:
    """Raise an ExtractError, with the close matches, unless the name can be read.

    Nothing is opened or downloaded: a folder or a repository may still turn out to be missing in `load`.
    """
    canonical(name)


def is_control(name: str) -> bool:
    """Whether a model is a control: random weights, or a hand-made front end."""
    if name.startswith("random:"):
        return True
    card = CATALOGUE.get(name)
    return card is not None and card.family == "handmade"


def slug(name: str) -> str:
    """A folder name for a model: letters, digits, ``.``, ``_`` and ``-`` only, another one for every model.

    >>> slug("random:wav2vec2-base"), slug("hf:org/name")
    ('random-wav2vec2-base-seed0', 'hf-org--name')

    A local folder or file keeps its last part, and a digest of its whole path tells it from its namesakes.
    """
    name = canonical(name)
    if name.startswith("random:"):
        return name.replace(":", "-").replace("#", "-seed")
    if _is_folder(name):
        return _fitted(f"local-{_safe(os.path.basename(name))}-{_digest(name)}", name)
    if name.startswith("hear:"):
        module, weights = _parse_hear(name)
        file = f"--{_safe(os.path.basename(weights))}-{_digest(weights)}" if weights else ""
        return _fitted(f"hear-{module}{file}", name)
    if name.startswith("py:"):
        path, class_name = _parse_py(name)
        return _fitted(f"py-{_safe(os.path.basename(path))}-{class_name}-{_digest(path)}", name)
    if not name.startswith("hf:"):
        return name
    # The hub allows no "--" in an id, so this is unambiguous. A branch name may hold anything.
    hub, revision = _parse_hub(name)
    parts = ["hf-" + hub.replace("/", "--")]
    if revision is not None:
        parts.append(revision if _safe(revision) == revision else f"{_safe(revision)}-{_digest(revision)}")
    return _fitted("--".join(parts), name)


def code_of(name: str) -> str:
    """Name the file or module that loading a model runs; empty for models that are data, which are all others."""
    if name.startswith("py:"):
        return f"the file {name[3:].rpartition(':')[0]}"
    return f"the Python module {name[5:].partition(',')[0]}" if name.startswith("hear:") else ""


def local_revision(name: str) -> str | None:
    """Return the revision that loading a local model would give now; None for a model that isn't local.

    Of a folder the files are read, and nothing is loaded. A class in a file and a HEAR module may read weights from
    anywhere, which nobody knows before they are made: so these are loaded, which runs their code.

    Parameters
    ----------
    name
        Any name that `check_name` accepts.

    Returns
    -------
    str or None
        Forty hexadecimal digits for a folder; None for names of the hub, of the catalogue and of random weights.

    Raises
    ------
    ExtractError
        The folder or file isn't there, or isn't a model.
    """
    name = canonical(name)
    if _is_folder(name):
        return import_module("svuprobe.extractors.checkpoints.source").folder_revision(Path(name[3:]), name)
    if name.startswith(("py:", "hear:")):
        return load(name).revision
    return None


def load(name: str, *, normalize: bool | None = None) -> Extractor:
    """Load a model by name.

    Parameters
    ----------
    name
        Any name that `check_name` accepts.
    normalize
        Overrides whether the waveform of each clip is scaled to zero mean and unit variance; None does
        what the checkpoint says. Models that aren't transformers on the waveform have no such step.

    Raises
    ------
    ExtractError
        Unknown name; checkpoint that can't be found, downloaded or used.
    """
    name = canonical(name)
    if name in CATALOGUE and CATALOGUE[name].source:
        return _load_function(str(CATALOGUE[name].source), (), name, normalize)
    if name.startswith("hear:"):
        return _load_function("svuprobe.extractors.models.hear:load", (name, *_parse_hear(name)), name, normalize)
    if name.startswith("py:"):
        return _load_function("svuprobe.extractors.models.custom:load", (name, *_parse_py(name)), name, normalize)
    if name.startswith("random:"):
        card, seed = _parse_random(name)
        transformer = import_module("svuprobe.extractors.models.transformer").TransformerExtractor
        return transformer.from_random(card, seed, name=name, normalize=normalize)
    return _load_checkpoint(name, normalize)


def _load_function(source: str, arguments: tuple[Any, ...], name: str, normalize: bool | None) -> Extractor:
    """Call ``module:function``, which makes an extractor without waveform normalisation."""
    if normalize:
        raise ExtractError(f"{name}: this model has no waveform normalisation to switch on")
    module, _, function = source.partition(":")
    return getattr(import_module(module), function)(*arguments)


def _load_checkpoint(name: str, normalize: bool | None) -> Extractor:
    """A checkpoint in a folder or on the hub: one of the families that svuprobe computes itself, or another."""
    transformer = import_module("svuprobe.extractors.models.transformer").TransformerExtractor
    if name in CATALOGUE:
        return transformer.from_hub(CATALOGUE[name].hub, name=name, card=CATALOGUE[name], normalize=normalize)
    source = import_module("svuprobe.extractors.checkpoints.source")
    if _is_folder(name):
        checkpoint, card = source.in_folder(name[3:], name), None
    else:
        hub, revision = _parse_hub(name)
        checkpoint = source.on_hub(hub, revision, name)
        card = next((card for card in CATALOGUE.values() if card.hub == hub), None)
    other = import_module("svuprobe.extractors.models.generic").load(checkpoint, normalize=normalize)
    return other or transformer.from_source(checkpoint, card=card, normalize=normalize)


def _card(name: str) -> ModelCard:
    """The card of a model that has weights or needs none."""
    card = _known(name, name)
    if not (card.hub or card.source):
        raise ExtractError(f"{name!r} is an architecture without published weights: use random:{name}")
    return card


def _known(name: str, typed: str) -> ModelCard:
    """The card called ``name``; the error quotes what was typed."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.5)
    prefix = typed[: len(typed) - len(name)] if typed.endswith(name) else ""
    matches = f"close matches: {', '.join(prefix + match for match in close)}; " if close else ""
    raise ExtractError(f"unknown model {typed!r}; {matches}see svuprobe models")


def _parse_random(name: str) -> tuple[ModelCard, int]:
    """Card and seed of ``random:NAME[#SEED]``."""
    inner, hash_sign, seed = name.removeprefix("random:").partition("#")
    card = _known(inner, f"random:{inner}")
    if card.family == "handmade":
        raise ExtractError(f"{name!r}: {inner} has no weights to draw at random: use {inner}")
    if hash_sign and not (seed.isascii() and seed.isdigit() and len(seed) <= 20 and int(seed) <= _MOST_SEED):
        raise ExtractError(
            f"{name!r:.200}: the seed must be a whole number from 0 up, as in random:{inner}#1, "
            f"and at most {_MOST_SEED}"
        )
    return card, int(seed or 0)


def _is_folder(name: str) -> bool:
    """Whether an ``hf:`` name is a path; ``hf:org/name`` is always the hub."""
    path = name.removeprefix("hf:")
    return name.startswith("hf:") and (path.startswith((".", "~")) or os.path.isabs(path))


def _parse_hub(name: str) -> tuple[str, str | None]:
    """Hub id and revision of ``hf:ORG/NAME[@REVISION]``."""
    path = name.removeprefix("hf:")
    match = _HUB_NAME.fullmatch(path)
    if match is None:
        here = f"; the folder here is hf:./{path}" if path and os.path.isdir(path) else ""
        raise ExtractError(
            f"unknown model {name!r:.300}; write hf:ORG/NAME, hf:ORG/NAME@REVISION, hf:/folder or hf:./folder{here}"
        )
    hub, revision = match["id"], match["revision"]
    if not _HUB_ID.fullmatch(hub) or "--" in hub or ".." in hub:
        raise ExtractError(
            f"unknown model {name!r:.300}: the hub has no such names; ORG and NAME have up to 96 letters, digits, -, "
            "_ and ., without -- or .., without - or . at an end, and without .git at the end"
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        raise ExtractError(
            f"unknown model {name!r:.300}: a revision is a branch, a tag or a commit, such as main or refs/pr/1"
        )
    return hub, revision


def _parse_hear(name: str) -> tuple[str, str | None]:
    """Module and absolute path of the weights of ``hear:MODULE[,WEIGHTS]``."""
    module, comma, weights = name.removeprefix("hear:").partition(",")
    if not all(part.isascii() and part.isidentifier() for part in module.split(".")) or (comma and not weights):
        raise ExtractError(f"unknown model {name!r}; write hear:MODULE or hear:MODULE,WEIGHTS, as in hear:my.module")
    return module, os.path.abspath(os.path.expanduser(weights)) if weights else None


def _parse_py(name: str) -> tuple[str, str]:
    """Absolute path and class of ``py:FILE.py:CLASS``."""
    path, _, class_name = name.removeprefix("py:").rpartition(":")
    if not path.endswith(".py") or not (class_name.isascii() and class_name.isidentifier()):
        raise ExtractError(f"unknown model {name!r}; write py:FILE.py:CLASS, as in py:models/mine.py:MyExtractor")
    return os.path.abspath(os.path.expanduser(path)), class_name


def _safe(text: str) -> str:
    """Text with everything but letters, digits, ``.``, ``_`` and ``-`` replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def _fitted(slug: str, name: str) -> str:
    """A slug that is no longer than a folder's name may be: itself, or its beginning and a digest of the name."""
    return slug if len(slug) <= _LONGEST_SLUG else f"{slug[: _LONGEST_SLUG - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    """Eight hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
