"""Offer every stage as one function, named as its command. The command line adds nothing but words.

Tasks come before models everywhere; how a stage runs is one `RunOptions`, how heads or networks are
trained one protocol. The same names are attributes of ``svuprobe``, which imports this module when
one is first asked for.
"""

from svuprobe._progress import Reporter
from svuprobe._run_options import FinetuneOptions, RunOptions
from svuprobe.api.boards import (
    Difference,
    ExportOptions,
    LeftOut,
    Selection,
    compare,
    compare_protocols,
    export,
    leaderboard,
    plot,
)
from svuprobe.api.caches import CachedFeatures, cache_list, cache_prune, cache_verify, load_features
from svuprobe.api.data import Data, check, load_task, prepare, synth
from svuprobe.api.embedding import Embedding, embed
from svuprobe.api.extraction import extract
from svuprobe.api.finetuning import finetune
from svuprobe.api.maps import MapOptions, plot_map
from svuprobe.api.models import LoadedModel, check_model, load_model
from svuprobe.api.prediction import predict, save_predictions
from svuprobe.api.pretraining import pretrain
from svuprobe.api.probing import probe
from svuprobe.api.reports import report
from svuprobe.api.results import PartlyDone, Probed, load_result
from svuprobe.extractors.base import ExtractError
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.run import Pretrained
from svuprobe.probe.finetune.protocol import FinetuneProtocol, RecipeProtocol
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.tasks import TaskError

__all__ = [
    "CachedFeatures",
    "Data",
    "Difference",
    "Embedding",
    "ExportOptions",
    "ExtractError",
    "FinetuneOptions",
    "FinetuneProtocol",
    "LeftOut",
    "LoadedModel",
    "MapOptions",
    "PartlyDone",
    "PretrainError",
    "PretrainOptions",
    "Pretrained",
    "ProbeError",
    "Probed",
    "Protocol",
    "Recipe",
    "RecipeProtocol",
    "Reporter",
    "RunOptions",
    "Selection",
    "TaskError",
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
]
