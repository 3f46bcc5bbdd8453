"""Describe how a model is pre-trained: a frozen dataclass with a hash, as protocols of probing are.

A recipe holds everything that determines the weights beside the audio: the network's size, the
crops, the masks, the targets, the optimiser and its schedule. How fast it runs (device, decoding
processes, parts of a batch) is no part of it. The presets, the papers' among them, are in
`svuprobe.pretrain.presets`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from svuprobe._errors import UserError, did_you_mean
from svuprobe._files import parse_toml
from svuprobe._show import shown
from svuprobe.pretrain.idle_fields import idle


class PretrainError(UserError):
    """Report what a user has to mend before a model is pre-trained: recipe, audio or folder."""


CHOICES: dict[str, tuple[str, ...]] = {
    "objective": ("data2vec", "clusters"),
    "size": ("base", "tiny", "small"),
    "schedule": ("tri_stage", "polynomial", "cosine"),
    "logits": ("cosine", "linear"),
}

# Least and most of the numbers. The most is far above any use: it ends typing errors, not memory.
RANGES: dict[str, tuple[float, float]] = {
    "crop_s": (0.1, 3600),
    "least_s": (0.05, 3600),
    "batch_s": (0.1, 1e7),
    "gain_db": (0, 60),
    "mix_probability": (0, 1),
    "mix_least_db": (0, 60),
    "mix_most_db": (0, 60),
    "mask_probability": (0, 1),
    "mask_span": (1, 10_000),
    "least_masks": (1, 10_000),
    "top_layers": (1, 1000),
    "ema_start": (0, 1),
    "ema_end": (0, 1),
    "ema_steps": (1, 1e9),
    "guard_from": (0, 1e9),
    "least_target_std": (0, 1e3),
    "least_prediction_std": (0, 1e3),
    "cluster_share": (1e-6, 1),
    "most_cluster_frames": (1000, 1e9),
    "cluster_inits": (1, 1000),
    "label_dim": (1, 100_000),
    "temperature": (1e-3, 1e3),
    "masked_weight": (0, 1e3),
    "unmasked_weight": (0, 1e3),
    "feature_penalty": (0, 1e6),
    "feature_gradient": (0, 1),
    "dropout": (0, 0.99),
    "attention_dropout": (0, 0.99),
    "activation_dropout": (0, 0.99),
    "input_dropout": (0, 0.99),
    "layerdrop": (0, 0.99),
    "learning_rate": (1e-9, 10),
    "beta2": (0, 0.999_999),
    "epsilon": (1e-12, 1),
    "weight_decay": (0, 10),
    "warmup": (0, 1),
    "hold": (0, 1),
    "first_rate": (0, 1),
    "last_rate": (0, 1),
    "clip_norm": (0, 1e6),
    "steps": (1, 1e9),
    "seed": (0, 2**31 - 1),
}
# Least and most of `speeds`.
SPEEDS = (0.25, 4.0)


@dataclass(frozen=True)
class Recipe:
    """Hold everything that determines the weights beside the audio; by default ``small``.

    Attributes
    ----------
    objective
        ``data2vec``, regression of an averaged teacher's layers (Baevski et al. 2022), or
        ``clusters``, classification of masked frames (HuBERT, Hsu et al. 2021).
    size
        ``base``, the geometry of transformers' Data2VecAudioModel or HubertModel; ``tiny``, the
        same with 12 narrow blocks, for tests; ``small``, four conformer blocks on a mel
        spectrogram.
    normalize
        Whether each recording has zero mean and unit variance.
    crop_s, least_s
        Longest crop, and the shortest recording that is used. Each step's crops have one length,
        that of the shortest among them, as in fairseq: nothing is ever padded.
    batch_s
        Seconds of audio in a step of the optimiser, over all processes.
    speeds
        Copies of each recording, played so many times as fast (pitch moves too), each with its own
        targets.
    gain_db
        A crop is made louder or softer by up to so many decibels.
    mix_probability, mix_least_db, mix_most_db
        Share of the crops to which another crop of the batch is added, that many decibels below;
        targets stay those of the louder one (Chen et al. 2022, WavLM).
    mask_probability, mask_span, least_masks
        ``p`` and length of fairseq's masks: ``p * frames / span`` starts, so fewer than ``p`` of
        the frames are masked where spans overlap.
    top_layers
        data2vec's targets are the mean of so many last blocks.
    ema_start, ema_end, ema_steps
        The teacher's decay rises linearly from the first to the second over so many steps.
    guard_from, least_target_std, least_prediction_std
        From that step on, training ends with an error where the targets or the predictions vary
        less over frames than this: the model has collapsed.
    targets
        What is clustered: names of `svuprobe.pretrain.targets` with the number of clusters, as
        ``mfcc39:500``; several are predicted at once. ``layer6:500`` clusters a block of
        ``teacher``.
    teacher
        Name of the model whose layers are clustered, as on the command line (``hf:FOLDER``).
    cluster_share, most_cluster_frames, cluster_inits
        Share of the recordings on which k-means is fitted, the most frames of them, and how many
        first guesses the best is chosen of.
    logits, label_dim, temperature
        ``cosine``: cosine similarity to an embedding of each cluster, over the temperature;
        ``linear``: one linear layer per set of targets.
    masked_weight, unmasked_weight
        Of the cross-entropy on a masked frame and on another; the loss is the mean over all frames
        that have a weight.
    feature_penalty
        Weight of the mean square of the convolutions' output (HuBERT).
    feature_gradient
        Factor on the gradient that reaches the convolutions.
    dropout, attention_dropout, activation_dropout, input_dropout, layerdrop
        Of the network.
    learning_rate, beta2, epsilon, weight_decay, clip_norm
        Of AdamW: fairseq's ``adam``, too, decays weights apart from the gradient. Clipping of the
        gradient's norm is off at 0.
    schedule, warmup, hold, first_rate, last_rate
        ``tri_stage``: shares of the steps that warm up and hold, then an exponential decay; rates
        at both ends are shares of the learning rate. ``polynomial`` and ``cosine`` end at
        ``last_rate``.
    steps, seed
        Updates of the optimiser, and the seed of everything random.
    """

    name: str = "small"
    objective: str = "clusters"
    size: str = "small"
    normalize: bool = False
    crop_s: float = 4.0
    least_s: float = 0.25
    batch_s: float = 32.0
    speeds: tuple[float, ...] = (1.0,)
    gain_db: float = 6.0
    mix_probability: float = 0.0
    mix_least_db: float = 5.0
    mix_most_db: float = 20.0
    mask_probability: float = 0.65
    mask_span: int = 10
    least_masks: int = 1
    top_layers: int = 8
    ema_start: float = 0.999
    ema_end: float = 0.9999
    ema_steps: int = 30_000
    guard_from: int = 5_000
    least_target_std: float = 0.1
    least_prediction_std: float = 0.01
    targets: tuple[str, ...] = ("mfcc39:256", "mfcc39-cmn:256", "semitone72:256")
    teacher: str = ""
    cluster_share: float = 0.5
    most_cluster_frames: int = 200_000
    cluster_inits: int = 3
    logits: str = "linear"
    label_dim: int = 256
    temperature: float = 0.1
    masked_weight: float = 1.0
    unmasked_weight: float = 0.0
    feature_penalty: float = 0.0
    feature_gradient: float = 1.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    input_dropout: float = 0.0
    layerdrop: float = 0.0
    learning_rate: float = 1e-3
    beta2: float = 0.98
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip_norm: float = 10.0
    schedule: str = "cosine"
    warmup: float = 0.05
    hold: float = 0.0
    first_rate: float = 0.0
    last_rate: float = 0.01
    steps: int = 8_400
    seed: int = 0

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check every field; raises PretrainError with the field, its value and the rule."""
        for field in fields(self):
            # Of one type, so that equal recipes have one hash: 6 and 6.0, a list and a tuple.
            value = _typed(field.name, getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN is in no range
                raise PretrainError(f"{name} = {value!r:.60}; it is from {low:,} to {high:,}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise PretrainError(
                    f"{name} = {getattr(self, name)!r}; it is one of {', '.join(known)}"
                )
        if self.warmup + self.hold > 1:
            raise PretrainError(
                f"warmup = {self.warmup} and hold = {self.hold}; together they are at most 1"
            )
        if self.least_s > self.crop_s:
            raise PretrainError(f"least_s = {self.least_s} is more than crop_s = {self.crop_s}")
        if self.mix_least_db > self.mix_most_db:
            raise PretrainError(
                f"mix_least_db = {self.mix_least_db} is more than mix_most_db = {self.mix_most_db}"
            )
        slowest, fastest = SPEEDS
        for speed in self.speeds:
            if not slowest <= speed <= fastest:
                raise PretrainError(
                    f"speeds = {self.speeds!r}; each is from {slowest:g} to {fastest:g}"
                )
        if not self.speeds or len(set(self.speeds)) < len(self.speeds):
            raise PretrainError(f"speeds = {self.speeds!r}; at least one, each once")
        if self.objective == "clusters" and not self.targets:
            raise PretrainError("targets = (); clusters need at least one, as mfcc39:500")
        if len(set(self.targets)) < len(self.targets):
            raise PretrainError(f"targets = {self.targets!r}; each once")
        if self.masked_weight == self.unmasked_weight == 0:
            raise PretrainError("masked_weight = unmasked_weight = 0; one of them is more")
        if self.objective == "data2vec" and self.size == "small":
            raise PretrainError("size = 'small' learns clusters; data2vec is for base and tiny")
        dropouts = ("dropout", "attention_dropout", "activation_dropout", "input_dropout")
        for name in (*dropouts, "layerdrop"):
            if self.size == "small" and getattr(self, name):
                raise PretrainError(f"{name} = {getattr(self, name)}; size = 'small' has none")

    @property
    def hash(self) -> str:
        """Return a hexadecimal digest over every field but the name.

        Of a teacher in a folder the folder's own name counts, wherever it lies; what is clustered
        is told apart by its weights (`svuprobe.pretrain.clusters`).
        """
        described = {key: value for key, value in asdict(self).items() if key != "name"}
        described["teacher"] = self.teacher.rpartition("/")[2]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def scaled(self, factor: float) -> Recipe:
        """Return the recipe with so many times its steps, and all that is counted in steps."""
        return replace(
            self,
            steps=max(1, round(self.steps * factor)),
            ema_steps=max(1, round(self.ema_steps * factor)),
            guard_from=round(self.guard_from * factor),
        )

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe with fields changed.

        PretrainError names an unknown one, and one that can't act beside the others.
        """
        made = self.with_fields(changes)
        for name, why in idle(made, changes):
            raise PretrainError(f"{name} = {changes[name]!r} changes nothing: {why}")
        return made

    def with_fields(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe with fields changed, whether they act or not, as those of several
        recipes may; PretrainError names an unknown one.
        """
        known = {field.name: field for field in fields(self)}
        values: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise PretrainError(f"a recipe has no field {name!r}; {did_you_mean(name, known)}")
            values[name] = _typed(name, value, known[name].default)
        return replace(self, **values)


def _typed(name: str, value: Any, present: Any) -> Any:
    """Return a value in the type that a field has; PretrainError where it has another."""
    if isinstance(present, tuple):
        kind = float if name == "speeds" else str
        if not isinstance(value, (list, tuple)):
            raise PretrainError(f"{name} = {value!r:.60}; it is a list")
        return tuple(_of_kind(name, each, kind) for each in value)
    return _of_kind(name, value, type(present))


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _of_kind(name: str, value: Any, kind: type) -> Any:
    """Return one value as a bool, int, float or str; a whole number may stand for any number."""
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is not kind:
        raise PretrainError(f"{name} = {value!r:.60}; it is {_KINDS[kind]}")
    return value


def load_recipe(name: str, presets: Mapping[str, Recipe]) -> Recipe:
    """Return a preset by its name, or the recipe in a TOML file.

    Raises
    ------
    PretrainError
        There is no such preset, or the file can't be used.
    """
    if name.endswith(".toml"):
        return read_recipe(Path(name), presets)
    if name not in presets:
        raise PretrainError(f"unknown recipe {name!r}; {did_you_mean(name, presets)}")
    return presets[name]


def read_recipe(path: Path, presets: Mapping[str, Recipe]) -> Recipe:
    """Read a recipe of one's own: a TOML file of fields, ``preset`` naming the one that it changes.

    Raises
    ------
    PretrainError
        The file can't be read, is no TOML, or has an unknown field, preset or value.
    """
    try:
        described = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PretrainError(f"{path}: can't be read ({error.strerror or error})") from None
    except ValueError as error:
        raise PretrainError(f"{path}: no TOML ({' '.join(str(error).split())})") from None
    start = described.pop("preset", "small")
    if not isinstance(start, str) or start not in presets:
        raise PretrainError(f"{path}: preset = {start!r}; {did_you_mean(str(start), presets)}")
    try:
        return presets[start].changed({"name": path.stem, **described})
    except PretrainError as error:
        raise PretrainError(f"{path}: {error}") from None
