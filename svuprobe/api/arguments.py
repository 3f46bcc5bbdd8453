"""Take names as they are given: one or several, as text or as a path, and protocols by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from svuprobe._errors import OptionError
from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.names import typed
from svuprobe.extractors.store.address import is_address, not_features
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.finetune.protocol import (
    FinetuneProtocol,
    RecipeProtocol,
    preset as finetune_preset,
)
from svuprobe.probe.idle_fields import changed_fields, require_effect
from svuprobe.probe.protocol import Protocol

AnyProtocol = FinetuneProtocol | RecipeProtocol


def task_name(task: str | Path) -> str:
    """Return the name of a task; a path is that of a TOML file or of a folder of one's own data."""
    if not isinstance(task, Path):
        return task
    return str(task) if task.suffix == ".toml" else f"folder:{task}"


def task_names(tasks: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the names of tasks. One name is a list of one, and no list of its letters."""
    return [task_name(tasks)] if isinstance(tasks, (str, Path)) else list(map(task_name, tasks))


def local_path(path: str | Path) -> Path:
    """Return a path of this machine; OptionError for an address, as only features may have one."""
    if isinstance(path, str) and is_address(path):
        raise OptionError(not_features(path))
    return Path(path)


def model_name(model: str | Path, reporter: Reporter = SILENT) -> str:
    """Return the name of a model; a path is that of a checkpoint on the disk.

    The reporter is told where a name is taken as a folder here.
    """
    if isinstance(model, Path):
        return f"hf:{model.expanduser().absolute()}"
    return typed(model, reporter)


def model_names(
    models: str | Path | Sequence[str | Path], reporter: Reporter = SILENT
) -> list[str]:
    """Return the names of models. One name is a list of one, and no list of its letters."""
    several = [models] if isinstance(models, (str, Path)) else models
    return [model_name(model, reporter) for model in several]


def probe_protocol(protocol: Protocol | str | Path | None) -> Protocol:
    """Return a protocol of heads: the default for None, a preset by its name, or a TOML file's.

    Raises ProbeError for a name that is none of them, and a field that can't act beside the others.
    """
    if protocol is None:
        return Protocol()
    if not isinstance(protocol, Protocol):
        return preset(str(protocol))
    require_effect(protocol, changed_fields(protocol))
    return protocol


def finetune_protocols(
    protocols: AnyProtocol | str | Sequence[AnyProtocol | str],
) -> list[AnyProtocol]:
    """Return protocols of fine-tuning, each given as one or as the name of a preset.

    Raises ProbeError for a name that is none.
    """
    if isinstance(protocols, (str, FinetuneProtocol, RecipeProtocol)):
        protocols = [protocols]
    found: list[AnyProtocol] = []
    for each in protocols:
        if not isinstance(each, str):
            found.append(each)
        else:
            # The recipes of baselines have no preset but their own.
            recipe = RecipeProtocol()
            found.append(recipe if each == recipe.name else finetune_preset(each))
    return found
