"""Define the result of one model on one task under one protocol, as types with what their keys
hold.

`svuprobe.probe.results.result_file` writes and reads the files,
`svuprobe.probe.results.result_json` the JSON of these types, and `svuprobe.probe.assemble` builds a
result from trained heads or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from svuprobe._show import shown
from svuprobe.probe.results.extraction_info import ExtractionInfo
from svuprobe.probe.results.finetune_info import FineTuneInfo
from svuprobe.probe.results.result_folds import FoldInfo, SplitCounts
from svuprobe.probe.results.result_layers import LayerWeights, Selected
from svuprobe.probe.results.result_words import Date, Digest, Name, Text, Unit
from svuprobe.probe.results.score import Interval, PerSeed, Score

if TYPE_CHECKING:
    import pandas

# Version of the layout of the file: it rises when a key changes its meaning.
SCHEMA = 3


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """Say what was scored on.

    Attributes
    ----------
    ranked
        The metric that ranks models.
    scored
        Whether each ``window`` or each ``clip`` is one answer.
    windowing
        How long clips are cut, as in the name of the cache's folder.
    window_s
        Seconds of windows that were asked for in place of the task's own; None for its own.
    class_weight_alpha
        Exponent of the weights of the classes in the loss, see `svuprobe.tasks.types.Task`.
    beat_decoder
        How beats are found in activations; None of other kinds.
    splits
        Clips per split. With folds those of ``test`` are all clips, each of which is tested once,
        and those of training and validation are a fold's, the mean over folds.
    folds
        How many; None of a single split.
    split_sha256
        Digest of every clip's id, split and group, and of its fold.
    target_sha256
        Digest of every clip's id and target.
    """

    name: Name
    version: int
    kind: Name
    dataset: Name
    synthetic: bool
    ranked: Name
    scored: Unit
    windowing: Text
    window_s: float | None = None
    class_weight_alpha: float
    beat_decoder: Text | None = None
    labels: tuple[str, ...]
    licence: Text
    reference: Text
    splits: dict[str, int]
    folds: int | None = None
    split_sha256: Digest
    target_sha256: Digest

    # Two results whose tasks agree in all of these may stand in one table and one picture.
    # (ClassVar, as it is no field of the JSON.)
    COMPARABLE: ClassVar[tuple[str, ...]] = (
        "synthetic",
        "name",
        "version",
        "split_sha256",
        "target_sha256",
        "windowing",
        "scored",
        "class_weight_alpha",
    )

    __repr__ = shown

    @property
    def label(self) -> str:
        """Return the name, with the windows that were asked for: ``technique.window5s``."""
        return self.name + ("" if self.window_s is None else f".window{self.window_s:g}s")

    @property
    def comparable(self) -> tuple[Any, ...]:
        """Return the values of ``COMPARABLE``; tables and pictures are sorted by them."""
        return tuple(getattr(self, name) for name in self.COMPARABLE)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Say what was probed or trained.

    Attributes
    ----------
    digest
        Of the weights; of a supervised baseline, whose weights start at random, of its shapes and
        recipe.
    sample_rate, frame_rate
        In Hz; None where a baseline answers for whole clips alone.
    control
        Whether the weights are random or the features made by hand.
    display
        What tables and pictures call it in place of its name (``--as``); no part of the identity.
    recipe
        How a supervised baseline is trained, or svuprobe pre-trained a model; else None.
    finetune
        None of a frozen model.
    """

    name: Text
    revision: Name
    digest: Text
    parameters: int
    dim: int
    sample_rate: float
    frame_rate: float | None
    normalization: Text
    dtype: Text
    layer_names: tuple[Text, ...]
    control: bool
    display: Text | None = None
    recipe: Text | None = None
    finetune: FineTuneInfo | None = None

    __repr__ = shown


