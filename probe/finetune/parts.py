"""Make the result of networks that were trained on one split, or on what each fold leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from svuprobe.extractors.names import is_control
from svuprobe.probe import caveats, cross_validation, evaluate
from svuprobe.probe.assemble import assemble, size_of, weights_of_layers
from svuprobe.probe.evaluate import Answers, TestScores
from svuprobe.probe.finetune.data import ClipData, FrameData
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.model import AnyProtocol
from svuprobe.probe.finetune.network import Network
from svuprobe.probe.finetune.protocol import RecipeProtocol
from svuprobe.probe.finetune.seeds import TrainedSeed
from svuprobe.probe.results.finetune_info import FineTuneInfo
from svuprobe.probe.results.result import ModelInfo, ProtocolInfo, Result, Timings
from svuprobe.probe.results.result_folds import FoldInfo
from svuprobe.probe.results.result_layers import LayerChoice, LayerWeights, Selected
from svuprobe.probe.results.score import defined
from svuprobe.probe.training.splits import ClipSplits, FrameSplits
from svuprobe.tasks import folds
from svuprobe.tasks.manifest import ClipList


@dataclass(frozen=True)
class TrainedPart:
    """Hold what was trained on one split.

    Attributes
    ----------
    fold
        Name of the fold that was tested; empty of a single split.
    """

    fold: str
    data: ClipData | FrameData
    seeds: tuple[TrainedSeed, ...]

    def answers(self) -> Answers:
        """Return what the networks of all seeds answer for the test split."""
        return self.data.test_answers([seed.outputs for seed in self.seeds])

    def layer_weights(self) -> LayerWeights:
        """Return what the seeds weigh layers by."""
        softmax = np.stack([seed.weights for seed in self.seeds])
        # (S, L): a seed's own layers have an RMS of their own
        squares = np.stack([seed.squares for seed in self.seeds])
        return weights_of_layers(softmax, np.sqrt(squares.mean(axis=0)), np.sqrt(squares))

    def selected(self, learning_rate: float) -> Selected:
        """Return what validation says of the state that was kept, the last stage's."""
        valid = np.array([seed.state.stages[-1].valid for seed in self.seeds], dtype=float)
        mean = defined(float(valid.mean()))
        head = LayerChoice(layer="sum", learning_rate=learning_rate, valid=mean)
        return Selected(head=head, layers={})


def splits_of(listed: ClipList) -> list[tuple[str, ClipList]]:
    """Return the clips of each fold's own training, validation and test, by the fold's name; of a
    single split these clips, under an empty one.
    """
    names = folds.names(listed.clips)
    if not names:
        return [("", listed)]
    parts = []
    for fold in names:
        clips = folds.as_splits(listed.task, listed.clips, fold)
        parts.append((fold, replace(listed, clips=tuple(clips))))
    return parts


def result_of(
    parts: Sequence[TrainedPart],
    network: Network,
    protocol: AnyProtocol,
    about: dict[str, Any],
    runtime: Runtime,
    timings: Timings,
) -> tuple[Result, dict[str, np.ndarray]]:
    """Return the result of all folds and seeds, and what they predict for the test split."""
    recordings = parts[0].data.recordings
    data, test, of_folds = _tested(recordings.listed, parts, _last_rate(network))
    seeds = [seed for part in parts for seed in part.seeds]
    finetune_info = FineTuneInfo(
        parameters=sum(p.numel() for p in network.parameters()),
        stages=tuple(tuple(seed.state.stages) for seed in seeds),
        epochs=tuple(tuple(seed.state.epochs) for seed in seeds),
        seconds=tuple(seed.state.seconds for seed in seeds),
        peak_memory_mib=runtime.peak_memory_mib(),
        processes=runtime.processes.world,
    )
    control = not isinstance(protocol, RecipeProtocol) and is_control(about["name"])
    layer_names = tuple(about["layer_names"])
    result = assemble(
        recordings.listed,
        data,
        test,
        model=ModelInfo(
            **about | {"layer_names": layer_names}, control=control, finetune=finetune_info
        ),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        layer_weights=cross_validation.layer_weights([part.layer_weights() for part in parts]),
        selected=cross_validation.selected([part.selected(_last_rate(network)) for part in parts]),
        missing=list(recordings.failures),
        environment={"device": runtime.device},
        timings=timings,
        libraries=("transformers",),
        folds=of_folds,
    )
    return result, test.predictions


def _last_rate(network: Network) -> float:
    """Return the learning rate of what the last stage trains last: the transformer, else the layer
    weights.
    """
    return network.plan.stages[-1].rates[-1][1]


def _tested(
    listed: ClipList, parts: Sequence[TrainedPart], learning_rate: float
) -> tuple[ClipSplits | FrameSplits, TestScores, tuple[FoldInfo, ...] | None]:
    """Score the answers of all parts as one; and of a cross-validation those of each fold."""
    answers = [part.answers() for part in parts]
    if not parts[0].fold:
        data = parts[0].data
        return data, evaluate.score(data, answers[0], True), None
    whole = cross_validation.folded(listed, {part.fold: part.data for part in parts})
    infos = []
    for part, own in zip(parts, answers, strict=True):
        infos.append(_fold_info(part, own, learning_rate))
    return whole, cross_validation.score(whole, answers, True, False), tuple(infos)


def _fold_info(part: TrainedPart, answers: Answers, learning_rate: float) -> FoldInfo:
    """Return what a fold gave alone, on its own test clips."""
    data = part.data
    scores = {}
    for metric, per_seed in evaluate.score(data, answers, True).scores.items():
        scores[metric] = tuple(defined(score) for score in per_seed)
    return FoldInfo(
        name=part.fold,
        train=size_of(data.splits["train"]),
        valid=size_of(data.splits["valid"]),
        test=size_of(data.splits["test"]),
        scores=scores,
        selected=part.selected(learning_rate),
        layer_curve={},
        softmax=part.layer_weights().softmax,
        caveats=tuple(caveats.caveats(data)),
    )
