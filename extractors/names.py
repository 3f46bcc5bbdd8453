"""Read the name of a model, and name its folder.

A model name is one of

- a name of the catalogue: ``wavlm-base-plus``, ``mert-v1-95m``, ``logmel``, ...
- ``hf:ORG/NAME[@REVISION]``: a checkpoint on the Hugging Face hub,
- ``hf:/local/folder``, ``hf:./folder``, ``hf:~/folder``: a checkpoint in a folder; or, of a model
  that is published as one file which says itself what it is, that ``.pt``, ``.pth`` or ``.ckpt``,
- ``random:NAME[#SEED]``: the architecture of a catalogue entry with random weights, a control,
- ``hear:MODULE[,WEIGHTS]``: a Python module with the HEAR 2021 API, and the file that its
  ``load_model`` takes,
- ``py:FILE.py:CLASS``: an extractor of your own, a class in a file.

`parse` reads a name once, and what it returns is of another class for each form. Nothing here
imports torch or transformers, opens a file or asks the hub: a folder or a repository may still turn
out to be missing in `load`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import get_close_matches

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.name_forms import (
    CatalogueName,
    FolderName,
    HearName,
    HubName,
    ModelName,
    PyName,
    RandomName,
)

OTHER_FORMS = (
    "hf:ORG/NAME[@REVISION], hf:/local/folder, hear:MODULE[,WEIGHTS], py:FILE.py:CLASS, "
    "and random:NAME[#SEED] as a control"
)

_HUB_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
# As huggingface_hub's validate_repo_id, which takes
# seconds to import; of revisions, what git allows.
_HUB_ID = re.compile(r"\b[\w.-]{1,96}\b/\b(?!.*\.git$)[\w.-]{1,96}\b", re.ASCII)
_REVISION = re.compile(r"(?![./-])[\w./-]{1,200}(?<![./])(?<!\.lock)", re.ASCII)

# Weights in one file that may say itself what they are, and files that only a folder explains.
ONE_FILE = (".pt", ".pth", ".ckpt")
OF_A_FOLDER = (".safetensors", ".bin", ".json")
_PATH_BEGINS = (".", "~", "/")
_OWN = "an extractor of your own is py:FILE.py:CLASS, here py:{}:{}"

# Control characters, line ends, and halves of characters from file names that aren't text.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Seeds from 0 up that torch's generators take.
_MOST_SEED = 2**64 - 1


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
    # A drive letter, or a form that isn't one, is read as a name and refused as such.
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
    """Return a model's folder name: letters, digits, ``.``, ``_`` and ``-``; another for every
    model.

    >>> slug("random:wav2vec2-base"), slug("hf:org/name")
    ('random-wav2vec2-base-seed0', 'hf-org--name')
    """
    return parse(name).slug


def check_name(name: str) -> None:
    """Raise an ExtractError as `parse` does unless the name can be read."""
    parse(name)


def folder_here(name: str) -> str:
    """Return ``hf:./models/x`` for ``hf:models/x`` where that folder or file is here; other names
    as they are.

    For names as they are typed, never for those in results: a folder may be called as a repository
    of the hub. A name with a revision is the hub's.
    """
    rest = name.removeprefix("hf:")
    plain = rest != name and rest and not rest.startswith((".", "~")) and not os.path.isabs(rest)
    return f"hf:./{rest}" if plain and "@" not in rest and os.path.exists(rest) else name


def typed(name: str, reporter: Reporter = SILENT) -> str:
    """Return a name as it was typed, or the folder or file here that it names, and say so of that.

    See `folder_here`.
    """
    here = folder_here(name)
    if here != name:
        what = "folder" if os.path.isdir(here.removeprefix("hf:")) else "file"
        reporter.say(f"{name}: taken as the {what} here, {here}; with @REVISION it is the hub's")
    return here


def is_control(name: str) -> bool:
    """Return whether a model is a control: random weights, or a hand-made front end."""
    if name.startswith("random:"):
        return True
    # Of other forms - hub, folders, files - nobody here knows what they are.
    card = CATALOGUE.get(name)
    return card is not None and card.family == "handmade"


def code_of(name: str) -> str:
    """Name the file or module that loading a model runs; empty for models that are data, as others
    are.

    The name may come from a stranger's file, and needn't be one that `parse` can read.
    """
    if name.startswith("py:"):
        return f"the file {name[3:].rpartition(':')[0]}"
    return f"the Python module {name[5:].partition(',')[0]}" if name.startswith("hear:") else ""


def of_file(path: str) -> str:
    """Say how a model is named that is in a file, or whose file that is, by how the file ends."""
    begins = path if path.startswith(_PATH_BEGINS) or os.path.isabs(path) else f"./{path}"
    if path.endswith(".py"):
        return _OWN.format(path, "CLASS")
    if path.endswith(ONE_FILE):
        return f"a checkpoint on this disk is hf:/folder or hf:./folder, here hf:{begins}"
    if path.endswith(OF_A_FOLDER):
        return (
            f"a checkpoint is named by the folder of its files, here hf:{os.path.dirname(begins)}"
        )
    return (
        "no model is read from such a file; a checkpoint is a folder, hf:./folder, or a file that "
        f"ends in {', '.join(ONE_FILE)}; an extractor of your own is py:FILE.py:CLASS"
    )


def _catalogue_name(name: str) -> CatalogueName:
    """Read a name that has no form in front."""
    if name not in CATALOGUE and (meant := _form_meant(name)):
        raise ExtractError(f"unknown model {name!r:.300}; {meant}")
    card = _card(name)
    if card.download:
        file = card.download.partition(" ")[0]
        raise ExtractError(
            f"{name!r} isn't on the Hugging Face hub: download {card.download}, and use "
            f"hf:./{file}; the control is random:{name}"
        )
    if not (card.hub or card.source or card.folder):
        raise ExtractError(
            f"{name!r} is an architecture without published weights: use random:{name}"
        )
    return CatalogueName(card)


def _form_meant(name: str) -> str:
    """Say how a name without a form is written that can only be a file, a folder or a repository;
    empty for others.
    """
    path, _, class_name = name.rpartition(":")
    if name.endswith(".py") or path.endswith(".py"):
        file, wanted = (name, "CLASS") if name.endswith(".py") else (path, class_name)
        return _OWN.format(file, wanted)
    if os.path.isfile(name) or name.endswith((*ONE_FILE, *OF_A_FOLDER)):
        return of_file(name)
    if name.startswith(_PATH_BEGINS):
        return f"a checkpoint on this disk is hf:/folder or hf:./folder, here hf:{name}"
    if os.path.isdir(name):
        return f"the folder here is hf:./{name}"
    for known, card in CATALOGUE.items():
        if card.hub and card.hub.lower() == name.lower():
            return f"its name here is {known}"
    if _HUB_NAME.fullmatch(name):
        return f"a checkpoint on the Hugging Face hub is hf:{name}"
    return ""


def _card(name: str, form: str = "") -> ModelCard:
    """Return the card called ``name``, which stands after a form, ``random:`` or none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    possible = [known for known, card in CATALOGUE.items() if not form or card.family != "handmade"]
    close = [form + known for known in get_close_matches(name.lower(), possible, cutoff=0.5)]
    hint = "a name of the catalogue stands after it, as in random:wavlm-base; " if form else ""
    if close:
        hint = f"did you mean {' or '.join(close)}? "
    raise ExtractError(
        f"unknown model {form + name!r}; {hint}svuprobe models shows all {len(CATALOGUE)}"
    )


