"""Make an extractor that runs from the name of a model.

torch and transformers are imported when a model is loaded, and not before.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.name_forms import (
    CatalogueName,
    FolderName,
    HearName,
    HubName,
    PyName,
    RandomName,
)
from svuprobe.extractors.names import parse
from svuprobe.extractors.networks.table import FAMILIES

if TYPE_CHECKING:
    from svuprobe.extractors.base import Extractor
    from svuprobe.extractors.checkpoints import Source


WEIGHTS = Path(__file__).parent / "weights"  # of the models that come with svuprobe


def load(name: str, *, normalize: bool | None = None) -> Extractor:
    """Load a model by name.

    Parameters
    ----------
    name
        Any name that `svuprobe.extractors.names.parse` reads.
    normalize
        Overrides whether the waveform of each clip is scaled to zero mean and unit variance; None
        does what the checkpoint says. Models that aren't transformers on the waveform have no such
        step.

    Raises
    ------
    ExtractError
        Unknown name; checkpoint that can't be found, downloaded or used.
    """
    parsed = parse(name)
    name = parsed.canonical
    match parsed:
        case CatalogueName(card) if card.source:
            return _call(card.source, (), name, normalize)
        case CatalogueName(card) if card.folder:
            return _checkpoint(_shipped(card.folder, name), card, normalize)
        case CatalogueName(card) if card.family in FAMILIES:
            assert card.hub is not None
            source = _checkpoints().on_hub(card.hub, None, name, card.file)
            return _checkpoint(source, card, normalize)
        case CatalogueName(card):
            assert card.hub is not None
            return _transformers().from_hub(card.hub, name=name, card=card, normalize=normalize)
        case RandomName(card, seed) if card.family in FAMILIES:
            shipped = _shipped(card.folder, name) if card.folder else None
            return _native().from_random(card, seed, name=name, source=shipped)
        case RandomName(card, seed):
            return _transformers().from_random(card, seed, name=name, normalize=normalize)
        case HubName(hub, revision):
            cards = [card for card in CATALOGUE.values() if card.hub == hub]
            if len(cards) > 1:
                raise ExtractError(
                    f"{name}: the repository holds several models; write "
                    + " or ".join(card.name for card in cards)
                )
            source = _checkpoints().on_hub(hub, revision, name)
            # A catalogue's card serves where the hub's settings say nothing.
            return _checkpoint(source, cards[0] if cards else None, normalize)
        case FolderName(path):
            return _checkpoint(_checkpoints().in_folder(path, name), None, normalize)
        case HearName(module, weights):
            return _call(
                "svuprobe.extractors.models.hear:load", (name, module, weights), name, normalize
            )
        case PyName(path, class_name):
            return _call(
                "svuprobe.extractors.models.custom:load", (name, path, class_name), name, normalize
            )


def local_revision(name: str) -> str | None:
    """Return the revision that loading a local model would give now; None for one that isn't local.

    Of a folder, and of weights that come with svuprobe, the files are read and nothing is loaded. A
    class in a file and a HEAR module may read weights from anywhere, which nobody knows before they
    are made: so these are loaded, which runs their code.

    Parameters
    ----------
    name
        Any name that `svuprobe.extractors.names.parse` reads.

    Returns
    -------
    str or None
        Forty hexadecimal digits for a folder and for weights that come with svuprobe; None for
        names of the hub, of the rest of the catalogue and of random weights.

    Raises
    ------
    ExtractError
        The folder or file isn't there, or isn't a model.
    """
    parsed = parse(name)
    folder: Path | None = None
    if isinstance(parsed, FolderName):
        folder = Path(parsed.path)
    elif isinstance(parsed, CatalogueName) and parsed.card.folder:
        folder = WEIGHTS / parsed.card.folder
    if folder is not None:
        revision: str = _checkpoints().folder_revision(folder, parsed.canonical)
        return revision
    return load(name).revision if isinstance(parsed, (PyName, HearName)) else None


def _call(source: str, arguments: tuple[Any, ...], name: str, normalize: bool | None) -> Extractor:
    """Call ``module:function``, which makes an extractor without waveform normalisation."""
    if normalize:
        raise ExtractError(f"{name}: this model has no waveform normalisation to switch on")
    module, _, function = source.partition(":")
    extractor: Extractor = getattr(import_module(module), function)(*arguments)
    return extractor


def _checkpoint(source: Source, card: ModelCard | None, normalize: bool | None) -> Extractor:
    """Load a checkpoint: of one of the families that svuprobe computes itself, or of another."""
    # Each reader declines what is not its own.
    own: Extractor | None = _native().load(source, normalize=normalize)
    other: Extractor | None = own or _generic().load(source, normalize=normalize)
    return other or _transformers().from_source(source, card=card, normalize=normalize)


def _shipped(folder: str, name: str) -> Source:
    """Return the checkpoint in a folder that comes with svuprobe."""
    source: Source = _checkpoints().in_folder(WEIGHTS / folder, name)
    return source


def _native() -> Any:
    return import_module("svuprobe.extractors.models.native")


def _generic() -> Any:
    return import_module("svuprobe.extractors.models.generic")


def _transformers() -> Any:
    return import_module("svuprobe.extractors.models.transformer").TransformerExtractor


def _checkpoints() -> Any:
    return import_module("svuprobe.extractors.checkpoints")
