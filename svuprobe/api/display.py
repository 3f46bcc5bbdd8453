"""Keep the display names of models: with their features, and in their results.

A display name is what tables and pictures call a model; no cache and no result is made again for
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from svuprobe._files import holds, write_text
from svuprobe.api.results import Probed
from svuprobe.extractors.found_again import named_in
from svuprobe.extractors.names import typed
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.naming import as_kept, check_display, with_display

_FILE = "display-names.json"  # in the folder of all caches


def kept(names: Mapping[str, str]) -> dict[str, str]:
    """Return display names by model as results name it, of models as they are typed.

    A name that can't be one raises ProbeError.
    """
    return {as_kept(typed(model)): check_display(name) for model, name in names.items()}


def in_features(features: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return display names by the name under which caches hold each model's weights."""
    return {named_in(features, model): name for model, name in names.items()}


def require_asked(names: Mapping[str, str], models: Iterable[str]) -> None:
    """Raise ProbeError for the display name of a model that nobody asked for."""
    asked = {as_kept(model) for model in models}
    for model, name in names.items():
        if model not in asked:
            raise ProbeError(
                f"display name {name!r} is for {model}, which is none of the models here: "
                f"{', '.join(sorted(asked)) or 'there are none'}"
            )


def of_features(features: Path) -> dict[str, str]:
    """Return the display names that extraction was given, by model."""
    path = features / _FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        return {str(model): check_display(str(name)) for model, name in names.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ProbeError) as error:
        raise ProbeError(
            f"{path}: no display names by model ({error}); mend or delete it"
        ) from None


def save_in_features(features: Path, names: Mapping[str, str]) -> None:
    """Keep display names beside the caches, for the results that will be made of these."""
    if not names:
        return
    text = json.dumps(of_features(features) | dict(names), indent=1, ensure_ascii=False) + "\n"
    if not holds(features / _FILE, text):
        write_text(features / _FILE, text)


def rename_all(results: Path, names: Mapping[str, str]) -> None:
    """Give every result of some models their display names."""
    if not names:
        return
    entries, _ = result_file.read_all(results)
    for result, path in entries:
        named(Probed(result, path, cached=True), names)


def named(probed: Probed, names: Mapping[str, str]) -> Probed:
    """Return what was probed under the display name of its model, and keep that in the file.

    A model without a new name keeps the one that its result has.
    """
    display = names.get(probed.result.model.name)
    if display is None or display == probed.result.model.display:
        return probed
    result = with_display(probed.result, display)
    result_file.rewrite(result, probed.path)
    return replace(probed, result=result)
