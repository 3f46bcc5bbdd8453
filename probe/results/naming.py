"""Say what a model is called where people read: never by where its files lie on one machine.

The name in a result (``model.name``) is what loads the model again, and part of where the result
lies. In tables, notes and pictures a model goes by the display name that was given (``--as``), by
the recipe that svuprobe pre-trained it with, or by its name without the folders of a local path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.names import canonical
from svuprobe.probe.protocol import ProbeError

if TYPE_CHECKING:  # with numpy, which --help does without
    from svuprobe.probe.results.result import Result

_LONGEST = 80  # letters of a display name


def check_display(name: str) -> str:
    """Return a display name without blanks around it; one that no table has room for raises
    ProbeError.
    """
    shown = name.strip()
    if not shown or len(shown) > _LONGEST or not shown.isprintable():
        raise ProbeError(
            f"display name {name!r:.100}: it is 1 to {_LONGEST} printable characters on one line"
        )
    return shown


def display_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return display names by model as results carry it.

    Raises ProbeError where one has no room in a table, or stands for two models.
    """
    shown = {as_kept(model): check_display(name) for model, name in names.items()}
    owner: dict[str, str] = {}
    for model, name in shown.items():
        if owner.setdefault(name, model) != model:
            raise ProbeError(
                f"display name {name!r} stands for {owner[name]} and {model}; give each its own"
            )
    return shown


def with_display(result: Result, display: str | None) -> Result:
    """Return a result whose model has another display name, or none."""
    return replace(result, model=replace(result.model, display=display))


def pretrained_by(result: Result) -> str | None:
    """Return the recipe of a model in a folder that svuprobe pre-trained, None of others.

    It is the model's name wherever that folder lies.
    """
    model = result.model
    of_folder = model.name.startswith("hf:") and not result.protocol.finetunes
    return model.recipe if of_folder else None


def without_folders(name: str) -> str:
    """Return a model's name without the folders of a local path.

    >>> without_folders("hf:/home/me/models/mine"), without_folders("hf:org/name")
    ('hf:mine', 'hf:org/name')
    """
    form, colon, rest = name.partition(":")
    if form == "hear":
        module, comma, weights = rest.partition(",")
        return f"{form}:{module}{comma}{PurePath(weights).name}"
    if form in ("hf", "py") and PurePath(rest).is_absolute():
        return f"{form}{colon}{PurePath(rest).name}"
    return name


def shown_name(result: Result) -> str:
    """Return what a model is called, without its revision."""
    model = result.model
    recipe = pretrained_by(result)
    return model.display or (f"pretrained:{recipe}" if recipe else without_folders(model.name))


def shown_title(result: Result) -> str:
    """Return a model's name with its revision, so that two revisions stay apart.

    A control has no revision that a reader would look up, and a display name is taken as it is.
    """
    model = result.model
    name = shown_name(result)
    return name if model.control or model.display else f"{name}@{model.revision[:8]}"


def known_as(result: Result) -> tuple[str, ...]:
    """Return every name that a model can be asked for by, the one that is shown first."""
    model = result.model
    names = [shown_name(result), model.name, without_folders(model.name)]
    recipe = pretrained_by(result)
    if recipe:
        names += [recipe, f"pretrained:{recipe}"]
    names += [f"{name}@{model.revision[:8]}" for name in names]
    return tuple(dict.fromkeys(names))


def as_kept(name: str) -> str:
    """Return a model's name as results carry it: ``hf:/folder`` for ``hf:./folder``."""
    try:
        return canonical(name)
    except ExtractError:  # a display name, a pattern, a model of an older catalogue
        return name