def _random_name(name: str, rest: str) -> RandomName:
    """Read ``random:NAME[#SEED]``."""
    inner, hash_sign, seed = rest.partition("#")
    card = _card(inner, "random:")
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
    """Read ``hf:/folder`` or ``hf:ORG/NAME[@REVISION]``; only ., ~ or / begins a folder."""
    if rest.startswith((".", "~")) or os.path.isabs(rest):
        return FolderName(os.path.abspath(os.path.expanduser(rest)))
    match = _HUB_NAME.fullmatch(rest)
    if match is None:
        # hf:folder without a dot is a common slip, and the folder may well be there.
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
    # Of the first comma: names of modules have none, paths may.
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
    if rest.endswith(".py"):
        raise ExtractError(f"unknown model {name!r}; {of_file(rest)}")
    if not path.endswith(".py") or not (class_name.isascii() and class_name.isidentifier()):
        raise ExtractError(
            f"unknown model {name!r}; write py:FILE.py:CLASS, as in py:models/mine.py:MyExtractor"
        )
    # Absolute, so that a cache is found again from another folder.
    return PyName(os.path.abspath(os.path.expanduser(path)), class_name)


_FORMS: dict[str, Callable[[str, str], ModelName]] = {
    "random": _random_name,
    "hf": _hf_name,
    "hear": _hear_name,
    "py": _py_name,
}
