"""How the name of a model is read, and what folder it has.

A model name is one of

- a name of the catalogue: ``wavlm-base-plus``, ``mert-v1-95m``, ``logmel``, ...
- ``hf:ORG/NAME[@REVISION]``: a checkpoint on the Hugging Face hub,
- ``hf:/local/folder``, ``hf:./folder``, ``hf:~/folder``: a checkpoint in a folder,
- ``random:NAME[#SEED]``: the architecture of a catalogue entry with random weights, a control,
- ``hear:MODULE[,WEIGHTS]``: a Python module with the HEAR 2021 API, and the file that its
  ``load_model`` takes,
- ``py:FILE.py:CLASS``: an extractor of your own, a class in a file.

`parse` reads a name once, and what it returns is of another class for each form. Nothing here
imports torch or transformers, opens a file or asks the hub: a folder or a repository may still turn
out to be missing in `load`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.catalogue import CATALOGUE

OTHER_FORMS = (
    "hf:ORG/NAME[@REVISION], hf:/local/folder, hear:MODULE[,WEIGHTS], py:FILE.py:CLASS, "
    "and random:NAME[#SEED] as a control"
)

_HUB_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
# As huggingface_hub's validate_repo_id, which takes seconds to import; of revisions, what git
# allows.
_HUB_ID = re.compile(r"\b[\w.-]{1,96}\b/\b(?!.*\.git$)[\w.-]{1,96}\b", re.ASCII)
_REVISION = re.compile(r"(?![./-])[\w./-]{1,200}(?<![./])(?<!\.lock)", re.ASCII)

# Control characters, line ends, and halves of characters from file names that aren't text.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Seeds from 0 up that torch's generators take.
_MOST_SEED = 2**64 - 1

# File systems allow 255 letters for a folder's name; a revision, and the ending of an unfinished
# file, come after.
_LONGEST_SLUG = 200


# -- the forms of a name ---------------------------------------------------------------------------


@dataclass(frozen=True)
class CatalogueName:
    """A line of the catalogue that has weights or needs none."""

    card: ModelCard

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return self.card.name

    @property
    def slug(self) -> str:
        """Return the folder of the model."""
        return self.card.name


@dataclass(frozen=True)
class RandomName:
    """``random:NAME[#SEED]``: an architecture of the catalogue, and the seed of its weights."""

    card: ModelCard
    seed: int

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name: with its seed."""
        return f"random:{self.card.name}#{self.seed}"

    @property
    def slug(self) -> str:
        """Return the folder of the model."""
        return f"random-{self.card.name}-seed{self.seed}"


@dataclass(frozen=True)
class HubName:
    """``hf:ORG/NAME[@REVISION]``."""

    hub: str
    revision: str | None

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"hf:{self.hub}" + (f"@{self.revision}" if self.revision else "")

    @property
    def slug(self) -> str:
        """Return the folder of the model. The hub allows no "--" in an id, so it is unambiguous."""
        slug = "hf-" + self.hub.replace("/", "--")
        if self.revision is not None:
            # A branch name may hold slashes, which a folder's name can't.
            safe = _safe(self.revision)
            slug += f"--{safe}" if safe == self.revision else f"--{safe}-{_digest(self.revision)}"
        return _fitted(slug, self.canonical)


@dataclass(frozen=True)
class FolderName:
    """``hf:/folder``: a checkpoint in a folder, by its absolute path."""

    path: str

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"hf:{self.path}"

    @property
    def slug(self) -> str:
        """Return the folder of the model: the path's last part, and a digest that tells it from its
        namesakes.
        """
        digest = _digest(self.canonical)
        return _fitted(f"local-{_safe(os.path.basename(self.path))}-{digest}", self.canonical)


@dataclass(frozen=True)
class HearName:
    """``hear:MODULE[,WEIGHTS]``: a module, and the absolute path of its weights."""

    module: str
    weights: str | None

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"hear:{self.module}" + (f",{self.weights}" if self.weights else "")

    @property
    def slug(self) -> str:
        """Return the folder of the model."""
        slug = f"hear-{self.module}"
        if self.weights:
            slug += f"--{_safe(os.path.basename(self.weights))}-{_digest(self.weights)}"
        return _fitted(slug, self.canonical)


@dataclass(frozen=True)
class PyName:
    """``py:FILE.py:CLASS``: a class in a file, by its absolute path."""

    path: str
    class_name: str

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"py:{self.path}:{self.class_name}"

    @property
    def slug(self) -> str:
        """Return the folder of the model."""
        file = _safe(os.path.basename(self.path))
        return _fitted(f"py-{file}-{self.class_name}-{_digest(self.path)}", self.canonical)


ModelName = CatalogueName | RandomName | HubName | FolderName | HearName | PyName


def parse(name: str) -> ModelName:
    """Read a name.

    Raises
    ------
    ExtractError
        For a name that can't be read, or that isn't in the catalogue, with the close matches.
    """
    if _UNWRITABLE.search(name):
        raise ExtractError(
            f"model {name!r}: a name has no control characters or line ends; rename the file or "
            "folder"
        )
    form, colon, rest = name.partition(":")
    if not colon or form not in _FORMS:
        return _catalogue_name(name)
    return _FORMS[form](name, rest)


def canonical(name: str) -> str:
    """Return the one spelling of a model's name, which results and caches carry.

    ``random:NAME`` becomes ``random:NAME#0``, a local folder or file becomes absolute; the rest
    stays as it is. Raises an ExtractError as `parse` does.
    """
    return parse(name).canonical


def slug(name: str) -> str:
    """Return a folder name for a model: letters, digits, ``.``, ``_`` and ``-``; another one for
    every model.

    >>> slug("random:wav2vec2-base"), slug("hf:org/name")
    ('random-wav2vec2-base-seed0', 'hf-org--name')
    """
    return parse(name).slug


def check_name(name: str) -> None:
    """Raise an ExtractError as `parse` does unless the name can be read."""
    parse(name)


def is_control(name: str) -> bool:
    """Return whether a model is a control: random weights, or a hand-made front end."""
    if name.startswith("random:"):
        return True
    card = CATALOGUE.get(name)
    return card is not None and card.family == "handmade"


def code_of(name: str) -> str:
    """Name the file or module that loading a model runs; empty for models that are data, which are
    all others.

    The name may come from a stranger's file, and needn't be one that `parse` can read.
    """
    if name.startswith("py:"):
        return f"the file {name[3:].rpartition(':')[0]}"
    return f"the Python module {name[5:].partition(',')[0]}" if name.startswith("hear:") else ""


# -- reading each form -----------------------------------------------------------------------------


def _catalogue_name(name: str) -> CatalogueName:
    """Read a name that has no form in front."""
    card = _card(name, name)
    if not (card.hub or card.source):
        raise ExtractError(
            f"{name!r} is an architecture without published weights: use random:{name}"
        )
    return CatalogueName(card)


def _card(name: str, typed: str) -> ModelCard:
    """Return the card called ``name``; the error quotes what was typed."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.5)
    prefix = typed[: len(typed) - len(name)] if typed.endswith(name) else ""
    matches = f"close matches: {', '.join(prefix + match for match in close)}; " if close else ""
    raise ExtractError(f"unknown model {typed!r}; {matches}see svuprobe models")


def _random_name(name: str, rest: str) -> RandomName:
    """Read ``random:NAME[#SEED]``."""
    inner, hash_sign, seed = rest.partition("#")
    card = _card(inner, f"random:{inner}")
    if card.family == "handmade":
        raise ExtractError(f"{name!r}: {inner} has no weights to draw at random: use {inner}")
    if hash_sign and not (
        seed.isascii() and seed.isdigit() and len(seed) <= 20 and int(seed) <= _MOST_SEED
    ):
        raise ExtractError(
            f"{name!r:.200}: the seed must be a whole number from 0 up, as in random:{inner}#1, "
            f"and at most {_MOST_SEED}"
        )
    return RandomName(card, int(seed or 0))


def _hf_name(name: str, rest: str) -> FolderName | HubName:
    """Read ``hf:/folder`` or ``hf:ORG/NAME[@REVISION]``; what begins with no ., ~ or / is always
    the hub.
    """
    if rest.startswith((".", "~")) or os.path.isabs(rest):
        return FolderName(os.path.abspath(os.path.expanduser(rest)))
    match = _HUB_NAME.fullmatch(rest)
    if match is None:
        here = f"; the folder here is hf:./{rest}" if rest and os.path.isdir(rest) else ""
        raise ExtractError(
            f"unknown model {name!r:.300}; write hf:ORG/NAME, hf:ORG/NAME@REVISION, hf:/folder or "
            f"hf:./folder{here}"
        )
    hub, revision = match["id"], match["revision"]
    if not _HUB_ID.fullmatch(hub) or "--" in hub or ".." in hub:
        raise ExtractError(
            f"unknown model {name!r:.300}: the hub has no such names; ORG and NAME have up to 96 "
            "letters, digits, -, _ and ., without -- or .., without - or . at an end, and "
            "without .git at the end"
        )
    if revision is not None and (
        not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision
    ):
        raise ExtractError(
            f"unknown model {name!r:.300}: a revision is a branch, a tag or a commit, such as "
            "main or refs/pr/1"
        )
    return HubName(hub, revision)


def _hear_name(name: str, rest: str) -> HearName:
    """Read ``hear:MODULE[,WEIGHTS]``."""
    module, comma, weights = rest.partition(",")
    if not all(part.isascii() and part.isidentifier() for part in module.split(".")) or (
        comma and not weights
    ):
        raise ExtractError(
            f"unknown model {name!r}; write hear:MODULE or hear:MODULE,WEIGHTS, as in "
            "hear:my.module"
        )
    return HearName(module, os.path.abspath(os.path.expanduser(weights)) if weights else None)


def _py_name(name: str, rest: str) -> PyName:
    """Read ``py:FILE.py:CLASS``."""
    path, _, class_name = rest.rpartition(":")
    if not path.endswith(".py") or not (class_name.isascii() and class_name.isidentifier()):
        raise ExtractError(
            f"unknown model {name!r}; write py:FILE.py:CLASS, as in py:models/mine.py:MyExtractor"
        )
    return PyName(os.path.abspath(os.path.expanduser(path)), class_name)


_FORMS: dict[str, Callable[[str, str], ModelName]] = {
    "random": _random_name,
    "hf": _hf_name,
    "hear": _hear_name,
    "py": _py_name,
}


# -- slugs -----------------------------------------------------------------------------------------


def _safe(text: str) -> str:
    """Replace everything but letters, digits, ``.``, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def _fitted(slug: str, name: str) -> str:
    """Return a slug no longer than a folder's name may be: itself, or its beginning and a digest of
    the name.
    """
    return slug if len(slug) <= _LONGEST_SLUG else f"{slug[: _LONGEST_SLUG - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    """Return eight hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