@dataclass(frozen=True, kw_only=True)
class ProtocolInfo:
    """Hold the protocol with every one of its ``fields``, over which the ``hash`` is."""

    name: Name
    hash: Digest
    fields: dict[str, Any]

    __repr__ = shown

    @property
    def shuffle_labels(self) -> bool:
        """Return whether training labels were shuffled: what heads reach without anything to
        learn.
        """
        return bool(self.fields.get("shuffle_labels", False))

    @property
    def pooling(self) -> str:
        """Return what heads read of the frames of a window."""
        return str(self.fields.get("pooling", "mean"))

    @property
    def head(self) -> str:
        """Return what kind of heads there are: ``network``, ``logistic`` or ``knn``."""
        return str(self.fields.get("head", "network"))

    @property
    def train_fraction(self) -> float:
        """Return the share of the training set heads were trained on; fine-tuning takes all of
        it.
        """
        return float(self.fields.get("train_fraction", 1.0))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Return the grid that was tried, ascending; empty of fine-tuning, which has none."""
        return tuple(sorted(self.fields.get("learning_rates", ())))

    @property
    def finetunes(self) -> bool:
        """Return whether a pretrained model itself was trained, not only a head on it."""
        return bool(self.fields.get("finetune", False))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Count each split, and what is not in it.

    Attributes
    ----------
    missing, missing_clips
        Clips without features, and their ids.
    undefined
        Labels with no positive or no negative in the test split: left out of the mean over tags.
    """

    train: SplitCounts
    valid: SplitCounts
    test: SplitCounts
    missing: int
    missing_clips: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()

    __repr__ = shown


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Count seconds: reading a cache or decoding audio; training; scoring the test split.

    ``extraction`` is what making the features took, None where no cache says it.
    """

    load_s: float | None = None
    decode_s: float | None = None
    train_s: float
    test_s: float
    extraction: ExtractionInfo | None = None

    __repr__ = shown

    @property
    def total_s(self) -> float:
        """Return the sum of all but extraction, seconds."""
        return (self.load_s or 0.0) + (self.decode_s or 0.0) + self.train_s + self.test_s


@dataclass(frozen=True, kw_only=True)
class Result:
    """Hold one result.

    Attributes
    ----------
    scores
        By metric, of the ranked head: the weighted sum at its selected learning rate, or under a
        protocol that selects the ``best`` perhaps a single layer.
    chance
        By metric, of guessing from the training set alone (classes drawn with their frequencies, a
        constant prediction, no note at all).
    layer_curve, layer_ci95
        By layer, the ranked metric on test of its own head: per seed, and the interval as in
        ``scores``.
    environment
        Versions, device and, of a probe, ``products``: what the matrix products of its training
        were rounded to. Scores are always of float32.
    date
        UTC, ISO 8601.
    layer_drop
        By layer that the weighted sum sums, per seed: what it loses of the ranked metric on test
        when that layer is left out and the other weights are scaled up to 1, with nothing trained
        again.
    layer_weights
        None where no head learns a weighted sum.
    layer_sets
        By ``concat`` or ``mean``, the ranked metric on test of a head on all layers, per seed; None
        where there are no such heads.
    folds
        What each fold of a cross-validation gave, in their order; None of a single split. All else
        is over all folds then (`svuprobe.probe.cross_validation`).
    identity
        Digests of everything that determines the result, and ``digest`` over them
        (`svuprobe.probe.identity`).
    files
        SHA-256 of what belongs to the JSON: ``.npz`` and ``.safetensors`` beside it, or
        ``/seed<n>.safetensors`` (or ``/fold<name>-seed<n>.safetensors``) of a fine-tuned model in
        the folder of its name.
    caveats
        Sentences that belong beside the scores: classes without a training clip, tags that are not
        scored.
    """

    task: TaskInfo
    model: ModelInfo
    protocol: ProtocolInfo
    scores: dict[str, Score]
    chance: dict[str, float | None]
    layer_weights: LayerWeights | None = None
    layer_curve: dict[str, PerSeed] = field(default_factory=dict)
    selected: Selected
    counts: Counts
    timings: Timings
    environment: dict[str, Text]
    date: Date
    layer_ci95: dict[str, Interval] = field(default_factory=dict)
    layer_drop: dict[str, PerSeed] = field(default_factory=dict)
    identity: dict[str, Text] = field(default_factory=dict)
    files: dict[str, Digest] = field(default_factory=dict)
    caveats: tuple[Text, ...] = ()
    layer_sets: dict[str, PerSeed] | None = None
    folds: tuple[FoldInfo, ...] | None = None
    schema: int = SCHEMA

    __repr__ = shown

    @property
    def ranked(self) -> Score:
        """Return the score of the ranked metric."""
        return self.scores[self.task.ranked]

    @property
    def best_layer(self) -> str:
        """Return the layer whose own head is best on validation, never on test; empty without a
        choice.
        """
        best, best_valid = "", -math.inf
        # Greater, not equal: of equals the lowest layer is the best.
        for name, choice in self.selected.layers.items():
            if choice.valid is not None and choice.valid > best_valid:
                best, best_valid = name, choice.valid
        return best if len(self.selected.layers) > 1 else ""

    @property
    def title(self) -> str:
        """Return the model and the task, for a line of text."""
        return f"{self.model.name} on {self.task.name}"

    def scores_frame(self) -> pandas.DataFrame:
        """Return one row for each metric and seed, with interval and chance, as pandas has it."""
        from svuprobe.probe.results import dataframes

        return dataframes.scores(self)

    def folds_frame(self) -> pandas.DataFrame:
        """Return one row for each fold, metric and seed of a cross-validation; none without
        folds.
        """
        from svuprobe.probe.results import dataframes

        return dataframes.folds(self)

    def layers_frame(self) -> pandas.DataFrame:
        """Return one row for each layer and seed: its weight in the weighted sum, the test score of
        its own head, and what the sum loses without it.
        """
        from svuprobe.probe.results import dataframes

        return dataframes.layers(self)
