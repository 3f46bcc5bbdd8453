"""svuprobe: which frozen audio model, and which of its layers, to use for a singing or music task.

Every stage is a function here, loaded when it is first asked for: importing svuprobe imports
nothing else.

>>> import svuprobe
>>> model = svuprobe.load_model("mert-v1-95m")  # doctest: +SKIP
>>> layers = model(audio, sr)  # (layers, frames, dim)  # doctest: +SKIP
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import inspect

    from svuprobe._errors import UserError as UserError
    from svuprobe.api import (
        Data as Data,
        ExportOptions as ExportOptions,
        FinetuneOptions as FinetuneOptions,
        FinetuneProtocol as FinetuneProtocol,
        MapOptions as MapOptions,
        PretrainOptions as PretrainOptions,
        Protocol as Protocol,
        Recipe as Recipe,
        RecipeProtocol as RecipeProtocol,
        Reporter as Reporter,
        RunOptions as RunOptions,
        Selection as Selection,
        cache_list as cache_list,
        cache_prune as cache_prune,
        cache_verify as cache_verify,
        check as check,
        check_model as check_model,
        compare as compare,
        compare_protocols as compare_protocols,
        embed as embed,
        export as export,
        extract as extract,
        finetune as finetune,
        leaderboard as leaderboard,
        load_features as load_features,
        load_model as load_model,
        load_result as load_result,
        load_task as load_task,
        plot as plot,
        plot_map as plot_map,
        predict as predict,
        prepare as prepare,
        pretrain as pretrain,
        probe as probe,
        report as report,
        save_predictions as save_predictions,
        synth as synth,
    )
    from svuprobe.suites import run_suite as run_suite

# Folders that are called as the function of their name is.
_FOLDERS = ("pretrain", "probe")
# Loaded lazily, since torch alone takes seconds to import.
# Name -> module that has it.
_FACE = dict.fromkeys(
    (
        "Data",
        "ExportOptions",
        "FinetuneOptions",
        "FinetuneProtocol",
        "MapOptions",
        "PretrainOptions",
        "Protocol",
        "Recipe",
        "RecipeProtocol",
        "Reporter",
        "RunOptions",
        "Selection",
        "cache_list",
        "cache_prune",
        "cache_verify",
        "check",
        "check_model",
        "compare",
        "compare_protocols",
        "embed",
        "export",
        "extract",
        "finetune",
        "leaderboard",
        "load_features",
        "load_model",
        "load_result",
        "load_task",
        "plot",
        "plot_map",
        "predict",
        "prepare",
        "pretrain",
        "probe",
        "report",
        "save_predictions",
        "synth",
    ),
    "svuprobe.api",
) | {"UserError": "svuprobe._errors", "run_suite": "svuprobe.suites"}


def __getattr__(name: str) -> Any:
    """Load a name of the face when it is first asked for."""
    if name not in _FACE:
        raise AttributeError(f"module 'svuprobe' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_FACE[name]), name)
    # The import above has bound that folder, which is called as the function is.
    if name not in _FOLDERS:
        globals()[name] = value
        return value
    return globals()[name]


def __dir__() -> list[str]:
    """Return every name of the face, loaded or not."""
    return sorted({*globals(), *_FACE} - {"Any", "ModuleType", "TYPE_CHECKING", "sys"})


class _StageFolder(ModuleType):
    """Be a folder as ``svuprobe.probe`` and also the function of that name.

    Importing any part of a folder makes Python bind the folder to its name in svuprobe, over
    whatever stood there.
    """

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the stage; see ``svuprobe.api.probe``, ``svuprobe.api.pretrain``."""
        return self._function(*args, **options)

    @property
    def __signature__(self) -> "inspect.Signature":
        """Return the signature of the function."""
        import inspect

        return inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        """Return the function of the folder's name."""
        from svuprobe import api

        return getattr(api, self.__name__.rpartition(".")[2])


class _Face(ModuleType):
    """Be this module; it makes the folders of `_FOLDERS` callable when Python binds them here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOLDERS and isinstance(value, ModuleType):
            value.__class__ = _StageFolder
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
