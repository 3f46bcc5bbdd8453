"""Say what audio the weights of a model were made from, and which data of our tasks it may hold.

A score on audio that a model was trained on says less than one on audio that it never heard, also
where training had no labels. `contact` says so of one model and one dataset. The table itself is
`svuprobe.extractors.training_table`; nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from svuprobe.extractors.base import ExtractError, ModelCard
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.name_forms import CatalogueName, FolderName, HubName
from svuprobe.extractors.names import parse
from svuprobe.extractors.training_table import TABLE, TrainingData

WEIGHTS = Path(__file__).parent / "weights"
HOLDS, MAY_HOLD, UNKNOWN = "holds", "may hold", "unknown"
# Of a list of models alone: the source of its entry was not at hand when that was written.
UNCHECKED = "unchecked"
# At a score, or in a list of models, and what each mark means.
MARKS = {HOLDS: "†", MAY_HOLD: "‡", UNKNOWN: "?", UNCHECKED: "?", "": ""}
_MEANINGS = {
    HOLDS: "trained on audio of {}",
    MAY_HOLD: "may have been trained on audio of {}",
    UNKNOWN: "nobody says whether it was trained on audio of {}",
    UNCHECKED: "unchecked whether it was trained on audio of {}",
}


def meaning(kind: str, dataset: str = "this dataset") -> str:
    """Return what a mark says of a model and a dataset, in words.

    >>> meaning("holds", "gtzan")
    'trained on audio of gtzan'
    """
    return _MEANINGS[kind].format(dataset)


@dataclass(frozen=True)
class Contact:
    """Say what a model has to do with a dataset.

    Attributes
    ----------
    kind
        ``holds``, ``may hold`` or ``unknown``; ``unchecked`` by `of_catalogue` alone.
    why
        A sentence without its full stop, with the source in brackets.
    """

    kind: str
    why: str


def training_data(name: str) -> TrainingData | None:
    """Return what a model was trained on, by any name of it; None where nothing is on record.

    Random weights and features made by hand were trained on nothing, so they have no entry either
    (`svuprobe.extractors.names.is_control`). Of a model that svuprobe pre-trained, the model card
    in its folder says it.
    """
    try:
        parsed = parse(name)
    except ExtractError:  # of a result whose model is no longer in the catalogue
        return None
    match parsed:
        case CatalogueName(card):
            return of_card(card)
        case HubName(hub, _):
            # Of a repository with several models the name alone doesn't say which.
            cards = [card for card in CATALOGUE.values() if card.hub == hub]
            return TABLE.get(hub) if len(cards) != 1 else of_card(cards[0])
        case FolderName(path):
            return in_folder(Path(path))
        case _:
            return None


def of_card(card: ModelCard) -> TrainingData | None:
    """Return what a model of the catalogue was trained on: by its name, or by its repository."""
    if card.folder is not None:
        return in_folder(WEIGHTS / card.folder)
    return TABLE.get(card.name) or TABLE.get(card.hub or "")


def contact(name: str, dataset: str) -> Contact | None:
    """Say what a model has to do with a dataset of the tasks; None where they have nothing to do.

    Parameters
    ----------
    name
        Of a model with trained weights; controls have heard nothing.
    dataset
        As in `svuprobe.tasks.datasets`.
    """
    # The same on every machine: a leaderboard doesn't depend on whose folders are there.
    data = None if name.startswith("hf:/") else training_data(name)
    if data is None:
        return Contact(UNKNOWN, "nothing is on record of its training")
    for kind, reasons in ((HOLDS, data.holds), (MAY_HOLD, data.may_hold)):
        if dataset in reasons:
            return Contact(kind, f"{reasons[dataset]} ({data.source})")
    if not data.published:
        return Contact(UNKNOWN, f"the authors don't say what it was trained on ({data.source})")
    return None


def of_catalogue(card: ModelCard, dataset: str) -> Contact | None:
    """Say what a model of the catalogue has to do with a dataset, None for nothing.

    Features made by hand, and networks without weights, were trained on nothing. An entry whose
    source was not at hand when it was written vouches for nothing: whatever it doesn't name is
    unchecked.
    """
    data = of_card(card)
    if data is None and not card.hub:
        return None
    found = contact(card.name, dataset)
    if found is None and data is not None and not data.read:
        return Contact(UNCHECKED, f"its source was not at hand ({data.source})")
    return found


# As `svuprobe.pretrain.model_folder.card` writes them.
_AUDIO = re.compile(r"^- Audio: (\d+) recordings, ([\d.]+) hours;", re.MULTILINE)
_CROP = re.compile(r'"crop_s": ([\d.]+)')
_SOURCE = re.compile(r"^\| (?!source and licence )(?!---)(.+?) \| .+ \|$", re.MULTILINE)


def in_folder(folder: Path) -> TrainingData | None:
    """Return what the model card of a model that svuprobe pre-trained says; None of other folders.

    The audio of svuprobe-small has nothing of the tasks' validation and test recordings, nor any
    instrument of theirs (`svuprobe.pretrain.open_audio`).
    """
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
        recipe = (folder / "recipe.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    audio, crop = _AUDIO.search(card), _CROP.search(recipe)
    if audio is None or crop is None:
        return None
    sources = _SOURCE.findall(card)
    several = f"{len(sources)} sources, listed in its README.md"
    return TrainingData(
        domain="general audio",
        hours=float(audio[2]),
        sets="; ".join(sources) if len(sources) <= 3 else several,
        source="README.md of the model",
        crop_s=float(crop[1]),
        crop_source="recipe.json of the model",
    )
