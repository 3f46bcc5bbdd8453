"""Hold a model's name once it is read: one class a form, each with its spelling and its folder.

`svuprobe.extractors.names` reads names into these.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from svuprobe.extractors.base import ModelCard

# File systems allow 255 letters for a folder's name; a revision, and the ending of an unfinished
# file, come after.
_LONGEST_SLUG = 200


@dataclass(frozen=True)
class CatalogueName:
    """Name a line of the catalogue that has weights or needs none."""

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
    """Name an architecture of the catalogue and the seed of its weights: ``random:NAME[#SEED]``."""

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
    """Name a repository of the hub: ``hf:ORG/NAME[@REVISION]``."""

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
    """Name a checkpoint in a folder by its absolute path: ``hf:/folder``."""

    path: str

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"hf:{self.path}"

    @property
    def slug(self) -> str:
        """Return the folder of the model: the path's last part, and a digest that tells it from
        others.
        """
        digest = _digest(self.canonical)
        return _fitted(f"local-{_safe(os.path.basename(self.path))}-{digest}", self.canonical)


@dataclass(frozen=True)
class HearName:
    """Name a module and the absolute path of its weights: ``hear:MODULE[,WEIGHTS]``."""

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
    """Name a class in a file, by its absolute path: ``py:FILE.py:CLASS``."""

    path: str
    class_name: str

    @property
    def canonical(self) -> str:
        """Return the one spelling of the name."""
        return f"py:{self.path}:{self.class_name}"

    @property
    def slug(self) -> str:
        """Return the folder of the model."""
        # Readable first; the digest tells apart files of one name in two folders.
        file = _safe(os.path.basename(self.path))
        return _fitted(f"py-{file}-{self.class_name}-{_digest(self.path)}", self.canonical)


ModelName = CatalogueName | RandomName | HubName | FolderName | HearName | PyName


def _safe(text: str) -> str:
    """Replace everything but letters, digits, ``.``, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def _fitted(slug: str, name: str) -> str:
    """Return a slug no longer than a folder's name may be: itself, or its beginning and a
    digest.
    """
    # Nine letters: a dash and eight digits.
    return slug if len(slug) <= _LONGEST_SLUG else f"{slug[: _LONGEST_SLUG - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    """Return eight hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
